"""What lies in the drop bucket, drop by drop, from one listing in the order of its keys.

All keys that can decide about a pair begin with the drop's name and a dot, and so are together in
the listing; but other names may begin so too (``song.live`` among those of ``song``). Hence a stack
of families that are not over yet: as deep as such names are nested, however many objects there are.

Accents can be spelled in two ways, which are far apart in the listing. A half that is alone and has
such a name is looked for under the other spelling.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from phonoscene.drops.drop_bucket import Found
from phonoscene.drops.keys import Kind, kind_of, name_of, spellings, stem_of
from phonoscene.drops.pairing import Pairing, all_pairings, pairings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

    Look = Callable[[str], Iterable[Found]]


@dataclass(frozen=True)
class BucketDrop:
    """A drop as it lies there: one half or both, their newest versions.

    ``done``: the key up to which everything is over once this drop is; None: not known yet.
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
    """Objects of one name in one spelling.

    ``before`` is the key that was listed before the first of them.
    """

    stem: str
    before: str | None = None
    objects: dict[str, Found] = field(default_factory=dict)

    def covers(self, key: str) -> bool:
        """Whether the family may go on at this key."""
        return key.startswith(f"{self.stem}.")

    @property
    def has_lonely(self) -> bool:
        """Whether one of them has no other half here."""
        return not all(pairing.is_whole for pairing in self.pairings)

    @cached_property
    def pairings(self) -> list[Pairing]:
        """Of its objects, which are all here."""
        return _pairings(self.objects)

    def drops(self, look: Look) -> Iterator[BucketDrop]:
        """An audio file with its sidecar, or alone; a sidecar that no audio claims.

        Another spelling's family that is listed earlier has yielded the pairs of both already.
        """
        others = self._others(look) if self.has_lonely else []
        added = {key: found for one in others for key, found in one.objects.items()}
        objects = self.objects | added
        earlier = {
            key for one in others if one.stem < self.stem and one.has_lonely for key in one.objects
        }
        for pairing in _pairings(objects) if added else self.pairings:
            keys = set(pairing.keys)
            if keys & self.objects.keys() and not keys & earlier:
                audio, sidecar = pairing.audio or "", pairing.sidecar or ""
                name = name_of(pairing.keys[0])
                yield BucketDrop(name, pairing, objects.get(audio), objects.get(sidecar))

    def _others(self, look: Look) -> list[_Family]:
        """The same name in other spellings."""
        families = [_Family(stem) for stem in spellings(self.stem) if stem != self.stem]
        for family in families:
            for found in look(f"{family.stem}."):
                if stem_of(found.key) == family.stem and kind_of(found.key) is not Kind.IGNORED:
                    family.objects[found.key] = found
        return families


def _pairings(objects: dict[str, Found]) -> list[Pairing]:
    """Every pairing of what is there, each once."""
    whole = all_pairings(objects).values()
    taken = {key for pairing in whole for key in (*pairing.keys, *pairing.unused)}
    lonely = (pairing for key in objects if key not in taken for pairing in pairings(key, objects))
    return sorted((*whole, *lonely), key=lambda one: (one.audio or "", one.sidecar or ""))


@dataclass
class Census:
    """Counts while it goes; ``ignored`` are images, defaults and what is no drop."""

    ignored: int = 0

    def drops(self, listing: Iterable[Found], look: Look = lambda _: ()) -> Iterator[BucketDrop]:
        """Every drop of a listing, when its last key has gone by; ``look`` lists a prefix."""
        families: list[_Family] = []
        last: str | None = None
        for found in listing:
            while families and not families[-1].covers(found.key):
                yield from _over(families, last, look)
            if kind_of(found.key) is Kind.IGNORED:
                self.ignored += 1
            else:
                _family(families, stem_of(found.key), last).objects[found.key] = found
            last = found.key
        while families:
            yield from _over(families, last, look)


def _family(families: list[_Family], stem: str, last: str | None) -> _Family:
    """The one of that stem, begun if it is new."""
    for family in reversed(families):
        if family.stem == stem:
            return family
    families.append(_Family(stem, last))
    return families[-1]


def _over(families: list[_Family], last: str | None, look: Look) -> Iterator[BucketDrop]:
    """The drops of the innermost family; its last tells how far everything is over."""
    drops = list(families.pop().drops(look))
    done = families[0].before if families else last
    yield from drops[:-1]
    yield from (replace(drop, done=done) for drop in drops[-1:])


def listed(s3: S3Client, bucket: str, prefix: str, after: str | None = None) -> Iterator[Found]:
    """The newest version of every object under a prefix, in the order of keys, page by page."""
    start: Any = {"KeyMarker": after} if after else {}
    listing = s3.get_paginator("list_object_versions")
    pages = listing.paginate(Bucket=bucket, Prefix=prefix, **start)
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
    s3: S3Client, bucket: str, prefix: str, census: Census, after: str | None = None
) -> Iterator[BucketDrop]:
    """The drops under a prefix, which may end anywhere: in a folder, a name, or a suffix."""
    folder, slash, rest = prefix.rpartition("/")
    whole = folder + slash + rest.partition(".")[0]  # a name's files are listed together, or not
    for drop in census.drops(listed(s3, bucket, whole, after), partial(listed, s3, bucket)):
        if drop.is_under(prefix):
            yield drop
