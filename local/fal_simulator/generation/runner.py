"""What a runner does with a job: fetch the sound after the wait, render, publish, answer."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from local.fal_simulator.faults import containers
from local.fal_simulator.generation import render
from local.fal_simulator.hosts import cdn
from local.fal_simulator.media import FetchError, fetch
from local.fal_simulator.outcomes import ModelError, Outcome, infrastructure_error, success
from local.fal_simulator.schema import MAX_FRAMES, PIXELS, ImageSize, OutputType, Preset

if TYPE_CHECKING:
    from local.fal_simulator.config import Config
    from local.fal_simulator.dial import Dialer
    from local.fal_simulator.faults.fault_dial import Fault, FaultDial
    from local.fal_simulator.hosts.storage import Storage
    from local.fal_simulator.jobs import Request
    from local.fal_simulator.schema import Inputs

log = logging.getLogger(__name__)

MIN_FRAMES = 9  # the schema's lower bound; a shorter sound is padded with silence (a guess)
INFRASTRUCTURE = {
    "request_timeout": 504,
    "startup_timeout": 504,
    "runner_scheduling_failure": 503,
    "runner_connection_timeout": 503,
    "runner_disconnected": 503,
    "runner_connection_refused": 503,
    "runner_connection_error": 503,
    "runner_incomplete_response": 502,
    "runner_server_error": 500,
    "internal_error": 500,
    "client_disconnected": 499,
    "client_cancelled": 499,
    "bad_request": 400,
}
MAX_IMAGE = 50 * 2**20  # bytes; fal's toolkit documents 50 MiB
MAX_AUDIO = 2 * 2**30  # bytes; this simulator's own bound


@dataclass(frozen=True, slots=True)
class Sources:
    """Where files are read, and where videos are put."""

    dialer: Dialer
    storage: Storage
    cdn: cdn.Cdn


class Runner:
    """Runs jobs, two renderings at a time, each in a thread."""

    def __init__(self, config: Config, files: Path, sources: Sources, faults: FaultDial) -> None:
        self._config = config
        self._files = files
        self._dialer = sources.dialer
        self._storage = sources.storage
        self._cdn = sources.cdn
        self._faults = faults
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="render")
        self._stop = Event()
        self._seeds = random.Random(config.seed)  # noqa: S311 - a generation seed, not a secret

    def close(self) -> None:
        """Make running renderings give up at their next frame."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def run(self, request: Request) -> Outcome:
        """Run one job to its outcome; never raises, except to be cancelled."""
        request.say("Runner has picked up the request")
        shortest = asyncio.create_task(asyncio.sleep(self._config.run_seconds))
        try:
            outcome = await self._attempt(request)
        except ModelError as error:
            outcome = error.outcome()
        except Exception:
            log.exception("run.crashed request_id=%s", request.request_id)
            outcome = infrastructure_error(500, "internal_error", "Internal server error")
        finally:
            request.say("Runner is done")
        await shortest
        return outcome

    async def _attempt(self, request: Request) -> Outcome:
        with tempfile.TemporaryDirectory(dir=self._files, prefix="run-") as folder:
            audio = await self._fetch_audio(request, Path(folder))
            fault = self._take("render", request)
            if fault and fault.action == "error":
                return _told_to_fail(fault)
            if fault and fault.action == "delay":
                await asyncio.sleep(fault.seconds)
            if fault and fault.action == "retried":
                request.gateway_request_id = str(uuid.uuid4())
            shot = _changed(await self._plan(request, audio), fault)
            request.say(f"Rendering {shot.frames} frames of {shot.width}x{shot.height}")
            return await self._produce(request, shot, fault)

    def _take(self, stage: str, request: Request) -> Fault | None:
        prompt = request.inputs.prompt
        return self._faults.take(stage, request_id=request.request_id, prompt=prompt)

    async def _fetch_audio(self, request: Request, folder: Path) -> Path:
        fault = self._take("audio", request)
        if fault and fault.action == "delay":
            await asyncio.sleep(fault.seconds)
        if fault and fault.action == "download_error":
            raise _download_error("audio_url")
        audio = folder / "audio"
        request.say("Fetching the audio")
        await self._fetch(request.inputs.audio_url, audio, "audio_url", MAX_AUDIO)
        if fault and fault.action == "unsupported":
            audio.write_bytes(b"not a sound\n")
        return audio

    async def _fetch(self, url: str, to: Path, field: str, limit: int) -> None:
        try:
            if self._storage.owns(url):
                self._storage.fetch(url, to, limit)
            else:
                await fetch(self._dialer, url, to, limit)
        except FetchError as error:
            log.info("media.unreadable field=%s reason=%s", field, error)
            raise _download_error(field) from error

    async def _plan(self, request: Request, audio: Path) -> render.Shot:
        inputs, folder = request.inputs, audio.parent
        fps = Fraction(inputs.fps).limit_denominator(1001)
        frames = await self._frames(inputs, audio, fps)
        first = await self._image(inputs.image_url, folder / "first", "image_url")
        last = await self._image(inputs.end_image_url, folder / "last", "end_image_url")
        width, height = _size(inputs, first)
        container = render.CONTAINERS[inputs.video_output_type]
        return render.Shot(
            audio=audio,
            output=self._files / f"{request.request_id}.{container.suffix}",
            container=container,
            width=width,
            height=height,
            fps=fps,
            frames=frames,
            quality=inputs.video_quality,
            mood=inputs.prompt,
            first=folder / "first" if first else None,
            last=folder / "last" if last else None,
        )

    async def _frames(self, inputs: Inputs, audio: Path, fps: Fraction) -> int:
        longest = float(MAX_FRAMES / fps)
        enough = longest + float(1 / fps) / 2
        seconds: float = await self._in_thread(render.audio_seconds, audio, enough)
        if not inputs.match_audio_length:
            return inputs.num_frames
        # as measured at fal: a frame that is begun counts, what a float cannot hold does not
        frames = math.ceil(round(seconds * float(fps), 6))
        if frames > MAX_FRAMES:
            raise ModelError(
                "audio_duration_too_long",
                "Audio duration is too long.",
                field="audio_url",
                ctx={"max_duration": round(longest, 3), "provided_duration": round(seconds, 3)},
            )
        return max(MIN_FRAMES, frames)

    async def _image(self, url: str | None, to: Path, field: str) -> tuple[int, int] | None:
        if url is None:
            return None
        await self._fetch(url, to, field, MAX_IMAGE)
        size: tuple[int, int] = await self._in_thread(render.image_size, to, field)
        return size

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def _produce(self, request: Request, shot: render.Shot, fault: Fault | None) -> Outcome:
        size = fault.bytes if fault and fault.action == "big_file" else None
        if size is None:
            await self._in_thread(render.render, shot, self._stop)
        if fault and fault.action == "container":
            await self._in_thread(_repack, shot, str(fault.form))
        blob = _blob(shot, size)
        name = f"output.{shot.container.suffix}"
        url = self._cdn.publish(blob, name, shot.container.content_type, request)
        video = _video(shot, url, blob.size)
        if fault and fault.action == "file_size":
            video["file_size"] = fault.bytes
        units: float = math.ceil(shot.width * shot.height * shot.frames / 1_000_000)
        if fault and fault.action == "bill":
            units = fault.units
        return success({"video": video, **self._extras(request.inputs)}, units)

    def _extras(self, inputs: Inputs) -> dict[str, Any]:
        # a real seed of 17454220438242315174 was observed: fal's are unsigned 64-bit numbers
        seed = self._seeds.getrandbits(64) if inputs.seed is None else inputs.seed
        return {"seed": seed, "prompt": _expanded(inputs)}


