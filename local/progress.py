"""What a person sees while something takes long. All of it on stderr; stdout is for results."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

GREEN, RED, DIM = "32", "31", "2"
FRESH_LINE = "\r\033[K"


def on_terminal() -> bool:
    """Whether stderr is a terminal that wants colour (https://no-color.org)."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def coloured(text: str, colour: str) -> str:
    """`text` in an ANSI colour, on a terminal only."""
    return f"\033[{colour}m{text}\033[0m" if on_terminal() else text


def say(text: str) -> None:
    """One line to the person, over a ticking one if there is one."""
    start = FRESH_LINE if sys.stderr.isatty() else ""
    print(f"{start}{text}", file=sys.stderr, flush=True)


class Ticker:
    """Counts seconds; on a terminal, at the start of the current line while the body runs."""

    def __init__(self, label: str = "waiting") -> None:
        self._label = label
        self._started = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
            print(FRESH_LINE, end="", file=sys.stderr, flush=True)

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._started

    def _tick(self) -> None:
        while not self._ended.wait(0.1):
            seconds = coloured(f"{self.seconds:.1f} s", DIM)
            print(f"{FRESH_LINE}· {self._label} {seconds}", end="", file=sys.stderr, flush=True)


@contextmanager
def step(label: str) -> Iterator[None]:
    """Show `label` while the body runs, and then how long it took."""
    with Ticker(label) as ticker:
        try:
            yield
        except BaseException:
            _ended(coloured("✗", RED), label, ticker)
            raise
    _ended(coloured("✓", GREEN), label, ticker)


def _ended(mark: str, label: str, ticker: Ticker) -> None:
    seconds = coloured(f"{ticker.seconds:.1f} s", DIM)
    say(f"{mark} {label} {seconds}")
