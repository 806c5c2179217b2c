"""``python -m local status``: what runs, what has ended, the addresses and the jobs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import typer

from local.cloud.cloud import lost
from local.commands.options import cloud_of
from local.drops import spending_consent
from local.drops.jobs import Jobs
from phonoscene_cli.options import Json
from phonoscene_cli.ui import terminal

if TYPE_CHECKING:
    from local.cloud.endpoints import Endpoints
    from local.cloud.run_state import Run


def status(context: typer.Context, as_json: Json = False) -> None:
    """Show what runs and what has ended, the addresses, and the number of jobs in each state.

    Example: python -m local status --json
    """
    cloud = cloud_of(context)
    run = cloud.recorded()
    is_up = run is not None and run.has_emulator and cloud.state.endpoints_file.is_file()
    data = _as_data(run, cloud.endpoints() if is_up else None)
    if as_json:
        terminal.print_json(data)
        return
    if run is None or run.is_stale:
        terminal.line(cloud.not_running)
        return
    _tell_processes(run)
    if is_up:
        _tell_addresses(data)


def _as_data(run: Run | None, endpoints: Endpoints | None) -> dict[str, Any]:
    return {
        "running": endpoints is not None,
        "real_fal": bool(run and run.real),
        "processes": [dataclasses.asdict(process) for process in run.processes] if run else [],
        "ended": run.dead if run else [],
        "parameters": run.parameters if run else {},
        "endpoints": dataclasses.asdict(endpoints) if endpoints else None,
        "jobs": dict(Jobs(endpoints).counts()) if endpoints else {},
    }


def _tell_processes(run: Run) -> None:
    """Each part, and how one that ended is started again."""
    for process in run.processes:
        if process.name not in run.dead:
            terminal.line(f"{process.name:<18} running, process {process.pid}")
    for part in run.dead:
        again = ": `make up` starts it again" if run.has_emulator else ""
        terminal.line(f"{part:<18} ended{again}")
    if not run.has_emulator:
        terminal.line(lost(run))


def _tell_addresses(data: dict[str, Any]) -> None:
    for name, value in data["endpoints"].items():
        if value and (not name.startswith("aws_") or name == "aws_endpoint_url"):
            terminal.line(f"{name:<18} {value}")
    if data["real_fal"]:
        terminal.line(f"{'fal':<18} {spending_consent.REAL}")
    counts = ", ".join(f"{number} {state}" for state, number in sorted(data["jobs"].items()))
    terminal.line(f"{'jobs':<18} {counts or 'none yet'}")
