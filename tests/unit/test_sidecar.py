"""The sidecar is the endpoint's input, strictly; every refusal says what would be right."""

from __future__ import annotations

import gzip
import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.fal_simulator.schema import Inputs
from phonoscene.drops.sidecar import Sidecar
from phonoscene.drops.sidecar_files import (
    SidecarFile,
    parse,
    read_sidecar_file,
    read_takes,
    waits_for_sidecar,
)
from phonoscene.drops.validation_errors import Errors, allowed
from phonoscene.errors import DropRefused
from phonoscene.table.items import to_dynamodb, to_item

if TYPE_CHECKING:
    from phonoscene.jobs import ErrorDetail

NEGATIVE = (
    "news broadcast, 3d animation, computer graphics, pc game, console game, video game, cartoon, "
    "childish, watermark, logo, text, on screen text, subtitles, titles, signature, slowmo, static"
)
PRESETS = [
    "auto",
    "square_hd",
    "square",
    "portrait_4_3",
    "portrait_16_9",
    "landscape_4_3",
    "landscape_16_9",
]

# The endpoint's page, field by field: what is sent when a sidecar is silent. None: not sent at all.
DEFAULTS: dict[str, Any] = {
    "image_url": None,
    "end_image_url": None,
    "match_audio_length": True,
    "num_frames": 121,
    "video_size": "landscape_16_9",
    "use_multiscale": True,
    "fps": 24,
    "scheduler": "beta",
    "acceleration": "none",
    "camera_lora": "none",
    "camera_lora_scale": 1,
    "negative_prompt": NEGATIVE,
    "seed": None,
    "enable_prompt_expansion": True,
    "enable_safety_checker": True,
    "video_output_type": "X264 (.mp4)",
    "video_quality": "high",
    "video_write_mode": "balanced",
    "distill_lora_second_pass_scale": 0.5,
    "image_strength": 1,
    "end_image_strength": 1,
    "audio_strength": 1,
    "preprocess_audio": True,
}

RANGES: dict[str, tuple[Any, Any]] = {
    "num_frames": (9, 481),
    "fps": (1, 60),
    "camera_lora_scale": (0, 1),
    "distill_lora_second_pass_scale": (0, 1),
    "image_strength": (0, 1),
    "end_image_strength": (0, 1),
    "audio_strength": (0, 1),
    "seed": (-(2**63), 2**64 - 1),  # the page gives no range; these are the numbers of 64 bits
}

CHOICES: dict[str, list[str]] = {
    "video_size": PRESETS[1:],  # auto needs an image
    "scheduler": ["ltx2", "linear_quadratic", "beta"],
    "acceleration": ["none", "regular", "high", "full"],
    "camera_lora": [
        "dolly_in",
        "dolly_out",
        "dolly_left",
        "dolly_right",
        "jib_up",
        "jib_down",
        "static",
        "none",
    ],
    "video_output_type": ["X264 (.mp4)", "VP9 (.webm)", "PRORES4444 (.mov)", "GIF (.gif)"],
    "video_quality": ["low", "medium", "high", "maximum"],
    "video_write_mode": ["fast", "balanced", "small"],
}

BOOLEANS = [name for name, default in DEFAULTS.items() if isinstance(default, bool)]
WHOLE = ["num_frames", "seed"]
FIELDS = ["prompt", *DEFAULTS]


def load(*texts: str | dict[str, Any], names: tuple[str, ...] = ("song.json",)) -> Sidecar:
    """Read and parse files, the nearest first."""
    raw = [text if isinstance(text, str) else json.dumps(text) for text in texts]
    files = zip(names, raw, strict=True)
    return parse([read_sidecar_file(name, text.encode()) for name, text in files])[0]


def with_prompt(**fields: Any) -> dict[str, Any]:
    return {"prompt": "a harbour", **fields}


def refused(*texts: str | dict[str, Any], **named: Any) -> list[ErrorDetail]:
    with pytest.raises(DropRefused) as caught:
        load(*texts, **named)
    return list(caught.value.errors)


def read_sidecar(fields: dict[str, Any]) -> Sidecar | tuple[ErrorDetail, ...]:
    """What comes of a sidecar: itself or its errors."""
    try:
        return load(fields)
    except DropRefused as refusal:
        return refusal.errors


def only(errors: list[ErrorDetail]) -> ErrorDetail:
    assert len(errors) == 1, errors
    return errors[0]


