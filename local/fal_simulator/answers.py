"""Small pieces that every host's answers share: dropped connections, told statuses, delays."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from local.fal_simulator.faults import Fault


def drop(request: web.Request) -> web.Response:
    """Close the connection without an answer; the response returned is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def told_status(fault: Fault, headers: dict[str, str] | None = None) -> web.Response:
    """Answer with the status and body of a rule; a text body is sent as text."""
    if isinstance(fault.body, str):
        return web.Response(status=fault.code, text=fault.body, headers=headers)
    body: Any = {"detail": f"status {fault.code}"} if fault.body is None else fault.body
    return web.json_response(body, status=fault.code, headers=headers)


def reset(transport: asyncio.BaseTransport) -> None:
    """Abort a connection so that the other side sees a reset, not an end."""
    socket_ = transport.get_extra_info("socket")
    if socket_ is not None:
        # lingering for zero seconds makes close() send RST
        socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()


async def obey(fault: Fault | None, request: web.Request) -> web.Response | None:
    """Do what `delay`, `drop` and `status` say; None means: go on with the real answer."""
    if fault is None:
        return None
    if fault.action == "delay":
        await asyncio.sleep(fault.seconds)
    if fault.action == "drop":
        return drop(request)
    return told_status(fault) if fault.action == "status" else None
