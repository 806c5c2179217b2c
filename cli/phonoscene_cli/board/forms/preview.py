"""What a form would make: the product's own examination, its price, and every error."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from phonoscene.jobs import ErrorDetail
from phonoscene_cli.board.forms.fields import NAMES, Filled, filled
from phonoscene_cli.errors import CliError
from phonoscene_cli.ui import formatting
from phonoscene_cli.upload.drop_report import Sum, price_lines
from phonoscene_cli.upload.repeats import new_takes, repeats_of
from phonoscene_cli.upload.retry_plan import Retake, retake
from phonoscene_cli.upload.sidecars import REMOVED
from phonoscene_cli.upload.upload_plan import DropOptions, NoSidecar, Plan, plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from phonoscene.jobs import Job
    from phonoscene_cli.board.forms.staging import StagedDrop
    from phonoscene_cli.stack.connection import Stack
    from phonoscene_cli.upload.dry_run import Forecast
    from phonoscene_cli.upload.segment_forecast import SegmentForecast

T = TypeVar("T")


@dataclass(frozen=True)
class Preview(Generic[T]):
    """What is shown beside the form; ``planned`` is what the button would do.

    ``step``: what to do first, where there is nothing to examine. ``approved``: the dollars that
    the button says, and that a drop is held to.
    """

    errors: tuple[ErrorDetail, ...] = ()
    step: str = ""
    lines: Sequence[str] = ()
    segments: Sequence[SegmentForecast] = ()
    price: str = ""
    approved: str = ""
    #: Jobs that have, or make, the video of this content: those takes cost nothing.
    repeats: Sequence[Job] = ()
    planned: T | None = None

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
    if staged.audio is None:
        return Preview(step="Choose an audio file first.")
    said, takes = filled(form), staged.values()
    beside = staged.audio.with_name(f"{staged.audio.name}.json")
    try:
        if takes is None:  # a form cannot hold it: the file counts, with what the form changes
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
    return _preview(said, new, stack, planned, tuple(repeats.values()))


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
    except CliError as exc:
        return Preview(errors=said.errors, step=str(exc))
    return _preview(said, planned.outlook, stack, planned, ())


def _preview(
    said: Filled, outlook: Forecast, stack: Stack, planned: Any, repeats: Sequence[Job]
) -> Preview[Any]:
    whole: Forecast = planned.outlook
    errors = (*said.errors, *whole.errors)
    if errors:
        return Preview(errors=errors, segments=outlook.segments)
    total = Sum.of(outlook.estimates)
    lines = [line for line in price_lines(outlook, stack) if isinstance(line, str)]
    return Preview(
        lines=lines,
        repeats=repeats,
        segments=outlook.segments,
        price=formatting.interval(total.lower_usd, total.upper_usd),
        approved=str(total.upper_usd if total.jobs else Decimal(0)),
        planned=planned,
    )


def _no_prompt() -> ErrorDetail:
    return ErrorDetail(
        code="missing_field",
        message="The prompt is missing. Write what the video shows.",
        field="prompt",
    )
