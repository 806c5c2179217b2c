"""What a form would make: the product's own examination, its price, and every error."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from phonoscene.drops.keys import composed
from phonoscene.jobs import ErrorDetail
from phonoscene_cli.board.forms.fields import NAMES, Filled, filled
from phonoscene_cli.errors import CliError
from phonoscene_cli.ui import formatting
from phonoscene_cli.upload.drop_report import Sum, price_lines
from phonoscene_cli.upload.repeats import new_takes, repeats_of
from phonoscene_cli.upload.retry_plan import NotEnded, NotNewest, Retake, retake
from phonoscene_cli.upload.sidecars import REMOVED
from phonoscene_cli.upload.upload_plan import DropOptions, NoSidecar, Plan, named_images, plan

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


def preview_drop(staged: StagedDrop, form: Mapping[str, str], stack: Stack) -> Preview[Plan]:
    """What the staged files and a form would make. Nothing is uploaded."""
    if staged.lacks(form.get("listed", "")):
        return Preview(step=LOST, is_lost=True)
    if staged.audio is None:
        return Preview(step="Choose an audio file first.")
    said, takes = filled(form), staged.takes
    beside = staged.audio.with_name(f"{staged.audio.name}.json")
    try:
        if len(takes) > 1:  # no form can hold them: the file counts, with what the form changes
            beside.write_bytes(staged.sidecar or b"")
        else:
            beside.unlink(missing_ok=True)
        folder, _, name = form.get("key", "").strip().rpartition("/")
        options = DropOptions(staged.audio, folder, name or None, said.sidecar)
        bucket = stack.outputs["DropBucketName"]
        planned = plan(options, stack.client("s3"), bucket, stack.parameters)
    except NoSidecar:
        return Preview(errors=(*said.errors, _no_prompt()))
    except CliError as exc:
        return Preview(errors=said.errors, step=str(exc))
    repeats = repeats_of(planned, stack)
    new = new_takes(planned, repeats)
    found = _preview(said, new, stack, planned, planned.drop)
    if found.planned is None:
        return found
    named = set(map(composed, named_images(planned.drop.sidecar) if planned.drop.sidecar else []))
    unused = [file.name for file in staged.images if composed(file.name) not in named]
    return replace(found, repeats=tuple(repeats.values()), unused=unused)


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
    except CliError as exc:
        return Preview(errors=said.errors, step=str(exc))
    put = (planned.bucket, planned.audio, planned.sidecar)
    return _preview(said, planned.outlook, stack, planned, put)


def _preview(
    said: Filled, outlook: Forecast, stack: Stack, planned: Any, put: object
) -> Preview[Any]:
    """``put`` is what would be put, as a value whose text differs where it differs."""
    whole: Forecast = planned.outlook
    errors = (*said.errors, *whole.errors)
    if errors:
        return Preview(errors=errors, segments=outlook.segments)
    total = Sum.of(outlook.estimates)
    lines = [line for line in price_lines(outlook, stack) if isinstance(line, str)]
    return Preview(
        lines=lines,
        segments=outlook.segments,
        price=formatting.interval(total.lower_usd, total.upper_usd),
        approved=str(total.upper_usd if total.jobs else Decimal(0)),
        examined=hashlib.sha256(repr((put, whole.contents)).encode()).hexdigest(),
        planned=planned,
    )


def _no_prompt() -> ErrorDetail:
    return ErrorDetail(
        code="missing_field",
        message="The prompt is missing. Write what the video shows.",
        field="prompt",
    )
