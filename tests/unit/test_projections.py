"""Receipts and events: what they say, what they never say, and which of two is the newer."""

from __future__ import annotations

import ast
import json
import re
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise, permutations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.drops.keys import MAX_KEY_BYTES, half_id, name_of, receipt_key, unsafe
from phonoscene.jobs import (
    BORN_AS,
    FINAL,
    TRANSITIONS,
    Actual,
    Audio,
    DropObject,
    ErrorDetail,
    Estimate,
    Job,
    JobStatus,
    Request,
    Step,
    Video,
)
from phonoscene.publishing.events import MAX_ERRORS, StatusChanged
from phonoscene.publishing.manifests import Manifest, to_bytes
from phonoscene.publishing.receipts import Receipt
from phonoscene.publishing.wording import STATES, WAITS, fix
from tests.support import schemas
from tests.support.jobs import NOON, a_job
from tests.support.template import ROOT
from tests.unit.strategies import jobs, maybe, times

if TYPE_CHECKING:
    from collections.abc import Iterator

AUDIO = Audio(key="song.mp3", version_id="v1", bytes=9, seconds=1.0)
SIDECAR = DropObject(key="song.json", version_id="v1")
SECOND = timedelta(seconds=1)
POLICY = "content_policy_violation"


def wrong(code: str = "wrong_type", **answer: Any) -> ErrorDetail:
    return ErrorDetail(code=code, **{"message": "It is wrong.", **answer})


def event_of(before: Job | None, after: Job) -> StatusChanged:
    event = StatusChanged.of(before, after, None, "outputs")
    assert event
    return event


def step(job: Job, status: JobStatus, **changes: Any) -> Job:
    """The record after a step, as a move writes it."""
    at = job.updated_at + SECOND
    fields = {"status": status, "updated_at": at, "revision": job.revision + 1, **changes}
    return job.model_copy(update=fields | {"history": (*job.history, Step(status=status, at=at))})


# What they say


@pytest.mark.parametrize("status", JobStatus)
def test_every_state_is_described_in_words(status: JobStatus) -> None:
    receipt = Receipt.of(a_job(status), None)

    assert (receipt.status, receipt.state) == (status, STATES[status])
    assert receipt.is_final is (status in FINAL)


def test_a_receipt_tells_each_error_with_its_field_what_is_allowed_and_what_to_do() -> None:
    error = wrong(field="fps", value="61", allowed="a number from 1 to 60", source="a/song.json")

    [answer] = Receipt.of(a_job(JobStatus.REJECTED, errors=(error,)), None).errors

    assert answer.model_dump(exclude={"fix"}) == error.model_dump()
    assert "fps in a/song.json" in answer.fix


@pytest.mark.parametrize(
    ("status", "error", "begins"),
    [
        (JobStatus.REJECTED, wrong("missing_sidecar"), "Drop the missing file"),
        (JobStatus.REJECTED, wrong(field="audio", source="a.mp3"), "Correct a.mp3 and drop"),
        (
            JobStatus.REJECTED,
            wrong("not_an_image", field="image_url", source="a.png"),
            "Replace a.png with a PNG or JPEG image, then drop the sidecar again",
        ),
        (
            JobStatus.REJECTED,
            wrong("image_cut_off", field="image_url", source="a.jpg"),
            "Replace a.jpg with the whole image, then drop the sidecar again",
        ),
        (
            JobStatus.REJECTED,
            wrong("missing_field", field="prompt", source="a.json"),
            "Add prompt to a.json and drop it again",
        ),
        (
            JobStatus.REJECTED,
            wrong(field="fps", source="talks/_defaults.json"),
            "Correct fps in talks/_defaults.json, then drop the sidecar or the audio again",
        ),
        (JobStatus.REJECTED, wrong(), "Correct the drop and drop it again; nothing was spent"),
        (JobStatus.FAILED, wrong("runner_server_error", retryable=True), "It may work now"),
        (JobStatus.FAILED, wrong("video_too_large"), "Ask the operator"),
        (JobStatus.FAILED, wrong(POLICY), "Change the prompt, the image or the audio, and drop"),
        (JobStatus.FAILED, wrong(POLICY, field="prompt"), "Change prompt, and drop it again."),
        (JobStatus.FAILED, wrong(POLICY, field="audio"), "Change the audio, and drop it again."),
        (
            JobStatus.FAILED,
            wrong(POLICY, field="image_url", categories=("hate", "violence")),
            "Change image_url (fal's policy: hate, violence), and drop it again.",
        ),
        (JobStatus.FAILED, wrong("video_length_exceeded"), "Change what the message names"),
    ],
)
def test_what_to_do_depends_on_what_is_wrong(
    status: JobStatus, error: ErrorDetail, begins: str
) -> None:
    assert fix(status, error).startswith(begins)


