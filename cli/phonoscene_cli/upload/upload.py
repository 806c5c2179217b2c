"""Puts a drop in the bucket whole, or not at all, whenever the person changes their mind.

Images go first, because a sidecar that comes before its image is refused; then the audio, which may
take long; the sidecar completes the pair. What was put before something failed is taken back: an
object's own version, so that whatever lay there before shows again.
"""

from __future__ import annotations

import io
import mimetypes
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, Self

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NotConnected
from botocore.parsers import ResponseParserError

from phonoscene.drops.keys import job_id
from phonoscene.jobs import DropObject
from phonoscene.publishing.s3_conditions import MISSING
from phonoscene_cli.errors import CliError
from phonoscene_cli.upload.dry_run import stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from phonoscene_cli.upload.dry_run import Source, Stamp

#: S3 takes no more in one PUT.
LARGEST: Final = 5 * 1024**3
#: What is said of ^C before anything was uploaded, or after it was taken back.
INTERRUPTED: Final = "Interrupted: nothing was dropped."


@dataclass(frozen=True)
class FileUpload:
    """One object to be: its key, and where its bytes are.

    ``examined``: the stamp of a file before it was examined.
    """

    key: str
    source: Source
    examined: Stamp | None = field(default=None, compare=False)

    @classmethod
    def of_file(cls, key: str, file: Path) -> Self:
        """A file that is to be sent as it is now."""
        return cls(key, file, stamp_of(file))

    def check(self) -> None:
        """See that the file is still what was examined and priced.

        Raises:
            TakenBack: it was changed.
        """
        if isinstance(self.source, bytes) or not self.examined:
            return
        if stamp_of(self.source) != self.examined:
            raise TakenBack(
                f"{self.source} has changed since it was examined, and was not dropped. "
                "Wait until it is complete, then drop it again."
            )

    @property
    def bytes(self) -> int:
        """The size of the object in bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    @property
    def content_type(self) -> str:
        """The content type, by the key's suffix."""
        return mimetypes.guess_type(self.key)[0] or "application/octet-stream"


@dataclass(frozen=True)
class Drop:
    """What is put in the bucket; ``existing_sidecar`` is in it already, and is used."""

    audio: FileUpload
    sidecar: FileUpload | None = None
    images: tuple[FileUpload, ...] = ()
    existing_sidecar: DropObject | None = None

    @property
    def pieces(self) -> tuple[FileUpload, ...]:
        """In the order in which they are put."""
        return (*self.images, self.audio, *([self.sidecar] if self.sidecar else []))


@dataclass(frozen=True)
class Dropped:
    """A drop that lies in the bucket."""

    bucket: str
    audio: DropObject
    sidecar: DropObject | None

    def job_ids(self, takes: int = 1) -> list[str]:
        """The ids that its jobs have, or will have."""
        audio = (self.audio.key, self.audio.version_id)
        sidecar = (self.sidecar.key, self.sidecar.version_id) if self.sidecar else None
        numbers = range(takes) if takes > 1 else [None]
        return [job_id(self.bucket, audio, sidecar, number) for number in numbers]


def is_newest(s3: S3Client, dropped: Dropped) -> bool:
    """Whether nothing has replaced a drop, or deleted it."""
    halves = filter(None, (dropped.audio, dropped.sidecar))
    return all(_newest(s3, dropped.bucket, one.key) == one.version_id for one in halves)


def _newest(s3: S3Client, bucket: str, key: str) -> str | None:
    try:
        return s3.head_object(Bucket=bucket, Key=key)["VersionId"]
    except ClientError as exc:
        if exc.response["Error"]["Code"] not in MISSING:
            raise
        return None


class TakenBack(CliError):
    """The upload ended early, and nothing of it is left."""


class UploadedDespiteInterrupt(KeyboardInterrupt):
    """^C came when everything was in the bucket, or as good as."""

    def __init__(self, dropped: Dropped) -> None:
        super().__init__()
        self.dropped = dropped


class _Stopped(BaseException):
    """The body of a request refuses to go on; any Exception would make botocore try again."""


