"""The README's diagram of states, generated from the job's allowed transitions.

After a change of ``TRANSITIONS``, ``python -m tests.support.state_diagram`` updates the README.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from phonoscene.jobs import BORN_AS, TRANSITIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from phonoscene.jobs import JobStatus

README: Final = Path(__file__).parents[2] / "README.md"
BLOCK: Final = re.compile(r"(<!-- states: .*? -->\n).*?(<!-- end of states -->)", re.DOTALL)


def state_diagram() -> str:
    """A mermaid flowchart with one line for each state: the states that may follow it."""
    lines = ["flowchart LR", f"    new((new)) --> {_joined(BORN_AS)}"]
    lines += [f"    {state} --> {_joined(after)}" for state, after in TRANSITIONS.items() if after]
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def _joined(states: Iterable[JobStatus]) -> str:
    """The states in the order in which the table lists them."""
    wanted = set(states)
    return " & ".join(state for state in TRANSITIONS if state in wanted)


def with_diagram(page: str) -> str:
    """The page, with the diagram between its two comments."""
    return BLOCK.sub(lambda found: found[1] + state_diagram() + found[2], page)


if __name__ == "__main__":
    README.write_text(with_diagram(README.read_text()))
