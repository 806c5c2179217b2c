"""fal's queue: the only module that imports fal_client.

One call of ``submit`` is at most one POST that fal could accept: fal has no idempotency key and
bills each copy, and fal_client would send ten (measured with 1.0.3, whose answers were lost).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import fal_client.client
import httpx
from fal_client import FalClientHTTPError, SyncClient, SyncRequestHandle

from phonoscene.errors import SubmissionPostponed, VideoUnavailable
from phonoscene.jobs import Request
from phonoscene.submissions import Accepted, Answer, Refused, Submission, Unknown
from phonoscene.verdicts import Verdict, from_failure, from_result

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

#: fal_client reads this global at each call; there is no public option. 1: the first attempt is the
#: last.
fal_client.client.MAX_ATTEMPTS = 1

ENDPOINT: Final = "fal-ai/ltx-2.3-22b/distilled/audio-to-video"
#: Seconds for one call, far below the functions' own timeouts.
TIMEOUT: Final = 20.0

_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
#: These say that fal's gateway, or what stands before it, took no request. A 502 or 504 without
#: fal's request id does not: a proxy gave up waiting for a gateway that may have queued the job.
_TURNED_AWAY: Final = frozenset({429, 500, 503})
_UNTOLD: Final = frozenset({408, 409, 425, 502, 504})
_ACCOUNT: Final = frozenset({401, 402, 403})


class FalQueue:
    """The endpoint's queue. ``key`` is asked at each call, so a rotated key needs no deployment."""

    def __init__(self, key: Callable[[], str]) -> None:
        self._key = key
        self._clients: dict[str, SyncClient] = {}

    def _client(self) -> SyncClient:
        """A client for today's key; fal_client keeps the key it was made with."""
        key = self._key().strip()
        if key not in self._clients:
            for old in self._clients.values():
                old._client.close()  # noqa: SLF001 - it has no close of its own
            client = SyncClient(key=key, default_timeout=TIMEOUT)
            # fal_client follows redirects: a 307 would be a second POST, wherever it points
            client._client.follow_redirects = False  # noqa: SLF001 - no option
            self._clients = {key: client}
        return self._clients[key]

    def check_key(self) -> None:
        """See that there is a key, and that an HTTP header can hold it.

        Raises:
            SubmissionPostponed: it is not one line of plain text.
        """
        key = self._key().strip()
        if not (key.isascii() and key.isprintable()) or " " in key or not key:
            raise SubmissionPostponed("the fal key is not one line of plain text")

    def submit(self, submission: Submission) -> Answer:
        """POST the job, once."""
        key = self._key().strip()
        if not key.isascii() or not key.isprintable() or " " in key or not key:
            return Refused(
                "fal_account", "the fal key is not one line of plain text", retryable=True
            )
        try:
            handle = self._client().submit(
                ENDPOINT,
                arguments=dict(submission.arguments),
                webhook_url=submission.webhook_url,
                headers=submission.headers(),
                start_timeout=submission.start_timeout,
            )
            return Accepted(_request(handle))
        except FalClientHTTPError as exc:
            return _answer(exc)
        except _NEVER_SENT as exc:
            why = f"fal cannot be reached ({type(exc).__name__})"
            return Refused("fal_unreachable", why, retryable=True)
        except httpx.HTTPError as exc:
            return Unknown(type(exc).__name__)
        except (KeyError, ValueError, TypeError) as exc:  # accepted, in words not understood
            return Unknown(f"answer_malformed: {type(exc).__name__}")

    def result(self, request: Request) -> Verdict:
        """How a completed request ended; fal replays the model's own status code and body.

        Raises:
            VideoUnavailable: it cannot be told now. Only 422 is the model's own word: any other
            error may
                be about our key, or the hour, and the video is paid for.
        """
        client = self._client()
        url = request.response_url or client.get_handle(ENDPOINT, request.request_id).response_url
        try:
            # not fal_client's own get(), which polls without an end
            response = client._client.get(url, timeout=TIMEOUT)  # noqa: SLF001
            body = response.json()
            if response.is_success:
                return from_result(request.request_id, body)
        except (httpx.HTTPError, ValueError) as exc:
            why = f"the result could not be fetched: {type(exc).__name__}"
            raise VideoUnavailable(why) from exc
        if response.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
            raise VideoUnavailable(f"fal answered {response.status_code} for the result")
        return from_failure(request.request_id, body, None)


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
    if status in _ACCOUNT:
        return Refused("fal_account", f"fal refuses the account: {_said(exc)}", retryable=True)
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
