"""Why a half stayed alone, and which key beside it was perhaps meant to be the other half."""

from __future__ import annotations

from difflib import SequenceMatcher
from posixpath import commonprefix
from typing import TYPE_CHECKING, Final

from phonoscene.drops.keys import (
    AUDIO_SUFFIXES,
    IMAGE_SUFFIXES,
    POINTER_SUFFIX,
    RECEIPT_SUFFIX,
    SIDECAR_SUFFIX,
    UNSUPPORTED_SUFFIXES,
    Kind,
    composed,
    is_of_one,
    kind_of,
    pointer_key,
    stem_of,
    unsafe,
)
from phonoscene.drops.pairing import all_pairings
from phonoscene.jobs import ErrorDetail

if TYPE_CHECKING:
    from collections.abc import Collection

    from phonoscene.jobs import Job

#: How much of two names without their suffixes must be alike for one to be taken for the other.
NEAR: Final = 0.75
#: How alike ``song`` and ``song (copy)`` are: one is the other with something added.
EXTENDED: Final = 0.9
#: What WinSCP, rclone and browsers name a file until it is whole: renamed, it is paid in part.
UNFINISHED_SUFFIXES: Final = (".crdownload", ".filepart", ".part", ".partial", ".tmp")
#: Of two names the longest parts between an equal beginning and an equal end that are compared:
#: that takes time which grows with the cube of their length, and a folder has many names.
MAX_COMPARED: Final = 40


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


def unsupported(file: str, sidecar: str | None) -> ErrorDetail:
    """The error of a file that only its format keeps from being an audio file."""
    stem, dot, suffix = file.rpartition(".")
    if sidecar and is_of_one(sidecar, file):
        stem = file
    return ErrorDetail(
        code="unsupported_format",
        field="audio",
        source=file,
        value=dot + suffix,
        allowed=" ".join(AUDIO_SUFFIXES),
        message=(
            f"{file} has a format that is not supported. Convert it to MP3, WAV or FLAC, and drop "
            f"the result as {stem}.mp3, {stem}.wav or {stem}.flac."
        ),
    )


def near_sidecar(key: str, keys: Collection[str]) -> str | None:
    """Of these keys, the one that was perhaps meant to be the sidecar of an audio file."""
    return _nearest(_stems(key), _left_over(keys, Kind.SIDECAR))


def _stems(audio: str) -> tuple[str, str]:
    """What the names of an audio file's sidecars begin with."""
    return audio, audio.rpartition(".")[0]


def _without_sidecar(key: str, keys: Collection[str]) -> ErrorDetail:
    near = near_sidecar(key, keys)
    allowed = " or ".join(stem + SIDECAR_SUFFIX for stem in _stems(key))
    return ErrorDetail(
        code="missing_sidecar",
        field="sidecar",
        source=key,
        value=near,
        allowed=allowed,
        message=f"{key} waited for its sidecar, {allowed}.{_hint(near)}",
    )


def _without_audio(key: str, keys: Collection[str]) -> ErrorDetail:
    stem = stem_of(key)
    near = _nearest((stem,), _left_over(keys, Kind.AUDIO))
    allowed = f"{stem} with one of {' '.join(AUDIO_SUFFIXES)}"
    return ErrorDetail(
        code="missing_audio",
        field="audio",
        source=key,
        value=near,
        allowed=allowed,
        message=f"{key} waited for an audio file, {allowed}.{_hint(near)}",
    )


def _hint(near: str | None) -> str:
    if near is None:
        return ""
    if near.lower().endswith(UNFINISHED_SUFFIXES):
        return f" {near} looks like an upload that did not end: upload the whole file."
    if near.lower().endswith(UNSUPPORTED_SUFFIXES):
        return f" {near} has a format that is not supported: convert it to MP3, WAV or FLAC."
    return f" {near} is in the same folder: rename it if it is the one you meant."


def _left_over(keys: Collection[str], kind: Kind) -> list[str]:
    """The keys of a kind, or of none, that are part of no pair.

    Images and Phonoscene's results are meant as they are.
    """
    others = () if kind is Kind.AUDIO else UNSUPPORTED_SUFFIXES
    meant = (*IMAGE_SUFFIXES, RECEIPT_SUFFIX, POINTER_SUFFIX, *others)
    pairs = [pairing for pairing in all_pairings(keys).values() if pairing.is_whole]
    paired = {key for pairing in pairs for key in pairing.keys}
    return [
        key
        for key in sorted(keys)
        if kind_of(key) in (kind, Kind.IGNORED)
        and key not in paired
        and not key.lower().endswith(meant)
        and pointer_key(key) not in keys
        and not unsafe(key)
    ]


def _nearest(stems: Collection[str], keys: Collection[str]) -> str | None:
    """The key whose name, but for its suffix, is most like one of these; None if none is."""
    wanted = dict.fromkeys(map(_plain, stems))
    scores = {
        key: max(_likeness(stem, _plain(key.rpartition(".")[0] or key)) for stem in wanted)
        for key in keys
    }
    best = max(scores, key=lambda key: scores[key], default=None)
    return best if best and scores[best] >= NEAR else None


def _plain(key: str) -> str:
    """A name without its folder, its spelling and its case."""
    return composed(key.rpartition("/")[2]).casefold()


def _likeness(one: str, other: str) -> float:
    shorter, longer = sorted((one, other), key=len)
    if one == other or not shorter:
        return float(one == other)
    if longer.startswith(shorter) and not longer[len(shorter)].isalnum():
        return EXTENDED
    same = len(commonprefix((one, other)))
    one_rest, other_rest = one[same:][::-1], other[same:][::-1]
    same_end = len(commonprefix((one_rest, other_rest)))
    rests = one_rest[same_end:], other_rest[same_end:]
    same += same_end
    if max(map(len, rests)) <= MAX_COMPARED:
        blocks = SequenceMatcher(None, *rests, autojunk=False).get_matching_blocks()
        same += sum(block.size for block in blocks)
    return 2 * same / (len(one) + len(other))