# The page


def test_the_model_has_exactly_the_fields_of_the_page_that_a_dropper_may_set() -> None:
    assert sorted(Sidecar.model_fields) == sorted(FIELDS)


def test_the_simulator_knows_every_field() -> None:
    unknown = set(Sidecar.model_fields) - set(Inputs.model_fields)

    assert not unknown, f"local/fal_simulator/schema.py lacks {unknown}, and so would ignore it"


def test_every_range_and_choice_of_the_model_is_compared_with_the_page() -> None:
    limits = {name: allowed(name) for name in Sidecar.model_fields}
    ranges = {name for name, limit in limits.items() if "number" in limit}
    choices = {name for name, limit in limits.items() if limit.startswith("one of ")}

    assert ranges == set(RANGES), "give RANGES above the page's range of each number"
    assert choices == set(CHOICES), "give CHOICES above the page's words of each choice"


def test_a_prompt_alone_sends_every_default_of_the_page_and_no_sync_mode() -> None:
    arguments = load(with_prompt()).arguments()

    wanted = {name: value for name, value in DEFAULTS.items() if value is not None}
    assert arguments == wanted | {"prompt": "a harbour", "sync_mode": False}


def test_a_prompt_is_required() -> None:
    error = only(refused({}))

    assert (error.code, error.field) == ("missing_field", "prompt")
    assert error.message == "prompt is missing; give text of 1 to 5,000 characters."


@pytest.mark.parametrize("field", RANGES)
@pytest.mark.parametrize("end", [0, 1], ids=["lowest", "highest"])
def test_a_range_includes_its_bounds(field: str, end: int) -> None:
    bound = RANGES[field][end]

    sidecar = load(with_prompt(**{field: bound}))

    assert sidecar.arguments()[field] == bound


@pytest.mark.parametrize("field", RANGES)
@pytest.mark.parametrize("end", [0, 1], ids=["below", "above"])
def test_a_number_just_outside_its_range_is_refused(field: str, end: int) -> None:
    step = 1 if field in WHOLE else 1e-9
    outside = RANGES[field][end] + (step if end else -step)

    error = only(refused(with_prompt(**{field: outside})))

    assert (error.code, error.field, error.value) == ("out_of_range", field, json.dumps(outside))
    assert str(RANGES[field][0]) in str(error.allowed) or field == "seed"
    assert error.source == "song.json"


@pytest.mark.parametrize(
    ("field", "choice"), [(field, choice) for field in CHOICES for choice in CHOICES[field]]
)
def test_each_choice_of_the_page_is_taken(field: str, choice: str) -> None:
    sidecar = load(with_prompt(**{field: choice}))

    assert sidecar.arguments()[field] == choice


@pytest.mark.parametrize("field", CHOICES)
def test_another_choice_is_refused_with_all_that_there_are(field: str) -> None:
    error = only(refused(with_prompt(**{field: "beste"})))

    assert (error.code, error.field, error.value) == ("not_allowed", field, '"beste"')
    assert all(f'"{choice}"' in str(error.allowed) for choice in CHOICES[field])


@pytest.mark.parametrize("field", BOOLEANS)
@pytest.mark.parametrize("value", [True, False])
def test_a_switch_is_true_or_false(field: str, *, value: bool) -> None:
    sidecar = load(with_prompt(**{field: value}))

    assert sidecar.arguments()[field] is value


WRONG: list[tuple[list[str], list[Any]]] = [
    (BOOLEANS, [0, 1, "true", "", [], {}]),
    (list(RANGES), [True, False, "1", "24", [1], {}]),
    (WHOLE, [24.5, 1e3]),
    (list(CHOICES), [True, 1, 1.5, [], ""]),
    (["prompt", "negative_prompt"], [1, True, [], {}]),
    (["image_url", "end_image_url"], [1, True, [], {}, ""]),
    ([field for field, default in DEFAULTS.items() if default is not None], [None]),
]


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for names, values in WRONG for field in names for value in values],
)
def test_a_value_of_another_type_is_refused_and_never_converted(field: str, value: Any) -> None:
    error = only(refused(with_prompt() | {field: value}))

    assert error.field == field
    assert error.value == json.dumps(value)
    assert error.allowed
    assert error.message.startswith(f"{field} is {json.dumps(value)}; allowed: ")