@dataclass
class Upload:
    """One drop on its way; ``on_bytes`` gets how many bytes of the audio are sent."""

    s3: S3Client
    bucket: str
    drop: Drop
    on_bytes: Callable[[int], None] = lambda _: None
    _stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """Take everything back, unless the audio's last byte is on its way. From any thread."""
        self._stopped.set()

    def run(self) -> Dropped:
        """Put every piece; or none, and say why.

        Raises:
            TakenBack: it was stopped, or a piece is too large, or was changed meanwhile.
            ClientError, BotoCoreError, OSError: a piece could not be read, or put.
        """
        put: dict[str, DropObject] = {}
        try:
            for piece in self.drop.pieces:
                if self._stopped.is_set() and self.drop.audio.key not in put:
                    raise _Stopped  # noqa: TRY301 - the same end as in the middle of a piece
                piece.check()
                try:
                    put[piece.key] = DropObject(key=piece.key, version_id=self._put(piece))
                finally:  # S3 or botocore refuses what grows or shrinks meanwhile, in other words
                    piece.check()
        except BaseException as exc:
            ended = exc
            if isinstance(exc, _Stopped):
                ended = TakenBack(INTERRUPTED)
            if left := self._take_back(put.values()):
                ended.add_note(
                    f"{', '.join(left)} could not be deleted from the drop bucket, and may become "
                    "a job. Drop the same file again, or delete what is left."
                )
            if ended is not exc:
                raise ended from None
            raise
        sidecar = put[self.drop.sidecar.key] if self.drop.sidecar else self.drop.existing_sidecar
        return Dropped(self.bucket, put[self.drop.audio.key], sidecar)

    def _put(self, piece: FileUpload) -> str:
        if piece.bytes > LARGEST:
            raise TakenBack(f"{piece.key} is larger than the 5 GB that S3 takes at once. Trim it.")
        remedy = "Drop the same file again, or delete it there."
        with self._body(piece) as body, in_doubt(piece.key, remedy):
            answer = self.s3.put_object(
                Bucket=self.bucket, Key=piece.key, Body=body, ContentType=piece.content_type
            )
        return str(answer["VersionId"])

    def _body(self, piece: FileUpload) -> _Body | io.BytesIO:
        if isinstance(piece.source, bytes):
            return io.BytesIO(piece.source)
        on_bytes = self.on_bytes if piece is self.drop.audio else lambda _: None
        return _Body(piece.source, self._stopped, on_bytes)

    def _take_back(self, objects: Iterable[DropObject]) -> list[str]:
        """Delete what was put; the keys of what is left. The first error is the one to hear of."""
        left: list[str] = []
        for one in objects:
            try:
                self.s3.delete_object(Bucket=self.bucket, Key=one.key, VersionId=one.version_id)
            except (ClientError, BotoCoreError):
                left.append(one.key)
        return left


@contextmanager
def in_doubt(key: str, remedy: str) -> Iterator[None]:
    """Put an object in the body; an error says so if S3 may have stored it all the same."""
    try:
        yield
    except Exception as exc:
        if _is_unanswered(exc):
            exc.add_note(f"{key} may be in the drop bucket anyway, and may become a job. {remedy}")
        raise


def _is_unanswered(exc: Exception) -> bool:
    """Whether S3 may have stored what it did not confirm, at this try or at one before it."""
    if isinstance(exc, ClientError):
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return isinstance(exc, (HTTPClientError, NotConnected, ResponseParserError))


class _Body(io.FileIO):
    """A file that is sent: it tells how far it is, and does not go on once it is stopped."""

    def __init__(
        self, file: Path, stopped: threading.Event, on_bytes: Callable[[int], None]
    ) -> None:
        super().__init__(file)
        self._is_stopped = stopped
        self._on_bytes = on_bytes

    def read(self, count: int | None = -1, /) -> bytes:
        """Read the next piece and report the position, unless the upload was stopped."""
        if self._is_stopped.is_set():
            raise _Stopped
        piece = super().read(-1 if count is None else count)
        self._on_bytes(self.tell())
        return piece or b""


def put(upload: Upload) -> Dropped:
    """Run an upload; as ``unbroken`` does."""
    return unbroken(upload.run, upload.stop)


def unbroken(work: Callable[[], Dropped], stop: Callable[[], None] = lambda: None) -> Dropped:
    """Do in a thread what ^C must not cut off in the middle: it only asks the thread to stop.

    Raises:
        KeyboardInterrupt: and nothing was dropped; its notes say what is left all the same.
        UploadedDespiteInterrupt: it came too late for that.
        TakenBack, ClientError, BotoCoreError, OSError: as ``work`` did.
    """
    ended: SimpleQueue[Dropped | BaseException] = SimpleQueue()
    worker = threading.Thread(target=lambda: ended.put(_outcome(work)), daemon=True)
    try:
        worker.start()
        # not the thread's join, which forgets the thread at ^C (CPython before 3.13)
        outcome = ended.get()
    except KeyboardInterrupt as interrupt:
        stop()
        if worker.ident is None:  # it had not begun; if it does now, it finds itself stopped
            raise
        outcome = ended.get()  # ^C once more ends even this
        if isinstance(outcome, Dropped):
            raise UploadedDespiteInterrupt(outcome) from interrupt
        for note in getattr(outcome, "__notes__", ()):
            interrupt.add_note(note)
        raise
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _outcome(work: Callable[[], Dropped]) -> Dropped | BaseException:
    try:
        return work()
    except BaseException as exc:  # noqa: BLE001 - it is raised in the thread that waits
        return exc
