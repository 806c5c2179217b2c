"""An archive of 500 files that were there before anybody listened, on a cloud of its own."""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from local.cloud.cloud import running_cloud
from tests.e2e.command_line import without_s3_events
from tests.support.local_stack import FOLDER, Phonoscene
from tests.support.media.samples import silence
from tests.support.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OWN = FOLDER.with_name("e2e-backfill")
COUNT = 500
DEFAULTS = {
    "prompt": "A bare stage",
    "wait_for_sidecar": False,
    "video_size": {"width": 64, "height": 64},
}


@pytest.fixture(scope="module")
def archive() -> Iterator[Phonoscene]:
    """One job at a time, which takes for ever: all others stay READY, and cost nothing here."""
    with running_cloud(OWN, {"MaxInFlight": "1"}, ["--run-seconds", "600"]) as endpoints:
        made = Phonoscene(endpoints)
        sound = silence(0.4)
        keys = [f"archive/album {n // 50}/song {n:03}.wav" for n in range(COUNT)]
        with without_s3_events(made), ThreadPoolExecutor(8) as pool:
            made.put("archive/_defaults.json", json.dumps(DEFAULTS).encode())
            list(pool.map(lambda key: made.put(key, sound), keys))
            time.sleep(2)  # the emulator sends an event after it has answered the PUT
        yield made


def at_terminal(tmp_path: Path, *words: str) -> Terminal:
    at = ("--endpoints", str(OWN / "endpoints.json"))
    env = {"XDG_STATE_HOME": str(tmp_path)}
    return Terminal(sys.executable, "-m", "phonoscene_cli", *at, *words, env=env)


def jobs(archive: Phonoscene) -> Counter[str]:
    """How many jobs each file has become."""
    pages = (
        archive.endpoints.client("dynamodb")
        .get_paginator("scan")
        .paginate(TableName=archive.endpoints.jobs_table)
    )
    items = [item for page in pages for item in page["Items"] if "status" in item]
    assert {item["status"]["S"] for item in items} <= {"READY", "SUBMITTING", "SUBMITTED"}
    return Counter(item["name"]["S"] for item in items)


WORDS = ("backfill", "archive/", "--older-than", "0s")


@pytest.mark.timeout(400)  # it admits 500 drops, which takes a minute where nothing else runs
def test_an_archive_is_priced_and_admitted_through_an_interruption_without_a_double(
    archive: Phonoscene, tmp_path: Path
) -> None:
    plan = _priced(tmp_path)
    assert jobs(archive) == {}
    before = _interrupted(tmp_path)
    after = _resumed(tmp_path)

    assert "500 drops under 'archive/' without a job" in plan
    assert "500 jobs would be created, 8,500 frames" in plan
    assert "1 day at $25.00 a day" in plan
    assert 100 <= before < COUNT
    assert COUNT <= before + after <= COUNT + 10  # a batch in doubt is sent once more
    _await(lambda: len(jobs(archive)) == COUNT, 240, every=1)  # each look reads the whole table
    assert set(jobs(archive).values()) == {1}
    with at_terminal(tmp_path, "audit", "archive/", "--older-than", "0s") as terminal:
        assert terminal.end() == 0
        assert "dropped 500, accounted 500, missing 0" in terminal.text


def _priced(tmp_path: Path) -> str:
    """The plan as it is shown."""
    with at_terminal(tmp_path, *WORDS, "--dry-run") as terminal:
        assert terminal.end() == 0
        return terminal.text


def _interrupted(tmp_path: Path) -> int:
    """How many were sent when ^C came, among the second hundred."""
    with at_terminal(tmp_path, *WORDS, "--rate", "200/s") as terminal:
        terminal.await_text("Admit 500 drops without a job", 200)
        terminal.type("y\n")
        _await(lambda: int((re.findall(r"(\d+)/500", terminal.text) or ["0"])[-1]) >= 100)
        terminal.type("\x03")
        assert terminal.end() == 130
        return int(re.findall(r"Interrupted after (\d+) drops", terminal.text)[0])


def _resumed(tmp_path: Path) -> int:
    """How many were sent by the same command, afterwards."""
    with at_terminal(tmp_path, *WORDS, "--rate", "200/s", "--yes") as terminal:
        assert terminal.end() == 0
        assert "Resuming after archive/" in terminal.text
        return int(re.findall(r"sent (\d+) drops", terminal.text)[0])


def _await(happened: Callable[[], bool], seconds: float = 60, every: float = 0.05) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(every)
