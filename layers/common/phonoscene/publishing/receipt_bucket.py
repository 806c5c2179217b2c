"""Receipts in the output bucket, replaced only if unchanged since they were read."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: More than a receipt can have; what is longer is none of ours.
LONGEST: Final = 1024 * 1024
#: Without ListBucket, S3 says 403 of what is not there.
_HIDDEN: Final = {"AccessDenied", "403"}
_ABSENT: Final = {"NoSuchKey", "404", *_HIDDEN}
#: Another was first: 412 written before, 409 writes now, 404 deleted since.
_LOST: Final = {
    "PreconditionFailed",
    "412",
    "ConditionalRequestConflict",
    "409",
    "NoSuchKey",
    "404",
}


@dataclass(frozen=True)
class StoredReceipt:
    """What lies at a key, and S3's word for this very content."""

    body: bytes
    etag: str


class ReceiptBucket:
    """Reads and replaces the receipts of one bucket."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.name = bucket

    def read(self, key: str) -> StoredReceipt | None:
        """What lies at a key, as far as a receipt could be long."""
        try:
            answer = self._client.get_object(Bucket=self.name, Key=key)
        except ClientError as exc:
            if exc.response["Error"]["Code"] in _ABSENT:
                return None
            raise
        with closing(answer["Body"]) as body:
            return StoredReceipt(body.read(LONGEST), answer["ETag"])

    def replace(self, kept: StoredReceipt | None, key: str, body: bytes) -> bool:
        """Replace what was read; returns False if it has changed meanwhile."""
        condition: Any = {"IfMatch": kept.etag} if kept else {"IfNoneMatch": "*"}
        try:
            self._client.put_object(
                Bucket=self.name,
                Key=key,
                Body=body,
                ContentType="application/json",
                CacheControl="no-cache",
                **condition,
            )
        except ClientError as exc:
            # what was read may be deleted by now; a first write that is denied, is denied
            if exc.response["Error"]["Code"] in (_LOST | _HIDDEN if kept else _LOST):
                return False
            raise
        return True
