"""The sidecar as a form: what is typed is what the product reads, and back."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.drops.sidecar import Sidecar
from phonoscene.drops.sidecar_files import read_takes
from phonoscene.errors import DropRefused
from phonoscene_cli.board.forms.fields import ENDPOINT, FIELDS, OTHER, filled, refilled, texts
from tests.unit.strategies import json_values, keys
from tests.unit.strategies import texts as words

NAMES = [field.name for field in FIELDS]
SCENE = st.fixed_dictionaries(
    {"start": st.integers(0, 600) | st.floats(0, 600) | words | st.just("0:42.5")},
    optional={"prompt": words, "image_url": words},
)
TYPICAL = st.fixed_dictionaries(
    {},
    optional={
        "prompt": words,
        "seed": st.integers() | st.none(),
        "fps": st.floats(1, 60) | st.integers(1, 60),
        "video_size": st.sampled_from(["square", "landscape_16_9"])
        | st.fixed_dictionaries({"width": st.integers(), "height": st.integers()}),
        "metadata": st.dictionaries(keys, words, max_size=3),
        "scenes": st.lists(SCENE, max_size=3),
        "use_multiscale": st.booleans(),
        "image_url": words | st.none(),
        "continuity": st.sampled_from(["cut", "last-frame"]),
    },
)
ANY = st.dictionaries(st.sampled_from(NAMES) | keys, json_values | st.none(), max_size=4)


@given(TYPICAL | ANY)
def test_a_sidecar_comes_back_from_its_texts_as_it_was(sidecar: dict[str, Any]) -> None:
    typed = texts(sidecar)

    again = filled(typed)

    assert all(isinstance(text, str) for text in typed.values())
    assert again.errors == ()
    assert json.dumps(again.sidecar, sort_keys=True) == json.dumps(sidecar, sort_keys=True)


@given(st.dictionaries(st.sampled_from([*NAMES, OTHER]), st.text(max_size=60), max_size=5))
def test_whatever_is_typed_is_json_that_the_product_can_judge(form: dict[str, str]) -> None:
    found = filled(form)

    raw = json.dumps(found.sidecar, allow_nan=False)
    with suppress(DropRefused):
        read_takes("the sidecar", raw.encode())
    assert {error.field for error in found.errors} <= {
        name for name, text in form.items() if text.strip()
    }
    blank = {name for name, text in form.items() if not text.strip()}
    assert not (blank - {OTHER}) & set(found.sidecar) or OTHER in form


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("prompt", "A stage", "A stage"),
        ("prompt", "5", "5"),
        ("prompt", "true", "true"),
        ("prompt", ' "quoted" ', ' "quoted" '),
        ("seed", " 7 ", 7),
        ("seed", "NaN", "NaN"),
        ("seed", "-Infinity", "-Infinity"),
        ("seed", "9" * 5000, "9" * 5000),
        ("seed", "1e5", 100_000),
        ("seed", "1e999", "1e999"),
        ("fps", "12.5", 12.5),
        ("fps", "1.25e1", 12.5),
        ("fps", "fast", "fast"),
        ("video_size", "640x360", {"width": 640, "height": 360}),
        ("video_size", " 640 × 360 ", {"width": 640, "height": 360}),  # noqa: RUF001 - as it is typed
        ("video_size", "square", "square"),
        ("use_multiscale", "false", False),
        ("image_url", " first.png ", "first.png"),
        ("metadata", "order=A-17\n\n who = me ", {"order": "A-17", "who": "me"}),
        ("metadata", "formula=a=b", {"formula": "a=b"}),
        ("metadata", '{"a": "b"}', {"a": "b"}),
        (
            "scenes",
            "0 A\n0:42.5 Embers in the dark",
            [
                {"start": 0, "prompt": "A"},
                {"start": "0:42.5", "prompt": "Embers in the dark"},
            ],
        ),
        ("scenes", '[{"start": 1, "image_url": "a.png"}]', [{"start": 1, "image_url": "a.png"}]),
    ],
)
def test_a_text_means_what_a_person_means(field: str, text: str, value: Any) -> None:
    assert filled({field: text}) == type(filled({}))({field: value})


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("metadata", "order"),
        ("metadata", "a=b\nand so on"),
        ("metadata", '{"order": "A-17"'),
        ("scenes", "Embers in the dark"),
        ("scenes", "0 A\nthen B"),
        ("scenes", "[" * 100_000),
        ("metadata", '{"order": NaN}'),
        ("video_size", f"{'9' * 5000}x1"),
        (OTHER, "[1]"),
        (OTHER, "{"),
    ],
)
def test_a_text_that_has_no_value_is_an_error_of_its_field(field: str, text: str) -> None:
    found = filled({field: text, "prompt": "A stage"})

    assert [error.field for error in found.errors] == [field]
    assert found.errors[0].allowed
    assert found.sidecar == {"prompt": "A stage"}


@pytest.mark.parametrize("name", [field.name for field in ENDPOINT])
def test_the_default_that_a_field_shows_is_the_products(name: str) -> None:
    [field] = [one for one in ENDPOINT if one.name == name]
    default = Sidecar.model_fields[name].default

    if field.default:
        assert filled({name: field.default}).sidecar == {name: default}
    else:
        assert default is None or Sidecar.model_fields[name].is_required()


def test_keys_that_the_form_does_not_know_are_kept() -> None:
    sidecar = {"prompt": "A", "new_key": [1, {"a": None}], OTHER: "x", "promt": "B"}

    assert filled(texts(sidecar)).sidecar == sidecar
    assert set(texts(sidecar)) == {"prompt", OTHER}


def test_a_field_wins_over_the_same_key_of_the_others() -> None:
    assert filled({OTHER: '{"seed": 1}', "seed": "2"}).sidecar == {"seed": 2}


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        (
            "scenes",
            "0 A\n\nthen B",
            'scenes has "then B" in line 3; allowed: lines such as: 0:42.5',
        ),
        ("metadata", "a=b\nand so on", 'metadata has "and so on" in line 2; allowed: lines such'),
        (OTHER, "[1]", 'other is "[1]"; allowed: a JSON object'),
    ],
)
def test_an_error_names_the_value_and_its_line(field: str, text: str, message: str) -> None:
    [error] = filled({field: text}).errors

    assert error.message.startswith(message)


@given(TYPICAL, TYPICAL)
def test_a_file_fills_whatever_was_not_typed(one: dict[str, Any], two: dict[str, Any]) -> None:
    first, second = texts(one), texts(two)

    assert refilled(first, first, second) == (second, [])
    assert refilled({}, {}, second) == (second, [])
    typed = {name: text for name, text in first.items() if text.strip()}
    assert refilled(typed, {}, second)[0] == second | typed


def test_broken_json_is_said_to_be_broken_and_where() -> None:
    found = filled({"scenes": '[{"start": 0}\n{"start": 5}]', "prompt": "A stage"})

    assert "scenes is broken JSON at line 2, column 1" in found.errors[0].message
