"""Connections to one host, used again while a file is read, and cut off together in the end."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from phonoscene.net.deadlines import Deadline
from phonoscene.net.public_https import AGENT, HTTPS, Timeout, dial, target

if TYPE_CHECKING:
    from http.client import HTTPResponse, HTTPSConnection
    from ssl import SSLContext


class Response:
    """The answer to one request, as it comes over its connection."""

    def __init__(self, connection: HTTPSConnection) -> None:
        self.connection = connection
        self._response: HTTPResponse = connection.getresponse()

    @property
    def status(self) -> int:
        """The HTTP status; no redirect is followed."""
        return self._response.status

    @property
    def length(self) -> int:
        """Bytes of the body that are still to come; 0 if unknown."""
        return self._response.length or 0

    @property
    def is_over(self) -> bool:
        """Whether it was read to its end, and its connection can be used again."""
        return self._response.isclosed() and self.connection.sock is not None

    def header(self, name: str) -> str:
        """A header's value; empty where there is none."""
        return self._response.headers.get(name, "")

    def read_into(self, view: memoryview) -> int:
        """Fill a view from the body; fewer bytes at its end, and 0 after it.

        Raises:
            OSError, HTTPException: it broke off.
        """
        return self._response.readinto(view)

    def close(self) -> None:
        """Give up what has not been read."""
        self._response.close()


class Connections:
    """Connections to a URL's host; any number of threads may use them."""

    def __init__(
        self, url: str, context: SSLContext, timeout: Timeout, most_seconds: float
    ) -> None:
        at = urlsplit(url)
        self._host, self._port = at.hostname or "", at.port or HTTPS
        self._target = target(at)
        self._context, self._timeout = context, timeout
        self._idle: list[HTTPSConnection] = []
        self._answers: set[Response] = set()
        self._deadline = Deadline(most_seconds)

    @property
    def are_cut(self) -> bool:
        """Whether time is up: nothing more can be read or asked."""
        return self._deadline.is_over

    def get(self, headers: dict[str, str]) -> Response:
        """Ask for the URL.

        Raises:
            AddressRefused: the host has an address that is not public.
            OSError, HTTPException: there is no answer.
        """
        connection = self._take()
        try:
            connection.request("GET", self._target, headers=AGENT | headers)
            answer = Response(connection)
        except BaseException:
            connection.close()
            raise
        self._answers.add(answer)
        return answer

    def done(self, answer: Response) -> None:
        """Keep an answer's connection for the next, if it was read to its end."""
        is_over = answer.is_over
        self._drop(answer)
        if is_over:
            self._idle.append(answer.connection)
        else:
            answer.connection.close()

    def shed(self) -> None:
        """Close the idle connections: the host has too many of them."""
        with suppress(IndexError):  # another thread took the last one
            while self._idle:
                self._idle.pop().close()

    def close(self) -> None:
        """Close all, whatever is still to come."""
        for answer in list(self._answers):
            self._drop(answer)
            answer.connection.close()
        self.shed()
        self._deadline.close()

    def _take(self) -> HTTPSConnection:
        with suppress(IndexError):
            return self._idle.pop()
        if self.are_cut:
            raise TimeoutError("time is up")
        return dial(self._host, self._port, self._context, self._timeout, self._deadline)

    def _drop(self, answer: Response) -> None:
        answer.close()
        self._answers.discard(answer)
