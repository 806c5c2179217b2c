"""The ports of local clouds: each is one cloud's alone, from its choice to the end of a process."""

from __future__ import annotations

import http.client
import os
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from local.cloud import ports
from local.cloud.ports import LOOPBACK, Listeners, Ports, listen
from local.cloud.processes import start
from local.errors import LocalCloudError

if TYPE_CHECKING:
    from pathlib import Path

CLOUDS = 40


def test_clouds_that_start_at_the_same_time_never_choose_the_same_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with listen() as found:
        monkeypatch.setattr(ports, "USUAL_PORT", found.getsockname()[1])  # free in a moment
    with ThreadPoolExecutor(CLOUDS) as pool:
        clouds = list(pool.map(lambda _: Listeners.of_a_new_cloud(), range(CLOUDS)))
    chosen = [port for cloud in clouds for port in cloud.sockets]
    for cloud in clouds:
        cloud.close()

    assert len(set(chosen)) == 3 * CLOUDS
    assert all(set(vars(cloud.ports).values()) == set(cloud.sockets) for cloud in clouds)
    assert ports.USUAL_PORT in [cloud.ports.aws for cloud in clouds]


def test_a_port_that_was_asked_for_and_is_in_use_is_refused() -> None:
    with listen() as other, pytest.raises(LocalCloudError, match=r"is in use.*--port"):
        Listeners.of_a_new_cloud(other.getsockname()[1])


@pytest.mark.parametrize("taken", ["proxy", "control"])
def test_a_simulator_is_not_started_again_on_a_port_that_somebody_else_has(taken: str) -> None:
    with listen() as other, listen() as free:
        mine = {"aws": 1, "proxy": free.getsockname()[1], "control": free.getsockname()[1]}
        mine[taken] = other.getsockname()[1]
        free.close()

        with pytest.raises(LocalCloudError, match=r"Another program .*`make down`"):
            Listeners.of_a_simulator(Ports(**mine))


def test_a_process_answers_on_the_socket_that_it_inherits_and_the_port_is_never_free(
    tmp_path: Path,
) -> None:
    with Listeners.of_a_new_cloud(0) as listeners:
        port = listeners.ports.control
        fd = listeners.fd(port)
        script = (
            "import socket\n"
            "from http.server import HTTPServer, SimpleHTTPRequestHandler\n"
            "server = HTTPServer(('', 0), SimpleHTTPRequestHandler, False)\n"
            f"server.socket = socket.socket(fileno={fd})\n"
            "server.serve_forever()"
        )
        command = [sys.executable, "-c", script]
        process = start("server", command, {"PATH": os.defpath}, tmp_path / "log", [fd])
    try:
        with pytest.raises(OSError, match="in use"):
            listen(port)
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=20)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.status == 200
        time.sleep(0.2)  # the server closes first, so that TIME_WAIT is its port's
        answer.read()
        connection.close()
    finally:
        process.stop()

    await_end(port)
    listen(port).close()


def await_end(port: int, seconds: float = 10) -> None:
    """Until the system has closed the socket."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            socket.create_connection((LOOPBACK, port), 1).close()
        except ConnectionRefusedError:
            return
    pytest.fail("the port still answers")
