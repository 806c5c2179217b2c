"""What ``doctor`` checks of versions, and of what an earlier stack of the same name has left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

from phonoscene.version import VERSION
from phonoscene_cli.doctor.findings import Level, Looked, ok
from phonoscene_cli.stack.stack_status import DEPLOY
from phonoscene_cli.ui.formatting import number

if TYPE_CHECKING:
    from phonoscene_cli.stack.connection import Stack

#: How many of the newest records are read, of today and yesterday.
RECORDS: Final = 50
#: What stays when a stack is deleted: its logical id, and the output with its name.
RETAINED: Final = {
    "DropBucket": "DropBucketName",
    "OutputBucket": "OutputBucketName",
    "JobsTable": "JobsTableName",
}


def versions_agree(stack: Stack) -> Looked:
    """The stack and the command line are of one version."""
    deployed = stack.outputs.get("Version")
    if deployed is None:
        why = f"the stack is older than 0.1.0, this command line is {VERSION}"
        return Level.WARN, why, f"Deploy again: {DEPLOY}."
    if deployed == VERSION:
        return ok(f"stack and command line are {VERSION}")
    older = "the command line" if _order(deployed) > _order(VERSION) else "the stack"
    step = f"Update {older}; docs/upgrade.md says how."
    is_same_major = _order(deployed)[:1] == _order(VERSION)[:1]
    level = Level.WARN if is_same_major else Level.FAIL
    return level, f"the stack is {deployed}, this command line is {VERSION}", step


def records_can_be_read(stack: Stack) -> Looked:
    """The newest records were written by the stack's version or an earlier one."""
    now, jobs = datetime.now(UTC), stack.jobs
    recent = jobs.since(now - timedelta(days=1), with_segments=True)
    found = jobs.many([one.job_id for one in islice(recent, RECORDS)]).values()
    if jobs.unreadable:
        records = number(len(jobs.unreadable), "record")
        why = f"{VERSION} cannot read {records}: {min(jobs.unreadable)}"
        step = (
            "If a newer version wrote them, docs/upgrade.md, “Roll back”, says what to do. If "
            "somebody edited the table, `phonoscene show` with an id names the field."
        )
        return Level.FAIL, f"{why} …" if len(jobs.unreadable) > 1 else why, step
    newest = max((one.phonoscene_version or "0" for one in found), key=_order, default="0")
    deployed = stack.outputs.get("Version", "0")
    if _order(newest) > _order(deployed):
        why = f"version {newest} wrote records, and the stack is {deployed}: it was rolled back"
        return Level.WARN, why, "docs/upgrade.md, “Roll back”, says what that means."
    return ok(f"{len(found)} of the last day can be read")


def nothing_was_left(stack: Stack) -> Looked:
    """No bucket and no table of an earlier stack of this name is in the account and region."""
    buckets = [one["Name"] for one in stack.client("s3").list_buckets()["Buckets"]]
    pages = stack.client("dynamodb").get_paginator("list_tables").paginate()
    names = [*buckets, *(name for page in pages for name in page["TableNames"])]
    mine = {stack.outputs[output] for output in RETAINED.values()}
    begins = tuple(f"{stack.name}-{logical_id}-".lower() for logical_id in RETAINED)
    left = [name for name in names if name.lower().startswith(begins) and name not in mine]
    if left:
        why = f"an earlier stack {stack.name} left: {', '.join(sorted(left))}"
        step = "See docs/deploy.md, “Adopt what a deleted stack left behind”: use it, or delete it."
        return Level.WARN, why, step
    return ok("no bucket or table of an earlier stack")


def _order(version: str) -> tuple[int, ...]:
    """Sorts versions; what is no number counts as 0."""
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))
