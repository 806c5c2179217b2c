"""Measures a file as the product does, over ranged reads of S3, and counts what it costs."""

from __future__ import annotations

import io
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.drops.media_facts import StoredObject
from phonoscene.errors import DropRefused
from phonoscene.probe.prober import LocalProber

_RANGE: Final = re.compile(r"bytes=(\d+)-(\d+)")
_ETAG: Final = '"etag"'


@dataclass
class MemoryS3:
    """One object, behind the one call of S3 that reading a range takes."""

    raw: bytes
    requests: int = 0
    read: int = 0

    def get_object(self, *, Range: str, IfMatch: str, **_: str) -> dict[str, Any]:  # noqa: N803 - S3's names
        """The bytes of the range, as S3 answers 206."""
        assert IfMatch == _ETAG
        asked = _RANGE.fullmatch(Range)
        assert asked
        first, last = int(asked[1]), min(int(asked[2]), len(self.raw) - 1)
        assert first <= last
        self.requests += 1
        self.read += last - first + 1
        return {
            "Body": io.BytesIO(self.raw[first : last + 1]),
            "ContentLength": last - first + 1,
            "ContentRange": f"bytes {first}-{last}/{len(self.raw)}",
            "ETag": _ETAG,
        }


@dataclass(frozen=True)
class Reading:
    """What the product makes of a file: its length, or the code and the text that refuse it."""

    seconds: float | None
    code: str | None
    message: str
    format: str
    #: What it cost: processor and bytes, the latter as read and in memory at most.
    milliseconds: float
    requests: int
    bytes: int
    memory: int


def read(raw: bytes, suffix: str) -> Reading:
    """Measure one file, dropped under a key that ends in ``suffix``."""
    s3: Any = MemoryS3(raw)
    prober = LocalProber(DropBucket(s3, s3, "drops"))
    seconds = code = None
    message = form = ""
    before = _reset_peak()
    started = time.perf_counter()
    try:
        facts = prober.audio(StoredObject(key=f"song.{suffix}", etag=_ETAG, bytes=len(raw)))
        seconds, form = facts.seconds, facts.format
    except DropRefused as exc:
        code, message = exc.errors[0].code, exc.errors[0].message
    took = 1000 * (time.perf_counter() - started)
    memory = max(0, _resident("VmHWM") - before)
    return Reading(seconds, code, message, form, took, s3.requests, s3.read, memory)


def _reset_peak() -> int:
    """Have the kernel count the most memory anew; what is used now, in bytes."""
    with suppress(OSError):  # only Linux can
        Path("/proc/self/clear_refs").write_text("5")
    return _resident("VmHWM")


def _resident(name: str) -> int:
    """A figure of this process's memory, in bytes; 0 where the kernel does not say."""
    with suppress(OSError):
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return 1024 * int(found[1]) if found else 0
    return 0