@pytest.mark.parametrize("side", ["width", "height"])
@pytest.mark.parametrize(
    ("value", "is_taken"), [(0, False), (1, True), (14142, True), (14143, False)]
)
def test_a_size_has_sides_of_1_to_14142_pixels(side: str, value: int, *, is_taken: bool) -> None:
    size = {"width": 512, "height": 512} | {side: value}

    if is_taken:
        assert load(with_prompt(video_size=size)).arguments()["video_size"] == size
    else:
        error = only(refused(with_prompt(video_size=size)))
        assert (error.code, error.field) == ("out_of_range", f"video_size.{side}")
        assert error.allowed == "a whole number from 1 to 14142"


@pytest.mark.parametrize(
    ("size", "code", "field"),
    [
        ({"width": 512}, "missing_field", "video_size.height"),
        ({"width": 512, "height": 512, "depth": 1}, "unknown_field", "video_size.depth"),
        ({"width": "512", "height": 512}, "wrong_type", "video_size.width"),
        ({"width": True, "height": 512}, "wrong_type", "video_size.width"),
        ({"width": 512.0, "height": 512}, "wrong_type", "video_size.width"),
        ([512, 512], "not_allowed", "video_size"),
        ("1280x720", "not_allowed", "video_size"),
    ],
)
def test_a_malformed_size_is_refused_by_the_name_of_its_side(
    size: Any, code: str, field: str
) -> None:
    error = only(refused(with_prompt(video_size=size)))

    assert (error.code, error.field) == (code, field)


@pytest.mark.parametrize(
    ("length", "is_taken"), [(0, False), (1, True), (5000, True), (5001, False)]
)
def test_a_prompt_has_1_to_5000_characters(length: int, *, is_taken: bool) -> None:
    text = {"prompt": "ü" * length}

    if is_taken:
        assert load(text).prompt == "ü" * length
    else:
        error = only(refused(text))
        assert (error.code, error.allowed) == ("wrong_length", "text of 1 to 5,000 characters")


@pytest.mark.parametrize(
    "text",
    [
        " ",
        "\n\t ",
        "\u00a0\u3000",
        "\u200b",
        "\u200b\u200c\u200d\u2060\ufeff",
        "\u00ad",
        "\u202a\u202c",
        "\u2800",
        "\u3164\u115f\u1160\uffa0",
        "\ufe0f",
        "\u0301",
        "\u0000",
    ],
    ids=ascii,
)
def test_a_prompt_in_which_nothing_can_be_seen_is_refused(text: str) -> None:
    error = only(refused({"prompt": text}))

    assert (error.code, error.field) == ("not_allowed", "prompt")
    assert "blank" in str(error.allowed)


@pytest.mark.parametrize(
    "text", [" a ", "\u200b.", "e\u0301", "\U0001f30a", "日", "\u200d\U0001f469"]
)
def test_a_prompt_in_which_something_can_be_seen_is_kept_as_it_is(text: str) -> None:
    assert load({"prompt": text}).prompt == text


def test_a_negative_prompt_may_be_empty() -> None:
    assert load(with_prompt(negative_prompt="")).arguments()["negative_prompt"] == ""


# What is no number, no text, no JSON


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("field", FIELDS)
def test_a_number_that_json_does_not_have_is_refused(field: str, number: str) -> None:
    error = only(refused(f'{{"{field}": {number}}}'))

    assert error.code == "not_json"
    assert number in error.message


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
@pytest.mark.parametrize("field", RANGES)
def test_a_number_beyond_every_number_is_refused_by_its_field(field: str, number: str) -> None:
    errors = refused(f'{{"prompt": "x", "{field}": {number}}}')

    assert [error.field for error in errors] == [field]


@pytest.mark.parametrize("digits", [20, 400, 1000])
@pytest.mark.parametrize("field", RANGES)
def test_a_huge_whole_number_is_refused_by_its_field(field: str, digits: int) -> None:
    errors = refused(f'{{"prompt": "x", "{field}": 9{"9" * (digits - 1)}}}')

    assert [error.field for error in errors] == [field]
    assert len(errors[0].message) < 500


def test_a_number_of_more_digits_than_are_read_is_refused() -> None:
    error = only(refused(f'{{"prompt": "x", "seed": {"9" * 1001}}}'))

    assert error.code == "not_json"


