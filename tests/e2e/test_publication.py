"""Receipts and events on the deployed stack: what droppers read, and what other systems hear."""

from __future__ import annotations

import json
import time
import uuid
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.command_line import json_of, output_of
from tests.support import schemas
from tests.support.local_stack import NO_WEBHOOK, eventually, listening, make_audio

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.local_stack import Phonoscene

WAY = ["READY", "SUBMITTING", "SUBMITTED", "GENERATED", "SUCCEEDED"]


def test_a_drops_receipt_goes_its_whole_way_and_never_back(
    phonoscene: Phonoscene, name: str
) -> None:
    phonoscene.sidecar(f"{name}.json")
    assert eventually(lambda: phonoscene.receipt(name).get("status") == "WAITING")
    phonoscene.put(f"{name}.wav", make_audio("wav"))

    job = phonoscene.take(name)

    assert eventually(lambda: phonoscene.is_told(name))
    receipts = phonoscene.receipts(name)
    shown = [one["status"] for one in receipts]  # steps of one moment share a receipt
    assert shown == [status for status in ("WAITING", *WAY) if status in shown]
    assert (shown[0], shown[-1]) == ("WAITING", "SUCCEEDED")
    for one in receipts:
        schemas.check(one, schemas.RECEIPT)
    assert receipts[0]["waits"]["what"] == "audio"
    assert receipts[-1]["video"]["key"] == job["video"]["key"]
    assert [step["status"] for step in receipts[-1]["history"]] == WAY
    assert receipts[-1]["cost"]["upper_usd"] == pytest.approx(float(job["actual"]["upper_usd"]))


def test_a_stable_key_holds_the_newest_of_three_takes_that_end_out_of_order(
    phonoscene: Phonoscene, name: str
) -> None:
    name, jobs, prompts = f"{name}/intro", [], []
    with phonoscene.stopped_clock():  # nothing polls fal: each webhook decides when its take ends
        for seed in range(3):
            prompt = phonoscene.drop(name, NO_WEBHOOK, seed=seed)
            is_its = partial(has_prompt, prompt)
            jobs.append(phonoscene.take(name, until={"SUBMITTED"}, once=is_its)["job_id"])
            prompts.append(prompt)
        # without the faults, a request that has not ended yet sends its webhook of its own accord
        assert eventually(lambda: all(map(phonoscene.is_withheld, prompts)))
        phonoscene.control("DELETE", "/faults")
        for number, objects in ((1, 2), (2, 4), (0, 4)):
            request = phonoscene.ended_request(prompts[number])["request_id"]
            phonoscene.control("POST", f"/requests/{request}/deliver")
            has_ended = partial(has_succeeded, phonoscene, name, jobs[number])
            assert eventually(has_ended)
            # a take is published before the next one ends: of two at once only the newer is copied
            has_all = partial(has_versions, phonoscene, f"{name}.mp4", objects)
            assert eventually(has_all), phonoscene.versions(f"{name}.mp4")
            assert eventually(lambda: phonoscene.is_told(name))

    head = phonoscene.s3.head_object(Bucket=phonoscene.endpoints.output_bucket, Key=f"{name}.mp4")
    assert head["Metadata"] == {"phonoscene-job-id": jobs[2]}
    copies = [f"{name}.mp4", f"{name}.mp4.newest.json"]
    assert sorted(phonoscene.versions(f"{name}.mp4")) == sorted(copies * 2)  # not of the oldest


def has_versions(phonoscene: Phonoscene, key: str, count: int) -> bool:
    return len(phonoscene.versions(key)) >= count


def has_prompt(prompt: str, job: dict[str, Any]) -> bool:
    return bool(job["arguments"]["prompt"] == prompt)


def has_succeeded(phonoscene: Phonoscene, name: str, job_id: str) -> bool:
    takes = phonoscene.jobs.takes(name)
    return (job_id, "SUCCEEDED") in [(take["job_id"], take["status"]) for take in takes]


def test_a_rejected_drops_receipt_lists_all_its_errors_and_what_to_do(
    phonoscene: Phonoscene, name: str
) -> None:
    sidecar = {"promt": "a mill", "fps": 61, "audio_url": "https://example.com/a.mp3"}
    phonoscene.put(f"{name}.json", json.dumps(sidecar).encode())
    phonoscene.put(f"{name}.wav", make_audio("wav"))

    job = phonoscene.take(name)

    assert eventually(lambda: phonoscene.is_told(name))
    told = phonoscene.receipt(name)
    assert told["status"] == "REJECTED"
    assert {error["field"] for error in told["errors"]} == {"prompt", "promt", "fps", "audio_url"}
    assert [error["message"] for error in told["errors"]] == [e["message"] for e in job["errors"]]
    assert all(f"{name}.json" in error["fix"] for error in told["errors"])


