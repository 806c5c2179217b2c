"""An S3 in a process of its own: it takes objects whole or in parts, and compares each byte.

Nothing is kept but where in the video a part is and how long it is; the parts must make the
video when they are put together.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from benchmarks.transfer.pattern import PERIOD, TELLING, is_film, place_of
from benchmarks.transfer.source import options
from benchmarks.transfer.wire import Network, Pace, Request, Wire, announce_and_stay, serve, tls

if TYPE_CHECKING:
    import socket
    import ssl

XML: Final = {"Content-Type": "application/xml"}
VERSION: Final = {"x-amz-version-id": "v1"}


class WrongBytesError(Exception):
    """What came is not the video."""


@dataclass(frozen=True)
class Part:
    """Where in the block a part begins, and its length; a tiny part is kept as it is."""

    place: int | None
    length: int
    tiny: bytearray = field(default_factory=bytearray)

    @classmethod
    def of(cls, body: bytearray, number: int = 1) -> Part:
        """Recognise a part, and compare all of it; most are behind others as long as they are."""
        if len(body) < TELLING:
            return cls(None, len(body), body)
        place = place_of(bytes(body[:TELLING]), (number - 1) * len(body))
        if place is None or not is_film(body, place):
            raise WrongBytesError("a part is not the film's")
        return cls(place, len(body))

    def stands_at(self, offset: int) -> bool:
        """Whether the video holds this part there."""
        if self.place is None:
            return is_film(self.tiny, offset)
        return self.place == offset % PERIOD


def length_of(parts: list[Part]) -> int:
    """The whole's length.

    Raises:
        WrongBytesError: put together, the parts are not the video.
    """
    total = 0
    for part in parts:
        if not part.stands_at(total):
            raise WrongBytesError("a part is in another's place")
        total += part.length
    return total


class Sink:
    """The subset of S3 that copies need, path-style."""

    def __init__(self, context: ssl.SSLContext, network: Network) -> None:
        self._context = context
        self._network = network
        self._numbers = itertools.count(1)
        self._uploads: dict[str, dict[int, Part]] = {}
        self._objects: dict[str, int] = {}

    def talk(self, sock: socket.socket) -> None:
        """One connection, until the client goes."""
        with self._context.wrap_socket(sock, server_side=True) as secure:
            wire = Wire(secure, self._network)
            while request := wire.head():
                wire.be_far()
                if request.headers.get("expect", "").lower() == "100-continue":
                    secure.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = body_of(wire, request)
                self._answer(wire, request, body)

    def _answer(self, wire: Wire, request: Request, body: bytearray) -> None:
        split = urlsplit(request.target)
        query = parse_qs(split.query, keep_blank_values=True)
        upload = query.get("uploadId", [""])[0]
        try:
            match request.method, bool(upload), "uploads" in query:
                case "PUT", True, _:
                    self._part(wire, upload, int(query["partNumber"][0]), body)
                case "PUT", False, _:
                    self._whole(wire, split.path, body)
                case "POST", False, True:
                    self._begin(wire)
                case "POST", True, _:
                    self._complete(wire, split.path, upload, body)
                case "DELETE", True, _:
                    self._uploads.pop(upload, None)
                    wire.answer("204 No Content", {})
                case (("HEAD" | "GET"), False, _):
                    self._look(wire, request.method, split.path)
                case _:
                    _refuse(wire, "501 Not Implemented", "NotImplemented")
        except WrongBytesError as error:
            _refuse(wire, "400 Bad Request", "BadDigest", str(error))

    def _whole(self, wire: Wire, path: str, body: bytearray) -> None:
        self._objects[path] = length_of([Part.of(body)])
        wire.answer("200 OK", {"ETag": '"whole"', **VERSION})

    def _begin(self, wire: Wire) -> None:
        upload = f"upload-{next(self._numbers)}"
        self._uploads[upload] = {}
        name = "InitiateMultipartUploadResult"
        text = f"<{name}><UploadId>{upload}</UploadId></{name}>"
        wire.answer("200 OK", XML, text.encode())

    def _part(self, wire: Wire, upload: str, number: int, body: bytearray) -> None:
        if upload not in self._uploads:
            _refuse(wire, "404 Not Found", "NoSuchUpload")
            return
        self._uploads[upload][number] = Part.of(body, number)
        wire.answer("200 OK", {"ETag": f'"part-{number}"'})

    def _complete(self, wire: Wire, path: str, upload: str, body: bytearray) -> None:
        parts = self._uploads.pop(upload)
        numbers = [int(found) for found in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)]
        self._objects[path] = length_of([parts[number] for number in numbers])
        text = "<CompleteMultipartUploadResult><ETag>whole</ETag></CompleteMultipartUploadResult>"
        wire.answer("200 OK", {**XML, **VERSION}, text.encode())

    def _look(self, wire: Wire, method: str, path: str) -> None:
        """HEAD of an object: its length, which is how a copy is proved; GET has no body to give."""
        if method == "GET" or path not in self._objects:
            wire.answer("404 Not Found", {})
            return
        length = str(self._objects[path])
        wire.answer("200 OK", {"Content-Length": length, "ETag": '"whole"', **VERSION})


def _refuse(wire: Wire, status: str, code: str, message: str = "") -> None:
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    wire.answer(status, XML, text.encode())


def body_of(wire: Wire, request: Request) -> bytearray:
    """A request's body: plain, or in the SDK's signed chunks with a checksum behind them."""
    pace = Pace(wire.network.rate)
    if "aws-chunked" not in request.headers.get("content-encoding", ""):
        if request.headers.get("transfer-encoding") != "chunked":
            return wire.read(int(request.headers.get("content-length", "0")), pace)
        return _chunks(wire, pace)
    return _aws_chunks(wire, request, pace)


def _chunks(wire: Wire, pace: Pace) -> bytearray:
    body = bytearray()
    while length := int(wire.line().partition(b";")[0], 16):
        body += wire.read(length, pace)
        wire.line()
    while wire.line():
        pass
    return body


def _aws_chunks(wire: Wire, request: Request, pace: Pace) -> bytearray:
    """Chunks of the SDK's within a body that may be in HTTP's own chunks as well."""
    if request.headers.get("transfer-encoding") == "chunked":
        return _within(_chunks(wire, pace))
    return _chunks(wire, pace)


def _within(outer: bytearray) -> bytearray:
    body, at = bytearray(), 0
    while True:
        end = outer.index(b"\r\n", at)
        length = int(bytes(outer[at:end]).partition(b";")[0], 16)
        if not length:
            return body
        body += outer[end + 2 : end + 2 + length]
        at = end + 2 + length + 2


def main() -> None:
    """Serve until standard input ends."""
    given = options()
    sink = Sink(tls(given.certificate), Network(given.rate, given.latency))
    announce_and_stay(serve(sink.talk))


if __name__ == "__main__":
    main()
