"""``python -m local logs``: what the functions logged."""

from __future__ import annotations

import typer

from local.commands.options import cloud_of


def logs(context: typer.Context) -> None:
    """Print the functions' logs, in chronological order.

    Example: python -m local logs | grep ERROR
    """
    client = cloud_of(context).endpoints().client("logs")
    lines = []
    for group in client.describe_log_groups()["logGroups"]:
        name = group["logGroupName"]
        for page in client.get_paginator("filter_log_events").paginate(logGroupName=name):
            lines += [(event["timestamp"], name, event["message"]) for event in page["events"]]
    for _moment, name, message in sorted(lines):
        print(f"{name.rpartition('/')[2]:<24} {message.rstrip()}")
