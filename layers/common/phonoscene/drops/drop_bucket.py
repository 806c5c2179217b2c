"""The drop bucket: lists, reads and presigns what was dropped. It never writes there."""

from __future__ import annotations

from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from phonoscene.drops.contents import MARK
from phonoscene.drops.media_facts import StoredObject
from phonoscene.drops.s3_refusals import DENIED, refusal
from phonoscene.errors import BucketUnversioned, DropRefused, DropUnsettled, ObjectUnreadable
from phonoscene.jobs import DropObject, ErrorDetail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

_CHUNK: Final = 64 * 1024
_ABSENT: Final = {"404", "NoSuchKey", "NoSuchVersion", "NotFound", "412", "PreconditionFailed"}
#: What S3 knows of an object's bytes; of each that two objects share, equal means equal bytes.
_PROOFS: Final = (
    "ETag",
    "ChecksumCRC32",
    "ChecksumCRC32C",
    "ChecksumCRC64NVME",
    "ChecksumSHA1",
    "ChecksumSHA256",
)


@dataclass(frozen=True, kw_only=True)
class Found(StoredObject):
    """An object of the drop bucket as it is now; ``modified`` has a resolution of a second.

    S3 dates an object uploaded in parts from the upload's *beginning*: ``modified`` is never later
    than the event that announced the object, but may be long before it.

    ``proofs`` and ``mark`` are for ``contents``: proofs of equal bytes, and of a take on purpose.
    """

    version_id: str
    modified: datetime
    proofs: Mapping[str, str] = field(default_factory=dict, hash=False)
    mark: str = ""


