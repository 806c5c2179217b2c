"""rest.fal.ai's key set and tokens, and api.fal.ai's request list and metadata."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from local.fal_simulator.faults.answers import detail, obey, sent
from local.fal_simulator.hosts.storage import TOKEN_PATH
from local.fal_simulator.schema import ENDPOINT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.fal_simulator.config import Config
    from local.fal_simulator.faults.fault_dial import Fault, FaultDial
    from local.fal_simulator.hosts.storage import Storage
    from local.fal_simulator.jobs import Queue, Request
    from local.fal_simulator.signing import Signer

KEY_SET = "/.well-known/jwks.json"
DAY = 86_400.0
# fal documents the last 24 hours, widened to 90 days when a request id is given
WINDOW, WINDOW_BY_ID = DAY, 90 * DAY
MAX_PAGE = 100
STORED_BYTES = 1_000_000  # fal does not store payloads above 1 MB


class RestApi:
    """rest.fal.ai and the older rest.alpha.fal.ai."""

    def __init__(self, signer: Signer, storage: Storage, faults: FaultDial) -> None:
        self._signer = signer
        self._storage = storage
        self._faults = faults
        self.key_reads = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer the key set, or what a `keys` rule makes of it; or give a token for uploads."""
        if request.path == TOKEN_PATH:
            return await self._storage.sign_in(request)
        if request.path != KEY_SET:
            return detail(404, "Not Found")
        self.key_reads += 1
        fault = self._faults.take("keys", "status", "delay", "drip", "padded", "empty")
        if data := await obey(fault, request):
            return data
        if fault and fault.action == "empty":
            return web.json_response({"keys": []})
        padded = bool(fault and fault.action == "padded")
        return await sent(fault, request, web.json_response(self._signer.key_set(padded=padded)))


