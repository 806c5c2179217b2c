"""Which keys are audio, which sidecar belongs to which, and where outputs go.

Everything here is a function of keys alone, without any request to S3.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from enum import StrEnum
from functools import lru_cache
from itertools import product
from types import MappingProxyType

AUDIO_SUFFIXES = (".mp3", ".wav", ".flac", ".m4a", ".aac", ".ogg", ".oga", ".opus")
#: Formats of sound that phones, browsers and studios write, and that no drop may have.
UNSUPPORTED_SUFFIXES = (
    *(".3ga", ".3gp", ".3gpp", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".avi", ".caf"),
    *(".m4b", ".m4v", ".mid", ".mka", ".mkv", ".mov", ".mp2", ".mp4", ".qta", ".weba", ".webm"),
    *(".wma", ".wmv", ".wv"),
)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif")
#: What a file of each suffix is called on the web.
CONTENT_TYPES = MappingProxyType(
    {
        ".mp3": "audio/mpeg",
        ".wav": "audio/wav",
        ".flac": "audio/flac",
        ".m4a": "audio/mp4",
        ".aac": "audio/aac",
        ".ogg": "audio/ogg",
        ".oga": "audio/ogg",
        ".opus": "audio/ogg",
        ".png": "image/png",
        ".jpg": "image/jpeg",
        ".jpeg": "image/jpeg",
        ".webp": "image/webp",
        ".gif": "image/gif",
        ".avif": "image/avif",
    }
)
SIDECAR_SUFFIX = ".json"
DEFAULTS_NAME = "_defaults.json"
RECEIPT_SUFFIX = ".status.json"
POINTER_SUFFIX = ".newest.json"
_JOB_ID = re.compile("[0-9a-f]{32}")
_BLANK_END = re.compile(r"[\s.]+\Z")
#: What the output bucket keeps for a while: the videos of segments, and what fal is sent for them.
SEGMENTS = "_segments/"
WORK_FILES = "_work/"
#: Folders that NAS systems and operating systems fill with files of their own; in any case.
SYSTEM_FOLDERS = frozenset(
    {
        "@eadir",
        "__macosx",
        "$recycle.bin",
        "#recycle",
        "@recycle",
        "#snapshot",
        "@recently-snapshot",
    }
)
#: S3's longest key, in bytes of UTF-8.
MAX_KEY_BYTES = 1024


class Kind(StrEnum):
    """What an object of the drop bucket is to us."""

    AUDIO = "audio"
    SIDECAR = "sidecar"
    IGNORED = "ignored"


@lru_cache(maxsize=64)  # a drop's pairing asks for each of its few keys several times
def kind_of(key: str) -> Kind:
    """Read off a key: its suffix decides, unless a part of its path is private to its owner."""
    name = key.rpartition("/")[2]
    if not name or _is_in_private(key):
        return Kind.IGNORED
    if name.lower().endswith(AUDIO_SUFFIXES):
        return Kind.AUDIO
    return Kind.SIDECAR if _is_json(name) else Kind.IGNORED


def is_unsupported(key: str) -> bool:
    """Whether a file would be audio if its format were supported."""
    return key.lower().endswith(UNSUPPORTED_SUFFIXES) and not _is_in_private(key)


def _is_in_private(key: str) -> bool:
    return any(map(_is_private, key.split("/")))


def _is_private(segment: str) -> bool:
    """Whether a folder or a file of this name is ignored; ``.`` and ``..`` are refused instead."""
    if segment in (".", ".."):
        return False
    return segment.startswith((".", "_")) or segment.casefold() in SYSTEM_FOLDERS


def _is_json(key: str) -> bool:
    return key.lower().endswith(SIDECAR_SUFFIX)


def is_image(key: str) -> bool:
    """Whether a sidecar may name this file as an image; its folders may have any names."""
    return key.lower().endswith(IMAGE_SUFFIXES)


def suffix_of(key: str) -> str:
    """An audio's or an image's suffix, in lower case: one of ``CONTENT_TYPES``."""
    return "." + key.rpartition(".")[2].lower()


def unsafe(key: str) -> str | None:
    """Why a key is refused, or None.

    Control characters forge log lines; a ``.`` or ``..`` segment is folded away by HTTP clients, so
    the object that is read would not be the object that was dropped.
    """
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in key):  # noqa: PLR2004 - C0, DEL, C1
        return "it contains a control character"
    if {".", ".."} & set(key.split("/")):
        return "it has a part named `.` or `..`"
    return None


def misspelt(key: str) -> str | None:
    """Why a key that ``kind_of`` ignores is refused instead, or None.

    A list with Windows' line ends leaves an invisible character after each name.
    """
    if kind_of(_BLANK_END.sub("", key)) is Kind.IGNORED:
        return None
    return unsafe(key) or "it ends in a space or a dot"


def illegible(name: str) -> str | None:
    """Why a name cannot be a file's, or None.

    What is not ``isprintable`` may be: phones write joiners, spaces of other widths and emoji
    that Python does not know yet.
    """
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return "it contains a control character, or is not UTF-8"
    if any(unicodedata.bidirectional(character) in ("LRO", "RLO") for character in name):
        return "it contains a character that reverses what follows"
    return None


def composed(text: str) -> str:
    """A text in Unicode's composed form (NFC); macOS writes file names in the other one (NFD)."""
    return unicodedata.normalize("NFC", text)


