"""Delivers signed webhooks the way fal documents it: retried, re-signed, at least once."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

import aiohttp

from local.fal_simulator.dial import RefusedTargetError, UnreachableTargetError
from local.fal_simulator.faults import oddities

if TYPE_CHECKING:
    from local.fal_simulator.config import Config
    from local.fal_simulator.dial import Dialer
    from local.fal_simulator.faults.fault_dial import Fault, FaultDial
    from local.fal_simulator.jobs import Request
    from local.fal_simulator.signing import Signer

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 31
FIRST_TIMEOUT = 15.0  # seconds; fal gives the first attempt less time than the retries
RETRY_TIMEOUT = 120.0
MAX_PAUSE = 120  # times --retry-seconds; fal says "growing backoff", not how it grows
EARLY_WAIT = 60.0  # seconds an early webhook may hold back the submit answer
PAYLOAD_ERROR = (
    "Response payload is not JSON serializable. Either return a JSON serializable object or use "
    "the queue endpoint to retrieve the response."
)
# fal's User-Agent is not known; nothing may depend on it
CONSTANT_HEADERS = {"Content-Type": "application/json", "User-Agent": "fal-simulator"}
ON_AN_ATTEMPT = (
    "duplicate",
    "never",
    "delay",
    "forged",
    "wrong_key",
    "stale",
    "foreign_tenant",
    "header_mismatch",
    "payload_error",
    "malformed",
    "error_first",
    "unavailable",
)


class Deliverer:
    """Sends each completed request's webhook until it is answered, refused or out of time."""

    def __init__(self, config: Config, dialer: Dialer, signer: Signer, faults: FaultDial) -> None:
        self._pause = config.retry_seconds
        self._dialer = dialer
        self._signer = signer
        self._faults = faults
        self._tasks: set[asyncio.Task[None]] = set()

    def announce(self, request: Request) -> None:
        """Begin the delivery of a request that has just completed."""
        if request.webhook_url is None:
            return
        task = asyncio.create_task(self._deliver(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Give up on every delivery."""
        for task in list(self._tasks):
            task.cancel()

    async def _deliver(self, request: Request) -> None:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            delivery = await self.attempt(request)
            if delivery["settled"]:
                return
            pause = self._pause * min(2 ** (attempt - 1), MAX_PAUSE)
            if request.expires_at is None or time.time() + pause >= request.expires_at:
                break
            await asyncio.sleep(pause)
        log.warning("webhook.abandoned request_id=%s", request.request_id)

    async def attempt(self, request: Request) -> dict[str, Any]:
        """Send the webhook once, as the next rule for it says; returns the delivery's record."""
        fault = self._take(request)
        action = fault.action if fault else None
        if fault and action == "delay":
            await asyncio.sleep(fault.seconds)
        if fault and action == "error_first":
            await self._send(request, fault, failure(request, fault))
            await asyncio.sleep(fault.seconds)
        if action == "never":
            delivery = _record(request, "withheld", settled=True)
        else:
            delivery = await self._send(request, fault)
        if fault and action == "duplicate":
            copies = (self._send(request, fault) for _ in range(fault.count))
            await asyncio.gather(*copies)
        request.first_delivery.set()
        return delivery

    def _take(self, request: Request) -> Fault | None:
        prompt, request_id = request.inputs.prompt, request.request_id
        if self._faults.take("keys", "rotate"):
            self._signer.rotate()
        return self._faults.take("webhook", *ON_AN_ATTEMPT, request_id=request_id, prompt=prompt)

    async def _send(
        self, request: Request, fault: Fault | None, body: bytes | None = None
    ) -> dict[str, Any]:
        started = time.time()
        delivery = _record(request, "sending", settled=False)
        delivery["fault"] = fault.action if fault else None
        body = body or envelope(request, fault)
        headers = CONSTANT_HEADERS | self._headers(request, body, fault)
        timeout = FIRST_TIMEOUT if delivery["attempt"] == 1 else RETRY_TIMEOUT
        delivery |= await self._post(request.webhook_url or "", body, headers, timeout)
        delivery["seconds"] = round(time.time() - started, 3)
        log.info(
            "webhook.attempted request_id=%s attempt=%d kind=%s status_code=%s",
            request.request_id,
            delivery["attempt"],
            delivery["kind"],
            delivery["status_code"],
        )
        return delivery

    async def _post(
        self,
        url: str,
        body: bytes,
        headers: dict[str, str],
        timeout: float,  # noqa: ASYNC109 - handed to aiohttp, which bounds connect and read with it
    ) -> dict[str, Any]:
        try:
            target = self._dialer.webhook(url)
            opened = self._dialer.open("POST", target, headers=headers, data=body, timeout=timeout)
            async with opened as response:
                await response.content.read(65_536)
                return _answered(response.status)
        except RefusedTargetError as error:
            return {"kind": "refused", "error": str(error), "settled": True}
        except TimeoutError:
            return {"kind": "timeout", "error": f"no answer in {timeout:g} s"}
        except (UnreachableTargetError, aiohttp.ClientError, OSError, ValueError) as error:
            return {"kind": "network_error", "error": type(error).__name__}

    def _headers(self, request: Request, body: bytes, fault: Fault | None) -> dict[str, str]:
        """Sign this attempt afresh: retries run for an hour and a signature lives 300 s."""
        action = fault.action if fault else None
        named = str(uuid.uuid4()) if action == "header_mismatch" else request.request_id
        age = (fault.seconds or 600) if fault and action == "stale" else 0
        headers = self._signer.headers(
            named,
            body,
            int(time.time() - age),
            user_id=fault.user_id if fault and action == "foreign_tenant" else None,
            known_key=action != "wrong_key",
        )
        if action == "forged":
            headers["X-Fal-Webhook-Signature"] = "00" * 64
        return headers


def envelope(request: Request, fault: Fault | None) -> bytes:
    """Write the body, spaced and sorted like the one real delivery that was published."""
    outcome = request.outcome
    if outcome is None:
        raise ValueError("the request has not completed")
    body: dict[str, Any] = {
        "request_id": request.request_id,
        "gateway_request_id": request.gateway_request_id,
        "status": "OK" if outcome.succeeded else "ERROR",
        "error": None if outcome.succeeded else f"Invalid status code: {outcome.status_code}",
        "payload": outcome.body,
    }
    if fault and fault.action == "payload_error":
        body |= _unserialisable(str(fault.status or body["status"]), body["error"])
    if fault and fault.action == "unavailable":
        body |= {"status": "ERROR", "error": "Invalid status code: 503", "payload": None}
    form = fault.form if fault and fault.action == "malformed" else None
    body["payload"] = oddities.payload(body["payload"], form)
    return oddities.encoded(body, form, sort=True)


def failure(request: Request, fault: Fault) -> bytes:
    """Write the body of a delivery that says of a request that it failed."""
    body = {
        "request_id": request.request_id,
        "gateway_request_id": request.gateway_request_id,
        "status": "ERROR",
        "error": "Invalid status code: 500",
        "payload": {"detail": fault.message, "error_type": fault.error_type or "internal_error"},
    }
    return json.dumps(body, sort_keys=True).encode()


def _unserialisable(status: str, error: str | None) -> dict[str, Any]:
    # fal documents the OK form; the ERROR form, with this 404, was observed
    failure = error or "Invalid status code: 404"
    answered = {"error": None if status == "OK" else failure}
    return answered | {"status": status, "payload": None, "payload_error": PAYLOAD_ERROR}


def _record(request: Request, kind: str, *, settled: bool) -> dict[str, Any]:
    delivery: dict[str, Any] = {
        "attempt": len(request.deliveries) + 1,
        "at": time.time(),
        "kind": kind,
        "status_code": None,
        "error": None,
        "settled": settled,
    }
    request.deliveries.append(delivery)
    return delivery


def _answered(status_code: int) -> dict[str, Any]:
    # fal documents: any 2xx is success, any 3xx is final and never followed, the rest is retried
    kind = {2: "delivered", 3: "redirected"}.get(status_code // 100, "rejected")
    return {"kind": kind, "status_code": status_code, "settled": kind != "rejected"}