@pytest.mark.parametrize("text", ["5e-324", "1e-200", "1e-130", "1e-7", "0.1", "-0.0"])
@pytest.mark.parametrize("field", ["camera_lora_scale", "audio_strength"])
def test_whatever_the_model_takes_the_table_can_hold(field: str, text: str) -> None:
    arguments = load(f'{{"prompt": "x", "{field}": {text}}}').arguments()

    item = to_item(to_dynamodb({"arguments": arguments}))

    assert item["arguments"]["M"][field]["N"]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "not_json"),
        (b"   ", "not_json"),
        (b"{", "not_json"),
        (b'{"prompt": "x",}', "not_json"),
        (b"{'prompt': 'x'}", "not_json"),
        (b'{"prompt": "x"} {}', "not_json"),
        (b'{"prompt": "a\nb"}', "not_json"),
        (b'{"prompt": "x", "prompt": "y"}', "not_json"),
        (b'{"prompt": "x", "video_size": {"width": 1, "height": 1, "width": 2}}', "not_json"),
        (b"[" * 60_000, "not_json"),
        (b'{"a":' * 10_000, "not_json"),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}", "not_json"),
        ('{"prompt": "x"}'.encode("utf-16"), "not_utf8"),
        ('{"prompt": "x"}'.encode("utf-16-le"), "not_utf8"),
        ('{"prompt": "x"}'.encode("utf-32"), "not_utf8"),
        ('{"prompt": "ü"}'.encode("latin-1"), "not_utf8"),
        (b'{"prompt": "\\ud800"}', "not_utf8"),
        (b'{"\\udfff": 1}', "not_utf8"),
        (b"\xed\xa0\x80", "not_utf8"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'"prompt"', "not_an_object"),
        (b"1", "not_an_object"),
    ],
)
def test_a_file_that_is_not_one_json_object_in_utf8_is_refused(raw: bytes, code: str) -> None:
    with pytest.raises(DropRefused) as caught:
        read_sidecar_file("song.json", raw)

    error = only(list(caught.value.errors))
    assert (error.code, error.source) == (code, "song.json")
    assert "song.json" in error.message


@pytest.mark.parametrize("raw", [b"", b" \r\n", b"\xef\xbb\xbf"])
def test_an_empty_sidecar_is_called_so(raw: bytes) -> None:
    with pytest.raises(DropRefused) as caught:
        read_sidecar_file("song.json", raw)

    assert only(list(caught.value.errors)).message == "song.json is empty."


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("{“prompt”: “A stage”}", "straight double quotes"),
        ('{"prompt": „A stage“}', "straight double quotes"),
        ('{"prompt": "A stage”}', "straight double quotes"),
        ('{"prompt": "A stage”}\n', "straight double quotes"),
        ('{\n  "prompt": "A stage”,\r\n  "fps": 24\r\n}', "straight double quotes"),
        ('{\n  "prompt": "A stage”\n}\n', "straight double quotes"),
        ("{\u2018prompt\u2019: \u2018A stage\u2019}", "straight double quotes"),
        ("{'prompt': 'A stage'}", "not single ones"),
        ('{"prompt": "A stage", "use_multiscale": True}', "true, false or null"),
        ('{"prompt": "A stage", "seed": None}', "true, false or null"),
        ('{\n  // the prompt\n  "prompt": "A stage"}', "Remove the comment"),
        ('{"prompt": "A stage" /* of wood */}', "Remove the comment"),
        ('# a stage\n{"prompt": "A stage"}', "Remove the comment"),
        ('{"prompt": "A\r\nstage"}', "a line break within a text as \\n"),
        ('{"prompt": "He says: “Rain.”\nA stage"}', "a line break within a text as \\n"),
        ('{"prompt": "A stage", "image_url": "C:\\cover.png"}', "a backslash as \\\\"),
        (r'{"prompt": "A stage", "image_url": "C:\users\cover.png"}', "a backslash as \\\\"),
        ('{\u00a0"prompt": "A stage"}', "invisible character"),
        ('{\u200b"prompt": "A stage"}', "invisible character"),
        (r'{\rtf1\ansi {"prompt": "A stage"}}', "Save it as plain text"),
        ("prompt: A stage", 'such as {"prompt": "…"}'),
        ("<!DOCTYPE html>", 'such as {"prompt": "…"}'),
    ],
)
def test_what_other_programs_write_in_place_of_json_is_named_with_what_to_do(
    text: str, advice: str
) -> None:
    message = only(refused(text)).message

    assert message.startswith("song.json is not JSON: ")
    assert message.endswith(".")
    assert advice in message


