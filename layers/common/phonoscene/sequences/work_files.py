"""The output bucket's files of sequences: slices, frames, segments, and the joined video."""

from __future__ import annotations

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from phonoscene.drops.keys import suffix_of
from phonoscene.errors import EditorFailed
from phonoscene.jobs import DropObject, Video
from phonoscene.publishing.s3_conditions import HIDDEN, MISSING, OVERTAKEN, unchanged
from phonoscene.videos.video_formats import CONTENT_TYPES

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

_ABSENT: Final = MISSING | HIDDEN | {"NoSuchVersion"}
#: Bytes of a part, and how many are sent at once: a 10 GB video has fewer than 200 parts.
PART: Final = 64 * 1024 * 1024
FLOWS: Final = 4
#: The object's metadata about a joined video, so that it need not be read again.
_FACTS: Final = ("sha256", "width", "height", "frames", "fps", "seconds", "sound_seconds")


class WorkFiles:
    """Reads and writes one bucket; an object that exists is never written again."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.name = bucket

    def find(self, key: str) -> DropObject | None:
        """The object at a key, or None."""
        head = self._head(key)
        return self._pinned(key, head["VersionId"]) if head else None

    def find_video(self, key: str) -> Video | None:
        """The joined video at a key, by its metadata; None if there is none."""
        head = self._head(key)
        facts = head and {name: head["Metadata"].get(_header(name)) for name in _FACTS}
        if not head or not facts or not facts["sha256"]:
            return None
        return self._video(key, head["VersionId"], head["ContentLength"], facts)

    def put(self, key: str, body: bytes, content_type: str) -> DropObject:
        """Write a small object, or find the one that is there."""
        at: Any = {"Bucket": self.name, "Key": key}
        try:
            answer = self._client.put_object(
                **at, Body=body, ContentType=content_type, **unchanged(None)
            )
        except ClientError as exc:
            return self._pinned(key, self._existing(key, exc)["VersionId"])
        return self._pinned(key, answer["VersionId"])

    def download(self, pinned: DropObject | Video, bucket: str, to: Path) -> Path | None:
        """Write a version to a file; None where it is gone."""
        try:
            answer = self._client.get_object(
                Bucket=bucket, Key=pinned.key, VersionId=pinned.version_id
            )
            with closing(answer["Body"]) as body, to.open("wb") as file:
                shutil.copyfileobj(body, file, 1024 * 1024)
        except ClientError as exc:
            if exc.response["Error"]["Code"] in _ABSENT:
                return None
            raise
        except (BotoCoreError, OSError) as exc:
            raise EditorFailed(type(exc).__name__) from exc
        if to.stat().st_size != answer["ContentLength"]:
            raise EditorFailed("an object of S3 broke off")
        return to

    def store(self, path: Path, key: str, facts: dict[str, Any]) -> Video:
        """Write a joined video, or find the one that is there."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
        facts = {"sha256": digest, **facts}
        described: Any = {
            "Bucket": self.name,
            "Key": key,
            "ContentType": CONTENT_TYPES[suffix_of(key)],
            "Metadata": {_header(name): str(value) for name, value in facts.items()},
        }
        try:
            answer = self._upload(path, size, described)
        except ClientError as exc:
            self._existing(key, exc)
            found = self.find_video(key)
            if found is None:
                raise
            return found
        return self._video(key, answer["VersionId"], size, facts)

    def _upload(self, path: Path, size: int, described: Any) -> Any:
        if size <= PART:
            return self._client.put_object(**described, Body=path.read_bytes(), **unchanged(None))
        at = {name: described[name] for name in ("Bucket", "Key")}
        upload = self._client.create_multipart_upload(**described)["UploadId"]

        def send(number: int) -> Any:
            with path.open("rb") as file:
                file.seek((number - 1) * PART)
                answer = self._client.upload_part(
                    **at, UploadId=upload, PartNumber=number, Body=file.read(PART)
                )
            return {"PartNumber": number, "ETag": answer["ETag"]}

        # of one that is cut off the bucket's own rule removes the parts, within a day
        with ThreadPoolExecutor(FLOWS) as pool:
            parts = list(pool.map(send, range(1, -(-size // PART) + 1)))
        return self._client.complete_multipart_upload(
            **at, UploadId=upload, MultipartUpload={"Parts": parts}, **unchanged(None)
        )

    def _existing(self, key: str, refusal: ClientError) -> Any:
        """The object that was there before; any other refusal is raised."""
        if refusal.response["Error"]["Code"] not in OVERTAKEN:
            raise refusal
        head = self._head(key)
        if head is None:
            raise EditorFailed("an object of S3 appeared and is gone") from refusal
        return head

    def _head(self, key: str) -> Any:
        try:
            return self._client.head_object(Bucket=self.name, Key=key)
        except ClientError as exc:
            if exc.response["Error"]["Code"] in _ABSENT:
                return None
            raise

    def _pinned(self, key: str, version_id: str) -> DropObject:
        return DropObject(key=key, version_id=version_id, bucket=self.name)

    def _video(self, key: str, version_id: str, size: int, facts: dict[str, Any]) -> Video:
        return Video(
            bucket=self.name,
            key=key,
            version_id=version_id,
            bytes=size,
            content_type=CONTENT_TYPES[suffix_of(key)],
            **facts,
        )


def _header(fact: str) -> str:
    """As it is named in S3's metadata: some proxies drop headers with underscores."""
    return "phonoscene-" + fact.replace("_", "-")
