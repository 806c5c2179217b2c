"""Measures what FFmpeg does for a sequence: silences, slices, and one video of many segments."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import av
from av.filter import Graph

from benchmarks.figures import Row, Section, Table, megabytes, paragraphs, seconds
from local.paths import PROJECT
from phonoscene.editing.joiner import join
from phonoscene.editing.silences import silences
from phonoscene.editing.slices import write_slices
from tests.support.media.encoding import Codec, encoded, repeated

if TYPE_CHECKING:
    from collections.abc import Callable

FPS: Final = 24
WIDTH, HEIGHT = 1024, 576
#: Ten minutes: as many segments of as many frames.
SEGMENTS, FRAMES = 34, 425
SECONDS: Final = SEGMENTS * FRAMES / FPS
SAMPLES: Final = FRAMES * 48_000 // FPS
#: Of the segments, how many are encoded again by FFmpeg's command; the time counts so much more.
ENCODED: Final = 2
MAX_JOIN_SECONDS, MAX_MEMORY = 15.0, 512 * 10**6
MAX_COMMAND_SECONDS: Final = 300.0
#: Bits per second of a segment; fal's "high" quality of this size has about as many.
BIT_RATE: Final = 6_000_000
FFMPEG: Final = ("ffmpeg", "-nostdin", "-v", "error", "-y")


@dataclass(frozen=True)
class Cost:
    """A whole process: seconds, seconds of CPU, and bytes of memory at most."""

    seconds: float
    cpu: float
    memory: int

    def times(self, factor: float) -> Cost:
        """The cost of so much more of the same."""
        return Cost(self.seconds * factor, self.cpu * factor, self.memory)

    @property
    def text(self) -> str:
        """As it is printed."""
        return f"{seconds(self.seconds)}, {seconds(self.cpu)} of CPU, {megabytes(self.memory)}"


def measure() -> Section:
    """Ours and FFmpeg's command, one after the other, on the same files."""
    from benchmarks import segments  # noqa: PLC0415 - each measured process would import it, too

    section = Section("Long audio")
    with TemporaryDirectory() as name:
        folder = Path(name)
        _make(folder)
        ours = {what: _cost([*OURS, what, name], folder) for what in WORK}
        theirs = _commands(folder) if shutil.which(FFMPEG[0]) else {}
        section.rows += [_row(what, cost, theirs.get(what)) for what, cost in ours.items()]
        if again := theirs.get(AGAIN):
            section.rows.append(Row(AGAIN, "–", again.text))
        section.rows += _goals(ours)
        section.tables.append(("Bytes on disk:", _bytes(folder)))
    section.rows += segments.rows()
    section.notes += paragraphs(NOTES if theirs else NOTES + NO_COMMAND)
    return section


# What is measured ---------------------------------------------------------------------------------

COPIED, TO_AAC, AGAIN = "join, audio copied", "join, audio encoded", "join, all encoded again"


def _silences(folder: Path) -> None:
    with (folder / "song.m4a").open("rb") as file:
        assert silences(file, ".m4a")


def _slices(folder: Path) -> None:
    spans = [(number * SAMPLES, SAMPLES) for number in range(SEGMENTS)]

    def write(number: int, wav: bytes) -> None:
        (folder / f"slice-{number}.wav").write_bytes(wav)

    with (folder / "song.m4a").open("rb") as file:
        write_slices(file, spans, write, ".m4a")


def _join(folder: Path, song: str, to: str) -> None:
    videos = [(folder / f"segment-{number}.mp4").open("rb") for number in range(SEGMENTS)]
    with (folder / song).open("rb") as audio:
        made = join(videos, [FRAMES] * SEGMENTS, FPS, audio, folder / to, Path(song).suffix)
    assert made.frames == SEGMENTS * FRAMES
    for video in videos:
        video.close()


WORK: Final[dict[str, Callable[[Path], None]]] = {
    "silences": _silences,
    "slices": _slices,
    COPIED: lambda folder: _join(folder, "song.m4a", "copied.mp4"),
    TO_AAC: lambda folder: _join(folder, "song.wav", "encoded.mp4"),
}
OURS: Final = (sys.executable, "-m", "benchmarks.long_audio")


def _commands(folder: Path) -> dict[str, Cost]:
    """What people type instead."""
    for name, count in (("all", SEGMENTS), ("some", ENCODED)):
        lines = [f"file 'segment-{number}.mp4'\n" for number in range(count)]
        (folder / f"{name}.txt").write_text("".join(lines))
    joined = ("-map", "0:v", "-map", "1:a", "-movflags", "+faststart")
    every, some = (("-f", "concat", "-i", f"{name}.txt") for name in ("all", "some"))
    m4a, wav = ("-i", "song.m4a"), ("-i", "song.wav")
    each = ("-f", "segment", "-segment_time", str(FRAMES / FPS))
    part = ("-t", str(ENCODED * FRAMES / FPS))
    x264 = ("-c:v", "libx264", "-preset", "veryfast")
    commands: dict[str, tuple[str, ...]] = {
        "silences": (*m4a, "-af", "silencedetect=-35dB:0.2", "-f", "null", "-"),
        "slices": (*m4a, "-ar", "48000", "-ac", "2", *each, "theirs-%d.wav"),
        COPIED: (*every, *m4a, *joined, "-c", "copy", "theirs.mp4"),
        TO_AAC: (*every, *wav, *joined, "-c:v", "copy", "-b:a", "256k", "theirs-aac.mp4"),
        AGAIN: (*some, *m4a, *joined, *part, *x264, "theirs-again.mp4"),
    }
    costs = {what: _cost([*FFMPEG, *command], folder) for what, command in commands.items()}
    return costs | {AGAIN: costs[AGAIN].times(SEGMENTS / ENCODED)}


