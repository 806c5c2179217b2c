"""What a person sees: results on stdout, everything said to them on stderr, colour on terminals.

With ``--json`` stdout is JSON and nothing else. A pipe gets the same text, unfolded and uncoloured;
NO_COLOR (https://no-color.org) takes the colour from a terminal too.
"""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from getpass import getpass
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from phonoscene_cli.errors import WrongUsage
from phonoscene_cli.ui.formatting import COLOURS, number, printable, span
from phonoscene_cli.ui.job_json import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from phonoscene.jobs import JobStatus


results: Final = Console(highlight=False, markup=False)
people: Final = Console(stderr=True, highlight=False, markup=False)
#: As wide as any line of a pipe.
ENDLESS: Final = 10_000
#: The options before the command, as they were typed: a command that is advised needs them, too.
_options: list[str] = []


def advise_with(*options: str) -> None:
    """Have commands that are advised reach the same stack as this one."""
    _options[:] = options


def _advised(text: str) -> str:
    """Text for a person, whose commands can be typed as they are."""
    called = " ".join(["`phonoscene", *_options])
    return printable(re.sub("`phonoscene(?= )", lambda _: called, text))


def say(text: str, style: str | None = None) -> None:
    """Print a line for the person, on stderr."""
    people.print(_advised(text), style=style, soft_wrap=True)


def complain(text: str) -> None:
    """What is wrong, and the next step."""
    people.print(Text.assemble(("error:", "red"), " ", _advised(text)), soft_wrap=True)


def tell_unreadable(job_ids: Collection[str]) -> None:
    """Name records that this release cannot read, so that none is left out in silence."""
    if job_ids:
        some = ", ".join(f"`phonoscene show {job_id}`" for job_id in sorted(job_ids)[:3])
        say(f"Skipped {number(len(job_ids), 'record')} that cannot be read. See {some}.")


def line(*parts: str | Text) -> None:
    """Print a line of the result, on stdout."""
    safe = (_advised(part) if isinstance(part, str) else part for part in parts)
    results.print(*safe, soft_wrap=True)


def row(table: Table, *cells: str | Text) -> None:
    """A row of a table; its cells are texts, never markup."""
    table.add_row(*(Text(printable(cell)) if isinstance(cell, str) else cell for cell in cells))


def show(table: Table, to: Console) -> None:
    """Print a table to ``results`` or ``people``; a pipe gets it with lines as long as they are."""
    wide = Console(file=to.file, width=ENDLESS, markup=False, highlight=False)
    (to if to.is_terminal else wide).print(table)


#: Columns that are never folded: a time and an id are of one piece.
_WHOLE: Final = frozenset({"created", "job"})


def grid(*headers: str) -> Table:
    """Return a table with these headers and no rows; it has no lines between rows or columns."""
    made = Table(box=None, pad_edge=False, header_style="dim")
    for header in headers:
        is_whole = header in _WHOLE or not results.is_terminal
        made.add_column(header, overflow="fold", no_wrap=is_whole)
    return made


def state(status: JobStatus, width: int = 0) -> Text:
    """Return a status in its colour."""
    return Text(f"{status:<{width}}", style=COLOURS.get(status, ""))


def dumped(value: Any, indent: int | None = None) -> str:
    """Return a result as JSON text, in ASCII if stdout is not UTF-8."""
    is_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    return json.dumps(value, indent=indent, default=plain, ensure_ascii=not is_unicode)


def print_json(value: Any) -> None:
    """The result, for programs."""
    print(dumped(value, indent=2))


def print_json_line(value: Any) -> None:
    """One of many results, at once."""
    print(dumped(value), flush=True)


def tell(result: Any, show: Callable[[], None], *, as_json: bool) -> None:
    """The result: as JSON, or as ``show`` prints it for a person."""
    if as_json:
        print_json(result)
    else:
        show()


def agreed(question: str, *, yes: bool) -> bool:
    """Whether the person wants that; ``yes`` is their word given beforehand.

    Raises:
        WrongUsage: there is no terminal to ask at.
    """
    if yes:
        return True
    must_be_able_to_ask()
    people.print(f"{question} [y/N] ", end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def asked(question: str, default: str) -> str:
    """The line that the person types; the default for an empty one, or at the end of the input."""
    people.print(f"{printable(question)} [{printable(default)}]: ", end="")
    return sys.stdin.readline().strip() or default


def asked_secretly(question: str) -> str:
    """The line that the person types, which the terminal does not show."""
    return getpass(f"{question}: ").strip()


def can_ask() -> bool:
    """Whether a person can read a question, and answer it."""
    return sys.stdin.isatty() and people.is_terminal


def must_be_able_to_ask() -> None:
    """Before work that only a question can follow.

    Raises:
        WrongUsage: this is no terminal.
    """
    if not can_ask():
        raise WrongUsage("Cannot ask for confirmation without a terminal. Use --yes.")


@contextmanager
def working(label: str) -> Iterator[Callable[[str], None]]:
    """A line that turns while the body runs, on a terminal only; call what is yielded to change it.

    What is printed meanwhile appears above it. A pipe's stdout is left alone.
    """
    if not people.is_terminal:
        yield lambda _: None
        return
    turning = Spinner("dots", Text(label))
    with Live(turning, console=people, transient=True, redirect_stdout=results.is_terminal):
        yield lambda text: turning.update(text=Text(printable(text)))


@contextmanager
def advancing(label: str, total: int, *, in_bytes: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar with the time that is left; call what is yielded with how many are done."""
    if not people.is_terminal:
        yield lambda _: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn() if in_bytes else MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=people, transient=True, redirect_stdout=results.is_terminal
    ) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)


class Watch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since this watch was made."""
        return time.monotonic() - self._started

    def __str__(self) -> str:
        return span(timedelta(seconds=self.seconds))