def test_another_system_hears_each_step_of_each_job_in_order(
    phonoscene: Phonoscene, name: str
) -> None:
    names = [f"{name}-{n}" for n in range(3)]
    with listening(phonoscene) as listener:
        for one in names:
            phonoscene.drop(one)
        for one in names:
            phonoscene.take(one)
        assert eventually(lambda: all(len(listener.events(one)) >= len(WAY) for one in names))

    for one in names:
        events = listener.heard_of(one)
        assert [event["status"] for event in events] == WAY
        assert [event.get("previous_status") for event in events] == [None, *WAY[:-1]]
        for event in events:
            schemas.check(event)
    assert {event["source"] for event in listener.heard} == {"phonoscene"}


@pytest.mark.parametrize("way", ["an S3 put", "the command line"])
def test_metadata_comes_back_at_every_place_and_fal_gets_none_of_it(
    phonoscene: Phonoscene, name: str, way: str, tmp_path: Path
) -> None:
    order = f"A-{uuid.uuid4()}"
    odd = {"note": 'a "b"\n\t\\ \u202e\u65e5 </script>', "__proto__": f"odd {order}", "a.b": ""}
    metadata = {"order": order, **odd}
    with listening(phonoscene, status=WAY, metadata={"order": [order]}) as listener:
        phonoscene.drop(f"{name}-other", metadata={"order": "A-1"})
        if way == "an S3 put":
            prompt = phonoscene.drop(name, metadata=metadata)
        else:
            prompt = _drop_by_command(name, tmp_path, order, odd)
        job = phonoscene.take(name, seconds=90)
        phonoscene.take(f"{name}-other", seconds=90)
        assert eventually(lambda: len(listener.events(name)) >= len(WAY), 30)
    assert eventually(lambda: phonoscene.is_told(name), 30)
    assert eventually(lambda: phonoscene.subscriber.states(name) == WAY, 30)

    key = f"{name}/{job['job_id']}.json"
    manifest = phonoscene.s3.get_object(Bucket=phonoscene.endpoints.output_bucket, Key=key)
    heard = [message["data"] for _, message in phonoscene.subscriber.heard]
    places = [
        job,
        phonoscene.receipt(name),
        json.load(manifest["Body"]),
        *listener.heard_of(name),
        *(event for event in heard if event["name"] == name),
        json_of("show", name),
        *json_of("jobs", "--meta", f"order={order}"),
    ]
    assert [place["metadata"] for place in places] == [metadata] * len(places)
    assert {event["detail"]["name"] for event in listener.heard} == {name}
    assert len(phonoscene.requests(prompt)) == 1
    books = json.dumps(phonoscene.control("GET", "/requests"), ensure_ascii=False)
    assert prompt in books
    assert not [text for text in ("metadata", order, "</script>") if text in books]


def _drop_by_command(name: str, folder: Path, order: str, odd: dict[str, str]) -> str:
    """Drop a file with a sidecar beside it, and its order by an option; the prompt."""
    prompt, (place, _, last) = f"a test {uuid.uuid4()}", name.rpartition("/")
    song = folder / "song.wav"
    song.write_bytes(make_audio("wav"))
    song.with_suffix(".json").write_text(json.dumps({"prompt": prompt, "metadata": odd}))
    at = ("--folder", place, "--name", last)
    output_of("drop", str(song), *at, "--meta", f"order={order}", "--yes")
    return prompt


@contextmanager
def nobody_publishing(phonoscene: Phonoscene) -> Iterator[None]:
    """The stream's consumer is switched off for the body's time."""
    client = phonoscene.endpoints.client("lambda")
    function = phonoscene.function_name("PublishFunction")
    (mapping,) = client.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    time.sleep(1)  # a batch may be under way
    try:
        yield
    finally:
        client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


def test_what_was_written_while_nobody_published_is_published_afterwards(
    phonoscene: Phonoscene, name: str
) -> None:
    with listening(phonoscene) as listener:
        with nobody_publishing(phonoscene):
            phonoscene.drop(name)
            assert phonoscene.take(name)["status"] == "SUCCEEDED"
            time.sleep(2)
            assert (phonoscene.receipt(name), listener.events(name)) == ({}, [])

        assert eventually(lambda: phonoscene.receipt(name).get("status") == "SUCCEEDED")
        assert eventually(lambda: len(listener.events(name)) >= len(WAY))
        assert [event["status"] for event in listener.events(name)] == WAY
    assert phonoscene.is_told(name)
