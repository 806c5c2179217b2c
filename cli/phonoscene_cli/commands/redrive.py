"""``phonoscene redrive``: bring messages back from the dead-letter queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from phonoscene_cli.dead_letters import DeadLetters, Letters, of_stack
from phonoscene_cli.options import MOST, Json, stack_of
from phonoscene_cli.results import Result
from phonoscene_cli.ui import terminal
from phonoscene_cli.ui.formatting import number


@dataclass(frozen=True)
class RedriveResult(Result):
    """How many messages a queue had, and how many were moved."""

    waiting: int
    moved: int


def redrive(
    context: typer.Context,
    letters: Annotated[
        list[Letters] | None,
        typer.Argument(metavar="|".join(Letters), help="The queues to redrive; default: all."),
    ] = None,
    most: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=MOST, help="Move at most this many messages per queue."
        ),
    ] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the messages.")] = False,
    as_json: Json = False,
) -> None:
    """Move messages from the dead-letter queues back to their queues, after the cause is fixed.

    If it is interrupted, a message may be in both queues. That does no harm: everything in
    Phonoscene accepts a message twice. A stack without EventWebhookUrl has no notifications.
    Messages of UnpublishedQueue are not moved: docs/operations.md says what to do about them.

    Example: phonoscene redrive drops --dry-run
    """
    stack = stack_of(context)
    sqs, results = stack.client("sqs"), dict[str, RedriveResult]()
    names = dict.fromkeys(letters or of_stack(stack.outputs))
    queues = {name: DeadLetters.of(stack.outputs, name) for name in names}
    for name, queue in queues.items():
        waiting, moved = queue.count(sqs), 0
        if waiting and not dry_run:
            try:
                with terminal.advancing(f"{name}", min(waiting, most)) as advance:
                    for more in queue.redrive(sqs, most):
                        moved += more
                        advance(moved)
            except BaseException:  # ^C, too
                terminal.say(f"{name}: about {moved} moved. The same command continues.")
                raise
        results[name] = RedriveResult(waiting, moved)
        if moved == most < waiting:
            left = number(waiting - moved, "message")
            terminal.say(f"{name}: about {left} left. The same command continues with them.")

    def show() -> None:
        for name, one in results.items():
            what = f"{one.waiting} waiting" if dry_run else f"{one.moved} moved"
            terminal.line(f"{name}: {what}")

    terminal.tell(results, show, as_json=as_json)
