"""Every sidecar of the cookbook is one that a drop may have."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from phonoscene.drops.sidecar_files import SidecarFile, ignores, parse, waits_for_sidecar
from tests.unit.test_template import ROOT

PAGE = (ROOT / "docs" / "cookbook.md").read_text()
RECIPES = [part.partition("\n")[::2] for part in PAGE.split("\n## ")[1:]]
SIDECARS = {
    title: json.loads(block)
    for title, text in RECIPES
    for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)
}
*DROPS, RULE = SIDECARS


FOLDERS = [title for title in DROPS if "ignore" in SIDECARS[title]]


def test_there_are_twelve_recipes_and_each_shows_what_to_drop() -> None:
    assert len(RECIPES) == len(SIDECARS) == 12


def test_one_recipe_is_a_folder_that_is_ignored() -> None:
    [title] = FOLDERS

    assert ignores([SidecarFile("talks/done/_defaults.json", SIDECARS[title])])


@pytest.mark.parametrize("title", [title for title in DROPS if title not in FOLDERS])
def test_a_recipe_is_taken(title: str) -> None:
    found: Any = SIDECARS[title]
    is_defaults = "wait_for_sidecar" in found
    source = "podcast/_defaults.json" if is_defaults else "podcast/song.json"

    for take in found if isinstance(found, list) else [found]:
        document = SidecarFile(source, take)
        sidecar, _ = parse([document])
        assert sidecar.prompt == take["prompt"]
        assert waits_for_sidecar([document]) is not is_defaults


def test_the_last_is_a_rule_and_no_sidecar() -> None:
    assert SIDECARS[RULE]["detail-type"] == ["Job Status Changed"]
