"""Standard input, output and error as commands need them, whatever the shell has made of them.

stdout takes the result: if it cannot be written, the command fails. stderr never decides: what it
does not take is lost, and the command goes on.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

from phonoscene_cli.errors import NOT_FINE, READER_GONE, CliError


class OutputLost(CliError):
    """The result could not be written. It is no OSError, which Typer and Rich would handle."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            f"The result cannot be written to stdout: {error.strerror or error}. "
            "Direct it elsewhere."
        )
        self.exit_code = READER_GONE if error.errno == errno.EPIPE else NOT_FINE


class _Sink(io.RawIOBase):
    """Where a stream's bytes go; after the first failure, nowhere.

    ``stream``: the interpreter's own, or None if the shell has closed it.
    """

    def __init__(self, stream: io.TextIOWrapper | None, *, decides: bool) -> None:
        self._stream = stream  # kept: with its last reference the file would be closed
        if stream is None:
            unwritable = os.open(os.devnull, os.O_RDONLY)  # so that no file gets the descriptor
            self._raw: Any = io.FileIO(unwritable, closefd=False)
        else:
            self._raw = getattr(stream.buffer, "raw", stream.buffer)
        self._decides = decides
        self._is_lost = False

    def writable(self) -> bool:
        """It takes output."""
        return True

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return bool(self._raw.isatty())

    def fileno(self) -> int:
        """The file descriptor."""
        return int(self._raw.fileno())

    def write(self, data: Any, /) -> Any:
        """Write some of the bytes; how many.

        Raises:
            OutputLost: they cannot be written, and the stream decides.
        """
        try:
            return len(data) if self._is_lost else self._raw.write(data)
        except OSError as exc:
            self._is_lost = True
            if self._decides:
                raise OutputLost(exc) from exc
            return len(data)


def prepare() -> None:
    """Make the three streams as this module says; output takes any text, escaped if need be."""
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - to the end
    sys.stdout = _prepared(sys.stdout, decides=True)
    sys.stderr = _prepared(sys.stderr, decides=False)


def _prepared(stream: Any, *, decides: bool) -> Any:
    """A stream over a sink; one that has a sink, or is no file, is left as it is."""
    is_file = stream is None or isinstance(stream, io.TextIOWrapper)
    if not is_file or (stream and isinstance(getattr(stream.buffer, "raw", None), _Sink)):
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Sink(stream, decides=decides)),
        stream.encoding if stream else "utf-8",
        errors="backslashreplace",
        line_buffering=stream is None or stream.line_buffering or stream.write_through,
    )
