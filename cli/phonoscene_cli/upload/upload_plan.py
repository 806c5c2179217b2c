"""From a file on disk to a drop: its keys, its sidecar, its images, and what would become of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.drops.keys import (
    AUDIO_SUFFIXES,
    DEFAULTS_NAME,
    MAX_KEY_BYTES,
    Kind,
    beside,
    family_prefixes,
    illegible,
    kind_of,
    spellings,
    unsafe,
)
from phonoscene.drops.pairing import Pairing, pairings
from phonoscene.drops.sidecar_files import MAX_SIDECAR_BYTES, read_takes
from phonoscene.errors import DropRefused, ObjectUnreadable
from phonoscene.jobs import DropObject
from phonoscene.sequences import scenes
from phonoscene_cli.errors import CliError, WrongUsage
from phonoscene_cli.upload import sidecars
from phonoscene_cli.upload.dry_run import Forecast, Overlay, forecast, md5_of
from phonoscene_cli.upload.upload import Drop, FileUpload

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mypy_boto3_s3 import S3Client

    from phonoscene_cli.stack.parameters import StackParameters

#: The options that name a picture, and the field each one sets.
PICTURES = {"image": "image_url", "end_image": "end_image_url"}


class NoSidecar(CliError):
    """A drop of audio alone, which would wait for its sidecar."""


@dataclass(frozen=True)
class DropOptions:
    """What a person asks for: a file, where it should lie, and what its sidecar should say."""

    file: Path
    folder: str = ""
    name: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    #: Files on disk or URLs, by the field that they are for.
    pictures: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The key of the audio.

        Raises:
            WrongUsage: the file is no audio, or nothing would be done with such a key.
        """
        if self.file.is_dir():
            raise WrongUsage(f"{self.file} is a folder. Name its audio files: {self.file}/*.mp3")
        if not self.file.exists():
            raise WrongUsage(f"File {self.file} does not exist.")
        if not self.file.is_file():
            raise WrongUsage(f"{self.file} is a pipe or a device. Save the audio in a file first.")
        suffix = self.file.suffix
        name = (self.name or self.file.stem).removesuffix(suffix) + suffix
        key = "/".join(part for part in (self.folder.strip("/"), name) if part)
        return _fine(key, self.file)

    @property
    def settings(self) -> dict[str, Any]:
        """What the sidecar should say beyond the file that lies beside the audio."""
        named = {
            name: picture if "://" in picture else Path(picture).name
            for name, picture in self.pictures.items()
        }
        return named | dict(self.changes)


def _fine(key: str, file: Path) -> str:
    """The key, if the product looks at objects of that key."""
    if not key.lower().endswith(AUDIO_SUFFIXES):
        raise WrongUsage(
            f"{file} has a format that is not supported. Convert it to MP3, WAV or FLAC. "
            f"Supported suffixes: {' '.join(AUDIO_SUFFIXES)}."
        )
    if kind_of(key) is Kind.IGNORED:
        raise WrongUsage(
            f'{key} would be ignored, as all files and folders whose names begin with "." or "_". '
            "Choose another folder or name."
        )
    if why := unsafe(key) or illegible(key):
        raise WrongUsage(f"The key {key!r} would be refused: {why}. Choose another folder or name.")
    if len(key.encode()) > MAX_KEY_BYTES - len(".json"):
        raise WrongUsage(
            f"{key!r} is not a valid S3 key (at most {MAX_KEY_BYTES} bytes with its sidecar's "
            "suffix). Choose another folder or name."
        )
    return key


@dataclass(frozen=True)
class Plan:
    """What would be put, and what would become of it; ``images``: those in the bucket included."""

    drop: Drop
    images: tuple[FileUpload, ...]
    pairing: Pairing
    outlook: Forecast


def assemble(options: DropOptions, present: Collection[str] = ()) -> Drop:
    """The files of a drop: the audio, its sidecar if it has one, and the images it names.

    ``present``: keys of the bucket that the sidecar's key must fit.

    Raises:
        WrongUsage, CliError: a file is missing, cannot be read, or has a name that is not taken.
    """
    key = options.key
    sidecar = _sidecar(options, key, present)
    return Drop(FileUpload.of_file(key, options.file), sidecar, _images(options, sidecar))


