"""The events for other systems: one for each step of a job. events/schemas/ has the schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from phonoscene.drops.keys import event_id, receipt_key
from phonoscene.jobs import FrozenModel, Job, JobStatus
from phonoscene.publishing.public_job import (
    Problem,
    PublicJob,
    Time,
    described,
    oddities,
    problems,
    public_fields,
    written,
)
from phonoscene.spending import is_open

if TYPE_CHECKING:
    from datetime import datetime

    from phonoscene.publishing.public_job import Cost

#: What an event tells of errors, and of each in characters: EventBridge takes 256 KB, and one that
#: it does not take would come back for hours. The receipt has all.
MAX_ERRORS = 10
MAX_TEXT_LENGTH = 500
#: Characters of a line of the summary.
MAX_LINE_LENGTH = 8_000


class ObjectLocation(FrozenModel):
    """An object of the output bucket."""

    bucket: str
    key: str


class Summary(FrozenModel):
    """The event in words, each field on one line; for mails and chats.

    An input transformer of EventBridge puts them between quotes and escapes nothing, so they hold
    no double quote, no backslash and no control character. Nor do they hold what a chat would read
    as a mention or a link: angle brackets, or Markdown's. A field that has nothing to say is "-".
    """

    title: str = described("The drop's name and the job's state.")
    result: str = described("Where the video is.")
    cost: str = described("What the job costs, in US dollars.")
    errors: str = described("Each error of the event, with its fix.")
    notes: str = described("What is unusual.")
    receipt: str = described("Where the receipt is.")


class StatusChanged(PublicJob):
    """The detail of an event: a job has taken a step."""

    id: str = described("The step's; an event that comes again has the same.")
    at: Time = described("When the step was taken.")
    previous_status: JobStatus | None = described("Absent for a new record.", default=None)
    error_count: int = described(f"How many errors there are; the event has {MAX_ERRORS} at most.")
    has_problems: bool = described("Whether the job has errors, or notes on anything unusual.")
    receipt: ObjectLocation = described("The job's receipt, with all its errors and its history.")
    summary: Summary = described("The event in words.")

    @classmethod
    def of(cls, before: Job | None, after: Job, until: datetime | None, output: str) -> Self | None:
        """The event of a write, or None where the write was no step; ``output`` is the bucket."""
        # a half that is dropped again is a new record by the same id
        earlier = before if before and before.created_at == after.created_at else None
        if earlier and earlier.history[-1:] == after.history[-1:]:
            return None
        born_at = written(after.created_at)
        fields = public_fields(after, until)
        errors = tuple(map(_shortened, problems(after)[:MAX_ERRORS]))
        receipt = ObjectLocation(bucket=output, key=receipt_key(after.name))
        return cls(
            **fields,
            id=event_id(after.job_id, born_at, len(after.history)),
            at=after.history[-1].at if after.history else after.updated_at,
            previous_status=earlier.status if earlier else None,
            errors=errors,
            error_count=len(after.errors),
            has_problems=bool(after.errors or oddities(after)),
            receipt=receipt,
            summary=_summary(after, fields, errors, receipt),
        )


def _summary(
    job: Job, fields: dict[str, Any], errors: tuple[Problem, ...], receipt: ObjectLocation
) -> Summary:
    more = len(job.errors) - len(errors)
    said = [f"({n}) {error.message} {error.fix}" for n, error in enumerate(errors, 1)]
    said += [f"({more} more in the receipt)"] * (more > 0)
    video = job.video
    return Summary(
        title=_line(f"{job.name}: {fields['state']}"),
        result=_line(f"s3://{video.bucket}/{video.key}" if video else ""),
        cost=_line(_cost_in_words(fields["cost"], is_open=is_open(job))),
        errors=_line(" ".join(said)),
        notes=_line(" ".join(fields["notes"])),
        receipt=_line(f"s3://{receipt.bucket}/{receipt.key}"),
    )


def _cost_in_words(cost: Cost | None, *, is_open: bool) -> str:
    if cost is None:
        return ""
    if not cost.upper_usd and not cost.may_be_billed:
        return "nothing"
    bounds = f"${cost.lower_usd:.4f} to ${cost.upper_usd:.4f}"
    if cost.may_be_billed:
        return f"{bounds}, because fal may bill a request that brought no video"
    came = [
        f"${usd:.4f} {what}"
        for usd, what in ((cost.delivered_usd, "delivered"), (cost.billed_usd, "billed by fal"))
        if usd is not None
    ]
    return ", ".join([*came, f"{bounds} {'estimated' if is_open else 'spent'}"])


#: What would end a JSON string, or be a mention or a link in a chat, and what stands for it.
_PLAIN: Final = str.maketrans({'"': "'", "\\": "/", "<": "\u2039", ">": "\u203a"})


def _line(text: str) -> str:
    """A text that can stand between double quotes and in a chat as it is; "-" for none."""
    plain = text.translate(_PLAIN).replace("](", "] (")
    line = "".join(char if char.isprintable() else " " for char in plain).strip() or "-"
    return line if len(line) <= MAX_LINE_LENGTH else line[: MAX_LINE_LENGTH - 1] + "…"


def _shortened(problem: Problem) -> Problem:
    texts = {name: getattr(problem, name) or "" for name in ("message", "value", "allowed")}
    long = {name: text for name, text in texts.items() if len(text) > MAX_TEXT_LENGTH}
    return problem.model_copy(
        update={name: text[: MAX_TEXT_LENGTH - 1] + "…" for name, text in long.items()}
    )
