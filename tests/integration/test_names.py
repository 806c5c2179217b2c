"""Names as people and tools write them: spellings, cases, folders, and what is nearly right."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime
from itertools import permutations
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, unquote, urlsplit

import pytest

from phonoscene.drops.keys import AUDIO_SUFFIXES, half_id
from phonoscene.jobs import JobStatus, Video
from phonoscene.publishing.manifests import Manifest, to_bytes
from phonoscene.publishing.pointers import Pointer
from phonoscene.publishing.receipts import Receipt
from tests.integration.workspace import numbered_job
from tests.support.media.samples import png, silence, sound
from tests.support.stack import DROPS, OUTPUT, created

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.desk import Desk
    from tests.integration.fal_queue import FakeFalQueue
    from tests.integration.moto_stack import Cloud

    Send = Callable[..., list[str]]

SIDECAR = {"prompt": "A stage", "video_size": {"width": 64, "height": 64}}
SOUND = silence(1)


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def only_error(cloud: Cloud) -> dict[str, Any]:
    item = cloud.only_item()
    assert item["status"] == "REJECTED"
    (error,) = item["errors"]
    return dict(error)


# Spellings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("forms", [(nfc, nfd), (nfd, nfc), (nfd, nfd)], ids=["CD", "DC", "DD"])
@pytest.mark.parametrize("audio_first", [True, False])
@pytest.mark.parametrize("name", ["café", "Événements/café", "ガ/각"])
def test_halves_whose_accents_are_spelled_in_two_ways_are_one_drop(
    cloud: Cloud, fal: FakeFalQueue, send: Send, forms: Any, audio_first: bool, name: str
) -> None:
    audio, sidecar = forms[0](f"{name}.wav"), forms[1](f"{name}.json")
    halves: dict[str, Any] = {audio: SOUND, sidecar: SIDECAR}
    order = list(halves) if audio_first else list(halves)[::-1]

    failed = []
    for key in order:
        cloud.drop(key, halves[key])
        failed += send(key)

    job = cloud.only_item()
    assert (failed, job["status"], job["name"]) == ([], "SUBMITTED", nfc(name))
    assert (job["audio"]["key"], job["sidecar"]["key"]) == (audio, sidecar)
    url = urlsplit(fal.posts[0].arguments["audio_url"])
    assert unquote(url.path).endswith(audio)


def test_an_image_and_defaults_are_found_however_their_names_are_spelled(
    cloud: Cloud, send: Send
) -> None:
    cloud.drop(nfd("é/_defaults.json"), {"fps": 12})
    cloud.drop(nfd("é/château.png"), png(64, 48))
    cloud.drop(nfc("é/song.wav"), SOUND)
    cloud.drop(nfc("é/song.json"), SIDECAR | {"image_url": nfc("château.png")})

    send(nfc("é/song.json"))

    job = cloud.only_item()
    assert job["arguments"]["fps"] == 12
    assert job["images"]["image_url"]["key"] == nfd("é/château.png")


def test_a_name_that_is_spelled_anew_is_the_same_job(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    for form in (nfc, nfd):
        for key, body in (("café.wav", SOUND), ("café.json", SIDECAR)):
            cloud.drop(form(key), body)
            send(form(key))

    assert cloud.statuses() == ["SUBMITTED"]
    assert len(fal.posts) == 1


@pytest.mark.parametrize("suffix", [".JSON", ".Json", ".wav.JSON"])
def test_a_sidecar_in_capitals_is_a_sidecar(cloud: Cloud, send: Send, suffix: str) -> None:
    cloud.drop("song.wav", SOUND)
    cloud.drop(f"song{suffix}", SIDECAR)

    send(f"song{suffix}")

    assert cloud.only_item()["sidecar"]["key"] == f"song{suffix}"


def test_oga_is_audio(cloud: Cloud, send: Send) -> None:
    cloud.drop("note.oga", sound("ogg opus"))
    cloud.drop("note.json", SIDECAR)

    send("note.oga")

    assert cloud.statuses() == ["SUBMITTED"]


# Encoded keys -----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a b.wav", "a+b%20.wav", "日本/ü.wav", "100%.wav"])
@pytest.mark.parametrize("encode", [str, quote_plus], ids=["as it is", "encoded"])
def test_a_key_is_found_as_it_is_and_url_encoded(
    cloud: Cloud, send: Send, key: str, encode: Callable[[str], str]
) -> None:
    sidecar = key.replace(".wav", ".json")
    cloud.drop(key, SOUND)
    cloud.drop(sidecar, SIDECAR)

    for half in (key, sidecar):
        send(encode(half))

    job = cloud.only_item()
    assert (job["status"], job["audio"]["key"]) == ("SUBMITTED", key)


def test_a_key_that_is_there_as_it_is_written_is_not_decoded(cloud: Cloud, send: Send) -> None:
    for key in ("a+b.wav", "a b.wav"):
        cloud.drop(key, SOUND)

    send("a+b.wav")

    assert cloud.only_item()["audio"]["key"] == "a+b.wav"


@pytest.mark.parametrize("key", ["%5Fsong.wav", "so%0Ang.wav", "..%2Fsong.wav", "%2Egit/song.wav"])
def test_no_encoding_leads_to_a_key_that_is_ignored_or_refused(
    cloud: Cloud, send: Send, key: str
) -> None:
    cloud.drop(unquote(key), SOUND)

    failed = send(key)

    assert (failed, cloud.items()) == ([], [])


def test_an_event_of_an_object_that_is_gone_is_counted(
    cloud: Cloud, send: Send, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = send("gone.wav", "gone too.json")

    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (failed, cloud.items()) == ([], [])
    assert [sum(one["DropsGone"]) for one in metrics if "DropsGone" in one] == [2]


# Folders that are ignored -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [["song.wav"], ["song.json"], ["song.wav", "song.json"], ["song.wav ", "a\nb.wav"]],
    ids=str,
)
@pytest.mark.parametrize("folder", ["done/", "done/2026/"])
def test_nothing_is_made_of_what_is_in_a_folder_that_is_ignored(
    cloud: Cloud, fal: FakeFalQueue, send: Send, keys: list[str], folder: str
) -> None:
    cloud.drop("done/_defaults.json", {"ignore": True})
    for key in keys:
        cloud.drop(folder + key, SOUND if key.endswith("wav") else json.dumps(SIDECAR))

    failed = send(*(folder + key for key in keys))

    assert (failed, cloud.items(), fal.posts) == ([], [], [])


def test_files_that_are_moved_to_such_a_folder_keep_their_job(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("talks/done/_defaults.json", {"ignore": True})
    for key, body in (("song.wav", SOUND), ("song.json", json.dumps(SIDECAR))):
        cloud.drop(f"talks/{key}", body)
        send(f"talks/{key}")
    before = cloud.items()

    for key in ("song.wav", "song.json"):
        source = {"Bucket": DROPS, "Key": f"talks/{key}"}
        cloud.s3.copy_object(Bucket=DROPS, Key=f"talks/done/{key}", CopySource=source)  # type: ignore[arg-type]
        cloud.s3.delete_object(**source)  # type: ignore[arg-type]
        send(f"talks/done/{key}")

    assert cloud.items() == before
    assert len(fal.posts) == 1


def test_the_nearest_defaults_say_whether_a_folder_is_ignored(cloud: Cloud, send: Send) -> None:
    cloud.drop("done/_defaults.json", {"ignore": True})
    cloud.drop("done/again/_defaults.json", {"ignore": False})
    cloud.drop("done/again/song.wav", SOUND)
    cloud.drop("done/again/song.json", SIDECAR)

    send("done/again/song.wav")

    assert cloud.statuses() == ["SUBMITTED"]


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("_defaults.json", "yes", "wrong_type"),
        ("_defaults.json", 1, "wrong_type"),
        ("song.json", True, "not_allowed"),
    ],
)
def test_ignore_that_cannot_be_meant_is_refused_and_hides_nothing(
    cloud: Cloud, send: Send, key: str, value: Any, code: str
) -> None:
    cloud.drop("song.wav", SOUND)
    cloud.drop("song.json", SIDECAR)
    cloud.drop(key, {"ignore": value} if key == "_defaults.json" else SIDECAR | {"ignore": value})

    send("song.wav", "song.json")

    error = only_error(cloud)
    assert (error["code"], error["field"], error["source"]) == (code, "ignore", key)


# Halves that stay alone -------------------------------------------------------------------------


def end_wait(send: Send, key: str) -> list[str]:
    """As the schedule does once a half's grace is over."""
    return send({"job_id": half_id(DROPS, key)})


