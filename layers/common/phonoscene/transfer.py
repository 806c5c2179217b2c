"""Copies a video from fal's CDN into the output bucket, streamed: the only module that does both.

The video is read in ranges and written in parts of the same size, several at once and in order, so that
memory is ``PARTS_AHEAD`` parts however long the video is, and one broken connection costs one part.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from phonoscene.errors import VideoRefused, VideoUnavailable
from phonoscene.jobs import ErrorDetail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

#: S3 takes parts of 5 MiB and more, and 10,000 of them: 8 MiB reach 78 GiB.
PART: Final = 8 * 1024 * 1024
PARTS_AHEAD: Final = 4
TRIES: Final = 4
#: One copy's time, in seconds: below the function's 300, so that an unfinished upload is aborted.
MOST_SECONDS: Final = 270
TIMEOUT: Final = httpx.Timeout(15.0, connect=5.0)
CONTENT_TYPES: Final = {
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
    ".gif": "image/gif",
}
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


def check_url(url: str) -> None:
    """Refuse a video URL that is not fal's CDN.

    Hosts: ``*.fal.media`` (documented), and the folder ``falserverless`` of Google's storage, where the
    endpoint's own examples lie.

    Raises:
        VideoRefused: naming the host.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "an unreadable URL", None, urlsplit("")
    is_fal = host.endswith(".fal.media") or (
        host == "storage.googleapis.com" and parts.path.startswith("/falserverless/")
    )
    is_plain = parts.scheme == "https" and parts.username is None and port in (None, 443)
    if not (is_fal and is_plain and ".." not in parts.path):
        raise _refused(
            "video_url_refused",
            f"the video lies at {host[:100]!r}, which is not fal's CDN over https",
        )


def is_container(head: bytes, suffix: str) -> bool:
    """Whether a file that begins with ``head`` is what its suffix says (ISO 14496-12, EBML, GIF89a)."""
    if suffix == ".gif":
        return head[:6] in (b"GIF87a", b"GIF89a")
    if suffix == ".webm":
        return head[:4] == b"\x1a\x45\xdf\xa3" and b"webm" in head[:64]
    is_quicktime = head[8:12] == b"qt  "
    return head[4:8] == b"ftyp" and is_quicktime == (suffix == ".mov")


def _refused(code: str, message: str) -> VideoRefused:
    return VideoRefused(ErrorDetail(code=code, message=message))


class Source:
    """A file on fal's CDN, read in ranges where the CDN can, else from beginning to end."""

    def __init__(self, client: httpx.Client, url: str, most_bytes: int) -> None:
        self._client = client
        self._url = url
        self._most_bytes = most_bytes
        self._ends_at = time.monotonic() + MOST_SECONDS
        #: The length of the whole file, known after the first answer.
        self.size = 0

    def parts(self, pool: ThreadPoolExecutor) -> Iterator[bytes]:
        """The file's parts in order, each of ``PART`` bytes but the last."""
        got = bytearray()
        with self._client.stream("GET", self._url, headers=_range(0, PART - 1)) as response:
            self._check(response)
            if response.status_code == httpx.codes.OK:
                yield from self._unranged(response)
                return
            self._read_into(got, response)
        yield self._part(0, got)
        yield from self._ranged(pool)

    def _ranged(self, pool: ThreadPoolExecutor) -> Iterator[bytes]:
        ahead: deque[Future[bytes]] = deque()
        for start in range(PART, self.size, PART):
            ahead.append(pool.submit(self._part, start))
            if len(ahead) == PARTS_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def _part(self, start: int, got: bytearray | None = None) -> bytes:
        """One part; what arrived before a connection broke is kept, and the rest asked for."""
        got = bytearray() if got is None else got
        length = min(start + PART, self.size) - start
        for _ in range(TRIES):
            if len(got) >= length:
                break
            rest = _range(start + len(got), start + length - 1)
            with self._client.stream("GET", self._url, headers=rest) as response:
                if response.status_code != httpx.codes.PARTIAL_CONTENT:
                    raise VideoUnavailable(f"the CDN answered {response.status_code} for a range")
                self._read_into(got, response)
        if len(got) != length:
            raise VideoUnavailable(f"the CDN sent {len(got)} of the {length} bytes of a range")
        return bytes(got)

    def _read_into(self, got: bytearray, response: httpx.Response) -> None:
        """Append what comes, up to a part; a broken connection ends it quietly."""
        try:
            for chunk in response.iter_raw():
                self._check_time()
                got += chunk
                if len(got) > PART:
                    return
        except httpx.TransportError as exc:
            logger.info("video.range_broken", extra={"error": type(exc).__name__})

    def _check_time(self) -> None:
        if time.monotonic() > self._ends_at:
            raise VideoUnavailable(f"the copy takes longer than {MOST_SECONDS} s")

    def _unranged(self, response: httpx.Response) -> Iterator[bytes]:
        buffer = bytearray()
        total = 0
        for chunk in response.iter_raw():
            buffer += chunk
            total += len(chunk)
            self._check_length(total)
            self._check_time()
            while len(buffer) >= PART:
                yield bytes(buffer[:PART])
                del buffer[:PART]
        if self.size and total != self.size:
            raise VideoUnavailable(f"the CDN sent {total} of {self.size} bytes")
        self.size = total
        if buffer:
            yield bytes(buffer)

    def _check(self, response: httpx.Response) -> None:
        """Learn the size; refuse what will not get better, and come back for what may."""
        if response.is_redirect:
            raise _refused(
                "video_redirected", "the CDN answered with a redirect, which is not followed"
            )
        if response.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            raise VideoUnavailable(f"the CDN answered {response.status_code}")
        self.size = _size(response)
        self._check_length(self.size)

    def _check_length(self, length: int) -> None:
        if length > self._most_bytes:
            raise _refused(
                "video_too_large",
                f"the video has more than {self._most_bytes:,} bytes, the stack's MaxVideoBytes",
            )