def test_every_error_of_an_image_says_what_to_replace_it_with() -> None:
    text = (ROOT / "layers/common/phonoscene/probe/image.py").read_text()
    refused = set(re.findall(r"MediaRefused\(\s*\"(\w+)\"", text))

    assert "image_cut_off" in refused
    for code in refused:
        help_for_it = fix(JobStatus.REJECTED, wrong(code, field="image_url", source="a.png"))
        assert help_for_it.startswith("Replace a.png"), f"_BETTER_IMAGE of wording.py lacks {code}"


def texts_of_the_product() -> Iterator[str]:
    """Every text in its code, but for the wording of the fixes."""
    for file in (ROOT / "layers" / "common" / "phonoscene").rglob("*.py"):
        if file.stem != "wording":
            for one in ast.walk(ast.parse(file.read_text())):
                if isinstance(one, ast.Constant) and isinstance(one.value, str):
                    yield one.value


def test_no_message_of_an_error_ends_with_its_fix_which_is_given_with_it() -> None:
    texts = set(texts_of_the_product())
    codes = {text for text in texts if re.fullmatch("[a-z_]+", text)}
    fixes = {fix(status, wrong(code)) for code in codes for status in FINAL}

    assert {"missing_audio", "unsafe_key"} <= codes
    assert [text for text in texts if text.endswith(tuple(fixes))] == []


@pytest.mark.parametrize(
    ("flaws", "words"),
    [
        ((), []),
        (("fewer_bytes",), ["fal reported 1,627 bytes, and only 40 could be read."]),
        (("cut_off",), ["its own headers show that bytes are missing."]),
        (("fewer_bytes", "cut_off"), ["40 could be read; its own headers show"]),
        (("other_container",), ["fal made video/webm, not X264 (.mp4)"]),
        (("cut_off", "other_container"), ["cut off: its own", "video/webm"]),
        (("a flaw of a newer release",), []),
    ],
)
def test_what_is_odd_about_a_video_is_a_note(flaws: tuple[str, ...], words: list[str]) -> None:
    video = Video(
        bucket="b", key="k", version_id="v", bytes=40, sha256="0", content_type="video/webm"
    )
    asked = {"video_output_type": "X264 (.mp4)"}
    url = "https://v3.fal.media/files/x.mp4"
    job = a_job(
        video=video,
        video_flaws=frozenset(flaws),
        reported={"file_size": 1627},
        arguments=asked,
        source_url=url,
    )

    receipt = Receipt.of(job, None)

    assert len(receipt.notes) == len(words)
    assert all(word in note for word, note in zip(words, receipt.notes, strict=True))
    assert url not in receipt.to_json()


def test_what_is_left_out_of_the_audio_is_a_note_if_it_is_not_nothing() -> None:
    def noted(padding: float) -> str:
        job = a_job(padding=padding, arguments={"num_frames": 481})
        return " ".join(Receipt.of(job, None).notes)

    assert noted(0.21) == (
        "The last 0.21 s of the audio are not in the video, which is as long as one request can be "
        "(481 frames)."
    )
    assert noted(0.004) == ""


