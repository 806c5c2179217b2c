"""The drop bucket and the jobs table over the crash tests' S3 and DynamoDB; receipts and a bus."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import ClientError

from phonoscene.drops.contents import MARK
from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.drops.media_facts import AudioFacts, ImageFacts, StoredObject
from phonoscene.errors import DropRefused, StableKeyRefused
from phonoscene.jobs import ErrorDetail, Job, JobStatus
from phonoscene.publishing.event_bus import EventBus
from phonoscene.publishing.receipt_bucket import ReceiptBucket, StoredReceipt
from phonoscene.publishing.stable_videos import StableCopy, StableVideos
from phonoscene.queues import DropsQueue
from phonoscene.table.items import from_item, same_as, to_job
from phonoscene.table.job_store import JobStore
from phonoscene.workflow.intake import Announcement
from tests.support.fakes.aws import Buckets, Version
from tests.support.fakes.table import Refused, Table
from tests.support.jobs import NOON
from tests.support.stack import DROPS, JOBS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from phonoscene.publishing.events import StatusChanged
    from phonoscene.publishing.pointers import Pointer


class Client:
    """boto3's client of one service, whose answers are a double's."""

    def __init__(self, answer: Callable[[str, dict[str, Any]], Any]) -> None:
        self._answer = answer

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = name.title().replace("_", "")

        def call(**asked: Any) -> Any:
            try:
                return self._answer(operation, asked)
            except Refused as exc:
                raise ClientError(exc.response, operation) from exc  # type: ignore[arg-type]  # a double's

        return call

    def get_paginator(self, name: str) -> Any:
        """One page: the double lists everything at once."""
        return SimpleNamespace(paginate=lambda **asked: [getattr(self, name)(**asked)])


class MemoryBucket(DropBucket):
    """The drop bucket of a test. A prober finds ``seconds`` of audio, and ``images``, in it."""

    def __init__(
        self, dated_after: timedelta = timedelta(), versions: Mapping[str, list[Version]] = {}
    ) -> None:
        self._buckets = Buckets(lambda: NOON)
        for key, those in versions.items():
            self._buckets.versions[DROPS, key] = those
        client: Any = Client(self._buckets.answer)
        super().__init__(client, client, DROPS)
        #: By how much an object's date is later than its event says.
        self.dated_after = dated_after
        #: How often each key was put: a version id is used once.
        self.puts: dict[str, int] = {}
        self.seconds = 5.0
        self.images: dict[str, tuple[int, int]] = {}
        #: What calls returned, for the explorer.
        self.answers: dict[Any, Any] = {}

    @property
    def versions(self) -> dict[str, list[Version]]:
        """The versions of each key, newest last."""
        return {key: versions for (_, key), versions in self._buckets.versions.items()}

    def copy(self) -> Self:
        """An independent bucket with the same objects."""
        twin = type(self)(self.dated_after, self.versions)
        twin.puts, twin.images = dict(self.puts), self.images
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
        """Create a version at ``at``; S3 dates an upload in parts from its beginning."""
        modified = (begun or at).replace(microsecond=0) + self.dated_after
        self.puts[key] = self.puts.get(key, 0) + 1
        new = Version(f"{key}#{self.puts[key]}", body, modified, ((MARK, mark),))
        earlier = self._buckets.versions.get((DROPS, key), [])
        self._buckets.versions[DROPS, key] = [*earlier, new]
        return Announcement(key, at.replace(microsecond=0))

    def remove(self, key: str) -> None:
        """Delete an object."""
        del self._buckets.versions[DROPS, key]


@dataclass(frozen=True)
class MemoryProber:
    """What has bytes is audio of ``bucket.seconds``, and an image as ``bucket.images`` says."""

    bucket: MemoryBucket

    def audio(self, stored: StoredObject) -> AudioFacts:
        """``seconds``, for every object that has bytes."""
        if not stored.bytes:
            raise DropRefused(ErrorDetail(code="empty_audio", message="it has no bytes"))
        return AudioFacts(self.bucket.seconds, "audio/mpeg", "mp3")

    def image(self, stored: StoredObject) -> ImageFacts:
        """The size that was agreed on."""
        if stored.key not in self.bucket.images:
            raise DropRefused(ErrorDetail(code="not_an_image", message="it is no image"))
        return ImageFacts(*self.bucket.images[stored.key], "image/png")


class MemoryStore(JobStore):
    """The jobs table of a test, at one time."""

    def __init__(
        self, clock: Callable[[], datetime] = lambda: NOON, items: Mapping[str, Any] = {}
    ) -> None:
        self.table = Table()
        self.table._items.update(items)
        client: Any = Client(self.table.answer)
        super().__init__(client, JOBS, clock=clock)
        #: What calls returned, for the explorer.
        self.answers: dict[Any, Any] = {}

    def copy(self) -> Self:
        """An independent table with the same items."""
        return type(self)(self.clock, self.table._items)

    @property
    def jobs(self) -> dict[str, Job]:
        """Every job, and every half that waits, by its id."""
        items = [from_item(item) for item in self.table.items() if "status" in item]
        return {job.job_id: job for job in map(to_job, items) if job}

    @property
    def repeats(self) -> dict[str, str]:
        """The ids of drops that repeat a job, with the job's."""
        items = map(from_item, self.table.items())
        return {item["job_id"]: original for item in items if (original := same_as(item))}

    def by_status(self, status: JobStatus) -> list[Job]:
        """The jobs in this state."""
        return [job for job in self.jobs.values() if job.status is status]

    def due_at(self, job_id: str) -> datetime:
        """When a job is looked at next."""
        return datetime.fromisoformat(self.table._items[job_id]["due_at"]["S"])


