"""A local cloud whose parts die: what is mended, what cannot be, and what is left alone."""

from __future__ import annotations

import itertools
import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ReadTimeoutError

from local import cli, deploy, emulator, parameters
from local.cloud import LocalCloud
from local.drops import _reasons, file_drop
from local.emulator import EMULATOR, PACER, SIMULATOR, Fal, Ports
from local.errors import LocalCloudError
from local.paths import StateDirectory
from local.processes import Process, start_time
from local.runs import Options, Run
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


def run(pid: int, *, dead: Collection[str], real: bool = False, paced: bool = False) -> Run:
    """A run some of whose parts have ended: their pids are other processes' by now."""
    made = Run([], PORTS, FAL, {}, real=real, paced=paced)
    began = start_time(pid) or ""
    processes = [Process(part, pid, "0" if part in dead else began) for part in made.parts]
    return Run(processes, PORTS, FAL, {}, real=real, paced=paced)


PARTS = {
    "simulated": (SIMULATOR, EMULATOR),
    "paced": (SIMULATOR, EMULATOR, PACER),
    "real": (EMULATOR, PACER),
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
    made = run(living, dead=dead, real=kind == "real", paced=kind == "paced")
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
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(living, dead=dead, real=kind == "real", paced=kind == "paced").save(state.run_file)
    monkeypatch.setattr(cli, "DEFAULT_STATE", state)

    assert cli.main(["status"]) == 0
    told = capsys.readouterr().out

    for part in dead if EMULATOR not in dead else ():
        assert f"{part:<18} ended: `make up`" in told
    if EMULATOR in dead:
        is_stale = kind != "real" and dead == PARTS[kind]
        assert ("make up" if is_stale else "make down") in told


def test_a_dead_simulator_is_started_again_where_it_listened_and_nothing_else_is(
    state: StateDirectory, living: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run(living, dead={SIMULATOR})
    made.save(state.run_file)
    started: list[tuple[object, ...]] = []
    again = Process(SIMULATOR, living, start_time(living) or "")

    def start_simulator(_: object, __: object, *told: object) -> Process:
        started.append(told)
        return again

    package = type("Package", (), {"fingerprint": lambda *_: made.fingerprint})()
    for name, part in {
        "start_simulator": start_simulator,
        "await_simulator": lambda *_: None,
    }.items():
        monkeypatch.setattr(emulator, name, part)
    monkeypatch.setattr(LocalCloud, "_put_fal_key", lambda *_: None)
    monkeypatch.setattr(LocalCloud, "_remove", pytest.fail)
    monkeypatch.setattr(LocalCloud, "_end_rest_of", lambda *_: None)
    monkeypatch.setattr(deploy, "package", lambda _: package)
    monkeypatch.setattr(LocalCloud, "endpoints", lambda _: "endpoints")

    told = LocalCloud(state).up(Options(simulator=["--run-seconds", "5"]))

    assert str(told) == "endpoints"
    assert started == [(PORTS, FAL, ["--run-seconds", "5"])]
    found = Run.load(state.run_file)
    assert found
    assert found.dead == []
    assert found.simulator == ["--run-seconds", "5"]


def test_an_option_of_a_simulator_that_runs_is_refused_with_the_reason(
    state: StateDirectory, living: int
) -> None:
    run(living, dead=set()).save(state.run_file)

    with pytest.raises(LocalCloudError, match="it already runs"):
        LocalCloud(state).up(Options(simulator=["--run-seconds", "5"]))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"processes": []}'])
def test_a_record_that_cannot_be_read_is_never_taken_for_none(
    state: StateDirectory, text: str
) -> None:
    state.run_file.write_text(text)

    for ask in (LocalCloud(state).run, lambda: LocalCloud(state).up(Options())):
        with pytest.raises(LocalCloudError, match=r"run\.json"):
            ask()
    assert (state.temporary / "paid").exists()


def test_a_record_of_before_there_were_pacers_of_simulated_clouds_is_read(
    state: StateDirectory,
) -> None:
    state.run_file.write_text(
        '{"processes": [], "ports": {"aws": 1, "proxy": 2, "control": 3}, '
        '"fal": {"key": "k", "user_id": "u"}, "parameters": {}}'
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
    with pytest.raises(SystemExit) as refused:
        cli.main(["up", "--fal", pair])

    assert refused.value.code == 2
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
        (ReadTimeoutError(endpoint_url="https://localhost"), 1),
    ],
    ids=repr,
)
def test_no_failure_of_the_local_cloud_shows_a_trace_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setitem(cli.COMMANDS, "logs", fail)
    assert cli.main(["logs"]) == code
    without = capsys.readouterr().err
    monkeypatch.setenv("PHONOSCENE_DEBUG", "1")
    assert cli.main(["logs"]) == code

    assert without.startswith("error: ")
    assert "Traceback" not in without
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["_song.wav", ".song.wav", "song.txt", "nothing.wav"])
def test_a_file_that_nobody_would_look_at_is_refused_before_it_is_dropped(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if name != "nothing.wav":
        (tmp_path / name).touch()

    assert cli.main(["drop", str(tmp_path / name), "--prompt", "x"]) == 2
    assert name in capsys.readouterr().err


def test_a_job_that_failed_here_is_told_with_the_next_step_on_this_cloud() -> None:
    error = ErrorDetail(code="oh", message="No.")

    told = _reasons(a_job(JobStatus.FAILED, errors=(error,)))

    assert "No." in told
    assert told.endswith(f"`phonoscene --local retry {'0' * 32}`.")


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
