"""Calls to fal's queue: the only module that imports fal_client.

One call of ``submit`` is at most one POST that fal could accept: fal has no idempotency key and
bills each copy, and fal_client would send ten (measured with 1.0.3, whose answers were lost).
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import fal_client.client
import httpx
from fal_client import FalClientHTTPError, SyncClient, SyncRequestHandle

from phonoscene.errors import FalUnavailable
from phonoscene.fal.answers import accepted_id
from phonoscene.fal.lenient_json import read_json
from phonoscene.fal.requests import (
    ACCOUNT,
    ENDPOINT,
    REFUSED_ACCOUNT,
    Accepted,
    Refused,
    Submission,
    SubmitOutcome,
    Unknown,
)
from phonoscene.fal.results import MAX_CODE_LENGTH, clean, from_failure
from phonoscene.jobs import Request
from phonoscene.net.deadlines import Deadline
from phonoscene.version import USER_AGENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

logger = logging.getLogger(__name__)

#: fal_client reads this global at each call; there is no public option. 1: the first attempt is the
#: last.
fal_client.client.MAX_ATTEMPTS = 1

_HOSTS: Final = frozenset({"queue.fal.run", "queue.falrun.com", "api.fal.ai"})
#: Seconds for a POST or PUT from connecting to its last byte, far below the functions' timeouts.
TIMEOUT: Final = 20.0
#: The longest answer that is read, in bytes: a page of the list holds a hundred inputs.
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024

_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
#: What fal_client raises where an answer is not as it expects.
_NOT_UNDERSTOOD: Final = (KeyError, ValueError, TypeError, RecursionError)
#: These say that fal's gateway, or what stands before it, took no request. A 500, 502 or 504 does
#: not: a gateway may have broken down after it had queued the job.
_TURNED_AWAY: Final = frozenset({429, 503})
_UNTOLD: Final = frozenset({408, 409, 425, 500, 502, 504})


class Fetched(NamedTuple):
    """Status code and JSON of one GET, and what fal bills for it, where a header says so."""

    code: int
    body: Any
    billable_units: str | None


@dataclass(frozen=True)
class SubmitClient:
    """Sends one submission, with a client that is ready."""

    client: FalClient
    #: A client for the key that stands in the first one's place by now; None where it is the same.
    renewed: Callable[[], FalClient | None]

    def submit(self, submission: Submission) -> SubmitOutcome:
        """POST the job, once; and once more where fal did not know the key, and there is another.

        A request that could not be authenticated is queued nowhere.
        """
        try:
            return self._post(submission)
        except FalClientHTTPError as exc:
            unknown = exc.status_code == httpx.codes.UNAUTHORIZED
            client = self.renewed() if unknown else None
            return SubmitClient(client, lambda: None).submit(submission) if client else _answer(exc)

    def _post(self, submission: Submission) -> SubmitOutcome:
        try:
            return Accepted(self.client.submit(submission))
        except _NEVER_SENT as exc:
            why = f"fal cannot be reached ({type(exc).__name__})"
            return Refused("fal_unreachable", why, retryable=True)
        except httpx.HTTPError as exc:
            return Unknown(type(exc).__name__)
        except _NOT_UNDERSTOOD as exc:  # accepted, in words not understood
            return Unknown(f"answer_malformed: {type(exc).__name__}")


class _Exchange(threading.local):
    """What this thread exchanges with fal now; other threads use the same client beside it."""

    deadline: Deadline | None = None
    answer: httpx.Response | None = None


class FalClient:
    """fal_client for one key, which it keeps; it follows no redirect and repeats nothing."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._made = SyncClient(key=key, default_timeout=TIMEOUT)
        self._http = self._made._client  # noqa: SLF001 - its own calls poll or retry without an end
        # fal_client follows redirects: a 307 would be a second POST, wherever it points
        self._http.follow_redirects = False
        agent = self._http.headers["User-Agent"]
        self._http.headers["User-Agent"] = f"{USER_AGENT} {agent}"
        # each exchange has a connection of its own, which its deadline watches; and none is used
        # that may have died while the function was frozen
        self._http.headers["Connection"] = "close"
        self._http.event_hooks = {"request": [self._watch], "response": [self._keep]}
        self._now = _Exchange()

    def submit(self, submission: Submission) -> Request:
        """The one POST; errors are httpx's and fal_client's.

        An answer that names a request and lacks its URLs is enough: they can be made.
        """
        try:
            with self._exchange(TIMEOUT):
                handle = self._made.submit(
                    ENDPOINT,
                    arguments=dict(submission.arguments),
                    webhook_url=submission.webhook_url,
                    headers=submission.headers(),
                    start_timeout=submission.start_timeout,
                )
                return _request(handle)
        except _NOT_UNDERSTOOD:
            last = self._now.answer
            request_id = accepted_id(_parsed(last.content)) if last else None
            if request_id is None:
                raise
            return Request(request_id=request_id)

    def named(self, request_id: str) -> Request:
        """The request of this id, with its URLs as fal_client makes them."""
        return _request(self._made.get_handle(ENDPOINT, request_id))

    def get(self, url: str, seconds: float, query: Mapping[str, Any] | None = None) -> Fetched:
        """What one GET brings, within so many ``seconds``.

        Raises:
            FalUnavailable: it cannot be had now, or not with our key.
        """
        if not is_fals(url):
            raise FalUnavailable("a URL of the record is not fal's")
        try:
            with (
                self._exchange(seconds) as deadline,
                self._http.stream("GET", url, params=query) as answer,
            ):
                raw = _read(answer)
                if deadline.is_over:  # a body without a length ends where its connection does
                    raise FalUnavailable(f"fal's answer takes longer than {deadline.seconds} s")
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as exc:
            raise FalUnavailable(f"fal could not be asked: {type(exc).__name__}") from exc
        units = answer.headers.get("X-Fal-Billable-Units")
        return Fetched(answer.status_code, _parsed(raw), units)

    def put(self, url: str) -> None:
        """One PUT, never repeated, whatever fal answers."""
        try:
            if is_fals(url):
                with self._exchange(TIMEOUT), self._http.stream("PUT", url):
                    pass
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as exc:
            logger.info("cancel.unheard", extra={"error": type(exc).__name__})

    @contextmanager
    def _exchange(self, seconds: float) -> Iterator[Deadline]:
        """One request and its answer, which end together when their time is over."""
        self._now.answer = None
        with Deadline(seconds) as deadline:
            self._now.deadline = deadline
            yield deadline

    def _watch(self, request: httpx.Request) -> None:
        if self._now.deadline:
            self._now.deadline.watch_request(request)

    def _keep(self, response: httpx.Response) -> None:
        self._now.answer = response


