"""What a person sees while something takes long. All of it on stderr; stdout is for results."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.text import Text

from phonoscene_cli.ui import terminal


def say(text: str) -> None:
    """Lines to the person."""
    for line in text.splitlines():
        terminal.say(line)


def tell(head: str, colour: str, text: str, aside: str = "") -> None:
    """Lines to the person, whose first word is in a colour."""
    line = Text.assemble((head, colour), f" {text} " if aside else f" {text}", (aside, "dim"))
    terminal.people.print(line, soft_wrap=True)


@contextmanager
def step(label: str) -> Iterator[None]:
    """Show `label` while the body runs, and then how long it took."""
    watch = terminal.Watch()
    try:
        with terminal.working(label):
            yield
    except BaseException:
        tell("✗", "red", label, str(watch))
        raise
    tell("✓", "green", label, str(watch))
