"""What fal says of a request, in any of the forms in which it says it.

A webhook's body comes in five shapes, and a polled result in a sixth; all become one ``Result``.
fal's vocabulary is kept out of the rest of the code.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from phonoscene.errors import ResultMalformed
from phonoscene.fal.lenient_json import read_json
from phonoscene.jobs import ErrorDetail
from phonoscene.retries import is_retryable


def or_none(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """Leave out a reported value that cannot be read: it must never cost a paid video."""
    try:
        return read(value)
    except ValidationError:
        return None


def _encodable(text: str | None) -> str | None:
    """Replace half a surrogate pair, which JSON can have and nothing stores, by a question mark."""
    return text and text.encode("utf-8", "replace").decode()


#: As far as DynamoDB holds them exactly, and fal's seeds need them.
Whole = Annotated[int | None, Field(ge=-(2**63), lt=2**64), WrapValidator(or_none)]
Number = Annotated[float | None, Field(ge=0, le=1e12), WrapValidator(or_none)]
Text = Annotated[str | None, AfterValidator(_encodable), WrapValidator(or_none)]
#: fal may expand a prompt; the record that keeps it has 400 KB for everything.
Prompt = Annotated[
    str | None,
    Field(max_length=20_000),
    AfterValidator(_encodable),
    WrapValidator(or_none),
]
#: What fal bills for a result, in units of its price; as many digits as DynamoDB holds.
Units = Annotated[
    Decimal | None,
    Field(ge=0, le=10**9, max_digits=30, decimal_places=20),
    WrapValidator(or_none),
]


#: Characters of a video's URL; one that is signed has some thousand.
MAX_VIDEO_URL: Final = 16_000


def _is_url(text: str) -> str:
    """A text that is no URL at all says nothing of where the video is: fal is polled again."""
    if len(text) > MAX_VIDEO_URL or not text.lstrip().lower().startswith(("https://", "http://")):
        raise ValueError("not a URL")
    return text


class ReportedVideo(BaseModel):
    """The endpoint's ``VideoFile``: all but the URL may be absent or null."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    url: Annotated[str, AfterValidator(_is_url), AfterValidator(_encodable)]
    width: Whole = None
    height: Whole = None
    fps: Number = None
    num_frames: Whole = None
    file_size: Whole = None
    duration: Number = None


def _as_video(value: Any) -> Any:
    """An object; also the first of a list, and a bare URL, as other endpoints of fal have it."""
    first = value[0] if isinstance(value, list) and value else value
    return {"url": first} if isinstance(first, str) else first


