"""From a write of the table to what it publishes: video, receipt, and then the event.

No state is kept between writes. A write that comes again, late or in another order than it was made
does not replace a newer receipt; its event is sent once more, with the same id.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self

from phonoscene.errors import (
    ReceiptContested,
    RecordUnreadable,
    StableKeyContested,
    StableKeyRefused,
)
from phonoscene.jobs import Job, JobStatus
from phonoscene.publishing.events import StatusChanged
from phonoscene.publishing.pointers import Pointer
from phonoscene.publishing.receipts import Receipt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phonoscene.publishing.event_bus import EventBus
    from phonoscene.publishing.receipt_bucket import ReceiptBucket
    from phonoscene.publishing.stable_videos import StableVideos
    from phonoscene.queues import DropsQueue

logger = logging.getLogger(__name__)

#: How often a receipt is read again because another was written first: as many takes as a drop has
#: may be published at once.
TRIES: Final = 20


@dataclass(frozen=True)
class Write:
    """A write of the table: the record before it, if there was one, and after it.

    ``until`` is when somebody will look at the job next.
    """

    before: Job | None
    after: Job
    until: datetime | None

    @classmethod
    def of(cls, before: Mapping[str, Any], after: Mapping[str, Any]) -> Self:
        """A write, by the items before it and after it.

        An item before it that cannot be read counts as none: the write may have repaired it.

        Raises:
            RecordUnreadable: the item after it is not a job as this release knows it.
        """
        try:
            return cls(_earlier(before), Job.model_validate(after), next_look(after))
        except (ValueError, TypeError) as exc:  # pydantic's is a ValueError
            raise RecordUnreadable(str(exc)) from exc

    @classmethod
    def later(cls, item: Mapping[str, Any]) -> Self | None:
        """A later write of the same batch; None if it cannot be read: its own turn comes."""
        try:
            return cls.of({}, item)
        except RecordUnreadable:
            return None


def next_look(item: Mapping[str, Any]) -> datetime | None:
    """When Phonoscene will look at the job of an item: its place in ``backlog`` or ``due``."""
    at = item.get("dispatch_at") or item.get("due_at")
    return datetime.fromisoformat(at) if at else None


def _earlier(item: Mapping[str, Any]) -> Job | None:
    try:
        return Job.model_validate(item) if "status" in item else None
    except ValueError:
        return None


@dataclass(frozen=True)
class Publisher:
    """Publishes writes of the table: stable keys, receipts and events."""

    receipts: ReceiptBucket
    videos: StableVideos
    bus: EventBus
    drops: DropsQueue

    def publish(self, write: Write, newest: Write | None = None) -> None:
        """Update stable keys and the receipt, and send an event if the job took a step.

        ``newest`` is the last write of the job that is known of already: the receipt tells of that
        one, and is not written again for those in between.

        Raises:
            StableKeyContested, ReceiptContested: others write the same object all the time.
            EventRefused: the bus did not take the event.
            StableKeyRefused: all but the copy is published, and the copy would fail again. Only of
                a step: later the video may have been deleted, by a lifecycle rule for example.
        """
        if write.after.part_of:
            self._announce_end(write.after)
            return
        last = newest or write
        refused = self._refused_copies(last.after)
        self._update(Receipt.of(last.after, last.until))
        event = StatusChanged.of(write.before, write.after, write.until, self.receipts.name)
        if event:
            self.bus.send(event)
            logger.info("event.sent", extra={"status": event.status, "event": event.id})
        if refused and event:
            raise refused[0]
        if refused:
            logger.warning("stable_key.not_renewed", extra={"reason": str(refused[0])})

    def _announce_end(self, segment: Job) -> None:
        """Dispatch the sequences of a segment when it was sent, has ended, or waits for long.

        Other steps are not published.
        """
        was_sent = segment.status is JobStatus.SUBMITTED
        if was_sent or segment.is_final or segment.waits_for in ("budget", "account"):
            self.drops.dispatch(sorted(segment.users))

    def _refused_copies(self, job: Job) -> list[StableKeyRefused]:
        """Update each stable key of a job; return what S3 refused for good."""
        refused = []
        for pointer in Pointer.all_of(job):
            try:
                self._copy_newest(pointer)
            except StableKeyRefused as exc:
                refused.append(exc)
        return refused

    def _copy_newest(self, pointer: Pointer) -> None:
        """Point to the newest video, and copy it until the stable key is seen to hold it.

        The pointer is read after the stable key, and the copy requires that the key is unchanged.
        So each copy is of a video at least as new as the one that it replaces.
        """
        for _ in range(TRIES):
            found = self.videos.find(pointer.stable_key)
            kept = self.receipts.read(pointer.key)
            newest = Pointer.read(kept.body) if kept else None
            if newest is None or pointer.is_newer_than(newest):
                if not self.receipts.replace(kept, pointer.key, pointer.to_json().encode()):
                    continue
                newest = pointer
            if found and found.job_id == newest.job_id:
                return
            if self.videos.copy(newest, found):
                logger.info("stable_key.written", extra={"key": newest.stable_key})
        raise StableKeyContested

    def _update(self, receipt: Receipt) -> None:
        """Replace what is older, and nothing else.

        An audio file has a receipt of its own if its sidecar is no other's. It may also have one
        that says that its sidecar could be another's: this is replaced when its job has ended.
        """
        self._replace(receipt, receipt.key, creates=True)
        is_own = receipt.audio_key != receipt.key
        if is_own and (receipt.is_of_one or receipt.is_final):
            self._replace(receipt, receipt.audio_key, creates=receipt.is_of_one)

    def _replace(self, receipt: Receipt, key: str, *, creates: bool) -> None:
        body = receipt.to_json(indent=2).encode() + b"\n"
        for _ in range(TRIES):
            kept = self.receipts.read(key)
            there = Receipt.read(kept.body) if kept else None
            if there and not receipt.is_newer_than(there):
                logger.info("receipt.newer_there", extra={"revision": there.revision})
                return
            if not (kept or creates):
                return
            if self.receipts.replace(kept, key, body):
                logger.info("receipt.written", extra={"revision": receipt.revision})
                return
        raise ReceiptContested
