"""Asks the function ``edit``, which decodes, cuts and joins in a process of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from phonoscene.drops.keys import frame_key
from phonoscene.errors import DropRefused, DropUnsettled, EditorFailed
from phonoscene.jobs import Audio, DropObject, ErrorDetail, Video
from phonoscene.publishing.manifests import Manifest
from phonoscene.sequences.plan import samples

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

    from phonoscene.drops.media_facts import StoredObject
    from phonoscene.jobs import FrozenModel, Job
    from phonoscene.sequences.work_files import WorkFiles


@dataclass(frozen=True)
class RemoteEditor:
    """Invokes the function and waits for its answer; ``work`` looks for what there is."""

    client: LambdaClient
    function: str
    work: WorkFiles

    def silences(self, audio: StoredObject) -> list[float]:
        """The middle of each silence of an audio file, in seconds, ascending."""
        found = self._ask("silences", key=audio.key, etag=audio.etag, bytes=audio.bytes)
        return [float(one) for one in found]

    def cut(self, job: Job) -> list[Audio]:
        """The slices of a sequence; the errors are those of ``Editor``."""
        fps = job.plan.fps
        spans = [samples(one.first, one.frames, fps) for one in job.plan.segments]
        found = self._ask("cut", audio=_json(job.audio), spans=spans)
        return [Audio.model_validate(one) for one in found]

    def last_frame(self, job: Job, number: int) -> DropObject:
        """The last frame of a segment's video; the errors are those of ``Editor``."""
        found = self._ask(
            "last_frame",
            video=_json(job.video),
            frames=job.arguments["num_frames"],
            fps=job.arguments["fps"],
            number=number,
            to=frame_key(job.job_id),
        )
        return DropObject.model_validate(found)

    def has(self, video: Video) -> bool:
        """Whether a segment's video is still in the output bucket."""
        return self.work.find(video.key) is not None

    def join(self, job: Job, segments: list[Job], key: str) -> Video:
        """The segments' videos and the job's audio as one video at ``key``."""
        found = self._ask(
            "join",
            videos=[_json(one.video) for one in segments],
            frames=[one.frames for one in job.plan.segments],
            fps=job.plan.fps,
            audio=_json(job.audio),
            to=key,
            manifest=Manifest.of(job, segments).fields(),
        )
        return Video.model_validate(found)

    def _ask(self, what: str, **asked: Any) -> Any:
        request = json.dumps({"do": what, **asked}).encode()
        try:
            answer = self.client.invoke(FunctionName=self.function, Payload=request)
            payload = json.loads(answer["Payload"].read())
        except (BotoCoreError, ClientError) as exc:  # throttled, or no answer in time
            raise EditorFailed(type(exc).__name__) from exc
        match payload:
            case {"done": done}:
                return done
            case {"errors": list(errors)}:
                raise DropRefused(*(ErrorDetail.model_validate(error) for error in errors))
            case {"unsettled": True}:
                raise DropUnsettled
        raise EditorFailed(str(payload.get("errorType")))


def _json(part: FrozenModel | None) -> Any:
    """A part of a record as JSON."""
    return part.model_dump(mode="json", exclude_none=True) if part else None