@pytest.mark.parametrize(
    ("half", "what"), [({"audio": AUDIO}, "sidecar"), ({"sidecar": SIDECAR}, "audio")]
)
def test_a_half_says_what_it_waits_for_and_until_when(half: dict[str, Any], what: str) -> None:
    waits = Receipt.of(a_job(JobStatus.WAITING, **half), NOON).waits

    assert waits
    assert (waits.what, waits.meaning, waits.until) == (what, WAITS[what], NOON)


def test_a_drop_without_its_image_says_which_it_waits_for_and_until_when() -> None:
    job = a_job(
        JobStatus.WAITING, waits_for="image", missing_image="a/b.png", waits_until=NOON + SECOND
    )

    waits = Receipt.of(job, NOON).waits

    assert waits
    assert (waits.what, waits.key, waits.until) == ("image", "a/b.png", NOON + SECOND)


@pytest.mark.parametrize(
    ("what", "until"),
    [("budget", NOON), ("account", NOON), ("fal", NOON), ("slot", None), ("cdn", None)],
)
def test_a_ready_job_says_what_holds_it_up_and_how_long_if_anybody_knows(
    what: str, until: object
) -> None:
    waits = Receipt.of(a_job(waits_for=what), NOON).waits

    assert waits
    assert (waits.what, waits.meaning, waits.until) == (what, WAITS[what], until)


def test_a_job_whose_turn_it_is_waits_for_nothing() -> None:
    assert Receipt.of(a_job(), NOON).waits is None


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({}, JobStatus.SUCCEEDED, []),
        ({"resubmitted": True}, JobStatus.READY, ["sent once more"]),
        (
            {"duplicate_requests": frozenset("ab")},
            JobStatus.SUCCEEDED,
            ["3 times", "one is stored"],
        ),
        ({"duplicate_requests": frozenset("a")}, JobStatus.CANCELLED, ["billed, and not stored"]),
    ],
)
def test_what_was_paid_or_sent_twice_is_said_plainly(
    changes: dict[str, Any], status: JobStatus, said: list[str]
) -> None:
    receipt = Receipt.of(a_job().model_copy(update={"status": status, **changes}), None)

    text = " ".join(receipt.notes)
    assert bool(receipt.notes) == bool(said)
    assert all(one in text for one in said)
    assert receipt.duplicates == len(changes.get("duplicate_requests", ()))


ASKED = Estimate(
    width=1024,
    height=576,
    frames=433,
    megapixels="255.393792",
    usd_per_megapixel="0.001205",
    lower_usd="0.3020",
    upper_usd="0.3085",
)
CAME = Actual(
    source="frames",
    width=3840,
    height=2160,
    frames=961,
    megapixels="7971.0208",
    lower_usd="9.6050",
    upper_usd="9.6050",
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "fal reports 3840x2160x961 frames: up to $9.6050, $0.3085 was reserved."),
        ({"source": "duration"}, "fal reports 3840x2160x961 frames: up to $9.6050, $0.3085 was"),
        ({"source": "billable_units"}, "fal bills 7,971.02 megapixels: up to $9.6050, $0.3085 was"),
        ({"upper_usd": Decimal("0.3085")}, ""),
        ({"upper_usd": Decimal("0.1000")}, ""),
    ],
)
def test_what_may_cost_more_than_was_reserved_is_said_plainly(
    changes: dict[str, Any], said: str
) -> None:
    job = a_job(estimate=ASKED, actual=CAME.model_copy(update=changes))

    text = " ".join(Receipt.of(job, None).notes)

    assert text.startswith(said)
    assert bool(text) == bool(said)


def test_what_came_is_reported_in_numbers() -> None:
    made = step(a_job(estimate=ASKED, actual=CAME), JobStatus.GENERATED)
    data = json.loads(Receipt.of(made, None).to_json())

    assert data["cost"] == {
        "lower_usd": 9.605,
        "upper_usd": 9.605,
        "may_be_billed": False,
        "delivered_usd": 9.605,
    }
    assert data["actual"] == {
        "source": "frames",
        "width": 3840,
        "height": 2160,
        "frames": 961,
        "megapixels": 7971.0208,
        "lower_usd": 9.605,
        "upper_usd": 9.605,
    }
    assert "actual" not in json.loads(Receipt.of(a_job(estimate=ASKED), None).to_json())


