"""In-memory twins of the drop bucket and the jobs table; they refuse what the real ones refuse."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from phonoscene.drops.contents import Holders
from phonoscene.drops.drop_bucket import DropBucket, Found
from phonoscene.drops.keys import composed
from phonoscene.drops.media_facts import AudioFacts, ImageFacts, StoredObject
from phonoscene.errors import ContentContested, DropRefused, WriteRefused
from phonoscene.jobs import (
    WITHOUT_VIDEO,
    DropObject,
    ErrorDetail,
    Job,
    JobStatus,
    Step,
    may_precede,
)
from phonoscene.publishing.event_bus import EventBus
from phonoscene.publishing.receipt_bucket import ReceiptBucket, StoredReceipt
from phonoscene.table.job_store import JobStore
from phonoscene.workflow.intake import Announcement
from tests.support.jobs import NOON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from phonoscene.publishing.events import StatusChanged


@dataclass(frozen=True)
class Version:
    """One version of an object."""

    version_id: str
    body: bytes
    modified: datetime
    mark: str = ""


class MemoryBucket(DropBucket):
    """Versions by key, newest last. Audio is ``seconds`` long, whatever its bytes are."""

    def __init__(
        self, name: str = "drops", seconds: float = 5.0, dated_after: timedelta = timedelta()
    ) -> None:
        self.name = name
        self.seconds = seconds
        #: By how much an object's date is later than its event says.
        self.dated_after = dated_after
        self.versions: dict[str, tuple[Version, ...]] = {}
        #: How often each key was put: no version id is given twice.
        self.puts: dict[str, int] = {}
        self.images: dict[str, tuple[int, int]] = {}

    def copy(self) -> Self:
        """An independent bucket with the same objects."""
        twin = type(self)(self.name, self.seconds, self.dated_after)
        twin.versions, twin.puts = dict(self.versions), dict(self.puts)
        twin.images = self.images
        return twin

    def put(
        self,
        key: str,
        body: bytes = b"x",
        *,
        at: datetime = NOON,
        begun: datetime | None = None,
        mark: str = "",
    ) -> Announcement:
        """Create a version at ``at``; S3 dates one that comes in parts from its beginning."""
        earlier = self.versions.get(key, ())
        modified = (begun or at).replace(microsecond=0) + self.dated_after
        self.puts[key] = self.puts.get(key, 0) + 1
        new = Version(f"{key}#{self.puts[key]}", body, modified, mark)
        self.versions[key] = (*earlier, new)
        return Announcement(key, at.replace(microsecond=0))

    def remove(self, key: str) -> None:
        """Delete an object."""
        del self.versions[key]

    def keys_under(self, *prefixes: str) -> set[str]:
        """Every key that begins with one of these."""
        return {key for key in self.versions if key.startswith(prefixes)}

    def versions_under(self, *prefixes: str) -> dict[str, str | None]:
        """The same with its version, or None if it was put more than once."""
        return {
            key: self.versions[key][-1].version_id if self.puts[key] == 1 else None
            for key in sorted(self.keys_under(*prefixes))
        }

    def first_keys(self, prefix: str, at_most: int) -> tuple[set[str], bool]:
        """The first of those that have no further folder."""
        found = sorted(
            key for key in self.versions if key.startswith(prefix) and "/" not in key[len(prefix) :]
        )
        return set(found[:at_most]), len(found) <= at_most

    def find(self, key: str) -> Found | None:
        """The newest version."""
        if key not in self.versions:
            return None
        newest = self.versions[key][-1]
        return Found(
            key=key,
            etag=newest.version_id,
            bytes=len(newest.body),
            version_id=newest.version_id,
            modified=newest.modified,
            proofs={"ETag": f"{len(newest.body)} {hashlib.md5(newest.body).hexdigest()}"},  # noqa: S324 - as S3 does
            mark=newest.mark,
        )

    def read(self, key: str, at_most: int) -> tuple[Found, bytes] | None:
        """The newest version with its first bytes."""
        found = self.find(key)
        return (found, self.versions[key][-1].body[:at_most]) if found else None

    def presign(self, pinned: DropObject, seconds: int, marker: str) -> str:
        """A URL that names the version and its life."""
        query = f"versionId={pinned.version_id}&{seconds}&{marker}"
        return f"https://{self.name}.example/{pinned.key}?{query}"


@dataclass(frozen=True)
class MemoryProber:
    """What has bytes is audio of ``bucket.seconds``, and an image as ``bucket.images`` says."""

    bucket: MemoryBucket

    def audio(self, stored: StoredObject) -> AudioFacts:
        """``seconds``, for whatever has bytes."""
        if not stored.bytes:
            raise DropRefused(ErrorDetail(code="empty_audio", message="it has no bytes"))
        return AudioFacts(self.bucket.seconds, "audio/mpeg", "mp3")

    def image(self, stored: StoredObject) -> ImageFacts:
        """The size that was agreed on."""
        if stored.key not in self.bucket.images:
            raise DropRefused(ErrorDetail(code="not_an_image", message="it is no image"))
        return ImageFacts(*self.bucket.images[stored.key], "image/png")


class MemoryStore(JobStore):
    """Items by id, under the conditions of the table."""

    def __init__(self, now: datetime = NOON) -> None:
        self.clock = lambda: now
        self.items: dict[str, Job] = {}
        #: The jobs of each content, and the jobs that drops repeat.
        self.contents: dict[str, Holders] = {}
        self.repeats: dict[str, str] = {}
        self.due_dates: dict[str, datetime | None] = {}

    def copy(self) -> Self:
        """An independent table with the same items."""
        twin = type(self)(self.clock())
        twin.items, twin.due_dates = dict(self.items), dict(self.due_dates)
        twin.contents, twin.repeats = dict(self.contents), dict(self.repeats)
        return twin

    def by_status(self, status: JobStatus) -> list[Job]:
        """The records that stand at ``status``."""
        return [job for job in self.items.values() if job.status is status]

    def get(self, job_id: str) -> Job | None:
        """The item, or that of the job that it repeats."""
        return self.items.get(self.repeats.get(job_id, job_id))

    def wait(self, half: Job, due_at: datetime) -> None:
        """Put a half, unless the same version lies there."""
        there = self.items.get(half.job_id)
        if there and _versions(there) == _versions(half):
            raise WriteRefused(there)
        self.items[half.job_id], self.due_dates[half.job_id] = half, due_at

    def stop_waiting(self, half_id: str) -> None:
        """Delete, whether it is there or not."""
        self.items.pop(half_id, None)

    def holders(self, content_id: str) -> Holders:
        """The jobs of a content."""
        return self.contents.get(content_id) or Holders(job_id=content_id)

    def waiting_for(self, bucket: str, image: str, most: int) -> list[str]:
        """The jobs that wait for an image, however its name's accents are spelled."""
        waiting = [
            job_id
            for job_id, job in self.items.items()
            if job.bucket == bucket and composed(job.missing_image or "") == composed(image)
        ]
        return sorted(waiting)[:most]

    def _must_be(self, drop_id: str, waited: Job | None) -> None:
        """Refuse an id that is taken, or that is not as it was read."""
        there = self.get(drop_id)
        if there != waited:
            raise WriteRefused(there)

    def _write_drop_first(self, drop_id: str, holders: Holders | None, waited: Job | None) -> None:
        """Refuse what the table would, and keep the jobs of the content."""
        self._must_be(drop_id, waited)
        if holders and self.holders(holders.job_id).revision != holders.revision - 1:
            raise ContentContested
        if holders:
            self.contents[holders.job_id] = holders

    def admit(
        self,
        job: Job,
        replacing: Iterable[str],
        holders: Holders | None = None,
        waited: Job | None = None,
    ) -> Job:
        """Put a job that is not there and delete its halves, or do neither."""
        self._write_drop_first(job.job_id, holders, waited)
        self.items[job.job_id] = job
        for half in replacing:
            self.items.pop(half, None)
        return job

    def repeat(
        self,
        drop_id: str,
        job: Job,
        dropped_at: datetime,
        holders: Holders,
        replacing: Iterable[str],
        waited: Job | None = None,
    ) -> Job:
        """Note a repeat on a job that did not end meanwhile."""
        there = self.items[job.job_id]
        self._must_be(drop_id, waited)
        if there.status in WITHOUT_VIDEO or there.dropped_at != job.dropped_at:
            raise ContentContested
        self._write_drop_first(drop_id, holders, waited)
        self.items.pop(drop_id, None)
        newest = max(there.dropped_at or dropped_at, dropped_at)
        changes = {"repeats": there.repeats + 1, "dropped_at": newest}
        self.items[job.job_id] = there.model_copy(update=changes)
        self.repeats[drop_id] = job.job_id
        for half in replacing:
            self.items.pop(half, None)
        return job

    def mention(self, job: Job, unused: frozenset[str], dropped_at: datetime) -> None:
        """Note sidecars that are not used."""
        there = self.items[job.job_id]
        if there.dropped_at != job.dropped_at:
            raise ContentContested
        newest = max(there.dropped_at or dropped_at, dropped_at)
        changes = {"unused_sidecars": there.unused_sidecars | unused, "dropped_at": newest}
        self.items[job.job_id] = there.model_copy(update=changes)

    def move(
        self, job: Job, status: JobStatus, *, at: datetime | None = None, **changes: Any
    ) -> Job:
        """Change an item whose status may precede the new one and whose attempt was read."""
        there = self.items.get(job.job_id)
        if not (there and there.status in may_precede(status) and there.attempt == job.attempt):
            raise WriteRefused(there)
        changes |= dict.fromkeys(("waits_for", "missing_image", "waits_until"))
        known = {name: value for name, value in changes.items() if value is not None}
        gone = {name: Job.model_fields[name].default for name in changes if name not in known}
        step = Step(status=status, at=self.clock())
        moved = there.model_copy(
            update={
                **known,
                **gone,
                "status": status,
                "updated_at": step.at,
                "history": (*there.history, step),
            }
        )
        self.items[job.job_id], self.due_dates[job.job_id] = moved, at
        return moved

    def note_duplicate(self, job: Job, request_id: str) -> None:
        """Add a request to an item's duplicates."""
        there = self.items[job.job_id]
        more = there.duplicate_requests | {request_id}
        self.items[job.job_id] = there.model_copy(update={"duplicate_requests": more})


