"""What a drop asks for as a sequence: checked, cut, and priced as a whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from phonoscene.drops.pricing import PADDING_SECONDS, estimate
from phonoscene.drops.validation_errors import SCENES, Errors, shown
from phonoscene.errors import DropRefused
from phonoscene.jobs import ErrorDetail, Estimate, Scene, Segment, Sequence
from phonoscene.sequences.plan import MAX_JOIN_BYTES
from phonoscene.sequences.scenes import START

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence as Listed
    from decimal import Decimal

    from phonoscene.drops.sidecar import Sidecar
    from phonoscene.jobs import Audio, DropObject
    from phonoscene.sequences.plan import Grid, Span
    from phonoscene.sequences.scenes import AskedScene, Scenes

#: What a sequence cannot be written as.
GIF: Final = "GIF (.gif)"
PRORES: Final = "PRORES4444 (.mov)"
#: Bytes of ProRes 4444 for a pixel of a frame: 330 Mbit/s at 1920 x 1080 and 29.97 frames a second,
#: says Apple's white paper. The other types are far smaller, and depend on the picture.
PRORES_BYTES: Final = 330e6 / 8 / (1920 * 1080 * 29.97)
#: Bytes of a record for what a drop asks for. DynamoDB takes 400 KB, with the job's errors, video
#: and history.
MAX_PLAN_BYTES: Final = 300_000
#: What a segment adds to its plan once it has its slice and its job.
SEGMENT_BYTES: Final = 500


def check(sidecar: Sidecar, audio: Audio, scenes: Scenes, grid: Grid, max_seconds: int) -> None:
    """See that a drop may be a sequence; ``max_seconds`` is 0 where the stack makes none.

    Raises:
        DropRefused: with every error.
    """
    errors = Errors()
    seconds = audio.seconds or 0
    if not sidecar.match_audio_length:
        errors.append(
            ErrorDetail(
                code="not_allowed",
                field="match_audio_length",
                value="false",
                allowed="true",
                message="scenes need match_audio_length true: they divide the whole audio.",
            )
        )
    if sidecar.video_output_type == GIF:
        errors.append(
            ErrorDetail(
                code="not_allowed",
                field="video_output_type",
                value=GIF,
                message=(
                    "Audio that takes several requests cannot become a GIF, which has no sound. "
                    "Choose another video_output_type."
                ),
            )
        )
    if not max_seconds:
        errors.append(
            ErrorDetail(
                code="not_allowed",
                field=SCENES,
                message=(
                    "This stack makes no video of several scenes: its LongAudio is reject. "
                    "Remove scenes, or ask the operator."
                ),
            )
        )
    elif seconds > max_seconds + PADDING_SECONDS:
        errors.append(
            ErrorDetail(
                code="audio_too_long",
                field="audio",
                value=f"{seconds:.2f} s",
                allowed=f"at most {max_seconds} s",
                message=(
                    f"The audio lasts {seconds:.2f} s; this stack's MaxSequenceSeconds allows "
                    f"{max_seconds} s. Trim the audio, or ask the operator."
                ),
            )
        )
    errors += _too_short(scenes.listed, seconds, grid)
    if errors:
        raise DropRefused(*errors)


def _too_short(scenes: Listed[AskedScene], seconds: float, grid: Grid) -> list[ErrorDetail]:
    """The scenes that are shorter than the shortest segment, or begin after the audio."""
    ends = [min(scene.start, seconds) for scene in scenes[1:]] + [seconds]
    return [
        _short_scene(number, scene, end, grid)
        for number, (scene, end) in enumerate(zip(scenes, ends, strict=False))
        if len(scenes) > 1 and end - scene.start < grid.min_scene
    ]


def _short_scene(number: int, scene: AskedScene, end: float, grid: Grid) -> ErrorDetail:
    least = f"{grid.min_scene:.2f} s"
    if scene.start < end:
        allowed = f"scenes of at least {least}"
        what = (
            f"lasts {end - scene.start:.2f} s, until the next scene or the end of the audio. "
            f"At fps {grid.fps:g} a scene takes at least {least}: move its start, or that of the "
            "next one."
        )
    else:
        allowed = f"before the end of the audio, {end:.2f} s"
        what = (
            f"begins at {scene.start:.2f} s, at or after the end of the audio, {end:.2f} s. "
            f"Move its start to at least {least} before the end, or remove the scene."
        )
    return ErrorDetail(
        code="scene_too_short",
        field=f"{SCENES}[{number}].{START}",
        value=shown(scene.written),
        allowed=allowed,
        source=scene.source,
        message=f"{SCENES}[{number}] {what}",
    )


def check_bytes(sidecar: Sidecar, audio: Audio, sequence: Sequence, size: tuple[int, int]) -> None:
    """See that a video of so many pixels can be joined on the function's disk.

    Raises:
        DropRefused: ``sequence_too_large``, before anything is paid.
    """
    if sidecar.video_output_type != PRORES:
        return
    width, height = size
    per_frame, room = width * height * PRORES_BYTES, MAX_JOIN_BYTES / 2 - audio.bytes
    frames = sum(one.frames for one in sequence.segments)
    if frames * per_frame <= room:
        return
    most = max(0, int(room / per_frame / sequence.fps))
    raise DropRefused(
        ErrorDetail(
            code="sequence_too_large",
            field="video_output_type",
            value=PRORES,
            allowed=f"at most {most} s of audio at {width} x {height}",
            message=(
                f"ProRes of {frames / sequence.fps:.0f} s at {width} x {height} takes about "
                f"{frames * per_frame / 1e9:.1f} GB; segments can be joined to at most "
                f"{room / 1e9:.1f} GB. Choose another video_output_type, a smaller video_size, or "
                "shorter audio."
            ),
        )
    )


def fits_record(fields: Mapping[str, Any], segments: int) -> bool:
    """See that what a drop asks for can be kept as one record, to the end of its segments.

    Raises:
        DropRefused: ``plan_too_large``.
    """
    text = json.dumps(fields, ensure_ascii=False, default=lambda part: part.model_dump(mode="json"))
    size = len(text.encode()) + segments * SEGMENT_BYTES
    if size <= MAX_PLAN_BYTES:
        return True
    raise DropRefused(
        ErrorDetail(
            code="plan_too_large",
            field=SCENES,
            value=f"{size:,} bytes",
            allowed=f"at most {MAX_PLAN_BYTES:,} bytes",
            message=(
                f"The plan of {segments} segments takes {size:,} bytes, and a job's record has "
                f"room for {MAX_PLAN_BYTES:,}. Use fewer scenes, shorter prompts, shorter "
                "names of folders and images, or shorter audio."
            ),
        )
    )


def planned(
    spans: Listed[Span],
    fps: float,
    scenes: Scenes,
    images: Listed[Mapping[str, DropObject]],
) -> Sequence:
    """The sequence of a plan; ``images``: each scene's own, by field."""
    listed = [
        Scene(start=scene.start, arguments=dict(scene.fields), images=dict(own))
        for scene, own in zip(scenes.listed, images, strict=True)
    ]
    return Sequence(
        fps=fps,
        is_chained=scenes.is_chained,
        scenes=tuple(listed or [Scene()]),
        segments=tuple(Segment(**vars(span)) for span in spans),
    )


def price(sequence: Sequence, size: tuple[int, int], usd_per_megapixel: Decimal) -> Estimate:
    """The cost of all segments together."""
    each = [estimate(one.frames, size, usd_per_megapixel) for one in sequence.segments]

    def total(name: str) -> Any:
        return sum((getattr(one, name) for one in each), type(getattr(each[0], name))(0))

    return each[0].model_copy(
        update={name: total(name) for name in ("frames", "megapixels", "lower_usd", "upper_usd")}
    )