def test_cost_video_and_every_step_are_reported() -> None:
    cost = Estimate(width=1, height=1, frames=9, megapixels=1, lower_usd="0.0859", upper_usd="0.1")
    video = Video(
        bucket="outputs",
        key="song/a.mp4",
        version_id="v7",
        bytes=9,
        sha256="ab",
        content_type="video/mp4",
    )
    job = a_job(audio=AUDIO, sidecar=SIDECAR, estimate=cost)
    for status in (JobStatus.SUBMITTING, JobStatus.SUBMITTED, JobStatus.GENERATED):
        job = step(job, status)
    job = step(job, JobStatus.SUCCEEDED, video=video)

    data = json.loads(Receipt.of(job, None).to_json())

    assert data["cost"] == {"lower_usd": 0.0859, "upper_usd": 0.1, "may_be_billed": False}
    assert data["video"]["key"] == "song/a.mp4"
    assert [(one["status"], one["at"][17:]) for one in data["history"]] == [
        ("READY", "00.000Z"),
        ("SUBMITTING", "01.000Z"),
        ("SUBMITTED", "02.000Z"),
        ("GENERATED", "03.000Z"),
        ("SUCCEEDED", "04.000Z"),
    ]


# What they never say


@given(jobs)
def test_nothing_that_opens_anything_is_reported(job: Job) -> None:
    secret = "https://v3.fal.media/SECRET?X-Amz-Signature=SECRET"
    kept = {
        "token_hashes": ("SECRET",),
        "source_url": secret,
        "reported": {"SECRET": secret},
        "arguments": {"image_url": secret},
        "request": Request(
            request_id="r", status_url=secret, response_url=secret, cancel_url=secret
        ),
    }

    job = job.model_copy(update=kept)

    assert "SECRET" not in Receipt.of(job, None).to_json()
    assert "SECRET" not in event_of(None, job).to_json()


def test_a_manifest_names_an_image_of_the_web_without_its_query() -> None:
    images = {"image_url": "https://host/a.png?X-Amz-Signature=SECRET", "end_image_url": "b?#.png"}

    manifest = Manifest.of(a_job(arguments={"prompt": "a stage?"} | images)).fields()

    assert manifest["arguments"] == {
        "prompt": "a stage?",
        "image_url": "https://host/a.png?…",
        "end_image_url": "b?#.png",
    }


def test_the_query_of_a_url_that_was_refused_is_left_out() -> None:
    url = '"http://host/cover.png?X-Amz-Signature=SECRET"'
    error = wrong(field="image_url", value=url, message=f"image_url is {url}; allowed is https.")

    [answer] = Receipt.of(a_job(JobStatus.REJECTED, errors=(error,)), None).errors

    assert answer.value == '"http://host/cover.png?…"'
    assert answer.message == 'image_url is "http://host/cover.png?…"; allowed is https.'


def test_a_question_is_no_query() -> None:
    error = wrong(value='"Who? https://host/why is it?"')

    [answer] = Receipt.of(a_job(JobStatus.REJECTED, errors=(error,)), None).errors

    assert answer.value == error.value


# Where they lie

names = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("./"), min_size=1
) | st.sampled_from(["a", "é", "\N{GRINNING FACE}"]).map(lambda letter: letter * 1020)


@given(names)
def test_a_receipts_key_fits_s3_and_is_unique_even_when_folded(name: str) -> None:
    key = receipt_key(name)

    assert len(key.encode()) <= MAX_KEY_BYTES
    assert unsafe(key) is None
    assert key.endswith(".status.json")


@given(names.filter(lambda name: not unsafe(name)))
def test_a_receipt_is_at_the_drops_name_wherever_that_fits(name: str) -> None:
    room = MAX_KEY_BYTES - len(".status.json")

    assert (receipt_key(name) == name + ".status.json") == (len(name.encode()) <= room)


