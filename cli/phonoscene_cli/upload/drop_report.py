"""Tells what a drop is, what it costs, and what is wrong with it, before it is one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING

from phonoscene.limits import day_of
from phonoscene_cli.errors import CliError
from phonoscene_cli.results import Result
from phonoscene_cli.ui import formatting, next_steps, terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from phonoscene.jobs import ErrorDetail, Estimate, Job
    from phonoscene_cli.stack.connection import Stack
    from phonoscene_cli.upload.dry_run import Forecast

ZERO = Decimal(0)


@dataclass(frozen=True)
class Sum(Result):
    """What several jobs are together; dollars are US dollars."""

    jobs: int = 0
    frames: int = 0
    megapixels: Decimal = ZERO
    lower_usd: Decimal = ZERO
    upper_usd: Decimal = ZERO

    @classmethod
    def of(cls, estimates: Iterable[Estimate]) -> Sum:
        """Add up several estimates."""
        return reduce(cls.plus, estimates, cls())

    def plus(self, more: Estimate) -> Sum:
        """The sum with one more estimate added."""
        return Sum(
            self.jobs + 1,
            self.frames + more.frames,
            self.megapixels + more.megapixels,
            self.lower_usd + more.lower_usd,
            self.upper_usd + more.upper_usd,
        )


@dataclass(frozen=True, kw_only=True)
class NewJobs(Result):
    """The jobs that a command makes: what ``drop`` and ``retry`` have in common."""

    estimate: Sum
    errors: Sequence[ErrorDetail]
    job_ids: Sequence[str] = ()
    #: Those that were followed, at their end, and the files that their videos are in.
    jobs: Sequence[Job] = ()
    videos: Sequence[str] = ()


def tell_errors(errors: Iterable[ErrorDetail]) -> None:
    """Every error with its field, its value, what is allowed, and the way out."""
    for error in errors:
        terminal.say(f"  {error.code}", style="red")
        for name, text in next_steps.in_full(error):
            terminal.say(f"    {name:<8} {text}")


def refuse_if_wrong(result: NewJobs, sentence: str, step: str, *, as_json: bool) -> None:
    """Tell what is wrong with a drop that is not dropped yet, and the next ``step``.

    Raises:
        CliError: something is.
    """
    if not result.errors:
        return
    terminal.tell(result, lambda: tell_errors(result.errors), as_json=as_json)
    raise CliError(f"{sentence}: {formatting.number(len(result.errors), 'error')}. {step}")


def tell_price(outlook: Forecast, stack: Stack) -> None:
    """What each take is, and costs; and whether today's money is enough."""
    estimates = outlook.estimates
    for number, one in enumerate(estimates, 1):
        take = f"take {number}: " if len(estimates) > 1 else ""
        terminal.say(f"{take}{formatting.picture(one)}: {formatting.cost(one)}")
    total = Sum.of(estimates)
    if total.jobs > 1:
        terminal.say(f"together: {formatting.interval(total.lower_usd, total.upper_usd)}")
    day = stack.jobs.ledger.day(day_of(datetime.now(UTC)))
    left = stack.parameters.daily_budget_usd - (day.committed if day else ZERO)
    if total.upper_usd > left:
        terminal.say(
            f"Of today's budget {formatting.usd(max(left, ZERO))} is left, so the drop will wait."
        )
