"""Tells what a drop is, what it costs, and what is wrong with it, before it is one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import TYPE_CHECKING

from phonoscene.limits import day_of
from phonoscene.sequences.segments import clock
from phonoscene.spending import ZERO
from phonoscene_cli.errors import CliError
from phonoscene_cli.results import Result
from phonoscene_cli.stack.generation_time import ASSUMED_SECONDS, typical_seconds
from phonoscene_cli.ui import formatting, next_steps, terminal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from decimal import Decimal

    from phonoscene.jobs import ErrorDetail, Estimate, Job
    from phonoscene_cli.stack.connection import Stack
    from phonoscene_cli.upload.dry_run import Forecast
    from phonoscene_cli.upload.segment_forecast import SegmentForecast, TakeForecast


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
    #: Those of drops whose audio needs several requests.
    segments: Sequence[SegmentForecast] = ()
    job_ids: Sequence[str] = ()
    #: Those that were followed, as they were read last, and the files that their videos are in.
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
    tell_lines(price_lines(outlook, stack))


def tell_lines(lines: Iterable[str | TakeForecast], *, in_full: bool = True) -> None:
    """Lines for a person; ``in_full``: with the table of the segments."""
    for one in lines:
        if isinstance(one, str):
            terminal.say(one)
        elif in_full:
            _tell_segments(one)


def price_lines(outlook: Forecast, stack: Stack) -> Iterator[str | TakeForecast]:
    """The same as sentences, and as a take where the table of its segments goes."""
    yield from take_lines(outlook, stack)
    yield from total_lines(outlook.priced, stack)


def take_lines(outlook: Forecast, stack: Stack) -> Iterator[str | TakeForecast]:
    """What each take of a drop is, and costs."""
    takes = outlook.priced
    for number, one in enumerate(takes, 1):
        take = f"take {number}: " if len(takes) > 1 else ""
        if one.sequence:
            yield one
            yield from _made_before(one)
        if not one.requests:
            yield (
                "Nothing is paid, and the new video is the same. For other pictures, set another "
                "seed."
            )
            continue
        yield f"{take}{formatting.picture(one.estimate)}: {formatting.cost(one.estimate)}"
        if one.sequence:
            yield _time(one, stack)


def total_lines(takes: Collection[TakeForecast], stack: Stack) -> Iterator[str]:
    """What takes cost together, of one drop or several; and whether today's money is enough."""
    total = Sum.of(one.estimate for one in takes)
    if total.jobs > 1:
        yield f"together: {formatting.interval(total.lower_usd, total.upper_usd)}"
    day = stack.jobs.ledger.day(day_of(datetime.now(UTC)))
    left = stack.parameters.daily_budget_usd - (day.committed if day else ZERO)
    if total.upper_usd > max(left, ZERO):  # what costs nothing waits for no money
        is_one = sum(one.requests for one in takes) == 1
        what = "The drop waits" if is_one else "Requests are sent while it lasts; the others wait"
        dollars = formatting.usd(max(left, ZERO))
        yield f"{dollars} of today's budget is left. {what} for the next day (UTC)."


def _tell_segments(take: TakeForecast) -> None:
    """The segments as a table; scenes are numbered if there are several."""
    segments = take.segments()
    has_scenes = segments[-1].scene > 1
    table = terminal.grid("segment", *["scene"] * has_scenes, "start", "length", "frames", "price")
    for one in segments:
        price = "made" if one.is_made else formatting.interval(one.lower_usd, one.upper_usd)
        times = clock(one.start), f"{one.seconds:.2f} s"
        scene = [f"{one.scene}"] * has_scenes
        terminal.row(table, f"{one.index}", *scene, *times, f"{one.frames}", price)
    terminal.show(table, terminal.people)


def _made_before(take: TakeForecast) -> Iterator[str]:
    if take.made:
        made, all_of_them = len(take.made), len(take.segments())
        yield f"{made} of {all_of_them} segments have their videos: they are reused at no cost."


def _time(take: TakeForecast, stack: Stack) -> str:
    """About how long it takes: one request after another, or ``MaxInFlight`` at once."""
    known = typical_seconds(stack.jobs)
    each, most = known or ASSUMED_SECONDS, stack.parameters.max_in_flight
    together = formatting.span(timedelta(seconds=take.rounds(most) * each))
    source = "the recent average" if known else "assumed: there is no recent video"
    requests = formatting.number(take.requests, "request")
    one = formatting.span(timedelta(seconds=each))
    if take.requests == 1:
        return f"about {together}: {requests} ({source})"
    how = "one after another" if take.in_a_row == take.requests else f"up to {most} at once"
    return f"about {together}: {requests}, {how}, about {one} each ({source})"
