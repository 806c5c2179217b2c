"""What docs/command-line.md shows of each command is what the command prints."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from local.drops.spending_consent import agree_to_drop
from phonoscene.jobs import (
    Actual,
    DropObject,
    Estimate,
    JobStatus,
    Scene,
    Segment,
    Sequence,
    Video,
)
from phonoscene.publishing.wording import STATES
from phonoscene_cli.doctor.checks import CHECKS
from phonoscene_cli.ui import terminal
from phonoscene_cli.upload.upload import Drop, FileUpload
from tests.integration.workspace import Clock, Workspace
from tests.support.documented import PAGE, samples, shape
from tests.support.media.samples import silence
from tests.support.stack import OUTPUT
from tests.support.template import expand, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.desk import Desk
    from tests.integration.moto_stack import Cloud

LOCAL = (Path(__file__).parents[2] / "docs" / "local.md").read_text()
SONG = Path(__file__).parents[2] / "examples" / "song-in-scenes"
SHORT = SONG.parent / "portrait" / "courtyard.mp3"
_S = JobStatus
#: A step of a job, as lines of ``drop --watch``, ``watch`` and ``make demo`` have it.
STEP = re.compile(r" *(?:[\d.]+ s|[\d-]+ [\d:]+)  ([A-Z]+) +(.+)")


COMMANDS = {
    typed: [line for line in lines if line.strip() not in {"", "…"}]
    for typed, lines in samples(PAGE).items()
    if lines
}


@pytest.fixture
def scene(cloud: Cloud) -> Workspace:
    return Workspace.on_moto(cloud, clock=Clock(datetime.now(UTC)))


@pytest.fixture
def here(tmp_path: Path, environment: pytest.MonkeyPatch) -> Path:
    """Where somebody sits, with five seconds of audio, and answers with yes."""
    environment.chdir(tmp_path)
    (tmp_path / "intro.wav").write_bytes(silence(5, 22_050))
    shutil.copytree(SONG, tmp_path, dirs_exist_ok=True)
    (tmp_path / "episodes").mkdir()
    for name in ("one", "two"):
        shutil.copy(SHORT, tmp_path / "episodes" / f"{name}.mp3")
    environment.setattr(terminal, "must_be_able_to_ask", lambda: None)
    environment.setattr("sys.stdin", io.StringIO("y\n"))
    return tmp_path


COST = Estimate(
    width=1024, height=576, frames=121, megapixels="71.4", lower_usd="0.0859", upper_usd="0.0868"
)
CAME = Actual(
    source="frames",
    width=1024,
    height=576,
    frames=120,
    megapixels="70.8",
    lower_usd="0.0803",
    upper_usd="0.0868",
)


def one_that_succeeded(scene: Workspace, name: str = "talks/intro") -> None:
    pinned = {"key": f"{name}.wav", "version_id": "1f199aa3-2b54-482e-a0c3-c2b57bf7165b"}
    scene.bring(
        _S.SUCCEEDED,
        int(name.endswith("outro")) + 1,
        name=name,
        estimate=COST,
        actual=CAME,
        audio={**pinned, "bytes": 220_500, "seconds": 5.0},
        sidecar=DropObject(**pinned | {"key": f"{name}.json"}),
        arguments={"prompt": "A singer on a bare stage", "video_output_type": "X264 (.mp4)"},
    )


def two(_: Desk, scene: Workspace) -> None:
    one_that_succeeded(scene)
    one_that_succeeded(scene, "talks/outro")


def pair(cloud: Cloud, name: str) -> None:
    cloud.drop(f"{name}.wav", silence(1))
    cloud.drop(f"{name}.json", {"prompt": "x"})


def missing(desk: Desk, scene: Workspace) -> None:
    cancelled(desk, scene, "talks/there")
    pair(desk.cloud, "talks/lost")


def cancelled(desk: Desk, scene: Workspace, name: str) -> None:
    pair(desk.cloud, name)
    desk.announce(f"{name}.json")
    [job] = desk.cloud.items()
    scene.store.end(scene.store.get(job["job_id"]), _S.CANCELLED)  # type: ignore[arg-type]


def with_a_video(desk: Desk, scene: Workspace) -> None:
    pair(desk.cloud, "talks/outro")
    desk.announce("talks/outro.json")
    [item] = desk.cloud.items()
    job = scene.store.get(item["job_id"])
    assert job
    scene.store.end(scene.store.move(job, _S.GENERATED), _S.SUCCEEDED)


def stored(desk: Desk, scene: Workspace) -> None:
    at = {"bucket": OUTPUT, "key": "talks/intro/1.mp4"}
    put = desk.cloud.s3.put_object(Bucket=at["bucket"], Key=at["key"], Body=b"film")
    pinned = at | {"version_id": put["VersionId"], "sha256": "", "content_type": "video/mp4"}
    scene.bring(_S.SUCCEEDED, name="talks/intro", video=Video(**pinned, bytes=4))


def wrong(desk: Desk, scene: Workspace) -> None:
    one_that_succeeded(scene)
    for name in "ab":
        pair(desk.cloud, f"archive/{name}")
    desk.cloud.drop("archive/b.json", json.dumps({"prompt": "x", "fps": 90}))


def in_segments(_: Desk, scene: Workspace) -> None:
    """A sequence of five segments, whose first two have their videos."""
    states = (_S.SUCCEEDED, _S.SUCCEEDED, _S.SUBMITTED, _S.READY, None)
    parts = [
        Segment(
            scene=0,
            first=first,
            frames=249,
            status=status,
            job_id=status and f"{number:08x}{0:024}",
            request_id=str(uuid4()) if status in (_S.SUCCEEDED, _S.SUBMITTED) else None,
        )
        for number, (first, status) in enumerate(zip(range(0, 1245, 249), states, strict=True))
    ]
    sequence = Sequence(fps=24, scenes=(Scene(),), segments=tuple(parts))
    scene.bring(_S.SUBMITTED, 1, name="songs/harbour", sequence=sequence)


def at_fal(_: Desk, scene: Workspace) -> None:
    scene.bring(_S.SUBMITTED, 1, name="talks/intro")
    scene.admit(2, name="talks/half")


def without_a_server(desk: Desk, _: Workspace) -> None:
    """No browser is opened, and the board ends at once."""
    desk.patch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    desk.patch.setattr("webbrowser.open", lambda _: True)
    desk.patch.setattr("signal.signal", lambda *_: None)


#: What there is before a command, by the command, with its words or without.
BEFORE: dict[str, Callable[[Desk, Workspace], Any]] = {
    "jobs": two,
    "show songs/harbour": in_segments,
    "show": lambda _, scene: one_that_succeeded(scene),
    "watch": lambda _, scene: one_that_succeeded(scene, "talks/outro"),
    "share": stored,
    "retry": with_a_video,
    "cancel": at_fal,
    "audit": missing,
    "backfill": wrong,
    "cost": lambda _, scene: one_that_succeeded(scene),
    "board": without_a_server,
}


def ran(desk: Desk, typed: str, environment: pytest.MonkeyPatch) -> list[str]:
    """The shapes of the lines that a command of the page prints here."""
    words = re.findall(r'"[^"]*"|\S+', typed.removeprefix("phonoscene "))
    words = [found for word in words for found in _expanded(word.strip('"'))]
    if words[0] in {"audit", "backfill"}:
        words += ["--older-than", "0s"]
    if words[0] == "drop":
        words = words[:-2] if words[-2] == "--out" else words  # no one makes the video here
    if words[0] == "cancel":
        environment.setattr("time.sleep", desk.work)
    result = desk.says(*words)
    text = (result.out + result.err).replace("[y/N] ", "[y/N]\n").replace(" --older-than 0s", "")
    return [shape(line) for line in text.splitlines()]


def _expanded(word: str) -> list[str]:
    """What a shell passes on for a word."""
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]


#: Which have tests of their own, here and in tests/e2e/test_deploy.py.
ELSEWHERE = ("phonoscene doctor", "phonoscene deploy ")


@pytest.mark.parametrize("typed", [one for one in COMMANDS if not one.startswith(ELSEWHERE)])
def test_the_page_shows_what_the_command_prints(
    desk: Desk, scene: Workspace, here: Path, environment: pytest.MonkeyPatch, typed: str
) -> None:
    command = typed.removeprefix("phonoscene ")
    before = BEFORE.get(command) or BEFORE.get(command.split()[0])
    if before:
        before(desk, scene)

    printed = ran(desk, typed, environment)

    assert here.exists()
    for line in COMMANDS[typed]:
        step = None if command.startswith("jobs") else STEP.fullmatch(line)
        if step:
            assert step[2] == STATES[_S(step[1])]
        elif not line.startswith(("video: ", "https://", "board: ")):  # no link is alike
            assert shape(line.removesuffix(" y")) in printed


def test_the_page_shows_the_prices_of_the_example(desk: Desk, here: Path) -> None:
    typed = "phonoscene drop harbour.mp3 --dry-run"
    desk.parameters["MaxInFlight"] = "2"

    result = desk.says(*typed.split()[1:])

    assert here.exists()
    assert [line.rstrip() for line in result.err.splitlines()] == COMMANDS[typed]


DOCTOR = {line[6:20].strip(): line[21:] for line in samples(PAGE)["phonoscene doctor"]}


def test_the_page_shows_each_check_of_the_doctor() -> None:
    assert [name for name in DOCTOR if name] == list(CHECKS)


def test_what_the_page_shows_of_the_doctor_counts_the_templates_resources() -> None:
    made = [
        one
        for one in expand(read())["Resources"].values()
        if one.get("Condition") not in {"HasEventWebhook", "HasNotifyEmail"}
    ]
    kinds = Counter(one["Type"].removeprefix("AWS::") for one in made)
    rules, sources = kinds["Events::Rule"], kinds["Lambda::EventSourceMapping"]
    dead_letter_queues = [
        one
        for one in made
        if one["Type"] == "AWS::SQS::Queue" and "RedrivePolicy" not in one["Properties"]
    ]

    assert DOCTOR["event webhook"] == "not needed: EventWebhookUrl is not set"
    assert DOCTOR["alarms"] == f"none of {kinds['CloudWatch::Alarm']} is in ALARM"
    assert DOCTOR["functions"] == f"{kinds['Lambda::Function']} functions are ready"
    assert DOCTOR["triggers"] == f"{rules} rules and {sources} event sources are on"
    assert DOCTOR["dead letters"] == f"all {len(dead_letter_queues)} are empty"


# the local cloud ----------------------------------------------------------------------------------


def test_the_local_page_shows_the_steps_of_a_demonstration() -> None:
    lines = samples(LOCAL)["make demo"]
    steps = [step for step in map(STEP.fullmatch, lines) if step]

    assert [step[1] for step in steps] == [
        "READY",
        "SUBMITTING",
        "SUBMITTED",
        "GENERATED",
        "SUCCEEDED",
    ]
    assert all(step[2] == STATES[_S(step[1])] for step in steps)


def test_the_local_page_shows_what_a_drop_with_the_real_fal_asks(
    capsys: pytest.CaptureFixture[str], environment: pytest.MonkeyPatch
) -> None:
    [lines] = [shown for typed, shown in samples(LOCAL).items() if typed.startswith("make drop")]
    drop = Drop(FileUpload("song.wav", silence(5)), FileUpload("song.json", b'{"prompt": "x"}'))

    class Person(io.StringIO):
        def isatty(self) -> bool:
            return True

    environment.setattr("sys.stdin", Person("y\n"))
    environment.setenv("TTY_COMPATIBLE", "1")  # so that rich takes stderr for a terminal, too
    agree_to_drop(drop, {}, yes=False)

    assert capsys.readouterr().err.splitlines() == [
        line.rstrip() + " " * line.endswith("]") for line in lines
    ]