@pytest.mark.usefixtures("no_grace")
@pytest.mark.parametrize(
    ("half", "beside", "near"),
    [
        ("intro.wav", "intro.jsn", True),
        ("intro.wav", "Intro.json", True),
        ("intro.wav", "intro (1).json", True),
        ("intro.wav", "intro.json.txt", True),
        ("intro.wav", "intro", True),
        ("intro.wav", "intro - Copy.json", True),
        ("intro.wav", "intro.wave.json", True),
        ("intro.json", "intro.mp4", True),
        ("Intro.json", "intro.wav", True),
        ("intro.wav.json", "intro.mp3", True),
        ("intro.json", "intro (1).wav", True),
        ("intro.wav", "outro.json", False),
        ("intro.wav", "intro.png", False),
        ("intro.wav", "intro.status.json", False),
        ("intro.wav", "intro.mp4.newest.json", False),
        ("intro.json", "intro.png", False),
        ("intro.wav", "cover.jpg", False),
        ("intro.wav", "other/intro.json", False),
    ],
)
@pytest.mark.parametrize("folder", ["", "talks/"])
def test_a_half_that_waited_in_vain_names_what_was_wanted_and_what_is_nearly_that(
    cloud: Cloud, send: Send, half: str, beside: str, near: bool, folder: str
) -> None:
    cloud.drop(folder + half, SOUND if half.endswith("wav") else json.dumps(SIDECAR))
    send(folder + half)
    cloud.drop(folder + beside, b"{}")

    failed = end_wait(send, folder + half)

    error = only_error(cloud)
    assert failed == []
    assert error["code"] == ("missing_sidecar" if half.endswith("wav") else "missing_audio")
    assert error.get("value") == (folder + beside if near else None)
    assert (folder + beside in error["message"]) is near
    if half.endswith("wav"):
        assert error["allowed"] == f"{folder}{half}.json or {folder}intro.json"
    else:
        assert set(AUDIO_SUFFIXES) <= set(error["allowed"].split())


