"""Every format and mux is measured as FFmpeg decodes it, or refused with its code."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.media import matrix
from tests.support.media.judging import LONG_ENOUGH, judged
from tests.support.media.reading import read
from tests.support.media.recipes import GROUPS, table_of, wavs

if TYPE_CHECKING:
    from tests.support.media.recipes import Recipe

MUX_SECONDS, SHAPE_SECONDS, TINY_SECONDS, LONG_SECONDS = 3.0, 1.0, 0.05, 600.0
#: Ten minutes of each; their making and their measuring take a second each.
LONG = (
    "wav, plain",
    "wav, lengths ffffffff",
    "mp3, CBR",
    "mp3, VBR without Xing",
    "flac, plain",
    "flac, total samples 0",
    "m4a, moov last",
    "m4a, fragmented",
    "aac, ADTS",
    "aac, HLS segments",
    "ogg, opus",
    "ogg, vorbis",
    "ogg, flac",
    "ogg, speex",
)


def recipes() -> list[Recipe]:
    """What `make test` measures; `make media-matrix` measures more."""
    found: list[Recipe] = []
    for form, what in GROUPS:
        lengths = (MUX_SECONDS, TINY_SECONDS) if what == "muxes" else (SHAPE_SECONDS,)
        for seconds in lengths:
            found += table_of(form, what, seconds)
        if what == "muxes":
            long = table_of(form, what, LONG_SECONDS)
            found += [one for one in long if f"{one.form}, {one.mux}" in LONG]
    return found


RECIPES = recipes()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_file_is_measured_to_a_video_frame_or_refused_with_its_code(recipe: Recipe) -> None:
    assert judged(recipe).wrong is None


@pytest.mark.parametrize(
    "mux", ["wav, lengths ffffffff", "mp3, ten joined, first Xing", "aac, ADTS", "ogg, flac"]
)
def test_audio_longer_than_any_video_is_measured_as_such(mux: str) -> None:
    form = mux.partition(",")[0]
    recipes = table_of(form, "muxes", 1.2 * LONG_ENOUGH)
    (recipe,) = (one for one in recipes if f"{one.form}, {one.mux}" == mux)

    reading = read(recipe.make(), form)

    assert reading.seconds
    assert reading.seconds > LONG_ENOUGH


def test_ten_minutes_of_every_kind_are_among_them() -> None:
    long = {f"{one.form}, {one.mux}" for one in RECIPES if one.seconds == LONG_SECONDS}

    assert long == set(LONG)


# The judge ----------------------------------------------------------------------------------------


def test_the_judge_sees_a_wrong_length_a_wrong_code_and_a_wrong_oracle() -> None:
    plain, cut = (next(one for one in wavs(3.0) if one.mux == mux) for mux in ("plain", "cut off"))

    assert judged(plain).wrong is None
    assert judged(replace(plain, refused=("not_audio",))).wrong
    assert judged(replace(plain, seconds=4.0)).wrong
    assert judged(replace(plain, make=cut.make, padding=2.0)).wrong
    assert judged(replace(cut, claims=9.0)).wrong


# The command --------------------------------------------------------------------------------------


def test_the_command_prints_a_line_for_each_group_and_length(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = matrix.main(["--only", "flac", "--lengths", "0.3,1", "--json"])

    data = json.loads(capsys.readouterr().out)
    assert (code, data["wrong"]) == (0, {})
    assert {(row["what"], row["seconds"]) for row in data["rows"]} == {
        (what, seconds) for what in ("muxes", "rates, layouts") for seconds in (0.3, 1.0)
    }
    assert sum(row["files"] for row in data["rows"]) == data["files"] > 40
    assert all(row["most_requests"] for row in data["rows"])


def test_a_wrong_file_is_named_and_the_command_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = matrix.Report()
    plain = wavs(1.0)[0]
    report.add(("wav", "muxes", 1.0), [judged(plain), judged(replace(plain, mux="x", seconds=2.0))])
    monkeypatch.setattr(matrix, "run", lambda _: report)

    code = matrix.main([])

    output = capsys.readouterr().out
    assert code == 1
    assert "2 files, 1 wrong" in output
    assert "wav, x, 2 s: FFmpeg decodes 1.000 s of the 2 s" in output
