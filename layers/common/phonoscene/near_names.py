"""Why a half stayed alone, and which key beside it was perhaps meant to be the other half."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Final

from phonoscene.drops import (
    AUDIO_SUFFIXES,
    IMAGE_SUFFIXES,
    SIDECAR_SUFFIX,
    Kind,
    all_pairings,
    composed,
    kind_of,
    stem_of,
    unsafe,
)
from phonoscene.jobs import ErrorDetail

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from phonoscene.jobs import Job

#: How much of two names must be alike for one to be taken for the other: ``song (copy).json`` is
#: near to ``song.json``, ``outro.mp4`` is not to ``intro.mp3``.
NEAR: Final = 0.7


def neighbourhoods(key: str) -> tuple[str, ...]:
    """The prefixes to list for names like a key's: its whole folder, and if that is large, parts.

    The parts are what begins with the same name, or with the same letter, large or small.
    """
    folder, slash, _ = key.rpartition("/")
    stem = stem_of(key)
    letter = stem[len(folder + slash) :][:1]
    letters = (letter, letter.swapcase())
    return tuple(dict.fromkeys((folder + slash, stem, *(folder + slash + one for one in letters))))


def alone(half: Job, keys: Collection[str]) -> ErrorDetail:
    """The error of a half that waited in vain, beside these keys."""
    if half.audio:
        return _without_sidecar(half.audio.key, keys)
    return _without_audio(half.sidecar.key if half.sidecar else half.name, keys)


def _without_sidecar(key: str, keys: Collection[str]) -> ErrorDetail:
    wanted = (key + SIDECAR_SUFFIX, key.rpartition(".")[0] + SIDECAR_SUFFIX)
    others = (Kind.SIDECAR, Kind.IGNORED)
    near = _nearest(wanted, [one for one in _left_over(keys) if kind_of(one) in others])
    allowed = " or ".join(wanted)
    return ErrorDetail(
        code="missing_sidecar",
        field="sidecar",
        source=key,
        value=near,
        allowed=allowed,
        message=f"{key} waited for its sidecar, {allowed}. {_hint(near)}Drop both.",
    )


def _without_audio(key: str, keys: Collection[str]) -> ErrorDetail:
    stem = key[: -len(SIDECAR_SUFFIX)]
    wanted = [stem_of(key) + suffix for suffix in AUDIO_SUFFIXES]
    if kind_of(stem) is Kind.AUDIO:
        wanted.insert(0, stem)
    others = (Kind.AUDIO, Kind.IGNORED)
    near = _nearest(wanted, [one for one in _left_over(keys) if kind_of(one) in others])
    allowed = f"{stem_of(key)} with one of {' '.join(AUDIO_SUFFIXES)}"
    return ErrorDetail(
        code="missing_audio",
        field="audio",
        source=key,
        value=near,
        allowed=allowed,
        message=(
            f"{key} waited for the audio file of its name, {allowed}. {_hint(near)}Drop both."
        ),
    )


def _hint(near: str | None) -> str:
    return f"{near} is in the same folder: rename it if you mean it. " if near else ""


def _left_over(keys: Collection[str]) -> Iterator[str]:
    """The keys that are part of no pair, and no image."""
    pairs = [pairing for pairing in all_pairings(keys).values() if pairing.is_whole]
    paired = {key for pairing in pairs for key in pairing.keys}
    for key in sorted(keys):
        if key not in paired and not key.lower().endswith(IMAGE_SUFFIXES) and not unsafe(key):
            yield key


def _nearest(wanted: Collection[str], keys: Collection[str]) -> str | None:
    """The key that is most like one of those that are wanted, in its spelling and not its case."""
    matcher, best, nearest = SequenceMatcher(autojunk=False), NEAR, None
    for want in dict.fromkeys(map(_plain, wanted)):
        matcher.set_seq2(want)
        for key in keys:
            matcher.set_seq1(_plain(key))
            is_better = matcher.real_quick_ratio() >= best and matcher.quick_ratio() >= best
            if is_better and matcher.ratio() > best:
                best, nearest = matcher.ratio(), key
    return nearest


def _plain(key: str) -> str:
    """A file's name without its folder, its spelling and its case."""
    return composed(key.rpartition("/")[2]).casefold()
