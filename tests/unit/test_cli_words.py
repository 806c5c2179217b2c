"""What the command line says, and what it understands."""

from __future__ import annotations

import re
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.jobs import (
    FINAL,
    MAYBE_BILLED,
    Audio,
    DropObject,
    ErrorDetail,
    JobStatus,
    Sequence,
    Step,
)
from phonoscene.publishing.wording import WAITS, fix
from phonoscene_cli.commands.board import board
from phonoscene_cli.errors import NOT_FINE, WRONG_USAGE, CliError, WrongUsage
from phonoscene_cli.stack import job_lookup
from phonoscene_cli.stack.period import USUAL, Period
from phonoscene_cli.ui import formatting, next_steps, time_arguments
from tests.support.jobs import NOON, a_job
from tests.support.template import ROOT

if TYPE_CHECKING:
    from phonoscene_cli.stack.connection import Stack


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        ("0", "$0"),
        ("0.0859", "$0.0859"),
        ("0.99999", "$1.0000"),
        ("1", "$1.00"),
        ("1234.5", "$1,234.50"),
    ],
)
def test_dollars_are_as_exact_as_they_matter(amount: str, said: str) -> None:
    assert formatting.usd(Decimal(amount)) == said


def test_a_cost_is_an_interval_unless_its_ends_read_the_same() -> None:
    assert formatting.interval(Decimal("0.0859"), Decimal("0.0868")) == "$0.0859 to $0.0868"
    assert formatting.interval(Decimal("0.08591"), Decimal("0.08592")) == "$0.0859"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3, "0.0 s"),
        (0, "0.0 s"),
        (2.51, "2.5 s"),
        (10, "10 s"),
        (59.7, "1 min"),
        (80, "1 min 20 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (90000, "1 d 1 h"),
        (86400 * 40, "40 d"),
    ],
)
def test_a_span_is_reported_in_the_two_units_that_matter(seconds: float, said: str) -> None:
    assert formatting.span(timedelta(seconds=seconds)) == said


@pytest.mark.parametrize(
    ("count", "said"), [(1, "1 byte"), (999, "999 bytes"), (220_544, "220.5 kB"), (5e9, "5.0 GB")]
)
def test_a_size_is_reported_as_people_write_it(count: int, said: str) -> None:
    assert formatting.size(count) == said


@pytest.mark.parametrize("status", JobStatus)
def test_every_state_has_its_meaning(status: JobStatus) -> None:
    assert formatting.meaning(a_job(status))


def test_a_drop_without_its_image_names_it_and_how_to_go_on() -> None:
    job = a_job(JobStatus.WAITING, waits_for="image", missing_image="talks/cover.png")

    assert formatting.meaning(job) == "waiting for an image: talks/cover.png is missing"
    assert next_steps.next_step(job) == "Upload talks/cover.png to the drop bucket."


@pytest.mark.parametrize("waits_for", sorted(set(WAITS) - {"audio", "sidecar", "image"}))
def test_a_job_says_what_it_waits_for(waits_for: str) -> None:
    job = a_job(JobStatus.READY, waits_for=waits_for)

    assert formatting.meaning(job) == f"waits for {WAITS[waits_for]}"
    assert next_steps.next_step(job)


@pytest.mark.parametrize("status", [s for s in JobStatus if s is not JobStatus.SUCCEEDED])
def test_a_job_without_a_video_has_a_next_step_or_needs_none(
    status: JobStatus,
) -> None:
    job = a_job(status)

    assert next_steps.next_step(job) or status in {JobStatus.READY, JobStatus.SUBMITTING}
    assert "phonoscene" in next_steps.next_step(job) or status not in FINAL | {JobStatus.WAITING}


def test_a_failure_that_the_same_request_may_mend_is_followed_by_a_whole_sentence() -> None:
    job = a_job(JobStatus.FAILED, errors=[ErrorDetail(code="x", message="", retryable=True)])

    again = f"`phonoscene retry {job.job_id}`"
    assert next_steps.next_step(job) == f"To try again, use {again}."


