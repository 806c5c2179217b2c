"""What a person sees while something takes long. All of it on stderr; stdout is for results."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.text import Text

from phonoscene_cli.ui import terminal


def say(text: str) -> None:
    """Lines to the person."""
    for line in text.splitlines():
        terminal.say(line)


@contextmanager
def step(label: str) -> Iterator[None]:
    """Show `label` while the body runs, and then how long it took."""
    watch = terminal.Watch()
    try:
        with terminal.working(label):
            yield
    except BaseException:
        _ended("✗", "red", label, watch)
        raise
    _ended("✓", "green", label, watch)


def _ended(mark: str, colour: str, label: str, watch: terminal.Watch) -> None:
    line = Text.assemble((mark, colour), f" {label} ", (str(watch), "dim"))
    terminal.people.print(line, soft_wrap=True)
