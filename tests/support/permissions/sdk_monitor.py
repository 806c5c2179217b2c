"""Records the AWS calls that IAM denies to the deployed functions.

botocore can report every call it makes over UDP (client-side monitoring). Environment variables of
the function switch it on, so the product needs no change. A report carries AWS's own message, and
the message of a denial names the action.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOPBACK: Final = "127.0.0.1"
#: botocore sends at most 8 KiB.
LARGEST_REPORT: Final = 64 * 1024
#: Holds the reports of some thousand calls until the thread reads them.
BUFFER: Final = 4 * 1024 * 1024
_NAMED: Final = re.compile(r"not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)")
#: The answer to a HEAD has no body, so its denial names no action.
_UNNAMED: Final = {"HeadObject": frozenset({"s3:GetObject", "s3:GetObjectVersion"})}


@dataclass(frozen=True)
class Denial:
    """One call that IAM refused: to whom, and for want of which action (any of ``actions``)."""

    function: str
    generation: str
    actions: frozenset[str]

    def __str__(self) -> str:
        return f"{self.function} {' or '.join(sorted(self.actions))}"


class SdkMonitor:
    """Listens on a UDP port of its own; ``denials`` grows as the functions report."""

    def __init__(self) -> None:
        self.denials: list[Denial] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._socket.settimeout(0.2)
        self._socket.bind((LOOPBACK, 0))
        self._is_over = threading.Event()

    def variables(self, function: str, generation: str) -> dict[str, str]:
        """The environment variables that make a function report, under this generation."""
        return {
            "AWS_CSM_ENABLED": "true",
            "AWS_CSM_HOST": LOOPBACK,
            "AWS_CSM_PORT": str(self._socket.getsockname()[1]),
            "AWS_CSM_CLIENT_ID": f"{function}/{generation}",
        }

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record denials for the body's time."""
        thread = threading.Thread(target=self._listen, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()
            self._socket.close()

    def _listen(self) -> None:
        while not self._is_over.is_set():
            try:
                raw = self._socket.recv(LARGEST_REPORT)
            except TimeoutError:
                continue
            if denial := denial_in(json.loads(raw)):
                self.denials.append(denial)


def denial_in(report: dict[str, Any]) -> Denial | None:
    """The denial that a report is about, or None."""
    if report["Type"] != "ApiCallAttempt":
        return None
    named = _NAMED.search(report.get("AwsExceptionMessage", ""))
    actions = frozenset({named[1]}) if named else _unnamed(report)
    function, _, generation = report["ClientId"].partition("/")
    return Denial(function, generation, actions) if actions else None


def _unnamed(report: dict[str, Any]) -> frozenset[str]:
    if report.get("HttpStatusCode") != HTTPStatus.FORBIDDEN:
        return frozenset()
    return _UNNAMED.get(report["Api"], frozenset())
