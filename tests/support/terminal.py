"""A program on a terminal: it sees a screen and a keyboard, and ^C reaches it as at a desk."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Makes the terminal the program's own, so that ^C is its signal, and becomes the program.
LOGIN: Final = (
    "import os, signal, sys; os.login_tty(0)\n"
    # where the suite itself runs in the background it ignores ^C, and would hand that down
    "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
    "os.execv(sys.argv[1], sys.argv[1:])"
)
#: What moves the cursor and changes colours (ECMA-48), and what rich hides and shows.
CONTROLS: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
COLOUR: Final = re.compile(r"\x1b\[[0-9;]*[1-9][0-9;]*m")


class Terminal:
    """One program on one terminal, ``columns`` wide; use it as a context."""

    def __init__(
        self, *words: str, columns: int = 120, env: Mapping[str, str] | None = None
    ) -> None:
        self._keyboard, screen = pty.openpty()
        termios.tcsetwinsize(screen, (40, columns))
        self._program = subprocess.Popen(  # noqa: S603 - what a test says
            [sys.executable, "-c", LOGIN, *words],
            stdin=screen,
            stdout=screen,
            stderr=screen,
            close_fds=True,
            env={
                "PATH": os.defpath,
                "TERM": "xterm-256color",
                "LANG": "C.UTF-8",
                "PYTHONFAULTHANDLER": "1",
                **(env or {}),
            },
        )
        os.close(screen)
        self._shown = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._program.poll() is None:
            self._program.kill()
        self._program.wait()
        self._reader.join()
        os.close(self._keyboard)

    def _read(self) -> None:
        with suppress(OSError):  # Linux's word for: no one holds the screen any more
            while piece := os.read(self._keyboard, 4096):
                self._shown += piece

    @property
    def is_on(self) -> bool:
        """Whether the program still runs."""
        return self._program.poll() is None

    @property
    def raw(self) -> str:
        """Everything that was shown, with its controls."""
        return bytes(self._shown).decode(errors="replace")

    @property
    def text(self) -> str:
        """The same as a person reads it, line by line."""
        return CONTROLS.sub("", self.raw).replace("\r\n", "\n")

    def await_text(self, text: str, seconds: float = 60) -> None:
        """Until that is there."""
        deadline = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < deadline, f"{text!r} is not shown:\n{self.text}"
            assert self._program.poll() is None or self._reader.is_alive() or text in self.text, (
                f"it ended without {text!r}:\n{self.text}"
            )
            time.sleep(0.02)

    def type(self, text: str) -> None:
        """As on a keyboard; ``\\x03`` is ^C."""
        os.write(self._keyboard, text.encode())

    def end(self, seconds: float = 90) -> int:
        """The exit code, once it has ended."""
        try:
            code = self._program.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it goes on after {seconds} s:\n{self.text}") from None
        self._reader.join()
        assert code >= 0, f"it died of signal {-code}:\n{self.text}"
        return code