@given(names, names)
def test_two_names_have_two_receipts(one: str, other: str) -> None:
    if not (unsafe(one) or unsafe(other)):
        assert (receipt_key(one) == receipt_key(other)) == (one == other)


@pytest.mark.parametrize("half", ["a/song.mp3", "a/song.json", "a/song.mp3.json", "a/song.WAV"])
def test_the_receipt_is_found_from_either_half(half: str) -> None:
    assert receipt_key(name_of(half)) == "a/song.status.json"


# Which is newer


@given(jobs, maybe(times))
def test_a_receipt_is_read_as_it_was_written(job: Job, until: Any) -> None:
    receipt = Receipt.of(job, until)

    assert Receipt.read(receipt.to_json(indent=2).encode()) == receipt


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"\xff\xfe", b'{"version": "1"}', b"<html>", b"null"]
)
def test_what_is_no_receipt_is_not_read_as_one(body: bytes) -> None:
    assert Receipt.read(body) is None


def test_what_a_newer_release_added_to_a_receipt_is_passed_over() -> None:
    data = json.loads(Receipt.of(a_job(), None).to_json()) | {"mood": "calm"}

    assert Receipt.read(json.dumps(data).encode()) == Receipt.of(a_job(), None)


def newer(one: Job, other: Job) -> bool:
    return Receipt.of(one, None).is_newer_than(Receipt.of(other, None))


def test_of_a_record_the_later_write_is_newer() -> None:
    first = a_job()
    later = first.model_copy(update={"revision": 2})

    assert newer(later, first)
    assert not newer(first, later)
    assert not newer(first, first)


def test_a_record_without_revisions_is_ordered_by_its_steps() -> None:
    first = a_job().model_copy(update={"revision": 0})
    later = first.model_copy(update={"updated_at": NOON + SECOND})

    assert newer(later, first)
    assert not newer(first, later)
    assert newer(first.model_copy(update={"revision": 1}), later)


@given(st.timedeltas(timedelta(days=-1), timedelta(days=1)), st.sampled_from(["audio", "sidecar"]))
def test_a_job_is_newer_than_the_half_it_began_with_whatever_their_writers_clocks_say(
    ahead: timedelta, which: str
) -> None:
    both: dict[str, Any] = {"audio": AUDIO, "sidecar": SIDECAR}
    half = a_job(JobStatus.WAITING, **{which: both[which]}, dropped_at=NOON).model_copy(
        update={"job_id": half_id("drops", both[which].key), "created_at": NOON + ahead}
    )
    job = a_job(**both, dropped_at=NOON)

    assert newer(job, half)
    assert not newer(half, job)


@given(*[st.timedeltas(timedelta(days=-1), timedelta(days=1))] * 2)
def test_a_take_that_waits_for_an_image_comes_between_its_half_and_other_takes(
    half_ahead: timedelta, take_ahead: timedelta
) -> None:
    both: dict[str, Any] = {"audio": AUDIO, "sidecar": SIDECAR, "dropped_at": NOON}
    half = a_job(JobStatus.WAITING, audio=AUDIO, dropped_at=NOON).model_copy(
        update={"job_id": half_id("drops", AUDIO.key), "created_at": NOON + half_ahead}
    )
    waiting = a_job(JobStatus.WAITING, job_id="b" * 32, **both).model_copy(
        update={"created_at": NOON + take_ahead}
    )
    job = a_job(**both)

    assert [newer(waiting, half), newer(job, waiting), newer(job, half)] == [True] * 3
    assert [newer(half, waiting), newer(waiting, job), newer(half, job)] == [False] * 3


def test_a_half_that_is_dropped_after_a_job_is_newer_than_it() -> None:
    job = a_job(audio=AUDIO, sidecar=SIDECAR, dropped_at=NOON)
    half = a_job(JobStatus.WAITING, audio=AUDIO, dropped_at=NOON + SECOND).model_copy(
        update={"job_id": half_id("drops", AUDIO.key)}
    )

    assert newer(half, job)


