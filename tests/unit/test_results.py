"""Whatever form fal's answer takes, it becomes one result, without any secret of ours."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from phonoscene.errors import ResultMalformed
from phonoscene.fal.results import (
    Output,
    ReportedVideo,
    Result,
    from_failure,
    from_result,
    from_webhook,
)

REQUEST = "a1b2c3d4-0000-4000-8000-000000000001"
URL = "https://v3b.fal.media/files/b/panda/out.mp4"
PRESIGNED = (
    "https://drops.s3.eu-central-1.amazonaws.com/song.mp3?versionId=3&X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=ASIAEXAMPLE%2F20261122&X-Amz-Security-Token=IQoJb3JpZ2luEXAMPLE&X-Amz-Signature=5ec4e7"
)
SECRETS = ("5ec4e7", "ASIAEXAMPLE", "IQoJb3JpZ2luEXAMPLE")
UNSERIALISABLE = (
    "Response payload is not JSON serializable. Either return a JSON serializable object or use "
    "the queue endpoint to retrieve the response."
)
OUTPUT = {"video": {"url": URL}, "seed": 175932751, "prompt": "a harbour"}


def webhook(**fields: Any) -> str:
    return json.dumps({"request_id": REQUEST, "gateway_request_id": REQUEST, **fields})


# The five shapes


@pytest.mark.parametrize("nulls", [True, False], ids=["null", "absent"])
def test_a_success_carries_its_output(*, nulls: bool) -> None:
    extra = {"error": None, "payload_error": None}
    fields = {"status": "OK", "payload": OUTPUT, **(extra if nulls else {})}

    result = from_webhook(webhook(**fields))

    assert result == Result(
        request_id=REQUEST,
        output=Output(video=ReportedVideo(url=URL), seed=175932751, prompt="a harbour"),
    )
    assert not result.must_be_fetched


@pytest.mark.parametrize("seed", [0, 2**63 - 1, 2**63, 17454220438242315174, 2**64 - 1, None])
def test_a_seed_is_kept_digit_for_digit(seed: int | None) -> None:
    result = from_webhook(webhook(status="OK", payload=OUTPUT | {"seed": seed}))

    assert result.output
    assert result.output.seed == seed


def test_what_fal_reports_of_the_video_is_kept() -> None:
    video = {"url": URL, "content_type": "video/mp4", "file_name": "out.mp4", "file_size": 1234}
    figures = {"width": 1024, "height": 576, "fps": 24.0, "num_frames": 121, "duration": 5.041667}

    result = from_webhook(webhook(status="OK", payload=OUTPUT | {"video": video | figures}))

    assert result.output
    assert result.output.video.model_dump() == {"url": URL, "file_size": 1234, **figures}


@pytest.mark.parametrize("units", ["72", "71.368704", "0", 72])
def test_what_fal_bills_for_a_result_is_kept(units: Any) -> None:
    asked = from_result(REQUEST, OUTPUT, units)
    polled = from_webhook(webhook(status="OK", payload=OUTPUT, billable_units=units))

    assert asked == polled
    assert asked.billable_units == Decimal(str(units))


@pytest.mark.parametrize(
    "units", [None, "", "many", "-1", "NaN", "Infinity", "1e400", "1e-400", "1" * 40, [], {}]
)
def test_a_bill_that_is_no_number_does_not_lose_the_video(units: Any) -> None:
    result = from_webhook(webhook(status="OK", payload=OUTPUT, billable_units=units))

    assert result == from_result(REQUEST, OUTPUT, units)
    assert result.output
    assert result.billable_units is None


@pytest.mark.parametrize("missing", ["seed", "prompt"])
def test_an_output_without_a_seed_or_a_prompt_is_a_video_all_the_same(missing: str) -> None:
    payload = {name: value for name, value in OUTPUT.items() if name != missing}

    result = from_webhook(webhook(status="OK", payload=payload))

    assert result.output
    assert result.output.video.url == URL


@pytest.mark.parametrize("field", ["width", "height", "fps", "num_frames", "duration"])
@pytest.mark.parametrize("value", [None, 0, "unknown", 5.5, [], {}])
def test_a_figure_of_the_video_that_is_odd_does_not_lose_the_video(field: str, value: Any) -> None:
    payload = OUTPUT | {"video": {"url": URL, field: value}}

    result = from_webhook(webhook(status="OK", payload=payload))

    assert result.output
    assert result.output.video.url == URL


@pytest.mark.parametrize(("length", "is_kept"), [(20_000, True), (20_001, False), (400_000, False)])
def test_a_prompt_that_no_record_holds_does_not_lose_the_video(length: int, is_kept: bool) -> None:
    result = from_result(REQUEST, OUTPUT | {"prompt": "x" * length})

    assert result.output == Output(
        video=ReportedVideo(url=URL), seed=175932751, prompt="x" * length if is_kept else None
    )


def test_an_address_that_no_record_holds_is_none() -> None:
    long = webhook(status="OK", payload={"video": {"url": URL + "?" + "x" * 16_000}})

    with pytest.raises(ResultMalformed, match=r"video\.url"):
        from_webhook(long)


def test_a_models_errors_are_reported_one_by_one() -> None:
    detail = [
        {
            "loc": ["body", "image_url"],
            "msg": "The image could not be loaded",
            "type": "image_load_error",
            "url": "https://docs.fal.ai/errors#image_load_error",
            "ctx": {},
            "input": PRESIGNED,
        },
        {"loc": ["body", "video_size", "width"], "msg": "too large", "type": "less_than_equal"},
        {"loc": ["body"], "msg": "inappropriate", "type": "content_policy_violation"},
    ]

    result = from_webhook(
        webhook(status="ERROR", error="Invalid status code: 422", payload={"detail": detail})
    )

    assert [(error.code, error.field, error.message) for error in result.errors] == [
        ("image_load_error", "image_url", "The image could not be loaded"),
        ("less_than_equal", "video_size.width", "too large"),
        ("content_policy_violation", None, "inappropriate"),
    ]
    assert not result.must_be_fetched


def test_a_failure_of_fals_own_is_one_error() -> None:
    payload = {"detail": "Runner disconnected", "error_type": "runner_disconnected"}

    result = from_webhook(
        webhook(status="ERROR", error="Invalid status code: 503", payload=payload)
    )

    [error] = result.errors
    assert (error.code, error.message) == ("runner_disconnected", "Runner disconnected")


def test_an_output_that_fal_could_not_serialise_must_be_fetched() -> None:
    result = from_webhook(webhook(status="OK", payload=None, payload_error=UNSERIALISABLE))

    assert result == Result(request_id=REQUEST)
    assert result.must_be_fetched


@pytest.mark.parametrize("nulls", [True, False], ids=["null", "absent"])
def test_a_failure_that_fal_could_not_serialise_is_a_failure(*, nulls: bool) -> None:
    fields = {"error": "Invalid status code: 404", "payload_error": UNSERIALISABLE}

    result = from_webhook(webhook(status="ERROR", **fields, **({"payload": None} if nulls else {})))

    [error] = result.errors
    assert (error.code, error.message) == ("fal_error", "Invalid status code: 404")
    assert not result.must_be_fetched


def test_an_error_without_any_reason_is_an_error() -> None:
    result = from_webhook(json.dumps({"request_id": REQUEST, "status": "ERROR"}))

    [error] = result.errors
    assert (error.code, error.message) == ("fal_error", "fal gave no reason")


def test_an_ok_without_a_payload_must_be_fetched() -> None:
    assert from_webhook(webhook(status="OK")).must_be_fetched


@pytest.mark.parametrize(
    ("payload", "code", "message"),
    [
        ({"detail": "a reason"}, "fal_error", "a reason"),
        ({"detail": []}, "fal_error", "HTTP 500"),
        ({"detail": ""}, "fal_error", "HTTP 500"),
        ({"detail": None}, "fal_error", "HTTP 500"),
        ({"error_type": "internal_error"}, "internal_error", "HTTP 500"),
        ({"detail": ["a reason"]}, "fal_error", "a reason"),
        ({"detail": [{}]}, "fal_error", "fal gave no reason"),
        ({"detail": [{"msg": None, "type": None, "loc": None}]}, "fal_error", "fal gave no reason"),
        ("a reason", "fal_error", "HTTP 500"),
        ([], "fal_error", "HTTP 500"),
        (7, "fal_error", "HTTP 500"),
        (None, "fal_error", "HTTP 500"),
    ],
)
def test_a_failure_of_any_form_has_one_error(payload: Any, code: str, message: str) -> None:
    [error] = from_failure(REQUEST, payload, "HTTP 500").errors

    assert (error.code, error.message) == (code, message)


# Not a result


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "{}",
        "{",
        json.dumps({"status": "OK", "payload": OUTPUT}),
        json.dumps({"request_id": "", "status": "OK"}),
        json.dumps({"request_id": 7, "status": "OK"}),
        json.dumps({"request_id": "x" * 201, "status": "OK"}),
        webhook(),
        webhook(status="COMPLETED"),
        webhook(status="ok"),
        webhook(status=None),
        webhook(status="OK", payload={}),
        webhook(status="OK", payload=[]),
        webhook(status="OK", payload={"video": None}),
        webhook(status="OK", payload={"video": {}}),
        webhook(status="OK", payload={"video": {"url": None}}),
    ],
)
def test_a_signed_body_of_no_known_form_is_malformed(body: str) -> None:
    with pytest.raises(ResultMalformed):
        from_webhook(body)


def test_a_malformed_result_names_fields_and_shows_no_value() -> None:
    body = webhook(status="OK", payload={"video": {"url": [PRESIGNED]}, "prompt": ["a secret"]})

    with pytest.raises(ResultMalformed) as caught:
        from_webhook(body)

    assert "video.url" in str(caught.value)
    assert "a secret" not in str(caught.value)
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_a_polled_result_is_the_output_itself() -> None:
    assert from_result(REQUEST, OUTPUT).output == Output(
        video=ReportedVideo(url=URL), seed=175932751, prompt="a harbour"
    )
    with pytest.raises(ValidationError):
        from_result(REQUEST, {"detail": "no"})


@pytest.mark.parametrize(
    ("theirs", "ours"), [("audio_url", "audio"), ("image_url", "image_url"), ("prompt", "prompt")]
)
def test_an_error_names_the_field_as_its_dropper_knows_it(theirs: str, ours: str) -> None:
    entry = {"loc": ["body", theirs], "msg": "no", "type": "file_download_error"}

    [error] = from_failure(REQUEST, {"detail": [entry]}, None).errors

    assert error.field == ours
    assert error.retryable == (theirs != "prompt")


# Nothing of ours comes back

HIDDEN = "the prompt that nobody may read"


@pytest.mark.parametrize(
    "payload",
    [
        {"detail": [{"loc": ["body", "audio_url"], "msg": "no", "type": "x", "input": HIDDEN}]},
        {"detail": [{"loc": ["body"], "msg": "no", "type": "x", "input": {"prompt": HIDDEN}}]},
        {"detail": [{"loc": ["body"], "msg": "no", "type": "x", "ctx": {"input": HIDDEN}}]},
        {"detail": [[{"msg": "no", "input": HIDDEN}]]},
        {"detail": {"msg": "no", "input": HIDDEN}},
        {"detail": {"loc": ["body"], "msg": "no", "type": "x", "input": {"prompt": HIDDEN}}},
        {"detail": "no", "input": HIDDEN},
    ],
)
def test_the_input_that_fal_repeats_never_comes_into_an_error(payload: dict[str, Any]) -> None:
    result = from_failure(REQUEST, payload, "Invalid status code: 422")

    assert result.errors
    assert HIDDEN not in result.model_dump_json()


QUOTED = PRESIGNED.replace("?", "%3F").replace("&", "%26").replace("=", "%3D")
MESSAGES = [
    f"Could not download {PRESIGNED}",
    f"Could not download '{PRESIGNED}': 403",
    f"Why? Could not download {PRESIGNED}",
    f"Could not download {PRESIGNED} and {PRESIGNED}",
    f"Could not download {QUOTED}",
    f"Could not download {PRESIGNED.lower()}",
    "/song.mp3?X-Amz-Signature=5ec4e7&X-Amz-Security-Token=IQoJb3JpZ2luEXAMPLE",
    "X-Amz-Signature=5ec4e7",
]


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize(
    "place",
    ["detail", "msg", "entry", "error", "type", "error_type", "loc", "categories", "ctx"],
)
def test_a_presigned_signature_never_comes_into_an_error(message: str, place: str) -> None:
    payloads: dict[str, Any] = {
        "detail": {"detail": message},
        "msg": {"detail": [{"loc": ["body", "audio_url"], "msg": message, "type": "x"}]},
        "entry": {"detail": [message]},
        "error": None,
        "type": {"detail": [{"msg": "no", "type": message}]},
        "error_type": {"detail": "no", "error_type": message},
        "loc": {"detail": [{"loc": ["body", message], "msg": "no", "type": "x"}]},
        "categories": {"detail": [{"msg": "no", "type": "x", "categories": [message]}]},
        "ctx": {"detail": [{"msg": "no", "type": "x", "ctx": {"categories": [message]}}]},
    }

    result = from_failure(REQUEST, payloads[place], message if place == "error" else None)

    answer = result.model_dump_json().lower()
    assert result.errors
    assert not any(secret.lower() in answer for secret in SECRETS)


@pytest.mark.parametrize(
    ("entry", "categories"),
    [
        ({"categories": ["violence", "hate"]}, ("violence", "hate")),
        ({"ctx": {"categories": ["violence"]}}, ("violence",)),
        ({"categories": ["a policy in words", None, 7, {}, ""]}, ("a policy in words",)),
        ({"categories": ["x"] * 99}, ("x",) * 20),
        ({"categories": [" ", ""]}, None),
        ({"categories": "violence"}, None),
        ({"categories": {"violence": True}}, None),
        ({"ctx": ["violence"]}, None),
        ({}, None),
    ],
)
def test_a_violation_names_its_field_and_its_policies(
    entry: dict[str, Any], categories: tuple[str, ...] | None
) -> None:
    violation = {"loc": ["body", "prompt"], "msg": "no", "type": "content_policy_violation"}

    [error] = from_failure(REQUEST, {"detail": [violation | entry]}, None).errors

    assert (error.code, error.field, error.categories) == (
        "content_policy_violation",
        "prompt",
        categories,
    )
    assert not error.retryable


def test_a_message_is_kept_short() -> None:
    result = from_failure(REQUEST, {"detail": "too long " * 10_000}, None)

    assert 490 < len(result.errors[0].message) <= 500


def test_of_many_errors_the_first_twenty_are_kept() -> None:
    detail = [{"msg": str(number), "type": "x"} for number in range(1000)]

    result = from_failure(REQUEST, {"detail": detail}, None)

    assert [error.message for error in result.errors] == [str(number) for number in range(20)]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["detail", "loc", "msg", "type", "error_type", "video", "url", "seed"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(["OK", "ERROR"]), ANYTHING, st.none() | st.text(max_size=5))
def test_any_signed_body_is_a_result_or_malformed(
    status: str, payload: Any, error: str | None
) -> None:
    body = webhook(status=status, payload=payload, error=error)

    try:
        result = from_webhook(body)
    except ResultMalformed:
        assert status == "OK"
    else:
        assert (status == "ERROR") is bool(result.errors)