class MemoryReceipts(ReceiptBucket):
    """Receipts by key, with S3's word for each content; ``meanwhile`` happens before a write."""

    def __init__(self, name: str = "outputs") -> None:
        self.name = name
        self.objects: dict[str, StoredReceipt] = {}
        self.writes = 0
        self.meanwhile: Callable[[str], None] = lambda _: None

    def read(self, key: str) -> StoredReceipt | None:
        """What lies there."""
        return self.objects.get(key)

    def replace(self, kept: StoredReceipt | None, key: str, body: bytes) -> bool:
        """Write, if what was read is what lies there."""
        self.meanwhile(key)
        there = self.objects.get(key)
        if (there and there.etag) != (kept and kept.etag):
            return False
        self.put(key, body)
        return True

    def put(self, key: str, body: bytes) -> None:
        """Write, whatever is there."""
        self.writes += 1
        self.objects[key] = StoredReceipt(body, f"etag-{self.writes}")


class MemoryBus(EventBus):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[StatusChanged] = []

    def send(self, event: StatusChanged) -> None:
        """Take it."""
        self.sent.append(event)


def _versions(half: Job) -> tuple[str | None, str | None]:
    return (
        half.audio.version_id if half.audio else None,
        half.sidecar.version_id if half.sidecar else None,
    )