def test_a_half_that_is_dropped_again_begins_anew() -> None:
    ended = step(a_job(JobStatus.WAITING, audio=AUDIO), JobStatus.REJECTED)
    again = a_job(JobStatus.WAITING, audio=AUDIO).model_copy(
        update={"created_at": ended.updated_at + SECOND}
    )

    assert newer(again, ended)
    assert not newer(ended, again)


def test_of_two_takes_of_one_drop_one_is_always_the_newer() -> None:
    takes = [a_job(job_id=n * 32, audio=AUDIO, dropped_at=NOON) for n in "abc"]

    for one, other in permutations(takes, 2):
        assert newer(one, other) == (one.job_id > other.job_id)


few = st.sampled_from([NOON, NOON + SECOND, NOON + 2 * SECOND])
of_one_name = st.builds(
    Job,
    job_id=st.sampled_from(["0" * 32, "1" * 32, half_id("drops", AUDIO.key)]),
    name=st.just("song"),
    status=st.sampled_from(JobStatus),
    bucket=st.just("drops"),
    audio=st.just(AUDIO),
    revision=st.integers(0, 2),
    dropped_at=few,
    created_at=few,
    updated_at=few,
)


@given(of_one_name, of_one_name)
def test_of_two_that_differ_one_is_the_newer_and_never_both(one: Job, other: Job) -> None:
    assert not (newer(one, other) and newer(other, one))
    same = ("job_id", "created_at", "revision", "updated_at")
    is_same = all(getattr(one, name) == getattr(other, name) for name in same)
    if one.job_id != other.job_id or not is_same:
        assert newer(one, other) or newer(other, one)


# Events


@pytest.mark.parametrize(
    ("before", "after"), [(b, a) for b in JobStatus for a in sorted(TRANSITIONS[b])]
)
def test_a_step_is_one_event(before: JobStatus, after: JobStatus) -> None:
    job = a_job().model_copy(update={"status": before})
    moved = step(job, after)

    event = event_of(job, moved)

    assert (event.previous_status, event.status) == (before, after)
    assert (event.at, event.revision) == (moved.updated_at, moved.revision)
    assert (event.receipt.bucket, event.receipt.key) == ("outputs", "talks/intro.status.json")


@pytest.mark.parametrize("status", sorted(BORN_AS))
def test_a_new_record_is_an_event_without_a_before(status: JobStatus) -> None:
    event = event_of(None, a_job(status))

    assert (event.previous_status, event.status, event.at) == (None, status, NOON)


def test_a_half_that_is_dropped_again_is_a_new_record() -> None:
    first = a_job(JobStatus.WAITING, audio=AUDIO)
    again = first.model_copy(update={"created_at": NOON + SECOND})

    event = event_of(first, again)

    assert event.previous_status is None
    assert event.id != event_of(None, first).id


@pytest.mark.parametrize(
    "note",
    [
        {"waits_for": "budget"},
        {"duplicate_requests": frozenset({"r"})},
        {"repeats": 1, "unused_metadata": 1, "dropped_at": NOON},
        {"copy_failed": "the CDN is busy"},
        {"unanswered_since": NOON},
    ],
)
def test_a_write_that_is_no_step_is_no_event(note: dict[str, Any]) -> None:
    job = a_job()
    noted = job.model_copy(update=note | {"revision": 2})

    assert StatusChanged.of(job, noted, None, "outputs") is None


def test_the_schema_names_the_end_that_is_not_final_where_fal_brings_a_video_after_all() -> None:
    revived = {status for status in FINAL if TRANSITIONS[status]}
    way = [a_job(JobStatus.SUBMITTED)]
    for status in (JobStatus.FAILED, JobStatus.GENERATED, JobStatus.SUCCEEDED):
        way.append(step(way[-1], status))

    events = [event_of(one, other) for one, other in pairwise(way)]

    assert [event.is_final for event in events] == [True, False, True]
    assert [event.revision for event in events] == sorted({event.revision for event in events})
    assert revived == {JobStatus.FAILED}
    assert "may follow FAILED" in str(StatusChanged.model_fields["is_final"].description)