@pytest.mark.usefixtures("no_grace")
@pytest.mark.parametrize(
    ("half", "beside", "advice"),
    [
        ("intro.json", "intro.webm", "intro.webm has a format that is not supported: convert it"),
        ("intro.json", "Intro.AIFF", "Intro.AIFF has a format that is not supported: convert it"),
        ("intro.json", "intro.mp3.bak", "intro.mp3.bak is in the same folder: rename it"),
        ("intro.json", "intro.mp3.part", "did not end: upload the whole file."),
        ("intro.json", "intro.mp3.filepart", "did not end: upload the whole file."),
        ("intro.json", "intro.wav.1a2b3c4d.partial", "did not end: upload the whole file."),
        ("intro.wav", "intro.json.tmp", "did not end: upload the whole file."),
        ("intro.wav", "intro.webm", "or intro.json."),
    ],
)
def test_what_is_nearly_right_is_to_be_renamed_and_another_format_converted(
    cloud: Cloud, send: Send, half: str, beside: str, advice: str
) -> None:
    cloud.drop(half, SOUND if half.endswith("wav") else json.dumps(SIDECAR))
    send(half)
    cloud.drop(beside, b"{}")

    end_wait(send, half)

    message = only_error(cloud)["message"]
    assert advice in message
    assert ("rename" in message) == ("rename" in advice)
    assert "Drop the missing file" not in message  # which is the error's fix


@pytest.mark.usefixtures("no_grace")
def test_a_name_that_has_its_own_pair_is_not_near(cloud: Cloud, send: Send) -> None:
    for key in ("intro1.wav", "intro2.wav"):
        cloud.drop(key, SOUND)
    cloud.drop("intro1.json", SIDECAR)
    send("intro2.wav")

    end_wait(send, "intro2.wav")

    assert "value" not in only_error(cloud)


