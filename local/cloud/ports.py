"""The loopback ports of one cloud, and sockets that listen there before its processes run.

A port that was only found free may be another cloud's a moment later. So a socket listens from the
moment a port is chosen, and the process that answers there inherits it.
"""

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from local.errors import LocalCloudError

LOOPBACK = "127.0.0.1"
USUAL_PORT = 4566  # where AWS emulators listen; another one is taken when it is in use
BACKLOG = 512
REUSE = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


@dataclass(frozen=True)
class Ports:
    """Loopback ports of one cloud."""

    aws: int
    proxy: int
    control: int


@dataclass(frozen=True)
class Listeners:
    """The ports of a cloud, and the sockets that listen on them. Use as a context manager."""

    ports: Ports
    sockets: Mapping[int, socket.socket]

    @classmethod
    def of_a_new_cloud(cls, aws: int | None = None) -> Self:
        """Three free ports; ``aws`` may be 0 for any, or None for the usual one.

        Raises:
            LocalCloudError: the port that was asked for is in use.
        """
        chosen = [_usual() if aws is None else _wanted(aws), listen(), listen()]
        sockets = {one.getsockname()[1]: one for one in chosen}
        return cls(Ports(*sockets), sockets)

    @classmethod
    def of_a_simulator(cls, ports: Ports) -> Self:
        """The ports of a simulator that has ended, for its successor.

        Raises:
            LocalCloudError: another program has taken one of them.
        """
        try:
            with ExitStack() as opened:
                wanted = (ports.proxy, ports.control)
                sockets = {port: opened.enter_context(listen(port)) for port in wanted}
                opened.pop_all()
            return cls(ports, sockets)
        except OSError as error:
            raise LocalCloudError(
                f"Another program listens on a port of the fal simulator that ended "
                f"({ports.proxy} or {ports.control}). End that program, or use `make down` first."
            ) from error

    def fd(self, port: int) -> int:
        """The socket of a port, as a child process inherits it."""
        return self.sockets[port].fileno()

    def close(self) -> None:
        """Leave the ports to the processes that have inherited them."""
        for one in self.sockets.values():
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def listen(port: int = 0) -> socket.socket:
    """A socket that listens on a port of 127.0.0.1; 0 is any.

    Raises:
        OSError: the port is in use.
    """
    listener = socket.socket()
    try:
        if port:  # connections of its last process may still be in TIME_WAIT
            listener.setsockopt(*REUSE)
        listener.bind((LOOPBACK, port))
        listener.listen(BACKLOG)
        listener.setsockopt(*REUSE)  # for this process's; before, any port would not be ours alone
    except OSError:
        listener.close()
        raise
    return listener


def _usual() -> socket.socket:
    try:
        return listen(USUAL_PORT)
    except OSError:
        return listen()


def _wanted(port: int) -> socket.socket:
    try:
        return listen(port)
    except OSError as error:
        raise LocalCloudError(
            f"Port {port} is in use: choose another with --port, or leave it out."
        ) from error
