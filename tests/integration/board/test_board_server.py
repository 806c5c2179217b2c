"""The command at work: its links, its server, its end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING

import pytest

from phonoscene_cli.board.access import Access
from phonoscene_cli.board.server import Address, Server
from phonoscene_cli.errors import WrongUsage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phonoscene_cli.board.context import Board

ROOT = Path(__file__).parents[3]
END = b"\r\n\r\n"


@dataclass
class Running:
    """A board of a local cloud that is down."""

    program: subprocess.Popen[str]
    links: Queue[str]
    temporary: Path

    def link(self) -> str:
        return self.links.get(timeout=60)


def start(folder: Path) -> Running:
    endpoints = folder / "endpoints.json"
    data = {"aws_endpoint_url": "http://127.0.0.1:9", "region": "us-east-1", "ca_bundle": "none"}
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
    endpoints.write_text(json.dumps(data | keys))
    options = ("--endpoints", str(endpoints), "board", "--no-open")
    with (folder / "stderr").open("w") as said:
        program = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "phonoscene_cli", *options],
            cwd=ROOT,
            env=os.environ
            | {
                "PYTHONPATH": f"{ROOT}/layers/common:{ROOT}/cli",
                "TMPDIR": str(folder),
                "HOME": "/",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
    links: Queue[str] = Queue()

    def read() -> None:
        for line in program.stdout or ():
            links.put(re.search(r"http://\S+", line)[0])  # type: ignore[index]  # each line has one

    threading.Thread(target=read, daemon=True).start()
    return Running(program, links, folder)


def stop(running: Running, by: signal.Signals = signal.SIGINT) -> int:
    running.program.send_signal(by)
    try:
        return running.program.wait(20)
    finally:
        running.program.kill()
        running.program.wait()
        for pipe in (running.program.stdin, running.program.stdout):
            if pipe:
                pipe.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = start(tmp_path_factory.mktemp("board"))
    yield made
    stop(made)


@pytest.fixture(scope="module")
def entered(running: Running) -> tuple[str, str]:
    """The host, and the cookie of a browser that was let in."""
    host, path = running.link().removeprefix("http://").split("/", 1)
    answer = ask(host, f"GET /{path} HTTP/1.1", f"Host: {host}")
    cookie = re.search(r"set-cookie: ([^;]+)", answer)
    assert cookie
    return host, f"Cookie: {cookie[1]}"


def ask(host: str, *lines: str, body: bytes = b"") -> str:
    """The answer to a request as it is written here."""
    name, port = host.split(":")
    with socket.create_connection((name, int(port)), timeout=20) as line:
        line.sendall("\r\n".join([*lines, "Connection: close"]).encode() + END + body)
        got = b""
        while piece := line.recv(65536):
            got += piece
    return got.decode()


def status(answer: str) -> int:
    return int(answer.split(" ")[1])


def test_a_page_is_served_to_the_browser_that_was_let_in(entered: tuple[str, str]) -> None:
    host, cookie = entered

    page = ask(host, "GET / HTTP/1.1", f"Host: {host}", cookie)
    stranger = ask(host, "GET / HTTP/1.1", f"Host: {host}")

    assert (status(page), status(stranger)) == (200, 403)
    assert "server:" not in page


@pytest.mark.parametrize(
    "lines",
    [
        ("GET http://evil.example/drop HTTP/1.1", "Host: evil.example"),
        ("GET http://evil.example/drop HTTP/1.1", "Host: {host}"),
        ("GET http://{host}/drop HTTP/1.1", "Host: evil.example"),
        ("GET /drop HTTP/1.1", "Host: {host}", "Host: evil.example"),
        ("GET /drop HTTP/1.1", "Host: evil.example", "X-Forwarded-Host: {host}"),
        ("GET /drop HTTP/1.1",),
        ("GET /drop HTTP/1.0",),
        ("GET /drop HTTP/1.1", "Host: {host}", "Origin: http://evil.example"),
        ("POST /drop/x HTTP/1.1", "Host: {host}", "Content-Length: 0"),
        ("TRACE / HTTP/1.1", "Host: {host}"),
        ("CONNECT {host} HTTP/1.1", "Host: {host}"),
        ("OPTIONS * HTTP/1.1", "Host: {host}"),
        (
            "GET /live HTTP/1.1",
            "Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: eA==",
            "Origin: http://evil.example",
        ),
    ],
)
def test_a_request_that_no_page_of_the_board_sends_is_refused(
    entered: tuple[str, str], lines: tuple[str, ...]
) -> None:
    host, cookie = entered

    answer = ask(host, *(line.format(host=host) for line in lines), cookie)

    assert status(answer) in (400, 403, 404, 405, 421)
    assert "drop-form" not in answer


def test_a_file_that_says_it_is_too_large_is_refused_before_it_is_sent(
    entered: tuple[str, str],
) -> None:
    host, cookie = entered
    path = f"/drop/{'0' * 32}/files/x.wav"

    answer = ask(
        host,
        f"PUT {path} HTTP/1.1",
        f"Host: {host}",
        f"Origin: http://{host}",
        cookie,
        f"Content-Length: {5 * 1024**3}",
    )

    assert status(answer) == 413


def test_enter_gives_another_link(running: Running, entered: tuple[str, str]) -> None:
    host, _ = entered
    assert running.program.stdin
    running.program.stdin.write("\n")
    running.program.stdin.flush()

    path = running.link().removeprefix(f"http://{host}")

    assert status(ask(host, f"GET {path} HTTP/1.1", f"Host: {host}")) == 200
    assert status(ask(host, f"GET {path} HTTP/1.1", f"Host: {host}")) == 403


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_by_a_signal_without_a_fuss_and_leaves_no_file(
    tmp_path: Path, by: signal.Signals
) -> None:
    running = start(tmp_path)
    host, path = running.link().removeprefix("http://").split("/", 1)
    entered = ask(host, f"GET /{path} HTTP/1.1", f"Host: {host}")
    cookie = re.search(r"set-cookie: ([^;]+)", entered)
    assert cookie
    staged = list(tmp_path.glob("phonoscene-board-*"))

    name, port = host.split(":")
    with socket.create_connection((name, int(port)), timeout=20) as tab:
        tab.sendall(f"GET /live HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie[1]}".encode() + END)
        assert tab.recv(12) == b"HTTP/1.1 200"
        ended = stop(running, by)

    assert ended == 130
    assert len(staged) == 1
    assert list(tmp_path.glob("phonoscene-board-*")) == []
    said = (tmp_path / "stderr").read_text()
    assert "Traceback" not in said
    assert "ERROR" not in said


def test_a_port_that_is_taken_is_said_and_so_is_another_machines_host() -> None:
    with Address().listen() as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WrongUsage, match=f"127.0.0.1:{port} cannot be used"):
            Address(port=port).listen()
    with pytest.raises(WrongUsage, match="cannot be used"):
        Address("192.0.2.1").listen()


def test_a_tab_that_is_closed_ends_the_polling(board: Board) -> None:
    with Address().listen() as listener:
        port = listener.getsockname()[1]
        board.access = Access.on_port(port)
        server = Server(board)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            secret = board.access.enter(board.access.new_link().partition("=")[2])
            with socket.create_connection(("127.0.0.1", port), timeout=20) as tab:
                lines = f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                tab.sendall(f"{lines}Cookie: {board.access.cookie}={secret}\r\n\r\n".encode())
                got = b""
                while b"hx-partial" not in got:
                    got += tab.recv(65536)
                open_tabs = board.poller._listeners
            end = time.monotonic() + 20
            while board.poller._listeners and time.monotonic() < end:
                time.sleep(0.05)
            closed_tabs = board.poller._listeners
        finally:
            server.should_exit = True
            thread.join(20)

    assert (open_tabs, closed_tabs) == (1, 0)
