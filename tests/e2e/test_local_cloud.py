"""A local cloud one part of which is killed: it is mended, and keeps what it holds."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from local import cli
from local.cloud import LocalCloud
from local.emulator import EMULATOR, SIMULATOR
from local.paths import PROJECT, StateDirectory
from tests.support.local_stack import Phonoscene, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[StateDirectory]:
    made = StateDirectory(PROJECT / ".build" / "e2e-mended")
    monkeypatch.setattr(cli, "DEFAULT_STATE", made)
    yield made
    LocalCloud(made).down()


def kill(state: StateDirectory, part: str) -> None:
    """As `kill -9` does."""
    run = LocalCloud(state).recorded()
    assert run
    [process] = [one for one in run.processes if one.name == part]
    os.kill(process.pid, signal.SIGKILL)
    assert eventually(lambda: not process.alive)


@pytest.mark.timeout(400)  # it starts, builds and deploys
def test_a_simulator_that_was_killed_is_started_again_and_nothing_is_lost(
    state: StateDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["up", "--fal", "run-seconds=0"]) == 0
    stack = Phonoscene(LocalCloud(state).endpoints())
    stack.drop("before")
    before = stack.take("before")

    kill(state, SIMULATOR)
    assert cli.main(["status"]) == 0
    said = capsys.readouterr().out
    assert cli.main(["up"]) == 0
    mended = Phonoscene(LocalCloud(state).endpoints())
    mended.drop("after")

    assert f"{SIMULATOR:<18} ended: `make up` starts it again" in said
    assert mended.jobs.takes("before")[0] == before
    assert len(mended.video(before)) == before["video"]["bytes"]
    after = mended.take("after", seconds=100)  # new keys, which are fetched once a minute
    assert after["status"] == "SUCCEEDED"

    kill(state, EMULATOR)
    capsys.readouterr()
    assert cli.main(["up"]) == 1
    assert "make down" in capsys.readouterr().err
    assert cli.main(["down"]) == 0
    assert LocalCloud(state).recorded() is None
