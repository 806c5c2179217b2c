"""fal's queue: how a job is handed over, asked for, looked for and stopped.

What is sent and read is ``client``'s, which is imported where fal is called: with fal_client
it takes a tenth of a cold start, and most events of ``store`` and ``reconcile`` need no fal.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from phonoscene.errors import AnswerMalformed, FalUnavailable, MustWait
from phonoscene.fal.answers import COMPLETED, QUEUED, read_page, read_status
from phonoscene.fal.requests import ENDPOINT, REFUSED_ACCOUNT, Ended, Lost, Pending, Unclear
from phonoscene.fal.results import Result, clean, from_failure, from_result
from phonoscene.jobs import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from phonoscene.fal.answers import Page, Status
    from phonoscene.fal.client import FalClient, Fetched, SubmitClient

logger = logging.getLogger(__name__)

#: fal's Platform API: finished requests of the endpoint, newest first.
REQUESTS_URL: Final = "https://api.fal.ai/v1/models/requests/by-endpoint"
MAX_PAGES: Final = 40
#: Seconds for the answer about one request: other jobs wait for their turn.
POLL_SECONDS: Final = 5.0
#: Seconds for the result that a webhook only announced.
RESULT_SECONDS: Final = 20.0
#: Seconds for one page of the list, and after how many no further page is asked for: a search ends
#: within the time that a pass of `reconcile` leaves for its last job.
PAGE_SECONDS: Final = 10.0
SEARCH_SECONDS: Final = 10.0


class FalQueue:
    """The endpoint's queue. ``key`` is asked at each call, so a rotated key needs no deployment."""

    def __init__(self, key: Callable[..., str]) -> None:
        self._key = key
        self._made: FalClient | None = None
        self._lock = threading.Lock()

    def _client(self, *, fresh: bool = False) -> FalClient:
        """A client for today's key; fal_client keeps the key it was made with.

        Raises:
            MustWait: the key is not one line of plain text, so no header can hold it.
        """
        from phonoscene.fal.client import FalClient  # noqa: PLC0415 - see above

        with self._lock:
            key = self._key(fresh=fresh).strip()
            if not (key and key.isascii() and key.isprintable()) or " " in key:
                logger.error("fal_key.malformed")
                raise MustWait("account")
            # another thread may still use the client of the key before; it keeps no connection
            if self._made is None or self._made.key != key:
                self._made = FalClient(key)
            return self._made

    def ready(self) -> SubmitClient:
        """What sends one POST; all that could fail before it is sent has been done.

        Raises:
            MustWait: the key cannot be used.
        """
        from phonoscene.fal.client import SubmitClient  # noqa: PLC0415 - see above

        client = self._client()
        return SubmitClient(client, partial(self._renewed, client))

    def _renewed(self, before: FalClient) -> FalClient | None:
        """A client for another key than the one before, if one was put since."""
        with suppress(MustWait):
            client = self._client(fresh=True)
            return client if client is not before else None
        return None

    def result(self, request: Request) -> Result:
        """How a completed request ended; fal replays the model's own status code and body.

        Raises:
            FalUnavailable: it is not known now. Only 422 is the model's own word: any other error
                may be about our key, or the hour, and the video is paid for.
        """
        code, body, units = self._get(self._whole(request).response_url, RESULT_SECONDS)
        if code == HTTPStatus.UNPROCESSABLE_ENTITY:
            return from_failure(request.request_id, body, None)
        if code != HTTPStatus.OK:  # 202: it is not there yet
            raise FalUnavailable(f"fal answered {code} for the result")
        try:
            return from_result(request.request_id, body, units)
        except ValueError as exc:
            raise FalUnavailable("fal's result is not the endpoint's output") from exc

    def poll(
        self, request: Request, *, is_overdue: bool = False
    ) -> Pending | Unclear | Ended | Lost:
        """How a request stands; an ended one in the form its webhook would have.

        ``is_overdue``: fal has been asked for long, so where its result cannot be had the status
        alone decides; and where the status is none that is known, the result.

        Raises:
            FalUnavailable: it is not known now.
        """
        request = self._whole(request)
        code, body, _ = self._get(request.status_url, POLL_SECONDS)
        if code == HTTPStatus.NOT_FOUND:
            return Lost()
        if not _is_success(code):
            raise FalUnavailable(f"fal answered {code} for the status")
        status = read_status(body)
        if status.status in QUEUED:
            return Pending()
        if status.status == COMPLETED or is_overdue:
            return self._ended(request, status, is_overdue=is_overdue)
        return Unclear(clean(status.status, 40))

    def _ended(self, request: Request, status: Status, *, is_overdue: bool) -> Ended | Lost:
        """The stored result; fal replays the model's own status code and body.

        An error is the run's only where the status says that the run failed and the answer gives a
        reason, or where the code is 422: fal's gateway has errors of its own.
        """
        code, body, units = self._get(request.response_url, POLL_SECONDS)
        if code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            return self._failed(request, status, {}) if status.has_failed else Lost()
        if code == HTTPStatus.OK and body is None:  # it would be taken for a result to be fetched
            raise FalUnavailable("fal's result is not JSON")
        if code == HTTPStatus.OK:
            billed = {"billable_units": units} if units else {}
            return Ended(json.dumps({**_webhook_body(request, body), "status": "OK", **billed}))
        is_about_us = code in REFUSED_ACCOUNT or code == HTTPStatus.TOO_MANY_REQUESTS
        is_replayed = isinstance(body, dict) and bool(body.get("detail") or body.get("error_type"))
        is_the_runs = code == HTTPStatus.UNPROCESSABLE_ENTITY or (
            status.has_failed and code >= HTTPStatus.BAD_REQUEST and (is_replayed or is_overdue)
        )
        if is_about_us or not is_the_runs:
            raise FalUnavailable(f"fal answered {code} for the result")
        return self._failed(request, status, body)

    def _failed(self, request: Request, status: Status, body: Any) -> Ended:
        """The webhook of a failure, with what the status said of it."""
        said = {"error": status.error, "error_type": status.error_type}
        return Ended(json.dumps({**_webhook_body(request, body), "status": "ERROR", **said}))

    def find(self, marker: str, since: datetime, until: datetime) -> Request | None:
        """The request that ended in this time and whose audio URL carries ``marker``.

        None is a proof: the whole list was read and understood, and shows none.

        Raises:
            FalUnavailable: the list cannot be had now, or is not understood.
        """
        query = {
            "endpoint_id": ENDPOINT,
            "start": since.isoformat(),
            "end": until.isoformat(),
            "expand": "payloads",
            "limit": 100,
        }
        is_whole, seen = True, set[str]()
        for page in self._pages(query):
            found = page.find(marker)
            if found:
                return Request(request_id=found)
            is_whole &= page.is_whole and page.next_cursor not in seen
            seen |= {page.next_cursor} if page.next_cursor else set()
        if not is_whole:
            raise FalUnavailable("fal's list of requests is not understood")
        return None

    def _pages(self, query: Mapping[str, Any]) -> Iterator[Page]:
        cursor: dict[str, str] = {}
        began = time.monotonic()
        for _ in range(MAX_PAGES):
            if time.monotonic() - began > SEARCH_SECONDS:
                raise FalUnavailable(f"the list of requests takes over {SEARCH_SECONDS:.0f} s")
            code, body, _ = self._get(REQUESTS_URL, PAGE_SECONDS, {**query, **cursor})
            if not _is_success(code):
                raise FalUnavailable(f"fal answered {code} for the list of requests")
            try:
                page = read_page(body)
            except AnswerMalformed as exc:
                raise FalUnavailable(str(exc)) from exc
            yield page
            if page.next_cursor is None:
                return
            cursor = {"cursor": page.next_cursor}
        raise FalUnavailable("the list of requests is too long to be searched")

    def _whole(self, request: Request) -> Request:
        """The request with its URLs: as fal returned them, else as fal_client would ask."""
        from phonoscene.fal.client import is_fals  # noqa: PLC0415 - see above

        known = {name: url for name, url in request.model_dump().items() if is_fals(url)}
        return self._client().named(request.request_id).model_copy(update=known)

    def cancel(self, request: Request) -> None:
        """Ask fal to stop a request; one that runs may still end, and be billed."""
        self._client().put(str(self._whole(request).cancel_url))

    def _get(
        self, url: str | None, seconds: float, query: Mapping[str, Any] | None = None
    ) -> Fetched:
        """What one GET brings, by another key where fal did not know the first."""
        client = self._client()
        fetched = client.get(str(url), seconds, query)
        if fetched.code == HTTPStatus.UNAUTHORIZED and (renewed := self._renewed(client)):
            fetched = renewed.get(str(url), seconds, query)
        return fetched


def _webhook_body(request: Request, payload: Any) -> dict[str, Any]:
    return {"request_id": request.request_id, "payload": payload}


def _is_success(code: int) -> bool:
    return HTTPStatus.OK <= code < HTTPStatus.MULTIPLE_CHOICES
