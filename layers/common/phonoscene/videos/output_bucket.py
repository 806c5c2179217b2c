"""Writes the output bucket: videos, in parts as they come, and manifests; each object once."""

from __future__ import annotations

import base64
import hashlib
import logging
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from threading import Condition, Lock
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from phonoscene.errors import CopyFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from mypy_boto3_s3 import S3Client

    from phonoscene.videos.cdn import Part, Source
    from phonoscene.videos.video_formats import Examination

logger = logging.getLogger(__name__)

#: How many parts are on their way at once, each from the CDN to S3 in one thread and one memory: a
#: few, and more of them for as long as this process uses less than a CPU. Measured: see
#: docs/decisions.md.
FIRST_FLOWS: Final = 4
MAX_FLOWS: Final = 12
#: Seconds from one look at that to the next.
CHECK_SECONDS: Final = 0.1
#: A video of so many parts goes in one request. An upload in parts pays for two more than it has.
PARTS_OF_ONE_PUT: Final = 2
READ: Final = 1024 * 1024
#: Without ListBucket, S3 says 403 of what is not there.
_ABSENT: Final = {"NoSuchKey", "404", "AccessDenied", "403"}
_EXISTS: Final = {"PreconditionFailed", "412"}
#: Another request writes or deletes the object at this moment; S3 wants this one sent again.
_CONFLICT: Final = {"ConditionalRequestConflict", "409"}
#: How often a manifest is sent then, and the seconds in between.
TRIES: Final = 4
PAUSE: Final = 0.2


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

    def store(
        self, source: Source, key: str, content_type: str, examination: Examination
    ) -> Stored:
        """Write a video as its parts come; where another store was first, its object is returned.

        A video of one or two parts goes in one PUT. Before there is an object, ``examination`` has
        seen every byte and may still refuse them.

        Raises:
            CopyFailed: S3 failed, or ``examination`` refuses. Whatever is raised, an
                unfinished upload has been aborted.
        """
        upload = _Upload(self._client, {"Bucket": self.name, "Key": key}, content_type, examination)
        try:
            if source.count and source.count <= PARTS_OF_ONE_PUT:
                return upload.whole(b"".join(part.body for part in iter(source.next, None)))
            return upload.in_parts(source)
        except (BotoCoreError, ClientError) as exc:
            raise CopyFailed(f"S3 broke off: {type(exc).__name__}") from exc
        finally:
            upload.abort_unless_done()

    def find(self, key: str, examination: Examination) -> Stored | None:
        """An object of an earlier try, read once by ``examination``; None where there is none."""
        try:
            answer = self._client.get_object(Bucket=self.name, Key=key)
        except ClientError as exc:
            if exc.response["Error"]["Code"] in _ABSENT:
                return None
            raise
        digest = _Digest(examination)
        with closing(answer["Body"]) as body:
            for number, chunk in enumerate(body.iter_chunks(READ)):
                digest.add(number, chunk)
        return Stored(
            bucket=self.name,
            key=key,
            version_id=answer["VersionId"],
            bytes=digest.length,
            sha256=digest.digest().hex(),
            content_type=examination.content_type,
        )

    def put_manifest(self, key: str, body: bytes) -> None:
        """Write the manifest; the same job's manifest of an earlier try stays."""
        for tries_left in reversed(range(TRIES)):
            try:
                self._client.put_object(
                    Bucket=self.name,
                    Key=key,
                    Body=body,
                    ContentType="application/json",
                    IfNoneMatch="*",
                )
            except ClientError as exc:
                code = exc.response["Error"]["Code"]
                if code in _EXISTS:
                    return
                if code not in _CONFLICT or not tries_left:
                    raise
                time.sleep(PAUSE)
            else:
                return


class _Digest:
    """SHA-256 of parts that come in any order, each from a thread that waits for its turn.

    ``examination`` sees them in order too.
    """

    def __init__(self, examination: Examination) -> None:
        self._examination = examination
        self._sha256 = hashlib.sha256()
        self._turn = Condition()
        self._next = 0
        self._is_given_up = False

    def add(self, number: int, body: bytes | bytearray) -> bool:
        """Add the part with this number, after all before it; False where one of them failed."""
        with self._turn:
            self._turn.wait_for(lambda: self._next == number or self._is_given_up)
            if self._is_given_up:
                return False
            self._sha256.update(body)
            self._examination.add(body)
            self._next += 1
            self._turn.notify_all()
            return True

    def give_up(self) -> None:
        """End every wait for a part that will not arrive."""
        with self._turn:
            self._is_given_up = True
            self._turn.notify_all()

    @property
    def length(self) -> int:
        """Bytes that were added so far."""
        return self._examination.length

    def digest(self) -> bytes:
        """Return the SHA-256 of all bytes that were added: 32 bytes."""
        return self._sha256.digest()