def spellings(path: str) -> tuple[str, ...]:
    """A path as it is written, then with its folder and its file name composed or decomposed.

    One spelling where all of it is ASCII, at most nine otherwise; none that no key can have.
    """
    folder, slash, name = path.rpartition("/")
    pairs = product(*([part, *_forms(part)] for part in (folder, name)))
    found = dict.fromkeys(folder + slash + name for folder, name in pairs)
    return tuple(one for one in found if one == path or fits(one))


def _forms(text: str) -> tuple[str, str]:
    return composed(text), unicodedata.normalize("NFD", text)


def fits(key: str) -> bool:
    """Whether a text is no longer than S3's longest key."""
    return len(key.encode(errors="replace")) <= MAX_KEY_BYTES


def stem_of(key: str) -> str:
    """The key without its suffixes, as it is written.

    All audio suffixes go, so that ``song.mp3.json``, which ``song.mp3`` and ``song.mp3.wav`` may
    both claim, has the stem of both.
    """
    stem = named_after(key)
    while stem.lower().endswith(AUDIO_SUFFIXES):
        stem = stem.rpartition(".")[0]
    return stem


def named_after(key: str) -> str:
    """What a sidecar is named after: its key without ``.json``; any other key as it is."""
    return key[: -len(SIDECAR_SUFFIX)] if _is_json(key) else key


def is_of_one(sidecar: str, audio: str) -> bool:
    """Whether a sidecar bears the whole name of an audio file, as ``song.mp3.json``."""
    return composed(named_after(sidecar)) == composed(audio)


def is_defaults(key: str) -> bool:
    """Whether a file holds the defaults of its folder."""
    return key.rpartition("/")[2] == DEFAULTS_NAME


def name_of(key: str) -> str:
    """The name that a drop's two halves share: the stem, composed."""
    return _as_name(stem_of(key))


def name_of_one(key: str) -> str:
    """The name of one audio file alone, which no pair has: the whole key, composed."""
    return _as_name(key)


def _as_name(key: str) -> str:
    """Composed; but some characters grow, and what is longer than any key stays as it is."""
    name = composed(key)
    return name if fits(name) else key


def family_prefixes(key: str) -> tuple[str, ...]:
    """The prefixes of all keys that can decide about this key's pair."""
    stem = stem_of(key)
    if stem.lower().endswith(UNSUPPORTED_SUFFIXES):  # of such a file, or of its sidecar
        stem = stem.rpartition(".")[0]
    return tuple(f"{spelling}." for spelling in spellings(stem))


def defaults_keys(key: str) -> list[str]:
    """The ``_defaults.json`` of the key's folder and of every folder above, nearest first.

    A folder whose name can be spelled in several ways has one for each; the key's own goes first.
    """
    folders = key.split("/")[:-1]
    paths = ("/".join([*folders[:depth], DEFAULTS_NAME]) for depth in range(len(folders), -1, -1))
    return [spelling for path in paths for spelling in spellings(path)]


def beside(owner: str, name: str) -> str:
    """The key of ``name`` in the folder of the file ``owner`` that mentions it."""
    return owner.rpartition("/")[0] + "/" + name if "/" in owner else name


