"""The drop bucket: lists, reads, measures and presigns what was dropped. It never writes there."""

from __future__ import annotations

import io
import logging
import struct
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import imagesize
from botocore.exceptions import ClientError
from tinytag import TinyTag, TinyTagException

from phonoscene.adts import adts_seconds
from phonoscene.contents import MARK
from phonoscene.errors import DropRefused, TooMuchRead
from phonoscene.jobs import Audio, DropObject, ErrorDetail

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

BLOCK: Final = 64 * 1024
#: The most that is read of a file to measure it: 4 MiB hold any header, whatever cover art precedes
#: it.
MOST_BLOCKS: Final = 64
_ABSENT: Final = {"404", "NoSuchKey", "NoSuchVersion", "NotFound"}
#: What S3 knows of an object's bytes; of each that two objects share, equal means equal bytes.
_PROOFS: Final = (
    "ETag",
    "ChecksumCRC32",
    "ChecksumCRC32C",
    "ChecksumCRC64NVME",
    "ChecksumSHA1",
    "ChecksumSHA256",
)


@dataclass(frozen=True)
class Found:
    """An object of the drop bucket as it is now; ``modified`` has a resolution of a second.

    S3 dates an object uploaded in parts from the upload's *beginning*: ``modified`` is never later
    than the event that announced the object, but may be long before it.

    ``proofs`` and ``mark`` are for ``contents``: proofs of equal bytes, and of a take on purpose.
    """

    key: str
    version_id: str
    bytes: int
    modified: datetime
    proofs: Mapping[str, str] = field(default_factory=dict, hash=False)
    mark: str = ""


