"""Opens the simulator's listening sockets, and serves applications on them."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from local.fal_simulator.config import Address

BACKLOG = 512
LAST_WORDS = 0.05  # seconds for answers on their way at the end; for aiohttp, 0 would be for ever


class PortInUseError(Exception):
    """Another process has the port."""


def listen(address: Address) -> socket.socket:
    """A socket that listens: the inherited one, or a new one on a port of 127.0.0.1.

    Raises:
        PortInUseError: another process has the port.
    """
    if address.fd is not None:
        listener = socket.socket(fileno=address.fd)
    else:
        try:
            listener = socket.create_server(("127.0.0.1", address.port), backlog=BACKLOG)
        except OSError as error:
            text = f"Port {address.port} is already in use; choose another."
            raise PortInUseError(text) from error
    listener.setblocking(False)
    return listener


@asynccontextmanager
async def serving(
    app: web.Application, listener: socket.socket, context: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Serve an application for the body's time."""
    # no handler cancellation: fal runs what it accepted even if its caller hangs up
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=LAST_WORDS)
    await runner.setup()
    try:
        await web.SockSite(runner, listener, ssl_context=context).start()
        yield
    finally:
        await runner.cleanup()
