"""What a take is made of, and whether another drop is made of the same.

Content is what fal is asked for under a key, together with the bytes of the files. An ETag or a
checksum of S3's proves that bytes are equal; without a proof the content counts as another one.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from phonoscene.drops.keys import composed, content_id
from phonoscene.drops.sidecar import IMAGE_FIELDS, chosen
from phonoscene.drops.validation_errors import SCENES
from phonoscene.jobs import KeptModel

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

#: Metadata of an object (``x-amz-meta-…``) that asks for another take of the same content, once for
#: each value.
MARK: Final = "phonoscene-take"
#: How many jobs of one key and one request are remembered, with the content of each.
MAX_HOLDERS: Final = 10


class Seen(Protocol):
    """An object of the drop bucket: ``proofs`` are what S3 says of its bytes, by kind."""

    @property
    def key(self) -> str:
        """The object's key in the drop bucket."""

    @property
    def proofs(self) -> Mapping[str, str]:
        """Where two objects share a kind, equal values mean equal bytes."""

    @property
    def mark(self) -> str:
        """The value of its metadata ``MARK``."""


class Holder(KeptModel):
    """A job, and the proofs of its files by the arguments that name them to fal."""

    job_id: str
    mark: str = ""
    files: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Content:
    """What one take of a drop is made of.

    ``id`` is a digest of the key and all that fal is asked for, but not of the files' bytes.
    """

    id: str
    files: Mapping[str, Mapping[str, str]]
    mark: str = ""

    def is_of(self, holder: Holder) -> bool:
        """Whether the job's files hold the same bytes for sure."""
        return self.files.keys() == holder.files.keys() and all(
            any(holder.files[name].get(kind) == value for kind, value in proofs.items())
            for name, proofs in self.files.items()
        )


def contents_of(
    bucket: str,
    audio: Seen,
    sidecar: Seen | None,
    takes: Iterable[tuple[Mapping[str, Any], Mapping[str, Seen]]],
) -> list[Content | None]:
    """The content of each take of a drop; None where a take is not complete.

    A take is what fal is asked for, and the images by the arguments that name them. A sidecar may
    list one take twice, and means two.
    """
    asked: Counter[str] = Counter()
    marks = [half.mark if half else "" for half in (audio, sidecar)]
    found: list[Content | None] = []
    for arguments, images in takes:
        wish = _wish(arguments, images)
        asked[wish] += 1
        files = {"audio_url": audio, **images}
        content = Content(
            id=content_id(bucket, audio.key, f"{wish} {asked[wish]}"),
            files={field: seen.proofs for field, seen in files.items()},
            mark=json.dumps(marks) if any(marks) else "",
        )
        found.append(content if wish else None)
    return found


def _wish(arguments: Mapping[str, Any], images: Mapping[str, Seen]) -> str:
    """What a take asks for, but for its files' bytes; empty where it lacks something."""
    set_by_dropper = chosen(arguments)
    scenes = arguments.get(SCENES, [])
    named = _named(set_by_dropper) | {
        f"{SCENES}[{number}].{field}"
        for number, scene in enumerate(scenes)
        for field in _named(scene)
    }
    if not set_by_dropper or named != images.keys():
        return ""
    keys = {field: composed(image.key) for field, image in images.items()}
    parts = [set_by_dropper, keys, scenes] if scenes else [set_by_dropper, keys]
    return json.dumps(parts, sort_keys=True)


def _named(arguments: Mapping[str, Any]) -> set[str]:
    """The arguments that name an image of the drop bucket."""
    return {field for field in IMAGE_FIELDS if "://" not in str(arguments.get(field) or "://")}


class Holders(KeptModel):
    """The jobs that ask for the same under one key, the oldest first: an item of the table."""

    job_id: str
    revision: int = 0
    holders: tuple[Holder, ...] = ()

    def of(self, content: Content) -> list[Holder]:
        """The jobs of this very content, the newest first; none where another take is asked for."""
        same = [holder for holder in reversed(self.holders) if content.is_of(holder)]
        is_known = not content.mark or content.mark in {holder.mark for holder in same}
        return same if is_known else []

    def with_job(self, content: Content, job_id: str, ended: Collection[str]) -> Self:
        """With a new job; where there are too many, those that ``ended`` without a video go."""
        files = {name: dict(proofs) for name, proofs in content.files.items()}
        kept = [*self.holders, Holder(job_id=job_id, mark=content.mark, files=files)]
        if len(kept) > MAX_HOLDERS:
            kept = [holder for holder in kept if holder.job_id not in ended][-MAX_HOLDERS:]
        return self._with(kept)

    def with_repeat(self, content: Content, job_id: str) -> Self:
        """With what a repeat adds to a job's proofs: the next drop may share only these."""
        return self._with(
            [
                _learnt(holder, content) if holder.job_id == job_id else holder
                for holder in self.holders
            ]
        )

    def _with(self, holders: list[Holder]) -> Self:
        return self.model_copy(update={"holders": tuple(holders), "revision": self.revision + 1})


def _learnt(holder: Holder, content: Content) -> Holder:
    files = {name: {**known, **content.files[name]} for name, known in holder.files.items()}
    return holder.model_copy(update={"files": files})
