"""fal's queue: how a job is handed over, asked for, looked for and stopped.

What is said on the wire is ``fal_calls``'s, which is imported where fal is called: with fal_client
it takes a tenth of a cold start, and most events of ``store`` and ``reconcile`` need no fal.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from phonoscene.errors import NoRoom, VideoUnavailable
from phonoscene.submissions import ENDPOINT, REFUSED_ACCOUNT, Ended, Lost, Pending
from phonoscene.verdicts import Verdict, from_failure, from_result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from phonoscene.fal_calls import FalClient, Fetched, Poster
    from phonoscene.jobs import Request

logger = logging.getLogger(__name__)

#: fal's Platform API: finished requests of the endpoint, newest first.
REQUESTS_URL: Final = "https://api.fal.ai/v1/models/requests/by-endpoint"
MOST_PAGES: Final = 20


class FalQueue:
    """The endpoint's queue. ``key`` is asked at each call, so a rotated key needs no deployment."""

    def __init__(self, key: Callable[..., str]) -> None:
        self._key = key
        self._made: FalClient | None = None

    def _client(self, *, fresh: bool = False) -> FalClient:
        """A client for today's key; fal_client keeps the key it was made with.

        Raises:
            NoRoom: the key is not one line of plain text, so no header can hold it.
        """
        from phonoscene.fal_calls import FalClient  # noqa: PLC0415 - see above

        key = self._key(fresh=fresh).strip()
        if not (key and key.isascii() and key.isprintable()) or " " in key:
            logger.error("fal_key.malformed")
            raise NoRoom("account")
        if self._made is None or self._made.key != key:
            if self._made:
                self._made.close()
            self._made = FalClient(key)
        return self._made

    def ready(self) -> Poster:
        """What sends one POST; all that could fail before it is sent has been done.

        Raises:
            NoRoom: the key cannot be used.
        """
        return self._client().poster(self._renewed)

    def _renewed(self) -> FalClient | None:
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
        code, body, units = self._get(self._whole(request).response_url)
        if code == HTTPStatus.UNPROCESSABLE_ENTITY:
            return from_failure(request.request_id, body, None)
        if not _is_success(code):
            raise VideoUnavailable(f"fal answered {code} for the result")
        try:
            return from_result(request.request_id, body, units)
        except ValueError as exc:
            raise VideoUnavailable("fal's result is not the endpoint's output") from exc

    def poll(self, request: Request) -> Pending | Ended | Lost:
        """How a request stands; an ended one in the form its webhook would have.

        Raises:
            VideoUnavailable: it cannot be told now.
        """
        request = self._whole(request)
        code, body, _ = self._get(request.status_url)
        if code == HTTPStatus.NOT_FOUND:
            return Lost()
        if not _is_success(code):
            raise VideoUnavailable(f"fal answered {code} for the status")
        if body.get("status") != "COMPLETED":  # IN_QUEUE, IN_PROGRESS; there is no FAILED
            return Pending()
        failed = str(body.get("error_type") or body.get("error") or "")
        return self._ended(request, failed)

    def _ended(self, request: Request, failed: str) -> Ended | Lost:
        """The stored result; fal replays the model's own status code and body.

        An error is the run's only where the status says that it ``failed``, or the code is 422.
        """
        code, body, units = self._get(request.response_url)
        if code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            return Lost()
        told = {"request_id": request.request_id, "payload": body}
        if _is_success(code):
            billed = {"billable_units": units} if units else {}
            return Ended(json.dumps({**told, "status": "OK", **billed}))
        is_about_us = code in REFUSED_ACCOUNT or code == HTTPStatus.TOO_MANY_REQUESTS
        if is_about_us or not (failed or code == HTTPStatus.UNPROCESSABLE_ENTITY):
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
            code, page, _ = self._get(REQUESTS_URL, query | cursor)
            if not _is_success(code):
                raise VideoUnavailable(f"fal answered {code} for the list of requests")
            for item in page.get("items", []):
                if marker in str((item.get("json_input") or {}).get("audio_url", "")):
                    return self._client().named(str(item["request_id"]))
            if not page.get("has_more"):
                return None
            cursor = {"cursor": str(page.get("next_cursor"))}
        raise VideoUnavailable("the list of requests is too long to be searched")

    def _whole(self, request: Request) -> Request:
        """The request with its URLs: as fal returned them, else as fal_client would ask."""
        known = {name: value for name, value in request.model_dump().items() if value}
        return self._client().named(request.request_id).model_copy(update=known)

    def cancel(self, request: Request) -> None:
        """Ask fal to stop a request; one that runs may still end, and be billed."""
        if request.cancel_url:
            self._client().put(request.cancel_url)

    def _get(self, url: str | None, query: Mapping[str, Any] | None = None) -> Fetched:
        """What one GET brings, by another key where fal did not know the first."""
        fetched = self._client().get(str(url), query)
        if fetched.code == HTTPStatus.UNAUTHORIZED and (client := self._renewed()):
            fetched = client.get(str(url), query)
        return fetched


def _is_success(code: int) -> bool:
    return HTTPStatus.OK <= code < HTTPStatus.MULTIPLE_CHOICES