def _range(first: int, last: int) -> dict[str, str]:
    return {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}


def _size(response: httpx.Response) -> int:
    """The whole file's length in bytes; 0 where a CDN without ranges does not tell."""
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        match = re.fullmatch(r"bytes 0-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not match:
            raise VideoUnavailable("the CDN's range cannot be understood")
        return int(match[1])
    length = response.headers.get("Content-Length", "0")
    return int(length) if length.isdigit() else 0


class OutputBucket:
    """Writes one bucket; an object that exists is never written again."""

    def __init__(self, client: S3Client, bucket: str, most_bytes: int) -> None:
        self._client = client
        self.name = bucket
        self._most_bytes = most_bytes

    def copy_video(self, url: str, key: str, suffix: str) -> Stored:
        """Stream the video at ``url`` to ``key``; where another store was first, its object is returned.

        Raises:
            VideoRefused: wrong host, redirect, too large, or not the container that was asked for.
            VideoUnavailable: the CDN or S3 failed; an unfinished upload has been aborted.
        """
        check_url(url)
        # the pool ends first: its parts read with the client
        with (
            httpx.Client(timeout=TIMEOUT, follow_redirects=False) as client,
            ThreadPoolExecutor(PARTS_AHEAD * 2) as pool,
        ):
            source = Source(client, url, self._most_bytes)
            upload = _Upload(self._client, self.name, key, CONTENT_TYPES[suffix])
            try:
                return self._write(source.parts(pool), upload, pool, suffix)
            except (httpx.HTTPError, BotoCoreError) as exc:
                raise VideoUnavailable(f"the copy broke: {type(exc).__name__}") from exc
            finally:
                upload.abort_unless_done()

    def _write(
        self, parts: Iterator[bytes], upload: _Upload, pool: ThreadPoolExecutor, suffix: str
    ) -> Stored:
        first = next(parts, b"")
        if not is_container(first[:64], suffix):
            raise _refused("wrong_container", f"fal's file is not {suffix[1:]}, as was asked for")
        second = next(parts, None)
        if second is None:
            return upload.whole(first)
        upload.begin()
        upload.add(pool, first)
        upload.add(pool, second)
        for part in parts:
            upload.add(pool, part)
        return upload.complete()

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
            **self._at, ContentType=self._type, ChecksumAlgorithm="SHA256"
        )
        self._id = answer["UploadId"]

    def add(self, pool: ThreadPoolExecutor, part: bytes) -> None:
        """Hash a part in its turn and send it; at most ``PARTS_AHEAD`` are on their way."""
        self._count(part)
        number = len(self._done) + len(self._under_way) + 1
        self._under_way.append(pool.submit(self._send, number, part))
        if len(self._under_way) == PARTS_AHEAD:
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
        digest = base64.b64encode(hashlib.sha256(part).digest()).decode()
        answer = self._client.upload_part(
            **self._at, UploadId=str(self._id), PartNumber=number, Body=part, ChecksumSHA256=digest
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": digest}

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
