"""Writes the output bucket: videos, in parts as they come, and manifests; each object once."""

from __future__ import annotations

import base64
import hashlib
import logging
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from phonoscene.errors import VideoUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

#: How many parts are on their way to S3 at once.
PARTS_UNDER_WAY: Final = 5
#: A video of so many parts goes in one request. An upload in parts pays for two more than it has.
PARTS_OF_ONE_PUT: Final = 2
READ: Final = 1024 * 1024
#: Without ListBucket, S3 says 403 of what is not there.
_ABSENT: Final = {"NoSuchKey", "404", "AccessDenied", "403"}
_EXISTS: Final = {"PreconditionFailed", "412", "ConditionalRequestConflict"}


@dataclass(frozen=True)
class Stored:
    """An object of the output bucket: size in bytes, SHA-256 of the whole in hex."""

    bucket: str
    key: str
    version_id: str
    bytes: int
    sha256: str
    content_type: str


class OutputBucket:
    """Writes one bucket; an object that exists is never written again."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.name = bucket

    def store(self, parts: Iterator[bytes], key: str, content_type: str) -> Stored:
        """Write a video as its parts come; where another store was first, its object is returned.

        ``parts`` are of 5 MiB or more, but for the last; a video of one or two goes in one PUT.

        Raises:
            VideoUnavailable: S3 failed. Whatever is raised, an unfinished upload has been aborted.
        """
        upload = _Upload(self._client, self.name, key, content_type)
        with ThreadPoolExecutor(PARTS_UNDER_WAY) as pool:
            try:
                return self._write(parts, upload, pool)
            except (BotoCoreError, ClientError) as exc:
                raise VideoUnavailable(f"S3 broke off: {type(exc).__name__}") from exc
            finally:
                upload.abort_unless_done()

    def _write(self, parts: Iterator[bytes], upload: _Upload, pool: ThreadPoolExecutor) -> Stored:
        first, more = list(islice(parts, PARTS_OF_ONE_PUT)), next(parts, None)
        if more is None:
            return upload.whole(b"".join(first))
        upload.begin()
        for part in chain(first, [more], parts):
            upload.add(pool, part)
        return upload.complete()

    def find(self, key: str, content_type: str) -> Stored | None:
        """An object of an earlier try, read once for its digest; None where there is none."""
        try:
            answer = self._client.get_object(Bucket=self.name, Key=key)
        except ClientError as exc:
            if exc.response["Error"]["Code"] in _ABSENT:
                return None
            raise
        digest, length = hashlib.sha256(), 0
        with closing(answer["Body"]) as body:
            for chunk in body.iter_chunks(READ):
                digest.update(chunk)
                length += len(chunk)
        version = answer["VersionId"]
        return Stored(self.name, key, version, length, digest.hexdigest(), content_type)

    def put_manifest(self, key: str, body: bytes) -> None:
        """Write the manifest; the same job's manifest of an earlier try stays."""
        try:
            self._client.put_object(
                Bucket=self.name,
                Key=key,
                Body=body,
                ContentType="application/json",
                IfNoneMatch="*",
            )
        except ClientError as exc:
            if exc.response["Error"]["Code"] not in _EXISTS:
                raise


class _Upload:
    """One object on its way: in a single PUT, or in parts."""

    def __init__(self, client: S3Client, bucket: str, key: str, content_type: str) -> None:
        self._client = client
        self._at: Any = {"Bucket": bucket, "Key": key}
        self._type = content_type
        self._sha256 = hashlib.sha256()
        self._bytes = 0
        self._id: str | None = None
        self._done: list[Any] = []
        self._under_way: deque[Future[Any]] = deque()

    def whole(self, body: bytes) -> Stored:
        """The object in one PUT."""
        self._count(body)
        checksum = base64.b64encode(self._sha256.digest()).decode()
        try:
            answer = self._client.put_object(
                **self._at,
                Body=body,
                ContentType=self._type,
                IfNoneMatch="*",
                ChecksumSHA256=checksum,
            )
        except ClientError as exc:
            return self._as_found(exc)
        return self._stored(answer["VersionId"])

    def begin(self) -> None:
        """Open an upload in parts."""
        answer = self._client.create_multipart_upload(
            **self._at, ContentType=self._type, ChecksumAlgorithm="CRC32"
        )
        self._id = answer["UploadId"]

    def add(self, pool: ThreadPoolExecutor, part: bytes) -> None:
        """Hash a part in its turn and send it; at most ``PARTS_UNDER_WAY`` are on their way."""
        self._count(part)
        number = len(self._done) + len(self._under_way) + 1
        self._under_way.append(pool.submit(self._send, number, part))
        if len(self._under_way) == PARTS_UNDER_WAY:
            self._done.append(self._under_way.popleft().result())

    def complete(self) -> Stored:
        """Close the upload; S3 makes the object appear at once, and only if there is none."""
        self._done += [sent.result() for sent in self._under_way]
        self._under_way.clear()
        try:
            answer = self._client.complete_multipart_upload(
                **self._at,
                UploadId=str(self._id),
                MultipartUpload={"Parts": self._done},
                IfNoneMatch="*",
            )
        except ClientError as exc:
            return self._as_found(exc)
        self._id = None
        return self._stored(answer["VersionId"])

    def abort_unless_done(self) -> None:
        """Leave no parts behind: S3 charges for them."""
        if self._id is None:
            return
        for sent in self._under_way:
            sent.cancel()
            sent.exception() if not sent.cancelled() else None
        try:
            self._client.abort_multipart_upload(**self._at, UploadId=self._id)
        except (ClientError, BotoCoreError) as exc:  # the bucket's own rule aborts it within a day
            logger.warning("video.abort_failed", extra={"error": type(exc).__name__})

    def _send(self, number: int, part: bytes) -> dict[str, Any]:
        checksum = base64.b64encode(zlib.crc32(part).to_bytes(4)).decode()
        answer = self._client.upload_part(
            **self._at, UploadId=str(self._id), PartNumber=number, Body=part, ChecksumCRC32=checksum
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": checksum}

    def _count(self, part: bytes) -> None:
        self._sha256.update(part)
        self._bytes += len(part)

    def _as_found(self, exc: ClientError) -> Stored:
        """Another store wrote the same video first: take its version."""
        if exc.response["Error"]["Code"] not in _EXISTS:
            raise VideoUnavailable(f"S3 answered {exc.response['Error']['Code']}") from exc
        head = self._client.head_object(**self._at)
        if head["ContentLength"] != self._bytes:
            raise VideoUnavailable("another video lies at this job's key") from exc
        return self._stored(head["VersionId"])

    def _stored(self, version_id: str) -> Stored:
        return Stored(
            bucket=self._at["Bucket"],
            key=self._at["Key"],
            version_id=version_id,
            bytes=self._bytes,
            sha256=self._sha256.hexdigest(),
            content_type=self._type,
        )
