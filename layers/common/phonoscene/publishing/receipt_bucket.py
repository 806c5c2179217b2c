"""Receipts in the output bucket, replaced only if unchanged since they were read."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from phonoscene.publishing.s3_conditions import HIDDEN, MISSING, OVERTAKEN, unchanged

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: More than a receipt can have; what is longer is none of ours.
LONGEST: Final = 1024 * 1024


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
            if exc.response["Error"]["Code"] in MISSING | HIDDEN:
                return None
            raise
        with closing(answer["Body"]) as body:
            return StoredReceipt(body.read(LONGEST), answer["ETag"])

    def replace(self, kept: StoredReceipt | None, key: str, body: bytes) -> bool:
        """Replace what was read; returns False if it has changed meanwhile."""
        try:
            self._client.put_object(
                Bucket=self.name,
                Key=key,
                Body=body,
                ContentType="application/json",
                CacheControl="no-cache",
                **unchanged(kept.etag if kept else None),
            )
        except ClientError as exc:
            # what was read may be deleted by now; a first write that is denied, is denied
            lost = OVERTAKEN | MISSING | (HIDDEN if kept else frozenset())
            if exc.response["Error"]["Code"] in lost:
                return False
            raise
        return True