def test_a_video_that_was_refused_is_not_paid_twice_for_want_of_its_address() -> None:
    job = a_job(JobStatus.FAILED, source_url="https://v3.fal.media/x.mp4")

    assert "https://v3.fal.media/x.mp4" in next_steps.next_step(job)


WHOLE: dict[str, Any] = {
    "audio": Audio(key="a.mp3", version_id="1", bytes=1),
    "sidecar": DropObject(key="a.json", version_id="1"),
    "arguments": {"prompt": "x"},
}


def an_error(field: str | None, code: str = "out_of_range") -> ErrorDetail:
    return ErrorDetail(code=code, message="", field=field)


@pytest.mark.parametrize(
    ("error", "fields", "setting"),
    [
        (an_error("audio", "not_audio"), {}, None),
        (an_error("prompt", "missing_field"), {}, " --set prompt=…"),
        (an_error("video_size.width"), {}, " --set video_size=…"),
        (an_error("fsp", "unknown_field"), {}, None),
        (an_error("audio_url", "not_allowed"), {}, None),
        (an_error("sync_mode", "not_allowed"), {}, None),
        (an_error("image_url", "image_not_found"), {}, None),
        (an_error(None, "not_json"), {}, None),
        (an_error("fps"), {"sidecar": None, "arguments": {}}, None),
        (an_error("fps"), {"audio": None}, None),
    ],
)
def test_a_rejected_job_is_advised_to_be_retried_only_where_an_option_could_mend_it(
    error: ErrorDetail, fields: dict[str, Any], setting: str | None
) -> None:
    step = next_steps.next_step(a_job(JobStatus.REJECTED, **WHOLE | {"errors": (error,)} | fields))

    if setting is None:
        assert "phonoscene retry" not in step
        assert "phonoscene drop" in step
    else:
        assert f"retry {'0' * 32}{setting}`" in step


@pytest.mark.parametrize("field", ["audio", "audio_url"])
def test_a_job_that_failed_for_its_audio_needs_another_file_and_no_retry(field: str) -> None:
    error = an_error(field, "unsupported_audio_format")

    step = next_steps.next_step(a_job(JobStatus.FAILED, **WHOLE | {"errors": (error,)}))

    assert "another audio file" in step
    assert "phonoscene retry" not in step
    assert "another audio file" in fix(JobStatus.FAILED, error)


@pytest.mark.parametrize("is_lasting", [True, False])
def test_a_segment_that_would_fail_again_is_not_simply_to_be_retried(*, is_lasting: bool) -> None:
    error = ErrorDetail(code="segment_failed", message="Flagged.", retryable=not is_lasting)
    whole = {"errors": (error,), "sequence": Sequence(fps=24, scenes=(), segments=())}

    step = next_steps.next_step(a_job(JobStatus.FAILED, **WHOLE | whole))

    assert ("Change what the message names" in fix(JobStatus.FAILED, error)) == is_lasting
    assert ("names what to change" in step) == is_lasting
    assert "`phonoscene retry" in step


@pytest.mark.parametrize("sequence", [None, Sequence(fps=24, scenes=(), segments=())])
def test_a_job_whose_audio_was_deleted_needs_the_same_file_again(sequence: Sequence | None) -> None:
    error = an_error("audio", "drop_gone")
    given = WHOLE | {"errors": (error,), "sequence": sequence}

    step = next_steps.next_step(a_job(JobStatus.FAILED, **given))

    assert "drop again with `phonoscene drop`" in step
    assert "another audio file" not in step


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("image_url", "--set image_url=…`"),
        ("prompt", "--set prompt=…`"),
        (None, f"`phonoscene retry {'0' * 32}`."),
    ],
)
def test_a_job_that_failed_is_retried_with_the_fields_that_can_be_set(
    field: str | None, said: str
) -> None:
    job = a_job(JobStatus.FAILED, **WHOLE | {"errors": (an_error(field),)})

    assert said in next_steps.next_step(job)


