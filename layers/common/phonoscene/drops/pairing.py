"""Which audio file and which sidecar make a drop, among the keys of one name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from phonoscene.drops.keys import (
    SIDECAR_SUFFIX,
    Kind,
    composed,
    is_unsupported,
    kind_of,
    named_after,
    pointer_key,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@dataclass(frozen=True)
class Pairing:
    """What one event means: an audio file with its sidecar, either alone, or a tie.

    ``rivals`` are the other audio files that claim the same sidecar. ``unused`` are sidecars that
    could be this audio file's, and that no audio file claims because another one counts.
    """

    audio: str | None
    sidecar: str | None
    rivals: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether both halves are here."""
        return self.audio is not None and self.sidecar is not None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the halves that are here, the audio's first."""
        return tuple(key for key in (self.audio, self.sidecar) if key is not None)


def pairings(key: str, present: Collection[str]) -> list[Pairing]:
    """What is to be done about ``key``, given the keys present under its family's prefixes.

    An audio file has one pairing. A sidecar has one for each audio file that claims it, or that
    could if no other sidecar counted; and where there is no such file, one without audio.
    """
    if key not in present:
        return []
    found = all_pairings(present)
    if kind_of(key) is Kind.AUDIO:
        return [found[key]]
    return (
        [pairing for pairing in found.values() if pairing.sidecar == key]
        or [pairing for pairing in found.values() if key in pairing.unused]
        or [Pairing(None, key)]
    )


def all_pairings(present: Collection[str]) -> dict[str, Pairing]:
    """The pairing of each audio file that is present, in the order of keys."""
    sidecars = _by_stem(present)
    choices = {
        audio: _choices(audio, sidecars)
        for audio in sorted(present)
        if kind_of(audio) is Kind.AUDIO
    }
    claims: dict[str, list[str]] = {}
    for audio, choice in choices.items():
        for sidecar in choice[:1]:
            claims.setdefault(sidecar, []).append(audio)
    return {audio: _pairing(audio, choice, claims) for audio, choice in choices.items()}


def unsupported_pairings(present: Collection[str]) -> list[Pairing]:
    """The pairings that unsupported files would have, unless an audio file has their name.

    A video beside its pointer is Phonoscene's own, copied from the output bucket.
    """
    whole = all_pairings(present)
    audio = {_stem(key) for key in whole}
    used = {key for pairing in whole.values() for key in (pairing.sidecar, *pairing.unused)}
    sidecars = _by_stem(present)
    found = [
        Pairing(file, next(iter(_choices(file, sidecars)), None))
        for file in sorted(present)
        if is_unsupported(file) and _stem(file) not in audio and pointer_key(file) not in present
    ]
    return [pairing for pairing in found if pairing.sidecar is None or pairing.sidecar not in used]


def _stem(file: str) -> str:
    return composed(file.rpartition(".")[0])


def _by_stem(present: Collection[str]) -> dict[str, list[str]]:
    """The sidecars that are present by what they are named after."""
    found: dict[str, list[str]] = {}
    for key in sorted(present):
        if kind_of(key) is Kind.SIDECAR:
            found.setdefault(composed(named_after(key)), []).append(key)
    return found


def _choices(audio: str, sidecars: Mapping[str, list[str]]) -> list[str]:
    """The sidecars that could be an audio file's, the one that counts first.

    ``song.mp3.json`` before ``song.json``; of several spellings of one name the audio file's own.
    """
    stems = (audio, audio.rpartition(".")[0])
    return [
        key
        for stem in stems
        for key in sorted(
            sidecars.get(composed(stem), ()), key=lambda key: key != stem + SIDECAR_SUFFIX
        )
    ]


def _pairing(audio: str, choice: list[str], claims: Mapping[str, list[str]]) -> Pairing:
    if not choice:
        return Pairing(audio, None)
    sidecar = choice[0]
    rivals = tuple(other for other in claims[sidecar] if other != audio)
    return Pairing(audio, sidecar, rivals, tuple(key for key in choice[1:] if key not in claims))