def _cost(command: list[str], folder: Path) -> Cost:
    """Run a command to its end; its memory is read every 10 ms, as the kernel counts the most."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT), *sys.path])}
    begun, before, memory = time.perf_counter(), os.times(), 0
    with subprocess.Popen(command, cwd=folder, env=environment) as process:  # noqa: S603 - our own commands
        while process.poll() is None:
            memory = max(memory, _resident(process.pid))
            if time.perf_counter() - begun > MAX_COMMAND_SECONDS:
                process.kill()
            time.sleep(0.01)
    took, after = time.perf_counter() - begun, os.times()
    assert process.returncode == 0, command
    cpu = after.children_user + after.children_system
    return Cost(took, cpu - before.children_user - before.children_system, memory)


def _resident(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has just ended, or the system has no such file
        return 0
    most = status.partition("VmHWM:")[2].split()
    return int(most[0]) * 1024 if most else 0


# Its files ----------------------------------------------------------------------------------------


def _make(folder: Path) -> None:
    video = _segment()
    for number in range(SEGMENTS):
        (folder / f"segment-{number}.mp4").write_bytes(video)
    (folder / "song.m4a").write_bytes(repeated("mp4", Codec("aac", bit_rate=192_000), SECONDS))
    (folder / "song.wav").write_bytes(encoded("wav", Codec("pcm_s16le"), SECONDS))


def _segment() -> bytes:
    """A moving test picture with noise, which takes the bits that a film takes."""
    graph = Graph()
    source = graph.add("testsrc2", f"size={WIDTH}x{HEIGHT}:rate={FPS}")
    noise, sink = graph.add("noise", "all_strength=12:all_flags=t"), graph.add("buffersink")
    source.link_to(noise)
    noise.link_to(sink)
    graph.configure()
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        options = {"preset": "veryfast"}
        stream: Any = out.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = BIT_RATE
        for number in range(FRAMES):
            picture: Any = sink.pull()
            picture.pts, picture.time_base, picture.pict_type = number, Fraction(1, FPS), 0
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return file.getvalue()


# The report ---------------------------------------------------------------------------------------


def _row(what: str, ours: Cost, theirs: Cost | None) -> Row:
    if theirs is None:
        return Row(what, ours.text)
    return Row.at_most(what, (ours.seconds, ours.text), (theirs.seconds, theirs.text))


def _goals(ours: dict[str, Cost]) -> list[Row]:
    largest = max(cost.memory for cost in ours.values())
    joins = [(what, ours[what].seconds) for what in (COPIED, TO_AAC)]
    return [
        *(
            Row.held(f"{what}: time", seconds(took), f"≤ {MAX_JOIN_SECONDS:g} s", is_met)
            for what, took in joins
            for is_met in [took <= MAX_JOIN_SECONDS]
        ),
        Row.held(
            "memory, at most",
            megabytes(largest),
            f"≤ {megabytes(MAX_MEMORY)}",
            largest <= MAX_MEMORY,
        ),
    ]


def _bytes(folder: Path) -> Table:
    sizes = [
        ("segments", sum(one.stat().st_size for one in folder.glob("segment-*"))),
        ("slices", sum(one.stat().st_size for one in folder.glob("slice-*"))),
        *((name, (folder / name).stat().st_size) for name in ("copied.mp4", "encoded.mp4")),
    ]
    return Table(("what", "bytes"), tuple((name, megabytes(size)) for name, size in sizes))


NOTES: Final = f"""\
Ten minutes: {SEGMENTS} segments of {FRAMES} frames at {WIDTH}x{HEIGHT}, and an M4A or a WAV. Each
row is a whole process, from its start to its end; time, CPU and memory at most. *theirs* is the
command ffmpeg: its concat demuxer for the joins, its segment muxer for the slices. The ratio is
that of the times.

Our joins decode the audio before and after, and read every packet of the result again; the command
checks nothing. Of the join that encodes, FFmpeg's AAC encoder takes more than half, on one core.
*All encoded again* is {ENCODED} segments with x264's preset veryfast, and counted
for all of them.

The requests are those of the functions and of fal on the local cloud: one song of ten segments,
beside jobs of one request. The dollars are those requests' alone.
"""
NO_COMMAND: Final = "\n\nFFmpeg's command is not installed here, so *theirs* is empty.\n"


if __name__ == "__main__":
    WORK[sys.argv[1]](Path(sys.argv[2]))
