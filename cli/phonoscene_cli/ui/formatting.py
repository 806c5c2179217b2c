"""How things are said to a person: states, money, times, sizes, and what to do next."""

from __future__ import annotations

import shlex
from datetime import timedelta
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from phonoscene.jobs import FINAL, Estimate, Job, JobCost, JobStatus
from phonoscene.publishing.public_job import public_fields
from phonoscene.publishing.wording import STATES, WAITS, past_state, state_of
from phonoscene.spending import cost as cost_of
from phonoscene.spending import unseen_runs
from phonoscene_cli.whole_files import IS_WINDOWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from decimal import Decimal

    from phonoscene.jobs import Actual, Step
    from phonoscene.table.ledger import Window
    from phonoscene_cli.stack.period import Period

_S = JobStatus

#: Of each state that may be its colour on a terminal.
COLOURS: Final[Mapping[str, str]] = MappingProxyType(
    {
        _S.SUCCEEDED: "green",
        _S.FAILED: "red",
        _S.REJECTED: "red",
        _S.CANCELLED: "dim",
        _S.WAITING: "yellow",
        _S.UNCONFIRMED: "yellow",
    }
)


#: What a span may be typed in, and how many seconds each unit has.
UNITS: Final = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}


def usd(amount: Decimal) -> str:
    """Dollars: to a hundredth of a cent below one, to a cent above."""
    if not amount:
        return "$0"
    return f"${amount:.4f}" if amount < 1 else f"${amount:,.2f}"


def interval(lower: Decimal, upper: Decimal) -> str:
    """What something costs, from the least to the most that fal may bill."""
    low, high = usd(lower), usd(upper)
    return low if low == high else f"{low} to {high}"


def cost(price: Actual | Estimate | JobCost | None) -> str:
    """The same of a price in US dollars; of a job's cost whether fal may bill it for nothing."""
    if price is None:
        return ""
    bounds = interval(price.lower_usd, price.upper_usd)
    is_unsure = isinstance(price, JobCost) and price.may_be_billed
    return f"{bounds}: fal may bill a request that brought no video" if is_unsure else bounds


def span(time: timedelta) -> str:
    """How long something takes: in the two largest units that matter."""
    seconds = time.total_seconds()
    if seconds < 10:  # noqa: PLR2004 - where a tenth is still worth telling
        return f"{max(0.0, seconds):.1f} s"
    left = round(seconds)
    data: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= size or (unit == "s" and not data):
            data.append(f"{left // size} {unit}")
            left %= size
    return " ".join(data[:2])


def typed_span(time: timedelta) -> str:
    """A span as options take it, in the largest unit of which it is a whole number."""
    left = int(time.total_seconds())
    unit = next((name for name, size in UNITS.items() if left and left % size == 0), "s")
    return f"{left // UNITS[unit]}{unit}"


def moment(at: datetime) -> str:
    """A time of the reader's own zone."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def period(times: Period) -> str:
    """When jobs were looked for."""
    return f"on {times.day} (UTC)" if times.day else f"since {moment(times.first)}"


def size(count: int) -> str:
    """Bytes, as people say them."""
    if count < 1000:  # noqa: PLR2004 - no prefix
        return number(count, "byte")
    for unit, worth in (("GB", 1e9), ("MB", 1e6)):
        if count >= worth:
            return f"{count / worth:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"


def number(count: int, one: str, more: str | None = None) -> str:
    """``1 job``, ``1,200 jobs``."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def slots(window: Window, most: int) -> str:
    """How many slots are in use, where the operator allows ``most``."""
    return f"{len(window.in_flight)} of {window.slots(most)} slots are in use"


def picture(estimate: Actual | Estimate) -> str:
    """What is made, at most, or was: frames, their size, and the area that is paid for."""
    most = "up to " if isinstance(estimate, Estimate) else ""
    size_of = f"{estimate.width}x{estimate.height}"
    return f"{most}{estimate.frames} frames of {size_of}, {estimate.megapixels:.1f} megapixels"


def typed(text: str) -> str:
    """A word of a command as a shell takes it; cmd knows double quotes only."""
    quoted = shlex.quote(text)
    if IS_WINDOWS and quoted != text:
        return '"{}"'.format(text.replace('"', r"\""))
    return quoted


def meaning(job: Job) -> str:
    """A job's state in plain words, with what it waits for, and what its end may have cost."""
    waits = f"waits for {WAITS.get(job.waits_for, job.waits_for)}" if job.waits_for else ""
    if job.sequence and job.status in (_S.SUBMITTED, _S.GENERATED):
        return "; ".join(filter(None, (public_fields(job, None)["state"], waits)))
    if job.status is _S.READY and waits:
        return waits
    if job.missing_image:
        return f"waiting for an image: {job.missing_image} is missing"
    if job.status is _S.WAITING:
        other = "sidecar" if job.audio else "audio"
        return f"waiting for the other half: its {other} is missing"
    if job.status is _S.CANCELLED:
        return f"{STATES[job.status]}; {_billed(job)}"
    return state_of(job)


def _billed(job: Job) -> str:
    """What a cancelled job costs all the same."""
    if job.duplicate_requests:
        return "fal made and billed it anyway"
    done = _made(job)
    paid = f"{number(done, 'segment')} had been made and paid, and " if done else ""
    segments = job.sequence.segments if job.sequence else ()
    if moving := sum(one.status not in (None, _S.GENERATED, *FINAL) for one in segments):
        return f"{paid}{number(moving, 'segment')} had not ended, and may still be billed"
    if not unseen_runs(job):
        return f"{paid}{'nothing else' if done else 'nothing'} is billed"
    if job.spent and not job.spent.may_be_billed:  # by now each has ended, whatever became of it
        return f"{paid}nothing is billed beyond its cost"
    return f"{paid}fal may still run and bill it"


def _made(job: Job) -> int:
    """How many segments of a job have been made, and paid by it."""
    segments = job.sequence.segments if job.sequence else ()
    made = (one for one in segments if one.status in (_S.SUCCEEDED, _S.GENERATED))
    return sum(not one.is_reused for one in made)


def step_meaning(job: Job, step: Step) -> str:
    """What a step means; the last one also says what the job waits for."""
    if step not in job.history[:-1]:
        return meaning(job)
    return past_state(job, step.status)


def steps(job: Job) -> Iterator[tuple[Step, str]]:
    """Each step of a job, and how long it lasted; the last one lasts still, and has no text."""
    ends = [after.at - step.at for step, after in pairwise(job.history)]
    for step, lasted in zip(job.history, [*ends, None], strict=True):
        yield step, "" if lasted is None else span(max(lasted, timedelta(0)))


def printable(text: str) -> str:
    """Text that may come from anybody, without what would move a terminal's cursor."""
    safe = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in safe)


def at_most(job: Job) -> str:
    """The most that a job costs: of one that has ended what came, and what fal may bill unseen."""
    found = cost_of(job)
    is_shown = found and (found.upper_usd or job.status is _S.SUCCEEDED)
    return usd(found.upper_usd) if found and is_shown else ""


def remark(job: Job) -> str:
    """The one thing to know of a job beside its state."""
    if job.errors:
        more = f" and {len(job.errors) - 1} more" if len(job.errors) > 1 else ""
        return f"{job.errors[0].code}{more}"
    waits = f"waits for {job.waits_for}" if job.waits_for else ""
    if job.sequence and job.status is _S.SUBMITTED:
        done = f"{job.sequence.done} of {len(job.sequence.segments)} segments"
        return f"{done}, {waits}" if waits else done
    return waits
