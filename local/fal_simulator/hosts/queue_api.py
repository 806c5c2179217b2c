"""queue.fal.run: submit, status, result and cancel, with fal's codes and shapes."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import math
import time
import uuid
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from local.fal_simulator.faults import oddities
from local.fal_simulator.faults.answers import detail, drop, obey, sent, told_status
from local.fal_simulator.jobs import QueueStatus, Request
from local.fal_simulator.redaction import without_secrets
from local.fal_simulator.schema import APP, ENDPOINT, InvalidInputError, read
from local.fal_simulator.webhooks import EARLY_WAIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.fal_simulator.config import Config
    from local.fal_simulator.faults.fault_dial import Fault, FaultDial
    from local.fal_simulator.jobs import Queue
    from local.fal_simulator.outcomes import Outcome

BASE = "https://queue.fal.run"
BEFORE = ("drop_before", "status", "exhausted_balance", "unauthorized", "redirect")
AFTER = ("lost_response", "delay", "foreign_urls", "without_urls", "drip")
MIN_START_TIMEOUT = 0.1  # seconds; fal documents "greater than 0.1"
LOCKED = (
    "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing"
)
NO_KEY = (
    f'Cannot access application "{APP}". Authentication is required to access this application.'
)
NOT_FOUND = {"status": "NOT_FOUND"}


class QueueApi:
    """The handlers; `posts` is every submission that arrived, accepted or not."""

    def __init__(self, config: Config, queue: Queue, faults: FaultDial) -> None:
        self._key = config.fal_key
        self._queue = queue
        self._faults = faults
        self.posts: list[dict[str, Any]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Route by path: `/{endpoint}` or `/{app or endpoint}/requests/{id}[/what]`."""
        if request.path == f"/{ENDPOINT}":
            return await self._post(request)
        app, found, rest = request.path.partition("/requests/")
        if not found or app not in (f"/{APP}", f"/{ENDPOINT}"):
            return detail(404, f'Application "{request.path.strip("/")}" not found')
        if refusal := self._unauthorized(request):
            return refusal
        request_id, _, what = rest.partition("/")
        return await self._about_request(request, request_id, what)

    def _unauthorized(self, request: web.Request) -> web.Response | None:
        sent = request.headers.get(hdrs.AUTHORIZATION)
        if sent is None:
            return detail(401, NO_KEY)
        expected = f"Key {self._key}".encode()
        known = hmac.compare_digest(sent.encode(errors="surrogateescape"), expected)
        return None if known else detail(401, "invalid key credentials")

    # submit

    async def _post(self, request: web.Request) -> web.StreamResponse:
        if request.method != hdrs.METH_POST:
            return detail(405, "Method Not Allowed")
        post: dict[str, Any] = {"at": time.time(), "request_id": None, "status_code": None}
        self.posts.append(post)
        response = await self._submit(request, post)
        post["status_code"] = None if post.get("dropped") else response.status
        return response

    async def _submit(self, request: web.Request, post: dict[str, Any]) -> web.StreamResponse:
        raw = await request.read()
        arguments = _parsed(raw)
        post["prompt"] = prompt = _prompt(arguments)
        if fault := self._faults.take("submit", *BEFORE, prompt=prompt):
            post |= {"fault": fault.action, "dropped": fault.action == "drop_before"}
            return _refuse(fault, request)
        if refusal := self._unauthorized(request) or self._overfull(request):
            return refusal
        try:
            accepted = _accepted(request, arguments)
        except InvalidInputError as error:
            return _invalid(error.detail)
        post["request_id"] = accepted.request_id
        return await self._accept(request, accepted, post)

    async def _accept(
        self, request: web.Request, accepted: Request, post: dict[str, Any]
    ) -> web.StreamResponse:
        about = {"request_id": accepted.request_id, "prompt": accepted.inputs.prompt}
        fault = self._faults.take("submit", *AFTER, **about)
        early = self._faults.take("webhook", "early", **about)
        self._queue.accept(accepted)
        answer = _submitted(accepted, self._position(accepted), fault)
        if early and accepted.webhook_url:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(accepted.first_delivery.wait(), EARLY_WAIT)
        if fault and fault.action == "delay":
            await asyncio.sleep(fault.seconds)
        if fault and fault.action == "lost_response":
            post |= {"fault": fault.action, "dropped": True}
            return drop(request)
        return await sent(fault, request, answer)

    def _overfull(self, request: web.Request) -> web.Response | None:
        limit = request.query.get("fal_max_queue_length", "")
        if not limit.isdecimal() or len(self._queue.waiting()) <= int(limit):
            return None
        return detail(429, "The queue of this endpoint is longer than fal_max_queue_length")

    def _position(self, request: Request) -> int:
        waiting = self._queue.waiting()
        return waiting.index(request) if request in waiting else 0

    # status, result, cancel

    async def _about_request(
        self, request: web.Request, request_id: str, what: str
    ) -> web.StreamResponse:
        answers: dict[tuple[str, str], tuple[str, Callable[..., web.Response]]] = {
            (hdrs.METH_GET, "status"): ("status", self._status),
            (hdrs.METH_GET, ""): ("result", self._result),
            (hdrs.METH_GET, "response"): ("result", self._result),
            (hdrs.METH_PUT, "cancel"): ("cancel", self._cancel),
        }
        if (request.method, what) not in answers:
            return detail(405, "Method Not Allowed")
        stage, answer = answers[request.method, what]
        found = self._queue.requests.get(request_id)
        if found is None:
            return web.json_response(NOT_FOUND, status=404)
        found.reads[stage] += 1
        fault = self._faults.take(stage, request_id=request_id, prompt=found.inputs.prompt)
        data = await obey(fault, request)
        return data or await sent(fault, request, answer(found, request, fault))

    def _status(self, found: Request, request: web.Request, fault: Fault | None) -> web.Response:
        if fault and fault.action == "error_type_only":
            found.keeps_error_type = False
        if fault and fault.action == "not_an_object":
            data = ["COMPLETED"] if fault.value is None else fault.value
            return web.json_response(data)
        body = self._standing(found, request)
        if fault and fault.action == "unknown":
            body["status"] = "FAILED" if fault.value is None else fault.value
        return web.json_response(body, status=202 if found.outcome is None else 200)

    def _standing(self, found: Request, request: web.Request) -> dict[str, Any]:
        # fal documents 202 until the request is complete; wanted logs are `?logs=1`
        body: dict[str, Any] = _addresses(found) | {"status": found.status}
        if found.status is QueueStatus.IN_QUEUE:
            return body | {"queue_position": self._position(found)}
        wanted = request.query.get("logs", "0").lower() in {"1", "true"}
        body["logs"] = found.logs if wanted else []
        return body if found.outcome is None else body | _ending(found)

    def _result(self, found: Request, _: web.Request, fault: Fault | None) -> web.Response:
        if (fault and fault.action == "gone") or found.expired:
            return web.json_response(NOT_FOUND, status=404)
        if found.outcome is None:
            return detail(400, "Request is still in progress")
        if fault and fault.action == "accepted":
            return web.json_response(_addresses(found) | {"status": "IN_PROGRESS"}, status=202)
        return _replayed(found, found.outcome, fault)

    def _cancel(self, found: Request, _: web.Request, fault: Fault | None) -> web.Response:
        if found.status is QueueStatus.COMPLETED:
            return web.json_response({"status": "ALREADY_COMPLETED"}, status=400)
        waiting = found.status is QueueStatus.IN_QUEUE
        stop_running = bool(fault and fault.action == "stop_running")
        self._queue.cancel(found, stop_running=stop_running)
        if waiting:
            return web.json_response({"status": "OK"})
        return web.json_response({"status": "CANCELLATION_REQUESTED"}, status=202)