def test_what_fal_refuses_by_its_policy_is_not_advised_to_be_sent_again_as_it_is() -> None:
    refused = ErrorDetail(code="content_policy_violation", message="No.")
    job = a_job(JobStatus.FAILED, **WHOLE | {"errors": (refused,)})

    assert "Change what the error names" in next_steps.next_step(job)
    assert "--set FIELD=VALUE" in next_steps.next_step(job)


@pytest.mark.parametrize("missing", ["audio", "sidecar"])
def test_a_half_that_was_cancelled_is_not_advised_to_be_retried(missing: str) -> None:
    half = a_job(JobStatus.CANCELLED, **WHOLE | {"arguments": {}, missing: None})

    assert "drop both halves" in next_steps.next_step(half)


def test_an_errors_parts_are_reported_where_it_has_them() -> None:
    error = ErrorDetail(code="x", message="fps is 90.", field="fps", value="90", retryable=True)

    names = ["what", "field", "value", "retry"]
    assert [name for name, _ in next_steps.in_full(error)] == names
    assert next_steps.in_full(error, "Set fps to 60.") == [
        *next_steps.in_full(error),
        ("fix", "Set fps to 60."),
    ]


@given(st.text())
def test_what_comes_from_anybody_moves_no_cursor(text: str) -> None:
    assert formatting.printable(text).isprintable()


def a_stack() -> Stack:
    """One with a drop bucket, which nothing reaches."""
    return cast("Stack", SimpleNamespace(outputs={"DropBucketName": "drops"}))


@pytest.mark.parametrize(
    ("text", "key", "name", "folder"),
    [
        ("talks/intro", "talks/intro", "talks/intro", "talks/intro/"),
        ("talks/intro.mp3", "talks/intro.mp3", "talks/intro", "talks/intro.mp3/"),
        ("talks/intro.mp3.json", "talks/intro.mp3.json", "talks/intro", "talks/intro.mp3.json/"),
        ("s3://drops/talks/intro.WAV", "talks/intro.WAV", "talks/intro", "talks/intro.WAV/"),
        ("S3://drops/talks/", "talks/", "talks/", "talks/"),
        ("s3://drops/a\nb.wav", "a\nb.wav", "a\nb", "a\nb.wav/"),
        ("s3://drops", "", "", ""),
        ("s3://drops/", "", "", ""),
        ("/", "/", "/", ""),
        ("", "", "", ""),
        ("intro.v2.json", "intro.v2.json", "intro.v2", "intro.v2.json/"),
    ],
)
def test_what_is_in_the_bucket_is_named_by_its_key_or_by_its_address(
    text: str, key: str, name: str, folder: str
) -> None:
    stack = a_stack()

    assert job_lookup.key_in(stack, text) == key
    assert job_lookup.name_in(stack, text) == name
    assert job_lookup.folder_in(stack, text) == folder


@pytest.mark.parametrize(
    "text", ["s3://other/talks/", "s3://drops-2/a.mp3", "s3://", "s3:///a.mp3"]
)
def test_an_address_in_another_bucket_is_refused_with_the_right_one(text: str) -> None:
    for understood in (job_lookup.key_in, job_lookup.name_in, job_lookup.folder_in):
        with pytest.raises(WrongUsage, match="s3://drops"):
            understood(a_stack(), text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("12h", 43200), ("3d", 259200), ("1w", 604800)]
)
def test_spans_are_understood(text: str, seconds: int) -> None:
    assert time_arguments.span_of(text) == timedelta(seconds=seconds)
    assert time_arguments.moment_of(text, NOON) == NOON - timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["0s", "1s", "90s", "5m", "12h", "25h", "3d", "2w", "999999w"])
