"""A local cloud one part of which is killed: it is mended, and keeps what it holds.

The tests share one cloud, in this order: at the end nothing of it is left.
"""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from local.app import main
from local.cloud.cloud import LocalCloud
from local.cloud.emulator import EMULATOR, SIMULATOR
from local.paths import PROJECT, StateDirectory
from tests.support.local_stack import Phonoscene, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.cloud.run_state import Run

pytestmark = [pytest.mark.timeout(400)]  # the first one starts, builds and deploys


@pytest.fixture(scope="module")
def state() -> Iterator[StateDirectory]:
    made = StateDirectory(PROJECT / ".build" / "e2e-mended")
    assert main(["up", "--fal", "run-seconds=0"], made) == 0
    yield made
    LocalCloud(made).down()


def recorded(state: StateDirectory) -> Run:
    run = LocalCloud(state).recorded()
    assert run
    return run


def kill(state: StateDirectory, part: str) -> None:
    """As `kill -9` does."""
    [process] = [one for one in recorded(state).processes if one.name == part]
    os.kill(process.pid, signal.SIGKILL)
    assert eventually(lambda: not process.alive)


def answers(stack: Phonoscene, prompt: str) -> list[int]:
    """What the stack answered to each delivery of a request's webhook."""
    (request,) = stack.requests(prompt)
    return [one["status_code"] for one in request["deliveries"]]


def test_options_of_a_simulator_that_runs_cannot_change(
    state: StateDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    before = recorded(state)

    assert main(["up", "--fal", "run-seconds=3"], state) == 1

    assert "cannot change while it runs (--run-seconds 0)" in capsys.readouterr().err
    assert recorded(state) == before


def test_a_simulator_that_was_killed_is_started_again_and_nothing_is_lost(
    state: StateDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = Phonoscene(LocalCloud(state).endpoints())
    stack.drop("before")
    before = stack.take("before")
    others = [one for one in recorded(state).processes if one.name != SIMULATOR]

    kill(state, SIMULATOR)
    capsys.readouterr()
    assert main(["status"], state) == 0
    said = capsys.readouterr().out
    assert main(["status", "--json"], state) == 0
    listed = json.loads(capsys.readouterr().out)
    assert main(["up"], state) == 0
    advice = capsys.readouterr().err.splitlines()[-1]
    mended = Phonoscene(LocalCloud(state).endpoints())
    mended.drop("after")

    assert f"{SIMULATOR:<18} ended: `make up` starts it again" in said
    assert (listed["ended"], listed["jobs"]) == ([SIMULATOR], {"SUCCEEDED": 1})
    assert "`phonoscene --local drop examples/portrait/courtyard.mp3 --watch`" in advice
    assert [one for one in recorded(state).processes if one.name != SIMULATOR] == others
    assert mended.jobs.takes("before")[0] == before
    assert len(mended.video(before)) == before["video"]["bytes"]
    after = mended.take("after")
    assert after["status"] == "SUCCEEDED"
    prompt = after["arguments"]["prompt"]
    assert eventually(lambda: answers(mended, prompt) == [202])  # it signs with the same key


def test_an_emulator_that_was_killed_is_only_cleared_away_when_asked(
    state: StateDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    kill(state, EMULATOR)
    capsys.readouterr()

    assert main(["up"], state) == 3
    assert "make down" in capsys.readouterr().err
    assert main(["down"], state) == 0
    assert LocalCloud(state).recorded() is None
