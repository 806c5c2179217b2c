"""Measures audio and images once in a process: a form is examined again at each change."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from phonoscene.probe.prober import LocalProber
from phonoscene.sequences.media_editor import silences_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from phonoscene.drops.drop_bucket import DropBucket
    from phonoscene.drops.media_facts import AudioFacts, ImageFacts, StoredObject

T = TypeVar("T")
#: As many results are kept, by the object and its ETag; those that were used longest ago go first.
KEPT: Final = 256
_known: OrderedDict[tuple[Any, ...], Any] = OrderedDict()


@dataclass(frozen=True)
class Measured:
    """A ``Prober``, and the silences of long audio; the errors are those of the product."""

    bucket: DropBucket

    def audio(self, stored: StoredObject) -> AudioFacts:
        """Measure an audio file."""
        return self._once("audio", stored, LocalProber(self.bucket).audio)

    def image(self, stored: StoredObject) -> ImageFacts:
        """Measure an image."""
        return self._once("image", stored, LocalProber(self.bucket).image)

    def silences(self, stored: StoredObject) -> list[float]:
        """Where audio may be cut, in seconds."""
        return self._once("silences", stored, partial(silences_in, self.bucket))

    def _once(self, what: str, stored: StoredObject, measure: Callable[[StoredObject], T]) -> T:
        key = (what, self.bucket.name, stored.key, stored.etag, stored.bytes)
        found: T = _known[key] if key in _known else measure(stored)
        _known[key] = found
        _known.move_to_end(key)
        while len(_known) > KEPT:
            _known.popitem(last=False)
        return found
