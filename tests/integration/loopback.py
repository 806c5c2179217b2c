"""The internet on 127.0.0.1: one TLS server that plays any host, behind a proxy that leads there.

Product code needs no switch for it: ``HTTPS_PROXY`` and ``SSL_CERT_FILE`` are set, as on a
company's network, and real host names are used.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trustme
from aiohttp import web

from local.cloud.certificates import FAL_HOSTS, SUBSCRIBER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Play = Callable[["Seen", web.Request], Awaitable[web.StreamResponse]]

HOSTS = (*FAL_HOSTS, SUBSCRIBER, "evil.example.com")


@dataclass(frozen=True)
class Seen:
    """One request as it came over the wire."""

    host: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def cut(transport: asyncio.BaseTransport | None) -> None:
    """Reset a connection."""
    assert isinstance(transport, asyncio.WriteTransport)
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    transport.abort()


@dataclass
class Loopback:
    """What the hosts answer, and what they saw. A host without a play answers 404."""

    ca_file: Path
    plays: dict[str, Play] = field(default_factory=dict)
    #: Hosts whose tunnel is cut before TLS begins.
    dead: set[str] = field(default_factory=set)
    #: Hosts whose side of TLS's handshake comes byte by byte, for three seconds.
    dripping: set[str] = field(default_factory=set)
    seen: list[Seen] = field(default_factory=list)
    tunnels: Counter[str] = field(default_factory=Counter)
    #: Hosts whose tunnel was cut.
    cuts: list[str] = field(default_factory=list)
    #: Hosts whose requests' bodies are counted here, and not kept.
    swallowed: dict[str, int] = field(default_factory=dict)
    port: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _tls_port: int = 0

    def reset(self) -> None:
        memories = (
            self.plays,
            self.dead,
            self.dripping,
            self.seen,
            self.tunnels,
            self.cuts,
            self.swallowed,
        )
        for memory in memories:
            memory.clear()

    @property
    def proxy(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def requests(self, host: str, method: str = "GET") -> list[Seen]:
        return [seen for seen in self.seen if (seen.host, seen.method) == (host, method)]

    @contextlib.contextmanager
    def running(self) -> Any:
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(10)
            self._loop.close()

    async def _start(self) -> None:
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        authority.cert_pem.write_to_path(self.ca_file)
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*HOSTS, key_type=trustme.KeyType.ECDSA).configure_cert(tls)
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{any:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        self._tls_port = self._runner.addresses[0][1]
        self._proxy = await asyncio.start_server(self._tunnel, "127.0.0.1", 0)
        self.port = self._proxy.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._proxy.close()
        await self._runner.cleanup()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        host = headers["host"].partition(":")[0]
        body = b"" if host in self.swallowed else await request.read()
        async for piece in request.content.iter_any():
            self.swallowed[host] += len(piece)
        seen = Seen(host, request.method, request.raw_path, headers, body)
        self.seen.append(seen)
        play = self.plays.get(host)
        return await play(seen, request) if play else web.Response(status=404)

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split()
        except asyncio.IncompleteReadError:  # who dialled hung up before a word
            writer.transport.abort()
            return
        host = head[1].partition(":")[0]
        self.tunnels[host] += 1
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        if head[0] != "CONNECT" or host not in HOSTS or host in self.dead:
            self.cuts.append(host)
            cut(writer.transport)
            return
        if host in self.dripping:
            await _drip(writer)
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._tls_port)
        ways = [
            asyncio.ensure_future(_copy(reader, far_writer)),
            asyncio.ensure_future(_copy(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in (writer, far_writer):
                end.transport.abort()


async def _drip(writer: asyncio.StreamWriter) -> None:
    """The beginning of a record of a handshake, and more of it now and then."""
    with contextlib.suppress(OSError):
        writer.write(b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb\x03\x03")
        for _ in range(60):
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.05)
    writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(256 * 1024):
            writer.write(piece)
            await writer.drain()
        await asyncio.sleep(0.01)  # what was written last leaves before the tunnel ends


def answer(body: Any = None, status: int = 200, headers: dict[str, str] | None = None) -> Play:
    """A play that always answers the same: text as it is, anything else as JSON."""

    async def play(_: Seen, __: web.Request) -> web.StreamResponse:
        if isinstance(body, str):
            return web.Response(status=status, text=body, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    return play


async def vanish(_: Seen, request: web.Request) -> web.StreamResponse:
    """Take the whole request, and never answer."""
    cut(request.transport)
    return web.Response()


async def stall(_: Seen, __: web.Request) -> web.StreamResponse:
    """Take the whole request, and answer too late."""
    await asyncio.sleep(2)
    return web.Response()


@dataclass
class FileServer:
    """fal's CDN: one file at every path, in ranges unless set otherwise."""

    body: bytes
    ranges: bool = True
    #: How many bytes the next answers really have before the connection ends; None: all of them.
    breaks: list[int | None] = field(default_factory=list)

    async def __call__(self, seen: Seen, request: web.Request) -> web.StreamResponse:
        first, last, status = 0, len(self.body) - 1, 200
        headers = {"Content-Type": "application/octet-stream"}
        if self.ranges and "range" in seen.headers:
            wanted = seen.headers["range"].removeprefix("bytes=").split("-")
            first, last = int(wanted[0]), min(int(wanted[1]), last)
            if first > last:
                return web.Response(status=416)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(self.body)}"
            status = 206
        piece = memoryview(self.body)[first : last + 1]
        headers["Content-Length"] = str(len(piece))
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        end = self.breaks.pop(0) if self.breaks else None
        with contextlib.suppress(ConnectionError):  # the client has had enough
            await response.write(piece[:end])
            if end is not None:
                assert request.transport
                request.transport.close()
        return response
