"""``doctor``, ``redrive`` and the command line's outer edge: what works, what not, what next."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from phonoscene_cli import app, checks
from phonoscene_cli.checks import CHECKS
from phonoscene_cli.stack import Chosen
from tests.documented import keys
from tests.integration.cloud import KEY_PARAMETER
from tests.integration.scene import Scene

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.cloud import Cloud
    from tests.integration.desk import Answer, Desk


@pytest.fixture(autouse=True)
def webhook(environment: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the webhook's address answers."""
    answer: dict[str, Any] = {"status": 401}

    def post(url: str, **_: Any) -> httpx.Response:
        answer["url"] = url
        if answer["status"] is None:
            raise httpx.ConnectError("no")
        return httpx.Response(answer["status"])

    environment.setattr(httpx, "post", post)
    return answer


def lines(told: Answer) -> dict[str, dict[str, str]]:
    assert all(set(one) == keys("doctor") for one in told.data)
    return {one["check"]: one for one in told.data}


def test_a_stack_that_works_is_told_so_line_by_line(desk: Desk, webhook: dict[str, Any]) -> None:
    told, shown = desk.says("doctor", "--json"), desk.says("doctor")

    assert [one["check"] for one in told.data] == list(CHECKS)
    assert {one["level"] for one in told.data if one["check"] != "may drop"} == {"ok"}
    assert (told.code, shown.code) == (0, 0)
    assert len(shown.out.splitlines()) == len(CHECKS)
    assert webhook["url"].endswith("/webhooks/fal/doctor/unsigned")


def put_key(value: str, kind: Any = "SecureString") -> Any:
    def act(desk: Desk, _: Any) -> None:
        desk.cloud.ssm.delete_parameter(Name=KEY_PARAMETER)
        desk.cloud.ssm.put_parameter(Name=KEY_PARAMETER, Value=value, Type=kind)

    return act


def no_key(desk: Desk, _: Any) -> None:
    desk.cloud.ssm.delete_parameter(Name=KEY_PARAMETER)


def letter(desk: Desk, _: Any) -> None:
    desk.cloud.sqs.send_message(QueueUrl=desk.urls["VerdictsDeadLetterQueueUrl"], MessageBody="{}")


def pause(desk: Desk, _: Any) -> None:
    Scene(desk.cloud).store.ledger.pause(datetime.now(UTC) + timedelta(minutes=5))


def unpin(desk: Desk, _: Any) -> None:
    desk.parameters["FalUserId"] = ""


def answers(status: int | None) -> Any:
    return lambda _, webhook: webhook.update(status=status)


def lose_output(desk: Desk, _: Any) -> None:
    del desk.urls["UndeliveredDropsQueueUrl"]


