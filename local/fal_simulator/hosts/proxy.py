"""The HTTPS proxy that leads fal's host names to the simulator's TLS server, and no other names.

But for one: a system of the person's own, on a port of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from local.fal_simulator.faults.answers import reset

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from local.fal_simulator.hosts.key_watch import KeyWatch

log = logging.getLogger(__name__)

HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 30.0
CHUNK = 256 * 1024


class Proxy:
    """Answers CONNECT for hosts with a port here; everything else is refused with a sentence."""

    def __init__(self, leads: Mapping[str, int], keys_seen: KeyWatch) -> None:
        self._leads = leads
        self._keys_seen = keys_seen
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self.refused: Counter[str] = Counter()

    async def start(self, listener: socket.socket) -> None:
        """Begin to answer on a bound socket."""
        self._server = await asyncio.start_server(self._serve, sock=listener, limit=HEAD_BYTES)

    async def stop(self) -> None:
        """Cut every tunnel."""
        if self._server is not None:
            self._server.close()
        for client in list(self._clients):
            client.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            await self._converse(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            log.debug("proxy.broken_off")
        finally:
            self._clients.discard(writer)
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        text = head.decode("latin-1")
        method, _, rest = text.split("\r\n", 1)[0].partition(" ")
        target = rest.partition(" ")[0]
        host, _, port = target.rpartition(":")
        # a request in the clear comes as it is; of a tunnel only its end is seen
        origin = f"connect {target}" if method == "CONNECT" else _origin(target)
        self._keys_seen.look(origin, text)
        if method != "CONNECT":
            await _refuse(writer, "405 Method Not Allowed", "This proxy only knows CONNECT.")
        elif host.lower() not in self._leads or port != "443":
            self.refused[f"{host}:{port}"[:300]] += 1
            log.warning("proxy.refused host=%r port=%r", host[:253], port[:5])
            why = f"The simulator does not play this host: {host}:{port}"
            await _refuse(writer, "403 Forbidden", why)
        else:
            await self._tunnel(self._leads[host.lower()], reader, writer)

    async def _tunnel(
        self, to: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        far = await asyncio.open_connection("127.0.0.1", to, limit=CHUNK)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        ways = (_copy(reader, far[1]), _copy(far[0], writer))
        copying = [asyncio.create_task(way) for way in ways]
        try:
            # either side hanging up ends the tunnel: TLS has no use for half of one
            await asyncio.wait(copying, return_when=asyncio.FIRST_COMPLETED)
            await _flush(writer)
        finally:
            for task in copying:
                task.cancel()
            far[1].transport.abort()


def _origin(url: str) -> str:
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname}"
    return "unreadable"


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(CHUNK):
            writer.write(piece)
            await writer.drain()
    except OSError:
        reset(writer.transport)  # a reset on one side is a reset on the other


async def _flush(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.close()
        async with asyncio.timeout(5):
            await writer.wait_closed()


async def _refuse(writer: asyncio.StreamWriter, status: str, text: str) -> None:
    body = text.encode() + b"\n"
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    await _flush(writer)