class _Flows:
    """Threads that carry parts: a few at first, more where the network leaves this process idle."""

    def __init__(
        self, pool: ThreadPoolExecutor, carry: Callable[[Source, _Flows], None], source: Source
    ) -> None:
        self._pool = pool
        self._task = partial(carry, source, self)
        self._most = min(MAX_FLOWS, source.count or MAX_FLOWS)
        self._flows: list[Future[None]] = []
        self._lock = Lock()
        self._seen = time.monotonic(), time.process_time()

    def start(self) -> None:
        """Begin a few, as far as there may be parts for them."""
        for _ in range(min(FIRST_FLOWS, self._most - len(self._flows))):
            self._flows.append(self._pool.submit(self._task))

    def grow(self) -> None:
        """Begin more, if less than a CPU was used since this was last looked at."""
        if self._is_idle():
            self.start()

    def end(self) -> None:
        """Wait for all of them; an error of any is raised."""
        for flow in self._flows:  # which may become more meanwhile
            flow.result()

    def _is_idle(self) -> bool:
        with self._lock:
            now, used = time.monotonic(), time.process_time()
            passed, worked = now - self._seen[0], used - self._seen[1]
            if passed < CHECK_SECONDS:
                return False
            self._seen = now, used
            return worked < passed


class _Upload:
    """One object on its way: in a single PUT, or in parts."""

    def __init__(
        self, client: S3Client, at: dict[str, str], content_type: str, examination: Examination
    ) -> None:
        self._client = client
        self._at: Any = at
        self._type = content_type
        self._examination = examination
        self._digest = _Digest(examination)
        self._id: str | None = None
        self._sent: dict[int, Any] = {}

    def whole(self, body: bytes) -> Stored:
        """Write the object in one PUT."""
        self._digest.add(0, body)
        self._examination.check()
        checksum = base64.b64encode(self._digest.digest()).decode()
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

    def in_parts(self, source: Source) -> Stored:
        """The object in parts; S3 makes it appear at once, and only if there is none."""
        answer = self._client.create_multipart_upload(
            **self._at, ContentType=self._type, ChecksumAlgorithm="CRC32"
        )
        self._id = answer["UploadId"]
        with ThreadPoolExecutor(MAX_FLOWS) as pool:
            flows = _Flows(pool, self._carry, source)
            flows.start()
            flows.end()
        self._examination.check()
        return self._complete()

    def abort_unless_done(self) -> None:
        """Leave no parts behind: S3 charges for them."""
        if self._id is None:
            return
        try:
            self._client.abort_multipart_upload(**self._at, UploadId=self._id)
        except (ClientError, BotoCoreError) as exc:  # the bucket's own rule aborts it within a day
            logger.warning("video.abort_failed", extra={"error": type(exc).__name__})

    def _carry(self, source: Source, flows: _Flows) -> None:
        """Carry one part after another, all in the same memory, until there is none left."""
        try:
            part = source.next()
            while part and self._digest.add(part.number, part.body):
                flows.grow()
                self._send(part)
                part = source.next(part)
        except BaseException:
            self._digest.give_up()
            raise

    def _complete(self) -> Stored:
        try:
            answer = self._client.complete_multipart_upload(
                **self._at,
                UploadId=str(self._id),
                MultipartUpload={"Parts": [self._sent[number] for number in sorted(self._sent)]},
                IfNoneMatch="*",
            )
        except ClientError as exc:
            return self._as_found(exc)
        self._id = None
        return self._stored(answer["VersionId"])

    def _send(self, part: Part) -> None:
        checksum = base64.b64encode(zlib.crc32(part.body).to_bytes(4)).decode()
        number = part.number + 1
        body: Any = part.body  # boto3 takes a bytearray; its types do not say so
        answer = self._client.upload_part(
            **self._at,
            UploadId=str(self._id),
            PartNumber=number,
            Body=body,
            ChecksumCRC32=checksum,
        )
        data = {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": checksum}
        self._sent[number] = data

    def _as_found(self, exc: ClientError) -> Stored:
        """Another store wrote the same video first: take its version."""
        if exc.response["Error"]["Code"] not in _EXISTS | _CONFLICT:
            raise CopyFailed(f"S3 answered {exc.response['Error']['Code']}") from exc
        head = self._client.head_object(**self._at)
        if head["ContentLength"] != self._digest.length:
            raise CopyFailed("another video is stored at this job's key") from exc
        return self._stored(head["VersionId"])

    def _stored(self, version_id: str) -> Stored:
        return Stored(
            bucket=self._at["Bucket"],
            key=self._at["Key"],
            version_id=version_id,
            bytes=self._digest.length,
            sha256=self._digest.digest().hex(),
            content_type=self._type,
        )
