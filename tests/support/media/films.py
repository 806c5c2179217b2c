"""Short videos with silence, as FFmpeg writes them, in every container that fal makes."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import av

from tests.support.media.mp4 import moov_first

RATE, FPS = 48_000, 24
FORMS = {
    ".mp4": ("mp4", "mpeg4", "aac", {}),
    "moov first": ("mp4", "mpeg4", "aac", {}),
    "fragmented": ("mp4", "mpeg4", "aac", {"movflags": "+frag_keyframe+empty_moov"}),
    ".mov": ("mov", "mpeg4", "pcm_s16le", {}),
    ".webm": ("webm", "libvpx-vp9", "libopus", {}),
    ".mkv": ("matroska", "mpeg4", "aac", {}),
    ".gif": ("gif", "gif", None, {}),
}


@cache
def film(form: str, frames: int = 12, sound: float | None = 0.5) -> bytes:
    """So many frames at 24 a second, with so many seconds of silence."""
    container, codec, sound_codec, options = FORMS[form]
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as out:
        pixels = "rgb8" if form == ".gif" else "yuv420p"
        picture: Any = out.add_stream(codec, rate=FPS)
        picture.width, picture.height, picture.pix_fmt = 64, 48, pixels
        track: Any = None
        if sound and sound_codec:
            track = out.add_stream(sound_codec, rate=RATE, layout="stereo")
        for _ in range(frames):
            out.mux(picture.encode(av.VideoFrame(64, 48, "rgb24").reformat(format=pixels)))
        out.mux(picture.encode(None))
        if track:
            resampler = av.AudioResampler(track.format.name, "stereo", RATE)
            silence = av.AudioFrame("s16", "stereo", int(RATE * (sound or 0)))
            silence.sample_rate, silence.pts = RATE, 0
            for plane in silence.planes:
                plane.update(bytes(plane.buffer_size))
            for frame in [*resampler.resample(silence), None]:
                out.mux(track.encode(frame))
    return moov_first(file.getvalue()) if form == "moov first" else file.getvalue()
