"""A short piece of sound, made here so that no recording lies in the repository."""

import io
import math
import struct
import wave

RATE = 22_050
NOTE_SECONDS = 0.42
RING_SECONDS = 1.6  # how long a note is heard after the next one began

# An arpeggio in A minor 9, up and down again, in semitones from A3.
NOTES = (0, 7, 12, 14, 15, 19, 24, 19, 15, 14)
A3 = 220.0

SIDECAR = {
    "prompt": "Slow ink drops unfolding in clear water, blue and gold, in time with a music box",
}


#: How often the long sample plays it, and with how much silence between, in seconds.
PLAYS = 12
REST_SECONDS = 0.4

LONG_SIDECAR = SIDECAR | {
    "scenes": [
        {"start": 0},
        {"start": "0:30", "prompt": "Embers drifting up in the dark, in time with a music box"},
    ],
}


def make() -> bytes:
    """A WAV file of about 5 s, mono, the same bytes every time."""
    return _wav(_arpeggio())


def make_long() -> bytes:
    """A WAV file of about a minute, with silences to cut in."""
    return _wav((_arpeggio() + [0] * int(REST_SECONDS * RATE)) * PLAYS)


def _arpeggio() -> list[int]:
    samples = [0.0] * int(RATE * (len(NOTES) * NOTE_SECONDS + RING_SECONDS / 2))
    for position, semitones in enumerate(NOTES):
        _pluck(samples, int(position * NOTE_SECONDS * RATE), A3 * 2 ** (semitones / 12))
    loudest = max(map(abs, samples))
    return [int(sample / loudest * 26_000) for sample in samples]


def _pluck(samples: list[float], start: int, hertz: float) -> None:
    """Add one note: a fundamental and an octave, dying away, each with a soft attack."""
    for index in range(min(int(RING_SECONDS * RATE), len(samples) - start)):
        time = index / RATE
        loudness = min(1.0, time / 0.008) * math.exp(-3.2 * time)
        angle = 2 * math.pi * hertz * time
        samples[start + index] += loudness * (math.sin(angle) + 0.35 * math.sin(2 * angle))


def _wav(samples: list[int]) -> bytes:
    output = io.BytesIO()
    with wave.open(output, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return output.getvalue()
