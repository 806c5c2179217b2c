"""What the whole suite has left behind, searched for what must not be there. It runs last here."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from phonoscene.records import from_item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.conftest import Phonoscene

PRESIGNED = re.compile(rb"X-Amz-(Signature|Credential|Security-Token)=", re.IGNORECASE)
TOKEN_LIKE = re.compile(rb"[A-Za-z0-9_-]{43}")


def test_no_secret_is_in_any_log_record_or_output_of_the_whole_suite(
    phonoscene: Phonoscene, record_property: Callable[[str, object], None]
) -> None:
    hashes = {known for item in _records(phonoscene) for known in item.get("token_hashes", [])}
    places = dict(_written(phonoscene))

    found = [place for place, text in places.items() if _is_secret(text, phonoscene, hashes)]

    searched = sum(map(len, places.values()))
    record_property("searched_bytes", searched)
    assert len(hashes) > 3
    assert searched > 50_000
    assert found == []


def test_no_prompt_and_no_address_of_a_video_is_in_a_log(phonoscene: Phonoscene) -> None:
    prompts = [
        one["arguments"]["prompt"] for one in phonoscene.control("GET", "/requests")["requests"]
    ]
    lines = b"\n".join(text for _, text in _logs(phonoscene))

    assert prompts
    assert [prompt for prompt in prompts if prompt.encode() in lines] == []
    assert b"fal.media/files" not in lines


def test_what_is_searched_for_would_be_found(phonoscene: Phonoscene) -> None:
    token = "Zm9ub3NjZW5lLXRlc3QtdG9rZW4tb2YtNDMtY2hhcnM"
    hashes = {hashlib.sha256(token.encode()).hexdigest()}

    assert _is_secret(f"…/webhooks/fal/0/{token} …".encode(), phonoscene, hashes)
    assert _is_secret(b"https://x/?X-Amz-Signature=00", phonoscene, set())
    assert _is_secret(_key(phonoscene).partition(":")[2].encode(), phonoscene, set())


def _is_secret(text: bytes, phonoscene: Phonoscene, hashes: set[str]) -> bool:
    """A key or half of it, the subscriber's secret, a presigned URL, or a record's token."""
    halves = [half.encode() for half in _key(phonoscene).split(":")]
    tokens = (hashlib.sha256(one).hexdigest() for one in TOKEN_LIKE.findall(text))
    secret = phonoscene.subscriber.secret.removeprefix("whsec_").encode()
    is_key = any(known in text for known in (*halves, secret))
    return is_key or bool(PRESIGNED.search(text)) or not hashes.isdisjoint(tokens)


def _key(phonoscene: Phonoscene) -> str:
    ssm = phonoscene.endpoints.client("ssm")
    name = phonoscene.outputs["FalKeyParameterName"]
    return str(ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])


def _written(phonoscene: Phonoscene) -> Iterator[tuple[str, bytes]]:
    yield from _logs(phonoscene)
    for item in _records(phonoscene):
        yield f"record {item['job_id']}", json.dumps(item, default=str).encode()
    bucket = phonoscene.endpoints.output_bucket
    for page in phonoscene.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", []):
            body = phonoscene.s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            yield f"output {entry['Key']}", body if entry["Key"].endswith(".json") else b""


def _logs(phonoscene: Phonoscene) -> Iterator[tuple[str, bytes]]:
    logs = phonoscene.endpoints.client("logs")
    for group in logs.describe_log_groups()["logGroups"]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        lines = [event["message"] for page in pages for event in page["events"]]
        yield f"log {group['logGroupName']}", "\n".join(lines).encode()


def _records(phonoscene: Phonoscene) -> list[dict[str, Any]]:
    pages = phonoscene.dynamodb.get_paginator("scan").paginate(
        TableName=phonoscene.endpoints.jobs_table, ConsistentRead=True
    )
    return [from_item(item) for page in pages for item in page["Items"]]
