"""``phonoscene audit``: every drop of the bucket has its record, or is named."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from phonoscene_cli.audit.audit import Audit, MissingDrop, settled_at
from phonoscene_cli.errors import NOT_FINE
from phonoscene_cli.options import Json, OlderThan, stack_of
from phonoscene_cli.stack.job_lookup import key_in
from phonoscene_cli.ui import formatting, terminal

#: What to do about objects that S3 does not give out.
UNREADABLE: Final = (
    "Some drops cannot be read from S3. Restore them from the archive, or fix their KMS key."
)


def audit(
    context: typer.Context,
    prefix: Annotated[
        str, typer.Argument(metavar="PREFIX", help="Only keys with this prefix, such as a folder.")
    ] = "",
    older_than: OlderThan = None,
    as_json: Json = False,
) -> None:
    """Compare the drop bucket with the jobs table, and name each drop that is missing there.

    Each drop that has no record, or cannot be read, is named; the exit code is then 1. The bucket
    is listed and each drop looked up by its id: the table is not scanned, and memory does not grow.

    Example: phonoscene audit talks/
    """
    stack = stack_of(context)
    this = Audit(stack, key_in(stack, prefix), settled_at(stack, older_than))
    if as_json:
        _as_json(this)
    else:
        _for_people(this)
    for line in this.unreadable.lines():
        terminal.say(line)
    if this.result().missing_count:
        age = "" if older_than is None else f" --older-than {formatting.typed_span(older_than)}"
        backfill = f"`phonoscene backfill {formatting.typed(this.prefix)}{age}`"
        terminal.complain(
            "Drops are missing. Check the dead-letter queues with "
            "`phonoscene redrive --dry-run`, and redrive them without --dry-run. "
            f"For drops that are still missing, use {backfill}."
        )
        raise typer.Exit(NOT_FINE)
    if this.unreadable.count:
        terminal.complain(UNREADABLE)
        raise typer.Exit(NOT_FINE)


def _as_json(this: Audit) -> None:
    """The missing first, each when it is found: there may be a hundred thousand."""
    print('{\n  "missing": [', end="")
    before, end = "\n    ", "],"
    for drop in this.missing():
        print(f"{before}{terminal.dumped(MissingDrop.of(drop))}", end="")
        before, end = ",\n    ", "\n  ],"
    print(end + terminal.dumped(this.result(), indent=2)[1:])


def _for_people(this: Audit) -> None:
    with terminal.working("listing the bucket") as turn:
        for account in this.accounts():
            if this.count(account):
                drop = account.drop
                keys = " and ".join(half.key for half in drop.halves)
                terminal.line(f"missing: {keys}, dropped {formatting.moment(drop.modified)}")
            turn(f"{this.dropped:,} drops")
    resting = f", too recent to judge {this.resting:,}" if this.resting else ""
    missing = f"missing {this.result().missing_count:,}"
    terminal.line(f"dropped {this.dropped:,}, accounted {this.accounted:,}{resting}, {missing}")
    states = ", ".join(f"{count:,} {state}" for state, count in sorted(this.states.items()))
    if states:
        terminal.line(f"accounted: {states}")