def plan(
    options: DropOptions,
    s3: S3Client,
    bucket: str,
    parameters: StackParameters,
    together: Collection[str] = (),
) -> Plan:
    """Everything that can be known before the upload.

    ``together``: keys of the audio files that are dropped at once: no sidecar may be two files'.

    Raises:
        WrongUsage, CliError: it is no drop, or has no sidecar.
    """
    key = options.key
    existing = DropBucket(s3, s3, bucket)
    family = family_prefixes(key)
    present = existing.keys_under(*family) | {one for one in together if one.startswith(family)}
    drop = assemble(options, present)
    images = drop.images
    new = tuple(image for image in images if not _is_there(existing, image))
    drop = replace(drop, images=new)
    files = {piece.key: piece.source for piece in drop.pieces}
    [pairing] = pairings(key, present | set(files))
    overlay: Any = Overlay(s3, files)  # it has those calls of a client that an examination makes
    there = DropBucket(overlay, s3, bucket)
    try:
        outlook = forecast(there, parameters.rules(), pairing)
    except ObjectUnreadable:
        for piece in drop.pieces:
            piece.check()
        raise
    if outlook.is_ignored:
        raise WrongUsage(
            f"{key} would be ignored, because a {DEFAULTS_NAME} excludes it. Choose another folder."
        )
    if not outlook.takes:
        raise NoSidecar(
            f"{options.file} has no sidecar. Use --prompt, or put a JSON file beside it."
            f"{sidecars.near(options.file)}"
        )
    pinned = _pinned(existing, pairing, drop.sidecar)
    return Plan(replace(drop, existing_sidecar=pinned), images, pairing, outlook)


def _is_there(bucket: DropBucket, image: FileUpload) -> bool:
    """Whether the bucket has the image: segments that begin with its version are not paid again."""
    found = bucket.find(image.key)
    return found is not None and (found.bytes, found.etag.strip('"')) == (
        image.bytes,
        md5_of(image.source),
    )


def _pinned(bucket: DropBucket, pairing: Pairing, own: FileUpload | None) -> DropObject | None:
    """The sidecar that lies in the bucket already, where it is the one that counts."""
    if own or not pairing.sidecar:
        return None
    found = bucket.find(pairing.sidecar)
    return DropObject(key=found.key, version_id=found.version_id) if found else None


def _sidecar(options: DropOptions, key: str, present: Collection[str]) -> FileUpload | None:
    """The sidecar to put: the file beside the audio with what the options change."""
    file = sidecars.beside(options.file)
    raw = _read(file) if file else None
    name = file.name if file else "the sidecar"
    try:
        text = sidecars.changed(name, raw, options.settings)
    except DropRefused as exc:
        raise CliError(f"The sidecar cannot be changed: {exc} Correct it by hand.") from exc
    is_long = file is not None and sidecars.is_named(file, options.file.name)
    return FileUpload(sidecar_key(key, present, is_long=is_long), text) if text else None


def _read(file: Path) -> bytes:
    """As much as is needed to see that it is too much."""
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_SIDECAR_BYTES + 1)
    except OSError as exc:
        raise CliError(f"{file} cannot be read: {exc.strerror}. Make it readable.") from exc


def sidecar_key(audio: str, present: Collection[str], *, is_long: bool = False) -> str:
    """``song.json``; or ``song.mp3.json`` where the short name would not be this audio's alone."""
    long, short = f"{audio}.json", audio.rpartition(".")[0] + ".json"
    for key in (long, short) if is_long else (short, long):
        [pairing] = pairings(audio, {*present, audio, key})
        if pairing.sidecar == key and not pairing.rivals:
            return key
    return long  # which another audio claims too: the product says what to do about that


def _images(options: DropOptions, sidecar: FileUpload | None) -> tuple[FileUpload, ...]:
    """The pictures that go along: those of the options, and those that the sidecar names."""
    if sidecar is None:
        return ()
    given, pieces = _given(options), {}
    for name in named_images(sidecar):
        key, file = beside(sidecar.key, name), given.get(name) or _file(options.file.parent, name)
        if not unsafe(key) and isfile(file):  # noqa: PTH113 - Path's fails for a name that is too long
            pieces[key] = FileUpload.of_file(key, file)
    return tuple(pieces.values())


def _file(folder: Path, name: str) -> Path:
    """A file on disk, however its name's accents are spelled."""
    files = (folder / one for one in spellings(name))
    return next(filter(isfile, files), folder / name)  # False for a name that is too long


def _given(options: DropOptions) -> dict[str, Path]:
    """The pictures of the options that lie on disk, by their names."""
    given: dict[str, Path] = {}
    for path in (Path(data) for data in options.pictures.values() if "://" not in data):
        if not path.is_file():
            raise WrongUsage(f"Image file {path} does not exist.")
        if given.setdefault(path.name, path) != path:
            raise WrongUsage(f"Two images are named {path.name}. Rename one of them.")
    return given


def named_images(sidecar: FileUpload) -> list[str]:
    """The pictures that a sidecar names; one that cannot be read names none."""
    if not isinstance(sidecar.source, bytes):
        return []
    try:
        takes = read_takes(sidecar.key, sidecar.source)
    except DropRefused:
        return []
    named = [name for take in takes for name in scenes.named_images([take])[0].values()]
    return [name for name in named if "://" not in name]
