"""What a form would make: the product's own examination, its price, and every error."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from phonoscene.drops.keys import composed
from phonoscene.jobs import ErrorDetail
from phonoscene_cli.board.forms.fields import NAMES, filled
from phonoscene_cli.errors import CliError, StackUnreachable
from phonoscene_cli.ui import formatting
from phonoscene_cli.upload.drop_report import Sum, price_lines, take_lines, total_lines
from phonoscene_cli.upload.retry_plan import NotEnded, NotNewest, Retake, retake
from phonoscene_cli.upload.several import Candidate, errors_of, examined
from phonoscene_cli.upload.sidecars import REMOVED, is_named
from phonoscene_cli.upload.upload_plan import DropOptions, NoSidecar, named_images

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from phonoscene.jobs import Job
    from phonoscene_cli.board.forms.staging import StagedDrop
    from phonoscene_cli.stack.connection import Stack
    from phonoscene_cli.upload.dry_run import Forecast
    from phonoscene_cli.upload.segment_forecast import SegmentForecast

T = TypeVar("T")
LOST: Final = (
    "The board no longer has the files of this page: it was restarted, or newer drops took their "
    "place. Choose the files again."
)


@dataclass(frozen=True)
class Preview(Generic[T]):
    """What is shown beside the form; ``planned`` is what the button would do.

    ``step``: what to do first, where there is nothing to examine. ``approved``: the dollars that
    the button says, and that a drop is held to. ``examined``: a digest of what the button would
    put, and of what that means in its folder.
    """

    errors: tuple[ErrorDetail, ...] = ()
    step: str = ""
    lines: Sequence[str] = ()
    segments: Sequence[SegmentForecast] = ()
    price: str = ""
    approved: str = ""
    examined: str = ""
    #: The job whose page helps, where this one cannot be taken again.
    instead: Job | None = None
    #: Whether the page lists files that the board does not have.
    is_lost: bool = False
    #: Images that were added and that no field names.
    unused: Sequence[str] = ()
    #: Jobs that have, or make, the video of this content: those takes cost nothing.
    repeats: Sequence[Job] = ()
    planned: T | None = None

    def change_since(self, form: Mapping[str, str]) -> str:
        """What differs from the button that a form was sent with; nothing where it may be done."""
        if form.get("approved") != self.approved:
            return "The price has changed. Look at it again."
        if form.get("examined") != self.examined:
            return "The form or a file has changed since it was examined. Look at it again."
        return ""

    @property
    def by_field(self) -> dict[str, list[ErrorDetail]]:
        """The errors by the field of the form that they are about; "" is none of them."""
        found: dict[str, list[ErrorDetail]] = {}
        for error in self.errors:
            top = (error.field or "").partition(".")[0].partition("[")[0]
            found.setdefault(top if top in NAMES else "", []).append(error)
        return found


def preview_drop(
    staged: StagedDrop, form: Mapping[str, str], stack: Stack
) -> Preview[list[Candidate]]:
    """What the staged files and a form would make. Nothing is uploaded."""
    if staged.lacks(form.get("listed", "")):
        return Preview(step=LOST, is_lost=True)
    said = filled(form)
    if step := _step_before(staged, form):
        return Preview(errors=said.errors if staged.audio else (), step=step)
    _write_takes(staged)
    folder, _, name = form.get("key", "").strip().rpartition("/")
    files = [DropOptions(file, folder, name or None, said.sidecar) for file in staged.audio]
    try:
        drops = examined(files, stack)
    except NoSidecar:
        return Preview(errors=(*said.errors, _no_prompt()))
    except StackUnreachable:
        raise  # nothing in the form is to be changed: the page offers to examine it again
    except CliError as exc:
        return Preview(errors=said.errors, step=str(exc))
    plans = [one.plan for one in drops]
    wrong = errors_of(drops)
    found = _preview(
        [*said.errors, *wrong],
        [one.outlook for one in plans],
        [one.new for one in drops],
        _lines(drops[0].new, stack) if len(drops) == 1 else _lines_of_each(drops, stack),
        drops,
        [one.drop for one in plans],
    )
    if found.planned is None:
        return found
    sidecars = [one.drop.sidecar for one in plans if one.drop.sidecar]
    named = {composed(name) for sidecar in sidecars for name in named_images(sidecar)}
    unused = [file.name for file in staged.images if composed(file.name) not in named]
    repeats = tuple(job for one in drops for job in one.repeats.values())
    return replace(found, repeats=repeats, unused=unused)


def _step_before(staged: StagedDrop, form: Mapping[str, str]) -> str:
    """What must be done before anything can be examined: nothing may be meant for another file."""
    if not staged.audio:
        return "Choose an audio file first."
    if len(staged.audio) == 1:
        return ""
    spelled = Counter(composed(one.name) for one in staged.audio)
    if twice := [name for name, count in spelled.items() if count > 1]:
        return f"Two files are named {twice[0]}, with accents spelled in two ways. Remove one."
    name, sidecar = form.get("key", "").strip(), Path(staged.sidecar_name)
    if name and not name.endswith("/"):
        return (
            "Several audio files keep their own names. Name only a folder, with a slash at its "
            f"end: {name}/"
        )
    owners = [one.name for one in staged.audio if is_named(sidecar, one.name)]
    owners += [one.name for one in staged.audio if is_named(sidecar, one.stem)]
    if staged.sidecar is not None and owners:
        return (
            f"{sidecar} is the sidecar of {owners[0]} alone. Remove it, or drop the files one by "
            "one. `phonoscene drop` takes several files, each with its own sidecar."
        )
    return ""


def _write_takes(staged: StagedDrop) -> None:
    """Put a JSON file of several takes beside each audio file: no form can hold them."""
    has_several = len(staged.takes) > 1
    for file in staged.audio:
        beside = file.with_name(f"{file.name}.json")
        if has_several:
            beside.write_bytes(staged.sidecar or b"")
        else:
            beside.unlink(missing_ok=True)


def preview_retry(
    job: Job, before: Mapping[str, Any], form: Mapping[str, str], stack: Stack
) -> Preview[Retake]:
    """What a new take of a job would be, with the form in the place of its sidecar ``before``."""
    said = filled(form)
    removed = {name: REMOVED for name in before if name not in said.sidecar}
    changed = {
        name: value
        for name, value in said.sidecar.items()
        if name not in before or before[name] != value
    }
    s3, bucket = stack.client("s3"), stack.outputs["DropBucketName"]
    try:
        planned = retake(job, removed | changed, s3, bucket, stack.parameters, stack.jobs)
    except NotEnded as exc:
        return Preview(errors=said.errors, step=exc.what, instead=job)
    except NotNewest as exc:
        newest = next(stack.jobs.takes(job.name), job)
        return Preview(errors=said.errors, step=exc.what, instead=newest)
    except StackUnreachable:
        raise
    except CliError as exc:
        return Preview(errors=said.errors, step=str(exc))
    outlook, put = planned.outlook, (planned.bucket, planned.audio, planned.sidecar)
    wrong = [*said.errors, *outlook.errors]
    return _preview(wrong, [outlook], [outlook], _lines(outlook, stack), planned, put)


def _preview(
    wrong: Sequence[ErrorDetail],
    outlooks: Sequence[Forecast],
    news: Sequence[Forecast],
    lines: Sequence[str],
    planned: T,
    put: object,
) -> Preview[T]:
    """``news``: the takes that are no repeats; ``put``: differs as text where what is put does."""
    errors = tuple({(error.field, error.message): error for error in wrong}.values())
    segments = news[0].segments if len(news) == 1 else []
    if errors:
        return Preview(errors=errors, segments=segments)
    total = Sum.of(estimate for one in news for estimate in one.estimates)
    examined = repr((put, [one.contents for one in outlooks]))
    return Preview(
        lines=lines,
        segments=segments,
        price=formatting.interval(total.lower_usd, total.upper_usd),
        approved=str(total.upper_usd if total.jobs else Decimal(0)),
        examined=hashlib.sha256(examined.encode()).hexdigest(),
        planned=planned,
    )


def _lines(outlook: Forecast, stack: Stack) -> list[str]:
    return [line for line in price_lines(outlook, stack) if isinstance(line, str)]


def _lines_of_each(drops: Sequence[Candidate], stack: Stack) -> list[str]:
    """What each file costs, and all together."""
    lines = [
        f"{one.key}: {line}"
        for one in drops
        for line in take_lines(one.new, stack)
        if isinstance(line, str)
    ]
    return [*lines, *total_lines([take for one in drops for take in one.new.priced], stack)]


def _no_prompt() -> ErrorDetail:
    return ErrorDetail(
        code="missing_field",
        message="The prompt is missing. Write what the video shows.",
        field="prompt",
    )
