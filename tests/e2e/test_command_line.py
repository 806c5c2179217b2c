"""The command line on a terminal, as a person has it, against the deployed stack."""

from __future__ import annotations

import io
import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import av
import pytest

from phonoscene.fal.webhook_message import WebhookMessage
from phonoscene_cli.dead_letters import DeadLetters, Letters, of_stack
from phonoscene_cli.doctor.checks import CHECKS
from phonoscene_cli.errors import CliError
from tests.e2e.command_line import ENDPOINTS, at_terminal, json_of, output_of, without_s3_events
from tests.support import schemas
from tests.support.local_stack import NO_WEBHOOK, eventually, make_audio
from tests.support.terminal import COLOUR, Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.local_stack import Phonoscene


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """A file on disk."""
    file = tmp_path / "song.wav"
    file.write_bytes(make_audio("wav"))
    return file


def test_a_file_is_priced_dropped_followed_and_its_video_is_on_disk(
    phonoscene: Phonoscene, name: str, song: Path
) -> None:
    folder, _, last = name.rpartition("/")
    video = song.with_name("video.mp4")
    words = ("--folder", folder, "--name", last, "--prompt", "Rain", "--set", "video_size=square")

    with at_terminal("drop", str(song), *words, "--watch", "--out", str(video)) as terminal:
        terminal.await_text("[y/N]")
        assert "25 frames of 512x512, 6.6 megapixels: $0.0053 to $0.0085" in terminal.text
        assert phonoscene.jobs.takes(name) == []
        terminal.type("y\n")
        code, text, raw = terminal.end(), terminal.text, terminal.raw

    assert code == 0
    assert f"video: {video}" in text
    for state in ("READY", "SUBMITTED", "GENERATED", "SUCCEEDED"):
        assert state in text
    assert COLOUR.search(raw)
    with av.open(io.BytesIO(video.read_bytes()), "r") as file:
        picture = file.streams.video[0]
        assert (picture.codec_context.name, picture.width) == ("h264", 512)
    assert phonoscene.take(name)["arguments"]["prompt"] == "Rain"


def test_a_no_or_an_interrupt_at_the_question_drops_nothing(
    phonoscene: Phonoscene, name: str, song: Path
) -> None:
    for answer, code in (("n\n", 1), ("\n", 1), ("\x03", 130)):
        with at_terminal("drop", str(song), "--name", name, "--prompt", "Rain") as terminal:
            terminal.await_text("[y/N]")
            terminal.type(answer)
            assert terminal.end() == code

    listed = phonoscene.s3.list_objects_v2(Bucket=phonoscene.endpoints.drop_bucket, Prefix=name)
    assert listed["KeyCount"] == 0


def test_an_interrupt_while_it_is_followed_leaves_the_job_alone_and_says_so(
    phonoscene: Phonoscene, name: str, song: Path
) -> None:
    words = ("--name", name, "--prompt", "Rain", "--yes", "--watch")
    with at_terminal("drop", str(song), *words) as terminal:
        terminal.await_text("dropped s3://")
        terminal.type("\x03")
        assert terminal.end() == 130
        assert f"To follow it again: `phonoscene {' '.join(ENDPOINTS)} watch " in terminal.text

    job = phonoscene.take(name)
    assert job["status"] == "SUCCEEDED"
    assert "SUCCEEDED" in output_of("watch", job["job_id"])


def test_an_interrupt_while_it_goes_up_leaves_nothing_of_it(
    phonoscene: Phonoscene, name: str, song: Path
) -> None:
    with song.open("ab") as file:
        file.truncate(300_000_000)  # what it takes to be interrupted; the rest is silence

    with at_terminal(
        "drop",
        str(song),
        "--name",
        name,
        "--prompt",
        "Rain",
        "--set",
        "match_audio_length=false",
        "--yes",
    ) as terminal:
        terminal.await_text("uploading")
        terminal.type("\x03")
        assert terminal.end() == 130
        assert "nothing was dropped" in terminal.text

    listed = phonoscene.s3.list_objects_v2(Bucket=phonoscene.endpoints.drop_bucket, Prefix=name)
    assert listed["KeyCount"] == 0


