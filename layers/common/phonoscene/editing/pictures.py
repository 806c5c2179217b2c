"""Examines the packets of segments' videos: whether they can be joined, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from phonoscene.editing.opening import opened_video, whole_pictures
from phonoscene.editing.vp9 import is_shown
from phonoscene.errors import EditingFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phonoscene.drops.media_facts import SeekableFile
    from phonoscene.editing.opening import TimeLimit

#: How far, in frames, a timestamp may be from the grid: WebM's are rounded to milliseconds, which
#: at 60 frames per second are 0.03 frames.
TOLERANCE: Final = 0.4
#: FFmpeg's time bases are fractions of 32-bit numbers, and 29.97002997002997 has more digits. In
#: ten minutes the nearest of these fractions is off by less than a hundredth of a frame.
MAX_DENOMINATOR: Final = 100_000


def rate_of(fps: float | Fraction) -> Fraction:
    """Frames per second as FFmpeg can count them."""
    return Fraction(str(fps)).limit_denominator(MAX_DENOMINATOR)


@dataclass(frozen=True)
class Pictures:
    """One video's packets, in the order of the file.

    ``positions`` has the place of each packet's picture in the order in which pictures are shown,
    from 0, and ``decoded`` how many pictures are decoded before it. ``delay`` is how many pictures
    the decoder holds back to put them in order.
    """

    properties: Mapping[str, Any]
    positions: tuple[int, ...]
    decoded: tuple[int, ...]
    frames: int

    @property
    def delay(self) -> int:
        """How many frames a picture is decoded before it is shown, at least."""
        return max(n - at for n, at in zip(self.decoded, self.positions, strict=True))


def examine(
    video: SeekableFile,
    planned: int,
    rate: Fraction,
    limit: TimeLimit,
    segment: int | None = None,
) -> Pictures:
    """Read all packets of a video of ``planned`` pictures that come ``rate`` times a second.

    Raises:
        EditingFailed: ``unreadable_video``, ``wrong_frames``, ``wrong_frame_rate`` or
            ``editing_too_slow``; without a number of a segment, ``joined_wrong``.
    """
    times: list[float | None] = []
    with opened_video(video, segment, limit) as (container, stream):
        properties = _properties(stream)
        is_vp9 = properties["codec"] == "vp9"
        frames = float(stream.time_base * rate)  # of one unit of its time
        for packet in whole_pictures(container, stream, limit):
            if not times and not packet.is_keyframe:
                raise _refused("unreadable_video", "does not begin with a key frame", segment)
            if is_vp9 and not is_shown(bytes(packet)):
                times.append(None)
            elif packet.pts is None:
                raise _refused("wrong_frame_rate", "has a picture without a time", segment)
            else:
                times.append(packet.pts * frames)
    shown = sorted(time for time in times if time is not None)
    if len(shown) != planned:
        raise _refused("wrong_frames", f"has {len(shown)} frames instead of {planned}", segment)
    _check_steps(shown, segment)
    return _placed(properties, times, shown)


def _check_steps(shown: list[float], segment: int | None) -> None:
    for number, at in enumerate(shown):
        if abs(at - shown[0] - number) > TOLERANCE:
            raise _refused(
                "wrong_frame_rate",
                f"has picture {number + 1} at frame {at - shown[0] + 1:.2f} of the "
                "planned frame rate",
                segment,
            )


def _placed(
    properties: Mapping[str, Any], times: list[float | None], shown: list[float]
) -> Pictures:
    place = {at: number for number, at in enumerate(shown)}
    positions, decoded = [], []
    whose, count = len(shown) - 1, len(shown)
    for time in reversed(times):  # a frame that is not shown belongs to the next one that is
        if time is not None:
            whose, count = place[time], count - 1
        positions.append(whose)
        decoded.append(min(count, len(shown) - 1))
    return Pictures(properties, tuple(positions[::-1]), tuple(decoded[::-1]), len(shown))


def _properties(stream: Any) -> dict[str, Any]:
    """What has to be equal in all segments: one decoder, set up once, decodes the joined video."""
    context = stream.codec_context
    return {
        "codec": context.codec.canonical_name,
        "width": context.width,
        "height": context.height,
        "pixel format": context.pix_fmt,
        "codec tag": context.codec_tag,
        "profile": context.profile,
        "pixel aspect ratio": context.sample_aspect_ratio or 1,
        "colour range": context.color_range,
        "colour space": context.colorspace,
        "colour primaries": context.color_primaries,
        "colour transfer": context.color_trc,
        "decoder set-up": (context.extradata or b"").hex(),
    }


def check_equal(all_pictures: list[Pictures]) -> None:
    """Raise ``EditingFailed``, ``segments_differ``, if a segment is not encoded as most are."""
    for name in all_pictures[0].properties:
        values = [pictures.properties[name] for pictures in all_pictures]
        usual = max(values, key=values.count)  # of two, the first
        for segment, value in enumerate(values, 1):
            if value != usual:
                like = values.index(usual) + 1
                raise EditingFailed(
                    "segments_differ",
                    f"Segment {segment} differs from segment {like} in {name}: {value} and "
                    f"{usual}. Only equal encodings can be joined.",
                    segment,
                )


def _refused(code: str, what: str, segment: int | None) -> EditingFailed:
    if segment is None:
        return EditingFailed("joined_wrong", f"The joined video {what}. Report it as a bug.")
    return EditingFailed(code, f"The video of segment {segment} {what}.", segment)