class MemoryReceipts(ReceiptBucket):
    """Receipts by key, with S3's word for each content; ``meanwhile`` happens before a write."""

    def __init__(self, name: str = "outputs") -> None:
        self.name = name
        self.objects: dict[str, StoredReceipt] = {}
        self.writes = 0
        self.meanwhile: Callable[[str], None] = lambda _: None

    def read(self, key: str) -> StoredReceipt | None:
        """What is there."""
        return self.objects.get(key)

    def replace(self, kept: StoredReceipt | None, key: str, body: bytes) -> bool:
        """Write, if what was read is what is there."""
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


class MemoryVideos(StableVideos):
    """The copy at each stable key, by the job whose video it is; ``contents`` has the ETags."""

    def __init__(self, name: str = "outputs") -> None:
        self.name = name
        #: The jobs whose videos each key has held, in order.
        self.held: dict[str, list[str]] = {}
        #: What each job's video consists of; its id, unless two have the same bytes.
        self.contents: dict[str, str] = {}
        self.refuses = False

    def find(self, key: str) -> StableCopy | None:
        """Return what is at a key."""
        held = self.held.get(key)
        return StableCopy(self._etag(held[-1]), held[-1]) if held else None

    def copy(self, pointer: Pointer, found: StableCopy | None) -> bool:
        """Copy, if the ETag that was read is that of the present copy."""
        if self.refuses:
            raise StableKeyRefused
        there = self.find(pointer.stable_key)
        if (there and there.etag) != (found and found.etag):
            return False
        self.held.setdefault(pointer.stable_key, []).append(pointer.job_id)
        return True

    def _etag(self, job_id: str) -> str:
        return self.contents.get(job_id, job_id)


class MemoryBus(EventBus):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[StatusChanged] = []

    def send(self, event: StatusChanged) -> None:
        """Take it."""
        self.sent.append(event)


class MemoryDrops(DropsQueue):
    """Keeps the ids that it should dispatch and cancel."""

    def __init__(self) -> None:
        self.dispatched: list[str] = []

    def dispatch(self, job_ids: Sequence[str]) -> None:
        """Take them."""
        self.dispatched += job_ids
