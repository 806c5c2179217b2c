"""What a drop's record says: everything that is wrong with it at once, or what it will cost."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phonoscene.drops import contents
from phonoscene.drops.image_references import without_secrets
from phonoscene.drops.keys import half_id
from phonoscene.errors import DropRefused, DropUnsettled
from phonoscene.jobs import ErrorDetail, Job, JobStatus
from phonoscene.publishing.events import StatusChanged
from phonoscene.publishing.receipts import Receipt
from phonoscene.table.items import to_record
from phonoscene.workflow.intake import Announcement
from tests.support.jobs import NOON
from tests.unit.explorer import RULES, intake_of
from tests.unit.fakes import MemoryBucket, MemoryStore


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def take(bucket: MemoryBucket, store: MemoryStore, key: str) -> Job:
    [job] = intake_of(bucket, store).take(Announcement(key, NOON))
    return job


def text(**fields: object) -> bytes:
    return json.dumps({"prompt": "a harbour", **fields}).encode()


def refuse(monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    """S3 does not give this object's bytes."""
    found = MemoryBucket.find

    def find(self: MemoryBucket, key: str) -> Any:
        if key == refused:
            raise DropRefused(ErrorDetail(code="access_denied", message=f"S3 refuses {key}."))
        return found(self, key)

    monkeypatch.setattr(MemoryBucket, "find", find)


WITH_COVER = text(image_url="cover.png")


