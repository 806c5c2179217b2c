"""Small pieces that every host's answers share: dropped connections, statuses, delays, drips."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

if TYPE_CHECKING:
    from local.fal_simulator.faults.fault_dial import Fault

PAGE = b"<!DOCTYPE html><html><body>The file you asked for is somewhere else.</body></html>\n"
FRAMING = (hdrs.CONTENT_LENGTH, hdrs.CONNECTION, hdrs.TRANSFER_ENCODING)


def drop(request: web.Request) -> web.Response:
    """Close the connection without an answer; the response returned is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def detail(status_code: int, text: str) -> web.Response:
    """Answer with a status and fal's usual body of an error."""
    return web.json_response({"detail": text}, status=status_code)


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


def page() -> web.Response:
    """A page for people, with 200, as a proxy or a gateway puts in an answer's place."""
    return web.Response(body=PAGE, content_type="text/html", charset="utf-8")


async def drip(fault: Fault, request: web.Request, response: web.Response) -> web.Response:
    """Send a whole answer byte by byte; the one returned is never sent.

    `part` says what drips: the body behind a head that comes at once, or the head too. It ends with
    the answer's last byte, or when the client has hung up.
    """
    body = response.body if isinstance(response.body, bytes) else b""
    head = _head(response, len(body))
    await _drip(request, head, fault.seconds if fault.part == "all" else 0)
    await _drip(request, body, fault.seconds)
    if request.transport is not None:
        request.transport.close()
    return response


def _head(response: web.Response, length: int) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {text}" for name, text in response.headers.items() if name not in FRAMING]
    lines += [f"{hdrs.CONTENT_LENGTH}: {length}", f"{hdrs.CONNECTION}: close", "", ""]
    return "\r\n".join(lines).encode()


async def _drip(request: web.Request, text: bytes, seconds: float) -> None:
    pieces = [text] if not seconds else [bytes([byte]) for byte in text]
    for piece in pieces:
        transport = request.transport
        if transport is None or transport.is_closing():
            return
        transport.write(piece)
        await asyncio.sleep(seconds)


def early_hints(request: web.Request) -> None:
    """Send 103 before the answer itself (RFC 8297)."""
    if request.transport is not None:
        hints = "HTTP/1.1 103 Early Hints\r\nLink: </poster.jpg>; rel=preload; as=image\r\n\r\n"
        request.transport.write(hints.encode())


async def obey(fault: Fault | None, request: web.Request) -> web.Response | None:
    """Do what `delay`, `drop` and `status` say; None means: go on with the real answer."""
    if fault is None:
        return None
    if fault.action == "delay":
        await asyncio.sleep(fault.seconds)
    if fault.action == "drop":
        return drop(request)
    if fault.action == "not_json":
        return page()
    return told_status(fault) if fault.action == "status" else None


async def sent(
    fault: Fault | None, request: web.Request, response: web.Response
) -> web.StreamResponse:
    """The real answer, in drips where a rule says so."""
    dripping = fault is not None and fault.action == "drip"
    return await drip(fault, request, response) if fault and dripping else response
