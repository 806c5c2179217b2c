"""Cuts and joins the media of sequences, between two buckets and FFmpeg.

All that is written has a key that follows from its content, and is written once. So what is done
again writes nothing, and returns what is there.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from phonoscene.drops.keys import slice_key, suffix_of
from phonoscene.drops.media_facts import SAMPLE_RATE
from phonoscene.editing.joiner import join
from phonoscene.editing.last_frame import last_frame
from phonoscene.editing.silences import silences
from phonoscene.editing.slices import write_slices
from phonoscene.errors import DropRefused, EditingFailed, TooMuchRead
from phonoscene.jobs import Audio, DropObject, ErrorDetail, Video
from phonoscene.probe.object_reader import ObjectReader
from phonoscene.publishing.manifests import to_bytes
from phonoscene.sequences.plan import MAX_JOIN_BYTES
from phonoscene.sequences.segments import field_of
from phonoscene.sequences.work_folder import work_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from phonoscene.drops.drop_bucket import DropBucket
    from phonoscene.drops.media_facts import StoredObject
    from phonoscene.sequences.work_files import WorkFiles

SLICE_SUFFIX: Final = ".wav"


def silences_in(bucket: DropBucket, audio: StoredObject) -> list[float]:
    """The middle of each silence of an audio file, in seconds, ascending.

    None of a file that is too large to be read for it: it is cut evenly.

    Raises:
        DropRefused: it cannot be decoded.
    """
    reader = ObjectReader(partial(bucket.read_range, audio), audio.bytes)
    try:
        with _refusal(audio.key):
            found = silences(reader, suffix_of(audio.key))
    except TooMuchRead:
        return []
    return [(one.start + one.end) / 2 for one in found]


@dataclass(frozen=True)
class MediaEditor:
    """Reads drops and the videos of segments, and writes slices, frames and joined videos."""

    drop_bucket: str
    work: WorkFiles

    def cut(self, audio: Audio, spans: Sequence[tuple[int, int]]) -> list[Audio]:
        """A slice for each span of samples, written to the output bucket.

        Raises:
            DropRefused: the audio is gone, or cannot be cut.
        """
        slices: list[Audio] = []

        def write(number: int, body: bytes) -> None:
            key = slice_key(hashlib.sha256(body).hexdigest(), SLICE_SUFFIX)
            kept = self.work.put(key, body, "audio/wav")
            seconds = spans[number][1] / SAMPLE_RATE
            slices.append(
                Audio(
                    **kept.model_dump(),
                    bytes=len(body),
                    seconds=seconds,
                    format="audio/wav",
                    codec="pcm_s16le",
                )
            )

        with (
            work_folder() as folder,
            self._audio(folder, audio).open("rb") as file,
            _refusal(audio.key),
        ):
            write_slices(file, spans, write, suffix_of(audio.key))
        return slices

    def last_frame(
        self, video: Video, frames: int, fps: float, number: int, key: str
    ) -> DropObject:
        """The last frame of a video as a PNG at ``key``; ``number``: the segment's, from 0.

        Raises:
            DropRefused: the video is gone, or cannot be decoded.
        """
        kept = self.work.find(key)
        if kept:
            return kept
        with work_folder() as folder:
            path = self._video(folder / "segment", video, number)
            with path.open("rb") as file, _refusal(video.key):
                body = last_frame(file, frames, fps, number + 1)
        return self.work.put(key, body, "image/png")

    def join(
        self,
        videos: Sequence[Video],
        frames: Sequence[int],
        fps: float,
        audio: Audio,
        key: str,
        manifest: dict[str, Any],
    ) -> Video:
        """The joined video at ``key``, and its manifest beside it.

        Raises:
            DropRefused: a file is gone, or they cannot be joined.
        """
        self._check_size(videos, audio)
        video = self.work.find_video(key) or self._joined(videos, frames, fps, audio, key)
        whole = manifest | {"video": video.model_dump(mode="json", exclude_none=True)}
        self.work.put(key.rpartition(".")[0] + ".json", to_bytes(whole), "application/json")
        return video

    def _joined(
        self,
        videos: Sequence[Video],
        frames: Sequence[int],
        fps: float,
        audio: Audio,
        key: str,
    ) -> Video:
        with ExitStack() as stack:
            folder = stack.enter_context(work_folder())
            to = folder / ("joined" + suffix_of(key))
            source = stack.enter_context(self._audio(folder, audio).open("rb"))
            paths = [self._video(folder / f"{n}", one, n) for n, one in enumerate(videos)]
            segments = [stack.enter_context(path.open("rb")) for path in paths]
            with _refusal(audio.key, videos):
                made = join(segments, frames, fps, source, to, suffix_of(audio.key))
            facts = {"frames": made.frames, "fps": fps, "seconds": made.seconds}
            facts |= {"sound_seconds": made.sound_seconds}
            sides = {"width": videos[0].width, "height": videos[0].height}
            facts |= {name: side for name, side in sides.items() if side}
            return self.work.store(to, key, facts)

    def _check_size(self, videos: Sequence[Video], audio: Audio) -> None:
        total = 2 * sum(video.bytes for video in videos) + 2 * audio.bytes
        if total > MAX_JOIN_BYTES:
            raise DropRefused(
                ErrorDetail(
                    code="sequence_too_large",
                    field="video_quality",
                    value=f"{total:,} bytes",
                    allowed=f"at most {MAX_JOIN_BYTES:,} bytes",
                    message=(
                        f"Segments and result need {total:,} bytes of disk to be joined; there are "
                        f"{MAX_JOIN_BYTES:,}. Choose a lower video_quality, another "
                        "video_output_type, or shorter audio."
                    ),
                )
            )

    def _audio(self, folder: Path, audio: Audio) -> Path:
        path = self.work.download(audio, self.drop_bucket, folder / "audio")
        if path is None:
            message = f"{audio.key} is no longer in the bucket as it was dropped; drop it again."
            raise DropRefused(ErrorDetail(code="drop_gone", message=message, source=audio.key))
        return path

    def _video(self, to: Path, video: Video, number: int) -> Path:
        path = self.work.download(video, video.bucket, to)
        if path is None:
            field = field_of(number)
            message = f"The video of {field} is gone from the output bucket: {video.key}."
            raise DropRefused(ErrorDetail(code="segment_gone", message=message, field=field))
        return path


@contextmanager
def _refusal(source: str, videos: Sequence[Video] = ()) -> Iterator[None]:
    """Refuse the drop where FFmpeg cannot edit it.

    ``source`` is the file that is named, unless the fault is that of one of ``videos``.
    """
    try:
        yield
    except EditingFailed as exc:
        field = field_of(exc.segment - 1) if exc.segment else None
        named = videos[exc.segment - 1].key if videos and exc.segment else source
        error = ErrorDetail(code=exc.code, message=str(exc), source=named, field=field)
        raise DropRefused(error) from exc
