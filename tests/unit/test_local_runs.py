"""A local cloud whose parts die: what is mended, what cannot be, and what is left alone."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ReadTimeoutError

from local import app
from local.cloud import deploy, emulator, parameters
from local.cloud.cloud import LocalCloud
from local.cloud.emulator import EMULATOR, SIMULATOR, TICKER, Fal
from local.cloud.ports import Listeners, Ports
from local.cloud.processes import Process, start_time
from local.cloud.run_state import Options, Run
from local.commands import drop as drop_command
from local.drops import drops
from local.drops.drops import file_drop
from local.errors import CloudUnreachable, LocalCloudError
from local.paths import StateDirectory
from phonoscene.jobs import ErrorDetail, JobStatus
from phonoscene_cli.errors import WrongUsage
from tests.support.jobs import a_job

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

PORTS, FAL = Ports(1, 2, 3), Fal("key", "user")


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    made = StateDirectory(tmp_path / "cloud")
    made.temporary.mkdir(parents=True)
    (made.temporary / "paid").touch()
    return made


@pytest.fixture
def living() -> Iterator[int]:
    """The id of a process that runs, and leads a group of its own."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as child:  # noqa: S607
        yield child.pid
        child.kill()


def run(pid: int, *, dead: Collection[str], real: bool = False, ticking: bool = False) -> Run:
    """A run some of whose parts have ended: their pids are other processes' by now."""
    made = Run([], PORTS, FAL, {}, real=real, ticker=ticking)
    began = start_time(pid) or ""
    processes = [Process(part, pid, "0" if part in dead else began) for part in made.parts]
    return Run(processes, PORTS, FAL, {}, real=real, ticker=ticking)


PARTS = {
    "simulated": (SIMULATOR, EMULATOR),
    "ticking": (SIMULATOR, EMULATOR, TICKER),
    "real": (EMULATOR, TICKER),
}
CASES = [
    (kind, dead)
    for kind, parts in PARTS.items()
    for count in range(len(parts) + 1)
    for dead in itertools.combinations(parts, count)
]


@pytest.mark.parametrize(("kind", "dead"), CASES, ids=str)
def test_a_cloud_is_up_as_long_as_its_emulator_and_never_cleared_away_unasked(
    state: StateDirectory, living: int, kind: str, dead: tuple[str, ...]
) -> None:
    made = run(living, dead=dead, real=kind == "real", ticking=kind == "ticking")
    made.save(state.run_file)
    cloud = LocalCloud(state)
    is_all_dead = dead == PARTS[kind]

    assert made.dead == list(dead)
    if EMULATOR not in dead:
        assert cloud.run() == made
    elif is_all_dead and kind != "real":
        assert cloud.run() is None
    else:
        for ask in (cloud.run, cloud.endpoints, lambda: cloud.up(Options())):
            with pytest.raises(LocalCloudError, match="make down"):
                ask()
    assert (state.temporary / "paid").exists()