def job_id(
    bucket: str,
    audio: tuple[str, str],
    sidecar: tuple[str, str] | None,
    take: int | None = None,
) -> str:
    """The job's id: the same (key, version) pairs are the same job, however often announced.

    ``take`` counts from 0 where the sidecar lists several.
    """
    number = () if take is None else (str(take),)
    return _digest("job", bucket, *audio, *(sidecar or ()), *number)


def content_id(bucket: str, audio: str, asked: str) -> str:
    """The id of the item that knows the jobs which ask for this under an audio file's key."""
    return "content#" + _digest("content", bucket, composed(audio), asked)


def image_number(bucket: str, key: str) -> int:
    """A number for an image, the same for every spelling of its key: 96 bits of a digest.

    DynamoDB's numbers have 38 digits, and this one has 29.
    """
    return int(_digest("image", bucket, composed(key))[:24], 16)


def half_id(bucket: str, key: str) -> str:
    """The id of the record of a half that waits."""
    return _digest("half", bucket, key)


def refusal_id(bucket: str, key: str, happened_at: str) -> str:
    """The id of the record that says why nothing came of one announcement of an object."""
    return _digest("refusal", bucket, key, happened_at)


def output_key(name: str, job: str, suffix: str) -> str:
    """``{name}/{job}{suffix}``: the video's key, or with ``.json`` its manifest's."""
    tail = f"/{job}{suffix}"
    return _fitting(name, MAX_KEY_BYTES - len(tail)) + tail


def receipt_key(name: str) -> str:
    """``{name}.status.json``: where the newest job of a name says how it stands.

    Folders named ``.`` and ``..`` are written ``_`` and ``__``: HTTP clients fold them away.
    """
    folders = [{".": "_", "..": "__"}.get(folder, folder) for folder in name.split("/")]
    return _fitting("/".join(folders), MAX_KEY_BYTES - len(RECEIPT_SUFFIX)) + RECEIPT_SUFFIX


def stable_keys(name: str, suffix: str, take: int | None) -> tuple[str, ...]:
    """Return ``{name}{suffix}``, and ``{name}.{take}{suffix}`` for a take of an array.

    For a file named like a job's id it is ``{name}.newest{suffix}``, because the other key could be
    that of the job's own video.
    """
    first = f".newest{suffix}" if _JOB_ID.fullmatch(name.rpartition("/")[2]) else suffix
    tails = [first, *([f".{take}{suffix}"] if take else [])]
    room = MAX_KEY_BYTES - len(POINTER_SUFFIX)
    return tuple(_fitting(name, room - len(tail)) + tail for tail in tails)


def pointer_key(stable_key: str) -> str:
    """Return the key of the file that names the job whose video a stable key holds."""
    return stable_key + POINTER_SUFFIX


def segment_id(bucket: str, *decides: str) -> str:
    """The id of a segment's job: a digest of all that decides its picture."""
    return _digest("segment", bucket, *decides)


def segment_name(name: str) -> str:
    """The name of a drop's segments: that of no drop, because it begins with ``_``."""
    return SEGMENTS + name


def is_segment(name: str) -> bool:
    """Whether a record of this name is a segment's."""
    return name.startswith(SEGMENTS)


def drop_name(name: str) -> str:
    """The name of the drop that a record is about, a segment's too."""
    return name.removeprefix(SEGMENTS)


def segment_key(job: str, suffix: str) -> str:
    """The key of a segment's video in the output bucket, or with ``.json`` of its manifest."""
    return f"{SEGMENTS}{job}{suffix}"


def slice_key(sha256: str, suffix: str) -> str:
    """The key of a slice of audio in the output bucket, by its content."""
    return f"{WORK_FILES}slices/{sha256}{suffix}"


def frame_key(job: str) -> str:
    """The key of the last frame of a segment's video."""
    return f"{WORK_FILES}frames/{job}.png"


def event_id(job: str, born_at: str, step: int) -> str:
    """The id of the event of a record's n-th step."""
    return _digest("event", job, born_at, str(step))


def _fitting(name: str, room: int) -> str:
    """``name`` in at most ``room`` bytes; what is cut is replaced by a digest of the whole."""
    if len(name.encode()) <= room:
        return name
    digest = "~" + _digest("name", name)[:8]
    return name.encode()[: room - len(digest)].decode(errors="ignore") + digest


def _digest(*parts: str) -> str:
    """128 bits in hex. JSON keeps ("a", "bc") and ("ab", "c") apart."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
