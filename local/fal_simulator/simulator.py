"""What plays fal: every part of it, started and stopped together."""

from __future__ import annotations

import ssl
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from local.cloud.certificates import SUBSCRIBER
from local.fal_simulator.config import Address
from local.fal_simulator.dial import Dialer
from local.fal_simulator.faults.answers import detail
from local.fal_simulator.generation.runner import Runner, Sources
from local.fal_simulator.hosts import storage
from local.fal_simulator.hosts.cdn import Cdn
from local.fal_simulator.hosts.key_watch import KeyWatch
from local.fal_simulator.hosts.platform_api import PlatformApi, RestApi
from local.fal_simulator.hosts.proxy import Proxy
from local.fal_simulator.hosts.queue_api import QueueApi
from local.fal_simulator.hosts.storage import Storage
from local.fal_simulator.jobs import Queue
from local.fal_simulator.listeners import listen, serving
from local.fal_simulator.signing import Signer, SigningKey
from local.fal_simulator.webhooks import Deliverer

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping

    from local.fal_simulator.config import Config
    from local.fal_simulator.faults.fault_dial import FaultDial

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY = 10 * 2**20  # bytes; fal publishes no limit of its own


class Simulator:
    """Everything that plays fal. Use as an async context manager."""

    def __init__(self, config: Config, faults: FaultDial) -> None:
        self._config = config
        self._faults = faults
        self._stack = AsyncExitStack()
        self.proxy_port = 0

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def describe(self) -> dict[str, Any]:
        """Tell the proxy's port and how much is going on."""
        return {
            "proxy_port": self.proxy_port,
            "requests": len(self.queue.requests),
            "waiting": len(self.queue.waiting()),
        }

    def reset(self) -> None:
        """Forget requests, files and deliveries; rules stay until they are deleted."""
        self.deliverer.stop()
        self.queue.stop()
        self.queue_api.posts.clear()
        self.proxy.refused.clear()
        self.rest_api.key_reads = 0
        self.platform_api.list_reads = 0
        self.keys_seen.clear()
        self.storage.clear()
        self._cdn.clear()

    async def _start(self) -> None:
        proxy_socket, tls_socket = self._listen(self._config.proxy_port), self._listen(Address())
        self.proxy_port = proxy_socket.getsockname()[1]
        self._build()
        await self._serve_hosts(tls_socket)
        leads = dict.fromkeys(self._hosts, tls_socket.getsockname()[1])
        if self._config.subscriber_port:
            leads[SUBSCRIBER] = self._config.subscriber_port
        self.proxy = Proxy(leads, self.keys_seen)
        self._stack.push_async_callback(self.proxy.stop)
        await self.proxy.start(proxy_socket)

    def _listen(self, address: Address) -> socket.socket:
        listener = listen(address)
        self._stack.callback(listener.close)
        return listener

    def _build(self) -> None:
        config, faults = self._config, self._faults
        dialer = Dialer(config.emulator_port, config.ca_bundle)
        self._stack.push_async_callback(dialer.close)
        folder = self._folder()
        signer = Signer(config.user_id, SigningKey.kept(folder / "signing-key"))
        self._cdn = Cdn(faults)
        self.storage = Storage(config, faults, folder)
        runner = Runner(config, folder, Sources(dialer, self.storage, self._cdn), faults)
        self._stack.callback(runner.close)
        self.deliverer = Deliverer(config, dialer, signer, faults)
        self._stack.callback(self.deliverer.stop)
        self.queue = Queue(config, faults, runner.run, self.deliverer.announce)
        self._stack.callback(self.queue.stop)
        self.queue_api = QueueApi(config, self.queue, faults)
        self.rest_api = RestApi(signer, self.storage, faults)
        self.platform_api = PlatformApi(config, self.queue, faults)
        self.keys_seen = KeyWatch(config.fal_key)
        self._hosts = self._played()

    def _folder(self) -> Path:
        if self._config.files is None:
            temporary = tempfile.TemporaryDirectory(prefix="fal-", ignore_cleanup_errors=True)
            return Path(self._stack.enter_context(temporary))
        self._config.files.mkdir(parents=True, exist_ok=True)
        return self._config.files

    def _played(self) -> Mapping[str, Handler]:
        return {
            "queue.fal.run": self.queue_api.handle,
            "queue.falrun.com": self.queue_api.handle,
            "rest.fal.ai": self.rest_api.handle,
            "rest.alpha.fal.ai": self.rest_api.handle,
            "api.fal.ai": self.platform_api.handle,
            **dict.fromkeys(storage.HOSTS, self._media),
            "storage.googleapis.com": self._cdn.serve,
        }

    async def _media(self, request: web.Request) -> web.StreamResponse:
        """Answer for the CDN's hosts: uploads, or what was produced."""
        if self.storage.holds(request):
            return await self.storage.handle(request)
        return await self._cdn.serve(request)

    async def _serve_hosts(self, listener: socket.socket) -> None:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._dispatch)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._config.certificate, self._config.private_key)
        await self._stack.enter_async_context(serving(app, listener, context))

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        host = request.host.removesuffix(":443").lower()
        self.keys_seen.look(f"https://{host}", request.raw_path, *request.headers.values())
        handler = self._hosts.get(host)
        if handler is None:
            return detail(421, "No such host here")
        return await handler(request)