def _expanded(inputs: Inputs) -> str:
    if not inputs.enable_prompt_expansion:
        return inputs.prompt
    return f"{inputs.prompt.rstrip('. ')}, in soft light, with slow and deliberate motion."


def _blob(shot: render.Shot, size: int | None) -> cdn.Blob:
    if size is None:
        return cdn.FileBlob(shot.output)
    return cdn.BigBlob(size, cdn.head_of(shot.container.suffix, size))


def _repack(shot: render.Shot, form: str) -> None:
    """Let the same video begin otherwise."""
    data = shot.output.read_bytes()
    try:
        shot.output.write_bytes(containers.rewritten(data, shot.container.suffix, form))
    except containers.NoSuchFormError as error:
        raise ModelError("internal_server_error", str(error), status_code=500) from error


def _video(shot: render.Shot, url: str, size: int) -> dict[str, Any]:
    return {
        "url": url,
        "content_type": shot.container.content_type,
        "file_name": url.rpartition("/")[2],
        "file_size": size,
        "width": shot.width,
        "height": shot.height,
        "fps": float(shot.fps),
        "duration": float(shot.frames / shot.fps),
        "num_frames": shot.frames,
    }


def _changed(shot: render.Shot, fault: Fault | None) -> render.Shot:
    """The video that is made: another than was asked for, if a rule says so."""
    if fault and fault.action == "bigger_video":
        return replace(shot, width=_even(fault.width), height=_even(fault.height))
    if fault and fault.action == "longer_video":
        return replace(shot, frames=fault.frames)
    if fault and fault.action == "other_container":
        return _in_another_container(shot)
    return shot


def _in_another_container(shot: render.Shot) -> render.Shot:
    """WebM in place of MP4, and MP4 in place of all others; as what it is declared and named."""
    is_mp4 = shot.container.suffix == "mp4"
    container = render.CONTAINERS[OutputType.VP9 if is_mp4 else OutputType.X264]
    output = shot.output.with_suffix(f".{container.suffix}")
    return replace(shot, container=container, output=output)


def _even(side: int) -> int:
    """A side in pixels that yuv420p can have."""
    return side + side % 2


def _size(inputs: Inputs, image: tuple[int, int] | None) -> tuple[int, int]:
    """Choose the size asked for; odd sides grow by one pixel, as yuv420p needs even ones."""
    wanted = inputs.video_size
    if isinstance(wanted, ImageSize):
        width, height = wanted.width, wanted.height
    elif wanted is Preset.AUTO:
        width, height = image or PIXELS[Preset.LANDSCAPE_16_9]
    else:
        width, height = PIXELS[wanted]
    width, height = _even(width), _even(height)
    if width * height > render.MAX_PIXELS:
        message = f"The simulator renders at most {render.MAX_PIXELS} pixels a frame"
        raise ModelError("internal_server_error", message, status_code=500)
    return width, height


def _download_error(field: str) -> ModelError:
    kind = "file_download_error" if field == "audio_url" else "image_load_error"
    return ModelError(kind, "Failed to download the file.", field=field)


def _told_to_fail(fault: Fault) -> Outcome:
    if fault.error_type:
        status = fault.status or INFRASTRUCTURE.get(fault.error_type, 500)
        return infrastructure_error(int(status), fault.error_type, fault.message)
    status = int(fault.status or (500 if fault.type in {None, "internal_server_error"} else 422))
    kind = fault.type or "internal_server_error"
    return ModelError(kind, fault.message, status_code=status, retryable=fault.retryable).outcome()