@pytest.mark.usefixtures("no_grace")
@pytest.mark.parametrize("near", ["intro.jsn", "Intro.json", "inro.json"])
def test_a_near_name_is_found_in_a_folder_of_thousands_with_few_listings(
    cloud: Cloud, send: Send, near: str
) -> None:
    for number in range(1100):
        cloud.drop(f"talks/#{number:04}.txt", b"")
    cloud.drop("talks/intro.wav", SOUND)
    cloud.drop(f"talks/{near}", SIDECAR)
    send("talks/intro.wav")
    calls: list[str] = []
    heard: Any = lambda model, **_: calls.append(model.name)  # noqa: E731 - an event's handler
    cloud.s3.meta.events.register("before-call", heard)
    try:
        end_wait(send, "talks/intro.wav")
    finally:
        cloud.s3.meta.events.unregister("before-call", heard)

    assert only_error(cloud)["value"] == f"talks/{near}"
    assert len(calls) <= 8


@pytest.mark.usefixtures("no_grace")
def test_a_half_whose_other_half_came_without_an_event_becomes_its_job_after_all(
    cloud: Cloud, send: Send
) -> None:
    cloud.drop("song.wav", SOUND)
    send("song.wav")
    cloud.drop("song.json", SIDECAR)

    end_wait(send, "song.wav")

    assert cloud.statuses() == ["SUBMITTED"]


def test_a_half_whose_grace_is_not_over_goes_on_waiting(cloud: Cloud, send: Send) -> None:
    cloud.drop("song.wav", SOUND)
    send("song.wav")

    end_wait(send, "song.wav")

    assert cloud.statuses() == ["WAITING"]


@pytest.mark.usefixtures("no_grace")
@pytest.mark.parametrize("key", ["song.wav", "_defaults.json"])
def test_a_half_that_was_removed_or_is_ignored_by_now_does_not_wait_for_ever(
    cloud: Cloud, send: Send, key: str
) -> None:
    cloud.drop("song.wav", SOUND)
    send("song.wav")
    if key == "song.wav":
        cloud.s3.delete_object(Bucket=DROPS, Key=key)
    else:
        cloud.drop(key, {"ignore": True})
        cloud.drop("song.json", SIDECAR)

    end_wait(send, "song.wav")

    assert only_error(cloud)["code"] == "missing_sidecar"


# Results that come back -------------------------------------------------------------------------


def results(name: str) -> dict[str, bytes]:
    """What the output bucket holds of a drop, by key."""
    video = Video(
        bucket=OUTPUT,
        key=f"{name}/video.mp4",
        version_id="v1",
        bytes=1,
        sha256="0" * 64,
        content_type="video/mp4",
        stable_keys=(f"{name}.mp4",),
    )
    job = numbered_job(name=name, status=JobStatus.SUCCEEDED, video=video)
    waits = numbered_job(name=f"{name}.old", status=JobStatus.WAITING)
    return {
        **{one.key: one.to_json().encode() for one in Pointer.all_of(job)},
        **{
            one.key: one.to_json().encode() for one in (Receipt.of(of, None) for of in (job, waits))
        },
        f"{name}/{job.job_id}.json": to_bytes(Manifest.of(job).fields()),
        f"{name}/{job.job_id}.mp4": b"a video",
        f"{name}.mp4": b"a video",
    }


@pytest.mark.parametrize("is_reversed", [False, True])
def test_results_that_are_synced_back_are_no_drops(
    cloud: Cloud, send: Send, *, is_reversed: bool
) -> None:
    cloud.drop("talks/intro.wav", SOUND)
    cloud.drop("talks/intro.json", SIDECAR)
    send("talks/intro.wav")

    for key, body in sorted(results("talks/intro").items(), reverse=is_reversed):
        cloud.drop(key, body)
        send(key)

    assert [item["name"] for item in cloud.items()] == ["talks/intro"]


