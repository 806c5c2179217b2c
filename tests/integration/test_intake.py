"""What the function ``submit`` makes of drops, in every order and shape in which they come."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.fal.requests import Refused
from phonoscene.jobs import ErrorDetail, JobStatus
from phonoscene.probe.prober import LocalProber
from phonoscene.publishing.wording import fix
from tests.integration.moto_stack import Cloud, client
from tests.support.media.samples import SOUNDS, png, silence, sound, with_id3
from tests.support.stack import DROPS, JOBS, created, sqs

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from phonoscene.drops.media_facts import AudioFacts
    from tests.integration.conftest import Context
    from tests.integration.fal_queue import FakeFalQueue

    Send = Callable[..., list[str]]

SIDECAR = {"prompt": "A singer on a bare stage"}
LATER = timedelta(hours=1)


@pytest.fixture
def send(submit: ModuleType, fal: FakeFalQueue, context: Context) -> Send:
    """Deliver messages, or keys that S3 announces, in one batch; the ids of those that failed."""

    del fal  # it is in its place

    def deliver(*messages: Any) -> list[str]:
        bodies = [
            created(message)
            if isinstance(message, str) and not message.startswith("{")
            else message
            for message in messages
        ]
        answer = submit.handler(sqs(*bodies), context)
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    return deliver


def errors(cloud: Cloud) -> dict[str, dict[str, Any]]:
    """The errors of the one rejected drop, by code."""
    item = cloud.only_item()
    assert item["status"] == "REJECTED"
    return {error["code"]: error for error in item["errors"]}


# Pairing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sidecar", ["albums/song.json", "albums/song.mp3.json"])
@pytest.mark.parametrize("audio_first", [True, False])
def test_either_half_may_arrive_first_and_the_other_starts_the_job(
    cloud: Cloud, fal: FakeFalQueue, send: Send, sidecar: str, audio_first: bool
) -> None:
    halves: dict[str, Any] = {"albums/song.mp3": silence(2), sidecar: SIDECAR}
    one, other = list(halves) if audio_first else reversed(list(halves))

    cloud.drop(one, halves[one])
    failed = send(one)
    waiting = cloud.only_item()
    cloud.drop(other, halves[other])
    failed += send(other)

    assert failed == []
    assert (waiting["status"], waiting["name"]) == ("WAITING", "albums/song")
    assert (cloud.only_item()["status"], len(fal.posts)) == ("SUBMITTED", 1)


def test_both_halves_in_one_batch_are_one_job(cloud: Cloud, fal: FakeFalQueue, send: Send) -> None:
    cloud.drop("song.mp3", silence(2))
    cloud.drop("song.json", SIDECAR)

    failed = send("song.mp3", "song.json")

    assert failed == []
    assert (cloud.statuses(), len(fal.posts)) == (["SUBMITTED"], 1)


@pytest.mark.parametrize("ago", [timedelta(0), LATER], ids=["now", "before the other half came"])
def test_a_half_that_is_recorded_after_its_job_is_forgotten_when_its_event_comes_again(
    cloud: Cloud, send: Send, ago: timedelta
) -> None:
    cloud.drop("song.mp3", silence(2))
    send("song.mp3")
    [half] = cloud.dynamodb.scan(TableName=JOBS)["Items"]
    cloud.drop("song.json", SIDECAR)
    send("song.json")
    cloud.dynamodb.put_item(TableName=JOBS, Item=half)  # by a process that was cut off then

    send(created("song.mp3", datetime.now(UTC) - ago))

    assert cloud.statuses() == ["SUBMITTED"]


def test_ten_announcements_of_a_drop_are_one_post(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("song.mp3", silence(2))
    cloud.drop("song.json", SIDECAR)

    failed = [send(*["song.mp3", "song.json"] * 5) for _ in range(2)]

    assert failed == [[], []]
    assert (cloud.statuses(), len(fal.posts)) == (["SUBMITTED"], 1)


def test_dropping_again_is_a_new_take_and_the_older_halfs_event_has_no_effect(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("song.mp3", silence(2))
    cloud.drop("song.json", SIDECAR)
    send("song.mp3", "song.json")
    cloud.drop("song.mp3", silence(3))
    cloud.drop("song.json", {"prompt": "Another"})

    send(created("song.mp3", datetime.now(UTC) - LATER))
    sent_by_the_older = len(fal.posts)
    send(created("song.json"))

    assert (cloud.statuses(), sent_by_the_older, len(fal.posts)) == (["SUBMITTED"] * 2, 1, 2)
    assert fal.posts[1].arguments["prompt"] == "Another"
    assert len(cloud.index("by_name")) == 2


def test_a_drop_in_the_first_minutes_of_versioning_comes_back_and_says_why(
    cloud: Cloud, send: Send, environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.drop("song.mp3", silence(2))
    cloud.drop("song.json", SIDECAR)
    s3 = client("s3")  # submit's own; cloud's signs otherwise
    head = s3.head_object

    def without_version(**asked: Any) -> Any:
        return {name: value for name, value in head(**asked).items() if name != "VersionId"}

    with environment.context() as patch:
        patch.setattr(s3, "head_object", without_version)
        assert send("song.mp3") != []
    assert "turn its versioning on" in caplog.text

    assert send("song.mp3") == []
    assert cloud.statuses() == ["SUBMITTED"]


def test_the_job_and_its_url_are_bound_to_the_versions_that_were_checked(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    version = cloud.drop("song.mp3", silence(2))
    sidecar = cloud.drop("song.json", SIDECAR)

    send("song.json")

    item = cloud.only_item()
    assert (item["audio"]["version_id"], item["sidecar"]["version_id"]) == (version, sidecar)
    url = urlsplit(fal.posts[0].arguments["audio_url"])
    query = parse_qs(url.query)
    assert (unquote(url.path).endswith("song.mp3"), query["versionId"]) == (True, [version])
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["3600"]


def test_an_event_without_a_version_starts_the_job_too(
    cloud: Cloud, fal: FakeFalQueue, send: Send, load_event: Callable[[str], Any]
) -> None:
    event = load_event("s3-without-version-id")
    cloud.drop("albums/song.mp3", silence(2))
    cloud.drop("albums/song.json", SIDECAR)

    send(event | {"time": created("x")["time"]})

    assert len(fal.posts) == 1


def test_the_batch_that_lambda_passes_is_understood(
    cloud: Cloud,
    fal: FakeFalQueue,
    submit: ModuleType,
    context: Context,
    load_event: Callable[[str], Any],
) -> None:
    cloud.drop("albums/song.mp3", silence(2))

    answer = submit.handler(load_event("sqs-drops"), context)

    assert answer == {"batchItemFailures": []}
    assert (cloud.statuses(), fal.posts) == (["WAITING"], [])


@pytest.mark.parametrize(
    "key",
    [
        "Été 2026/100%25 café + crème (naïve) ♫.mp3",
        "rock+roll.mp3",
        "two words.mp3",
        "100%.mp3",
        "a%2Fb.mp3",
        "日本語/歌.MP3",
        "a&b=c?d#e;f'g\"h<i>\\j.mp3",
    ],
)
def test_a_key_with_plus_percent_spaces_or_unicode_is_taken_as_it_is(
    cloud: Cloud, fal: FakeFalQueue, send: Send, load_event: Callable[[str], Any], key: str
) -> None:
    documented = load_event("s3-unusual-key")
    documented["detail"]["object"]["key"] = key
    cloud.drop(key, silence(2))
    cloud.drop(key[:-4] + ".json", SIDECAR)

    failed = send(documented | {"time": created("x")["time"]})

    assert failed == []
    assert cloud.only_item()["audio"]["key"] == key
    url = urlsplit(fal.posts[0].arguments["audio_url"])
    assert unquote(url.path).endswith(key)


def test_keys_as_long_as_s3_allows_work(cloud: Cloud, fal: FakeFalQueue, send: Send) -> None:
    longest = "é" * 510 + ".mp3"
    halves = "é" * 509 + "x.mp3", "é" * 509 + "x.json"
    cloud.drop("_defaults.json", SIDECAR | {"wait_for_sidecar": False})
    cloud.drop(longest, silence(2))
    cloud.drop(halves[0], silence(2))
    cloud.drop(halves[1], SIDECAR)

    failed = send(longest, *halves)

    assert (len(longest.encode()), len(halves[1].encode())) == (1024, 1024)
    assert failed == []
    assert (cloud.statuses(), len(fal.posts)) == (["SUBMITTED"] * 2, 2)


@pytest.mark.parametrize(
    "key",
    [
        "notes.txt",
        "song.mp3.part",
        "upload.tmp",
        ".song.mp3",
        "_song.mp3",
        "a/_defaults.json",
        "folder/",
        "picture.png",
        "no-suffix",
        "Icon\r",
        "_song.mp3 ",
        "song.txt.",
        "_drafts/song.mp3",
        ".git/a/song.json",
        "talks/@eaDir/song.mp3",
        "__MACOSX/song.mp3",
        "$RECYCLE.BIN/song.mp3",
        "a/#recycle/song.json",
    ],
)
def test_what_is_no_half_of_a_drop_is_ignored(
    cloud: Cloud, fal: FakeFalQueue, send: Send, key: str
) -> None:
    cloud.drop(key, b"{}")

    failed = send(key)

    assert (failed, cloud.items(), fal.posts) == ([], [], [])


@pytest.mark.parametrize(
    "key",
    [
        *("a/../song.mp3", "./song.mp3", "so\nng.mp3", "\x1b[31m.mp3"),
        *("song.mp3\r", "a/song.JSON\r", "song.mp3 ", "song.json.", "song.wav\N{NO-BREAK SPACE}"),
        *("song.mp3 .\r\n", "song.json\N{NO-BREAK SPACE} "),
    ],
)
def test_an_unsafe_key_is_rejected_once_with_what_to_do(
    cloud: Cloud, fal: FakeFalQueue, send: Send, key: str
) -> None:
    cloud.drop(key, silence(2))

    failed = send(key, key)

    assert (failed, fal.posts) == ([], [])
    error = ErrorDetail(**errors(cloud)["unsafe_key"])
    assert fix(JobStatus.REJECTED, error) == "Rename the file and drop it again."
    assert error.message.isprintable()
    has_control = any(character < " " for character in key)
    assert ("control character" in error.message) == has_control


def test_a_drop_that_is_gone_when_its_event_comes_leaves_nothing(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    failed = send("song.mp3", "song.json")

    assert (failed, cloud.items(), fal.posts) == ([], [], [])


def test_the_same_half_announced_twice_waits_once_and_until_its_grace_ends(
    cloud: Cloud, send: Send
) -> None:
    cloud.drop("song.mp3", silence(2))

    send("song.mp3", "song.mp3")

    item = cloud.only_item()
    born, due = (datetime.fromisoformat(item[name]) for name in ("created_at", "due_at"))
    assert abs(due - born - timedelta(minutes=60)) < timedelta(seconds=1)


def test_a_sidecar_that_two_audio_files_claim_is_refused_naming_both(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("song.mp3", silence(2))
    cloud.drop("song.wav", silence(2))
    cloud.drop("song.json", SIDECAR)

    failed = send("song.json", "song.mp3", "song.wav")

    assert (failed, fal.posts) == ([], [])
    rejected = cloud.items()
    assert [item["status"] for item in rejected] == ["REJECTED", "REJECTED"]
    for item in rejected:
        (error,) = item["errors"]
        assert error["code"] == "ambiguous_sidecar"
        assert "song.mp3 and song.wav" in error["message"]
        assert f"{item['audio']['key']}.json" in error["message"]


def test_a_long_name_settles_which_of_two_audio_files_is_meant(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("song.mp3", silence(2))
    cloud.drop("song.wav", silence(2))
    cloud.drop("song.wav.json", SIDECAR)
    cloud.drop("song.json", {"prompt": "The mp3"})

    send("song.mp3", "song.wav", "song.json", "song.wav.json")

    made = {item["audio"]["key"]: item["sidecar"]["key"] for item in cloud.items()}
    assert made == {"song.mp3": "song.json", "song.wav": "song.wav.json"}
    assert len(fal.posts) == 2


# Defaults ---------------------------------------------------------------------------------------


def test_defaults_are_inherited_key_by_key_and_the_nearest_wins(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("_defaults.json", {"fps": 30, "video_quality": "low", "negative_prompt": "root"})
    cloud.drop("a/_defaults.json", {"fps": 25, "prompt": "From a"})
    cloud.drop("a/b/_defaults.json", {"camera_lora": "jib_up"})
    cloud.drop("other/_defaults.json", {"video_quality": "maximum"})
    cloud.drop("a/b/song.mp3", silence(2))
    cloud.drop("a/b/song.json", {"negative_prompt": "own"})

    send("a/b/song.json")

    sent = fal.posts[0].arguments
    assert {name: sent[name] for name in ("fps", "prompt", "camera_lora", "video_quality")} == {
        "fps": 25,
        "prompt": "From a",
        "camera_lora": "jib_up",
        "video_quality": "low",
    }
    assert sent["negative_prompt"] == "own"


def test_audio_alone_starts_where_the_defaults_say_it_need_not_wait(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("_defaults.json", SIDECAR | {"wait_for_sidecar": True})
    cloud.drop("now/_defaults.json", {"wait_for_sidecar": False})
    cloud.drop("now/song.mp3", silence(2))
    cloud.drop("later/song.mp3", silence(2))

    send("now/song.mp3", "later/song.mp3")

    made = {item["name"]: item["status"] for item in cloud.items()}
    assert made == {"now/song": "SUBMITTED", "later/song": "WAITING"}
    assert fal.posts[0].arguments["prompt"] == SIDECAR["prompt"]


def test_a_fault_in_the_defaults_is_reported_with_their_name(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("a/_defaults.json", {"fps": 61})
    cloud.drop("a/song.mp3", silence(2))
    cloud.drop("a/song.json", SIDECAR)

    send("a/song.json")

    assert errors(cloud)["out_of_range"]["source"] == "a/_defaults.json"
    assert fal.posts == []


# Images -----------------------------------------------------------------------------------------


def test_an_image_beside_is_pinned_presigned_and_gives_auto_its_size(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    version = cloud.drop("a/cover.png", png(640, 360))
    cloud.drop("a/song.mp3", silence(2))
    cloud.drop("a/song.json", SIDECAR | {"image_url": "cover.png", "video_size": "auto"})

    send("a/song.json")

    item = cloud.only_item()
    assert item["images"]["image_url"] == {"key": "a/cover.png", "version_id": version}
    assert (item["estimate"]["width"], item["estimate"]["height"]) == (640, 360)
    assert f"versionId={version}" in fal.posts[0].arguments["image_url"]
    assert "X-Amz-Signature" not in json.dumps(item, default=str)


def test_an_image_named_in_the_defaults_is_beside_the_defaults(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("cover.png", png(640, 360))
    cloud.drop("_defaults.json", {"image_url": "cover.png"})
    cloud.drop("a/song.mp3", silence(2))
    cloud.drop("a/song.json", SIDECAR | {"end_image_url": "https://images.example.com/end.png"})

    send("a/song.json")

    sent = fal.posts[0].arguments
    assert "/cover.png?" in sent["image_url"]
    assert sent["end_image_url"] == "https://images.example.com/end.png"


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"></svg>'


@pytest.mark.parametrize("field", ["image_url", "end_image_url"])
@pytest.mark.parametrize("size", ["auto", "square"])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_image"),
        (SVG, "not_an_image"),
        (b"<!doctype html><title>404</title>", "not_an_image"),
        (png(640, 360)[:60], "not_an_image"),
    ],
)
def test_an_image_that_fal_cannot_read_is_refused_before_anything_is_paid(
    cloud: Cloud, send: Send, body: bytes, code: str, size: str, field: str
) -> None:
    cloud.drop("a/cover.png", body)
    cloud.drop("a/good.png", png(640, 360))
    images = {"image_url": "good.png", "end_image_url": "good.png"} | {field: "cover.png"}
    cloud.drop("a/song.mp3", silence(2))
    cloud.drop("a/song.json", SIDECAR | images | {"video_size": size})

    assert send("a/song.json") == []

    assert set(errors(cloud)) == {code}
    error = errors(cloud)[code]
    assert (error["field"], error["value"]) == (field, "cover.png")
    assert "a/cover.png" in error["message"]


# What is wrong with a drop ----------------------------------------------------------------------


def test_audio_too_long_is_reported_with_the_sum_and_the_three_ways_out(
    cloud: Cloud, fal: FakeFalQueue, send: Send, function: Callable[..., ModuleType]
) -> None:
    function("submit", LONG_AUDIO="reject")
    cloud.drop("song.wav", silence(30))
    cloud.drop("song.json", SIDECAR)

    send("song.json")

    message = errors(cloud)["audio_too_long"]["message"]
    assert "30.00 s at 24 fps are 720 frames; at most 481" in message
    for way_out in (
        "Trim the audio to 20.04 s",
        "lower fps to 16.03",
        "match_audio_length to false",
    ):
        assert way_out in message
    assert fal.posts == []


@pytest.mark.parametrize(("seconds", "is_slow_enough"), [(480, True), (500, False)])
def test_no_way_out_is_advised_that_the_sidecar_does_not_take(
    cloud: Cloud,
    send: Send,
    function: Callable[..., ModuleType],
    seconds: float,
    *,
    is_slow_enough: bool,
) -> None:
    function("submit", LONG_AUDIO="reject")
    cloud.drop("song.wav", silence(seconds, 100))
    cloud.drop("song.json", SIDECAR)

    send("song.json")

    message = errors(cloud)["audio_too_long"]["message"]
    assert ("lower fps to" in message) == is_slow_enough
    assert "match_audio_length to false" in message


@pytest.mark.parametrize(
    "change",
    [{"fps": 16.03}, {"match_audio_length": False}],
    ids=["lower fps", "match_audio_length"],
)
def test_each_way_out_leads_out(
    cloud: Cloud, fal: FakeFalQueue, send: Send, change: dict[str, Any]
) -> None:
    cloud.drop("song.wav", silence(30))
    cloud.drop("song.json", SIDECAR | change)

    send("song.json")

    assert (cloud.only_item()["status"], len(fal.posts)) == ("SUBMITTED", 1)


def test_trimming_to_the_reported_length_is_accepted(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("song.wav", silence(20.04))
    cloud.drop("song.json", SIDECAR)

    send("song.json")

    assert (cloud.only_item()["status"], len(fal.posts)) == ("SUBMITTED", 1)
    assert cloud.only_item()["estimate"]["frames"] == 481


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_audio"),
        (b"<html>404</html>" * 99, "not_audio"),
        (b"ID3\x03\0\0\0\0\x0f\x76", "not_audio"),
        (b"RIFF\0\0\0\0WAVE", "not_audio"),
        (b"OggS" + bytes(60), "not_audio"),
        (b"\xff\xf1" + bytes(9), "not_audio"),
        (b"fLaC", "not_audio"),
        (b"\0\0\0\x18ftypM4A " + bytes(30), "not_audio"),
        (png(640, 360), "not_audio"),
    ],
)
@pytest.mark.parametrize("suffix", ["mp3", "m4a"])
def test_what_is_not_audio_is_refused_whatever_its_name(
    cloud: Cloud, fal: FakeFalQueue, send: Send, body: bytes, code: str, suffix: str
) -> None:
    cloud.drop(f"song.{suffix}", body)
    cloud.drop("song.json", SIDECAR)

    failed = send("song.json")

    assert (failed, fal.posts) == ([], [])
    assert set(errors(cloud)) == {code}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "not_json"),
        (b" " * (1024 * 1024) + b"{}", "sidecar_too_long"),
        (b'{"prompt": "caf\xe9"}', "not_utf8"),
        (b"[1]", None),
        (b'{"prompt": "a", "prompt": "b"}', "not_json"),
        (b'{"prompt": "a", "fps": NaN}', "not_json"),
        (b'{"prompt": "a", "fps": 1e400}', "wrong_type"),
        (b"[" * 30_000, "not_json"),
        (b'{"prompt": "\\ud800"}', "not_utf8"),
        (b'{"prompt": "a", "audio_url": "https://x.example.com/"}', "not_allowed"),
        (b'{"prompt": "a", "sync_mode": true}', "not_allowed"),
        (b'{"prompt": "a", "promt": "b"}', "unknown_field"),
        (b'{"prompt": "a", "seed": 99999999999999999999999999999999999999999}', None),
    ],
)
def test_a_sidecar_that_cannot_be_read_is_refused_and_spends_nothing(
    cloud: Cloud, fal: FakeFalQueue, send: Send, text: bytes, code: str | None
) -> None:
    cloud.drop("song.mp3", silence(2))
    cloud.drop("song.json", text)

    failed = send("song.json")

    assert (failed, fal.posts) == ([], [])
    found = errors(cloud)
    assert code is None or set(found) == {code}
    assert all(error["message"].isprintable() for error in found.values())


def test_a_byte_order_mark_and_a_sidecar_of_64_kib_are_fine(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    text = b"\xef\xbb\xbf" + json.dumps(SIDECAR).encode()
    cloud.drop("song.mp3", silence(2))
    cloud.drop("song.json", text.ljust(64 * 1024))

    send("song.json")

    assert (cloud.only_item()["status"], len(fal.posts)) == ("SUBMITTED", 1)


def test_all_that_is_wrong_is_reported_at_once(cloud: Cloud, fal: FakeFalQueue, send: Send) -> None:
    cloud.drop("song.mp3", b"")
    cloud.drop("song.wav", silence(2))
    cloud.drop(
        "song.json",
        {"fps": 0, "scheduler": "alpha", "colour": "red", "image_url": "ftp://x/y", "seed": "1"},
    )

    send("song.mp3")

    found = next(item for item in cloud.items() if item["audio"]["key"] == "song.mp3")["errors"]
    assert {(error["code"], error.get("field")) for error in found} == {
        ("ambiguous_sidecar", "sidecar"),
        ("empty_audio", "audio"),
        ("missing_field", "prompt"),
        ("out_of_range", "fps"),
        ("not_allowed", "scheduler"),
        ("unknown_field", "colour"),
        ("not_allowed", "image_url"),
        ("wrong_type", "seed"),
    }
    assert fal.posts == []


def test_a_strength_of_next_to_nothing_is_no_reason_to_lose_the_drop(
    cloud: Cloud, send: Send
) -> None:
    cloud.drop("song.mp3", silence(2))
    cloud.drop("song.json", SIDECAR | {"image_strength": 1e-200})

    failed = send("song.json")

    assert failed == []
    assert cloud.only_item()["status"] in {"SUBMITTED", "REJECTED"}


def test_a_rejected_drop_that_is_mended_is_a_new_job(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("song.mp3", silence(2))
    cloud.drop("song.json", {"fps": 24})
    send("song.json")
    cloud.drop("song.json", SIDECAR)

    send("song.json")

    assert (cloud.statuses(), len(fal.posts)) == (["REJECTED", "SUBMITTED"], 1)


# Messages ---------------------------------------------------------------------------------------


def test_a_dispatch_submits_the_job_it_names_and_no_other(
    cloud: Cloud, fal: FakeFalQueue, send: Send, load_event: Callable[[str], Any]
) -> None:
    fal.answer = Refused("fal_busy", "later", retryable=True)
    for name in ("one", "two"):
        cloud.drop(f"{name}.mp3", silence(2))
        cloud.drop(f"{name}.json", SIDECAR)
    failed = send("one.json", "two.json")
    job = next(item["job_id"] for item in cloud.items() if item["name"] == "one")
    fal.answer = None
    cloud.let_turn_come(job)
    message = json.loads(load_event("sqs-dispatch")["Records"][0]["body"])

    send(message | {"job_id": job})

    assert failed == []
    made = {item["name"]: item["status"] for item in cloud.items()}
    assert made == {"one": "SUBMITTED", "two": "READY"}
    assert len(fal.posts) == 3


def test_a_dispatch_of_no_job_or_of_one_under_way_does_nothing(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("song.mp3", silence(2))
    cloud.drop("song.json", SIDECAR)
    send("song.json")

    failed = send({"job_id": cloud.only_item()["job_id"]}, {"job_id": "0" * 32})

    assert failed == []
    assert len(fal.posts) == 1


@pytest.mark.parametrize(
    "poison",
    ["{not json", '{"detail": {}}', '["job_id"]', "{}", '{"job_id": ""}'],
)
def test_a_poison_message_fails_alone(
    cloud: Cloud, fal: FakeFalQueue, send: Send, poison: str
) -> None:
    cloud.drop("one.mp3", silence(2))
    cloud.drop("one.json", SIDECAR)
    cloud.drop("two.mp3", silence(2))
    cloud.drop("two.json", SIDECAR)

    failed = send(
        created("one.json"),
        json.loads(poison) if "job_id" in poison else poison,
        created("two.json"),
    )

    assert failed == ["m1"]
    assert (cloud.statuses(), len(fal.posts)) == (["SUBMITTED"] * 2, 2)


def test_an_event_of_another_bucket_is_poison(cloud: Cloud, fal: FakeFalQueue, send: Send) -> None:
    foreign = created("song.mp3")
    foreign["detail"]["bucket"]["name"] = "outputs"

    failed = send(foreign)

    assert (failed, cloud.items(), fal.posts) == (["m0"], [], [])


def test_a_job_that_fal_would_not_take_now_waits_for_its_dispatch(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("song.mp3", silence(2))
    cloud.drop("song.json", SIDECAR)
    fal.answer = Refused("fal_busy", "later", retryable=True)
    failed = send("song.json")
    (waiting,) = cloud.items()
    fal.answer = None
    cloud.let_turn_come(waiting["job_id"])

    failed += send({"job_id": waiting["job_id"]})

    assert failed == []
    assert (waiting["status"], waiting["waits_for"]) == ("READY", "fal")
    assert (cloud.statuses(), len(fal.posts)) == (["SUBMITTED"], 2)


# Measuring --------------------------------------------------------------------------------------


def measured(cloud: Cloud, key: str, body: bytes) -> AudioFacts:
    cloud.drop(key, body)
    s3 = client("s3", "s3v4")
    bucket = DropBucket(s3, s3, DROPS)
    found = bucket.find(key)
    assert found
    return LocalProber(bucket).audio(found)


@pytest.mark.parametrize("variety", SOUNDS)
def test_every_sort_of_audio_is_measured(cloud: Cloud, variety: str) -> None:
    audio = measured(cloud, f"song.{variety.partition(' ')[0]}", sound(variety))

    assert audio.seconds == pytest.approx(2.0, abs=0.1)
    assert audio.format


@pytest.mark.parametrize("variety", ["wav", "aac", "ogg opus", "m4a with moov at the end"])
def test_audio_is_recognised_by_its_bytes_and_not_by_its_name(cloud: Cloud, variety: str) -> None:
    audio = measured(cloud, "song.mp3", sound(variety))

    assert audio.seconds == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(
    ("variety", "image"),
    [
        (variety, image)
        for variety in ("mp3 cbr", "mp3 vbr", "mp3 without a Xing header", "aac")
        for image in (64, 300_000, 6_000_000)
        # FFmpeg, and so fal, takes raw AAC for MP3 behind a tag that is as long as that
        if (variety, image) != ("aac", 6_000_000)
    ],
)
def test_a_tag_with_a_cover_before_the_audio_does_not_count(
    cloud: Cloud, variety: str, image: int
) -> None:
    audio = measured(cloud, "song.mp3", with_id3(sound(variety), image))

    assert audio.seconds == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("seconds", [0.5, 20.04])
@pytest.mark.parametrize("variety", ["aac", "mp3 vbr", "m4a with moov at the end", "ogg vorbis"])
def test_short_and_long_audio_files_are_measured_as_well(
    cloud: Cloud, variety: str, seconds: float
) -> None:
    audio = measured(cloud, "song.bin", sound(variety, seconds))

    assert audio.seconds == pytest.approx(seconds, abs=0.1)


def test_of_a_long_file_no_more_is_read_than_can_be_made_into_a_video(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    get = cloud.s3.get_object

    def counting(**request: Any) -> Any:
        answer = get(**request)
        read.append(answer["ContentLength"])
        return answer

    monkeypatch.setattr(client("s3", "s3v4"), "get_object", counting)

    audio = measured(cloud, "song.wav", silence(2000))

    assert audio.seconds == pytest.approx(2000)
    assert sum(read) < 8 * 2**20


def test_a_drop_keeps_its_length_and_format_in_the_record(cloud: Cloud, send: Send) -> None:
    cloud.drop("song.flac", sound("flac"))
    cloud.drop("song.json", SIDECAR)

    send("song.json")

    audio = cloud.only_item()["audio"]
    assert (audio["format"], audio["codec"]) == ("audio/flac", "flac")
    assert float(audio["seconds"]) == pytest.approx(2.0, abs=0.1)
    assert audio["bytes"] == len(sound("flac"))
    assert JobStatus(cloud.only_item()["status"]) is JobStatus.SUBMITTED
