"""fal's queue: the only module that imports fal_client.

One call of ``submit`` is at most one POST that fal could accept: fal has no idempotency key and
bills each copy, and fal_client would send ten (measured with 1.0.3, whose answers were lost).
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import fal_client.client
import httpx
from fal_client import FalClientHTTPError, SyncClient, SyncRequestHandle

from phonoscene.errors import NoRoom, VideoUnavailable
from phonoscene.jobs import Request
from phonoscene.submissions import (
    ACCOUNT,
    Accepted,
    Answer,
    Ended,
    Lost,
    Pending,
    Refused,
    Submission,
    Unknown,
)
from phonoscene.verdicts import Verdict, from_failure, from_result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

logger = logging.getLogger(__name__)

#: fal_client reads this global at each call; there is no public option. 1: the first attempt is the
#: last.
fal_client.client.MAX_ATTEMPTS = 1

ENDPOINT: Final = "fal-ai/ltx-2.3-22b/distilled/audio-to-video"
#: fal's Platform API: finished requests of the endpoint, newest first.
REQUESTS_URL: Final = "https://api.fal.ai/v1/models/requests/by-endpoint"
MOST_PAGES: Final = 20
_HOSTS: Final = frozenset({"queue.fal.run", "queue.falrun.com", "api.fal.ai"})
#: Seconds for one call, far below the functions' own timeouts.
TIMEOUT: Final = 20.0

_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
#: These say that fal's gateway, or what stands before it, took no request. A 502 or 504 without
#: fal's request id does not: a proxy gave up waiting for a gateway that may have queued the job.
_TURNED_AWAY: Final = frozenset({429, 500, 503})
_UNTOLD: Final = frozenset({408, 409, 425, 502, 504})
_ACCOUNT: Final = frozenset({401, 402, 403})


@dataclass(frozen=True)
class Poster:
    """Sends one submission, with a client that is ready."""

    client: SyncClient
    #: A client for the key that stands in the first one's place by now; None where it is the same.
    renewed: Callable[[], SyncClient | None]

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
            handle = self.client.submit(
                ENDPOINT,
                arguments=dict(submission.arguments),
                webhook_url=submission.webhook_url,
                headers=submission.headers(),
                start_timeout=submission.start_timeout,
            )
            return Accepted(_request(handle))
        except _NEVER_SENT as exc:
            why = f"fal cannot be reached ({type(exc).__name__})"
            return Refused("fal_unreachable", why, retryable=True)
        except httpx.HTTPError as exc:
            return Unknown(type(exc).__name__)
        except (KeyError, ValueError, TypeError) as exc:  # accepted, in words not understood
            return Unknown(f"answer_malformed: {type(exc).__name__}")


class FalQueue:
    """The endpoint's queue. ``key`` is asked at each call, so a rotated key needs no deployment."""

    def __init__(self, key: Callable[..., str]) -> None:
        self._key = key
        self._made: SyncClient | None = None

    def _client(self, *, fresh: bool = False) -> SyncClient:
        """A client for today's key; fal_client keeps the key it was made with.

        Raises:
            NoRoom: the key is not one line of plain text, so no header can hold it.
        """
        key = self._key(fresh=fresh).strip()
        if not (key and key.isascii() and key.isprintable()) or " " in key:
            logger.error("fal_key.malformed")
            raise NoRoom("account")
        if self._made is None or self._made.key != key:
            if self._made:
                self._made._client.close()  # noqa: SLF001 - it has no close of its own
            self._made = SyncClient(key=key, default_timeout=TIMEOUT)
            # fal_client follows redirects: a 307 would be a second POST, wherever it points
            self._made._client.follow_redirects = False  # noqa: SLF001 - no option
        return self._made

    def ready(self) -> Poster:
        """What sends one POST; all that could fail before it is sent has been done.

        Raises:
            NoRoom: the key cannot be used.
        """
        return Poster(self._client(), self._renewed)

    def _renewed(self) -> SyncClient | None:
        """A client for another key than the last one, if one was put since."""
        before = self._made
        with suppress(NoRoom):
            client = self._client(fresh=True)
            return client if client is not before else None
        return None

    def result(self, request: Request) -> Verdict:
        """How a completed request ended; fal replays the model's own status code and body.

        Raises:
            VideoUnavailable: it cannot be told now. Only 422 is the model's own word: any other
            error may
                be about our key, or the hour, and the video is paid for.
        """
        handle = self._client().get_handle(ENDPOINT, request.request_id)
        code, body = self._get(request.response_url or handle.response_url)
        if code == httpx.codes.UNPROCESSABLE_ENTITY:
            return from_failure(request.request_id, body, None)
        if not httpx.codes.is_success(code):
            raise VideoUnavailable(f"fal answered {code} for the result")
        try:
            return from_result(request.request_id, body)
        except ValueError as exc:
            raise VideoUnavailable("fal's result is not the endpoint's output") from exc

    def poll(self, request: Request) -> Pending | Ended | Lost:
        """How a request stands; an ended one in the form its webhook would have.

        Raises:
            VideoUnavailable: it cannot be told now.
        """
        handle = self._client().get_handle(ENDPOINT, request.request_id)
        code, body = self._get(request.status_url or handle.status_url)
        if code == httpx.codes.NOT_FOUND:
            return Lost()
        if not httpx.codes.is_success(code):
            raise VideoUnavailable(f"fal answered {code} for the status")
        if body.get("status") != "COMPLETED":  # IN_QUEUE, IN_PROGRESS; there is no FAILED
            return Pending()
        failed = str(body.get("error_type") or body.get("error") or "")
        return self._ended(request, request.response_url or handle.response_url, failed)

    def _ended(self, request: Request, url: str, failed: str) -> Ended | Lost:
        """The stored result; fal replays the model's own status code and body.

        An error is the run's only where the status says that it ``failed``, or the code is 422.
        """
        code, body = self._get(url)
        if code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
            return Lost()
        told = {"request_id": request.request_id, "payload": body}
        if httpx.codes.is_success(code):
            return Ended(json.dumps({**told, "status": "OK"}))
        is_about_us = code in _ACCOUNT or code == httpx.codes.TOO_MANY_REQUESTS
        if is_about_us or not (failed or code == httpx.codes.UNPROCESSABLE_ENTITY):
            raise VideoUnavailable(f"fal answered {code} for the result")
        return Ended(
            json.dumps({**told, "status": "ERROR", "error": f"Invalid status code: {code}"})
        )

    def find(self, marker: str, since: datetime, until: datetime) -> Request | None:
        """The request that ended in this time and whose audio URL carries ``marker``, or None.

        Raises:
            VideoUnavailable: the list cannot be had now.
        """
        query = {
            "endpoint_id": ENDPOINT,
            "start": since.isoformat(),
            "end": until.isoformat(),
            "expand": "payloads",
            "limit": 100,
        }
        cursor: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            code, page = self._get(REQUESTS_URL, query | cursor)
            if not httpx.codes.is_success(code):
                raise VideoUnavailable(f"fal answered {code} for the list of requests")
            for item in page.get("items", []):
                if marker in str((item.get("json_input") or {}).get("audio_url", "")):
                    return self._named(str(item["request_id"]))
            if not page.get("has_more"):
                return None
            cursor = {"cursor": str(page.get("next_cursor"))}
        raise VideoUnavailable("the list of requests is too long to be searched")

    def _named(self, request_id: str) -> Request:
        return _request(self._client().get_handle(ENDPOINT, request_id))

    def cancel(self, request: Request) -> None:
        """Ask fal to stop a request; one that runs may still end, and be billed."""
        url = request.cancel_url
        try:
            if url and httpx.URL(url).host in _HOSTS:
                self._client()._client.put(url, timeout=TIMEOUT)  # noqa: SLF001 - one try, no retries
        except httpx.HTTPError as exc:
            logger.info("cancel.unheard", extra={"error": type(exc).__name__})

    def _get(self, url: str, query: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """Status code and JSON of one GET; fal_client's own calls poll or retry without an end."""
        if httpx.URL(url).host not in _HOSTS:  # the key goes there
            raise VideoUnavailable("a URL of the record is not fal's")
        code, body = _got(self._client(), url, query)
        if code == httpx.codes.UNAUTHORIZED and (client := self._renewed()):
            code, body = _got(client, url, query)
        return code, body


def _got(client: SyncClient, url: str, query: Mapping[str, Any] | None) -> tuple[int, Any]:
    try:
        answer = client._client.get(url, params=query, timeout=TIMEOUT)  # noqa: SLF001 - see _get
        body = answer.json()
    except (httpx.HTTPError, ValueError) as exc:
        raise VideoUnavailable(f"fal could not be asked: {type(exc).__name__}") from exc
    return answer.status_code, body if isinstance(body, dict) else {}


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