class PlatformError(Exception):
    """A refused Platform API call."""

    def __init__(self, status_code: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.kind = kind

    def response(self) -> web.Response:
        """Write it in the Platform API's own error shape."""
        error = {
            "type": self.kind,
            "message": str(self),
            "docs_url": "https://docs.fal.ai/platform-apis",
            "request_id": str(uuid.uuid4()),
        }
        return web.json_response({"error": error}, status=self.status_code)


class PlatformApi:
    """api.fal.ai/v1: the two calls an integration without an ADMIN key can use."""

    def __init__(self, config: Config, queue: Queue, faults: FaultDial) -> None:
        self._key = config.fal_key
        self._queue = queue
        self._faults = faults
        self.list_reads = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Route by path; only GET exists."""
        try:
            return await self._answer(request)
        except PlatformError as error:
            return error.response()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method != hdrs.METH_GET:
            raise PlatformError(405, "method_not_allowed", "Only GET is allowed here")
        if request.path == "/v1/meta":  # fal documents: no key needed
            return web.json_response({"webhook_ip_ranges": ["34.123.59.101/32"]})
        if request.path == "/v1/models/requests/by-endpoint":
            self._require_key(request)
            return await self._list(request)
        raise PlatformError(404, "not_found", "The simulator does not play this call")

    def _require_key(self, request: web.Request) -> None:
        sent = request.headers.get(hdrs.AUTHORIZATION, "").encode(errors="surrogateescape")
        if not hmac.compare_digest(sent, f"Key {self._key}".encode()):
            raise PlatformError(401, "authorization_error", "Authentication is required")

    async def _list(self, request: web.Request) -> web.StreamResponse:
        """The request list, or what a `requests` rule makes of it."""
        self.list_reads += 1
        page = self._page(request)
        fault = self._faults.take("requests")
        if data := await obey(fault, request):
            return data
        if fault and fault.action == "error_ok":
            return PlatformError(200, "server_error", "Something went wrong").response()
        told_page = _bent(page, fault) if fault else page
        return await sent(fault, request, web.json_response(told_page))

    def _page(self, request: web.Request) -> dict[str, Any]:
        offset, limit = _offset(request), _limit(request)
        found = self._matching(request)
        payloads = "payloads" in _listed(request, "expand")
        items = [_item(one, payloads=payloads) for one in found[offset : offset + limit]]
        more = len(found) > offset + limit
        cursor = _cursor(offset + limit) if more else None
        return {"items": items, "next_cursor": cursor, "has_more": more}

    def _matching(self, request: web.Request) -> list[Request]:
        """Return finished requests, newest end first.

        That a request is listed only when it has ended is a guess: fal sorts the list by end
        time and its status filter names only endings.
        """
        if not (endpoints := _listed(request, "endpoint_id")):
            raise PlatformError(400, "validation_error", "endpoint_id is required")
        ids, status = _listed(request, "request_id"), request.query.get("status")
        since, until = _bounds(request, WINDOW_BY_ID if ids else WINDOW)
        found = [
            one
            for one in self._queue.requests.values()
            if ENDPOINT in endpoints
            and one.completed_at is not None
            and since <= one.completed_at < until
            and (not ids or one.request_id in ids)
            and status in {None, _status(one)}
        ]
        return sorted(found, key=lambda one: one.completed_at or 0.0, reverse=True)


def _bent(page: dict[str, Any], fault: Fault) -> dict[str, Any]:
    """A page of the list in a form that fal does not document."""
    if fault.action == "without_input":
        return page | {"items": [_without_input(item, fault.form) for item in page["items"]]}
    if fault.action == "envelope":
        rest = {name: value for name, value in page.items() if name != "items"}
        return {**rest, fault.key: page["items"]}
    if fault.action == "next_page":
        return {"items": [], "next": _cursor(0)}
    return page


def _without_input(item: dict[str, Any], form: str | None) -> dict[str, Any]:
    kept = {name: value for name, value in item.items() if name != "json_input"}
    data = item.get("json_input") or {}
    changed: dict[str | None, dict[str, Any]] = {
        "null": {"json_input": None},
        "text": {"json_input": json.dumps(data)},
        "no_url": {"json_input": {name: data[name] for name in data if name != "audio_url"}},
    }
    return kept | changed.get(form, {})


def _cursor(offset: int) -> str:
    return base64.b64encode(str(offset).encode()).decode()


def _listed(request: web.Request, name: str) -> list[str]:
    """Read a parameter that may be repeated or comma-separated."""
    values: Iterable[str] = request.query.getall(name, [])
    return [part for value in values for part in value.split(",") if part]


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", "50")
    if not text.isdecimal() or not 1 <= int(text) <= MAX_PAGE:
        raise PlatformError(400, "validation_error", f"limit must be 1 to {MAX_PAGE}")
    return int(text)


def _offset(request: web.Request) -> int:
    try:
        return int(base64.b64decode(request.query.get("cursor", "") or "MA=="))
    except (binascii.Error, ValueError) as error:
        raise PlatformError(400, "validation_error", "cursor is not one of ours") from error


def _bounds(request: web.Request, window: float) -> tuple[float, float]:
    until = _instant(request, "end") or time.time() + 1
    return _instant(request, "start") or time.time() - window, until


def _instant(request: web.Request, name: str) -> float | None:
    if not (text := request.query.get(name)):
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise PlatformError(400, "validation_error", f"{name} is not an ISO 8601 date") from error
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()


def _status(request: Request) -> str:
    code = request.outcome.status_code if request.outcome else 0
    if code < 400:  # noqa: PLR2004 - HTTP's classes
        return "success"
    return "user_error" if code < 500 else "error"  # noqa: PLR2004 - as above


def _item(request: Request, *, payloads: bool) -> dict[str, Any]:
    started = request.started_at or request.completed_at or request.submitted_at
    item = {
        "request_id": request.request_id,
        "endpoint_id": ENDPOINT,
        "sent_at": _iso(request.submitted_at),
        "started_at": _iso(started),
        "ended_at": _iso(request.completed_at),
        "status_code": request.outcome.status_code if request.outcome else None,
        "duration": round((request.completed_at or started) - started, 3),
    }
    return item | (_payloads(request) if payloads else {})


def _payloads(request: Request) -> dict[str, Any]:
    if request.headers.get("x-fal-store-io") == "0" or request.outcome is None:
        return {}
    output = request.outcome.body
    kept = len(json.dumps(output)) <= STORED_BYTES
    return {"json_input": request.arguments, "json_output": output if kept else None}


def _iso(at: float | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