class DropBucket:
    """Reads one bucket, and presigns its objects with a client made for that.

    ``check`` is called after each page of a list, and ends it by an error: anybody may have put
    any number of objects beside a drop.
    """

    def __init__(
        self,
        client: S3Client,
        presigner: S3Client,
        bucket: str,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._check = check
        self._presigner = presigner
        self.name = bucket

    def keys_under(self, *prefixes: str) -> set[str]:
        """Every key that begins with one of these."""
        pages = self._client.get_paginator("list_objects_v2").paginate
        found: set[str] = set()
        for prefix in prefixes:
            for page in pages(Bucket=self.name, Prefix=prefix):
                self._check()
                found |= {entry["Key"] for entry in page.get("Contents", [])}
        return found

    def versions_under(self, *prefixes: str) -> dict[str, str | None]:
        """Every key that begins with one of these, with its version; None if it had another before.

        A name with more versions than S3 lists at once was certainly dropped before.
        """
        found: dict[str, str | None] = {}
        for prefix in prefixes:
            page = self._client.list_object_versions(Bucket=self.name, Prefix=prefix)
            if page["IsTruncated"]:
                found |= dict.fromkeys(self.keys_under(prefix))
                continue
            versions = page.get("Versions", [])
            times = Counter(one["Key"] for one in (*versions, *page.get("DeleteMarkers", [])))
            found |= {
                one["Key"]: one["VersionId"] if times[one["Key"]] == 1 else None
                for one in versions
                if one["IsLatest"]
            }
        return found

    def first_keys(self, prefix: str, at_most: int) -> tuple[set[str], bool]:
        """Keys that begin with ``prefix`` and have no further folder; and whether those are all."""
        page = self._client.list_objects_v2(
            Bucket=self.name, Prefix=prefix, Delimiter="/", MaxKeys=at_most
        )
        return {entry["Key"] for entry in page.get("Contents", [])}, not page["IsTruncated"]

    def find(self, key: str) -> Found | None:
        """The newest version of an object, or None where it is gone.

        Raises:
            DropRefused: S3 will not give this object's bytes.
        """
        try:
            head = self._client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
        except ClientError as exc:
            if exc.response["Error"]["Code"] in _ABSENT:
                return None
            # an answer to HEAD has no body that says why; that to GET has
            self._get(Key=key, Range="bytes=0-0")
            raise
        return _found(key, head)

    def read(self, key: str, at_most: int) -> tuple[Found, bytes] | None:
        """An object's newest version with its first ``at_most`` bytes; None where it is gone.

        Raises:
            DropRefused: S3 will not give this object's bytes.
            ObjectUnreadable: S3 did not answer with all of them.
        """
        answer = self._get(Key=key)
        if answer is None:
            return None
        raw = _body(answer, at_most)
        if len(raw) != min(at_most, answer["ContentLength"]):
            raise ObjectUnreadable(f"{len(raw)} bytes of {answer['ContentLength']}")
        return _found(key, answer), raw

    def read_if_given(self, key: str, at_most: int) -> tuple[Found, bytes] | None:
        """As ``read``; None also where S3 does not give the object now."""
        try:
            return self.read(key, at_most)
        except (BotoCoreError, BucketUnversioned, ClientError, DropRefused, ObjectUnreadable):
            return None

    def _get(self, **request: Any) -> Any:
        """S3's answer to a GET, or None where there is no such object."""
        request = {"Bucket": self.name} | request
        try:
            return self._client.get_object(**request)
        except ClientError as exc:
            error = exc.response["Error"]
            if self._is_absent(request["Bucket"], error["Code"]):
                return None
            refused = refusal(request["Key"], error["Code"], error.get("Message", ""))
            if refused:
                raise DropRefused(refused) from exc
            raise

    def read_range(self, stored: StoredObject, first: int, last: int) -> bytes:
        """The bytes from ``first`` to ``last`` of an object, as long as it stays what it was.

        It names no version: ``If-Match`` gives the same certainty, and the local emulator
        (ministack 1.5.33) ignores ``Range`` where a version is named.

        Raises:
            DropRefused: S3 will not give this object's bytes.
            DropUnsettled: it was replaced or removed meanwhile.
            ObjectUnreadable: S3 did not answer, or not with these bytes.
        """
        answer = self._get(Key=stored.key, IfMatch=stored.etag, Range=f"bytes={first}-{last}")
        if answer is None:
            raise DropUnsettled
        raw = _body(answer)
        came, wanted = answer.get("ContentRange", ""), f"bytes {first}-{last}/{stored.bytes}"
        if came != wanted or len(raw) != last - first + 1:
            raise ObjectUnreadable(f"{len(raw)} bytes, {came[:60]!r} instead of {wanted!r}")
        return raw

    @contextmanager
    def open(self, pinned: DropObject, field: str) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The length of a version in bytes, and its bytes, a block at a time.

        Raises:
            DropRefused: it is gone.
        """
        answer = self._get(Key=pinned.key, **self._at(pinned))
        if answer is None:
            raise DropRefused(_gone(pinned, field))
        with closing(answer["Body"]) as body:  # entered itself, it would count no bytes
            yield answer["ContentLength"], body.iter_chunks(_CHUNK)

    def require(self, media: Mapping[str, DropObject]) -> None:
        """See that the files of a job are still there, each in its version.

        Where S3 does not say whether one is, its reader finds out.

        Raises:
            DropRefused: one of them is gone.
        """
        for name, pinned in media.items():
            at = self._at(pinned)
            try:
                self._client.head_object(Key=pinned.key, **at)
            except ClientError as exc:
                if self._is_absent(at["Bucket"], exc.response["Error"]["Code"]):
                    raise DropRefused(_gone(pinned, name)) from exc

    def presign(self, pinned: DropObject, seconds: int, marker: str) -> str:
        """A URL that reads this version, and no other, for ``seconds``. Never stored or logged."""
        return self._presigner.generate_presigned_url(
            "get_object",
            Params={
                "Key": pinned.key,
                "ResponseContentDisposition": f"inline; filename={marker}",
                **self._at(pinned),
            },
            ExpiresIn=seconds,
        )

    def _is_absent(self, bucket: str, code: str) -> bool:
        """Whether S3 says that an object is gone: of a bucket that may not be listed, by 403."""
        return code in _ABSENT or (bucket != self.name and code in DENIED)

    def _at(self, pinned: DropObject) -> Any:
        return {"Bucket": pinned.bucket or self.name, "VersionId": pinned.version_id}


def _found(key: str, answer: Any) -> Found:
    """From the answer of a HEAD or a GET.

    Raises:
        BucketUnversioned: S3 says that it may take a quarter of an hour until versioning is on.
    """
    if "VersionId" not in answer:
        raise BucketUnversioned("the drop bucket gives no versions; turn its versioning on")
    size = answer["ContentLength"]
    return Found(
        key=key,
        etag=answer["ETag"],
        bytes=size,
        version_id=answer["VersionId"],
        modified=answer["LastModified"],
        proofs={kind: f"{size} {answer[kind]}" for kind in _PROOFS if answer.get(kind)},
        mark=answer.get("Metadata", {}).get(MARK, ""),
    )


def _body(answer: Any, at_most: int | None = None) -> bytes:
    """The bytes of S3's answer, up to ``at_most``.

    Raises:
        ObjectUnreadable: the connection broke off.
    """
    try:
        with closing(answer["Body"]) as body:
            raw: bytes = body.read(at_most)
    except (BotoCoreError, OSError) as exc:
        raise ObjectUnreadable(type(exc).__name__) from exc
    return raw


def _gone(pinned: DropObject, field: str) -> ErrorDetail:
    """The error for a file that was deleted since it was examined; a bucket is that of segments."""
    if pinned.bucket:
        message = f"{pinned.key}, made for this segment, is no longer in the output bucket."
        return ErrorDetail(code="segment_gone", message=message, field=field)
    message = f"{pinned.key} is no longer in the bucket as it was dropped; drop it again."
    return ErrorDetail(code="drop_gone", message=message, source=pinned.key, field=field)
