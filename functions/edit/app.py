"""EditFunction: cuts long audio, and joins the videos of its segments; SubmitFunction waits for it.

FFmpeg is C code that strangers feed. It runs here, without a table, a queue or the fal key.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.drops.media_facts import StoredObject
from phonoscene.errors import DropRefused, DropUnsettled
from phonoscene.jobs import Audio, Video
from phonoscene.observability import logger
from phonoscene.sequences.media_editor import MediaEditor, silences_in
from phonoscene.sequences.work_files import WorkFiles
from phonoscene.settings import EditSettings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

READING = Config(connect_timeout=2, read_timeout=20, retries={"total_max_attempts": 3})


@dataclass(frozen=True)
class App:
    """The clients and settings that an invocation needs."""

    drops: DropBucket
    editor: MediaEditor

    def edit(self, asked: dict[str, Any]) -> Any:
        """What is asked for, as JSON."""
        match asked:
            case {"do": "silences", "key": key, "etag": etag, "bytes": size}:
                return silences_in(self.drops, StoredObject(key=key, etag=etag, bytes=size))
            case {"do": "cut", "audio": audio, "spans": spans}:
                slices = self.editor.cut(Audio.model_validate(audio), [(a, b) for a, b in spans])
                return [one.model_dump(mode="json", exclude_none=True) for one in slices]
            case {"do": "last_frame", "frames": frames, "fps": fps, "number": number}:
                video = Video.model_validate(asked["video"])
                frame = self.editor.last_frame(video, frames, fps, number, asked["to"])
                return frame.model_dump(mode="json", exclude_none=True)
            case {"do": "join"}:
                videos = [Video.model_validate(one) for one in asked["videos"]]
                audio = Audio.model_validate(asked["audio"])
                whole = self.editor.join(
                    videos, asked["frames"], asked["fps"], audio, asked["to"], asked["manifest"]
                )
                return whole.model_dump(mode="json", exclude_none=True)
        raise ValueError("an event that is none of submit's")


@cache
def build() -> App:
    """Read the settings and make the clients, at the first event."""
    settings = EditSettings.from_env(os.environ)
    client = boto3.client("s3", config=READING)
    drops = DropBucket(client, client, settings.drop_bucket)
    return App(drops, MediaEditor(settings.drop_bucket, WorkFiles(client, settings.output_bucket)))


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _: LambdaContext) -> dict[str, Any]:
    """Lambda's entry: what ``RemoteEditor`` sends, and what it understands as an answer."""
    if not event:  # doctor asks whether the function starts
        return {"starts": build() is not None}
    try:
        done = build().edit(event)
    except DropRefused as exc:
        logger.info("edit.refused", extra={"errors": [error.code for error in exc.errors]})
        return {"errors": [error.model_dump(exclude_none=True) for error in exc.errors]}
    except DropUnsettled:
        return {"unsettled": True}
    logger.info("edit.done", extra={"do": event["do"]})
    return {"done": done}
