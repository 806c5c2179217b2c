"""The bucket from which CloudFormation and Lambda read a release."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from phonoscene_cli.errors import CliError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MISSING: Final = frozenset({"404", "NoSuchBucket", "NotFound"})
_NO_CREATION_REGION: Final = "us-east-1"  # S3 refuses it as a location, which it is without one


@dataclass(frozen=True)
class ArtefactBucket:
    """A bucket in the stack's region: one that Phonoscene makes, or one that the deployer names."""

    s3: S3Client
    name: str
    account: str
    region: str
    is_ours: bool

    @property
    def _owner(self) -> dict[str, Any]:
        """The name of our bucket can be guessed: another account's must not get the code."""
        return {"ExpectedBucketOwner": self.account} if self.is_ours else {}

    def prepare(self) -> None:
        """Make the bucket if it is missing, and set what it must have.

        Raises:
            CliError: the named bucket is missing, or in another region.
        """
        try:
            found = self.s3.head_bucket(Bucket=self.name, **self._owner)
        except ClientError as exc:
            if exc.response["Error"].get("Code") not in _MISSING:
                raise
            if not self.is_ours:
                raise CliError(
                    f"Bucket {self.name} does not exist. Create it, or omit --bucket."
                ) from exc
            self._create()
        else:
            place = found.get("BucketRegion", self.region)
            if place != self.region:
                raise CliError(
                    f"Bucket {self.name} is in {place}. Lambda reads code from {self.region} only: "
                    "choose another with --bucket."
                )
        if self.is_ours:  # each time: an earlier deployment may have ended in between
            self._protect()

    def _create(self) -> None:
        where: Any = {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        self.s3.create_bucket(
            Bucket=self.name, **({} if self.region == _NO_CREATION_REGION else where)
        )

    def _protect(self) -> None:
        """Block public access, encrypt, and refuse requests without TLS."""
        self.s3.put_public_access_block(
            Bucket=self.name,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True,
                "BlockPublicPolicy": True,
                "IgnorePublicAcls": True,
                "RestrictPublicBuckets": True,
            },
            **self._owner,
        )
        self.s3.put_bucket_encryption(
            Bucket=self.name,
            ServerSideEncryptionConfiguration={
                "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
            },
            **self._owner,
        )
        partition = self.s3.meta.partition
        arn = f"arn:{partition}:s3:::{self.name}"
        statement = {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.s3.put_bucket_policy(Bucket=self.name, Policy=policy, **self._owner)

    def has(self, key: str, sha256: str) -> bool:
        """Whether the bucket has exactly these bytes under a key, by S3's own checksum."""
        try:
            found = self.s3.head_object(
                Bucket=self.name, Key=key, ChecksumMode="ENABLED", **self._owner
            )
        except ClientError as exc:
            if exc.response["Error"].get("Code") in _MISSING:
                return False
            raise
        return found.get("ChecksumSHA256") == _base64(sha256)

    def put(self, key: str, body: bytes, sha256: str) -> None:
        """Upload bytes; S3 refuses others than those of the checksum."""
        self.s3.put_object(
            Bucket=self.name,
            Key=key,
            Body=body,
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=_base64(sha256),
            **self._owner,
        )

    def template_url(self, key: str) -> str:
        """The address of a template, as CloudFormation takes it."""
        return f"{self.s3.meta.endpoint_url}/{self.name}/{key}"


def usual_name(account: str, region: str) -> str:
    """The bucket that Phonoscene makes, one in each region of an account."""
    return f"phonoscene-artefacts-{account}-{region}"


def _base64(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()
