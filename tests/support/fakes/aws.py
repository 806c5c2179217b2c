"""S3, SQS and SSM in this process: small models of what the product asks of them.

An operation that is missing here raises.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import md5
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from botocore.response import StreamingBody

from tests.support import stack
from tests.support.fakes.calls import NotModelled
from tests.support.fakes.table import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime


@dataclass(frozen=True)
class Version:
    """One version of an object."""

    version_id: str
    body: bytes
    modified: datetime
    metadata: tuple[tuple[str, str], ...] = ()

    @cached_property
    def etag(self) -> str:
        """S3's, of what is put in one request and encrypted by S3 itself."""
        return f'"{md5(self.body, usedforsecurity=False).hexdigest()}"'


@dataclass
class Buckets:
    """S3: versioned buckets, uploads in parts, and writes that are refused where an object is."""

    clock: Callable[[], datetime]
    versions: dict[tuple[str, str], list[Version]] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)

    def put(self, bucket: str, key: str, body: bytes, **metadata: str) -> Version:
        """Write a version."""
        modified = self.clock().replace(microsecond=0)
        version = Version(f"v{next(self._numbers)}", body, modified, tuple(metadata.items()))
        self.versions.setdefault((bucket, key), []).append(version)
        return version

    def body(self, bucket: str, key: str, version_id: str) -> bytes:
        """The bytes of a version."""
        return self._found({"Bucket": bucket, "Key": key, "VersionId": version_id}, "404").body

    def state(self) -> str:
        """Distinguishes two S3s."""
        kept = [
            (key, one.version_id, hash(one.body), one.modified, one.metadata)
            for key, versions in self.versions.items()
            for one in versions
        ]
        return f"{kept} {self.uploads}"

    def answer(self, operation: str, asked: dict[str, Any]) -> Any:
        """One operation, in S3's words."""
        answers = {
            "ListObjectsV2": self._list,
            "ListObjectVersions": self._list_versions,
            "HeadObject": self._head,
            "GetObject": self._get,
            "PutObject": self._put,
            "CopyObject": self._copy,
            "CreateMultipartUpload": self._begin,
            "UploadPart": self._upload,
            "CompleteMultipartUpload": self._complete,
            "AbortMultipartUpload": self._abort,
        }
        if operation not in answers:
            raise NotModelled(f"s3 {operation}")
        return answers[operation](asked)

    def _list(self, asked: dict[str, Any]) -> Any:
        prefix, most = asked.get("Prefix", ""), asked.get("MaxKeys", 1000)
        keys = (key for bucket, key in self.versions if bucket == asked["Bucket"])
        found = sorted(key for key in keys if key.startswith(prefix))
        if "Delimiter" in asked:
            found = [key for key in found if asked["Delimiter"] not in key[len(prefix) :]]
        contents = [{"Key": key} for key in found[:most]]
        return {"Contents": contents, "IsTruncated": len(found) > most}

    def _list_versions(self, asked: dict[str, Any]) -> Any:
        found = [
            {"Key": key, "VersionId": version.version_id, "IsLatest": version is versions[-1]}
            for (bucket, key), versions in sorted(self.versions.items())
            if bucket == asked["Bucket"] and key.startswith(asked.get("Prefix", ""))
            for version in reversed(versions)
        ]
        return {"Versions": found, "IsTruncated": False}

    def _found(self, asked: dict[str, Any], missing: str) -> Version:
        versions = self.versions.get((asked["Bucket"], asked["Key"]), [])
        wanted = asked.get("VersionId") or (versions[-1].version_id if versions else "")
        found = [version for version in versions if version.version_id == wanted]
        if not found:
            raise Refused(missing)
        return found[0]

    def _head(self, asked: dict[str, Any]) -> Any:
        found = self._found(asked, "404")
        return {
            "VersionId": found.version_id,
            "ContentLength": len(found.body),
            "LastModified": found.modified,
            "ETag": found.etag,
            "Metadata": dict(found.metadata),
        }

    def _get(self, asked: dict[str, Any]) -> Any:
        found = self._found(asked, "NoSuchKey")
        if asked.get("IfMatch", found.etag) != found.etag:
            raise Refused("PreconditionFailed")
        first, _, last = asked.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        body = found.body[int(first) : int(last) + 1 if last else None]
        return {
            "Body": StreamingBody(io.BytesIO(body), len(body)),
            "VersionId": found.version_id,
            "ContentLength": len(body),
            "ContentRange": f"bytes {first}-{int(first) + len(body) - 1}/{len(found.body)}",
            "LastModified": found.modified,
            "ETag": found.etag,
            "Metadata": dict(found.metadata),
        }

    def _check(self, asked: dict[str, Any]) -> None:
        self._must_be_new(asked)
        if "IfMatch" in asked and self._found(asked, "NoSuchKey").etag != asked["IfMatch"]:
            raise Refused("PreconditionFailed")

    def _copy(self, asked: dict[str, Any]) -> Any:
        try:
            source = self._found(asked["CopySource"], "NoSuchVersion")
        except Refused as exc:
            raise Refused(str(exc), ResponseMetadata={"HTTPStatusCode": 404}) from exc
        self._check(asked)
        version = self.put(asked["Bucket"], asked["Key"], source.body, **asked["Metadata"])
        return {"VersionId": version.version_id, "CopyObjectResult": {"ETag": version.etag}}

    def _must_be_new(self, asked: dict[str, Any]) -> None:
        if asked.get("IfNoneMatch") == "*" and (asked["Bucket"], asked["Key"]) in self.versions:
            raise Refused("PreconditionFailed")

    def _put(self, asked: dict[str, Any]) -> Any:
        self._check(asked)
        kept = self.put(asked["Bucket"], asked["Key"], asked["Body"], **asked.get("Metadata", {}))
        return {"VersionId": kept.version_id}

    def _begin(self, _: dict[str, Any]) -> Any:
        upload = f"u{next(self._numbers)}"
        self.uploads[upload] = {}
        return {"UploadId": upload}

    def _parts(self, asked: dict[str, Any]) -> dict[int, bytes]:
        if asked["UploadId"] not in self.uploads:
            raise Refused("NoSuchUpload")
        return self.uploads[asked["UploadId"]]

    def _upload(self, asked: dict[str, Any]) -> Any:
        self._parts(asked)[asked["PartNumber"]] = bytes(asked["Body"])  # its memory is used again
        return {"ETag": f"e{asked['PartNumber']}"}

    def _complete(self, asked: dict[str, Any]) -> Any:
        parts = self._parts(asked)
        self._must_be_new(asked)
        wanted = [part["PartNumber"] for part in asked["MultipartUpload"]["Parts"]]
        del self.uploads[asked["UploadId"]]
        body = b"".join(parts[number] for number in wanted)
        return {"VersionId": self.put(asked["Bucket"], asked["Key"], body).version_id}

    def _abort(self, asked: dict[str, Any]) -> Any:
        self._parts(asked)
        del self.uploads[asked["UploadId"]]
        return {}


@dataclass
class Message:
    """A message, and when it may be received (again)."""

    body: str
    visible_at: datetime
    receives: int = 0


@dataclass
class Queue:
    """An SQS queue with a function at its end; times in seconds."""

    clock: Callable[[], datetime]
    delay: int
    visibility: int
    most_receives: int
    batch: int
    messages: list[Message] = field(default_factory=list)
    dead: list[Message] = field(default_factory=list)

    def state(self) -> str:
        """Distinguishes two queues."""
        return f"{self.messages} {self.dead}"


KEY: Final = {"Parameter": {"Name": stack.KEY_PARAMETER, "Value": stack.FAL_KEY, "Version": 1}}