def test_each_step_has_an_id_of_its_own_that_never_changes() -> None:
    way = [a_job()]
    for status in (JobStatus.SUBMITTING, JobStatus.READY, JobStatus.SUBMITTING, JobStatus.FAILED):
        way.append(step(way[-1], status))

    ids = [event_of(one, other).id for one, other in [(None, way[0]), *pairwise(way)]]

    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    assert event_of(way[0], way[1].model_copy(update={"revision": 9})).id == ids[1]


def test_an_event_of_a_job_with_many_errors_is_small_and_says_how_many_there_are() -> None:
    long = {"message": "é" * 100_000, "value": "y" * 501, "allowed": "z" * 500}
    errors = tuple(wrong(field=str(n), **long) for n in range(51))
    job = a_job(JobStatus.REJECTED, errors=errors)

    event = event_of(None, job)

    assert (len(event.errors), event.error_count) == (MAX_ERRORS, 51)
    assert len(event.to_json().encode()) < 40_000  # its summary repeats them
    assert [len(event.errors[0].message), event.errors[0].value] == [500, "y" * 499 + "…"]
    assert event.errors[0].allowed == long["allowed"]
    assert [len(error.message) for error in Receipt.of(job, None).errors] == [100_000] * 51


@given(jobs, maybe(jobs), maybe(times))
def test_every_event_that_can_be_sent_is_as_its_schema_says(
    after: Job, before: Job | None, until: Any
) -> None:
    event = StatusChanged.of(before, after, until, "outputs")

    if event:
        schemas.check(json.loads(event.to_json()))


def test_the_sample_is_an_event_as_eventbridge_hands_it_out() -> None:
    sample = json.loads((schemas.EVENTS / "job-status-changed.json").read_text())

    schemas.check(sample["detail"])
    assert (sample["source"], sample["detail-type"]) == ("phonoscene", "Job Status Changed")


@given(jobs, maybe(times))
def test_every_receipt_that_can_be_written_is_as_its_schema_says(job: Job, until: Any) -> None:
    receipt = Receipt.of(job, until)

    schemas.check(json.loads(receipt.to_json()), schemas.RECEIPT)


@given(jobs, st.lists(jobs, max_size=2))
def test_every_manifest_that_can_be_written_is_as_its_schema_says(
    job: Job, segments: list[Job]
) -> None:
    asked = {"arguments": {"prompt": "rain", "num_frames": 9}}
    parts = [one.model_copy(update=asked) for one in segments]

    text = to_bytes(Manifest.of(job, parts).fields())

    schemas.check(json.loads(text), schemas.MANIFEST)


def test_a_manifest_has_dollars_as_numbers_and_times_as_a_receipt_has_them() -> None:
    made = step(a_job(estimate=ASKED, actual=CAME), JobStatus.GENERATED)
    job = made.model_copy(update={"created_at": NOON + timedelta(microseconds=1234)})

    manifest, receipt = Manifest.of(job).fields(), json.loads(Receipt.of(job, None).to_json())

    assert manifest["estimate"]["upper_usd"] == 0.3085
    assert manifest["created_at"] == receipt["created_at"] == "2026-11-22T12:00:00.001Z"
    assert (manifest["actual"], manifest["cost"]) == (receipt["actual"], receipt["cost"])


every_schema = pytest.mark.parametrize("name", schemas.SCHEMAS)


@every_schema
def test_the_schema_that_is_published_is_the_codes_own(name: str) -> None:
    found = schemas.published(name)

    assert found == schemas.generated(name), "python -m tests.support.schemas writes it"


@every_schema
def test_the_schema_describes_every_field(name: str) -> None:
    properties = schemas.published(name)["properties"]

    assert [name for name, answer in properties.items() if "description" not in answer] == []