def _replayed(found: Request, outcome: Outcome, fault: Fault | None) -> web.Response:
    """The run's own answer, in the form that a rule says."""
    form = fault.form if fault else None
    outcome = outcome if found.keeps_error_type else outcome.without_type()
    return web.Response(
        body=oddities.encoded(oddities.payload(outcome.body, form), form),
        status=outcome.status_code,
        content_type="application/json",
        headers={"x-fal-request-id": found.request_id} | outcome.headers,
    )


def _parsed(raw: bytes) -> Any:
    """Parse the body; what is not JSON becomes itself, and no schema admits bytes."""
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return raw


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _prompt(arguments: Any) -> str:
    return str(arguments.get("prompt", "")) if isinstance(arguments, dict) else ""


def _accepted(request: web.Request, arguments: Any) -> Request:
    if isinstance(arguments, bytes):
        raise InvalidInputError([_entry("json_invalid", "JSON decode error")])
    inputs = read(arguments)
    priority = request.headers.get("X-Fal-Queue-Priority", "normal")
    return Request(
        arguments=arguments,
        inputs=inputs,
        headers=without_secrets(dict(request.headers)),
        webhook_url=request.query.get("fal_webhook") or None,
        low_priority=priority == "low",
        start_timeout=_start_timeout(request),
    )


