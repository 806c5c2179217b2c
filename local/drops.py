"""Puts a drop in the local cloud, follows its job, and fetches the video: what a user does."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av

from local import sample
from local.endpoints import Endpoints
from local.errors import LocalCloudError
from local.jobs import Jobs, Record, follow
from local.progress import RED, coloured, say

FOLLOW_SECONDS = 120

# Other files are ignored in the drop bucket, and would be waited for in vain.
AUDIO_SUFFIXES = (".mp3", ".wav", ".flac", ".m4a", ".aac", ".ogg", ".opus")


@dataclass(frozen=True)
class Drop:
    """An audio file with its sidecar, and the images that the sidecar names."""

    key: str
    audio: bytes
    sidecar: bytes
    images: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the two halves share: the key without its suffix."""
        return str(Path(self.key).with_suffix(""))


def sample_drop() -> Drop:
    """The demonstration's."""
    return Drop("demo/song.wav", sample.make(), _json(sample.SIDECAR))


def file_drop(file: Path, settings: Mapping[str, Any], image: Path | None) -> Drop:
    """A file from disk; its sidecar is the one beside it, if any, changed by `settings`."""
    if file.suffix.lower() not in AUDIO_SUFFIXES:
        raise LocalCloudError(f"{file} is no audio file; those end in {' '.join(AUDIO_SUFFIXES)}.")
    changes = dict(settings)
    images = {}
    if image is not None:
        images[image.name] = _read(image)
        changes.setdefault("image_url", image.name)
    return Drop(file.name, _read(file), _sidecar(file, changes), images)


def put(endpoints: Endpoints, drop: Drop) -> None:
    """Upload everything; the sidecar last, as the half that completes the pair."""
    s3 = endpoints.client("s3")
    folder = Path(drop.key).parent
    for name, image in drop.images.items():
        s3.put_object(Bucket=endpoints.drop_bucket, Key=str(folder / name), Body=image)
    s3.put_object(Bucket=endpoints.drop_bucket, Key=drop.key, Body=drop.audio)
    s3.put_object(Bucket=endpoints.drop_bucket, Key=f"{drop.name}.json", Body=drop.sidecar)


def put_and_fetch(
    endpoints: Endpoints, drop: Drop, videos: Path, seconds: float = FOLLOW_SECONDS
) -> Path:
    """Put the drop, show what becomes of it, and save its video under `videos`."""
    jobs = Jobs(endpoints)
    before = jobs.takes(drop.name)
    put(endpoints, drop)
    say(f"dropped {drop.key} with its sidecar {drop.name}.json")
    record = follow(jobs, drop.name, before, seconds)
    if record["status"] != "SUCCEEDED":
        raise LocalCloudError(_reasons(record))
    return fetch(endpoints, record, videos)


def fetch(endpoints: Endpoints, record: Record, videos: Path) -> Path:
    """Save a job's video, and describe it."""
    video = record["video"]
    suffix = Path(video["key"]).suffix
    target = videos / f"{record['name']}{suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    stored = endpoints.client("s3").get_object(
        Bucket=video["bucket"], Key=video["key"], VersionId=video["version_id"]
    )
    target.write_bytes(stored["Body"].read())
    say(describe(target))
    if record.get("estimate"):
        say(_cost(record["estimate"], is_real=not endpoints.simulator_url))
    return target


def describe(video: Path) -> str:
    """Length, size and codecs, read from the file itself."""
    try:
        with av.open(str(video)) as container:
            seconds = (container.duration or 0) / av.time_base
            picture = container.streams.video[0]
            codecs = " + ".join(stream.codec_context.name for stream in container.streams)
            size = f"{picture.width}x{picture.height}"
    except (av.FFmpegError, IndexError) as error:
        raise LocalCloudError(f"{video} was stored, but does not play: {error}.") from error
    return f"{seconds:.1f} s, {size}, {codecs}, {video.stat().st_size / 1e6:.1f} MB"


def _cost(estimate: Mapping[str, Any], *, is_real: bool) -> str:
    dollars = f"${estimate['lower_usd']:.4f} to ${estimate['upper_usd']:.4f}"
    if is_real:
        return f"fal charges {dollars} for it"
    return f"fal would charge {dollars} for it; the simulator does not"


def _reasons(record: Record) -> str:
    head = f"{record['name']} is {record['status']}."
    errors = record.get("errors", [])
    return "\n".join([head, *(f"  {coloured(e['code'], RED)}  {e['message']}" for e in errors)])


def _sidecar(file: Path, changes: Mapping[str, Any]) -> bytes:
    beside = next(
        (path for path in (Path(f"{file}.json"), file.with_suffix(".json")) if path.is_file()), None
    )
    if beside is None:
        if not changes:
            raise LocalCloudError(f"{file} has no sidecar: say --prompt, or put a JSON beside it.")
        return _json(changes)
    # What is wrong in it is the product's to say, unless it must be changed here.
    return _json(_object(beside) | dict(changes)) if changes else beside.read_bytes()


def _object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise LocalCloudError(f"{file} is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise LocalCloudError(f"{file} holds no JSON object.")
    return found


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise LocalCloudError(f"{file} cannot be read: {error.strerror}.") from error


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()
