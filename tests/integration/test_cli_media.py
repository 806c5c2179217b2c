"""``drop --dry-run`` measures real files right, or refuses them, before money is spent."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.media.judging import FRAME, seconds_of
from tests.support.media.samples import silence
from tests.support.template import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.desk import Answer, Desk
    from tests.integration.moto_stack import Cloud

CASES = ROOT / "tests/media/cases"
FPS = 24
#: A video's frames are a multiple of eight and one, of which each estimate may round up.
ROUNDING = 8


def outcomes() -> dict[str, str]:
    """The table of tests/media/cases/README.md: what becomes of each file."""
    rows = re.findall(
        r"^\| (\S+\.\w+) \| (\S+) \|", (CASES / "README.md").read_text(), re.MULTILINE
    )
    return dict(rows)


OUTCOMES = outcomes()
MEASURED = {name: float(text) for name, text in OUTCOMES.items() if text[0].isdigit()}
REFUSED = {name: text for name, text in OUTCOMES.items() if name not in MEASURED}


@pytest.fixture
def folder(tmp_path: Path, environment: pytest.MonkeyPatch) -> Path:
    """Where the person is: a copy of all cases."""
    shutil.copytree(CASES, tmp_path / "cases")
    environment.chdir(tmp_path / "cases")
    return tmp_path / "cases"


def dropped(desk: Desk, audio: str, *words: str) -> Answer:
    return desk.says("drop", audio, *words, "--dry-run", "--json")


def test_every_case_is_in_the_table() -> None:
    sounds_and_sidecars = {
        file.name for file in CASES.iterdir() if file.suffix not in (".png", ".md")
    }

    assert set(OUTCOMES) == sounds_and_sidecars


@pytest.mark.parametrize("name", MEASURED)
def test_a_real_file_is_measured_and_priced_by_what_can_be_heard(
    desk: Desk,
    folder: Path,
    name: str,
) -> None:
    result = dropped(desk, name, "--prompt", "A stage")

    assert result.code == 0, result.err
    [seconds] = re.findall(r"([\d.]+) s of audio/", result.err)
    assert float(seconds) == pytest.approx(MEASURED[name], abs=FRAME)
    needed = MEASURED[name] * FPS
    assert needed <= result.data["estimate"]["frames"] <= needed + ROUNDING + 1
    true = seconds_of((folder / name).read_bytes(), name.rpartition(".")[2])
    assert true == pytest.approx(MEASURED[name], abs=0.001)


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_would_waste_money_is_refused_by_its_code(
    desk: Desk,
    cloud: Cloud,
    folder: Path,
    name: str,
) -> None:
    audio = name
    if name.endswith(".json"):
        audio = name.replace(".json", ".wav")
        (folder / audio).write_bytes(silence(2))

    result = dropped(desk, audio, *([] if name.endswith(".json") else ["--prompt", "A stage"]))

    assert result.code == 1, result.err
    assert "Traceback" not in result.err
    assert {error["code"] for error in result.data["errors"]} == {REFUSED[name]}
    assert "Contents" not in cloud.s3.list_objects_v2(Bucket="drops")


def test_a_file_that_was_cut_off_names_what_it_holds_and_what_it_claims(
    desk: Desk,
    folder: Path,  # noqa: ARG001 - where the file is
) -> None:
    result = dropped(desk, "wav-cut-off.wav", "--prompt", "A stage")

    [error] = result.data["errors"]
    assert {"1.00", "10.00"} <= set(re.findall(r"\d+\.\d+", error["message"]))


def test_a_sidecar_in_another_encoding_names_the_one_to_use(desk: Desk, folder: Path) -> None:
    (folder / "utf16-no-bom.wav").write_bytes(silence(2))

    result = dropped(desk, "utf16-no-bom.wav")

    [error] = result.data["errors"]
    assert "UTF-8" in error["message"]


def test_ffmpeg_is_loaded_to_measure_files_and_not_before() -> None:
    script = "import sys, phonoscene_cli.app; sys.exit('av' in sys.modules)"

    subprocess.run([sys.executable, "-c", script], check=True)  # noqa: S603 - our own words