def test_a_wrong_drop_is_mended_and_taken_again(phonoscene: Phonoscene, name: str) -> None:
    phonoscene.drop(name, fps=99)
    rejected = phonoscene.take(name)

    text = output_of("show", name)
    again = output_of("retry", name, "--set", "fps=12", "--yes", "--watch")

    assert "fps is 99; allowed: a number from 1 to 60." in text
    assert f"retry {rejected['job_id']} --set fps=…`" in text
    assert "SUCCEEDED" in again
    takes = phonoscene.jobs.takes(name)
    assert [take["status"] for take in takes] == ["SUCCEEDED", "REJECTED"]
    assert takes[0]["arguments"]["fps"] == 12


def test_jobs_are_listed_shown_followed_and_summed_up(phonoscene: Phonoscene, name: str) -> None:
    phonoscene.drop(name)
    followed = output_of("watch", f"{name}.wav") if phonoscene.take(name) else ""
    job = phonoscene.take(name)

    assert [one["job_id"] for one in json_of("jobs", "--name", name)] == [job["job_id"]]
    assert job["job_id"] in output_of("jobs", "--limit", "1")
    assert job["job_id"] not in output_of("jobs", "--limit", "1", columns=80)
    assert "SUCCEEDED" in followed
    assert job["video"]["sha256"] in output_of("show", job["job_id"])
    cost = next(one for one in json_of("cost", "--by", "name")["groups"] if one["group"] == name)
    assert (cost["videos"], cost["upper_usd"]) == (1, float(job["estimate"]["upper_usd"]))


def test_what_runs_is_cancelled_and_it_is_told_that_fal_may_bill_it(
    phonoscene: Phonoscene, name: str
) -> None:
    phonoscene.drop(name, NO_WEBHOOK)
    job = phonoscene.take(name, until={"SUBMITTED"})
    phonoscene.put(f"{name}-half.wav", make_audio("wav"))
    phonoscene.take(f"{name}-half", until={"WAITING"})

    text = output_of("cancel", job["job_id"], f"{name}-half")

    assert f"{name}: CANCELLED; fal was asked to stop" in text
    assert f"{name}-half: CANCELLED; nothing was spent" in text
    assert "retry" in output_of("show", name)


def test_a_planted_missing_drop_is_found_and_admitted(
    phonoscene: Phonoscene, name: str, tmp_path: Path
) -> None:
    with without_s3_events(phonoscene):
        phonoscene.drop(f"{name}/lost")
        phonoscene.put(f"{name}/_defaults.json", b"{}")
    phonoscene.drop(f"{name}/there")
    phonoscene.take(f"{name}/there")
    now = ("--older-than", "0s")

    text = output_of("audit", f"{name}/", *now, code=1)
    found = json_of("audit", f"{name}/", *now, code=1)
    state = {"XDG_STATE_HOME": str(tmp_path)}
    plan = output_of("backfill", f"{name}/", "--dry-run", *now)
    output_of("backfill", f"{name}/", *now, "--yes", env=state)

    assert f"missing: {name}/lost.wav and {name}/lost.json" in text
    assert "dropped 2, accounted 1, missing 1" in text
    assert [one["name"] for one in found["missing"]] == [f"{name}/lost"]
    assert "1 job would be created, 25 frames" in plan
    assert phonoscene.take(f"{name}/lost")["status"] == "SUCCEEDED"
    assert "missing 0" in output_of("audit", f"{name}/", *now)
    assert list(tmp_path.rglob("*.json")) == []  # the cursor


@contextmanager
def ticking(phonoscene: Phonoscene) -> Iterator[None]:
    """The schedule is on, which these tests switch off."""
    events = phonoscene.endpoints.client("events")
    (rule,) = (one["Name"] for one in events.list_rules()["Rules"] if "EveryMinute" in one["Name"])
    events.enable_rule(Name=rule)
    try:
        yield
    finally:
        events.disable_rule(Name=rule)


def test_everything_works_and_the_doctor_says_so(phonoscene: Phonoscene) -> None:
    with ticking(phonoscene):
        checks = json_of("doctor")
        text = output_of("doctor")

    assert [(one["check"], one["level"]) for one in checks] == [(name, "ok") for name in CHECKS]
    assert text.count("ok ") >= len(CHECKS)


