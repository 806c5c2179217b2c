"""Measures objects of the drop bucket in this process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from phonoscene.drops.keys import suffix_of
from phonoscene.errors import DropRefused, MediaRefused, TooMuchRead
from phonoscene.jobs import ErrorDetail
from phonoscene.probe.audio import probe_audio
from phonoscene.probe.image import probe_image
from phonoscene.probe.object_reader import MAX_BYTES, ObjectReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from phonoscene.drops.drop_bucket import DropBucket
    from phonoscene.drops.media_facts import AudioFacts, ImageFacts, StoredObject

T = TypeVar("T")
_SMALLER: Final = MappingProxyType(
    {"audio": "convert it to FLAC, or to stereo at 48 kHz", "image": "make it smaller"}
)


@dataclass(frozen=True)
class LocalProber:
    """Reads one bucket, and decodes what it reads."""

    bucket: DropBucket

    def audio(self, stored: StoredObject) -> AudioFacts:
        """Measure an audio file; the errors are those of ``Prober``."""
        probe = partial(probe_audio, suffix=suffix_of(stored.key))
        return self._probe(stored, probe, "audio")

    def image(self, stored: StoredObject) -> ImageFacts:
        """Measure an image; the errors are those of ``Prober``."""
        return self._probe(stored, probe_image, "image")

    def _probe(self, stored: StoredObject, probe: Callable[[ObjectReader], T], field: str) -> T:
        reader = ObjectReader(partial(self.bucket.read_range, stored), stored.bytes)
        try:
            return probe(reader)
        except TooMuchRead as exc:
            what = f"is larger than the {MAX_BYTES // 2**20:,} MiB that are read; {_SMALLER[field]}"
            raise _refused(stored, field, f"{field}_too_large", what) from exc
        except MediaRefused as exc:
            raise _refused(stored, field, exc.code, exc.what) from exc


def _refused(stored: StoredObject, field: str, code: str, what: str) -> DropRefused:
    message = f"{stored.key} {what}."
    return DropRefused(ErrorDetail(code=code, message=message, source=stored.key, field=field))