def test_the_newest_video_that_is_synced_back_is_no_recording(cloud: Cloud, send: Send) -> None:
    """Its audio was moved away, and its folder's audio needs no sidecar."""
    cloud.drop("talks/_defaults.json", SIDECAR | {"wait_for_sidecar": False})
    back = results("talks/intro")
    for key, body in back.items():
        cloud.drop(key, body)

    for key in back:
        send(key)

    assert cloud.items() == []


def test_a_sidecar_may_be_named_like_a_receipt(cloud: Cloud, send: Send) -> None:
    cloud.drop("intro.status.json", SIDECAR)
    send("intro.status.json")
    cloud.drop("intro.status.wav", SOUND)

    send("intro.status.wav")

    assert cloud.statuses() == ["SUBMITTED"]


# Formats that are not supported ------------------------------------------------------------------


@pytest.mark.parametrize("files", list(permutations(["talk.mp4", "talk.json"])), ids="-".join)
@pytest.mark.parametrize("spelled", [nfc, nfd])
@pytest.mark.parametrize("sidecar", ["{}.json", "{}.MP4.json"])
def test_a_sidecar_of_a_file_in_another_format_is_rejected_at_once_in_either_order(
    cloud: Cloud, send: Send, files: tuple[str, str], spelled: Any, sidecar: str
) -> None:
    names = {"talk.mp4": "é/tälk.MP4", "talk.json": sidecar.format(spelled("é/tälk"))}

    for file in files:
        cloud.drop(names[file], b"\0" if file == "talk.mp4" else json.dumps(SIDECAR))
        send(names[file])

    error = only_error(cloud)
    assert (error["code"], error["source"], error["value"]) == (
        *("unsupported_format", "é/tälk.MP4"),
        ".MP4",
    )
    stem = "é/tälk.MP4" if "MP4" in sidecar else "é/tälk"
    assert f"drop the result as {stem}.mp3" in error["message"]
    cloud.drop(f"{stem}.wav", SOUND)
    send(f"{stem}.wav")
    assert "SUBMITTED" in cloud.statuses()


def test_each_file_in_another_format_is_rejected_when_it_comes(cloud: Cloud, send: Send) -> None:
    cloud.drop("talk.json", SIDECAR)
    send("talk.json")
    for second, key in enumerate(("talk.mp4", "talk.aiff", "talk.aiff")):
        cloud.drop(key, b"\0")
        send(created(key, datetime(2026, 11, 28, 12, 0, second, tzinfo=UTC)))
        cloud.s3.delete_object(Bucket=DROPS, Key=key)

    sources = [item["errors"][0]["source"] for item in cloud.items()]
    assert sorted(sources) == ["talk.aiff", "talk.aiff", "talk.mp4"]


@pytest.mark.parametrize("suffix", [".3gpp", ".3ga", ".qta", ".aifc", ".ape", ".WMV"])
def test_what_phones_and_studios_record_is_not_passed_over_in_silence(
    cloud: Cloud, send: Send, suffix: str
) -> None:
    cloud.drop("voice/_defaults.json", SIDECAR | {"wait_for_sidecar": False})
    cloud.drop(f"voice/memo{suffix}", b"\0")

    send(f"voice/memo{suffix}")

    assert only_error(cloud)["code"] == "unsupported_format"


def test_the_converted_file_then_makes_the_job(cloud: Cloud, send: Send) -> None:
    files: dict[str, Any] = {"talk.json": SIDECAR, "talk.mp4": b"\0", "talk.wav": SOUND}
    for key, body in files.items():
        cloud.drop(key, body)
        send(key)

    assert cloud.statuses() == ["SUBMITTED"]


@pytest.mark.parametrize(
    "files", list(permutations(["talk.mp4", "talk.json", "talk.wav"])), ids="-".join
)
def test_a_file_in_another_format_does_not_disturb_a_pair(
    cloud: Cloud, send: Send, files: tuple[str, ...]
) -> None:
    contents: dict[str, Any] = {"talk.mp4": b"\0", "talk.json": SIDECAR, "talk.wav": SOUND}
    for key in files:
        cloud.drop(key, contents[key])

    send(*files)

    assert cloud.statuses() == ["SUBMITTED"]