def test_a_stack_that_does_not_tick_and_hears_of_no_drops_is_what_the_doctor_fails(
    phonoscene: Phonoscene,
) -> None:
    at = {"Bucket": phonoscene.endpoints.drop_bucket}
    before = phonoscene.s3.get_bucket_notification_configuration(**at)
    del before["ResponseMetadata"]
    phonoscene.s3.put_bucket_notification_configuration(**at, NotificationConfiguration={})
    try:
        checks = json_of("doctor", code=1)
    finally:
        phonoscene.s3.put_bucket_notification_configuration(**at, NotificationConfiguration=before)

    failed = {one["check"]: one for one in checks if one["level"] != "ok"}
    assert set(failed) == {"drop events", "triggers"}
    assert at["Bucket"] in failed["drop events"]["next"]
    assert "ReconcileFunctionEveryMinute" in failed["triggers"]["detail"]


def test_a_terminal_that_wants_no_colour_gets_none(phonoscene: Phonoscene) -> None:  # noqa: ARG001
    with at_terminal("doctor", env={"NO_COLOR": "1"}) as terminal:
        terminal.end()
        assert not COLOUR.search(terminal.raw)


def test_a_stack_that_is_not_there_is_missed_in_words(tmp_path: Path) -> None:
    words = (sys.executable, "-m", "phonoscene_cli", "--endpoints", str(tmp_path / "none.json"))
    with Terminal(*words, "jobs") as terminal:
        assert terminal.end() == 3
        assert "error: " in terminal.text
        assert "make up" in terminal.text


@pytest.mark.parametrize("letters", ["drops", "undelivered"])
def test_a_message_in_a_dead_letter_queue_is_brought_back_to_its_function(
    phonoscene: Phonoscene, name: str, letters: str
) -> None:
    phonoscene.put(f"{name}.wav", make_audio("wav"))
    half = phonoscene.take(name, until={"WAITING"})
    output = {"drops": "DropsDeadLetterQueueUrl", "undelivered": "UndeliveredDropsQueueUrl"}
    phonoscene.send(output[letters], {"cancel": half["job_id"]})
    counted = json_of("redrive", letters, "--dry-run")

    moved = json_of("redrive", letters)

    assert counted == {letters: {"waiting": 1, "moved": 0}}
    assert moved == {letters: {"waiting": 1, "moved": 1}}
    assert phonoscene.take(name)["status"] == "CANCELLED"
    assert json_of("redrive", letters) == {letters: {"waiting": 0, "moved": 0}}


def test_an_event_that_lies_there_still_reaches_the_subscriber(
    phonoscene: Phonoscene, name: str
) -> None:
    event = json.loads((schemas.EVENTS / "job-status-changed.json").read_text())
    event["detail"]["name"] = name
    phonoscene.send("NotificationsDeadLetterQueueUrl", event)

    moved = json_of("redrive", "notifications")

    assert moved == {"notifications": {"waiting": 1, "moved": 1}}
    assert eventually(lambda: phonoscene.subscriber.states(name) == ["SUCCEEDED"])


def test_a_stack_without_a_subscriber_has_no_such_letters() -> None:
    outputs = {"DropsDeadLetterQueueUrl": "d", "DropsQueueUrl": "q"}

    assert of_stack(outputs) == [Letters.DROPS]
    with pytest.raises(CliError, match="EventWebhookUrl"):
        DeadLetters.of(outputs, Letters.NOTIFICATIONS)


def test_a_verdict_that_lies_there_still_becomes_its_video(
    phonoscene: Phonoscene, name: str
) -> None:
    prompt = phonoscene.drop(name, NO_WEBHOOK)
    job = phonoscene.take(name, until={"SUBMITTED"})
    request = phonoscene.ended_request(prompt)
    body = {"request_id": request["request_id"], "status": "OK", "payload": request["result"]}
    verdict = WebhookMessage(
        job["job_id"], job["token_hashes"][-1], body["request_id"], json.dumps(body)
    )
    phonoscene.send("VerdictsDeadLetterQueueUrl", json.loads(verdict.to_message()))

    moved = json_of("redrive")

    assert moved["verdicts"] == {"waiting": 1, "moved": 1}
    assert phonoscene.take(name)["status"] == "SUCCEEDED"
    assert len(phonoscene.requests(prompt)) == 1
