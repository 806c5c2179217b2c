"""Compares what lies in the drop bucket with the jobs table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

from phonoscene_cli.audit.accounting import Accountant
from phonoscene_cli.audit.bucket_listing import Census, drops_under
from phonoscene_cli.results import Result
from phonoscene_cli.upload.dry_run import Frugal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from phonoscene_cli.audit.accounting import Account
    from phonoscene_cli.audit.bucket_listing import BucketDrop
    from phonoscene_cli.stack.connection import Stack

#: What a drop needs to be looked at, beyond its rest, when a queue is busy.
MARGIN: Final = timedelta(minutes=5)
#: As many drops that cannot be read are named: memory does not grow with the bucket.
MAX_NAMED: Final = 100


@dataclass(frozen=True)
class MissingDrop(Result):
    """A drop that has no record: its name, its keys, and when it was dropped."""

    name: str
    audio: str | None
    sidecar: str | None
    modified: datetime

    @classmethod
    def of(cls, drop: BucketDrop) -> Self:
        """Read it from a drop as the bucket has it."""
        audio, sidecar = (half.key if half else None for half in (drop.audio, drop.sidecar))
        return cls(drop.name, audio, sidecar, drop.modified)


@dataclass(frozen=True)
class UnreadableDrop(Result):
    """A drop that S3 does not let be looked at, and why."""

    name: str
    problem: str


@dataclass(frozen=True)
class AuditResult(Result):
    """The counts of an audit; each missing drop is printed before, as soon as it is found."""

    bucket: str
    prefix: str
    dropped: int
    accounted: int
    states: Mapping[str, int]
    resting: int
    ignored: int
    unreadable: Sequence[UnreadableDrop]
    unreadable_count: int
    missing_count: int


@dataclass
class Unreadable:
    """Drops that S3 does not let be looked at: archived, or encrypted with a key that is gone."""

    count: int = 0
    #: The first ones.
    named: list[UnreadableDrop] = field(default_factory=list)

    def add(self, name: str, problem: str) -> None:
        """Count a drop, and keep its name if it is among the first."""
        self.count += 1
        if len(self.named) < MAX_NAMED:
            self.named.append(UnreadableDrop(name, problem))

    def lines(self) -> Iterator[str]:
        """For a person: which, and why."""
        for one in self.named:
            yield f"cannot be read: {one.name} ({one.problem})"
        if self.count > len(self.named):
            yield f"and {self.count - len(self.named):,} more"


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
        """The drops without a record that have had time enough to get one."""
        return (one.drop for one in self.accounts(after) if self.count(one))

    def accounts(self, after: str | None = None) -> Iterator[Account]:
        """The account of each drop after a key, recent drops included."""
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

    def result(self) -> AuditResult:
        """The counts as ``--json`` prints them."""
        return AuditResult(
            bucket=self.bucket,
            prefix=self.prefix,
            dropped=self.dropped,
            accounted=self.accounted,
            states=self.states,
            resting=self.resting,
            ignored=self.census.ignored,
            unreadable=self.unreadable.named,
            unreadable_count=self.unreadable.count,
            missing_count=self.dropped - self.accounted - self.resting - self.unreadable.count,
        )


def settled_at(stack: Stack, older_than: timedelta | None) -> datetime:
    """Until when a drop must have come to be expected in the table."""
    rest = stack.parameters.settle + MARGIN if older_than is None else older_than
    return datetime.now(UTC) - rest