def test_alone_it_is_rejected_once_where_the_defaults_need_no_sidecar(
    cloud: Cloud, send: Send
) -> None:
    cloud.drop("voice/_defaults.json", SIDECAR | {"wait_for_sidecar": False})
    for key in ("voice/memo.caf", "voice/.memo.caf", "voice/_old/memo.caf", "other/memo.caf"):
        cloud.drop(key, b"\0")

        send(key, key)

    error = only_error(cloud)
    assert (cloud.only_item()["name"], error["source"]) == ("voice/memo", "voice/memo.caf")


def test_a_sidecar_that_an_audio_file_has_is_not_rejected_for_another(
    cloud: Cloud, send: Send
) -> None:
    cloud.drop("talk.mp4.json", SIDECAR)
    send("talk.mp4.json")
    cloud.drop("talk.mp4.wav", SOUND)
    cloud.drop("talk.mp4", b"\0")

    send("talk.mp4")

    assert cloud.statuses() == ["WAITING"]
    send("talk.mp4.wav")
    assert cloud.statuses() == ["SUBMITTED"]


def test_a_recording_that_s3_does_not_give_is_rejected_for_its_format(
    cloud: Cloud, send: Send
) -> None:
    cloud.drop("voice/_defaults.json", SIDECAR | {"wait_for_sidecar": False})
    cloud.s3.put_object(Bucket=DROPS, Key="voice/memo.caf", Body=b"\0", StorageClass="GLACIER")

    failed = send("voice/memo.caf")

    assert (failed, only_error(cloud)["code"]) == ([], "unsupported_format")


@pytest.mark.parametrize("key", ["talk.mp4", "talk\n.mp4", "../talk.mp4"])
def test_a_film_that_nothing_waits_for_is_no_drop(cloud: Cloud, send: Send, key: str) -> None:
    cloud.drop(key, b"\0")

    failed = send(key, "gone.mp4")

    assert (failed, cloud.items()) == ([], [])


# More files of one name than a pair -------------------------------------------------------------


LONG = SIDECAR | {"prompt": "The one that counts"}
FILES: dict[str, Any] = {"song.wav": SOUND, "song.json": SIDECAR, "song.wav.json": LONG}


@pytest.mark.parametrize("order", list(permutations(FILES)), ids="-".join)
def test_a_sidecar_beside_the_one_that_counts_is_noted_and_waits_for_nothing(
    cloud: Cloud, send: Send, order: tuple[str, ...]
) -> None:
    for key in order:
        body = FILES[key]
        cloud.drop(key, body if isinstance(body, bytes) else json.dumps(body))
        send(key)
        send(key)

    newest = max(cloud.items(), key=lambda item: str(item["created_at"]))
    assert newest["sidecar"]["key"] == "song.wav.json"
    assert newest["unused_sidecars"] == {"song.json"}
    assert "WAITING" not in cloud.statuses()


@pytest.mark.parametrize("event", ["song.wav", "song.json", "song.wav.json"])
def test_of_two_sidecars_that_come_together_the_longer_name_makes_the_only_job(
    cloud: Cloud, fal: FakeFalQueue, send: Send, event: str
) -> None:
    for key, body in FILES.items():
        cloud.drop(key, body if isinstance(body, bytes) else json.dumps(body))

    send(event)
    send(*FILES)

    assert len(fal.posts) == 1
    assert cloud.only_item()["unused_sidecars"] == {"song.json"}


