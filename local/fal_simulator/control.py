"""The control API on plain HTTP: what was asked of the simulator, and the fault dial."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.fal_simulator.faults.fault_dial import InvalidFaultError
from local.fal_simulator.jobs import QueueStatus
from local.fal_simulator.outcomes import BILLABLE_UNITS
from local.fal_simulator.redaction import without_signatures, without_token
from local.fal_simulator.schema import ENDPOINT

if TYPE_CHECKING:
    from local.fal_simulator.faults.fault_dial import FaultDial
    from local.fal_simulator.jobs import Request
    from local.fal_simulator.simulator import Simulator


class Control:
    """The handlers of the control port."""

    def __init__(self, simulator: Simulator, faults: FaultDial) -> None:
        self._simulator = simulator
        self._faults = faults

    def application(self) -> web.Application:
        """Build the routes."""
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/requests", self._requests)
        app.router.add_get("/requests/{id}", self._request)
        app.router.add_post("/requests/{id}/deliver", self._deliver)
        app.router.add_get("/faults", self._faults_in_force)
        app.router.add_post("/faults", self._add_faults)
        app.router.add_delete("/faults", self._clear_faults)
        app.router.add_post("/reset", self._reset)
        return app

    async def _health(self, request: web.Request) -> web.Response:
        port = request.get_extra_info("sockname")[1]
        return _json({"status": "ok", "control_port": port, **self._simulator.describe()})

    async def _requests(self, _: web.Request) -> web.Response:
        found = self._simulator.queue.requests.values()
        return _json(
            {
                "requests": [describe(one) for one in found],
                "posts": self._simulator.queue_api.posts,
                "refused_hosts": dict(self._simulator.proxy.refused),
                "key_reads": self._simulator.rest_api.key_reads,
                "list_reads": self._simulator.platform_api.list_reads,
                "keys_seen": dict(self._simulator.keys_seen.seen),
                "uploads": self._simulator.storage.describe(),
                "sign_ins": self._simulator.storage.sign_ins,
            }
        )

    async def _request(self, request: web.Request) -> web.Response:
        return _json(describe(self._find(request)))

    async def _deliver(self, request: web.Request) -> web.Response:
        found = self._find(request)
        if found.status is not QueueStatus.COMPLETED or found.webhook_url is None:
            return _json({"error": "There is no webhook to send for this request yet."}, 409)
        return _json(await self._simulator.deliverer.attempt(found))

    async def _faults_in_force(self, _: web.Request) -> web.Response:
        return _json({"faults": self._faults.describe()})

    async def _add_faults(self, request: web.Request) -> web.Response:
        try:
            return _json({"faults": self._faults.add(await request.json())})
        except InvalidFaultError as error:
            return _json({"error": str(error)}, 400)
        except ValueError:
            return _json({"error": "The body is not JSON."}, 400)

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self._faults.clear()
        return _json({"faults": []})

    async def _reset(self, _: web.Request) -> web.Response:
        self._simulator.reset()
        return _json({"status": "ok"})

    def _find(self, request: web.Request) -> Request:
        found = self._simulator.queue.requests.get(request.match_info["id"])
        if found is None:
            text = json.dumps({"error": "No request with this id was accepted."})
            raise web.HTTPNotFound(text=text, content_type="application/json")
        return found


def describe(request: Request) -> dict[str, Any]:
    """Show a request to a person: no signature, no token, no key."""
    outcome = request.outcome
    return {
        "request_id": request.request_id,
        "gateway_request_id": request.gateway_request_id,
        "endpoint": ENDPOINT,
        "status": request.status,
        "arguments": without_signatures(request.arguments),
        "webhook_url": without_token(request.webhook_url) if request.webhook_url else None,
        "headers": request.headers,
        "submitted_at": request.submitted_at,
        "started_at": request.started_at,
        "completed_at": request.completed_at,
        "expires_at": request.expires_at,
        "status_code": outcome.status_code if outcome else None,
        "error_type": outcome.error_type if outcome else None,
        "billable_units": outcome.headers.get(BILLABLE_UNITS) if outcome else None,
        "result": without_signatures(outcome.body) if outcome else None,
        "reads": request.reads,
        "deliveries": request.deliveries,
        "downloads": request.downloads,
    }


def _dumps(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _json(body: Any, status: int = 200) -> web.Response:
    return web.json_response(body, status=status, dumps=_dumps)