def is_fals(url: str | None) -> bool:
    """Whether the key may be sent there: to fal's own hosts, over https, at its usual port.

    It is read by the same parser that sends it.
    """
    try:
        parsed = httpx.URL(url or "")
    except (httpx.InvalidURL, UnicodeError, ValueError, TypeError):
        return False
    is_plain = parsed.scheme == "https" and not parsed.userinfo and parsed.port in (None, 443)
    return is_plain and parsed.host in _HOSTS


def _request(handle: SyncRequestHandle) -> Request:
    """The accepted request, without addresses that are not fal's.

    Raises:
        ValueError: its id is not what is documented.
    """
    request_id = accepted_id({"request_id": handle.request_id})
    if request_id is None:
        raise ValueError("the id of the request is not as documented")
    urls = {name: getattr(handle, name) for name in ("status_url", "response_url", "cancel_url")}
    return Request(request_id=request_id, **{n: url for n, url in urls.items() if is_fals(url)})


def _read(answer: httpx.Response) -> bytes:
    """The body, which must not fill the memory."""
    raw = bytearray()
    for chunk in answer.iter_bytes():
        raw += chunk
        if len(raw) > MAX_ANSWER_BYTES:
            raise FalUnavailable("fal's answer is too long")
    return bytes(raw)


def _parsed(raw: bytes) -> Any:
    """The JSON of an answer; None where it is none."""
    try:
        return read_json(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _answer(exc: FalClientHTTPError) -> SubmitOutcome:
    """What an HTTP error means for the job."""
    status, headers = exc.status_code, {name.lower() for name in exc.response_headers}
    is_fals_own = status >= httpx.codes.INTERNAL_SERVER_ERROR and "x-fal-request-id" in headers
    if is_fals_own or status in _UNTOLD or status < httpx.codes.BAD_REQUEST:
        return Unknown(f"http_{status}")
    if status in REFUSED_ACCOUNT:
        return Refused(ACCOUNT, f"fal refuses the account: {_said(exc)}", retryable=True)
    if status in _TURNED_AWAY:
        return Refused("fal_busy", f"fal answered {status}", retryable=True)
    if status < httpx.codes.INTERNAL_SERVER_ERROR:
        code = clean(exc.error_type or "fal_refused", MAX_CODE_LENGTH)
        return Refused(code, f"fal refused the job: {_said(exc)}", retryable=False)
    return Unknown(f"http_{status}")


def _said(exc: FalClientHTTPError) -> str:
    """Fal's reason without ``input``, which would repeat our presigned URL and the prompt."""
    errors = from_failure("", {"detail": exc.message}, None).errors
    return "; ".join(
        f"{error.field}: {error.message}" if error.field else error.message for error in errors
    )