class DropBucket:
    """Reads one bucket, and presigns its objects with a client made for that."""

    def __init__(self, client: S3Client, presigner: S3Client, bucket: str) -> None:
        self._client = client
        self._presigner = presigner
        self.name = bucket

    def keys_under(self, *prefixes: str) -> set[str]:
        """Every key that begins with one of these."""
        pages = self._client.get_paginator("list_objects_v2").paginate
        return {
            entry["Key"]
            for prefix in prefixes
            for page in pages(Bucket=self.name, Prefix=prefix)
            for entry in page.get("Contents", [])
        }

    def first_keys(self, prefix: str, at_most: int) -> tuple[set[str], bool]:
        """Keys that begin with ``prefix`` and have no further folder; and whether those are all."""
        page = self._client.list_objects_v2(
            Bucket=self.name, Prefix=prefix, Delimiter="/", MaxKeys=at_most
        )
        return {entry["Key"] for entry in page.get("Contents", [])}, not page["IsTruncated"]

    def find(self, key: str) -> Found | None:
        """The newest version of an object, or None where it is gone."""
        try:
            head = self._client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
        except ClientError as exc:
            if exc.response["Error"]["Code"] in _ABSENT:
                return None
            raise
        return _found(key, head)

    def read(self, key: str, at_most: int) -> tuple[Found, bytes] | None:
        """An object's newest version with its first ``at_most`` bytes; None where it is gone."""
        try:
            answer = self._client.get_object(Bucket=self.name, Key=key)
        except ClientError as exc:
            if exc.response["Error"]["Code"] in _ABSENT:
                return None
            raise
        with answer["Body"] as body:
            raw = body.read(at_most)
        return _found(key, answer), raw

    def measure(self, found: Found) -> Audio:
        """The length of an audio file, from its header.

        Raises:
            DropRefused: it is empty, not audio, or cannot be measured.
        """
        if not found.bytes:
            raise DropRefused(_error("empty_audio", found.key, "has no bytes; upload it again"))
        reader = RangeReader(self._client, self.name, found)
        try:
            seconds, form = measure(reader)
        except TooMuchRead as exc:
            what = f"cannot be measured from the {MOST_BLOCKS * BLOCK // 2**20} MiB that are read"
            raise DropRefused(_error("unreadable_audio", found.key, what)) from exc
        except (TinyTagException, ValueError, EOFError, IndexError, ArithmeticError) as exc:
            logger.info("audio.unreadable", extra={"error": type(exc).__name__})
            raise DropRefused(_error("not_audio", found.key, _NOT_AUDIO)) from exc
        return Audio(
            key=found.key,
            version_id=found.version_id,
            bytes=found.bytes,
            seconds=seconds,
            format=form,
        )

    def picture_size(self, found: Found) -> tuple[int, int] | None:
        """Width and height of an image in pixels, or None where it is not one."""
        if not found.bytes:
            return None
        try:
            width, height = imagesize.get(RangeReader(self._client, self.name, found))
        except (TooMuchRead, ValueError, EOFError, struct.error):
            return None
        return (width, height) if width > 0 and height > 0 else None

    @contextmanager
    def open(self, pinned: DropObject) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The length of a version in bytes, and its bytes, a block at a time.

        Raises:
            DropRefused: it is gone.
        """
        try:
            answer = self._client.get_object(
                Bucket=self.name, Key=pinned.key, VersionId=pinned.version_id
            )
        except ClientError as exc:
            if exc.response["Error"]["Code"] in _ABSENT:
                raise DropRefused(_error("drop_gone", pinned.key, _GONE)) from exc
            raise
        with closing(answer["Body"]) as body:  # entered itself, it would count no bytes
            yield answer["ContentLength"], body.iter_chunks(BLOCK)

    def presign(self, pinned: DropObject, seconds: int, marker: str) -> str:
        """A URL that reads this version, and no other, for ``seconds``. Never stored or logged."""
        return self._presigner.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self.name,
                "Key": pinned.key,
                "VersionId": pinned.version_id,
                "ResponseContentDisposition": f"inline; filename={marker}",
            },
            ExpiresIn=seconds,
        )


def _found(key: str, answer: Any) -> Found:
    """From the answer of a HEAD or a GET."""
    size = answer["ContentLength"]
    return Found(
        key,
        answer["VersionId"],
        size,
        answer["LastModified"],
        proofs={kind: f"{size} {answer[kind]}" for kind in _PROOFS if answer.get(kind)},
        mark=answer.get("Metadata", {}).get(MARK, ""),
    )


_GONE: Final = "is no longer in the bucket as it was dropped; drop it again"
_NOT_AUDIO: Final = (
    "is not audio that can be read; allowed are mp3, wav, flac, m4a, aac, ogg and opus"
)


def _error(code: str, key: str, what: str) -> ErrorDetail:
    return ErrorDetail(code=code, message=f"{key} {what}.", source=key, field="audio")


def measure(reader: RangeReader) -> tuple[float, str]:
    """Seconds and format of audio, told from its bytes and not from its name.

    Raises:
        TinyTagException, ValueError, …: it is not audio.
    """
    seconds = adts_seconds(reader)
    if seconds is not None:
        return seconds, "audio/aac"
    reader.seek(0)
    tag = TinyTag.get(file_obj=reader, tags=False)  # type: ignore[arg-type]  # it reads and seeks
    length = tag.duration or _ogg_seconds(reader, tag.samplerate)
    if not length or not 0 < length < float("inf"):
        raise ValueError("no duration")
    return float(length), tag.mime_type or type(tag).__name__.strip("_").lower()


def _ogg_seconds(reader: RangeReader, rate: int | None) -> float | None:
    """From the last page's position (RFC 3533): FLAC in Ogg may leave its header's length open."""
    reader.seek(max(0, reader.size - BLOCK))
    tail = reader.read(BLOCK) or b""
    page = tail.rfind(b"OggS")
    return (
        int.from_bytes(tail[page + 6 : page + 14], "little") / rate if rate and page >= 0 else None
    )


class RangeReader(io.RawIOBase):
    """A seekable file over ranged reads of one version, a block at a time, each read once."""

    def __init__(self, client: S3Client, bucket: str, found: Found) -> None:
        super().__init__()
        self._client = client
        self._bucket = bucket
        self._found = found
        self._blocks: dict[int, bytes] = {}
        self._position = 0
        self.size = found.bytes

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; before the beginning is an error, as in any file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError(22, "seek before the beginning")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` from the block the position is in."""
        view = memoryview(buffer).cast("B")
        number, offset = divmod(self._position, BLOCK)
        if self._position >= self.size:
            return 0
        piece = self._block(number)[offset : offset + len(view)]
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            if len(self._blocks) >= MOST_BLOCKS:
                raise TooMuchRead
            self._blocks[number] = self._fetch(number)
        return self._blocks[number]

    def _fetch(self, number: int) -> bytes:
        first = number * BLOCK
        answer = self._client.get_object(
            Bucket=self._bucket,
            Key=self._found.key,
            VersionId=self._found.version_id,
            Range=f"bytes={first}-{min(first + BLOCK, self.size) - 1}",
        )
        return answer["Body"].read()
