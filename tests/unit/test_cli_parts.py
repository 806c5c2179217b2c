"""The command line's parts that need no AWS: sidecars, keys, pace, cursor, sums, uploads."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.drops.keys import Kind, kind_of
from phonoscene.drops.pairing import pairings
from phonoscene.drops.sidecar_files import read_takes
from phonoscene.drops.validation_errors import Errors
from phonoscene.errors import DropRefused
from phonoscene.jobs import (
    Actual,
    ErrorDetail,
    Estimate,
    Job,
    JobCost,
    JobStatus,
    Request,
    Reservation,
    Scene,
    Segment,
    Sequence,
    Step,
    Video,
)
from phonoscene.publishing.public_job import notes
from phonoscene.publishing.wording import STATES
from phonoscene.workflow.examination import ExaminedTake
from phonoscene_cli import __main__
from phonoscene_cli.audit.backfill_estimate import Plan
from phonoscene_cli.audit.checkpoint import CursorFile, Progress, default_path
from phonoscene_cli.audit.rate_limit import DEEP, Pace, hold_while_deep, rate_of
from phonoscene_cli.errors import CliError, WrongUsage
from phonoscene_cli.failures import explained
from phonoscene_cli.follow.cancellation import Outcome, cancel
from phonoscene_cli.follow.follow import FollowedJobs, Labels
from phonoscene_cli.follow.poller import AT_EASE, Follower
from phonoscene_cli.stack import video_download
from phonoscene_cli.stack.generation_time import (
    ASSUMED_SECONDS,
    generation,
    typical_seconds,
)
from phonoscene_cli.stack.job_listing import Filter
from phonoscene_cli.stack.jobs_reader import Entry
from phonoscene_cli.stack.parameters import StackParameters
from phonoscene_cli.stack.spending import Spent, folder_of, total
from phonoscene_cli.stack.video_download import Destination, VideoName, fetch, video_of
from phonoscene_cli.ui import formatting, streams, terminal
from phonoscene_cli.ui.formatting import step_meaning
from phonoscene_cli.ui.job_facts import facts
from phonoscene_cli.ui.job_json import KEYS, as_data
from phonoscene_cli.ui.status_line import StatusLine
from phonoscene_cli.ui.terminal import dumped
from phonoscene_cli.upload import dry_run, sidecars
from phonoscene_cli.upload.dry_run import Forecast
from phonoscene_cli.upload.upload import (
    Drop,
    FileUpload,
    TakenBack,
    Upload,
    UploadedDespiteInterrupt,
    put,
)
from phonoscene_cli.upload.upload_plan import DropOptions, assemble, sidecar_key
from tests.support.jobs import NOON, a_job

if TYPE_CHECKING:
    from collections.abc import Iterator

_S = JobStatus
USD = Decimal("0.5000")
COST = Estimate(
    width=64,
    height=64,
    frames=9,
    megapixels=Decimal("0.04"),
    lower_usd=Decimal("0.4"),
    upper_usd=USD,
)


# ------------------------------------------------------------------------------
# sidecars and keys
# ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("fps=30", 30),
        ("seed=null", None),
        ("prompt=rain = water", "rain = water"),
        ("a=", ""),
        ('video_size={"width": 64, "height": 64}', {"width": 64, "height": 64}),
        ("use_multiscale=false", False),
        ("prompt=[unclosed", "[unclosed"),
    ],
)
def test_a_setting_is_json_where_it_can_be_read_so_and_else_a_text(text: str, value: Any) -> None:
    assert sidecars.setting(text) == (text.partition("=")[0], value)


@pytest.mark.parametrize("text", ["fps", "=30", ""])
def test_what_is_no_setting_is_wrong_usage(text: str) -> None:
    with pytest.raises(WrongUsage, match="KEY=VALUE"):
        sidecars.setting(text)


@pytest.mark.parametrize("key", ["scenes[1].prompt", "scenes.1.prompt", "video_size.width"])
def test_a_part_of_a_field_is_changed_in_the_sidecar(key: str) -> None:
    field = key.partition(".")[0].partition("[")[0]

    with pytest.raises(WrongUsage, match=f"is a part of {field}, .*drop that again"):
        sidecars.setting(f"{key}=hello")


@pytest.mark.parametrize(
    ("word", "here", "on_windows"),
    [
        ("talks/intro", "talks/intro", "talks/intro"),
        ("my song", "'my song'", '"my song"'),
        ('a "b"', "'a \"b\"'", r'"a \"b\""'),
    ],
)
def test_a_word_of_a_command_has_the_quotes_of_the_systems_shells(
    monkeypatch: pytest.MonkeyPatch, word: str, here: str, on_windows: str
) -> None:
    assert formatting.typed(word) == here
    monkeypatch.setattr(formatting, "IS_WINDOWS", True)
    assert formatting.typed(word) == on_windows


@pytest.mark.parametrize("text", ["video_size={width:256,height:144}", "scenes=[{start:0}]"])
def test_a_value_that_lost_its_quotes_on_the_way_is_no_text(text: str) -> None:
    with pytest.raises(WrongUsage, match="Many shells remove its double quotes"):
        sidecars.setting(text)
    assert sidecars.setting("prompt={rain}") == ("prompt", "{rain}")


def test_a_sidecar_without_changes_stays_as_it_was_written() -> None:
    assert sidecars.changed("a.json", b"{ not json", {}) == b"{ not json"
    assert sidecars.changed("a.json", None, {}) is None


def test_changes_go_over_what_a_sidecar_says_in_every_take() -> None:
    one = sidecars.changed("a.json", b'\xef\xbb\xbf{"prompt": "a", "fps": 12}', {"fps": 30})
    two = sidecars.changed("a.json", b'[{"prompt": "a"}, {"prompt": "b"}]', {"fps": 30})
    none = sidecars.changed("a.json", None, {"prompt": "c"})

    assert json.loads(one or b"") == {"prompt": "a", "fps": 30}
    assert json.loads(two or b"") == [{"prompt": "a", "fps": 30}, {"prompt": "b", "fps": 30}]
    assert json.loads(none or b"") == {"prompt": "c"}
    assert [sidecars.takes_in(text or b"") for text in (one, two, b"[")] == [1, 2, 1]


def test_what_no_text_can_hold_is_left_for_the_product_to_refuse() -> None:
    text = sidecars.changed("a.json", None, {"prompt": "\udcff"}) or b""

    with pytest.raises(DropRefused, match="UTF-8"):
        read_takes("a.json", text)


def test_a_sidecar_that_cannot_be_read_cannot_be_changed() -> None:
    with pytest.raises(DropRefused, match=r"a\.json is not JSON"):
        sidecars.changed("a.json", b"{", {"fps": 30})


def test_the_longer_name_of_a_sidecar_on_disk_wins(tmp_path: Path) -> None:
    audio = tmp_path / "song.mp3"
    assert sidecars.beside(audio) is None
    (tmp_path / "song.json").touch()
    assert sidecars.beside(audio) == tmp_path / "song.json"
    (tmp_path / "song.mp3.json").touch()
    assert sidecars.beside(audio) == tmp_path / "song.mp3.json"


def test_the_suffix_of_a_sidecar_is_read_in_any_case_as_in_the_bucket(tmp_path: Path) -> None:
    audio = tmp_path / "SONG.MP3"
    for name in ("SONG.JSON", "SONG.MP3.Json"):
        (tmp_path / name).touch()
        assert sidecars.beside(audio) == tmp_path / name
    assert sidecars.beside(tmp_path / "song.mp3") is None
    audio.write_bytes(b"sound")
    (tmp_path / "SONG.MP3.Json").write_text("{}")
    drop = assemble(DropOptions(audio))
    assert drop.sidecar
    assert drop.sidecar.key == "SONG.MP3.json"


def test_a_sidecar_is_found_by_a_name_whose_accents_are_spelled_otherwise(tmp_path: Path) -> None:
    (tmp_path / "caf\u00e9.json").touch()
    assert sidecars.beside(tmp_path / "cafe\u0301.mp3") == tmp_path / "caf\u00e9.json"


def test_beside_a_name_that_has_no_room_for_the_longer_suffix_lies_the_short_one(
    tmp_path: Path,
) -> None:
    stem = "x" * (255 - len(".mp3"))
    audio, sidecar = tmp_path / f"{stem}.mp3", tmp_path / f"{stem[:-1]}.json"
    longest = tmp_path / f"{stem[:-1]}.mp3"

    assert sidecars.beside(audio) is None

    sidecar.touch()
    assert sidecars.beside(longest) == sidecar


def test_an_output_of_another_encoding_or_none_takes_any_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    streams.prepare()
    terminal.print_json({"name": "歌 🎵 ü"})
    terminal.line("歌 ü")
    sys.stdout.flush()
    assert written.getvalue().endswith(b"\\u6b4c \xfc\n")
    assert json.loads(written.getvalue().rpartition(b"}")[0] + b"}") == {"name": "歌 🎵 ü"}

    monkeypatch.setattr(sys, "stderr", None)
    streams.prepare()
    terminal.say("lost")
    terminal.say("lost, too")


def test_a_closed_output_loses_no_result_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    streams.prepare()
    with pytest.raises(streams.OutputLost, match="not open for writing"):
        terminal.print_json_line("lost")


def test_nobody_can_be_asked_on_a_closed_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    streams.prepare()
    with sys.stdin, pytest.raises(WrongUsage, match="without a terminal"):
        terminal.agreed("Really?", yes=False)


@pytest.fixture
def handlers() -> Iterator[None]:
    """The signals' handlers, as they are without a test."""
    kept = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for one in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_DFL)
    yield
    for one, handler in kept.items():
        signal.signal(one, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_the_program_without_a_trace(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonoscene_cli.app.main", lambda: signal.raise_signal(number))
    with pytest.raises(SystemExit) as exit_:
        __main__.main()
    assert exit_.value.code == 130
    ended: list[int] = []
    monkeypatch.setattr("os._exit", ended.append)
    signal.raise_signal(number)  # once more, while threads still work
    assert ended == [130]


@pytest.mark.usefixtures("handlers")
def test_what_runs_behind_a_closed_terminal_on_purpose_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    monkeypatch.setattr("phonoscene_cli.app.main", lambda: signal.raise_signal(signal.SIGHUP))
    __main__.main()
    signal.raise_signal(signal.SIGHUP)


def test_a_file_is_hashed_once_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    digest = hashlib.file_digest

    def counted(file: Any, how: Any) -> Any:
        read.append(file.name)
        return digest(file, how)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    file = tmp_path / "large.wav"
    file.write_bytes(b"x" * 5_000_000)
    overlay = dry_run.Overlay(None, {"large.wav": file})
    tags = {
        overlay.get_object(Key="large.wav", Range=f"bytes={n}-{n + 9}")["ETag"]
        for n in range(0, 5_000_000, 100_000)
    }
    assert tags == {f'"{hashlib.md5(b"x" * 5_000_000, usedforsecurity=False).hexdigest()}"'}
    assert len(read) == 1

    file.write_bytes(b"y")
    assert overlay.head_object(Key="large.wav")["ETag"] not in tags


FAMILY = ("song.json", "song.mp3", "song.mp3.json", "song.wav", "song.wav.json", "song.mp3.wav")


@pytest.mark.parametrize(
    "there", [some for n in range(7) for some in itertools.combinations(FAMILY, n)], ids=str
)
def test_the_sidecar_that_is_put_is_the_audios_and_no_other_audios(there: tuple[str, ...]) -> None:
    present = set(there)
    key = sidecar_key("song.mp3", present)
    before = {
        pair
        for one in present
        if kind_of(one) is Kind.AUDIO and one != "song.mp3"
        for pair in pairings(one, present)
    }

    after = {*present, "song.mp3", key}

    [pair] = pairings("song.mp3", after)
    if "song.mp3.wav" in present and key == "song.mp3.json":  # claimed by that one, too
        assert present & {"song.mp3.json", "song.wav"}
    else:
        assert (pair.sidecar, pair.rivals) == (key, ())
    if key == "song.json" and "song.json" not in present:
        assert all(pairings(str(one.audio), after) == [one] for one in before)


def test_a_drop_is_in_its_folder_under_its_name(tmp_path: Path) -> None:
    file = tmp_path / "My Song.MP3"
    file.touch()

    assert DropOptions(file).key == "My Song.MP3"
    assert DropOptions(file, "/talks/", "intro").key == "talks/intro.MP3"
    assert DropOptions(file, "", "intro.MP3").key == "intro.MP3"


@pytest.mark.parametrize(
    ("file", "folder", "name", "why"),
    [
        ("nothing.mp3", "", None, "does not exist"),
        ("", "", None, "is a folder. Name its audio files: "),
        ("memo.webm", "", None, "memo.webm has a format that is not supported. Convert it to MP3"),
        ("song.mp3", "", "_x", "ignored"),
        ("song.mp3", "a/../b", None, "refused"),
        ("song.mp3", "", "a\nb", "refused"),
        ("song.mp3", "x" * 1020, None, "at most 1024 bytes"),
        ("song.mp3", "a\udcff", None, "it contains a control character, or is not UTF-8"),
        ("song.mp3", "a\u202eb", None, "reverses what follows"),
    ],
)
def test_what_would_be_no_drop_is_wrong_usage(
    tmp_path: Path, file: str, folder: str, name: str | None, why: str
) -> None:
    for there in ("song.mp3", "memo.webm"):
        (tmp_path / there).touch()

    with pytest.raises(WrongUsage, match=why):
        _ = DropOptions(tmp_path / file, folder, name).key


@pytest.mark.parametrize(
    "stem",
    [
        "Aufnahme um 1.04.09\u202fPM",  # macOS: a narrow space
        "\u200e00000012-AUDIO",  # a mark of direction
        "می\u200cشود",  # a joiner, as Persian is written
        "\U0001f469\u200d\U0001f467",
        "\U0001faea",  # newer than the tables of this Python
    ],
)
def test_names_as_phones_write_them_are_keys(tmp_path: Path, stem: str) -> None:
    file = tmp_path / f"{stem}.m4a"
    file.touch()

    assert DropOptions(file, "notes").key == f"notes/{stem}.m4a"


# ------------------------------------------------------------------------------
# pace and cursor
# ------------------------------------------------------------------------------
@given(st.floats(0.1, 1000), st.lists(st.integers(1, 10), min_size=1, max_size=30))
def test_no_more_go_in_a_time_than_the_rate_allows(rate: float, batches: list[int]) -> None:
    now = [0.0]
    pace = Pace(rate, sleep=lambda s: now.__setitem__(0, now[0] + s), clock=lambda: now[0])

    for count in batches:
        pace.wait(count)

    assert now[0] == pytest.approx(sum(batches[:-1]) / rate)


def test_what_a_pause_missed_is_not_caught_up_with() -> None:
    now = [0.0]
    pace = Pace(1, sleep=lambda s: now.__setitem__(0, now[0] + s), clock=lambda: now[0])
    pace.wait(1)
    now[0] = 100.0

    pace.wait(1)
    pace.wait(1)

    assert now[0] == 101.0


@pytest.mark.parametrize(("text", "rate"), [("10", 10), ("10/s", 10), ("0.5/s", 0.5), (" 3 ", 3)])
def test_rates_are_understood(text: str, rate: float) -> None:
    assert rate_of(text) == rate
    assert 1 <= Pace(rate).together <= 10


@pytest.mark.parametrize("text", ["0", "-1", "ten", "10/min", "", "1e9"])
def test_what_is_no_rate_is_wrong_usage(text: str) -> None:
    with pytest.raises(WrongUsage, match="rate"):
        rate_of(text)


def test_nothing_is_sent_while_a_queue_is_deep() -> None:
    depths = iter([(DEEP, 1), (DEEP + 7, 0), (DEEP - 1, 1)])
    slept: list[float] = []

    class Queue:
        def get_queue_attributes(self, **_: Any) -> Any:
            visible, delayed = next(depths)
            return {
                "Attributes": {
                    "ApproximateNumberOfMessages": str(visible),
                    "ApproximateNumberOfMessagesDelayed": str(delayed),
                }
            }

    queue: Any = Queue()
    hold_while_deep(queue, "url", slept.append)

    assert len(slept) == 2


def test_a_cursor_remembers_what_was_done_and_of_what(tmp_path: Path) -> None:
    file = CursorFile(tmp_path / "a" / "cursor.json")
    assert file.load("drops", "talks/") == Progress("drops", "talks/")

    file.save(Progress("drops", "talks/", "talks/é.mp3", 7))

    assert file.load("drops", "talks/") == Progress("drops", "talks/", "talks/é.mp3", 7)
    with pytest.raises(CliError, match="is about 'talks/' in drops"):
        file.load("drops", "other/")
    file.remove()
    file.remove()
    assert list(tmp_path.rglob("*.json*")) == []


@pytest.mark.parametrize("text", ["", "[]", '{"bucket": 1}', "{"])
def test_what_is_no_cursor_is_not_taken_for_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)

    with pytest.raises(CliError, match="not a cursor file"):
        CursorFile(tmp_path / "x").load("drops", "")


def test_each_prefix_has_a_cursor_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")

    paths = {default_path(bucket, prefix) for bucket in "ab" for prefix in ("", "x", "x/")}

    assert len(paths) == 6
    assert all(str(path).startswith("/state/phonoscene/backfill-") for path in paths)


# ------------------------------------------------------------------------------
# money and records
# ------------------------------------------------------------------------------
def with_history(*states: JobStatus, **fields: Any) -> Job:
    steps = tuple(
        Step(status=status, at=NOON + timedelta(seconds=n)) for n, status in enumerate(states)
    )
    return a_job(states[-1], estimate=COST, history=steps, **fields).model_copy(
        update={"history": steps}
    )


WAY = (_S.READY, _S.SUBMITTING, _S.SUBMITTED)
LOST = (ErrorDetail(code="result_lost", message=""),)


@pytest.mark.parametrize(
    ("job", "made", "perhaps", "aside"),
    [
        (with_history(_S.READY), 0, 0, 0),
        (with_history(*WAY[:2]), 0, 0, 1),
        (with_history(*WAY), 0, 0, 1),
        (with_history(*WAY[:2], _S.UNCONFIRMED), 0, 0, 1),
        (with_history(*WAY[:2], _S.READY), 0, 0, 0),
        (with_history(*WAY, _S.GENERATED), 1, 0, 0),
        (with_history(*WAY, _S.GENERATED, _S.SUCCEEDED), 1, 0, 0),
        (with_history(*WAY, _S.GENERATED, _S.FAILED), 1, 0, 0),
        (with_history(*WAY, _S.FAILED), 0, 0, 0),
        (with_history(*WAY, _S.FAILED, errors=LOST), 0, 1, 0),
        (with_history(_S.READY, _S.CANCELLED), 0, 0, 0),
        (with_history(*WAY[:2], _S.READY, _S.CANCELLED), 0, 0, 0),
        (with_history(*WAY, _S.CANCELLED), 0, 1, 0),
        (with_history(*WAY, _S.CANCELLED, duplicate_requests={"r"}), 1, 0, 0),
        (with_history(*WAY, _S.GENERATED, _S.SUCCEEDED, duplicate_requests={"r"}), 2, 0, 0),
        (with_history(*WAY, _S.FAILED, resubmitted=True), 0, 1, 0),
        (with_history(_S.REJECTED), 0, 0, 0),
        (with_history(_S.REJECTED).model_copy(update={"estimate": None}), 0, 0, 0),
    ],
    ids=lambda value: " ".join(s.status for s in value.history) if isinstance(value, Job) else "",
)
def test_what_a_job_has_cost_follows_from_its_way(
    job: Job, made: int, perhaps: int, aside: int
) -> None:
    spent = Spent.of(job)

    assert (spent.lower_usd, spent.upper_usd) == (made * COST.lower_usd, made * USD)
    assert (spent.unbilled_risk_usd, spent.reserved_usd) == (perhaps * USD, aside * USD)


@pytest.mark.parametrize(
    ("job", "shown"),
    [
        (with_history(*WAY), formatting.usd(USD)),
        (with_history(_S.REJECTED), ""),
        (with_history(_S.READY, _S.CANCELLED), ""),
        (with_history(*WAY, _S.FAILED), ""),
        (with_history(*WAY, _S.CANCELLED), formatting.usd(USD)),
        (with_history(*WAY, _S.FAILED, errors=LOST), formatting.usd(USD)),
        (with_history(*WAY, _S.GENERATED, _S.SUCCEEDED), formatting.usd(USD)),
        (
            with_history(*WAY, _S.GENERATED, _S.SUCCEEDED, duplicate_requests={"r"}),
            formatting.usd(2 * USD),
        ),
    ],
    ids=lambda value: " ".join(s.status for s in value.history) if isinstance(value, Job) else "",
)
def test_a_list_shows_what_a_job_that_has_ended_has_cost(job: Job, shown: str) -> None:
    assert formatting.at_most(job) == shown


MADE = Actual(
    source="frames",
    width=64,
    height=64,
    frames=25,
    megapixels=Decimal("0.1"),
    lower_usd=Decimal("0.7"),
    upper_usd=Decimal("0.9"),
)
BILLED = MADE.model_copy(update={"lower_usd": Decimal("0.2"), "upper_usd": Decimal("0.3")})


@pytest.mark.parametrize(
    ("job", "lower", "upper"),
    [
        (with_history(*WAY, _S.GENERATED, actual=MADE), "0.7", "0.9"),
        (with_history(*WAY, _S.GENERATED, _S.FAILED, actual=BILLED), "0.2", "0.3"),
        (
            with_history(
                *WAY,
                _S.GENERATED,
                _S.SUCCEEDED,
                actual=MADE,
                duplicate_requests={"r", "s"},
                duplicate_actuals=(BILLED,),
            ),
            "1.3",
            "1.7",
        ),
        (
            with_history(*WAY, _S.CANCELLED, duplicate_requests={"r"}, duplicate_actuals=(BILLED,)),
            "0.2",
            "0.3",
        ),
    ],
)
def test_what_came_counts_as_fal_reported_it(job: Job, lower: str, upper: str) -> None:
    spent = Spent.of(job)

    assert (spent.lower_usd, spent.upper_usd) == (Decimal(lower), Decimal(upper))


def test_costs_add_up() -> None:
    jobs = [with_history(*WAY), with_history(*WAY, _S.GENERATED, _S.SUCCEEDED), a_job(_S.WAITING)]

    both = total(map(Spent.of, jobs))

    assert both == Spent(
        jobs=3, videos=1, lower_usd=COST.lower_usd, upper_usd=USD, reserved_usd=USD
    )
    assert {name: type(value) for name, value in json.loads(dumped(both)).items()} == {
        "jobs": int,
        "videos": int,
        "lower_usd": float,
        "upper_usd": float,
        "unbilled_risk_usd": float,
        "reserved_usd": float,
    }


@pytest.mark.parametrize(("name", "folder"), [("a", "/"), ("x/a", "x/"), ("x/y/a", "x/y/")])
def test_a_job_has_the_folder_of_its_drop(name: str, folder: str) -> None:
    assert folder_of(a_job(_S.READY, name=name)) == folder


@pytest.mark.parametrize("status", _S)
def test_a_job_for_programs_has_all_its_keys_and_no_secret(status: JobStatus) -> None:
    job = a_job(
        status,
        token_hashes=("secret",),
        estimate=COST,
        duplicate_requests={"b", "a"},
        reservation=Reservation(day="2026-11-24", usd=USD),
        seed=2**64 - 1,
        actual=MADE,
        duplicate_actuals=(BILLED,),
        request={"request_id": "r", "cancel_url": "https://queue.fal.run/secret"},
    )

    answer = json.dumps(as_data(job))

    assert tuple(json.loads(answer)) == KEYS
    assert "secret" not in answer
    assert json.loads(answer)["seed"] == 2**64 - 1
    assert json.loads(answer)["estimate"]["upper_usd"] == 0.5
    assert json.loads(answer)["duplicate_requests"] == ["a", "b"]
    assert json.loads(answer)["actual"]["upper_usd"] == 0.9
    assert json.loads(answer)["duplicate_actuals"][0]["upper_usd"] == 0.3


def test_every_field_of_a_record_is_reported_or_left_out_on_purpose() -> None:
    left_out = {
        "token_hashes",
        "reservation",
        "unanswered_since",
        "problem",
        "unreadable_results",
        "reported",
        "request",
        "account_refusals",
        "start_timeout",
        "output_lifetime",
        "uploads_failed",
        "spent",
    }

    made = {"request_id", "segments", "cost"}  # of a field's part, or computed
    assert set(Job.model_fields) - left_out == set(KEYS) - made


@pytest.mark.parametrize(
    ("states", "folder", "fits"),
    [
        ((), "", True),
        ((), "talks/", True),
        ((), "talks/i", True),
        ((), "tal/", False),
        ((_S.READY,), "talks/", True),
        ((_S.FAILED,), "", False),
    ],
)
def test_a_filter_takes_a_folder_and_states(
    states: tuple[JobStatus, ...], folder: str, *, fits: bool
) -> None:
    assert Filter(states, folder).matches("talks/intro", "READY") == fits


PARAMETERS = StackParameters(
    max_frames=481,
    price_per_megapixel_usd=Decimal("0.001205"),
    max_job_cost_usd=Decimal(2),
    daily_budget_usd=Decimal(25),
    max_in_flight=2,
    settle=timedelta(seconds=5),
    fal_user_id="",
    uploads=False,
    skips_repeats=True,
    max_sequence_seconds=600,
)


def test_a_plan_sums_up_what_would_be_made_and_what_would_not() -> None:
    plan = Plan(PARAMETERS, usual=36.0)
    wrong = Errors([ErrorDetail(code="not_audio", message="")])
    for _ in range(100):
        plan.add(Forecast((ExaminedTake({"estimate": COST}, Errors(), {}),)))
    plan.add(
        Forecast((ExaminedTake({}, wrong, {}), ExaminedTake({"estimate": COST}, Errors(), {})))
    )
    plan.add(Forecast())

    data = json.loads(dumped(plan.result("", 0)))

    assert (data["drops"], data["jobs"], data["rejected"], data["waiting"]) == (102, 101, 1, 1)
    assert data["errors"] == {"not_audio": 1}
    assert data["upper_usd"] == 50.5
    assert data["days"] == 3
    assert data["hours"] == pytest.approx(51 * 36 / 3600)  # two at once


def test_a_few_jobs_take_as_long_as_one_of_them() -> None:
    plan = Plan(replace(PARAMETERS, max_in_flight=40), usual=36.0)
    for _ in range(5):
        plan.add(Forecast((ExaminedTake({"estimate": COST}, Errors(), {}),)))

    assert plan.hours == pytest.approx(36 / 3600)


def test_a_plan_says_when_it_had_to_assume_how_long_a_video_takes() -> None:
    assert Plan(PARAMETERS, None).result("", 0).seconds_are_assumed
    assert Plan(PARAMETERS, None).seconds_per_job == ASSUMED_SECONDS


# ------------------------------------------------------------------------------
# following
# ------------------------------------------------------------------------------
def test_a_follower_tells_each_step_once_in_the_order_of_time_until_all_have_ended() -> None:
    first = with_history(*WAY).model_copy(update={"job_id": "a"})
    second = with_history(_S.READY, _S.CANCELLED).model_copy(update={"job_id": "b"})
    ended = with_history(*WAY, _S.GENERATED, _S.SUCCEEDED).model_copy(update={"job_id": "a"})
    looks = iter([{}, {"a": first}, {"a": first, "b": second}, {"a": ended}])
    asked: list[list[str]] = []

    def read(ids: list[str]) -> dict[str, Job]:
        asked.append(ids)
        return next(looks)

    follower = Follower(read, sleep=lambda _: None)

    steps = [(job.job_id, step.status) for job, step in follower.follow(["a", "b"])]

    assert steps == [
        ("a", _S.READY),
        ("a", _S.SUBMITTING),
        ("a", _S.SUBMITTED),
        ("b", _S.READY),
        ("b", _S.CANCELLED),
        ("a", _S.GENERATED),
        ("a", _S.SUCCEEDED),
    ]
    assert asked[-1] == ["a"]  # what has ended is not asked for again


def test_a_follower_shows_each_segment_that_has_its_video_once() -> None:
    none = with_history(_S.READY, _S.SUBMITTED).model_copy(
        update={"job_id": "a", "sequence": in_segments(0)}
    )
    more = [none.model_copy(update={"sequence": in_segments(done)}) for done in (0, 1, 1, 3)]
    ended = more[-1].model_copy(
        update={
            "status": _S.SUCCEEDED,
            "history": (*none.history, Step(status=_S.SUCCEEDED, at=none.updated_at)),
        }
    )
    looks = iter([{"a": job} for job in (*more, ended)])
    follower = Follower(lambda _: next(looks), sleep=lambda _: None)

    said = [step_meaning(job, step) for job, step in follower.follow(["a"])]

    assert said == [
        STATES[_S.READY],
        "0 of 3 segments have their videos",
        "1 of 3 segments have their videos",
        "3 of 3 segments have their videos",
        STATES[_S.SUCCEEDED],
    ]


def test_a_follower_shows_all_steps_that_it_missed_and_no_end_of_a_wait() -> None:
    missed = with_history(*WAY, _S.READY, waits_for="slot").model_copy(update={"job_id": "a"})
    free = missed.model_copy(update={"waits_for": None})
    ended = free.model_copy(
        update={
            "status": _S.CANCELLED,
            "history": (*free.history, Step(status=_S.CANCELLED, at=free.updated_at)),
        }
    )
    looks = iter([{"a": job} for job in (missed, free, ended)])
    follower = Follower(lambda _: next(looks), sleep=lambda _: None)

    steps = [step.status for _, step in follower.follow(["a"])]

    assert steps == [*WAY, _S.READY, _S.CANCELLED]


def in_segments(done: int) -> Sequence:
    """Three segments, of which some have their videos."""
    listed = [
        Segment(
            scene=0,
            first=n,
            frames=9,
            status=_S.SUCCEEDED if n < done else None,
            is_sent=n < done,
        )
        for n in range(3)
    ]
    return Sequence(fps=24, scenes=(Scene(),), segments=tuple(listed))


def test_a_half_whose_record_is_gone_is_followed_no_further() -> None:
    half = with_history(_S.WAITING).model_copy(update={"job_id": "a"})
    looks = iter([{}, {"a": half}, {}])
    follower = Follower(lambda _: next(looks), sleep=lambda _: None)

    steps = [step.status for _, step in follower.follow(["a"])]

    assert (steps, follower.gone) == ([_S.WAITING], {"a"})


def test_a_follower_of_many_jobs_looks_each_second_when_few_are_left() -> None:
    one = with_history(_S.READY).model_copy(update={"job_id": "0"})
    ends = with_history(_S.CANCELLED)
    ids = [f"{n}" for n in range(2 * AT_EASE + 1)]
    ended = {n: ends.model_copy(update={"job_id": n}) for n in ids}
    looks = iter([{}, ended | {"0": one}, ended])
    slept: list[float] = []
    follower = Follower(lambda _: next(looks), sleep=slept.append)

    list(follower.follow(ids))

    assert slept == [pytest.approx(2, abs=0.1), 1]


def test_jobs_without_a_record_are_not_done() -> None:
    line, moving = StatusLine(Any, None), [with_history(_S.READY)] * 2  # type: ignore[arg-type]  # it asks nothing

    assert line.of(moving, 300) == "0 of 300 done; 2 READY, 298 without a record yet"
    assert line.of(moving, 300, done=298) == "298 of 300 done; 2 READY"
    assert line.of([], 300, done=298) == "298 of 300 done; 2 without a record yet"


def test_the_status_line_counts_the_last_job_that_ended_before_the_others_have_a_record() -> None:
    parameters = SimpleNamespace(settle=timedelta(0))
    stack = SimpleNamespace(jobs=SimpleNamespace(many=Any), parameters=parameters)
    followed = FollowedJobs(stack, Labels(["a", "b"]), Any, "watch")  # type: ignore[arg-type]  # it asks nothing
    followed.__dict__["_standing"] = StatusLine(Any, None)  # type: ignore[arg-type]
    followed._follower.jobs["a"] = with_history(_S.CANCELLED)
    said: list[str] = []

    followed._is_enough(said.append)

    assert said == ["1 of 2 done; 1 without a record yet"]


@pytest.mark.parametrize(("waiting", "usual"), [(19_999, 1.0), (20_000, None)])
def test_the_last_videos_tell_how_long_fal_takes_behind_a_backlog_too(
    waiting: int, usual: float | None
) -> None:
    made = with_history(*WAY, _S.GENERATED).model_copy(update={"job_id": "made"})
    entries = [Entry("waits", "a", _S.READY, NOON)] * waiting
    reader = SimpleNamespace(
        since=lambda *_, **__: iter([*entries, Entry("made", "b", _S.SUCCEEDED, NOON)]),
        many=lambda ids: dict.fromkeys(ids, made),
    )

    assert typical_seconds(reader) == usual  # type: ignore[arg-type]  # as much as it reads


def test_a_follower_stops_on_request() -> None:
    follower = Follower(lambda _: {}, sleep=lambda _: None)

    assert list(follower.follow(["a"], lambda: True)) == []
    assert not follower.all_ended(["a"])


def test_how_long_fal_had_a_job_is_from_its_acceptance_to_its_webhook() -> None:
    assert generation(with_history(*WAY, _S.GENERATED)) == 1.0
    assert generation(with_history(*WAY)) is None


# ------------------------------------------------------------------------------
# uploads: whole, or not at all
# ------------------------------------------------------------------------------
class Bucket:
    """S3, as far as uploads use it: reads the body as the network would, in pieces."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.order: list[str] = []
        self.before_end: dict[str, Any] = {}

    def put_object(self, *, Key: str, Body: Any, **_: Any) -> Any:  # noqa: N803 - S3's names
        got = io.BytesIO()
        while piece := Body.read(3):
            got.write(piece)
            self.before_end.get(Key, lambda: None)()
        self.objects[Key] = got.getvalue()
        self.order.append(Key)
        return {"VersionId": f"version of {Key}"}

    def delete_object(self, *, Key: str, VersionId: str, **_: Any) -> None:  # noqa: N803
        assert VersionId == f"version of {Key}"
        del self.objects[Key]


@pytest.fixture
def song(tmp_path: Path) -> Drop:
    (tmp_path / "song.mp3").write_bytes(b"0123456789")
    (tmp_path / "cover.png").write_bytes(b"picture")
    return Drop(
        FileUpload("a/song.mp3", tmp_path / "song.mp3"),
        FileUpload("a/song.json", b"{}"),
        (FileUpload("a/cover.png", tmp_path / "cover.png"),),
    )


ALL = ["a/cover.png", "a/song.mp3", "a/song.json"]


@pytest.mark.parametrize("key", ["a/song.mp3", "a/cover.png"])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_file_that_changed_since_it_was_priced_does_not_go_up(
    song: Drop, tmp_path: Path, key: str, when: str
) -> None:
    file = tmp_path / key.rpartition("/")[2]
    bucket: Any = Bucket()
    examined = Drop(
        FileUpload.of_file("a/song.mp3", tmp_path / "song.mp3"),
        song.sidecar,
        (FileUpload.of_file("a/cover.png", tmp_path / "cover.png"),),
    )
    if when == "before":
        file.write_bytes(b"another sound, and a longer one")
    else:
        place = bucket.put_object

        def put_object(**asked: Any) -> Any:
            answer = place(**asked)
            if asked["Key"] == key:
                file.write_bytes(b"another sound, and a longer one")
            return answer

        bucket.put_object = put_object

    with pytest.raises(TakenBack, match="has changed since it was examined, and was not dropped"):
        put(Upload(bucket, "drops", examined))

    assert bucket.objects == {}


def test_a_file_that_s3_refuses_because_it_grew_is_called_changed(
    song: Drop, tmp_path: Path
) -> None:
    bucket: Any = Bucket()
    file = tmp_path / "growing.mp3"
    file.write_bytes(b"sound")
    growing = replace(song, audio=FileUpload.of_file("a/song.mp3", file))

    def grow() -> None:
        file.write_bytes(b"sound, and more")
        raise ClientError({"Error": {"Code": "IncompleteBody"}}, "PutObject")

    bucket.before_end["a/song.mp3"] = grow

    with pytest.raises(TakenBack, match="has changed since it was examined, and was not dropped"):
        put(Upload(bucket, "drops", growing))
    assert bucket.objects == {}


def test_images_go_first_and_the_sidecar_completes_the_pair(song: Drop) -> None:
    bucket: Any = Bucket()
    heard: list[int] = []

    dropped = put(Upload(bucket, "drops", song, heard.append))

    assert bucket.order == ALL
    assert bucket.objects["a/song.mp3"] == b"0123456789"
    assert heard[-1] == 10
    assert dropped.audio.version_id == "version of a/song.mp3"
    assert dropped.sidecar
    assert len(dropped.job_ids()) == 1
    assert len(set(dropped.job_ids(3) + dropped.job_ids())) == 4


@pytest.mark.parametrize("key", ALL)
def test_what_fails_takes_back_what_was_put_before(song: Drop, key: str) -> None:
    bucket: Any = Bucket()

    def fail() -> None:
        raise EndpointConnectionError(endpoint_url="https://s3")

    bucket.before_end[key] = fail

    with pytest.raises(EndpointConnectionError):
        put(Upload(bucket, "drops", song))

    assert bucket.objects == {}


def answered(status: int) -> ClientError:
    metadata: Any = {"HTTPStatusCode": status}
    return ClientError({"Error": {"Code": "Any"}, "ResponseMetadata": metadata}, "PutObject")


@pytest.mark.parametrize(
    ("failure", "is_known"),
    [
        (ReadTimeoutError(endpoint_url="https://s3"), False),
        (EndpointConnectionError(endpoint_url="https://s3"), False),  # a try before may be stored
        (answered(500), False),
        (answered(403), True),
        (NoCredentialsError(), True),
    ],
)
@pytest.mark.parametrize("key", ALL)
def test_what_s3_did_not_answer_may_be_stored_all_the_same(
    song: Drop, key: str, failure: Exception, *, is_known: bool
) -> None:
    bucket: Any = Bucket()

    def fail() -> None:
        raise failure

    bucket.before_end[key] = fail

    with pytest.raises(type(failure)) as raised:
        Upload(bucket, "drops", song).run()

    expected = f"{key} may be in the drop bucket anyway, and may become a job."
    assert (expected in explained(raised.value)[0]) is not is_known


@pytest.mark.parametrize("key", ALL)
def test_a_stop_at_any_time_leaves_everything_or_nothing(song: Drop, key: str) -> None:
    bucket: Any = Bucket()
    upload = Upload(bucket, "drops", song)
    bucket.before_end[key] = upload.stop

    with suppress(TakenBack):
        upload.run()

    assert sorted(bucket.objects) == (sorted(ALL) if key == "a/song.json" else [])


def test_a_stop_after_the_audios_last_byte_comes_too_late(song: Drop) -> None:
    bucket: Any = Bucket()
    read: list[int] = []

    def stop_at_the_end(count: int) -> None:
        if count in read:  # there is nothing more to be read
            upload.stop()
        read.append(count)

    upload = Upload(bucket, "drops", song, stop_at_the_end)

    upload.run()

    assert sorted(bucket.objects) == sorted(ALL)


def test_what_cannot_be_taken_back_does_not_hide_why_it_was_to_be(song: Drop) -> None:
    bucket: Any = Bucket()

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "DeleteObject")

    def fail() -> None:
        raise EndpointConnectionError(endpoint_url="https://s3")

    bucket.delete_object = refuse  # as S3 may
    bucket.before_end["a/song.json"] = fail

    with pytest.raises(EndpointConnectionError) as failure:
        Upload(bucket, "drops", song).run()

    assert sorted(bucket.objects) == ["a/cover.png", "a/song.mp3"]
    sentence = explained(failure.value)[0]
    assert "https://s3" in sentence
    assert "a/cover.png, a/song.mp3 could not be deleted from the drop bucket" in sentence


def test_an_interrupt_names_what_cannot_be_taken_back(song: Drop) -> None:
    bucket: Any = Bucket()
    upload = Upload(bucket, "drops", song)

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "DeleteObject")

    def interrupt() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        upload._stopped.wait(30)

    bucket.delete_object = refuse
    bucket.before_end["a/song.mp3"] = interrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        put(upload)

    [note] = stopped.value.__notes__
    assert note.startswith("a/cover.png could not be deleted from the drop bucket")


@pytest.mark.parametrize(("key", "is_dropped"), [("a/song.mp3", False), ("a/song.json", True)])
def test_an_interrupt_is_followed_by_the_outcome(song: Drop, key: str, *, is_dropped: bool) -> None:
    bucket: Any = Bucket()
    stopped = threading.Event()
    upload = Upload(bucket, "drops", song)
    upload._stopped = stopped

    def hold() -> None:
        if not stopped.is_set():
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            stopped.wait(30)

    bucket.before_end[key] = hold

    with pytest.raises(KeyboardInterrupt) as interrupt:
        put(upload)

    assert isinstance(interrupt.value, UploadedDespiteInterrupt) == is_dropped
    assert bool(bucket.objects) == is_dropped


# ------------------------------------------------------------------------------
# videos
# ------------------------------------------------------------------------------
BODY = b"a video"
VIDEO = Video(
    bucket="outputs",
    key="talks/intro/1.mp4",
    version_id="v",
    bytes=len(BODY),
    sha256="e86ae2cd1a8bb1d7d4d0fbd2a1b4d3bb0f9d43d0b5e0d6f7d9d7f2b0f0f0f0f0",
    content_type="",
)


SOUND = VIDEO.model_copy(update={"sha256": hashlib.sha256(BODY).hexdigest()})


class Outputs:
    def get_object(self, **_: Any) -> Any:
        return {"Body": self}

    def iter_chunks(self, _: int) -> Any:
        return iter([BODY[:3], BODY[3:]])


def test_a_video_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    s3: Any = Outputs()

    with pytest.raises(CliError, match="checksum mismatch"):
        fetch(s3, a_job(_S.SUCCEEDED), VIDEO, tmp_path / "x.mp4")
    assert list(tmp_path.iterdir()) == []
    assert fetch(s3, a_job(_S.SUCCEEDED), SOUND, tmp_path / "new" / "x.mp4").read_bytes() == BODY
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["x.mp4"]


def test_two_downloads_to_one_name_are_both_whole(tmp_path: Path) -> None:
    target = tmp_path / "x.mp4"
    seen: list[bytes] = []

    class Slow(Outputs):
        """In whose middle another download of the same name is checked, begins and ends."""

        def iter_chunks(self, _: int) -> Any:
            yield BODY[:3]
            Destination(target).check([video_of(made("x"))])
            seen.append(fetch(Outputs(), a_job(_S.SUCCEEDED), SOUND, target).read_bytes())  # type: ignore[arg-type]  # a stand-in
            yield BODY[3:]

    slow: Any = Slow()
    target.with_name("x.mp4.part").write_text("mine")

    assert fetch(slow, a_job(_S.SUCCEEDED), SOUND, target).read_bytes() == BODY
    assert seen == [BODY]
    assert {file.name for file in tmp_path.iterdir()} == {"x.mp4", "x.mp4.part"}
    assert target.with_name("x.mp4.part").read_text() == "mine"


def test_a_video_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    s3: Any = Outputs()
    (tmp_path / "other").touch()

    video = fetch(s3, a_job(_S.SUCCEEDED), SOUND, tmp_path / "x.mp4")

    assert video.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_link_keeps_leading_to_the_file_that_is_replaced(tmp_path: Path) -> None:
    s3: Any = Outputs()
    (tmp_path / "far").mkdir()
    (tmp_path / "x.mp4").symlink_to(tmp_path / "far" / "y.mp4")

    fetch(s3, a_job(_S.SUCCEEDED), SOUND, tmp_path / "x.mp4")

    assert (tmp_path / "x.mp4").is_symlink()
    assert (tmp_path / "far" / "y.mp4").read_bytes() == BODY


def test_a_connection_that_breaks_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    class Broken(Outputs):
        def iter_chunks(self, _: int) -> Any:
            raise ReadTimeoutError(endpoint_url="https://s3")

    s3: Any = Broken()

    with pytest.raises(ReadTimeoutError):
        fetch(s3, a_job(_S.SUCCEEDED), SOUND, tmp_path / "x.mp4")
    assert list(tmp_path.iterdir()) == []


def test_of_a_cancelled_job_whose_answer_was_lost_nothing_is_promised() -> None:
    before, lost = with_history(*WAY), with_history(*WAY, _S.CANCELLED)

    assert "answer was lost" in Outcome(before, lost).sentence


def test_a_cancelled_job_whose_video_fal_has_made_meanwhile_was_not_for_nothing() -> None:
    before, after = with_history(*WAY), LATE

    assert Outcome(before, after).sentence == "CANCELLED; fal made and billed it anyway"


LATE = with_history(*WAY, _S.CANCELLED).model_copy(
    update={"request": Request(request_id="one"), "duplicate_requests": frozenset({"one"})}
)
ENDS = {
    "never sent": with_history(_S.READY, _S.CANCELLED),
    "at fal": with_history(*WAY, _S.CANCELLED),
    "made too late": LATE,
    "made": with_history(*WAY, _S.GENERATED, _S.SUCCEEDED),
}


@pytest.mark.parametrize(
    ("ends", "sentence"),
    [
        ((), "nothing was spent"),
        (("never sent",), "nothing was spent"),
        (("never sent", "at fal"), "fal was asked to stop, but a run that has started may"),
        (("made", "never sent"), "1 segment had been made and paid; nothing else is billed"),
        (("made too late",), "1 segment had been made and paid; nothing else is billed"),
        (("made", "made", "at fal"), "2 segments had been made and paid; fal was asked to stop"),
    ],
)
def test_cancelled_long_audio_costs_what_its_segments_do(
    ends: tuple[str, ...], sentence: str
) -> None:
    whole = {"sequence": in_segments(0)}
    before, after = (
        with_history(_S.READY, _S.SUBMITTED, *end).model_copy(update=whole)
        for end in ((), (_S.CANCELLED,))
    )
    own = {"part_of": before.job_id}
    outcome = Outcome(before, after, tuple(ENDS[one].model_copy(update=own) for one in ends))

    assert outcome.sentence.startswith(f"CANCELLED; {sentence}")
    assert outcome.may_be_billed == ("at fal" in ends)


def test_a_segment_that_another_job_paid_for_is_not_paid_by_a_cancelled_one() -> None:
    before, after = (
        with_history(*way).model_copy(update={"sequence": in_segments(0)})
        for way in ((_S.READY, _S.SUBMITTED), (_S.READY, _S.SUBMITTED, _S.CANCELLED))
    )
    reused = ENDS["made"].model_copy(update={"part_of": "b" * 32})

    assert Outcome(before, after, (reused,)).sentence == "CANCELLED; nothing was spent"


def test_a_cancel_waits_for_the_segments_that_no_job_at_work_uses_and_counts_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sequence = in_segments(0)
    for number, one in enumerate("abc"):
        sequence = sequence.with_segment(number, job_id=one)
    before, after = (
        with_history(_S.READY, _S.SUBMITTED, *end).model_copy(update={"sequence": sequence})
        for end in ((), (_S.CANCELLED,))
    )
    jobs = {
        before.job_id: after,
        "at work": with_history(_S.READY, _S.SUBMITTED).model_copy(update={"job_id": "at work"}),
        "failed": with_history(_S.READY, _S.FAILED).model_copy(update={"job_id": "failed"}),
    }
    for job_id, user, job in (
        ("a", "at work", with_history(*WAY)),
        ("b", "failed", with_history(*WAY)),
        ("c", "at work", ENDS["made"]),
    ):
        users = {"part_of": user, "wanted_by": frozenset({before.job_id})}
        jobs[job_id] = job.model_copy(update={"job_id": job_id, **users})
    naps = iter([{"b": jobs["b"].model_copy(update={"status": _S.CANCELLED})}])
    monkeypatch.setattr("time.sleep", lambda _: jobs.update(next(naps)))
    queue: Any = SimpleNamespace(cancel=lambda _: None)

    (outcome,) = cancel(
        [before], queue, lambda ids: {one: jobs[one] for one in ids}, timedelta(minutes=1)
    )

    assert list(naps) == []
    assert outcome.shared == 1


@pytest.mark.parametrize(
    ("segment", "meaning"),
    [
        ({}, "cancelled; nothing is billed"),
        ({"status": _S.CANCELLED}, "cancelled; nothing is billed"),
        (
            {"status": _S.CANCELLED, "is_sent": True},
            "cancelled; fal may still run and bill it",
        ),
        (  # as 0.1.0 notes it
            {"status": _S.CANCELLED, "request_id": "a"},
            "cancelled; fal may still run and bill it",
        ),
        (
            {"status": _S.SUCCEEDED, "is_sent": True},
            "cancelled; 1 segment had been made and paid, and nothing else is",
        ),
    ],
)
def test_cancelled_long_audio_says_what_its_segments_cost(
    segment: dict[str, Any], meaning: str
) -> None:
    sequence = in_segments(0).with_segment(1, **segment)
    job = with_history(_S.READY, _S.SUBMITTED, _S.CANCELLED).model_copy(
        update={"sequence": sequence}
    )

    assert formatting.meaning(job).startswith(meaning)


@pytest.mark.parametrize(
    ("may_be_billed", "said"),
    [
        (True, "fal may still run and bill it"),
        (False, "nothing is billed beyond its cost"),
    ],
)
def test_cancelled_long_audio_does_not_call_open_what_fal_has_billed(
    *, may_be_billed: bool, said: str
) -> None:
    stopped = in_segments(1).with_segment(1, status=_S.CANCELLED, is_sent=True)
    cost = JobCost(lower_usd=Decimal(1), upper_usd=Decimal(2), may_be_billed=may_be_billed)
    job = with_history(_S.READY, _S.SUBMITTED, _S.CANCELLED).model_copy(
        update={"sequence": stopped, "spent": cost}
    )

    meaning = formatting.meaning(job)

    assert meaning == f"cancelled; 1 segment had been made and paid, and {said}"


def test_long_audio_says_what_its_segments_wait_for() -> None:
    job = with_history(_S.READY, _S.SUBMITTED).model_copy(
        update={"sequence": in_segments(1), "waits_for": "budget"}
    )

    assert formatting.meaning(job).startswith("1 of 3 segments have their videos; waits for budget")
    assert formatting.remark(job) == "1 of 3 segments, waits for budget"


def test_the_steps_of_long_audio_say_what_its_segments_did() -> None:
    job = with_history(_S.READY, _S.SUBMITTED, _S.GENERATED, _S.SUCCEEDED).model_copy(
        update={"sequence": in_segments(3)}
    )

    meanings = [step_meaning(job, step) for step in job.history]

    assert meanings[1] == "the audio is cut, and segments are sent to fal"
    assert "joining" in meanings[2]


def test_long_audio_that_was_cancelled_before_a_segment_was_sent_shows_no_cost() -> None:
    job = with_history(_S.READY, _S.SUBMITTED, _S.CANCELLED)
    none, one = (job.model_copy(update={"sequence": in_segments(n)}) for n in range(2))

    assert formatting.at_most(none) == ""
    assert formatting.at_most(one) == formatting.usd(USD)


def test_a_jobs_own_url_is_shown_without_its_query() -> None:
    asked = {"prompt": "Who? https://a.b?c", "image_url": "https://h.example.com/a.png?sig=SECRET"}
    job = with_history(*WAY).model_copy(update={"arguments": asked})

    shown = dict(facts(job))

    assert shown["image_url"] == "https://h.example.com/a.png?…"
    assert shown["prompt"] == asked["prompt"]


@pytest.mark.parametrize(("times", "made"), [(1, "a video"), (2, "2 videos")])
def test_what_fal_made_all_the_same_is_counted_in_words(times: int, made: str) -> None:
    ids = frozenset(map(str, range(times)))
    job = with_history(*WAY, _S.CANCELLED).model_copy(update={"duplicate_requests": ids})

    assert notes(job) == [f"fal made {made} anyway: billed, and not stored."]


def test_a_request_that_was_paid_in_vain_is_not_called_a_second_payment() -> None:
    job = with_history(*WAY, _S.CANCELLED).model_copy(
        update={"request": Request(request_id="one"), "duplicate_requests": frozenset({"one"})}
    )
    again = job.model_copy(update={"duplicate_requests": frozenset({"one", "two"})})

    assert dict(facts(job))["paid"] == "the request, and its video was not stored"
    assert "also paid" not in dict(facts(job))
    assert dict(facts(again))["also paid"] == "request two"
    assert formatting.meaning(job) == "cancelled; fal made and billed it anyway"


def made(name: str, kind: str = "X264 (.mp4)") -> Job:
    return a_job(_S.SUCCEEDED, name=name, arguments={"video_output_type": kind})


def test_videos_go_into_a_file_or_a_folder_and_are_numbered_if_several(tmp_path: Path) -> None:
    one, other = video_of(made("talks/intro")), video_of(made("talks/intro", "GIF (.gif)"))
    file, bare = Destination.of(f"{tmp_path}/a.mp4"), Destination.of(f"{tmp_path}/a")
    folder, new = Destination.of(str(tmp_path)), Destination.of(f"{tmp_path}/new/")

    assert file.files([one]) == [tmp_path / "a.mp4"]
    assert bare.files([other]) == [tmp_path / "a.gif"]
    assert file.files([one, one]) == [tmp_path / "a.1.mp4", tmp_path / "a.2.mp4"]
    assert folder.files([one]) == [tmp_path / "intro.mp4"]
    assert folder.files([one, other]) == [tmp_path / "intro.1.mp4", tmp_path / "intro.2.gif"]
    assert new.files([one]) == [tmp_path / "new" / "intro.mp4"]


def test_in_a_folder_only_videos_of_one_name_are_numbered(tmp_path: Path) -> None:
    videos = [video_of(made(name)) for name in ("talks/a", "b", "news/A", "c.1")]

    files = [file.name for file in Destination.of(str(tmp_path)).files(videos)]

    assert files == ["a.1.mp4", "b.mp4", "A.2.mp4", "c.1.mp4"]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (r"talks/..\..\Startup\intro", "..\\..\\Startup\\intro.mp4"),
        ("C:intro", "C:intro.mp4"),
        ("12:30?", "12:30?.mp4"),
        ("con", "con.mp4"),
        ("console", "console.mp4"),
    ],
)
def test_a_video_has_the_name_of_its_drop_where_the_system_lets_it(name: str, file: str) -> None:
    folder = Destination(Path("videos"), is_folder=True)

    assert folder.files([video_of(made(name))]) == [Path("videos") / file]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (r"talks/..\..\Startup\intro", ".._.._Startup_intro.mp4"),
        ("C:intro", "C_intro.mp4"),
        ("12:30?", "12_30_.mp4"),
        ("con", "_con.mp4"),
        ("LPT1 .take", "_LPT1 .take.mp4"),
        ("console", "console.mp4"),
        ("日本 🎵", "日本 🎵.mp4"),
    ],
)
def test_on_windows_no_video_leaves_its_folder_or_has_a_name_that_is_not_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, file: str
) -> None:
    monkeypatch.setattr(video_download, "IS_WINDOWS", True)
    folder = Destination(Path("videos"), is_folder=True)

    assert folder.files([video_of(made(name))]) == [Path("videos") / file]


@given(st.lists(st.text("aA.12", min_size=1, max_size=4), max_size=6))
def test_no_two_videos_of_a_folder_get_one_file_even_where_case_does_not_count(
    stems: list[str],
) -> None:
    videos = [VideoName(stem, ".mp4") for stem in stems]

    files = Destination(Path("videos"), is_folder=True).files(videos)

    assert len({file.name.casefold() for file in files}) == len(stems)


@pytest.mark.parametrize("out", ["", "no/such/a.mp4", "no/such/", "file/", "file/a.mp4"])
def test_an_out_that_cannot_be_written_is_refused_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch(0o755)  # that may be entered, were it a folder

    with pytest.raises(WrongUsage, match="--out"):
        Destination.of(out)


@pytest.mark.parametrize(
    ("out", "kind"),
    [
        ("wrong.mp4", "PRORES4444 (.mov)"),  # it would play in nothing
        ("song.wav", "X264 (.mp4)"),  # the audio itself
        ("take.1", "X264 (.mp4)"),
        (f"{'x' * 252}.mp4", "X264 (.mp4)"),  # too long for a file
        ("taken.mp4", "X264 (.mp4)"),  # a folder
    ],
)
def test_a_file_that_cannot_be_the_video_is_refused_before_it_is_paid(
    tmp_path: Path, out: str, kind: str
) -> None:
    destination = Destination(tmp_path / out)
    if out == "taken.mp4":
        (tmp_path / out).mkdir()

    with pytest.raises(WrongUsage, match="--out"):
        destination.check([video_of(made("talks/intro", kind))])


@pytest.mark.parametrize("out", ["-", "pipe", "pipe.mp4", "/dev/null", "linked.mp4"])
def test_an_out_that_is_no_file_is_refused_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    os.mkfifo("pipe.mp4")
    Path("linked.mp4").symlink_to("/dev/null")

    with pytest.raises(WrongUsage, match="not a regular file"):
        Destination.of(out)


def test_a_pipe_in_a_folder_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "intro.mp4")

    with pytest.raises(WrongUsage, match="Not a regular file"):
        Destination.of(str(tmp_path)).check([video_of(made("talks/intro"))])


def test_a_name_too_long_for_a_file_is_found_out_before_it_is_paid(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="--out"):
        Destination.of(str(tmp_path)).check([video_of(made("x" * 300))])


@pytest.mark.parametrize("out", ["a.mp4", "a.MP4", "a", "folder/"])
def test_a_check_leaves_nothing_behind(tmp_path: Path, out: str) -> None:
    destination = Destination.of(f"{tmp_path}/{out}")

    destination.check([video_of(made("talks/intro"))])

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_there_survives_the_check(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"before")

    Destination(tmp_path / "a.mp4").check([video_of(made("talks/intro"))])

    assert (tmp_path / "a.mp4").read_bytes() == b"before"


def test_times_are_reported_in_utc_where_programs_read_them() -> None:
    assert datetime.fromisoformat(as_data(a_job(_S.READY))["created_at"]) == NOON.astimezone(UTC)
