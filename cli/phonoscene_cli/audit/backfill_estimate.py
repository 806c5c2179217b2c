"""What admitting many drops would come to: jobs, money, hours. Each is examined, none changed."""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from phonoscene_cli.audit.audit import Unreadable
from phonoscene_cli.failures import reason
from phonoscene_cli.stack.connection import THREADS
from phonoscene_cli.stack.generation_time import ASSUMED_SECONDS
from phonoscene_cli.upload.drop_report import Sum
from phonoscene_cli.upload.dry_run import Forecast, Frugal, forecast
from phonoscene_cli.upload.segment_forecast import TakeForecast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from decimal import Decimal

    from mypy_boto3_s3 import S3Client

    from phonoscene_cli.audit.audit import UnreadableDrop
    from phonoscene_cli.audit.bucket_listing import BucketDrop
    from phonoscene_cli.stack.parameters import StackParameters

TOGETHER: Final = 10 * THREADS


@dataclass(frozen=True, kw_only=True)
class DryRun(Sum):
    """What admitting the drops under a prefix would come to."""

    prefix: str
    drops: int
    rejected: int
    errors: Mapping[str, int]
    waiting: int
    requests: int
    unreadable: Sequence[UnreadableDrop]
    unreadable_count: int
    seconds_per_job: float
    seconds_are_assumed: bool
    max_in_flight: int
    hours: float
    daily_budget_usd: Decimal
    days: int
    remaining: int


@dataclass
class Plan:
    """Sums over drops; ``usual`` is how many seconds fal takes for a video, if that is known."""

    parameters: StackParameters
    usual: float | None
    drops: int = 0
    waiting: int = 0
    rejected: int = 0
    unreadable: Unreadable = field(default_factory=Unreadable)
    jobs: Sum = field(default_factory=Sum)
    #: To fal: long audio takes several for one job, of which some must follow each other.
    requests: int = 0
    in_a_row: int = 0
    #: How often each error occurs.
    errors: Counter[str] = field(default_factory=Counter)

    def add_unreadable(self, drop: BucketDrop, problem: str) -> None:
        """One more drop, of which nothing can be said."""
        self.drops += 1
        self.unreadable.add(drop.name, problem)

    def add(self, outlook: Forecast) -> None:
        """Count a drop, its jobs and their prices, and the errors of those that are rejected."""
        self.drops += 1
        self.waiting += not outlook.takes
        for take in outlook.takes:
            if take.missing_image:
                self.waiting += 1
            elif take.errors:
                self.rejected += 1
                self.errors.update({error.code for error in take.errors})
            else:
                priced = TakeForecast(take.fields)
                self.jobs = self.jobs.plus(priced.estimate)
                self.requests += priced.requests
                self.in_a_row = max(self.in_a_row, priced.in_a_row)

    @property
    def seconds_per_job(self) -> float:
        """As the last videos took, or as is assumed."""
        return self.usual or ASSUMED_SECONDS

    @property
    def hours(self) -> float:
        """As many rounds of ``MaxInFlight`` requests at once as there have to be."""
        rounds = max(math.ceil(self.requests / self.parameters.max_in_flight), self.in_a_row)
        return rounds * self.seconds_per_job / 3600

    @property
    def days(self) -> int:
        """As many as the daily budget needs, by the upper bound."""
        budget = self.parameters.daily_budget_usd
        return math.ceil(self.jobs.upper_usd / budget) if budget else 0

    def result(self, prefix: str, remaining: int) -> DryRun:
        """The sums; ``remaining`` drops are beyond the limit."""
        return DryRun(
            **vars(self.jobs),
            prefix=prefix,
            drops=self.drops,
            rejected=self.rejected,
            errors=self.errors,
            waiting=self.waiting,
            requests=self.requests,
            unreadable=self.unreadable.named,
            unreadable_count=self.unreadable.count,
            seconds_per_job=self.seconds_per_job,
            seconds_are_assumed=self.usual is None,
            max_in_flight=self.parameters.max_in_flight,
            hours=self.hours,
            daily_budget_usd=self.parameters.daily_budget_usd,
            days=self.days,
            remaining=remaining,
        )


def examine(plan: Plan, s3: S3Client, bucket: str, drops: Iterable[BucketDrop]) -> Iterator[None]:
    """Add each drop to the plan; yields after each. Many are read at once, and few are in memory.

    A drop that cannot be examined, whatever the reason, is not the end of the others.
    """
    frugal, rest, rules = Frugal(s3, bucket), iter(drops), plan.parameters.rules()

    def look(drop: BucketDrop) -> Forecast | str:
        try:
            return forecast(frugal, rules, drop.pairing)
        except Exception as exc:  # noqa: BLE001 - a file may break any reader
            return reason(exc)

    with ThreadPoolExecutor(THREADS) as pool:
        while some := list(islice(rest, TOGETHER)):
            for drop, found in zip(some, pool.map(look, some), strict=True):
                if isinstance(found, str):
                    plan.add_unreadable(drop, found)
                else:
                    plan.add(found)
                yield