def _start_timeout(request: web.Request) -> float | None:
    """Read the seconds allowed until the start; the new header wins over the deprecated one."""
    names = ("X-Fal-Request-Start-Timeout", "X-Fal-Request-Timeout")
    sent = next((request.headers[name] for name in names if name in request.headers), None)
    if sent is None:
        return None
    try:
        seconds = float(sent)
    except ValueError:
        seconds = math.nan
    if not MIN_START_TIMEOUT < seconds < math.inf:
        entry = _entry("greater_than", f"{names[0]} must be greater than {MIN_START_TIMEOUT}")
        raise InvalidInputError([entry | {"loc": ["header", names[0].lower()]}])
    return seconds


def _entry(kind: str, message: str) -> dict[str, Any]:
    return {"loc": ["body"], "msg": message, "type": kind}


def _invalid(mistakes: list[dict[str, Any]]) -> web.Response:
    headers = {"X-Fal-Retryable": "false", "X-Fal-Billable-Units": "0"}
    return web.json_response({"detail": mistakes}, status=422, headers=headers)


def _refuse(fault: Fault, request: web.Request) -> web.Response:
    if fault.action == "drop_before":
        return drop(request)
    if fault.action == "exhausted_balance":
        return detail(403, LOCKED)
    if fault.action == "unauthorized":
        return detail(401, NO_KEY)
    if fault.action == "redirect":
        location = fault.location or str(request.url.with_scheme("https"))
        return web.Response(status=307, headers={hdrs.LOCATION: location})
    named = {"x-fal-request-id": str(uuid.uuid4())} if fault.request_id_header else None
    return told_status(fault, named)


def _submitted(accepted: Request, position: int, fault: Fault | None) -> web.Response:
    body = _told_addresses(accepted, fault) | {
        "status": "IN_QUEUE",
        "gateway_request_id": accepted.gateway_request_id,
        "queue_position": position,
    }
    return web.json_response(body, headers={"x-fal-request-id": accepted.request_id})


def _addresses(request: Request) -> dict[str, Any]:
    """Return the three URLs under the app alone, which is the form fal returns."""
    here = f"{BASE}/{APP}/requests/{request.request_id}"
    return {
        "request_id": request.request_id,
        "response_url": here,
        "status_url": f"{here}/status",
        "cancel_url": f"{here}/cancel",
    }


def _told_addresses(accepted: Request, fault: Fault | None) -> dict[str, Any]:
    """What the submit answer says of them; a rule may name another scheme and host, or none."""
    addresses = _addresses(accepted)
    if fault and fault.action == "without_urls":
        return {"request_id": accepted.request_id}
    if fault and fault.action == "foreign_urls":
        scheme = fault.scheme or ("https" if fault.host else "http")
        base = f"{scheme}://{fault.host or BASE.partition('://')[2]}"
        return {name: text.replace(BASE, base) for name, text in addresses.items()}
    return addresses


def _ending(found: Request) -> dict[str, Any]:
    seconds = (found.completed_at or 0) - (found.started_at or found.completed_at or 0)
    ending: dict[str, Any] = {"metrics": {"inference_time": round(seconds, 3)}}
    if found.outcome and not found.outcome.succeeded:
        ending |= {"error": found.outcome.error, "error_type": found.outcome.error_type}
    return ending