def test_a_second_audio_file_is_rejected_alone_under_its_own_name(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("talk.wav", SOUND)
    cloud.drop("talk.json", SIDECAR)
    send("talk.wav")
    before = cloud.only_item()
    cloud.drop("talk.mp3", SOUND)

    send("talk.mp3")
    send("talk.wav", "talk.json")

    first, rejected = sorted(cloud.items(), key=lambda item: str(item["created_at"]))
    assert first == before
    assert (rejected["name"], rejected["status"]) == ("talk.mp3", "REJECTED")
    assert [error["code"] for error in rejected["errors"]] == ["ambiguous_sidecar"]
    assert len(fal.posts) == 1


def test_a_job_whose_sidecar_another_audio_file_could_have_takes_repeats(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("talk.wav", SOUND)
    cloud.drop("talk.json", SIDECAR)
    send("talk.wav")
    cloud.drop("talk.mp3", SOUND)
    send("talk.mp3")
    cloud.drop("talk.wav", SOUND)

    send("talk.wav")

    assert cloud.statuses() == ["REJECTED", "SUBMITTED"]
    assert len(fal.posts) == 1


def test_a_changed_sidecar_that_two_audio_files_could_have_is_rejected_for_both(
    cloud: Cloud, fal: FakeFalQueue, send: Send
) -> None:
    cloud.drop("talk.wav", SOUND)
    cloud.drop("talk.json", SIDECAR)
    send("talk.wav")
    cloud.drop("talk.mp3", SOUND)
    cloud.drop("talk.json", LONG)

    send("talk.mp3", "talk.json")

    names = {item["name"]: item["status"] for item in cloud.items()}
    assert names == {"talk": "SUBMITTED", "talk.wav": "REJECTED", "talk.mp3": "REJECTED"}
    assert len(fal.posts) == 1


@pytest.mark.parametrize("event", ["talk.json", "talk.wav", "talk.mp3"])
def test_halves_that_wait_and_turn_out_to_be_ambiguous_wait_no_more(
    cloud: Cloud, fal: FakeFalQueue, send: Send, event: str
) -> None:
    for key in ("talk.wav", "talk.mp3"):
        cloud.drop(key, SOUND)
        send(key)
    cloud.drop("talk.json", SIDECAR)

    send(event)
    send("talk.json", "talk.wav", "talk.mp3")

    assert set(cloud.statuses()) == {"REJECTED"}
    assert {item["name"] for item in cloud.items()} == {"talk", "talk.wav", "talk.mp3"}
    assert fal.posts == []


@pytest.mark.parametrize(
    ("audio", "rival", "sidecar", "advice"),
    [
        ("talk.mp3", "talk.wav", "talk.json", "Name it talk.mp3.json, or keep one of these"),
        ("talk.mp3", "talk.mp3.wav", "talk.mp3.json", "Add talk.mp3.wav.json and drop talk.mp3"),
        ("caf\u00e9.wav", "cafe\u0301.wav", "caf\u00e9.json", "Both names look alike"),
        ("caf\u00e9.wav", "cafe\u0301.wav", "caf\u00e9.wav.json", "Both names look alike"),
    ],
)
def test_a_tie_says_what_would_end_it(
    cloud: Cloud, send: Send, audio: str, rival: str, sidecar: str, advice: str
) -> None:
    for key in (audio, rival):
        cloud.drop(key, SOUND)
    cloud.drop(sidecar, SIDECAR)

    send(sidecar)

    [item] = [item for item in cloud.items() if item["audio"]["key"] == audio]
    [error] = item["errors"]
    assert error["code"] == "ambiguous_sidecar"
    assert advice in error["message"]


def test_each_of_two_audio_files_is_shown_by_its_own_key(desk: Desk) -> None:
    for key, body in (("talk.wav", SOUND), ("talk.json", json.dumps(SIDECAR)), ("talk.mp3", SOUND)):
        desk.cloud.drop(key, body)
        desk.announce(key)

    keys = ("talk", "talk.wav", "talk.json", "talk.mp3", "s3://drops/talk.mp3")
    shown = {key: desk.says("show", key, "--json").data["status"] for key in keys}
    named = desk.says("jobs", "--name", "talk.mp3", "--json").data
    audit = desk.says("audit", "--older-than", "0s", "--json").data

    assert shown == {
        "talk": "SUBMITTED",
        "talk.wav": "SUBMITTED",
        "talk.json": "SUBMITTED",
        "talk.mp3": "REJECTED",
        "s3://drops/talk.mp3": "REJECTED",
    }
    assert [job["status"] for job in named] == ["REJECTED", "SUBMITTED"]
    assert (audit["missing"], audit["states"]) == ([], {"REJECTED": 1, "SUBMITTED": 1})
