"""The drop bucket as it will be once some files are in it: drops are examined before they go up.

The product examines a bucket through S3's client, so here is a client that sees files of this
machine at their keys, and the real bucket at all others. Nothing is said twice in other words.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from phonoscene.drops.contents import Content, contents_of
from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.drops.keys import is_defaults
from phonoscene.drops.validation_errors import Errors
from phonoscene.workflow.examination import DropLimits, ExaminedTake, Examiner
from phonoscene.workflow.finding import NoDrop, find_drop
from phonoscene_cli.stack.video_download import video_name
from phonoscene_cli.upload.segment_forecast import SegmentForecast, TakeForecast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_s3 import S3Client

    from phonoscene.drops.drop_bucket import Found
    from phonoscene.drops.pairing import Pairing
    from phonoscene.jobs import Estimate
    from phonoscene_cli.stack.video_download import VideoName

Source = Path | bytes
Stamp = tuple[int, int]
#: Of files that are in no bucket yet.
NO_VERSION: Final = "on-this-machine"


@dataclass(frozen=True)
class Overlay:
    """S3's client, with ``files`` by their keys in front of it."""

    s3: Any
    files: Mapping[str, Source]
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def head_object(self, **at: Any) -> Any:
        """S3's answer to a HEAD."""
        source = self.files.get(at["Key"])
        if source is None:
            return self.s3.head_object(**at)
        length = len(source) if isinstance(source, bytes) else source.stat().st_size
        return {
            "VersionId": NO_VERSION,
            "ContentLength": length,
            "LastModified": self.at,
            "ETag": f'"{md5_of(source)}"',
        }

    def get_object(self, **at: Any) -> Any:
        """S3's answer to a GET, of a range if one is asked for."""
        source = self.files.get(at["Key"])
        if source is None:
            return self.s3.get_object(**at)
        head = self.head_object(**at)
        first, last = map(int, re.findall(r"\d+", at.get("Range", f"bytes=0-{2**62}")))
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            file.seek(first)
            body = file.read(last - first + 1)
        ranged = f"bytes {first}-{first + len(body) - 1}/{head['ContentLength']}"
        return head | {"Body": io.BytesIO(body), "ContentRange": ranged}


def md5_of(source: Source) -> str:
    """The ETag that S3 gives to an object that is put in one request, encrypted by S3 itself."""
    if isinstance(source, bytes):
        return hashlib.md5(source, usedforsecurity=False).hexdigest()
    return _md5_of_file(source, stamp_of(source))


def stamp_of(file: Path) -> Stamp:
    """What is otherwise as soon as a file is changed: its size, and when it was changed last."""
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=1000)
def _md5_of_file(path: Path, _: Stamp) -> str:
    """Of a file as it is now: it is read a megabyte at a time, and each read asks for its ETag."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()


class Frugal(DropBucket):
    """Asks once for each ``_defaults.json``: many drops share them."""

    def __init__(self, s3: S3Client, bucket: str) -> None:
        super().__init__(s3, s3, bucket)
        self._defaults = lru_cache(maxsize=1000)(super().read)

    def read(self, key: str, at_most: int) -> tuple[Found, bytes] | None:
        """As any drop bucket, but for the defaults."""
        read = self._defaults if is_defaults(key) else super().read
        return read(key, at_most)


@dataclass(frozen=True)
class Forecast:
    """What would become of a drop: its takes; none where it would wait for its other half.

    ``is_ignored``: nothing at all, because its folder's defaults say so. ``contents`` are the
    takes', where they are known.
    """

    takes: tuple[ExaminedTake, ...] = ()
    contents: tuple[Content | None, ...] = ()
    is_ignored: bool = False
    #: The segments, from 0, of its only take whose videos exist.
    made: frozenset[int] = frozenset()

    @property
    def errors(self) -> Errors:
        """Return the errors of all takes, each once."""
        data = [error for take in self.takes for error in take.errors.listed()]
        return Errors(dict.fromkeys(data))

    @property
    def priced(self) -> list[TakeForecast]:
        """The takes that have a price."""
        priced = (take.fields for take in self.takes if take.fields.get("estimate"))
        return [TakeForecast(fields, self.made) for fields in priced]

    @property
    def estimates(self) -> list[Estimate]:
        """What is to be paid for each of them."""
        return [take.estimate for take in self.priced]

    @property
    def segments(self) -> list[SegmentForecast]:
        """Those of all takes that need several requests."""
        takes = self.priced
        numbers = range(1, len(takes) + 1) if len(takes) > 1 else [None]
        pairs = zip(numbers, takes, strict=False)
        return [one for number, take in pairs for one in take.segments(number)]

    def videos(self, drop: str) -> list[VideoName]:
        """What the takes' videos will be called, by the drop's name."""
        return [video_name(drop, take.fields["arguments"]) for take in self.takes]


def forecast(bucket: DropBucket, rules: DropLimits, pairing: Pairing) -> Forecast:
    """What the product would make of a drop as it is in ``bucket``; nothing is written."""
    drop = find_drop(bucket, pairing)
    if isinstance(drop, NoDrop):
        return Forecast(is_ignored=drop is NoDrop.IGNORED)
    from phonoscene_cli.upload.measuring import Measured  # noqa: PLC0415 - FFmpeg: no other command needs it

    measured = Measured(bucket)
    takes = Examiner(bucket, rules, measured, measured.silences).examine(drop)
    asked = [(take.asked, take.images) for take in takes]
    contents = contents_of(bucket.name, drop.audio, drop.sidecar, asked)
    return Forecast(tuple(takes), tuple(contents))