@pytest.mark.parametrize(("kind", "dead"), CASES, ids=str)
def test_the_status_names_each_part_that_ended_and_what_to_do(
    state: StateDirectory,
    living: int,
    kind: str,
    dead: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(living, dead=dead, real=kind == "real", ticking=kind == "ticking").save(state.run_file)

    assert app.main(["status"], state) == 0
    output = capsys.readouterr().out

    for part in dead if EMULATOR not in dead else ():
        assert f"{part:<18} ended: `make up`" in output
    if EMULATOR in dead:
        is_stale = kind != "real" and dead == PARTS[kind]
        assert ("make up" if is_stale else "make down") in output


def test_a_dead_simulator_is_started_again_where_it_listened_and_nothing_else_is(
    state: StateDirectory, living: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run(living, dead={SIMULATOR})
    made.save(state.run_file)
    started: list[tuple[object, ...]] = []
    again = Process(SIMULATOR, living, start_time(living) or "")

    def start_simulator(_: object, __: object, listeners: Listeners, *result: object) -> Process:
        started.append((listeners.ports, *result))
        return again

    package = type("Package", (), {"fingerprint": lambda *_: made.fingerprint})()
    for name, part in {
        "start_simulator": start_simulator,
        "await_simulator": lambda *_: None,
    }.items():
        monkeypatch.setattr(emulator, name, part)
    monkeypatch.setattr(Listeners, "of_a_simulator", lambda ports: Listeners(ports, {}))
    monkeypatch.setattr(LocalCloud, "_put_fal_key", lambda *_: None)
    monkeypatch.setattr(LocalCloud, "_remove", pytest.fail)
    monkeypatch.setattr(LocalCloud, "_end_rest_of", lambda *_: None)
    monkeypatch.setattr(deploy, "package", lambda *_: package)
    monkeypatch.setattr(LocalCloud, "endpoints", lambda _: "endpoints")

    result = LocalCloud(state).up(Options(simulator=["--run-seconds", "5"]))

    assert str(result) == "endpoints"
    assert started == [(PORTS, FAL, ["--run-seconds", "5"])]
    found = Run.load(state.run_file)
    assert found
    assert found.dead == []
    assert found.simulator == ["--run-seconds", "5"]


def test_an_option_of_a_simulator_that_runs_is_refused_with_the_reason(
    state: StateDirectory, living: int
) -> None:
    run(living, dead=set()).save(state.run_file)

    with pytest.raises(LocalCloudError, match=r"cannot change while it runs.*make down"):
        LocalCloud(state).up(Options(simulator=["--run-seconds", "5"]))


def test_an_option_that_a_running_simulator_already_has_is_no_change(
    state: StateDirectory, living: int
) -> None:
    options = ["--run-seconds", "5"]
    made = dataclasses.replace(run(living, dead=set()), simulator=options)

    LocalCloud(state)._check_options(made, Options(simulator=options))


def test_an_option_of_the_simulator_is_refused_where_fal_is_real(
    state: StateDirectory, living: int
) -> None:
    run(living, dead=set(), real=True).save(state.run_file)

    with pytest.raises(LocalCloudError, match=r"has the real fal.*make down"):
        LocalCloud(state).up(Options(simulator=["--run-seconds", "5"]))


@pytest.mark.parametrize("command", ["status", "logs"])
def test_where_no_cloud_is_running_its_folder_is_named(
    state: StateDirectory, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = app.main([command], state)

    output = capsys.readouterr()
    assert code == (0 if command == "status" else 3)
    assert f"No local cloud is running in {state.root}: start it" in output.out + output.err


def test_the_status_for_programs_names_what_ended(
    state: StateDirectory, living: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run(living, dead={SIMULATOR}).save(state.run_file)

    assert app.main(["status", "--json"], state) == 0

    output = json.loads(capsys.readouterr().out)
    assert output["ended"] == [SIMULATOR]
    assert output["running"] is False


@pytest.mark.parametrize("text", ["", "{", "[]", '{"processes": []}'])
def test_a_record_that_cannot_be_read_is_never_taken_for_none(
    state: StateDirectory, text: str
) -> None:
    state.run_file.write_text(text)

    for ask in (LocalCloud(state).run, lambda: LocalCloud(state).up(Options())):
        with pytest.raises(LocalCloudError, match=r"run\.json"):
            ask()
    assert (state.temporary / "paid").exists()


@pytest.mark.parametrize("more", ["", ', "paced": true'])
def test_a_record_of_another_version_is_read(state: StateDirectory, more: str) -> None:
    state.run_file.write_text(
        '{"processes": [], "ports": {"aws": 1, "proxy": 2, "control": 3}, '
        f'"fal": {{"key": "k", "user_id": "u"}}, "parameters": {{}}{more}}}'
    )

    assert Run.load(state.run_file) == Run([], PORTS, Fal("k", "u"), {})


@pytest.mark.parametrize(
    "pair",
    [
        "nonsense=1",
        "run-seconds=soon",
        "run-seconds=-1",
        "concurrency=0",
        "control-port=1",
        "run-sec=3",
    ],
)
def test_an_option_that_the_simulator_does_not_take_is_refused_before_anything_starts(
    pair: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["up", "--fal", pair]) == 2
    assert pair in capsys.readouterr().err


# parameters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("MaxFrames", "abc", "from 9 to 481"),
        ("MaxFrames", "482", "from 9 to 481"),
        ("MaxFrames", "8", "from 9 to 481"),
        ("MaxFrames", "nan", "from 9 to 481"),
        ("OutputLifetimeSeconds", "60", "from 3600"),
        ("DailyBudgetUsd", "-1", "must be"),
        ("DailyBudgetUsd", "5 dollars", "must be"),
        ("AudioDelivery", "carrier", "presigned, fal-storage"),
        ("LogRetentionDays", "2", "one of 1, 3"),
        ("EventWebhookUrl", "http://x", "must be"),
        ("MaxFrame", "9", "MaxFrames"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_before_anything_starts(
    name: str, value: str, allowed: str
) -> None:
    with pytest.raises(LocalCloudError) as refused:
        parameters.check(deploy.read_template(), {name: value})

    assert allowed in str(refused.value)
    assert name in str(refused.value)


def test_every_default_of_the_template_may_be_given() -> None:
    template = deploy.read_template()
    declared = template["Parameters"]

    parameters.check(template, {name: str(one["Default"]) for name, one in declared.items()})


# the command line ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LocalCloudError("So. Do that."), 1),
        (WrongUsage("So. Do that."), 2),
        (PermissionError(13, "Permission denied", ".local"), 1),
        (KeyError("DropBucketName"), 1),
        (CloudUnreachable("So. Do that."), 3),
        (ReadTimeoutError(endpoint_url="https://localhost"), 3),
    ],
    ids=repr,
)
def test_no_failure_of_the_local_cloud_shows_a_trace_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(LocalCloud, "endpoints", fail)
    assert app.main(["logs"]) == code
    without = capsys.readouterr().err
    monkeypatch.setenv("PHONOSCENE_DEBUG", "1")
    assert app.main(["logs"]) == code

    assert without.startswith("error: ")
    assert "Traceback" not in without
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["_song.wav", ".song.wav", "song.txt", "nothing.wav"])
def test_a_file_that_no_one_would_look_at_is_refused_before_it_is_dropped(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if name != "nothing.wav":
        (tmp_path / name).touch()

    assert app.main(["drop", str(tmp_path / name), "--prompt", "x"]) == 2
    assert name in capsys.readouterr().err


def test_a_job_that_failed_here_is_reported_with_the_next_step_on_this_cloud(
    state: StateDirectory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "song.wav").write_bytes(b"x")
    failed = a_job(JobStatus.FAILED, errors=(ErrorDetail(code="oh", message="No."),))
    monkeypatch.setattr(drop_command, "_endpoints_for", lambda *_, **__: "endpoints")
    monkeypatch.setattr(drops, "upload", lambda *_: [failed.job_id])
    monkeypatch.setattr(drop_command, "follow", lambda *_: [failed])

    assert app.main(["drop", str(tmp_path / "song.wav"), "--prompt", "x"], state) == 1

    output = capsys.readouterr().err
    assert "No." in output
    assert output.endswith(f"`phonoscene --local retry {failed.job_id}`.\n")


def test_a_dropped_file_takes_along_the_image_that_is_given_and_names_it(tmp_path: Path) -> None:
    for name in ("song.wav", "cover.png"):
        (tmp_path / name).write_bytes(b"x")

    drop = file_drop(tmp_path / "song.wav", {"prompt": "Rain"}, tmp_path / "cover.png")

    assert drop.sidecar
    assert isinstance(drop.sidecar.source, bytes)
    assert json.loads(drop.sidecar.source) == {"prompt": "Rain", "image_url": "cover.png"}
    assert [image.key for image in drop.images] == ["cover.png"]


def test_a_dropped_file_takes_along_the_image_that_its_sidecar_names(tmp_path: Path) -> None:
    for name in ("song.wav", "first.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "song.json").write_text('{"prompt": "Rain", "image_url": "first.png"}')

    drop = file_drop(tmp_path / "song.wav", {}, None)

    assert [image.key for image in drop.images] == ["first.png"]
