"""The bucket for code, on moto's S3: made once, closed each time, and never another's."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from phonoscene_cli.deployment.artefact_bucket import ArtefactBucket
from phonoscene_cli.errors import CliError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

ACCOUNT = "123456789012"
REGIONS = ("us-east-1", "eu-west-1")  # S3 makes a bucket in the first without a location


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        yield


def bucket_in(region: str, *, is_ours: bool = True, name: str = "code") -> ArtefactBucket:
    s3: S3Client = boto3.client("s3", region_name=region)
    return ArtefactBucket(s3, name, ACCOUNT, region, is_ours)


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("times", [1, 2])
def test_our_bucket_is_made_in_the_region_and_closed(region: str, times: int) -> None:
    bucket = bucket_in(region)
    for _ in range(times):
        bucket.prepare()

    block = bucket.s3.get_public_access_block(Bucket="code")["PublicAccessBlockConfiguration"]
    place = bucket.s3.get_bucket_location(Bucket="code")["LocationConstraint"]
    assert set(block.values()) == {True}
    assert (place or "us-east-1") == region


def test_a_bucket_that_an_interrupted_deployment_left_open_is_closed() -> None:
    bucket = bucket_in("us-east-1")
    bucket.s3.create_bucket(Bucket="code")

    bucket.prepare()

    block = bucket.s3.get_public_access_block(Bucket="code")["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True}


def test_a_named_bucket_is_used_as_it_is() -> None:
    bucket = bucket_in("us-east-1", is_ours=False)
    bucket.s3.create_bucket(Bucket="code")

    bucket.prepare()

    with pytest.raises(ClientError, match="NoSuchPublicAccessBlockConfiguration"):
        bucket.s3.get_public_access_block(Bucket="code")


def test_a_named_bucket_that_is_missing_is_not_made() -> None:
    bucket = bucket_in("us-east-1", is_ours=False)

    with pytest.raises(CliError, match=r"Bucket code does not exist\. Create it, or omit --bucket"):
        bucket.prepare()

    assert bucket.s3.list_buckets()["Buckets"] == []


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_bucket_in_another_region_is_refused_because_lambda_cannot_read_it(
    *, is_ours: bool
) -> None:
    bucket_in("eu-west-1").prepare()

    with pytest.raises(CliError, match="is in eu-west-1"):
        bucket_in("us-east-1", is_ours=is_ours).prepare()


def test_s3_has_exactly_the_bytes_that_were_put_or_it_does_not_count() -> None:
    bucket = bucket_in("us-east-1")
    bucket.prepare()
    bucket.s3.delete_bucket_policy(Bucket="code")  # moto ignores its condition, and denies all
    whole, other = (hashlib.sha256(body).hexdigest() for body in (b"code", b"other"))

    assert not bucket.has("a.zip", whole)
    bucket.put("a.zip", b"code", whole)
    assert bucket.has("a.zip", whole)
    assert not bucket.has("a.zip", other)
    bucket.s3.put_object(Bucket="code", Key="a.zip", Body=b"other")
    assert not bucket.has("a.zip", whole)