def test_a_span_is_written_as_options_take_it(text: str) -> None:
    span = time_arguments.span_of(text) if text != "999999w" else timedelta(weeks=5000)

    assert time_arguments.span_of(formatting.typed_span(span)) == span


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-22T10:15", datetime(2026, 11, 22, 10, 15, tzinfo=UTC)),
        ("2026-11-22T10:15+02:00", datetime(2026, 11, 22, 8, 15, tzinfo=UTC)),
    ],
)
def test_times_are_understood_and_are_utc_unless_they_say_otherwise(
    text: str, at: datetime
) -> None:
    assert time_arguments.moment_of(text, NOON) == at


@pytest.mark.parametrize(
    "text", ["", "soon", "-3d", "3 days", "3y", "99999999d", "999999w", "22.11.2026"]
)
def test_what_is_no_time_is_wrong_usage_with_an_example(text: str) -> None:
    with pytest.raises(WrongUsage, match="Use"):
        time_arguments.moment_of(text, NOON)
    with pytest.raises(WrongUsage, match="Use"):
        time_arguments.day_of(text)


def test_a_day_is_the_whole_of_it_and_nothing_else() -> None:
    period = Period.of(date(2026, 11, 22), None)

    assert period.first == datetime(2026, 11, 22, tzinfo=UTC)
    assert period.last == datetime(2026, 11, 22, 23, 59, 59, 999999, tzinfo=UTC)
    assert formatting.period(period) == "on 2026-11-22 (UTC)"


def test_the_calendars_last_day_is_a_day() -> None:
    assert Period.of(date.max, None).last == datetime.max.replace(tzinfo=UTC)


def test_without_a_day_it_is_the_time_since_or_a_week() -> None:
    assert Period.of(None, NOON).first == NOON
    week = Period.of(None, None)
    assert week.last - week.first == USUAL


def test_a_day_and_a_time_since_exclude_each_other() -> None:
    with pytest.raises(WrongUsage, match="--since"):
        Period.of(date(2026, 11, 22), NOON)


def test_yesterday_is_the_day_before_today() -> None:
    assert time_arguments.day_of("today") - time_arguments.day_of("Yesterday") == timedelta(days=1)


def test_exit_codes_tell_what_was_wrong() -> None:
    assert (CliError.exit_code, WrongUsage.exit_code) == (NOT_FINE, WRONG_USAGE)


@pytest.mark.parametrize("code", sorted(MAYBE_BILLED))
def test_what_may_be_billed_is_looked_up_before_it_is_paid_again(code: str) -> None:
    error = ErrorDetail(code=code, message="It failed.")

    step = next_steps.next_step(a_job(JobStatus.FAILED, **WHOLE | {"errors": (error,)}))

    assert "Check fal's dashboard" in fix(JobStatus.FAILED, error)
    assert "fal may have made and billed the video" in step


def test_another_take_of_a_video_that_was_made_is_a_second_payment() -> None:
    made, failed = (Step(status=one, at=NOON) for one in (JobStatus.GENERATED, JobStatus.FAILED))
    error = ErrorDetail(code="video_unavailable", message="It could not be copied.")

    lost = a_job(JobStatus.FAILED, **WHOLE | {"errors": (error,), "history": (made, failed)})
    other = a_job(JobStatus.FAILED, **WHOLE | {"errors": (error,), "history": (failed,)})

    assert next_steps.remedy(lost) is next_steps.Remedy.SECOND_PAYMENT
    assert next_steps.remedy(other) is next_steps.Remedy.ANOTHER_TAKE


def test_a_board_without_its_extra_names_the_command_of_its_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("phonoscene_cli.board.server", raising=False)
    monkeypatch.delitem(sys.modules, "phonoscene_cli.board.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    with pytest.raises(WrongUsage, match="needs uvicorn") as refused:
        board(cast("Any", None))

    [command] = re.findall("`(pip .+)`", str(refused.value))
    assert f"| pip | `{command}` |" in (ROOT / "docs" / "board.md").read_text()