class Output(BaseModel):
    """The endpoint's output. Only the video's URL is needed; the rest is read as far as it can."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    video: Annotated[ReportedVideo, BeforeValidator(_as_video)]
    #: Up to 2^64 - 1: more than a signed 64-bit number holds.
    seed: Whole = None
    prompt: Prompt = None

    @model_validator(mode="before")
    @classmethod
    def _take_videos(cls, result: Any) -> Any:
        """Other endpoints of fal name a list ``videos``."""
        if isinstance(result, dict) and not result.get("video") and result.get("videos"):
            return {**result, "video": result["videos"]}
        return result


class Result(BaseModel):
    """How a request ended: with an output, with errors, or with an output that must be fetched."""

    model_config = ConfigDict(frozen=True)

    request_id: str
    output: Output | None = None
    #: Whether fal says that the run failed, and nothing of why.
    is_unexplained: bool = False
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
MAX_ERRORS = 20


class _Webhook(BaseModel):
    """The envelope; everything but the first may be absent, null, set or odd."""

    model_config = ConfigDict(extra="ignore")

    request_id: str = Field(min_length=1, max_length=200)
    status: Any = None
    payload: Any = None
    error: Text = None
    #: Not fal's: what polling found in the result's header, and in the status.
    billable_units: Units = None
    error_type: Text = None


def from_webhook(body: str) -> Result:
    """The result in a webhook's body.

    Raises:
        ResultMalformed: fal signed something that does not say how the request ended.
    """
    try:
        webhook = _Webhook.model_validate(read_json(body))
        if webhook.status == "ERROR":
            return from_failure(
                webhook.request_id, webhook.payload, webhook.error, webhook.error_type
            )
        if webhook.status == "OK" and webhook.payload is None:
            return Result(request_id=webhook.request_id)
        return from_result(webhook.request_id, webhook.payload, webhook.billable_units)
    except ValidationError as exc:
        fields = sorted({".".join(map(str, e["loc"])) for e in exc.errors(include_input=False)})
        data = f"these fields are not as documented: {', '.join(fields)}"
        raise ResultMalformed(data) from None  # pydantic's own words show the values
    except (ValueError, RecursionError):
        raise ResultMalformed("it is not JSON") from None


def from_result(request_id: str, result: Any, billable_units: Any = None) -> Result:
    """The result in the endpoint's output.

    Raises:
        ValidationError: no video's URL can be read there.
    """
    output = Output.model_validate(result)
    return Result(request_id=request_id, output=output, billable_units=billable_units)


def from_failure(
    request_id: str, payload: Any, error: str | None, error_type: str | None = None
) -> Result:
    """The result in a failure: ``detail`` is a list for the model's errors, text for fal's.

    ``error_type`` is what the status said, for a result that says none.
    """
    payload = payload if isinstance(payload, dict) else {}
    detail = payload.get("detail")
    entries = [detail] if isinstance(detail, dict) else detail
    if isinstance(entries, list) and entries:
        errors = tuple(_model_error(entry) for entry in entries[:MAX_ERRORS])
        return Result(request_id=request_id, errors=errors)
    said = payload.get("error_type") or error_type
    kind = clean(said or "fal_error", MAX_CODE_LENGTH)
    one = ErrorDetail(code=kind, message=_reason(detail, error), retryable=is_retryable(kind, None))
    is_unexplained = not said and not (isinstance(detail, str) and detail)
    return Result(request_id=request_id, errors=(one,), is_unexplained=is_unexplained)


def _model_error(entry: Any) -> ErrorDetail:
    """One entry of ``detail``, but for ``input``: it repeats our presigned URL and the prompt."""
    entry = entry if isinstance(entry, dict) else {"msg": entry}
    where = entry.get("loc")
    place = [str(part) for part in where if part != "body"] if isinstance(where, list) else []
    code = clean(entry.get("type") or "fal_error", MAX_CODE_LENGTH)
    field = ".".join(part for part in place if _NAME.fullmatch(part))[:MAX_CODE_LENGTH] or None
    return ErrorDetail(
        code=code,
        message=_reason(entry.get("msg")),
        field=_OURS.get(field or "", field),
        categories=_categories(entry),
        retryable=is_retryable(code, field),
    )


def _categories(entry: dict[str, Any]) -> tuple[str, ...] | None:
    """The policies that fal says a request violates: beside ``type``, or in ``ctx``."""
    context = entry.get("ctx")
    found = entry.get("categories") or (isinstance(context, dict) and context.get("categories"))
    if not isinstance(found, list):
        return None
    names = [clean(name, MAX_CODE_LENGTH) for name in found if isinstance(name, str)]
    return tuple(name for name in names if name)[:MAX_ERRORS] or None


def _reason(*reasons: Any) -> str:
    """The first reason that is text, without addresses: ours hold signatures and tokens."""
    text = next((reason for reason in reasons if isinstance(reason, str) and reason), "")
    return clean(text, MAX_MESSAGE_LENGTH) or "fal gave no reason"


_VIDEO_URL = re.compile(r"https:\\?/\\?/[a-z0-9.-]+\.fal\.media\\?/[^\s\"'<>]{1,500}")


def video_url_in(body: str) -> str | None:
    """The first address of fal's CDN in a text that is no result."""
    found = _VIDEO_URL.search(body)
    return found[0].replace("\\", "") if found else None


MAX_CODE_LENGTH = 100
MAX_MESSAGE_LENGTH = 500
#: What may pass in somebody else's text: words, numbers, and the punctuation between them. What
#: has a slash, a host's dots, a query's signs or is longer than a word may be an address or a key.
_PLAIN_WORD = re.compile(r"(?:[\w'\"()\[\]{}<>,;:!?.+*=~$-]|[^\x00-\x7f]){1,40}")
_NAME = re.compile(r"\w{1,40}")
_HOST = re.compile(r"(?<!\w)[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*\.[a-zA-Z]{2,}(?!\w)")
_SECRET = re.compile(r"(?i)x-amz|amz-|webhooks|signature|credential|token=")
_REMOVED = "(removed)"


def clean(value: Any, longest: int) -> str:
    """Somebody else's text in a line of ours: printable, short, and without addresses or keys."""
    text = str(value)[: 20 * longest].encode("utf-8", "replace").decode()
    words = [word if _may_pass(word) else _REMOVED for word in text.split()]
    # several in a row, as where an address holds spaces, are one
    shown = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if (before, word) != (_REMOVED, _REMOVED)
    ]
    return " ".join(shown)[:longest].strip()


def _may_pass(word: str) -> bool:
    return bool(
        word.isprintable()
        and _PLAIN_WORD.fullmatch(word)
        and not _SECRET.search(word)
        and not _HOST.search(word)
    )
