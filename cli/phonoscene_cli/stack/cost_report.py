"""What the jobs of a period have cost: in groups, in all, and day by day beside the budget."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from phonoscene.drops.keys import drop_name
from phonoscene.limits import day_of
from phonoscene_cli.errors import WrongUsage
from phonoscene_cli.results import Result
from phonoscene_cli.stack.spending import Spent, folder_of, total

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

    from phonoscene.jobs import Job
    from phonoscene_cli.stack.connection import Stack
    from phonoscene_cli.stack.jobs_reader import Reader
    from phonoscene_cli.stack.period import Period

#: How costs can be grouped, beside ``meta.KEY``.
WAYS: Final = ("day", "folder", "name")
BY_METADATA: Final = "meta."


def grouping(text: str) -> str:
    """One of ``WAYS``, in any case, or ``meta.`` with a key of the metadata.

    Raises:
        WrongUsage: it is neither.
    """
    if text.lower() in WAYS:
        return text.lower()
    if not text.removeprefix(BY_METADATA) or not text.startswith(BY_METADATA):
        raise WrongUsage(
            f"{text!r} is not day, folder, name or meta.KEY. Example: --by meta.customer."
        )
    return text


@dataclass(frozen=True, kw_only=True)
class Group(Spent):
    """What the jobs of a day, a folder, a name or a value have cost; None: without such a key."""

    group: str | None


@dataclass(frozen=True)
class Budget(Result):
    """What of a day's budget is spent or reserved, and reserved."""

    day: str
    committed_usd: Decimal
    reserved_usd: Decimal


@dataclass(frozen=True)
class CostResult(Result):
    """What was spent on jobs that were created from ``since`` to ``until``."""

    since: datetime
    until: datetime
    groups: list[Group]
    total: Spent
    budgets: list[Budget]


def cost_report(stack: Stack, period: Period, by: str) -> CostResult:
    """Add up what was spent on the jobs of a period; ``by`` is what ``grouping`` returned."""
    first, last = period.first, period.last
    groups: dict[str | None, Spent] = defaultdict(Spent)
    for job in _jobs(stack.jobs, period):
        groups[_group(job, by)] += Spent.of(job)
    return CostResult(
        since=first,
        until=last,
        groups=[Group(group=name, **vars(spent)) for name, spent in _sorted(groups)],
        total=total(groups.values()),
        budgets=list(_budgets(stack, first, last)),
    )


def _sorted(groups: Mapping[str | None, Spent]) -> list[tuple[str | None, Spent]]:
    """By name, and at the end what has none."""
    return sorted(groups.items(), key=lambda group: (group[0] is None, group[0] or ""))


def _jobs(reader: Reader, period: Period) -> Iterator[Job]:
    entries = reader.since(period.first, period.end, with_segments=True)
    return reader.whole(entry.job_id for entry in entries)


def _group(job: Job, by: str) -> str | None:
    if by.startswith(BY_METADATA):
        return job.metadata.get(by.removeprefix(BY_METADATA))
    if by == "day":
        return day_of(job.created_at)
    return drop_name(job.name) if by == "name" else folder_of(job)


def _budgets(stack: Stack, first: datetime, last: datetime) -> Iterator[Budget]:
    """The sums of each day, of those on which anything was claimed."""
    days = (last.astimezone(UTC).date() - first.astimezone(UTC).date()).days
    for ago in range(days, -1, -1):
        found = stack.jobs.ledger.day(day_of(last - timedelta(days=ago)))
        if found:
            yield Budget(found.day, found.committed, found.reserved)