#: What is wrong, the line that tells it, how gravely, and a part of what to do.
FAULTS: dict[str, tuple[Any, str, str, str]] = {
    "no key": (no_key, "fal key", "fail", "put-parameter"),
    "a key of two lines": (put_key("a\nsecret"), "fal key", "fail", "put-parameter"),
    "a key with a space": (put_key("a secret"), "fal key", "fail", "put-parameter"),
    "a key in clear": (put_key("secret", "String"), "fal key", "warn", "put-parameter"),
    "a dead letter": (letter, "dead letters", "fail", "phonoscene redrive"),
    "a pause": (pause, "dispatch", "fail", "dashboard/billing"),
    "nobody pinned": (unpin, "fal user", "warn", "FalUserId"),
    "a webhook that lets all in": (answers(202), "webhook", "fail", "log"),
    "a webhook that fails": (answers(500), "webhook", "fail", "log"),
    "no webhook": (answers(None), "webhook", "fail", "log"),
    "an older stack": (lose_output, "outputs", "fail", "make deploy"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_each_fault_is_told_in_its_line_with_the_next_step(
    desk: Desk, webhook: dict[str, Any], case: str
) -> None:
    act, line, level, step = FAULTS[case]
    act(desk, webhook)

    told = desk.says("doctor", "--json")

    found = lines(told)[line]
    assert found["level"] == level
    assert step in found["next"]
    assert told.code == (1 if level == "fail" else 0)
    assert "secret" not in told.out + told.err


@pytest.mark.parametrize(
    ("status", "level"),
    [
        ("UPDATE_COMPLETE", "ok"),
        ("UPDATE_IN_PROGRESS", "warn"),
        ("UPDATE_ROLLBACK_COMPLETE", "warn"),
        ("UPDATE_ROLLBACK_FAILED", "fail"),
        ("ROLLBACK_COMPLETE", "fail"),
    ],
)
def test_the_stacks_own_state_is_told(desk: Desk, status: str, level: str) -> None:
    stack = desk.stack()
    stack.description["StackStatus"] = status

    assert checks.examined("stack", checks.stack_is_deployed, stack).level == level


@pytest.mark.parametrize("name", ["may read drops", "may drop", "may fetch", "may see queues"])
def test_what_the_caller_may_not_is_told_with_the_call(
    desk: Desk, name: str, environment: pytest.MonkeyPatch
) -> None:
    stack = desk.stack()

    class Denied:
        def __getattr__(self, operation: str) -> Any:
            def call(**_: Any) -> Any:
                raise ClientError({"Error": {"Code": "AccessDenied"}}, operation)

            return call

    environment.setattr(type(stack), "client", lambda *_: Denied())

    found = checks.examined(name, CHECKS[name], stack)

    assert found.level == "fail"
    assert found.detail.startswith("you may not: ")
    assert found.next


def test_who_may_not_read_the_key_is_not_told_that_it_is_wrong(
    desk: Desk, environment: pytest.MonkeyPatch
) -> None:
    stack = desk.stack()

    class Denied:
        def get_parameter(self, **_: Any) -> Any:
            raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetParameter")

    environment.setattr(type(stack), "client", lambda *_: Denied())

    assert checks.examined("fal key", checks.fal_key_is_there, stack).level == "warn"


@pytest.mark.parametrize("name", ["MaxFrames", "SettleSeconds", "FalUserId"])
def test_a_stack_without_a_parameter_is_older_than_the_command_line(desk: Desk, name: str) -> None:
    del desk.parameters[name]

    told = desk.says("audit")

    assert told.code == 3
    assert f"no parameter {name}" in told.err
    assert "make deploy" in told.err


def test_a_write_that_is_tried_writes_nothing(desk: Desk, cloud: Cloud) -> None:
    checks.drops_may_be_written(desk.stack())

    listed = cloud.s3.list_object_versions(Bucket="drops").get("Versions", [])
    assert [one for one in listed if one["Key"] != checks.NOBODYS] == []


def test_messages_come_back_from_each_dead_letter_queue(
    desk: Desk, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr("phonoscene_cli.redrive.EMPTY_ANSWERS", 1)
    for queue in ("DropsDeadLetterQueueUrl", "UndeliveredDropsQueueUrl"):
        for n in range(12):
            body = json.dumps({"from": queue, "n": n})
            desk.cloud.sqs.send_message(QueueUrl=desk.urls[queue], MessageBody=body)

    counted = desk.says("redrive", "--dry-run")
    moved = desk.says("redrive", "drops", "--most", "5", "--json")
    rest = desk.says("redrive")

    assert counted.out.splitlines() == [
        "drops: 12 waiting",
        "undelivered: 12 waiting",
        "verdicts: 0 waiting",
    ]
    assert moved.data == {"drops": {"waiting": 12, "moved": 5}}
    assert rest.out.splitlines() == ["drops: 7 moved", "undelivered: 12 moved", "verdicts: 0 moved"]
    assert len(set(desk.messages("DropsQueueUrl"))) == 24


# the outer edge ---------------------------------------------------------------------------------


def test_a_local_cloud_that_is_not_up_is_missed_in_words(
    desk: Desk, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr(app, "Chosen", Chosen)
    (tmp_path / "torn.json").write_text("{")
    (tmp_path / "other.json").write_text("[]")

    for file in ("nothing.json", "torn.json", "other.json"):
        environment.setattr("sys.argv", ["x", "--endpoints", str(tmp_path / file), "jobs"])
        with pytest.raises(SystemExit) as ended:
            app.main()
        assert ended.value.code == 3
        assert "make up" in desk.screen.readouterr().err


def test_without_a_region_the_next_step_is_said(
    desk: Desk, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr(app, "Chosen", Chosen)
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        environment.delenv(name)
    environment.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    environment.setattr("sys.argv", ["x", "jobs"])

    with pytest.raises(SystemExit) as ended:
        app.main()

    assert ended.value.code == 3
    assert "--region" in desk.screen.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetItem"), 3, "doctor"),
        (EndpointConnectionError(endpoint_url="https://x"), 3, "doctor"),
        (PermissionError(13, "Permission denied", "song.mp3"), 1, "song.mp3: Permission denied"),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_ends_a_command_is_a_sentence_and_a_code(
    desk: Desk, environment: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    environment.setattr("phonoscene_cli.reading.Reader.get", fail)

    told = desk.says("show", "0" * 32)

    assert told.code == code
    assert said in told.err
    assert "Traceback" not in told.err
