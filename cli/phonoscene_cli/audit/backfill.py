"""Admits drops that lie in the bucket and have no job: sends the events that S3 would have sent.

Nothing can be made twice: an event that comes again finds the same versions, hence the same job.
The cursor is written after the events it covers; what is cut off in between is sent once more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from phonoscene.drops.keys import name_of
from phonoscene_cli.audit.rate_limit import hold_while_deep
from phonoscene_cli.errors import CliError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phonoscene.drops.drop_bucket import Found
    from phonoscene_cli.audit.audit import Audit
    from phonoscene_cli.audit.checkpoint import CursorFile, Progress
    from phonoscene_cli.audit.rate_limit import Pace
    from phonoscene_cli.stack.connection import Stack

#: How often a message is offered that the queue does not take.
TRIES: Final = 5
#: So many messages in a row that the queue does not take: it is the queue, not a message.
MAX_REFUSED: Final = 3


@dataclass
class Backfill:
    """One run, from where ``progress`` stands; ``on_sent`` gets how many this run has sent.

    ``on_pause`` is called when the drops queue is too deep for the first time.
    """

    stack: Stack
    audit: Audit
    cursor: CursorFile
    progress: Progress
    pace: Pace
    limit: int | None
    on_sent: Callable[[int], None] = lambda _: None
    on_pause: Callable[[], None] = lambda: None
    sent: int = 0
    #: Whether nothing is left under the prefix.
    is_complete: bool = False
    _refused_in_a_row: int = 0
    _has_paused: bool = False

    def run(self) -> None:
        """Send an event for each missing drop, in the order of keys.

        Raises:
            CliError: the queue takes a message no more, or the cursor cannot be written.
        """
        batch: list[Found] = []
        done = self.progress.after
        for found, over in self._drops():
            done = over or done
            batch += [found] if found else []
            if len(batch) == self.pace.together:
                self._send(batch, done)
                batch = []
        if batch:
            self._send(batch, done)
        if self.is_complete:
            self.cursor.remove()

    def _drops(self) -> Iterator[tuple[Found | None, str | None]]:
        """What each drop's event is about, None where it has its job; and what is over with it."""
        left = self.limit
        for account in self.audit.accounts(self.progress.after):
            is_missing = self.audit.count(account)
            yield account.drop.announced if is_missing else None, account.drop.done
            left = left if left is None else left - is_missing
            if left == 0:
                return
        self.is_complete = True

    def _pause(self) -> None:
        if not self._has_paused:
            self._has_paused = True
            self.on_pause()

    def _announce(self, objects: list[Found]) -> list[Found]:
        """Those that the queue does not take, however often they are offered."""
        for _ in range(TRIES):
            objects = self.stack.drops.announce(self.audit.bucket, objects)
            if not objects:
                break
        return objects

    def _send(self, objects: list[Found], done: str | None) -> None:
        url = self.stack.outputs["DropsQueueUrl"]
        hold_while_deep(self.stack.client("sqs"), url, on_deep=self._pause)
        self.pace.wait(len(objects))
        refused = self._announce(objects)
        if len(refused) == len(objects):
            self._refused_in_a_row += len(refused)
        else:
            self._refused_in_a_row = 0
        if self._refused_in_a_row >= MAX_REFUSED:
            raise CliError(
                f"The drops queue did not accept the event of {refused[0].key}. Try again later."
            )
        for found in refused:
            self.audit.unreadable.add(name_of(found.key), "the queue did not accept its event")
        sent = len(objects) - len(refused)
        self.sent += sent
        self.progress = replace(self.progress, after=done, sent=self.progress.sent + sent)
        self.cursor.save(self.progress)
        self.on_sent(self.sent)
