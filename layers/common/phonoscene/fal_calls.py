"""Calls to fal's queue: the only module that imports fal_client.

One call of ``submit`` is at most one POST that fal could accept: fal has no idempotency key and
bills each copy, and fal_client would send ten (measured with 1.0.3, whose answers were lost).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import fal_client.client
import httpx
from fal_client import FalClientHTTPError, SyncClient, SyncRequestHandle

from phonoscene.errors import VideoUnavailable
from phonoscene.jobs import Request
from phonoscene.submissions import (
    ACCOUNT,
    ENDPOINT,
    REFUSED_ACCOUNT,
    Accepted,
    Answer,
    Refused,
    Submission,
    Unknown,
)
from phonoscene.verdicts import from_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

#: fal_client reads this global at each call; there is no public option. 1: the first attempt is the
#: last.
fal_client.client.MAX_ATTEMPTS = 1

_HOSTS: Final = frozenset({"queue.fal.run", "queue.falrun.com", "api.fal.ai"})
#: Seconds for one call, far below the functions' own timeouts.
TIMEOUT: Final = 20.0

_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
#: These say that fal's gateway, or what stands before it, took no request. A 502 or 504 without
#: fal's request id does not: a proxy gave up waiting for a gateway that may have queued the job.
_TURNED_AWAY: Final = frozenset({429, 500, 503})
_UNTOLD: Final = frozenset({408, 409, 425, 502, 504})


class Fetched(NamedTuple):
    """Status code and JSON of one GET, and what fal bills for it, where a header says so."""

    code: int
    body: Any
    billable_units: str | None


@dataclass(frozen=True)
class Poster:
    """Sends one submission, with a client that is ready."""

    client: FalClient
    #: A client for the key that stands in the first one's place by now; None where it is the same.
    renewed: Callable[[], FalClient | None]

    def submit(self, submission: Submission) -> Answer:
        """POST the job, once; and once more where fal did not know the key, and there is another.

        A request that could not be authenticated is queued nowhere.
        """
        try:
            return self._post(submission)
        except FalClientHTTPError as exc:
            unknown = exc.status_code == httpx.codes.UNAUTHORIZED
            client = self.renewed() if unknown else None
            return Poster(client, lambda: None).submit(submission) if client else _answer(exc)

    def _post(self, submission: Submission) -> Answer:
        try:
            return Accepted(self.client.submit(submission))
        except _NEVER_SENT as exc:
            why = f"fal cannot be reached ({type(exc).__name__})"
            return Refused("fal_unreachable", why, retryable=True)
        except httpx.HTTPError as exc:
            return Unknown(type(exc).__name__)
        except (KeyError, ValueError, TypeError) as exc:  # accepted, in words not understood
            return Unknown(f"answer_malformed: {type(exc).__name__}")


class FalClient:
    """fal_client for one key, which it keeps; it follows no redirect and repeats nothing."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._made = SyncClient(key=key, default_timeout=TIMEOUT)
        self._http = self._made._client  # noqa: SLF001 - its own calls poll or retry without an end
        # fal_client follows redirects: a 307 would be a second POST, wherever it points
        self._http.follow_redirects = False

    def close(self) -> None:
        """Give up its connections."""
        self._http.close()

    def poster(self, renewed: Callable[[], FalClient | None]) -> Poster:
        """What sends one submission with this key, or with the one that is ``renewed``."""
        return Poster(self, renewed)

    def submit(self, submission: Submission) -> Request:
        """The one POST; errors are httpx's and fal_client's."""
        handle = self._made.submit(
            ENDPOINT,
            arguments=dict(submission.arguments),
            webhook_url=submission.webhook_url,
            headers=submission.headers(),
            start_timeout=submission.start_timeout,
        )
        return _request(handle)

    def named(self, request_id: str) -> Request:
        """The request of this id, with its URLs as fal_client makes them."""
        return _request(self._made.get_handle(ENDPOINT, request_id))

    def get(self, url: str, query: Mapping[str, Any] | None) -> Fetched:
        """What one GET brings.

        Raises:
            VideoUnavailable: it cannot be had now, or not with our key.
        """
        if not _is_fals(url):
            raise VideoUnavailable("a URL of the record is not fal's")
        try:
            answer = self._http.get(url, params=query, timeout=TIMEOUT)
            body = answer.json()
        except (httpx.HTTPError, ValueError) as exc:
            raise VideoUnavailable(f"fal could not be asked: {type(exc).__name__}") from exc
        units = answer.headers.get("X-Fal-Billable-Units")
        return Fetched(answer.status_code, body if isinstance(body, dict) else {}, units)

    def put(self, url: str) -> None:
        """One PUT, which nobody repeats; whatever fal answers."""
        try:
            if _is_fals(url):
                self._http.put(url, timeout=TIMEOUT)
        except httpx.HTTPError as exc:
            logger.info("cancel.unheard", extra={"error": type(exc).__name__})


def _is_fals(url: str) -> bool:
    """Whether the key may go there; read by the same parser that sends it."""
    return httpx.URL(url).host in _HOSTS


def _request(handle: SyncRequestHandle) -> Request:
    """The accepted request; a ``ValueError`` where it is not what is documented."""
    return Request(
        request_id=handle.request_id,
        status_url=handle.status_url,
        response_url=handle.response_url,
        cancel_url=handle.cancel_url,
    )


def _answer(exc: FalClientHTTPError) -> Answer:
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
        return Refused(
            exc.error_type or "fal_refused", f"fal refused the job: {_said(exc)}", retryable=False
        )
    return Unknown(f"http_{status}")


def _said(exc: FalClientHTTPError) -> str:
    """Fal's reason without ``input``, which would repeat our presigned URL and the prompt."""
    errors = from_failure("", {"detail": exc.message}, None).errors
    return "; ".join(
        f"{error.field}: {error.message}" if error.field else error.message for error in errors
    )