@pytest.mark.parametrize(
    "text",
    [
        '{"prompt": "A stage" "“fps”": 24}',
        '{"prompt": "A stage"',
        "{} {}",
        r"{\"prompt\": \"A stage\"}",
    ],
)
def test_no_advice_is_given_where_the_cause_is_not_known(text: str) -> None:
    assert re.search(r"at line 1, column \d+\.$", only(refused(text)).message)


@pytest.mark.parametrize("form", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("text", ['{"prompt": "x"}', '[{"prompt": "ü"}]', '\r\n{"prompt": "x"}'])
def test_a_file_in_another_encoding_says_how_to_save_it(form: str, text: str) -> None:
    with pytest.raises(DropRefused) as refusal:
        read_takes("a.json", text.encode(form))

    (error,) = refusal.value.errors
    assert error.code == "not_utf8"
    assert form[:6].upper() in error.message
    assert error.message.endswith("Save it as UTF-8.")


def test_a_compressed_file_is_named_as_such() -> None:
    with pytest.raises(DropRefused) as refusal:
        read_takes("a.json", gzip.compress(b'{"prompt": "x"}'))

    (error,) = refusal.value.errors
    assert error.message == "a.json is compressed by gzip. Upload it as text."


def test_a_key_that_is_there_twice_is_named() -> None:
    error = only(refused('{"prompt": "x", "fps": 24, "fps": 25}'))

    assert '"fps"' in error.message


@pytest.mark.parametrize("opening", ['{"a":', "["])
def test_no_depth_of_nesting_is_more_than_a_refusal(opening: str) -> None:
    closing = "}" if opening[0] == "{" else "]"

    for depth in range(860, 990):  # around Python's limit of 1000 frames
        errors = refused(f'{{"fps": {opening * depth}1{closing * depth}}}')

        assert errors


def test_a_byte_order_mark_is_fine() -> None:
    document = read_sidecar_file("song.json", b'\xef\xbb\xbf{"prompt": "x"}')

    assert document.values == {"prompt": "x"}


@pytest.mark.parametrize(("size", "is_taken"), [(1024 * 1024, True), (1024 * 1024 + 1, False)])
def test_one_mebibyte_is_read_and_no_more(size: int, *, is_taken: bool) -> None:
    raw = b'{"prompt": "x"}'.ljust(size)

    if is_taken:
        assert read_sidecar_file("song.json", raw).values == {"prompt": "x"}
    else:
        with pytest.raises(DropRefused) as caught:
            read_sidecar_file("song.json", raw)
        assert only(list(caught.value.errors)).code == "sidecar_too_long"


@pytest.mark.parametrize(("keys", "is_taken"), [(100, True), (101, False)])
def test_an_object_has_at_most_100_keys(keys: int, *, is_taken: bool) -> None:
    raw = json.dumps({"metadata": {f"k{n}": "" for n in range(keys)}}).encode()

    if is_taken:
        assert len(read_sidecar_file("song.json", raw).values["metadata"]) == keys
    else:
        with pytest.raises(DropRefused, match="an object in it has 101 keys; at most 100 are read"):
            read_sidecar_file("song.json", raw)


# All errors at once


def test_all_errors_are_reported_at_once() -> None:
    errors = refused(
        {
            "fps": 61,
            "num_frames": "121",
            "scheduler": "gamma",
            "promt": "a harbour",
            "audio_url": "https://example.com/a.mp3",
            "image_url": "http://example.com/a.png",
            "video_size": {"width": 0, "height": 99999},
        }
    )

    assert sorted((error.field or "", error.code) for error in errors) == [
        ("audio_url", "not_allowed"),
        ("fps", "out_of_range"),
        ("image_url", "not_allowed"),
        ("num_frames", "wrong_type"),
        ("prompt", "missing_field"),
        ("promt", "unknown_field"),
        ("scheduler", "not_allowed"),
        ("video_size.height", "out_of_range"),
        ("video_size.width", "out_of_range"),
    ]


def test_auto_without_an_image_is_reported_beside_other_errors() -> None:
    errors = refused(with_prompt(video_size="auto", fps=61))

    assert {error.field for error in errors} == {"video_size", "fps"}


@pytest.mark.parametrize("image", [{}, {"image_url": None}])
def test_auto_without_an_image_is_refused(image: dict[str, None]) -> None:
    error = only(refused(with_prompt(video_size="auto", **image)))

    assert (error.field, error.value, error.code) == ("video_size", '"auto"', "not_allowed")


def test_auto_with_an_image_is_taken() -> None:
    assert load(with_prompt(video_size="auto", image_url="cover.png")).video_size == "auto"


def test_a_sidecar_of_nothing_but_errors_still_fits_in_its_record() -> None:
    text = "{" + ",".join(f'"k{number}":0' for number in range(100)) + "}"

    answer = Errors(refused(text)).listed()

    record = json.dumps([error.model_dump() for error in answer])
    assert len(record) < 350_000  # DynamoDB's item limit is 400 KB
    assert answer[-1].message == "There are 51 more errors."


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("promt", "prompt"),
        ("negativ_prompt", "negative_prompt"),
        ("FPS", "fps"),
        ("num_frame", "num_frames"),
        ("videosize", "video_size"),
        ("camera", "camera_lora"),
        ("image", "image_url"),
        ("zzz", None),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest_real_one(
    wrong: str, right: str | None
) -> None:
    error = only(refused(with_prompt(**{wrong: 24})))

    assert (error.code, error.field, error.value) == ("unknown_field", wrong, "24")
    if right:
        assert error.allowed == right
        assert f"did you mean {right}?" in error.message
    else:
        assert error.message.endswith("; remove it.")


@pytest.mark.parametrize(
    "name", ["size", "preset", "width", "", "video_size.width", "a.b", "ü", "\u202e"]
)
def test_an_unknown_name_is_shown_whatever_it_is(name: str) -> None:
    error = only(refused(with_prompt(**{name: 24})))

    assert error.code == "unknown_field"
    assert error.field == (name if name.isprintable() else "\\u202e")


@pytest.mark.parametrize("field", ["audio_url", "sync_mode", "wait_for_sidecar"])
def test_what_is_not_the_droppers_to_set_is_refused_with_the_reason(field: str) -> None:
    error = only(refused(with_prompt(**{field: True})))

    assert (error.code, error.field, error.value) == ("not_allowed", field, "true")
    assert error.message.startswith(f"{field} cannot be set: ")


def test_sync_mode_false_asks_for_nothing_and_is_fine() -> None:
    assert load(with_prompt(sync_mode=False)).arguments()["sync_mode"] is False


@pytest.mark.parametrize("value", [0, "", None, "false", []])
def test_sync_mode_of_another_kind_is_refused(value: Any) -> None:
    assert only(refused(with_prompt(sync_mode=value))).field == "sync_mode"


# Defaults of folders


def test_of_several_files_the_nearest_wins_key_by_key() -> None:
    documents = [
        SidecarFile("a/b/song.json", {"prompt": "near", "fps": 30}),
        SidecarFile("a/b/_defaults.json", {"fps": 25, "num_frames": 9}),
        SidecarFile("_defaults.json", {"fps": 20, "num_frames": 17, "seed": 7}),
    ]

    sidecar, origin = parse(documents)

    assert (sidecar.prompt, sidecar.fps, sidecar.num_frames, sidecar.seed) == ("near", 30, 9, 7)
    assert origin == {
        "prompt": "a/b/song.json",
        "fps": "a/b/song.json",
        "num_frames": "a/b/_defaults.json",
        "seed": "_defaults.json",
    }


def test_an_error_names_its_file() -> None:
    documents = [
        SidecarFile("a/song.json", {"fps": 61}),
        SidecarFile("a/_defaults.json", {"promt": "x"}),
        SidecarFile("_defaults.json", {"video_size": {"width": 0, "height": 1}}),
    ]

    with pytest.raises(DropRefused) as caught:
        parse(documents)

    assert {error.field: error.source for error in caught.value.errors} == {
        "fps": "a/song.json",
        "promt": "a/_defaults.json",
        "prompt": "a/song.json",
        "video_size.width": "_defaults.json",
    }


@pytest.mark.parametrize(
    ("documents", "waits"),
    [
        ([], True),
        ([{}], True),
        ([{"wait_for_sidecar": False}], False),
        ([{"wait_for_sidecar": True}], True),
        ([{"wait_for_sidecar": True}, {"wait_for_sidecar": False}], True),
        ([{"wait_for_sidecar": False}, {"wait_for_sidecar": True}], False),
        ([{"fps": 24}, {"wait_for_sidecar": False}], False),
    ],
)
def test_the_nearest_defaults_say_whether_an_audio_file_waits(
    documents: list[dict[str, Any]], *, waits: bool
) -> None:
    defaults = [SidecarFile("_defaults.json", values) for values in documents]

    assert waits_for_sidecar(defaults) is waits


@pytest.mark.parametrize("value", ["false", 0, 1, None, [], "no"])
def test_what_is_neither_true_nor_false_does_not_wait_so_that_it_is_reported_at_once(
    value: Any,
) -> None:
    defaults = [SidecarFile("a/_defaults.json", {"wait_for_sidecar": value})]

    assert not waits_for_sidecar(defaults)
    with pytest.raises(DropRefused) as caught:
        parse([SidecarFile("a/song.json", {"prompt": "x"}), *defaults])

    error = only(list(caught.value.errors))
    assert (error.field, error.source) == ("wait_for_sidecar", "a/_defaults.json")


@pytest.mark.parametrize("value", ["false", 0, None])
def test_a_malformed_wait_for_sidecar_is_reported_with_the_sidecars_errors(value: Any) -> None:
    errors = refused(
        with_prompt(), {"wait_for_sidecar": value}, names=("song.json", "_defaults.json")
    )

    assert [error.field for error in errors] == ["wait_for_sidecar"]


def test_wait_for_sidecar_is_no_argument_of_the_endpoint() -> None:
    sidecar = load(
        with_prompt(), {"wait_for_sidecar": False}, names=("song.json", "a/_defaults.json")
    )

    assert "wait_for_sidecar" not in sidecar.arguments()


# Images


@pytest.mark.parametrize("field", ["image_url", "end_image_url"])
@pytest.mark.parametrize(
    "reference",
    [
        "https://example.com/a.png",
        "https://example.com:443/a",
        "https://sub.example.co.uk/a%20b.png?x=1&y=2#z",
        "HTTPS://EXAMPLE.COM/a.png",
        "https://my_bucket.s3.amazonaws.com/a.png",
        "https://xn--bcher-kva.example/a.png",
        "https://example.com./a.png",
        "https://1.example.com/a.png",
        "https://127.0.0.1.example.com/a.png",
        "https://example.com/" + "a" * 2028,
        "cover.png",
        "COVER.PNG",
        "art/cover.jpeg",
        "Überzug é.webp",
        "a+b %20.gif",
        "at 1.04.09\u202fPM.png",
        "می\u200cشود.png",
        "..cover.png",
    ],
)
def test_an_image_is_an_https_url_or_a_name_beside_the_sidecar(field: str, reference: str) -> None:
    sidecar = load(with_prompt(**{field: reference}))

    assert sidecar.image_references() == {field: reference}


LOOPBACKS = [
    "127.0.0.1",
    "127.1",
    "127.0.0.1.",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0x7f.0x0.0x0.0x1",
    "127.0.0.0x1",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[0:0:0:0:0:ffff:7f00:1]",
    "0.0.0.0",  # noqa: S104 - a host that is refused
    "0",
    "1.1.1.1",
    "169.254.169.254",
    "[fd00:ec2::254]",
]
PRIVATE = [
    "localhost",
    "localhost.",
    "LOCALHOST",
    "a.localhost",
    "a.localhost.",
    "a.local",
    "a.local.",
    "A.LOCAL",
    "metadata.google.internal",
    "metadata.google.internal.",
    "router.lan",
    "router.home.arpa",
    "router.home.arpa.",
    "intranet",
    "",
    ".",
    "..",
    ".com",
    "a..com",
    "127.0.0.1\\.example.com",
    "127.0.0.1%2f.example.com",
    "127.0.0.1%00.example.com",
    "127.0.0.1;.example.com",
]


@pytest.mark.parametrize("host", LOOPBACKS + PRIVATE)
def test_an_image_url_of_an_address_or_a_private_host_is_refused(host: str) -> None:
    error = only(refused(with_prompt(image_url=f"https://{host}/a.png")))

    assert (error.code, error.field) == ("not_allowed", "image_url")
    assert error.message.startswith("image_url is ")


@pytest.mark.parametrize(
    "reference",
    [
        "http://example.com/a.png",
        "ftp://example.com/a.png",
        "file:///etc/passwd.png",
        "s3://bucket/a.png",
        "//example.com/a.png",
        "data:image/png;base64,AAAA",
        "javascript://example.com/a.png",
        "https://user@example.com/a.png",
        "https://user:secret@example.com/a.png",
        "https://@example.com/a.png",
        "https://example.com:8443/a.png",
        "https://example.com:80/a.png",
        "https://example.com:0/a.png",
        "https://example.com:99999/a.png",
        "https://example.com:port/a.png",
        "https://[example.com/a.png",
        "https://exämple.com/a.png",
        "https://example.com/a b.png",
        " https://example.com/a.png",
        "https://example.com/\na.png",
        "https://exam\tple.com/a.png",
        "https://example.com/" + "a" * 2029,
        "https%3A%2F%2Fexample.com%2Fa.png",
        "https%253A%252F%252Fexample.com%252Fa.png",
        "HTTPS:example.com/a.png",
        "example.com/a.png?size=1.png",
        "user:secret@example.com/a.png",
        "C:/pictures/cover.png",
        "c:\\pictures\\cover.png",
        "/cover.png",
        "../cover.png",
        "./cover.png",
        "a/../cover.png",
        "a/./cover.png",
        "a//cover.png",
        "a/",
        "..",
        "cover.mp3",
        "cover",
        "cover.png.exe",
        "cover.svg",
        "co\u0000ver.png",
        "co\u202ever.png",
        "co\u0085ver.png",
        "co\nver.png",
    ],
)
@pytest.mark.parametrize("field", ["image_url", "end_image_url"])
def test_any_other_reference_to_an_image_is_refused(field: str, reference: str) -> None:
    error = only(refused(with_prompt(**{field: reference})))

    assert error.field == field
    assert error.value
    assert error.value.isprintable()


@pytest.mark.parametrize("name", ["IMG_2041.HEIC", "cover.jfif", "scan.tiff"])
def test_an_image_in_another_format_is_refused_with_the_advice_to_convert_it(name: str) -> None:
    error = only(refused(with_prompt(image_url=name)))

    assert ".png .jpg .jpeg .webp .gif .avif: convert other formats to PNG or JPEG" in error.message


# Anything at all

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
LIKELY = st.sampled_from(
    [
        *PRESETS,
        *(choice for choices in CHOICES.values() for choice in choices),
        *(0, 1, 9, 481, 24, 60, -1, 0.5),
        *({"width": 1, "height": 14142}, {"width": 0}, {"size": 1}),
        *("a.png", "https://a.example/"),
    ]
)


@given(st.sampled_from(FIELDS), LIKELY | JSON)
def test_any_value_of_any_field_is_in_its_range_or_refused_by_its_name(
    field: str, value: Any
) -> None:
    fields = with_prompt() | {"image_url": "a.png"} | {field: value}

    answer = read_sidecar(fields)

    if isinstance(answer, Sidecar):
        assert is_published(field, getattr(answer, field))
    else:
        named = {(error.field or "").partition(".")[0] for error in answer}
        assert named
        assert named <= {field, "video_size"}  # auto, whose image was taken away


def is_published(field: str, value: Any) -> bool:
    if value is None:
        return DEFAULTS.get(field, ...) is None
    if field in RANGES:
        return bool(RANGES[field][0] <= value <= RANGES[field][1])
    if field in BOOLEANS:
        return isinstance(value, bool)
    if field == "video_size" and not isinstance(value, str):
        return all(1 <= side <= 14142 for side in (value.width, value.height))
    if field in CHOICES:
        return value in CHOICES[field] or value == "auto"
    return isinstance(value, str)


NAMES = st.sampled_from([*FIELDS, "size", "preset", "audio_url", "sync_mode"]) | st.text(max_size=8)


@given(st.dictionaries(NAMES, LIKELY | JSON, max_size=5))
def test_any_object_becomes_arguments_that_the_table_can_hold_or_named_errors(
    fields: dict[str, Any],
) -> None:
    answer = read_sidecar(fields)

    if isinstance(answer, Sidecar):
        assert set(DEFAULTS) - {"image_url", "end_image_url", "seed"} <= set(answer.arguments())
        assert to_item(to_dynamodb({"arguments": answer.arguments()}))
    else:
        assert all(error.field is not None and error.message for error in answer)
        assert to_item(to_dynamodb({"errors": [error.model_dump() for error in answer]}))


@given(
    st.binary(max_size=64)
    | st.text(max_size=64).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_are_a_document_or_a_refusal(raw: bytes) -> None:
    with suppress(DropRefused):
        document = read_sidecar_file("song.json", raw)

        assert isinstance(document.values, dict)
