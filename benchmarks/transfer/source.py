"""A CDN in a process of its own: it answers CONNECT itself, and serves ranges of the video.

The client believes in a proxy; that this end of the tunnel is also the CDN spares a relay, whose
work would be measured with everybody's.
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from benchmarks.transfer.pattern import piece
from benchmarks.transfer.wire import (
    STEP,
    Network,
    Pace,
    Request,
    Wire,
    announce_and_stay,
    serve,
    tls,
)

if TYPE_CHECKING:
    import socket
    import ssl


class Source:
    """Serves ``/files/<bytes>.mp4``, whatever the host's name."""

    def __init__(self, context: ssl.SSLContext, network: Network) -> None:
        self._context = context
        self._network = network

    def talk(self, sock: socket.socket) -> None:
        """One connection, from CONNECT until the client goes."""
        tunnel = Wire(sock, self._network)
        if tunnel.head() is None:
            return
        sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with self._context.wrap_socket(sock, server_side=True) as secure:
            wire = Wire(secure, self._network)
            while request := wire.head():
                wire.be_far()
                self._answer(wire, request)

    def _answer(self, wire: Wire, request: Request) -> None:
        named = re.fullmatch(r"/files/(\d+)\.mp4", request.target)
        if not named:
            wire.answer("404 Not Found", {})
            return
        first, last, size = _span(request, int(named[1]))
        fields = {
            "Content-Type": "video/mp4",
            "ETag": '"film"',
            "Accept-Ranges": "bytes",
            "Content-Length": str(last + 1 - first),
        }
        if "range" in request.headers:
            fields["Content-Range"] = f"bytes {first}-{last}/{size}"
            wire.answer("206 Partial Content", fields)
        else:
            wire.answer("200 OK", fields)
        if request.method == "GET":
            _send(wire, first, last + 1)


def _span(request: Request, size: int) -> tuple[int, int, int]:
    """The first and last byte that are asked for, and the size of the whole."""
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "bytes=0-"))
    first, last = (asked[1], asked[2]) if asked else ("0", "")
    return int(first), min(int(last or size), size - 1), size


def _send(wire: Wire, at: int, end: int) -> None:
    pace = Pace(wire.network.rate)
    while at < end:
        sent = piece(at, min(STEP, end - at))
        wire.sock.sendall(sent)
        at += len(sent)
        pace.moved_on(len(sent))


def options() -> argparse.Namespace:
    """What both servers are started with."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--latency", type=float, default=0.0)
    return parser.parse_args()


def main() -> None:
    """Serve until standard input ends."""
    given = options()
    source = Source(tls(given.certificate), Network(given.rate, given.latency))
    announce_and_stay(serve(source.talk))


if __name__ == "__main__":
    main()
