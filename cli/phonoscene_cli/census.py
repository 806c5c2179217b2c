"""What lies in the drop bucket, drop by drop, from one listing in the order of its keys.

All keys that can decide about a pair begin with the drop's name and a dot, and so lie together in
the listing; but other names may begin so too (``song.live`` among those of ``song``). Hence a stack
of families that are not over yet: as deep as such names are nested, however many objects there are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from phonoscene.drops import Kind, Pairing, kind_of, name_of, pairings
from phonoscene.media import Found

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime


@dataclass(frozen=True)
class Lying:
    """A drop as it lies there: one half or both, their newest versions.

    ``done``: the key up to which everything is over once this drop is; None: not to be told yet.
    """

    name: str
    pairing: Pairing
    audio: Found | None
    sidecar: Found | None
    done: str | None = None

    @property
    def halves(self) -> tuple[Found, ...]:
        """Those that are there, the audio first."""
        return tuple(half for half in (self.audio, self.sidecar) if half)

    @property
    def modified(self) -> datetime:
        """When the newer half was put."""
        return max(half.modified for half in self.halves)

    @property
    def announced(self) -> Found:
        """What an event that starts this drop would be about."""
        return replace(self.halves[0], modified=self.modified)

    def is_under(self, prefix: str) -> bool:
        """Whether one of its files is."""
        return any(half.key.startswith(prefix) for half in self.halves)


@dataclass
class _Family:
    """Objects of one name; ``before`` is the key that was listed before the first of them."""

    name: str
    before: str | None
    objects: dict[str, Found] = field(default_factory=dict)

    def covers(self, key: str) -> bool:
        """Whether the family may go on at this key."""
        return key.startswith(f"{self.name}.")

    def drops(self) -> Iterator[Lying]:
        """An audio file with its sidecar, or alone; a sidecar that no audio claims."""
        present = set(self.objects)
        told = {pairing for key in sorted(present) for pairing in pairings(key, present)}
        for pairing in sorted(told, key=lambda one: (one.audio or "", one.sidecar or "")):
            audio, sidecar = pairing.audio or "", pairing.sidecar or ""
            yield Lying(self.name, pairing, self.objects.get(audio), self.objects.get(sidecar))


@dataclass
class Census:
    """Counts while it goes; ``ignored`` are images, defaults and what is no drop."""

    ignored: int = 0

    def drops(self, listing: Iterable[Found]) -> Iterator[Lying]:
        """Every drop of a listing, when its last key has gone by."""
        families: list[_Family] = []
        last: str | None = None
        for found in listing:
            while families and not families[-1].covers(found.key):
                yield from _over(families, last)
            if kind_of(found.key) is Kind.IGNORED:
                self.ignored += 1
            else:
                _family(families, name_of(found.key), last).objects[found.key] = found
            last = found.key
        while families:
            yield from _over(families, last)


def _family(families: list[_Family], name: str, last: str | None) -> _Family:
    """The one of that name, begun if it is new."""
    for family in reversed(families):
        if family.name == name:
            return family
    families.append(_Family(name, last))
    return families[-1]


def _over(families: list[_Family], last: str | None) -> Iterator[Lying]:
    """The drops of the innermost family; its last tells how far everything is over."""
    drops = list(families.pop().drops())
    done = families[0].before if families else last
    yield from drops[:-1]
    yield from (replace(drop, done=done) for drop in drops[-1:])


def listed(s3: Any, bucket: str, prefix: str, after: str | None = None) -> Iterator[Found]:
    """The newest version of every object under a prefix, in the order of keys, page by page."""
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket=bucket, Prefix=prefix, **({"KeyMarker": after} if after else {})
    )
    for page in pages:
        for one in page.get("Versions", []):
            if one["IsLatest"]:
                yield Found(
                    key=one["Key"],
                    etag=one["ETag"],
                    bytes=one["Size"],
                    version_id=one["VersionId"],
                    modified=one["LastModified"],
                )


def drops_under(
    s3: Any, bucket: str, prefix: str, census: Census, after: str | None = None
) -> Iterator[Lying]:
    """The drops under a prefix, which may end anywhere: in a folder, a name, or a suffix."""
    folder, slash, rest = prefix.rpartition("/")
    whole = folder + slash + rest.partition(".")[0]  # a name's files are listed together, or not
    for drop in census.drops(listed(s3, bucket, whole, after)):
        if drop.is_under(prefix):
            yield drop
