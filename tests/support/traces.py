"""Searches what a stack has written, its logs, records, receipts and manifests, for secrets."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from phonoscene.table.items import from_item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.local_stack import Phonoscene

PRESIGNED = re.compile(rb"X-Amz-(Signature|Credential|Security-Token)=", re.IGNORECASE)
#: Only whole runs: a token is between quotes, slashes or spaces.
TOKEN_LIKE = re.compile(rb"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")


def secrets_in(phonoscene: Phonoscene) -> tuple[list[str], int]:
    """The places that hold a secret, and how many bytes were searched."""
    search = Search(phonoscene)
    places = dict(written(phonoscene))
    return [at for at, text in places.items() if search.finds(text)], sum(map(len, places.values()))


class Search:
    """For a key or half of it, the endpoint's secret, a presigned URL, or a record's token."""

    def __init__(self, phonoscene: Phonoscene) -> None:
        halves = [half.encode() for half in fal_key(phonoscene).split(":")]
        self.known = [
            *halves,
            phonoscene.subscriber.secret.removeprefix("whsec_").encode(),
        ]
        items = records(phonoscene)
        self.hashes = {known for item in items for known in item.get("token_hashes", [])}

    def finds(self, text: bytes) -> bool:
        """Whether any of them is in a text."""
        tokens = (hashlib.sha256(one).hexdigest() for one in TOKEN_LIKE.findall(text))
        is_key = any(known in text for known in self.known)
        return is_key or bool(PRESIGNED.search(text)) or not self.hashes.isdisjoint(tokens)


def fal_key(phonoscene: Phonoscene) -> str:
    """As it is in SSM."""
    ssm = phonoscene.endpoints.client("ssm")
    name = phonoscene.outputs["FalKeyParameterName"]
    return str(ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])


def written(phonoscene: Phonoscene) -> Iterator[tuple[str, bytes]]:
    """Each place with its text."""
    yield from logs(phonoscene)
    for item in records(phonoscene):
        yield f"record {item['job_id']}", json.dumps(item, default=str).encode()
    bucket = phonoscene.endpoints.output_bucket
    for page in phonoscene.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for key in (entry["Key"] for entry in page.get("Contents", [])):
            body = b""
            if key.endswith(".json"):
                body = phonoscene.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            yield f"output {key}", key.encode() + body


def logs(phonoscene: Phonoscene) -> Iterator[tuple[str, bytes]]:
    """Each function's log."""
    client = phonoscene.endpoints.client("logs")
    for group in client.describe_log_groups()["logGroups"]:
        at = group["logGroupName"]
        pages = client.get_paginator("filter_log_events").paginate(logGroupName=at)
        lines = [event["message"] for page in pages for event in page["events"]]
        yield f"log {at}", "\n".join(lines).encode()


def records(phonoscene: Phonoscene) -> list[dict[str, Any]]:
    """Every item of the table."""
    pages = phonoscene.dynamodb.get_paginator("scan").paginate(
        TableName=phonoscene.endpoints.jobs_table, ConsistentRead=True
    )
    return [from_item(item) for page in pages for item in page["Items"]]
