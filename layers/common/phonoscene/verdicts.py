"""What fal says of a request, in any of the forms in which it says it.

A webhook's body comes in five shapes, and a polled result in a sixth; all become one ``Verdict``.
fal's vocabulary is kept out of the rest of the code.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from phonoscene.errors import VerdictMalformed
from phonoscene.jobs import ErrorDetail
from phonoscene.retries import is_retryable


def _or_none(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """What is only reported may be odd: it is left out, and never costs a paid video."""
    try:
        return read(value)
    except ValidationError:
        return None


#: As far as DynamoDB holds them exactly, and fal's seeds need them.
Whole = Annotated[int | None, Field(ge=-(2**63), lt=2**64), WrapValidator(_or_none)]
Number = Annotated[float | None, Field(ge=0, le=1e12), WrapValidator(_or_none)]
Text = Annotated[str | None, WrapValidator(_or_none)]
#: What fal bills for a result, in units of its price; as many digits as DynamoDB holds.
Units = Annotated[
    Decimal | None,
    Field(ge=0, le=10**9, max_digits=30, decimal_places=20),
    WrapValidator(_or_none),
]


class ReportedVideo(BaseModel):
    """The endpoint's ``VideoFile``: all but the URL may be absent or null."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    url: str
    width: Whole = None
    height: Whole = None
    fps: Number = None
    num_frames: Whole = None
    file_size: Whole = None
    duration: Number = None


class Output(BaseModel):
    """The endpoint's output."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    video: ReportedVideo
    #: Up to 2^64 - 1: more than a signed 64-bit number holds.
    seed: Whole = None
    prompt: Text = None


class Verdict(BaseModel):
    """How a request ended: with an output, with errors, or with an output that must be fetched."""

    model_config = ConfigDict(frozen=True)

    request_id: str
    output: Output | None = None
    #: fal's header, where the result was fetched: a webhook has none.
    billable_units: Units = None
    errors: tuple[ErrorDetail, ...] = ()

    @property
    def must_be_fetched(self) -> bool:
        """The run succeeded, but its output was not in the webhook: no failure, a paid video."""
        return self.output is None and not self.errors


#: What a record calls a field of fal's that no sidecar sets: it is the file that was dropped.
_OURS = {"audio_url": "audio"}
#: fal lists an error for each field that is wrong; a record holds 400 KB.
MOST_ERRORS = 20


class _Webhook(BaseModel):
    """The envelope; everything but the first two may be absent, null or set."""

    model_config = ConfigDict(extra="ignore")

    request_id: str = Field(min_length=1, max_length=200)
    status: Literal["OK", "ERROR"]
    payload: Any = None
    error: str | None = None
    payload_error: str | None = None
    #: Not fal's: what polling found in the result's header.
    billable_units: Units = None


def from_webhook(body: str) -> Verdict:
    """The verdict in a webhook's body.

    Raises:
        VerdictMalformed: fal signed something this endpoint does not answer.
    """
    try:
        webhook = _Webhook.model_validate_json(body)
        if webhook.status == "ERROR":
            return from_failure(webhook.request_id, webhook.payload, webhook.error)
        if webhook.payload is None:
            return Verdict(request_id=webhook.request_id)
        return from_result(webhook.request_id, webhook.payload, webhook.billable_units)
    except ValidationError as exc:
        fields = sorted({".".join(map(str, e["loc"])) for e in exc.errors(include_input=False)})
        told = f"these fields are not as documented: {', '.join(fields)}"
        raise VerdictMalformed(told) from None  # pydantic's own words show the values


def from_result(request_id: str, result: Any, billable_units: Any = None) -> Verdict:
    """The verdict in the endpoint's output.

    Raises:
        ValidationError: it is not that.
    """
    output = Output.model_validate(result)
    return Verdict(request_id=request_id, output=output, billable_units=billable_units)


def from_failure(request_id: str, payload: Any, error: str | None) -> Verdict:
    """The verdict in a failure: ``detail`` is a list for the model's errors, text for fal's."""
    payload = payload if isinstance(payload, dict) else {}
    detail = payload.get("detail")
    entries = [detail] if isinstance(detail, dict) else detail
    if isinstance(entries, list) and entries:
        errors = [_model_error(entry) for entry in entries[:MOST_ERRORS]]
    else:
        kind = str(payload.get("error_type") or "fal_error")
        kind = kind[:100]
        told = _told(detail, error)
        errors = [ErrorDetail(code=kind, message=told, retryable=is_retryable(kind, None))]
    return Verdict(request_id=request_id, errors=tuple(errors))


def _model_error(entry: Any) -> ErrorDetail:
    """One entry of ``detail``, but for ``input``: it repeats our presigned URL and the prompt."""
    entry = entry if isinstance(entry, dict) else {"msg": entry}
    where = entry.get("loc")
    place = [str(part) for part in where if part != "body"] if isinstance(where, list) else []
    code, field = str(entry.get("type") or "fal_error")[:100], ".".join(place)[:100] or None
    return ErrorDetail(
        code=code,
        message=_told(entry.get("msg")),
        field=_OURS.get(field or "", field),
        retryable=is_retryable(code, field),
    )


def _told(*reasons: Any) -> str:
    """The first reason that is text, without URLs: ours hold signatures and tokens."""
    text = next((reason for reason in reasons if isinstance(reason, str) and reason), "")
    shown = re.sub(r"(?i)https?(://|%3a)\S+", "(a URL)", text)
    shown = re.split(r"(?i)\S*(x-amz-|webhooks/fal)", shown, maxsplit=1)[0].strip()
    return shown[:500] or "fal gave no reason"
