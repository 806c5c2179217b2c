"""Fetches a job's video from the output bucket: whole and unaltered, or not at all."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, Self

from botocore.exceptions import BotoCoreError, ClientError

from phonoscene.publishing.s3_conditions import HIDDEN, MISSING
from phonoscene.videos.video_formats import suffix_of
from phonoscene_cli.errors import CliError, WrongUsage
from phonoscene_cli.whole_files import IS_WINDOWS, check_writable, is_special, written_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mypy_boto3_s3 import S3Client

    from phonoscene.jobs import Job, Video

CHUNK: Final = 1024 * 1024
_GONE: Final = MISSING | {"NoSuchVersion"}
#: What may not be in a file's name on Windows, or leads to another folder, and the beginning of a
#: name that is a device's.
#: https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file
_NOT_ON_WINDOWS: Final = re.compile(
    r'[<>:"/\\|?*\x00-\x1f]|^(?=(con|prn|aux|nul|(com|lpt)[0-9¹²³]) *(\.|$))', re.IGNORECASE
)


class VideoGone(CliError):
    """A job's video is no longer in the output bucket."""

    def __init__(self, job: Job, video: Video) -> None:
        super().__init__(
            f"s3://{video.bucket}/{video.key} has been deleted. Restore the object, or make "
            f"another video with `phonoscene retry {job.job_id}`."
        )


def place_of(video: Video) -> Any:
    """Where S3 has a video, as its calls want it."""
    return {"Bucket": video.bucket, "Key": video.key, "VersionId": video.version_id}


def see(s3: S3Client, job: Job, video: Video) -> None:
    """See that a job's video is in its bucket.

    Raises:
        VideoGone: it is not.
    """
    with _expected(job, video):
        s3.head_object(**place_of(video))


def may_be_gone(s3: S3Client, video: Video) -> bool:
    """Whether a segment's video is not at its key, where the stack looks for it.

    Who may not list the bucket gets 403 for what is missing, and who may not read it for all.
    """
    try:
        s3.head_object(Bucket=video.bucket, Key=video.key)
    except ClientError as exc:
        if exc.response["Error"]["Code"] not in _GONE | HIDDEN:
            raise
        return True
    return False


@contextmanager
def _expected(job: Job, video: Video) -> Iterator[None]:
    """Asks S3 for a job's video."""
    try:
        yield
    except ClientError as exc:
        if exc.response["Error"]["Code"] not in _GONE:
            raise
        raise VideoGone(job, video) from exc


class VideoName(NamedTuple):
    """What a job's video is called: the drop's name without its folder, and a suffix."""

    stem: str
    suffix: str

    @property
    def on_disk(self) -> str:
        """Its stem as this system lets a file be called."""
        return _NOT_ON_WINDOWS.sub("_", self.stem) if IS_WINDOWS else self.stem


def video_name(drop: str, arguments: Mapping[str, Any]) -> VideoName:
    """By the drop's name and what fal is asked to make."""
    return VideoName(drop.rpartition("/")[2], suffix_of(str(arguments["video_output_type"])))


def video_of(job: Job) -> VideoName:
    """A job's; one that has no arguments makes none, and any name will do."""
    return video_name(job.name, job.arguments or {"video_output_type": ""})


@dataclass(frozen=True)
class Destination:
    """Where ``--out`` leads: into a folder, or to one file."""

    path: Path
    is_folder: bool = False

    @classmethod
    def of(cls, text: str) -> Self:
        """What was typed: a folder is one that exists, or ends with a slash and is then made.

        Raises:
            WrongUsage: nothing can be written there.
        """
        path = Path(text)
        if text == "-" or is_special(path):
            raise WrongUsage(f"--out {text!r} is not a regular file. Name a file or a folder.")
        is_folder = text.endswith(("/", os.sep)) or path.is_dir()
        folder = path if path.is_dir() else path.parent
        may_write = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
        if not text or (is_folder and path.is_file()) or not may_write:
            raise WrongUsage(f"--out {text!r} cannot be written. Choose another file or folder.")
        return cls(path, is_folder)

    def __str__(self) -> str:
        """As it can be typed."""
        return f"{self.path}/" if self.is_folder else str(self.path)

    def files(self, videos: Iterable[VideoName]) -> list[Path]:
        """Where each video goes, under its own suffix; those of one name are numbered."""
        wanted = list(videos)
        stems = _numbered([one.on_disk if self.is_folder else self.path.stem for one in wanted])
        folder = self.path if self.is_folder else self.path.parent
        return [folder / f"{stem}{video.suffix}" for stem, video in zip(stems, wanted, strict=True)]

    def _check_suffix(self, video: VideoName) -> None:
        """A file's suffix must be its video's, or missing."""
        own = self.path.suffix.lower()
        if video.suffix and not self.is_folder and own not in ("", video.suffix):
            raise WrongUsage(
                f"--out {self.path} does not end with {video.suffix}, as the video will "
                f"(video_output_type). Name it {self.path.with_suffix(video.suffix)}, or a folder."
            )

    def check(self, videos: Iterable[VideoName]) -> None:
        """Find out before anything is paid whether each file can be written.

        Raises:
            WrongUsage: one cannot, or would have a suffix that is not its video's.
        """
        wanted = list(videos)
        for video in wanted:
            self._check_suffix(video)
        for file in self.files(wanted):
            try:
                if file.parent.is_dir():
                    check_writable(file)
            except OSError as exc:
                raise WrongUsage(
                    f"--out: {file} cannot be written: {exc.strerror}. Choose another."
                ) from exc


def checked(out: Destination | None, videos: Iterable[VideoName]) -> list[VideoName]:
    """What was given, after ``Destination.check`` if there is one."""
    wanted = list(videos)
    if out:
        out.check(wanted)
    return wanted


def _numbered(stems: Sequence[str]) -> list[str]:
    """Names of files that differ, for disks that distinguish no case: ``a.1``, ``a.2``, ``b``."""
    folded = [stem.casefold() for stem in stems]
    of_each, seen = Counter(folded), Counter[str]()
    numbered = []
    for stem, name in zip(stems, folded, strict=True):
        seen[name] += 1
        numbered.append(f"{stem}.{seen[name]}" if of_each[name] > 1 else stem)
    if len({one.casefold() for one in numbered}) == len(stems):
        return numbered
    return [f"{stem}.{number}" for number, stem in enumerate(stems, 1)]  # one was called a.1


def fetch(s3: S3Client, job: Job, video: Video, target: Path) -> Path:
    """Write the video; ``target`` appears when its last byte is there and its digest is right.

    Raises:
        VideoGone: it is no longer in its bucket.
        CliError: it cannot be written, or is not what was stored.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(target) as file:
            if _write(s3, job, video, file) != video.sha256:
                raise CliError(f"{video.key} is corrupt: checksum mismatch.")
    except BotoCoreError:  # some of these are OSErrors as well
        raise
    except OSError as exc:
        raise CliError(f"{target} cannot be written: {exc.strerror}.") from exc
    return target


def _write(s3: S3Client, job: Job, video: Video, file: BinaryIO) -> str:
    """The SHA-256 of what was written, in hex."""
    digest = hashlib.sha256()
    with _expected(job, video):
        found = s3.get_object(**place_of(video))
    for chunk in found["Body"].iter_chunks(CHUNK):
        digest.update(chunk)
        file.write(chunk)
    return digest.hexdigest()