def test_a_whole_drop_is_ready_pinned_to_its_versions_and_priced(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("a/song.mp3")
    bucket.put("a/song.json", text(seed=7))

    job = take(bucket, store, "a/song.json")

    assert (job.status, job.name, job.errors) == (JobStatus.READY, "a/song", ())
    assert job.audio
    assert (job.audio.version_id, job.audio.seconds) == ("a/song.mp3#1", 5.0)
    assert job.sidecar
    assert job.sidecar.version_id == "a/song.json#1"
    assert job.arguments["seed"] == 7
    assert job.estimate
    assert (job.estimate.frames, job.estimate.upper_usd) == (121, Decimal("0.0868"))


@pytest.mark.parametrize("is_job_first", [False, True])
@pytest.mark.parametrize(
    ("fields", "status"), [({}, JobStatus.READY), ({"image_url": "late.png"}, JobStatus.WAITING)]
)
def test_the_receipt_of_a_try_that_failed_never_stands_for_that_of_the_drops_job(
    bucket: MemoryBucket, fields: dict[str, Any], status: JobStatus, *, is_job_first: bool
) -> None:
    bucket.put("song.json", text(**fields))
    announced = bucket.put("song.mp3", at=NOON + timedelta(minutes=2), begun=NOON)
    clock = (NOON + timedelta(minutes=minute) for minute in count(3))
    intake = intake_of(bucket, MemoryStore(lambda: next(clock)))

    earlier = intake.take(Announcement("song.json", NOON)) if is_job_first else []
    refused = intake.give_up(announced, "ProbeFailed")
    [job] = earlier or intake.take(replace(announced, tries=4))

    assert (refused.status, job.status) == (JobStatus.REJECTED, status)
    assert Receipt.of(job, None).is_newer_than(Receipt.of(refused, None))


@pytest.mark.parametrize(
    ("job_usd", "day_usd", "named"),
    [("0.05", "25", "MaxJobCostUsd allows 0.05 USD"), ("2", "0.05", "DailyBudgetUsd allows 0.05")],
)
def test_a_drop_that_no_day_could_pay_for_is_rejected_and_not_kept_waiting(
    bucket: MemoryBucket, store: MemoryStore, job_usd: str, day_usd: str, named: str
) -> None:
    bucket.put("song.mp3")
    bucket.put("song.json", text())
    rules = replace(RULES, max_job_cost_usd=Decimal(job_usd), daily_budget_usd=Decimal(day_usd))

    [job] = intake_of(bucket, store, rules).take(Announcement("song.json", NOON))

    (error,) = job.errors
    assert (job.status, error.code, error.value) == (
        JobStatus.REJECTED,
        "cost_too_high",
        "0.0868 USD",
    )
    assert named in error.message


def test_a_tie_a_missing_image_and_a_long_audio_are_reported_at_once(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.seconds = 60.0
    bucket.put("song.mp3")
    bucket.put("song.wav")
    bucket.put("song.json", text(image_url="cover.png"))

    job = take(bucket, store, "song.mp3")

    assert job.status is JobStatus.REJECTED
    assert {error.code for error in job.errors} == {
        "ambiguous_sidecar",
        "image_not_found",
        "audio_too_long",
    }


@pytest.mark.parametrize(("name", "is_told"), [("art\\cover.png", True), ("art/cover.png", False)])
def test_a_missing_image_is_called_by_its_key_and_windows_folders_are_explained(
    bucket: MemoryBucket, store: MemoryStore, name: str, *, is_told: bool
) -> None:
    bucket.put("talks/song.mp3")
    bucket.put("talks/song.wav")
    bucket.put("talks/song.json", text(image_url=name))

    errors = take(bucket, store, "talks/song.mp3").errors

    message = next(error.message for error in errors if error.code == "image_not_found")
    assert f"there is no image talks/{name}. Upload it under this very name" in message
    assert ("Write / between folders" in message) == is_told


@pytest.mark.parametrize("fields", [{"fps": 0}, {"colour": "red"}, {"metadata": 1}])
def test_a_missing_image_is_reported_with_the_fields_that_are_wrong(
    bucket: MemoryBucket, store: MemoryStore, fields: dict[str, Any]
) -> None:
    bucket.put("song.mp3")
    bucket.put("song.json", text(image_url="cover.png", **fields))

    job = take(bucket, store, "song.mp3")

    assert job.status is JobStatus.REJECTED
    assert [error.field for error in job.errors] == [*fields, "image_url"]


@pytest.mark.parametrize("fields", [{"fps": 0}, {"seed": "abc"}, {"metadata": 1}])
def test_a_missing_image_of_a_scene_is_reported_with_the_fields_that_are_wrong(
    bucket: MemoryBucket, store: MemoryStore, fields: dict[str, Any]
) -> None:
    scenes = [{"start": 0}, {"start": 4, "seed": 5, "image_url": "two.png"}, "odd"]
    bucket.put("song.mp3")
    bucket.put("song.json", text(scenes=scenes, **fields))

    job = take(bucket, store, "song.mp3")

    assert {error.field for error in job.errors} == {*fields, "scenes[2]", "scenes[1].image_url"}


def test_a_recording_that_is_announced_twice_is_rejected_once(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("song.json", text())
    intake = intake_of(bucket, store)
    intake.take(Announcement("song.json", NOON))
    bucket.put("song.mp4")

    jobs = [intake.take(Announcement("song.mp4", NOON)) for _ in range(2)]

    assert [[job.job_id for job in found] for found in jobs] == [
        [half_id("drops", "song.json")]
    ] * 2


def test_no_image_is_looked_for_where_there_are_too_many_scenes(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    scenes = [{"start": 4 * n, "image_url": f"{n}.png"} for n in range(61)]
    bucket.put("song.mp3")
    bucket.put("song.json", text(scenes=scenes, fps=0))

    job = take(bucket, store, "song.mp3")

    assert {error.field for error in job.errors} == {"fps", "scenes"}


def test_an_image_that_s3_refuses_hides_no_other_error(
    bucket: MemoryBucket, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "cover.png")
    bucket.put("song.mp3")
    bucket.put("song.json", text(image_url="cover.png", fps=0))

    job = take(bucket, store, "song.mp3")

    assert [(error.code, error.field) for error in job.errors] == [
        ("out_of_range", "fps"),
        ("access_denied", "image_url"),
    ]


def test_of_an_image_field_that_is_refused_there_is_one_error(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("song.mp3")
    bucket.put("song.json", text(image_url="ftp://x/y", end_image_url=["y.png"]))

    job = take(bucket, store, "song.mp3")

    assert [error.field for error in job.errors] == ["image_url", "end_image_url"]


@pytest.mark.parametrize("character", ["\x00", "\x1f", "\x7f", "\x85", "\n"])
def test_a_key_of_control_characters_is_rejected_under_a_name_that_the_table_can_index(
    bucket: MemoryBucket, store: MemoryStore, character: str
) -> None:
    key = character * ((1024 - len(".mp3")) // len(character.encode())) + ".mp3"
    bucket.put(key)

    job = take(bucket, store, key)

    assert (job.status, job.job_id) == (
        JobStatus.REJECTED,
        half_id("drops", key),
    )
    assert len(job.name.encode()) <= 2048  # DynamoDB: the longest key of an index
    assert job.name.isprintable()
    assert [error.code for error in job.errors] == ["unsafe_key"]


def test_a_key_of_another_kind_is_ignored(bucket: MemoryBucket, store: MemoryStore) -> None:
    for key in ("a/", ".song.mp3", "_defaults.json", "readme.txt", "song.mp3.part"):
        bucket.put(key)

        assert intake_of(bucket, store).take(Announcement(key, NOON)) == []

    assert store.jobs == {}


@pytest.mark.parametrize(
    ("wait", "status"), [("true", JobStatus.WAITING), ("false", JobStatus.READY)]
)
def test_an_audio_file_alone_waits_or_starts_as_its_folder_says(
    bucket: MemoryBucket, store: MemoryStore, wait: str, status: JobStatus
) -> None:
    bucket.put("a/_defaults.json", f'{{"wait_for_sidecar": {wait}, "prompt": "x"}}'.encode())
    bucket.put("a/b/song.mp3")

    job = take(bucket, store, "a/b/song.mp3")

    assert job.status is status


def test_auto_takes_the_size_of_the_image_beside_the_sidecar(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("a/song.mp3")
    bucket.put("a/cover.png")
    bucket.images["a/cover.png"] = (640, 480)
    bucket.put("a/song.json", text(video_size="auto", image_url="cover.png"))

    job = take(bucket, store, "a/song.mp3")

    assert job.estimate
    assert (job.estimate.width, job.estimate.height) == (640, 480)
    assert job.images["image_url"].version_id == "a/cover.png#1"


def test_auto_with_an_image_elsewhere_cannot_be_priced(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("song.mp3")
    bucket.put("song.json", text(video_size="auto", image_url="https://example.com/a.png"))

    job = take(bucket, store, "song.mp3")

    assert [error.code for error in job.errors] == ["unknown_size"]
    assert job.estimate is None


@pytest.mark.parametrize(
    ("size", "codes"),
    [((14142, 64), []), ((14143, 64), ["image_too_large"]), ((64, 14143), ["image_too_large"])],
)
def test_auto_takes_no_image_that_is_larger_than_any_video(
    bucket: MemoryBucket, store: MemoryStore, size: tuple[int, int], codes: list[str]
) -> None:
    bucket.put("song.mp3")
    bucket.put("song.json", text(video_size="auto", image_url="cover.png"))
    bucket.put("cover.png")
    bucket.images["cover.png"] = size

    job = take(bucket, store, "song.mp3")

    assert [error.code for error in job.errors] == codes


# Secrets of a dropper's URLs

SECRET = "5ecre7"
SCHEMES = ["https://", "HTTP://", "ftp://", "s3://", "//", "\\\\", " https:/", "https%3A%2F%2F"]
odd = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/?#\\@"), max_size=4)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
users = words.map(lambda text: f"u{text}:{SECRET}{text}@")
urls = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(SCHEMES),
        st.one_of(st.just(""), users, users.map(lambda user: user.replace("@", "%40"))),
        st.just("h.example.com/"),
        odd,
        st.sampled_from(["a.png", "it's.png", 'a".png', "my file.png", "", "a/../b", "@a.png"]),
        st.one_of(st.just(""), words.map(lambda text: f"?{text}sig={SECRET}")),
        st.sampled_from(["", f"%3Fsig={SECRET}", f"%23{SECRET}", f"&sig={SECRET} x"]),
        st.one_of(st.just(""), odd.map(lambda text: f"#{text}={SECRET}@{text}")),
        st.sampled_from(["", ".png", " see?"]),
    ),
)


mistyped = st.one_of(
    st.builds(lambda query: f"h.example.com/a.png?sig={SECRET}{query}a.png", words),
    users.map(lambda user: f"{user}h.example.com/a.png"),
)


class Lines(logging.Handler):
    """Keeps all that is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(repr(vars(record)))


PLACES = (
    '{"image_url": URL}',
    '{"image_url": URL, "video_size": "auto"}',
    '{"prompt": "x", "image_url": URL}',
    '{"prompt": "x", "fps": 0, "end_image_url": URL}',
    '{"prompt": "x", "scenes": [{"start": 0, "image_url": URL}, {"start": 4}]}',
    '{"end_image_url": [URL], "fps": URL}',
    '{"scenes": [{"start": 0}, {"start": URL, "image_url": URL, "picture": URL}]}',
    '{"scenes": URL, "continuity": URL}',
    '{"picture": URL, "video_size": {"width": URL, URL: 1}}',
    '{"picture": {"of": [URL, {URL: URL}]}, "audio_url": URL, "ignore": URL}',
    "{URL: 1}",
    "{URL: 1, URL: 2}",
    '[{"image_url": URL}, URL]',
    "URL",
)


@pytest.mark.parametrize("place", PLACES)
@given(url=st.one_of(urls, mistyped))
@example(url=f"u@:{SECRET}@@h.example.com/a.png")
def test_no_secret_of_a_url_is_recorded_published_or_logged(place: str, url: str) -> None:
    bucket, store, lines = MemoryBucket(), MemoryStore(), Lines()
    bucket.put("song.mp3")
    bucket.put("song.json", place.replace("URL", json.dumps(url)).encode())
    logger = logging.getLogger("phonoscene")
    logger.addHandler(lines)
    try:
        jobs = intake_of(bucket, store).take(Announcement("song.json", NOON))
    finally:
        logger.removeHandler(lines)

    for job in jobs:
        event = StatusChanged.of(None, job, None, "outputs")
        assert event
        written = [Receipt.of(job, None).to_json(), event.to_json(), *lines.kept]
        # fal gets the URL that was accepted
        kept = to_record(job) | {"arguments": None, "sequence": None}
        assert not [text for text in (*written, repr(kept)) if SECRET in text]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h.example.com/my file.png?sig=S", "https://h.example.com/my file.png?…"),
        ("https://h.example.com/it's.png?sig=S", "https://h.example.com/it's.png?…"),
        ("https://user:S@h.example.com/a.png", "https://…@h.example.com/a.png"),
        ("https://user:?S@h.example.com/a.png", "https://?…"),
        ("https://h/a.png#S", "https://h/a.png#…"),
        ("https://h/a?by=a@example.com", "https://?…"),
        ("ftp://h/a.png?sig=S", "ftp://h/a.png?…"),
        ("//h/a.png?sig=S", "//h/a.png?…"),
        ("h.example.com/a.png?sig=S", "h.example.com/a.png?…"),
        ("https%3A%2F%2Fh%2Fa.png%3Fsig=S", "https%3A%2F%2Fh%2Fa.png%…"),
        ("https://h/a.png&sig=S", "https://h/a.png&…"),
        ("https%253A%252F%252Fh%252Fa.png%253Fsig=S", "…"),
        ("h%25252Fa.png%25253Fsig%25253DS", "…"),
        ("%2525252525252525252525", "…"),
        ("100%25 sure.png", "100%25 sure.png"),
        (r"C:\pics\cat.png", r"C:\pics\cat.png"),
        ("icon@2x.png", "icon@2x.png"),
        ("take #3.png", "take #3.png"),
        ("Who? Me.png", "Who? Me.png"),
    ],
)
def test_a_url_is_shown_without_what_may_open_something(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


@pytest.mark.parametrize("text", ["?", "&", "@", "%", "%3", "%25", "%2525", ":", "a:", "/", "?="])
def test_a_long_text_is_looked_through_once(text: str) -> None:
    began = time.process_time()

    without_secrets(text * 200_000)

    assert time.process_time() - began < 2


def test_a_drop_that_waited_for_its_image_and_repeats_a_job_waits_no_more(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.images["cover.png"] = (640, 360)
    for key, body in (("cover.png", b"x"), ("song.mp3", b"x"), ("song.json", WITH_COVER)):
        bucket.put(key, body)
    job = take(bucket, store, "song.json")
    bucket.remove("cover.png")
    bucket.put("song.json", WITH_COVER)
    waiting = take(bucket, store, "song.json")
    bucket.put("cover.png")

    [repeated] = intake_of(bucket, store).look_again(waiting)

    assert waiting.status is JobStatus.WAITING
    assert repeated.job_id == job.job_id
    assert list(store.jobs) == [job.job_id]
    assert store.repeats == {waiting.job_id: job.job_id}


def test_a_half_that_waited_and_then_repeats_a_job_waits_no_more(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("song.mp3")
    bucket.put("song.json", text())
    job = take(bucket, store, "song.json")
    bucket.remove("song.json")
    bucket.put("song.mp3")
    half = take(bucket, store, "song.mp3")
    bucket.put("song.json", text())

    repeated = take(bucket, store, "song.json")

    assert half.status is JobStatus.WAITING
    assert repeated.job_id == job.job_id
    assert list(store.jobs) == [job.job_id]


def test_an_image_that_is_announced_url_encoded_starts_the_drop_that_waits_for_it(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("song.mp3")
    bucket.put("song.json", text(image_url="my cover.png"))
    waiting, dispatched = take(bucket, store, "song.json"), list[str]()

    replace(intake_of(bucket, store), dispatch=dispatched.extend).take(
        Announcement("my+cover.png", NOON)
    )

    assert dispatched == [waiting.job_id]


def test_a_file_in_another_format_whose_name_can_forge_a_line_leaves_no_record(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("_defaults.json", text(wait_for_sidecar=False))
    bucket.put("so\nng.mp4")

    assert intake_of(bucket, store).take(Announcement("so\nng.mp4", NOON)) == []
    assert store.jobs == {}


def test_a_file_in_another_format_that_is_rejected_at_last_was_not_given_up(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("song.json", text())
    half = take(bucket, store, "song.json")
    announced = bucket.put("song.mp4")
    intake = intake_of(bucket, store)
    given_up = intake.give_up(announced, "S3")

    [rejected] = intake.take(replace(announced, tries=2))

    assert given_up.job_id != half.job_id == rejected.job_id
    assert list(store.jobs) == [half.job_id]


def test_drops_that_cost_too_much_push_no_job_out_of_memory(
    bucket: MemoryBucket, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "MAX_HOLDERS", 1)
    bucket.put("song.json", text())
    bucket.put("song.mp3")
    job = take(bucket, store, "song.mp3")
    bucket.put("song.mp3", b"other bytes")
    strict = intake_of(bucket, store, replace(RULES, max_job_cost_usd=Decimal("0.05")))
    [dear] = strict.take(Announcement("song.mp3", NOON))
    bucket.put("song.mp3")

    again = take(bucket, store, "song.mp3")

    assert dear.status is JobStatus.REJECTED
    assert again.job_id == job.job_id


def test_a_file_in_another_format_that_is_announced_before_its_sidecar_rejects_that(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("song.json", text())
    bucket.put("song.mp4")

    assert intake_of(bucket, store).take(Announcement("song.mp4", NOON)) == []
    assert take(bucket, store, "song.json").errors[0].code == "unsupported_format"


def test_a_sidecar_that_was_recorded_by_a_process_that_was_cut_off_is_rejected_when_it_comes_again(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("song.json", text())
    assert take(bucket, store, "song.json").status is JobStatus.WAITING
    bucket.put("song.mp4")

    assert take(bucket, store, "song.json").errors[0].code == "unsupported_format"


def test_the_format_of_a_file_that_was_given_up_is_named_once_it_is_known(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("_defaults.json", text(wait_for_sidecar=False))
    announced = bucket.put("song.mp4")
    intake = intake_of(bucket, store)
    intake.give_up(announced, "S3")

    intake.take(replace(announced, tries=2))

    [job] = store.jobs.values()
    assert [error.code for error in job.errors] == ["unsupported_format"]


def test_why_s3_does_not_give_a_file_that_was_given_up_is_named_once_it_is_known(
    bucket: MemoryBucket, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("_defaults.json", text(wait_for_sidecar=False))
    announced = bucket.put("song.mp3")
    intake = intake_of(bucket, store)
    intake.give_up(announced, "S3")
    refuse(monkeypatch, "song.mp3")
    for _ in range(2):
        intake.take(replace(announced, tries=2))

    [job] = store.jobs.values()
    assert [error.code for error in job.errors] == ["access_denied"]


def test_a_drop_whose_image_s3_refuses_at_last_is_rejected_with_its_own_metadata(
    bucket: MemoryBucket, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("song.mp3")
    bucket.put("song.json", text(image_url="cover.png", metadata={"order": "7"}))
    waiting = take(bucket, store, "song.json")
    refuse(monkeypatch, "cover.png")
    intake = intake_of(bucket, store)

    [rejected] = intake.look_again(waiting)

    assert [error.code for error in rejected.errors] == ["access_denied"]
    assert rejected.metadata == {"order": "7"}
    assert intake.look_again(waiting) == []  # an older copy of the record changes nothing


def test_what_s3_refuses_rests_before_it_is_rejected(
    bucket: MemoryBucket, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("song.json", text())
    announced = bucket.put("song.mp3")
    refuse(monkeypatch, "song.mp3")
    resting = list[Announcement]()
    intake = replace(intake_of(bucket, store), rest=resting.append)

    assert intake.take(announced) == []
    assert (resting, store.jobs) == ([announced], {})
    [rejected] = intake.take(replace(announced, has_rested=True))
    assert [error.code for error in rejected.errors] == ["access_denied"]


@pytest.mark.parametrize(
    "body", [b"{", b"[" * 60_000, b"[]", b'[{"prompt": "a"}]', b'{"job_id": 7, "name": "a"}']
)
def test_a_sidecar_alone_waits_whatever_it_holds_but_a_result(
    bucket: MemoryBucket, store: MemoryStore, body: bytes
) -> None:
    bucket.put("song.json", body)

    assert take(bucket, store, "song.json").status is JobStatus.WAITING


def test_a_sidecar_alone_waits_where_s3_does_not_give_its_bytes_now(
    bucket: MemoryBucket, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_: MemoryBucket, key: str, __: int) -> None:
        if key == "song.json":
            raise DropRefused(ErrorDetail(code="archived_object", message="It is archived."))

    monkeypatch.setattr(MemoryBucket, "read", read)
    bucket.put("song.json", text())

    assert take(bucket, store, "song.json").status is JobStatus.WAITING


def test_a_half_waits_no_more_once_its_drop_is_rejected(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("song.mp3")
    half = take(bucket, store, "song.mp3")
    bucket.put("song.json", text(fps=0))

    rejected = take(bucket, store, "song.json")

    assert half.status is JobStatus.WAITING
    assert store.jobs == {rejected.job_id: rejected}


def test_a_sidecar_that_waited_and_then_is_in_a_tie_is_rejected_with_it(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("song.json", text(metadata={"order": "7"}))
    half = take(bucket, store, "song.json")
    bucket.put("song.mp3")
    bucket.put("song.wav")

    tied = take(bucket, store, "song.mp3")

    assert half.status is JobStatus.WAITING
    ended = store.jobs[half.job_id]
    assert (ended.status, ended.errors) == (JobStatus.REJECTED, tied.errors)
    assert ended.metadata == {"order": "7"}


def test_an_event_that_comes_again_notes_an_unused_sidecar_no_second_time(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    for key in ("song.mp3", "song.mp3.json", "song.json"):
        bucket.put(key, text() if key.endswith("json") else b"x")

    first, again = (take(bucket, store, "song.mp3") for _ in range(2))

    assert first.unused_sidecars == {"song.json"}
    assert store.jobs[first.job_id] == first == again


def test_a_sidecar_is_not_rejected_for_a_file_in_another_format_that_has_its_own(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    for key in ("song.json", "song.live.mp4", "song.live.json"):
        bucket.put(key, text())

    assert take(bucket, store, "song.json").status is JobStatus.WAITING
    assert take(bucket, store, "song.live.json").status is JobStatus.REJECTED


def test_a_sidecar_that_has_a_job_is_not_noted_on_it_as_unused(
    bucket: MemoryBucket, store: MemoryStore
) -> None:
    bucket.put("song.mp3")
    bucket.put("song.json", text())
    job = take(bucket, store, "song.json")
    bucket.put("song.mp3.json", text())

    repeated = take(bucket, store, "song.mp3.json")

    assert (repeated.job_id, store.jobs[job.job_id].repeats) == (job.job_id, 1)
    assert store.jobs[job.job_id].unused_sidecars == frozenset()


@pytest.mark.parametrize(
    ("beside", "gone"),
    [
        ("a/song.json", "a/song.mp3"),
        ("a/song.json", "a/song.json"),
        ("a/_defaults.json", "a/song.mp3"),
    ],
)
def test_a_half_that_is_deleted_after_the_bucket_was_listed_is_no_drop(
    bucket: MemoryBucket,
    store: MemoryStore,
    monkeypatch: pytest.MonkeyPatch,
    beside: str,
    gone: str,
) -> None:
    bucket.put("a/song.mp3")
    bucket.put(beside, text(wait_for_sidecar=False))
    listed = bucket.keys_under("a/")
    monkeypatch.setattr(MemoryBucket, "keys_under", lambda *_: listed)
    bucket.remove(gone)

    assert intake_of(bucket, store).take(Announcement("a/song.mp3", NOON)) == []
    assert store.jobs == {}


def test_audio_that_is_overwritten_at_each_look_comes_back_and_is_paired_with_nothing(
    bucket: MemoryBucket, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("song.mp3")
    bucket.put("song.json", text())
    find = MemoryBucket.find

    def overwritten(self: MemoryBucket, key: str) -> Any:
        if key == "song.mp3":
            self.put(key)
        return find(self, key)

    monkeypatch.setattr(MemoryBucket, "find", overwritten)

    with pytest.raises(DropUnsettled):
        intake_of(bucket, store).take(Announcement("song.json", NOON))
    assert store.jobs == {}


def test_a_half_whose_other_half_comes_while_it_is_recorded_waits_no_more(
    bucket: MemoryBucket, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced = bucket.put("song.mp3")
    wait = store.wait

    def record(half: Job, due_at: datetime) -> None:
        bucket.put("song.json", text())  # whose event makes the job before this record is written
        wait(half, due_at)

    monkeypatch.setattr(store, "wait", record)

    assert intake_of(bucket, store).take(announced) == []
    assert store.jobs == {}
