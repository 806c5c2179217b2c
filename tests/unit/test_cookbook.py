"""The cookbook shows the files of ``examples/``, and the product accepts each of them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from phonoscene.drops.keys import AUDIO_SUFFIXES, DEFAULTS_NAME
from phonoscene.drops.sidecar_files import (
    ignores,
    parse,
    read_sidecar_file,
    read_takes,
    waits_for_sidecar,
)
from phonoscene.probe.audio import probe_audio
from phonoscene.probe.image import probe_image
from phonoscene.publishing.event_bus import SOURCE, STATUS_CHANGED
from phonoscene.sequences.scenes import read_scenes
from tests.support.template import ROOT

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = ROOT / "examples"
PAGE = (ROOT / "docs" / "cookbook.md").read_text()
BLOCK = r"^\[(\S+\.json)\]\([^\n]*\n\n```json\n(.*?)```$"
SHOWN = dict(re.findall(BLOCK, PAGE, re.MULTILINE | re.DOTALL))
RULE = EXAMPLES / "event-rule" / "rule.json"
IGNORED = EXAMPLES / "finished-files" / DEFAULTS_NAME
FOLDER_STYLE = EXAMPLES / "folder-style" / DEFAULTS_NAME
#: Folders whose audio takes several requests.
LONG = {"song-in-scenes", "long-talk", "one-long-shot"}
COMMANDS = {"Remove one customer's files"}
TARGETS = {*EXAMPLES.glob("*/targets.json")}
SIDECARS = sorted({*EXAMPLES.glob("*/*.json")} - {RULE, IGNORED} - TARGETS)
AUDIO = sorted(path for path in EXAMPLES.glob("*/*") if path.suffix in AUDIO_SUFFIXES)


def _name(path: Path) -> str:
    return path.relative_to(EXAMPLES).as_posix()


def test_each_recipe_shows_one_file_but_for_those_that_are_commands() -> None:
    recipes = PAGE.split("\n## ")[1:]
    shown = {one.partition("\n")[0] for one in recipes if one.count("```json") == 1}

    assert {one.partition("\n")[0] for one in recipes} - shown == COMMANDS
    assert len(SHOWN) == len(shown) == PAGE.count("```json") == 18


def test_the_page_shows_every_json_file_of_the_examples_as_it_is() -> None:
    assert {_name(path): path.read_text() for path in EXAMPLES.glob("*/*.json")} == SHOWN


@pytest.mark.parametrize("path", SIDECARS, ids=_name)
def test_the_product_accepts_a_sidecar_of_the_examples(path: Path) -> None:
    takes = read_takes(_name(path), path.read_bytes())

    for take in takes:
        sidecar, _ = parse([take])
        assert sidecar.prompt == take.values["prompt"]
        assert waits_for_sidecar([take]) is (path != FOLDER_STYLE)
        assert len(read_scenes([take]).listed) == len(take.values.get("scenes", []))


@pytest.mark.parametrize("path", AUDIO, ids=_name)
def test_the_audio_of_an_example_has_its_sidecar_and_can_be_measured(path: Path) -> None:
    with path.open("rb") as file:
        seconds = probe_audio(file, path.suffix).seconds
    assert 39 < seconds < 60 if path.parent.name in LONG else 1 < seconds < 3
    assert path.with_suffix(".json") in SIDECARS or path.with_name(DEFAULTS_NAME) in SIDECARS


@pytest.mark.parametrize("path", SIDECARS, ids=_name)
def test_an_image_beside_a_sidecar_is_one_that_fal_can_read(path: Path) -> None:
    takes = [take.values for take in read_takes(_name(path), path.read_bytes())]
    for values in (*takes, *(scene for take in takes for scene in take.get("scenes", []))):
        for field in ("image_url", "end_image_url"):
            name = values.get(field, "https:")
            if not name.startswith("https:"):
                with (path.parent / name).open("rb") as file:
                    assert probe_image(file).width >= 512


def test_the_example_of_finished_files_hides_its_folder() -> None:
    assert ignores([read_sidecar_file("talks/done/_defaults.json", IGNORED.read_bytes())])


def test_the_example_of_a_rule_matches_our_events() -> None:
    rule = json.loads(RULE.read_text())

    assert (rule["source"], rule["detail-type"]) == ([SOURCE], [STATUS_CHANGED])
