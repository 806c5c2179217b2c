"""A drop's metadata: merged key by key, bounded, returned as it is, and no part of the request."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.events.models import EventPattern

from phonoscene.drops.metadata import MAX_BYTES, MAX_KEYS, MAX_VALUE_LENGTH
from phonoscene.drops.sidecar import Sidecar
from phonoscene.drops.sidecar_files import (
    SidecarFile,
    metadata_of,
    parse,
    read_sidecar_file,
    read_takes,
)
from phonoscene.drops.validation_errors import Errors
from phonoscene.errors import DropRefused
from phonoscene.jobs import Audio, DropObject, ErrorDetail, Job, JobStatus
from phonoscene.publishing.event_bus import SOURCE, STATUS_CHANGED
from phonoscene.publishing.event_webhooks import Notification
from phonoscene.publishing.events import StatusChanged
from phonoscene.publishing.receipts import Receipt
from phonoscene.table.items import from_item, to_item, to_record
from tests.support.jobs import a_job
from tests.support.template import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

REFERENCE = (ROOT / "docs" / "reference.md").read_text()
#: EventBridge's limit of an event, and DynamoDB's of an item, in bytes.
EVENT, ITEM = 256 * 1024, 400 * 1024

#: What SQS takes in a message.
characters = st.characters(exclude_categories=["Cs"]).filter(
    lambda char: char in "\t\n\r" or (char >= " " and char not in "\ufffe\uffff")
)
keys = st.from_regex(r"[A-Za-z0-9_.-]{1,40}", fullmatch=True)
texts = st.text(characters, max_size=MAX_VALUE_LENGTH)
metadatas = st.dictionaries(keys, st.text(characters, max_size=30), max_size=8)


def as_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def files(*found: Any) -> list[SidecarFile]:
    """A sidecar and the defaults above it, the nearest first; each with this metadata."""
    names = ["a/song.json", "a/_defaults.json", "_defaults.json"]
    return [
        read_sidecar_file(name, as_json({"prompt": "a harbour", "metadata": one}))
        for name, one in zip(names, found, strict=False)
    ]


def refused(*found: Any) -> list[ErrorDetail]:
    documents = files(*found)
    with pytest.raises(DropRefused) as caught:
        parse(documents)
    return list(caught.value.errors)


# What is read


@given(st.lists(metadatas, min_size=1, max_size=3))
def test_metadata_is_merged_key_by_key_and_the_nearest_file_wins(
    found: list[dict[str, str]],
) -> None:
    documents = files(*found)

    merged = metadata_of(documents)

    parse(documents)
    assert merged.keys() == {key for one in found for key in one}
    for key, value in merged.items():
        assert value == next(one[key] for one in found if key in one)


def test_a_drop_without_metadata_has_none() -> None:
    assert metadata_of([read_sidecar_file("song.json", b'{"prompt": "x"}')]) == {}
    assert metadata_of(files({})) == metadata_of([]) == {}


def test_each_take_has_its_own_metadata_and_that_of_the_defaults() -> None:
    takes = [{"prompt": "x", "metadata": {"take": f"{n}"}} for n in range(2)] + [{"prompt": "x"}]
    defaults = read_sidecar_file("_defaults.json", b'{"metadata": {"take": "any", "a": "b"}}')

    read = read_takes("song.json", json.dumps(takes).encode())

    found = [metadata_of([take, defaults])["take"] for take in read]
    assert found == ["0", "1", "any"]


@given(metadatas)
def test_nothing_of_the_metadata_is_in_the_request_to_fal(metadata: dict[str, str]) -> None:
    with_it, without = files(metadata), [SidecarFile("song.json", {"prompt": "a harbour"})]

    assert parse(with_it)[0] == parse(without)[0]
    assert "metadata" not in Sidecar.model_fields


# What is wrong

BAD: list[tuple[Any, str, str]] = [
    (5, "metadata", "wrong_type"),
    (None, "metadata", "wrong_type"),
    (["order"], "metadata", "wrong_type"),
    ("order=1", "metadata", "wrong_type"),
    ({"order": 17}, "metadata.order", "wrong_type"),
    ({"order": 1.5}, "metadata.order", "wrong_type"),
    ({"order": True}, "metadata.order", "wrong_type"),
    ({"order": None}, "metadata.order", "wrong_type"),
    ({"order": ["A"]}, "metadata.order", "wrong_type"),
    ({"order": {"id": "A"}}, "metadata.order", "wrong_type"),
    ({"order": "x" * 501}, "metadata.order", "wrong_length"),
    ({"order": "a\u0000b"}, "metadata.order", "not_allowed"),
    ({"order": "\u001b[2J"}, "metadata.order", "not_allowed"),
    ({"order": "\uffff"}, "metadata.order", "not_allowed"),
    ({"": "A"}, "metadata", "not_allowed"),
    ({"or der": "A"}, "metadata", "not_allowed"),
    ({"order\n": "A"}, "metadata", "not_allowed"),
    ({"größe": "A"}, "metadata", "not_allowed"),
    ({"k" * 41: "A"}, "metadata", "not_allowed"),
    ({"k" * 1000: "A"}, "metadata", "not_allowed"),
    ({f"k{n}": "" for n in range(51)}, "metadata", "metadata_too_large"),
    ({f"k{n}": "日" * 500 for n in range(22)}, "metadata", "metadata_too_large"),
]


@pytest.mark.parametrize(("metadata", "field", "code"), BAD, ids=lambda one: str(one)[:30])
def test_wrong_metadata_is_refused_by_its_field_with_what_is_allowed(
    metadata: Any, field: str, code: str
) -> None:
    [error] = refused(metadata)

    assert metadata_of(files(metadata)) == {}
    assert (error.field, error.code, error.source) == (field, code, "a/song.json")
    assert error.value
    assert error.allowed
    assert len(error.message) < 500
    assert error.message.isprintable()


FINE: list[dict[str, str]] = [
    {"k" * 40: "x" * 500},
    {f"key-{n:036}": "x" * 500 for n in range(MAX_KEYS)},
    {"__proto__": "x", "constructor": "x", "a.b-c_D9": ""},
    {"order": "line\nline\r\n\t\"quoted\" 'q' \\ {} <b> \u202e\u200b日\U0001f30a\u0085"},
]


@pytest.mark.parametrize("metadata", FINE, ids=lambda one: str(one)[:30])
def test_text_within_the_limits_is_kept_as_it_is(
    metadata: dict[str, str],
) -> None:
    documents = files(metadata)

    parse(documents)
    assert metadata_of(documents) == metadata


def test_every_error_of_every_file_is_reported_at_once_with_the_file_it_is_in() -> None:
    documents = files({"order": 1, "or der": "A"}, {"order": "A", "customer": None}, 7)
    documents[0].values["fps"] = 61

    with pytest.raises(DropRefused) as caught:
        parse(documents)

    found = {(error.field, error.source) for error in caught.value.errors}
    assert found == {
        ("fps", "a/song.json"),
        ("metadata.order", "a/song.json"),
        ("metadata", "a/song.json"),
        ("metadata.customer", "a/_defaults.json"),
        ("metadata", "_defaults.json"),
    }


def test_what_is_wrong_is_left_out_and_a_key_that_is_wrong_is_no_other_files() -> None:
    documents = files({"order": 1, "a": "1"}, {"order": "A", "b": "2", "c d": "3"}, 7)

    assert metadata_of(documents) == {"a": "1", "b": "2"}


def test_too_many_keys_of_several_files_are_too_many_together_and_the_nearest_remain() -> None:
    near, far = {f"a{n}": "" for n in range(30)}, {f"b{n}": "" for n in range(21)}

    [error] = refused(near, far)

    assert metadata_of(files(near, far)) == near
    assert metadata_of(files({**far, "x": 1}, near, {"c": "5"})) == {**far, "c": "5"}
    assert error.message == "metadata has 51 keys; at most 50 are allowed. Remove some."


def test_a_misspelled_metadata_is_not_ignored() -> None:
    with pytest.raises(DropRefused, match="did you mean metadata"):
        parse([SidecarFile("song.json", {"prompt": "x", "meta_data": {"order": "A"}})])


# What comes back


@given(metadatas)
def test_metadata_returns_unchanged_from_item_receipt_event_and_event_webhook(
    metadata: dict[str, str],
) -> None:
    job = Job.model_validate(from_item(to_item(to_record(a_job(metadata=metadata)))))

    assert job.metadata == metadata
    assert json.loads(Receipt.of(job, None).to_json())["metadata"] == metadata
    detail = event(job).to_json()
    assert json.loads(detail)["metadata"] == metadata
    sent = json.dumps({"detail": json.loads(detail)})
    assert json.loads(Notification.of(sent).body)["data"]["metadata"] == metadata


@given(st.permutations(["order", "customer", "__proto__"]))
def test_a_receipt_has_the_same_text_in_whichever_order_the_table_returns_keys(
    order: Sequence[str],
) -> None:
    job = a_job(metadata=dict.fromkeys(order, "x"))

    assert Receipt.of(job, None).to_json() == Receipt.of(A_JOB, None).to_json()


A_JOB = a_job(metadata={"customer": "x", "order": "x", "__proto__": "x"})


def event(job: Job) -> StatusChanged:
    made = StatusChanged.of(None, job, None, "outputs")
    assert made
    return made


def test_the_receipt_says_that_other_metadata_was_not_used() -> None:
    noted = Receipt.of(a_job().model_copy(update={"repeats": 2, "unused_metadata": 1}), None)

    assert [note for note in noted.notes if "metadata" in note and "--meta" in note]
    assert not any("metadata" in note for note in Receipt.of(a_job(repeats=2), None).notes)


KEY = "音" * 341
LARGE = {f"k{n}": "日" * 500 for n in range(21)} | {"rest": "日" * 300}


def test_no_event_and_no_item_exceeds_what_eventbridge_and_dynamodb_take() -> None:
    long = "\U0001f30a" * 5000
    error = ErrorDetail(
        code="wrong_type",
        message=long[:300] + "x" * 200,
        field="\U0001f30a" * 200,
        value=long[:100],
        allowed="x" * 200,
        source=f"{KEY}[19]",
    )
    pin = DropObject(key=KEY, version_id="v" * 1024)
    parse(files(LARGE))
    job = a_job(
        JobStatus.REJECTED,
        metadata=LARGE,
        errors=Errors([error] * 99).listed(),
        arguments={"prompt": long, "negative_prompt": long},
        prompt_used=long,
        audio=Audio(key=KEY, version_id="v" * 1024, bytes=1),
        sidecar=pin,
        images={"image_url": pin, "end_image_url": pin},
        unused_sidecars=frozenset(f"{n}{KEY}" for n in range(9)),
    ).model_copy(update={"name": KEY})

    told = event(job).to_json()
    item = json.dumps(to_item(to_record(job)), ensure_ascii=False, default=list)

    assert MAX_BYTES * 0.98 < len(as_json(LARGE)) <= MAX_BYTES
    assert len(told.encode()) < EVENT
    assert len(item.encode()) < ITEM


def test_the_errors_of_a_sidecar_full_of_wrong_metadata_fit_into_an_item() -> None:
    wrong = {"\U0001f30a" * 900 + f"{n}": "" for n in range(100)}
    raw = json.dumps({"prompt": "x", "metadata": wrong}, ensure_ascii=False).encode()
    errors = Errors()

    errors.collect(parse, [read_sidecar_file("song.json", raw)])

    job = a_job(JobStatus.REJECTED, errors=errors.listed())
    assert len(errors) == 100
    assert len(json.dumps(to_item(to_record(job)), default=list)) < ITEM


# Rules of EventBridge

PATTERN = next(
    found
    for found in map(json.loads, re.findall(r"```json\n(\{\n.*?)```", REFERENCE, re.DOTALL))
    if "detail-type" in found
)


@pytest.mark.parametrize(
    ("metadata", "status", "is_matched"),
    [
        ({"customer": "acme", "order": "A-17"}, JobStatus.SUCCEEDED, True),
        ({"customer": "acme", "order": "A-17", "more": "x"}, JobStatus.SUCCEEDED, True),
        ({"customer": "acme", "order": "B-17"}, JobStatus.SUCCEEDED, False),
        ({"customer": "other", "order": "A-17"}, JobStatus.SUCCEEDED, False),
        ({"customer": "acme"}, JobStatus.SUCCEEDED, False),
        ({}, JobStatus.SUCCEEDED, False),
        ({"customer": "acme", "order": "A-17"}, JobStatus.READY, False),
    ],
)
def test_the_rule_of_the_reference_matches_the_metadata_that_it_names(
    metadata: dict[str, str], status: JobStatus, *, is_matched: bool
) -> None:
    job = a_job(metadata=metadata).model_copy(update={"status": status})
    sent: Any = {
        "source": SOURCE,
        "detail-type": STATUS_CHANGED,
        "detail": json.loads(event(job).to_json()),
    }

    assert EventPattern(None, PATTERN).matches_event(sent) is is_matched
