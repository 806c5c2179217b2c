"""A mail, or a message in a chat, says in words how a job ended; no code runs for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.jobs import FINAL, ErrorDetail, Job, JobStatus, Video
from phonoscene.publishing.event_bus import SOURCE, STATUS_CHANGED
from phonoscene.publishing.events import MAX_ERRORS, MAX_LINE_LENGTH, StatusChanged
from phonoscene.publishing.wording import fix
from tests.support import template
from tests.support.input_transformer import render
from tests.support.jobs import a_job
from tests.support.schemas import EVENTS
from tests.support.template import ROOT, of_type
from tests.unit.strategies import jobs

RULE = of_type("AWS::Events::Rule")["MailRule"]
[TARGET] = RULE["Targets"]
CHATS = {path.parent.name: path for path in (ROOT / "examples").glob("*/targets.json")}
TRANSFORMERS = {
    "mail": TARGET["InputTransformer"],
    **{name: json.loads(path.read_text())[0]["InputTransformer"] for name, path in CHATS.items()},
}
PROMPT = ErrorDetail(
    code="content_policy_violation", message="Unsafe.", field="prompt", categories=("violence",)
)
#: Texts that would end a string or a line, or that stand for a variable.
HOSTILE = 'a "quoted" \\ <title> \n\r\t\x00\x7f\x85\u2028 name'


def event_of(job: Job) -> dict[str, Any]:
    """The event as EventBridge has it."""
    found = StatusChanged.of(None, job, None, "outputs")
    assert found
    detail = json.loads(found.to_json())
    return {"source": SOURCE, "detail-type": STATUS_CHANGED, "detail": detail}


def texts_of(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [text for one in inner for text in texts_of(one)]
    return [str(value)]


def lines_of(mail: str) -> list[str]:
    """Each line without EventBridge's quotes."""
    return [json.loads(line) for line in mail.split("\n")]


def sample(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return found


# Words


def test_a_mail_about_a_video_says_where_it_is_and_what_it_cost() -> None:
    assert lines_of(render(TRANSFORMERS["mail"], sample("job-status-changed"))) == [
        "talks/intro: the video is in the output bucket",
        "Video: s3://phonoscene-outputbucket-8b7e1e34d4f28/talks/intro/f502dc0be31de9d1a8e92e84c9ea9d9a.mp4",
        "Cost: $0.0868 delivered, $0.0803 to $0.0868 spent",
        "Errors: -",
        "Notes: -",
        "Receipt: s3://phonoscene-outputbucket-8b7e1e34d4f28/talks/intro.status.json",
    ]


def test_a_mail_about_a_failure_has_each_error_with_its_fix() -> None:
    timeout = ErrorDetail(code="generation_timeout", message="It took too long.", retryable=True)
    job = a_job(JobStatus.FAILED, errors=(PROMPT, timeout))

    lines = lines_of(render(TRANSFORMERS["mail"], event_of(job)))

    assert lines[0] == "talks/intro: no video"
    assert lines[1:5] == [
        "Video: -",
        "Cost: -",
        (
            "Errors: (1) Unsafe. Change prompt (fal's policy: violence), and drop it again. "
            "(2) It took too long. It may work now. Drop the file again."
        ),
        "Notes: -",
    ]


@pytest.mark.parametrize("count", [0, 1, MAX_ERRORS, MAX_ERRORS + 1, MAX_ERRORS + 9])
def test_errors_beyond_those_of_the_event_are_counted(count: int) -> None:
    job = a_job(JobStatus.REJECTED, errors=(PROMPT,) * count)

    errors = event_of(job)["detail"]["summary"]["errors"]

    assert errors.count(fix(JobStatus.REJECTED, PROMPT)) == min(count, MAX_ERRORS)
    assert errors.endswith(f"({count - MAX_ERRORS} more in the receipt)") == (count > MAX_ERRORS)


# Whatever is in it


@pytest.mark.parametrize("name", TRANSFORMERS)
@given(job=jobs)
def test_whatever_a_job_holds_a_message_can_be_read(name: str, job: Job) -> None:
    event = event_of(job.model_copy(update={"name": job.name + HOSTILE}))

    text = render(TRANSFORMERS[name], event)

    read = lines_of(text) if name == "mail" else [json.loads(text)]
    title = event["detail"]["summary"]["title"]
    assert any(title in one for one in texts_of(read))
    assert len(read) == (6 if name == "mail" else 1)


@given(st.text(), st.integers(0, 3 * MAX_LINE_LENGTH))
def test_each_line_is_plain_and_bounded(text: str, times: int) -> None:
    error = ErrorDetail(code="x", message=text or HOSTILE)
    video = Video(
        bucket="b", key="k" * times, version_id="1", bytes=1, sha256="", content_type="video/mp4"
    )

    summary = event_of(a_job(JobStatus.FAILED, errors=(error,) * 12, video=video))["detail"][
        "summary"
    ]

    for line in summary.values():
        assert 0 < len(line) <= MAX_LINE_LENGTH
        assert line.isprintable()
        assert not set(line) & {'"', "\\", "<", ">"}
        assert "](" not in line


@pytest.mark.parametrize("name", CHATS)
def test_no_name_mentions_a_channel_or_hides_a_link_in_a_chat(name: str) -> None:
    hostile = "<!channel> <https://evil.example|Click here> [Click here](https://evil.example)"
    error = ErrorDetail(code="x", message=hostile, field=hostile)
    job = a_job(JobStatus.REJECTED, errors=(error,)).model_copy(update={"name": f"js/{hostile}"})

    shown = " ".join(texts_of(json.loads(render(TRANSFORMERS[name], event_of(job)))))

    assert (
        "\u2039!channel\u203a \u2039https://evil.example|Click here\u203a [Click here] (https://"
        in shown
    )
    assert not {"<", ">"} & set(shown)


# When


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize(
    ("changes", "is_problem"),
    [({}, False), ({"errors": (PROMPT,)}, True), ({"resubmitted": True}, True)],
)
def test_a_mail_is_sent_about_each_end_or_about_each_problem(
    status: JobStatus, changes: dict[str, Any], is_problem: bool
) -> None:
    detail = event_of(a_job(status, **changes))["detail"]
    pattern = RULE["EventPattern"]
    condition, of_all, of_problems = pattern["detail"]["has_problems"]["Fn::If"]

    assert (condition, pattern["source"], pattern["detail-type"]) == (
        "MailsAll",
        [SOURCE],
        [STATUS_CHANGED],
    )
    ends = detail["is_final"] in pattern["detail"]["is_final"]
    assert ends == (status in FINAL)
    assert (ends and detail["has_problems"] in of_all) == (status in FINAL)
    assert (detail["has_problems"] in of_problems) == is_problem


def test_only_the_rule_may_send_to_the_topic_and_only_where_a_mail_is_wanted() -> None:
    [policy] = of_type("AWS::SNS::TopicPolicy").values()
    refused, allowed = policy["PolicyDocument"]["Statement"]

    assert refused["Effect"] == "Deny"
    assert allowed["Principal"] == {"Service": "events.amazonaws.com"}
    assert allowed["Resource"] == TARGET["Arn"] == {"Ref": "MailTopic"}
    source = allowed["Condition"]["ArnEquals"]["aws:SourceArn"]["Fn::Sub"]
    assert source.endswith(f":rule/${{EventBus}}/{RULE['Name']['Fn::Sub']}")
    resources = template.read()["Resources"]
    mails = [name for name in resources if name.startswith("Mail")]
    assert len(mails) == 4
    assert {resources[name]["Condition"] for name in mails} == {"HasNotifyEmail"}
