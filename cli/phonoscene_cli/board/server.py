"""Runs the board on loopback until ^C, and lets browsers in by links of one use."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import webbrowser
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import uvicorn

from phonoscene_cli.board import LOOPBACK
from phonoscene_cli.board.access import Access
from phonoscene_cli.board.application import application
from phonoscene_cli.board.context import Board
from phonoscene_cli.errors import WrongUsage
from phonoscene_cli.ui import terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phonoscene_cli.board.forms.staging import Staging
    from phonoscene_cli.stack.connection import Stack

#: Seconds for answers that are being sent when the board ends.
LAST_ANSWERS: Final = 2


@dataclass(frozen=True)
class Address:
    """Where the board listens; port 0 is any that is free."""

    host: str = LOOPBACK
    port: int = 0

    def listen(self) -> socket.socket:
        """A socket that listens.

        Raises:
            WrongUsage: another program has the port, or the host is not this machine's.
        """
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((self.host, self.port))
        except OSError as exc:
            made.close()
            raise WrongUsage(
                f"{self.host}:{self.port} cannot be used: {exc.strerror}. "
                "Choose another --port or --host."
            ) from exc
        made.listen()
        return made


class Server(uvicorn.Server):
    """Serves a board; at its end the tabs' events end first, or uvicorn would wait for them."""

    def __init__(self, board: Board) -> None:
        self._poller = board.poller
        super().__init__(
            uvicorn.Config(
                application(board),
                log_level="warning",
                access_log=False,
                ws="none",
                timeout_graceful_shutdown=LAST_ANSWERS,
                server_header=False,
                proxy_headers=False,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is being answered."""
        self._poller.close()
        await super().shutdown(sockets)


def serve(find: Callable[[], Stack], address: Address, opens: Callable[[str], object]) -> None:
    """Serve the stack that ``find`` returns until ^C; ``opens`` gets the first link."""
    listener = address.listen()
    port = listener.getsockname()[1]
    board = Board(find, Access.on_port(port, address.host))
    server = Server(board)

    def link() -> str:
        return f"http://{address.host}:{port}{board.access.new_link()}"

    _end_alike()
    with listener, _finished(board.staging):
        first = link()
        terminal.line(f"board: {first}")
        terminal.say("The link works once. Press Enter for another one, ^C to end.")
        opens(first)
        threading.Thread(target=_more_links, args=(link,), daemon=True).start()
        server.run(sockets=[listener])


@contextmanager
def _finished(staging: Staging) -> Iterator[None]:
    """At the end the uploads that run are finished, and the terminal says how."""
    try:
        yield
    finally:
        if staging.uploading:
            with suppress(OSError):  # the terminal was closed
                terminal.say("Finishing an upload. ^C again may leave a part of it in the bucket.")
        endings = staging.close()
        with suppress(OSError):
            for sentence in endings:
                terminal.say(sentence)


def _end_alike() -> None:
    """A terminal that is closed is a request to end: uvicorn knows only the other one."""
    closed = getattr(signal, "SIGHUP", None)  # Windows has none
    if closed and signal.getsignal(closed) is not signal.SIG_IGN:
        signal.signal(closed, lambda *_: signal.raise_signal(signal.SIGTERM))


def _more_links(link: Callable[[], str]) -> None:
    """One for each line that is typed."""
    for _ in sys.stdin:
        terminal.line(f"board: {link()}")


def opened(link: str) -> None:
    """Open the browser; where there is none, the printed link remains."""
    if not webbrowser.open(link):
        terminal.say("No browser could be opened. Open the link by hand.")
