"""What fal made otherwise than it was asked is a note in words, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.comparison import differences
from phonoscene.jobs import Audio, Estimate, Job, JobStatus, Video
from phonoscene.observability import announce
from tests.support.jobs import a_job

#: 6.2 s of audio at 24 frames per second: 149 frames, of which fal may bill 153.
ASKED = Estimate(
    width=1024, height=576, frames=153, megapixels="90.2", lower_usd="0.1", upper_usd="0.11"
)
AUDIO = Audio(key="a.wav", version_id="1", bytes=9, seconds=6.2)
ARGUMENTS = {"match_audio_length": True, "num_frames": 121, "fps": 24.0}
AS_ASKED: dict[str, Any] = {"width": 1024, "height": 576, "frames": 149, "fps": 24.0}
WHOLE = {"seconds": 6.2083, "sound_seconds": 6.2}
BY_NUMBER = {"match_audio_length": False}
FIGURES = "The video differs from the request: "


def a_video(**figures: Any) -> Video:
    stored = {"bucket": "b", "key": "k", "version_id": "1", "bytes": 9, "sha256": "0"}
    return Video(**{**stored, "content_type": "video/mp4", **figures})


def a_made_job(video: dict[str, Any], arguments: dict[str, Any], audio: Audio | None) -> Job:
    return a_job(
        JobStatus.SUCCEEDED,
        audio=audio,
        estimate=ASKED,
        arguments=ARGUMENTS | arguments,
        video=a_video(**video),
    )


@pytest.mark.parametrize(
    ("video", "arguments", "said"),
    [
        ({}, {}, []),
        (AS_ASKED, {}, []),
        (AS_ASKED | WHOLE, {}, []),
        ({"frames": 153}, {}, [FIGURES + "asked 149 frames, got 153."]),
        ({"frames": 148}, {}, [FIGURES + "asked 149 frames, got 148."]),
        ({"frames": 121}, BY_NUMBER, []),
        ({"frames": 113}, BY_NUMBER, [FIGURES + "asked 121 frames, got 113."]),
        ({"width": 1024}, {}, []),
        ({"width": 1024, "height": 512}, {}, [FIGURES + "asked 1024x576 pixels, got 1024x512."]),
        ({"fps": 24.005}, {}, []),
        ({"fps": 23.976}, {}, [FIGURES + "asked 24 frames per second, got 23.976."]),
        (
            {"width": 640, "height": 360, "frames": 150, "fps": 25.0},
            {},
            [
                FIGURES + "asked 1024x576 pixels, got 640x360; asked 149 frames, got 150; "
                "asked 24 frames per second, got 25."
            ],
        ),
        # lengths: of the file, else as reported; a frame less is none
        ({"seconds": 6.16}, {}, []),
        ({"seconds": 6.15}, {}, ["The video lasts 6.15 s instead of 6.20 s."]),
        ({"duration": 6.16}, {}, []),
        ({"duration": 4.0}, {}, ["The video lasts 4.00 s instead of 6.20 s."]),
        ({"seconds": 6.2, "duration": 4.0}, {}, []),
        ({"seconds": 5.0}, BY_NUMBER, []),
        ({"seconds": 4.9}, BY_NUMBER, ["The video lasts 4.90 s instead of 5.04 s."]),
        # sound
        ({"sound_seconds": 0.0}, {}, ["The video has no sound, although the drop does."]),
        ({"sound_seconds": 0.0, "content_type": "image/gif"}, {}, []),
        ({"sound_seconds": 6.16}, {}, []),
        ({"sound_seconds": 4.4}, {}, ["The video's sound lasts 4.40 s instead of 6.20 s."]),
        ({"sound_seconds": 5.04}, BY_NUMBER, []),
        (
            {"seconds": 4.0, "sound_seconds": 0.0},
            {},
            [
                "The video lasts 4.00 s instead of 6.20 s.",
                "The video has no sound, although the drop does.",
            ],
        ),
    ],
)
def test_each_difference_is_a_note_and_counted_once(
    video: dict[str, Any],
    arguments: dict[str, Any],
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[str] = []
    monkeypatch.setattr("phonoscene.observability.count", counted.append)
    job = a_made_job(video, arguments, AUDIO)

    announce(job)

    assert differences(job) == said
    assert counted.count("VideosDiffer") == bool(said)


def test_an_audio_beyond_the_longest_video_is_not_missed() -> None:
    audio = AUDIO.model_copy(update={"seconds": 20.06})
    video = {"frames": 481, "seconds": 20.0417, "sound_seconds": 20.0417}

    assert differences(a_made_job(video, BY_NUMBER | {"num_frames": 481}, audio)) == []


@pytest.mark.parametrize("audio", [None, AUDIO.model_copy(update={"seconds": None})])
def test_what_was_never_measured_is_not_compared(audio: Audio | None) -> None:
    video = {"frames": 9, "seconds": 0.4, "sound_seconds": 0.0}

    assert differences(a_made_job(video, {}, audio)) == []


@given(st.sampled_from([status for status in JobStatus if status is not JobStatus.SUCCEEDED]))
def test_without_a_video_there_is_no_difference(status: JobStatus) -> None:
    assert differences(a_job(status, estimate=ASKED, audio=AUDIO, arguments=ARGUMENTS)) == []
