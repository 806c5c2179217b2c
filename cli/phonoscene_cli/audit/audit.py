"""Compares what lies in the drop bucket with the jobs table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from phonoscene_cli.audit.accounting import Accountant
from phonoscene_cli.audit.bucket_listing import Census, drops_under
from phonoscene_cli.upload.dry_run import Frugal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phonoscene_cli.audit.accounting import Account
    from phonoscene_cli.audit.bucket_listing import BucketDrop
    from phonoscene_cli.stack.connection import Stack

#: What a drop needs to be looked at, beyond its rest, when a queue is busy.
MARGIN: Final = timedelta(minutes=5)
#: As many drops that cannot be read are named: memory does not grow with the bucket.
MOST_NAMED: Final = 100


@dataclass
class Unreadable:
    """Drops that S3 does not let be looked at: archived, or encrypted with a key that is gone."""

    count: int = 0
    #: The first ones, by name, with the reason.
    named: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, problem: str) -> None:
        """Count a drop, and keep its name if it is among the first."""
        self.count += 1
        if len(self.named) < MOST_NAMED:
            self.named[name] = problem

    def lines(self) -> Iterator[str]:
        """For a person: which, and why."""
        for name, problem in self.named.items():
            yield f"cannot be read: {name} ({problem})"
        if self.count > len(self.named):
            yield f"and {self.count - len(self.named):,} more"

    def as_data(self) -> list[dict[str, str]]:
        """The list that ``--json`` prints: each name with its problem."""
        return [{"name": name, "problem": problem} for name, problem in self.named.items()]


@dataclass
class Audit:
    """One look at what lies under a prefix; the counts grow while ``missing`` is gone through."""

    stack: Stack
    prefix: str
    settled: datetime
    dropped: int = 0
    resting: int = 0
    unreadable: Unreadable = field(default_factory=Unreadable)
    states: Counter[str] = field(default_factory=Counter)
    census: Census = field(default_factory=Census)

    @property
    def bucket(self) -> str:
        """The drop bucket's name."""
        return self.stack.outputs["DropBucketName"]

    @property
    def accounted(self) -> int:
        """Drops that have a record."""
        return self.states.total()

    def missing(self, after: str | None = None) -> Iterator[BucketDrop]:
        """The drops that have none although they had time enough."""
        return (one.drop for one in self.accounts(after) if self.count(one))

    def accounts(self, after: str | None = None) -> Iterator[Account]:
        """Of each drop behind a key; also those that came a moment ago."""
        s3 = self.stack.client("s3")
        drops = drops_under(s3, self.bucket, self.prefix, self.census, after)
        bucket = Frugal(s3, self.bucket)
        return Accountant(self.stack.jobs, bucket).accounts(drops)

    def count(self, account: Account) -> bool:
        """Count a drop; whether it is missing."""
        if account.is_ignored:
            self.census.ignored += len(account.drop.halves)
            return False
        self.dropped += 1
        if account.problem:
            self.unreadable.add(account.drop.name, account.problem)
            return False
        if account.status:
            self.states[account.status] += 1
        elif account.drop.modified > self.settled:
            self.resting += 1
        return account.status is None and account.drop.modified <= self.settled

    def as_data(self) -> dict[str, Any]:
        """The counts, for programs."""
        return {
            "bucket": self.bucket,
            "prefix": self.prefix,
            "dropped": self.dropped,
            "accounted": self.accounted,
            "states": dict(self.states),
            "resting": self.resting,
            "ignored": self.census.ignored,
            "unreadable": self.unreadable.as_data(),
            "unreadable_count": self.unreadable.count,
            "missing_count": (self.dropped - self.accounted - self.resting - self.unreadable.count),
        }


def settled_at(stack: Stack, older_than: timedelta | None) -> datetime:
    """Until when a drop must have come to be expected in the table."""
    rest = stack.parameters.settle + MARGIN if older_than is None else older_than
    return datetime.now(UTC) - rest


def as_data(drop: BucketDrop) -> dict[str, Any]:
    """A drop of the bucket, for programs."""
    return {
        "name": drop.name,
        "audio": drop.audio.key if drop.audio else None,
        "sidecar": drop.sidecar.key if drop.sidecar else None,
        "modified": drop.modified.isoformat(),
    }
