"""Which keys are audio, which sidecar belongs to which, and where outputs go.

Everything here is a function of keys alone; nobody asks S3.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

AUDIO_SUFFIXES = (".mp3", ".wav", ".flac", ".m4a", ".aac", ".ogg", ".opus")
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
#: S3's longest key, in bytes of UTF-8.
LONGEST_KEY = 1024


class Kind(StrEnum):
    """What an object of the drop bucket is to us."""

    AUDIO = "audio"
    SIDECAR = "sidecar"
    IGNORED = "ignored"


def kind_of(key: str) -> Kind:
    """Read off a key's last segment; names that begin with . or _ are nobody's drop."""
    name = key.rpartition("/")[2]
    if not name or name[0] in "._":
        return Kind.IGNORED
    if name.lower().endswith(AUDIO_SUFFIXES):
        return Kind.AUDIO
    return Kind.SIDECAR if name.endswith(SIDECAR_SUFFIX) else Kind.IGNORED


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
        return "one of its folders is named . or .."
    return None


def name_of(key: str) -> str:
    """The name that a drop's two halves share: the key without its suffixes.

    All audio suffixes go, so that ``song.mp3.json``, which ``song.mp3`` and ``song.mp3.wav`` may
    both claim, shares its name with both.
    """
    name = key.removesuffix(SIDECAR_SUFFIX)
    while name.lower().endswith(AUDIO_SUFFIXES):
        name = name.rpartition(".")[0]
    return name


def family_prefix(key: str) -> str:
    """The prefix under which every key lies that can decide about this key's pair."""
    return name_of(key) + "."


@dataclass(frozen=True)
class Pairing:
    """What one event means: an audio file with its sidecar, either alone, or a tie.

    ``rivals`` are the other audio files that claim the same sidecar.
    """

    audio: str | None
    sidecar: str | None
    rivals: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether both halves are here."""
        return self.audio is not None and self.sidecar is not None


def sidecar_of(audio: str, present: Collection[str]) -> str | None:
    """``song.mp3.json`` if it is there, else ``song.json`` if it is."""
    short = audio.rpartition(".")[0] + SIDECAR_SUFFIX
    return next((key for key in (audio + SIDECAR_SUFFIX, short) if key in present), None)


def pairings(key: str, present: Collection[str]) -> list[Pairing]:
    """What is to be done about ``key``, given the keys present under its family prefix.

    An audio file has one pairing; a sidecar has one for each audio file that claims it, and where
    nobody does, one without audio.
    """
    if key not in present:
        return []
    claims = {
        audio: sidecar_of(audio, present) for audio in present if kind_of(audio) is Kind.AUDIO
    }
    if kind_of(key) is Kind.AUDIO:
        return [_pairing(key, claims)]
    return [_pairing(audio, claims) for audio in sorted(claims) if claims[audio] == key] or [
        Pairing(None, key)
    ]


def _pairing(audio: str, claims: dict[str, str | None]) -> Pairing:
    sidecar = claims[audio]
    rivals = sorted(other for other in claims if other != audio and claims[other] == sidecar)
    return Pairing(audio, sidecar, tuple(rivals) if sidecar else ())


def defaults_keys(key: str) -> list[str]:
    """The ``_defaults.json`` of the key's folder and of every folder above, nearest first."""
    folders = key.split("/")[:-1]
    return ["/".join([*folders[:depth], DEFAULTS_NAME]) for depth in range(len(folders), -1, -1)]


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


def half_id(bucket: str, key: str) -> str:
    """The id of the record of a half that waits."""
    return _digest("half", bucket, key)


def refusal_id(bucket: str, key: str, happened_at: str) -> str:
    """The id of the record that says why nothing came of one announcement of an object."""
    return _digest("refusal", bucket, key, happened_at)


def output_key(name: str, job: str, suffix: str) -> str:
    """``{name}/{job}{suffix}``: the video's key, or with ``.json`` its manifest's."""
    tail = f"/{job}{suffix}"
    return _fitting(name, LONGEST_KEY - len(tail)) + tail


def receipt_key(name: str) -> str:
    """``{name}.status.json``: where the newest job of a name says how it stands.

    Folders named ``.`` and ``..`` are written ``_`` and ``__``: HTTP clients fold them away.
    """
    folders = [{".": "_", "..": "__"}.get(folder, folder) for folder in name.split("/")]
    return _fitting("/".join(folders), LONGEST_KEY - len(RECEIPT_SUFFIX)) + RECEIPT_SUFFIX


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
