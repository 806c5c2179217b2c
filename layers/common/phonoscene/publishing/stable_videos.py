"""Copies of videos at stable keys, made by S3 itself and replaced only if unchanged since read."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError, ParamValidationError

from phonoscene.errors import StableKeyRefused
from phonoscene.publishing.s3_conditions import HIDDEN, MISSING, OVERTAKEN, unchanged

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from phonoscene.publishing.pointers import Pointer

#: The metadata of a copy that names its job.
JOB_ID: Final = "phonoscene-job-id"
_GONE: Final = MISSING | {"NoSuchVersion"}
#: Refusals that end by themselves, although their status is below 500.
_PASSING: Final = {"RequestTimeout", "OperationAborted", "ExpiredToken", "ThrottlingException"}


@dataclass(frozen=True)
class StableCopy:
    """The object at a stable key; ``job_id`` is None if the object is not a copy."""

    etag: str
    job_id: str | None


class StableVideos:
    """Reads and replaces the copies in one bucket."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.name = bucket

    def find(self, key: str) -> StableCopy | None:
        """Return what is at a stable key."""
        try:
            head = self._client.head_object(Bucket=self.name, Key=key)
        except ClientError as exc:
            if exc.response["Error"]["Code"] in MISSING | HIDDEN:
                return None
            raise
        return StableCopy(head["ETag"], head["Metadata"].get(JOB_ID))

    def copy(self, pointer: Pointer, found: StableCopy | None) -> bool:
        """Have S3 copy a video to its stable key; return False if the key changed meanwhile.

        Raises:
            StableKeyRefused: the video is gone, or S3 does not allow the copy.
        """
        video = pointer.video
        try:
            self._client.copy_object(
                Bucket=self.name,
                Key=pointer.stable_key,
                CopySource={
                    "Bucket": video.bucket,
                    "Key": video.key,
                    "VersionId": video.version_id,
                },
                MetadataDirective="REPLACE",
                Metadata={JOB_ID: pointer.job_id},
                ContentType=video.content_type,
                CacheControl="no-cache",  # the key stays, its content changes
                TaggingDirective="REPLACE",  # copied tags would need permissions of their own
                **unchanged(found.etag if found else None),
            )
        except ParamValidationError as exc:  # an SDK from before S3 had conditional copies
            raise StableKeyRefused(str(exc)) from exc
        except ClientError as exc:
            code = exc.response["Error"]["Code"]
            # 404 with If-Match: this object was deleted, or the video
            if code in OVERTAKEN or (found and code in _GONE and not self.find(pointer.stable_key)):
                return False
            status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            is_refusal = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
            if is_refusal and code not in _PASSING:
                raise StableKeyRefused(f"S3 answered {code}") from exc
            raise
        return True
