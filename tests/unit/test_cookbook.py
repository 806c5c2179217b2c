"""The cookbook shows the files of ``examples/``, and the product accepts each of them."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs, urlsplit

import pytest

from phonoscene.drops.keys import AUDIO_SUFFIXES, DEFAULTS_NAME, Kind, kind_of, name_of
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
from tests.support.template import ROOT, read

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = ROOT / "examples"
PAGE = (ROOT / "docs" / "cookbook.md").read_text()
BLOCK = r"^\[(\S+\.json)\]\([^\n]*\n\n```json\n(.*?)```$"
SHOWN = dict(re.findall(BLOCK, PAGE, re.MULTILINE | re.DOTALL))
UPLOAD = PAGE.partition("## Upload from a browser\n")[2].partition("\n## ")[0]
BUCKET = "phonoscene-dropbucket-1d0x3"
RULE = EXAMPLES / "event-rule" / "rule.json"
IGNORED = EXAMPLES / "finished-files" / DEFAULTS_NAME
FOLDER_STYLE = EXAMPLES / "folder-style" / DEFAULTS_NAME
#: Folders whose audio takes several requests.
LONG = {"song-in-scenes", "long-talk", "one-long-shot"}
COMMANDS = {
    "Many recordings at once",
    "Upload from a browser",
    "Remove one customer's files",
}
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


@pytest.fixture
def upload(monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, str], SplitResult]:
    """What the server's code of the page makes: the name, the sidecar's PUT, the audio's URL."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    [code] = re.findall(r"```python\n(.*?)```", UPLOAD, re.DOTALL)
    server: dict[str, Any] = {}
    exec(code, server)  # noqa: S102 - the page's own
    puts: list[dict[str, str]] = []
    server["s3"].put_object = lambda **put: puts.append(put)
    name, url = server["begin_upload"](BUCKET, ".mp3", 7, {"prompt": "A quay"})
    [sidecar] = puts
    return name, sidecar, urlsplit(url)


def test_an_upload_from_a_browser_is_a_drop(
    upload: tuple[str, dict[str, str], SplitResult],
) -> None:
    name, sidecar, url = upload
    audio = url.path.removeprefix("/")

    assert kind_of(audio) is Kind.AUDIO
    assert name_of(audio) == name_of(sidecar["Key"]) == name
    assert read_takes(sidecar["Key"], sidecar["Body"].encode())[0].values == {"prompt": "A quay"}


def test_the_browser_and_the_server_may_make_an_upload(
    upload: tuple[str, dict[str, str], SplitResult],
) -> None:
    _, sidecar, url = upload
    [cors] = re.findall(r"--cors-configuration '(.*?)'", UPLOAD, re.DOTALL)
    [policy] = re.findall(r"--policy-document '(.*?)'", UPLOAD, re.DOTALL)
    [rule] = json.loads(cors)["CORSRules"]
    [signed] = parse_qs(url.query)["X-Amz-SignedHeaders"]

    assert url.netloc == f"{BUCKET}.s3.eu-west-1.amazonaws.com"
    assert signed == "content-length;host;if-none-match"
    assert (rule["AllowedMethods"], rule["AllowedHeaders"]) == (
        ["PUT"],
        ["content-type", "if-none-match"],
    )
    for key in (url.path, "/" + sidecar["Key"]):
        assert fnmatchcase(
            f"arn:aws:s3:::{BUCKET}{key}", json.loads(policy)["Statement"]["Resource"]
        )


def test_the_template_leaves_the_rules_of_the_drop_bucket_for_browsers_alone() -> None:
    assert "CorsConfiguration" not in read()["Resources"]["DropBucket"]["Properties"]


def test_the_example_of_a_rule_matches_our_events() -> None:
    rule = json.loads(RULE.read_text())

    assert (rule["source"], rule["detail-type"]) == ([SOURCE], [STATUS_CHANGED])
