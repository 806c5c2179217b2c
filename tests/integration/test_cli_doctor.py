"""``doctor``, ``redrive`` and the command line's outer edge: what works, what not, what next."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final
from zipfile import ZipFile

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber

from phonoscene.table.items import to_item
from phonoscene_cli import app
from phonoscene_cli.deployment import answers as answers_file
from phonoscene_cli.doctor import checks
from phonoscene_cli.doctor.checks import CHECKS
from phonoscene_cli.errors import StackUnreachable
from phonoscene_cli.failures import explained
from phonoscene_cli.stack.connection import Chosen, Stack
from tests.integration.moto_stack import client
from tests.integration.workspace import Workspace
from tests.support.documented import PAGE, keys, samples, shape
from tests.support.jobs import a_job
from tests.support.stack import ACCOUNT, DROPS, JOBS, KEY_PARAMETER, OUTPUT, REGION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.desk import Answer, Desk
    from tests.integration.moto_stack import Cloud


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


BUS: Final = "phonoscene"
RULES: Final = {
    "RouteDropsRule": "drops",
    "RouteEventsRule": f"{BUS}|events",
    "EmulatedRule": "events",
}
MAIL: Final = "you@example.com"
NOW: Final = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture(autouse=True)
def stack_of_parts(
    desk: Desk, cloud: Cloud, tmp_path: Path, environment: pytest.MonkeyPatch
) -> Iterator[None]:
    """The rest of what a stack has, on moto; moto knows no limits of an account."""
    environment.chdir(tmp_path)  # where no samconfig.toml is
    environment.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    sqs, events, sns = map(client, ("sqs", "events", "sns"))
    for queue in ("drops", "verdicts"):
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}-dead"
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "20"})
        url = desk.urls[f"{queue.title()}QueueUrl"]
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": policy})
    for bucket in (DROPS, OUTPUT):
        versioning: Any = {"Status": "Enabled"}
        cloud.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=versioning)
    announce(desk, "EventBridgeConfiguration")
    with suppress(ClientError):  # it is there from another test
        events.create_event_bus(Name=BUS)
    for name, given in RULES.items():
        *bus, rule = given.split("|")
        events.put_rule(Name=rule, EventPattern="{}", **({"EventBusName": BUS} if bus else {}))
        desk.resources[name] = ("AWS::Events::Rule", given)
    topic = sns.create_topic(Name="alarms")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="email", Endpoint=MAIL)
    alarm("OK")
    desk.resources["DropsDeadLetterAlarm"] = ("AWS::CloudWatch::Alarm", "dead-letters")
    desk.resources["SubmitFunctionDrops"] = ("AWS::Lambda::EventSourceMapping", event_source())
    desk.resources["SubmitFunction"] = ("AWS::Lambda::Function", "submit")
    environment.setattr(client("lambda"), "get_account_settings", lambda: limit_of(1000))
    yield
    sns.delete_topic(TopicArn=topic)


def announce(desk: Desk, *configurations: str) -> None:
    """Where S3 sends the drop bucket's events; moto forgets EventBridge."""
    answer: dict[str, Any] = {name: {} for name in configurations} | {"ResponseMetadata": {}}
    desk.patch.setattr(client("s3"), "get_bucket_notification_configuration", lambda **_: answer)


def alarm(state: str) -> None:
    client("cloudwatch").put_metric_alarm(
        AlarmName="dead-letters",
        MetricName="x",
        Namespace="x",
        Period=60,
        Statistic="Sum",
        EvaluationPeriods=1,
        Threshold=0,
        ComparisonOperator="GreaterThanThreshold",
    )
    client("cloudwatch").set_alarm_state(AlarmName="dead-letters", StateValue=state, StateReason="")


@cache
def a_function() -> str:
    """A function on moto, which wants a role and a zip file."""
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    iam: Any = client("iam")
    role = iam.create_role(RoleName="submit", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    code = BytesIO()
    with ZipFile(code, "w") as archive:
        archive.writestr("app.py", "")
    made = client("lambda").create_function(
        FunctionName="submit",
        Runtime="python3.13",
        Role=role,
        Handler="app.handler",
        Code={"ZipFile": code.getvalue()},
    )
    return str(made["FunctionName"])


@cache
def a_source(function: str, queue: str) -> str:
    made = client("lambda").create_event_source_mapping(
        FunctionName=function, EventSourceArn=queue, BatchSize=3
    )
    return str(made["UUID"])


def event_source() -> str:
    """Of a queue that gets no messages: moto would run the function, and wants Docker for it."""
    client("sqs").create_queue(QueueName="quiet")
    uuid = a_source(a_function(), f"arn:aws:sqs:{REGION}:{ACCOUNT}:quiet")
    client("lambda").update_event_source_mapping(UUID=uuid, Enabled=True)
    return uuid


def limit_of(most: int) -> Any:
    return {"AccountLimit": {"ConcurrentExecutions": most}}


def lines(answer: Answer) -> dict[str, dict[str, str]]:
    assert all(set(one) == keys("doctor") for one in answer.data)
    return {one["check"]: one for one in answer.data}


def test_a_stack_that_works_is_reported_line_by_line(desk: Desk, webhook: dict[str, Any]) -> None:
    result, shown = desk.says("doctor", "--json"), desk.says("doctor")

    assert [one["check"] for one in result.data] == list(CHECKS)
    levels = {one["check"]: one["level"] for one in result.data if one["level"] != "ok"}
    assert set(levels) <= {"may drop"}
    assert (result.code, shown.code) == (0, 0)
    assert len(shown.out.splitlines()) == len(CHECKS)
    assert webhook["url"].endswith("/webhooks/fal/doctor/unsigned")


def put_key(value: str, kind: Any = "SecureString") -> Any:
    def act(desk: Desk, _: Any) -> None:
        desk.cloud.ssm.delete_parameter(Name=KEY_PARAMETER)
        desk.cloud.ssm.put_parameter(Name=KEY_PARAMETER, Value=value, Type=kind)

    return act


SECRET_PARAMETER = "/phonoscene/event-webhook"


def event_secret(value: str | None) -> Any:
    def act(desk: Desk, _: Any) -> None:
        desk.parameters |= {
            "EventWebhookUrl": "https://example.com/hooks",
            "EventWebhookSecretParameter": SECRET_PARAMETER,
        }
        if value:
            desk.cloud.ssm.put_parameter(Name=SECRET_PARAMETER, Value=value, Type="SecureString")

    return act


def no_key(desk: Desk, _: Any) -> None:
    desk.cloud.ssm.delete_parameter(Name=KEY_PARAMETER)


def letter(desk: Desk, _: Any) -> None:
    desk.cloud.sqs.send_message(QueueUrl=desk.urls["VerdictsDeadLetterQueueUrl"], MessageBody="{}")


def pause(desk: Desk, _: Any) -> None:
    Workspace.on_moto(desk.cloud).store.ledger.pause(datetime.now(UTC) + timedelta(minutes=5))


def window_has(**attributes: Any) -> Any:
    def act(desk: Desk, _: Any) -> None:
        Workspace.on_moto(desk.cloud).set_window(**attributes)

    return act


def held_up(desk: Desk, _: Any) -> None:
    record_of(desk, status="SUBMITTED", problem="fal knows nothing of the request")
    Workspace.on_moto(desk.cloud).set_window(in_flight={"0" * 32})


def unpin(desk: Desk, _: Any) -> None:
    desk.parameters["FalUserId"] = ""


def answers(status: int | None) -> Any:
    return lambda _, webhook: webhook.update(status=status)


def lose_output(desk: Desk, _: Any) -> None:
    del desk.urls["UndeliveredDropsQueueUrl"]


def announced(*configurations: str) -> Any:
    return lambda desk, _: announce(desk, *configurations)


def unversion(bucket: str) -> Any:
    def act(desk: Desk, _: Any) -> None:
        versioning: Any = {"Status": "Suspended"}
        desk.cloud.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=versioning)

    return act


def disable_rule(*at: str) -> Any:
    names = dict(zip(("Name", "EventBusName"), at, strict=False))
    return lambda *_: client("events").disable_rule(**names)


def lose_rule(*_: Any) -> None:
    client("events").delete_rule(Name="drops")


def disable_source(desk: Desk, _: Any) -> None:
    uuid = desk.resources["SubmitFunctionDrops"][1]
    client("lambda").update_event_source_mapping(UUID=uuid, Enabled=False)


def break_function(desk: Desk, _: Any) -> None:
    found = {"State": "Failed", "StateReason": "the layer is gone", "FunctionName": "submit"}
    desk.patch.setattr(client("lambda"), "get_function_configuration", lambda **_: found)


def probe(name: str = "ProbeFunction", **answer: Any) -> Any:
    def act(desk: Desk, _: Any) -> None:
        desk.resources[name] = ("AWS::Lambda::Function", "submit")
        desk.patch.setattr(client("lambda"), "invoke", lambda **_: answer)

    return act


def crash(kind: str) -> dict[str, Any]:
    return {
        "FunctionError": "Unhandled",
        "Payload": BytesIO(json.dumps({"errorType": kind}).encode()),
    }


def crowd(desk: Desk, _: Any) -> None:
    desk.patch.setattr(client("lambda"), "get_account_settings", lambda: limit_of(9))


def unnamed_letter(desk: Desk, _: Any) -> None:
    url = client("sqs").create_queue(QueueName="unpublished")["QueueUrl"]
    desk.resources["UnpublishedQueue"] = ("AWS::SQS::Queue", url)
    client("sqs").send_message(QueueUrl=url, MessageBody="{}")


def ring(desk: Desk, _: Any) -> None:
    del desk
    alarm("ALARM")


def await_confirmation(desk: Desk, _: Any) -> None:
    pending = [{"SubscriptionArn": "PendingConfirmation", "Endpoint": MAIL}]
    page = {"Subscriptions": pending}
    paginator = SimpleNamespace(paginate=lambda **_: [page])
    desk.patch.setattr(client("sns"), "get_paginator", lambda _: paginator)


def unsubscribe(*_: Any) -> None:
    for one in client("sns").list_subscriptions()["Subscriptions"]:
        client("sns").unsubscribe(SubscriptionArn=one["SubscriptionArn"])


def samconfig(*lines: str) -> Any:
    """A file whose only deployment has these lines."""

    def act(*_: Any) -> None:
        text = "\n".join(["[default.deploy.parameters]", 'stack_name = "phonoscene"', *lines])
        Path("samconfig.toml").write_text(text)

    return act


def deploy_answers(**parameters: str) -> Any:
    """What `phonoscene deploy` keeps of a deployment with these parameters."""

    def act(*_: Any) -> None:
        file = answers_file.path_of("phonoscene", ACCOUNT, REGION)
        answers_file.write(file, answers_file.Answers("b", parameters))

    return act


def deployed_version(version: str | None) -> Any:
    """The stack's output of that name; None: it has none."""

    def act(desk: Desk, _: Any) -> None:
        desk.urls |= {"Version": version} if version else {}
        if version is None:
            desk.left_out.add("Version")

    return act


def record_of(desk: Desk, **changes: Any) -> None:
    """A record of now, as another version wrote it."""
    job = a_job(at=datetime.now(UTC), job_id="0" * 32)
    desk.cloud.put_jobs([job])
    item = to_item(desk.cloud.item(job.job_id) | changes)
    desk.cloud.dynamodb.put_item(TableName=JOBS, Item=item)


def written_by(version: str) -> Any:
    return lambda desk, _: record_of(desk, phonoscene_version=version)


def unreadable(desk: Desk, _: Any) -> None:
    record_of(desk, status="RESTING")


def leave_bucket(desk: Desk, _: Any) -> None:
    found = {"Buckets": [{"Name": "phonoscene-dropbucket-1a2b"}, {"Name": "phonoscene-other-1"}]}
    desk.patch.setattr(client("s3"), "list_buckets", lambda: found)


#: What is wrong, the line that tells it, how gravely, and a part of what to do.
FAULTS: dict[str, tuple[Any, str, str, str]] = {
    "no key": (no_key, "fal key", "fail", "put-parameter"),
    "a key of two lines": (put_key("a\nsecret"), "fal key", "fail", "put-parameter"),
    "a key with a space": (put_key("a secret"), "fal key", "fail", "put-parameter"),
    "a key in clear": (put_key("secret", "String"), "fal key", "warn", "put-parameter"),
    "no event secret": (event_secret(None), "event webhook", "fail", "openssl rand"),
    "an event secret of another form": (
        event_secret("not-a-secret"),
        "event webhook",
        "fail",
        "openssl rand",
    ),
    "a dead letter": (letter, "dead letters", "fail", "phonoscene redrive"),
    "a pause": (pause, "dispatch", "fail", "dashboard/billing"),
    "a video that cannot be copied": (
        window_has(uncopied={"a" * 26}),
        "dispatch",
        "warn",
        f"phonoscene show {'a' * 26}",
    ),
    "a request that fal does not know": (
        held_up,
        "dispatch",
        "warn",
        f"phonoscene show {'0' * 32}",
    ),
    "a lost video": (
        window_has(video_lost_at="2026-11-28T10:00:00+00:00"),
        "dispatch",
        "warn",
        "One job at a time",
    ),
    "nobody pinned": (unpin, "fal user", "warn", "FalUserId"),
    "a webhook that lets all in": (answers(202), "webhook", "fail", "log"),
    "a webhook that fails": (answers(500), "webhook", "fail", "log"),
    "no webhook": (answers(None), "webhook", "fail", "log"),
    "an older stack": (lose_output, "outputs", "fail", "make deploy"),
    "no events of the bucket": (announced(), "drop events", "fail", "EventBridgeConfiguration"),
    "other events of the bucket": (
        announced("QueueConfigurations"),
        "drop events",
        "fail",
        "properties",
    ),
    "drops without versions": (unversion(DROPS), "versioning", "fail", "put-bucket-versioning"),
    "videos without versions": (unversion(OUTPUT), "versioning", "fail", f"--bucket {OUTPUT}"),
    "a rule that is off": (disable_rule("drops"), "triggers", "fail", "-bus-name default"),
    "a rule of the bus": (disable_rule("events", BUS), "triggers", "fail", f"-bus-name {BUS}"),
    "a rule that is gone": (lose_rule, "triggers", "fail", "by hand"),
    "an event source": (disable_source, "triggers", "fail", "update-event-source-mapping"),
    "a function": (break_function, "functions", "fail", "make deploy"),
    "a probe without its layer": (
        probe(**crash("Runtime.ImportModuleError")),
        "probe",
        "fail",
        "log of ProbeFunction",
    ),
    "an editor without its layer": (
        probe("EditFunction", **crash("Runtime.ImportModuleError")),
        "edit",
        "fail",
        "log of EditFunction",
    ),
    "a probe out of time": (probe(**crash("Sandbox.Timedout")), "probe", "fail", "log"),
    "a small account": (crowd, "concurrency", "warn", "service-quotas"),
    "a dead letter of its own": (unnamed_letter, "dead letters", "fail", "operations.md"),
    "an alarm": (ring, "alarms", "fail", "operations.md"),
    "a mail that waits": (await_confirmation, "alarm mail", "warn", "aws sns subscribe"),
    "no mail": (unsubscribe, "alarm mail", "warn", "AlarmEmail"),
    "another region": (samconfig('region = "eu-west-1"'), "region", "warn", "--region eu-west-1"),
    "a parameter in the file": (
        samconfig('parameter_overrides = "MaxInFlight=2"'),
        "parameters",
        "warn",
        "make deploy",
    ),
    "a parameter in the answers": (
        deploy_answers(MaxInFlight="2"),
        "parameters",
        "warn",
        "phonoscene deploy",
    ),
    "a stack before 0.1.0": (deployed_version(None), "version", "warn", "make deploy"),
    "a later stack": (deployed_version("0.9.0"), "version", "warn", "Update the command line"),
    "an earlier stack": (deployed_version("0.0.9"), "version", "warn", "Update the stack"),
    "a stack of another major": (deployed_version("1.0.0"), "version", "fail", "upgrade.md"),
    "a stack that was rolled back": (written_by("0.2.0"), "records", "warn", "Roll back"),
    "a record that cannot be read": (unreadable, "records", "fail", "Roll back"),
    "a bucket of before": (leave_bucket, "left over", "warn", "Adopt what"),
    "a file that is none": (samconfig("["), "parameters", "fail", ""),
}


@pytest.mark.parametrize("case", FAULTS)
def test_each_fault_is_reported_in_its_line_with_the_next_step(
    desk: Desk, webhook: dict[str, Any], case: str
) -> None:
    act, line, level, step = FAULTS[case]
    act(desk, webhook)

    result = desk.says("doctor", "--json")

    found = lines(result)[line]
    assert found["level"] == level
    assert step in found["next"]
    assert result.code == (1 if level == "fail" else 0)
    assert "secret" not in result.out + result.err


def test_a_pause_hides_neither_the_slots_nor_the_videos_that_cannot_be_copied(desk: Desk) -> None:
    later = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    window_has(paused_until=later, in_flight={"b" * 26}, uncopied={"a" * 26})(desk, None)

    detail = lines(desk.says("doctor", "--json"))["dispatch"]["detail"]

    assert "nothing is sent until" in detail
    assert "1 of 40 slots are in use; 1 video cannot be copied yet" in detail


@pytest.mark.parametrize(
    ("status", "level"),
    [
        ("UPDATE_COMPLETE", "ok"),
        ("UPDATE_IN_PROGRESS", "warn"),
        ("UPDATE_ROLLBACK_COMPLETE", "warn"),
        ("UPDATE_ROLLBACK_FAILED", "fail"),
        ("ROLLBACK_COMPLETE", "fail"),
        ("REVIEW_IN_PROGRESS", "fail"),
        ("CREATE_FAILED", "fail"),
    ],
)
def test_the_stacks_own_state_is_reported(desk: Desk, status: str, level: str) -> None:
    stack = desk.stack()
    stack.description["StackStatus"] = status

    assert checks.examined("stack", checks.stack_is_deployed, stack).level == level


@pytest.mark.parametrize(
    ("status", "said", "step"),
    [
        (
            "REVIEW_IN_PROGRESS",
            "phonoscene is REVIEW_IN_PROGRESS",
            "Deploy it: `phonoscene deploy`",
        ),
        ("CREATE_IN_PROGRESS", "phonoscene is CREATE_IN_PROGRESS", "Wait"),
        ("CREATE_FAILED", "phonoscene is CREATE_FAILED", "describe-stack-events"),
        ("ROLLBACK_COMPLETE", "phonoscene is ROLLBACK_COMPLETE", "Delete it, then deploy again"),
        ("UPDATE_ROLLBACK_COMPLETE", "older than this command line, or not a stack", "--stack"),
        ("CREATE_COMPLETE", "older than this command line, or not a stack", "--stack"),
    ],
)
def test_what_a_stack_lacks_is_explained_by_its_state(
    desk: Desk, status: str, said: str, step: str
) -> None:
    stack = desk.stack()
    stack.description.update(StackStatus=status, Outputs=[], Parameters=[])

    for read in (lambda: stack.outputs["JobsTableName"], lambda: stack.parameters):
        with pytest.raises(StackUnreachable) as raised:
            read()
        assert said in raised.value.what
        assert step in raised.value.next_step
        assert str(raised.value) == f"{raised.value.what} {raised.value.next_step}"


def test_every_check_of_a_stack_that_is_not_phonoscenes_ends(desk: Desk) -> None:
    stack = desk.stack()
    stack.description.update(Outputs=[], Parameters=[])

    found = {one.check: one for one in checks.examine_all(stack)}

    assert list(found) == list(CHECKS)
    assert "not a stack of Phonoscene" in found["outputs"].detail
    assert "no parameter SubmitConcurrency" in found["concurrency"].detail
    assert "Unexpected" not in " ".join(one.detail for one in found.values())
    assert "--stack" in found["may drop"].next


def test_an_unexpected_error_is_one_checks_alone(desk: Desk) -> None:
    def fail(_: Stack) -> Any:
        raise KeyError("Rules")

    desk.patch.setitem(CHECKS, "triggers", fail)

    result = desk.says("doctor", "--json")

    assert list(lines(result)) == list(CHECKS)
    assert lines(result)["triggers"]["level"] == "fail"
    assert "Unexpected: KeyError: 'Rules'" in lines(result)["triggers"]["detail"]


@pytest.mark.parametrize(
    ("code", "step"),
    [
        ("InvalidClientTokenId", "aws sts get-caller-identity"),
        ("ExpiredToken", "aws sts get-caller-identity"),
        ("ExpiredTokenException", "aws sts get-caller-identity"),
        ("AccessDenied", "cloudformation:DescribeStacks"),
        ("Throttling", "again"),
        ("ValidationError", "--stack"),
    ],
)
def test_a_stack_that_may_not_be_read_has_a_next_step(code: str, step: str) -> None:
    stack = Stack("phonoscene", boto3.Session("a", "b", region_name=REGION))
    with Stubber(stack.client("cloudformation")) as stub:
        stub.add_client_error("describe_stacks", code, "no")
        stub.add_client_error("describe_stacks", code, "no")
        with pytest.raises(StackUnreachable) as raised:
            _ = stack.description
        found = checks.examined("stack", checks.stack_is_deployed, stack)

    sentence, ends_with = explained(raised.value)
    assert ends_with == 3
    assert step in sentence
    assert code in found.detail
    assert step in found.next


@pytest.mark.parametrize("name", ["may read drops", "may drop", "may fetch", "may see queues"])
def test_what_the_caller_may_not_is_reported_with_the_call(
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


def test_who_may_not_read_the_key_reads_no_report_that_it_is_wrong(
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

    result = desk.says("audit")

    assert result.code == 3
    assert f"no parameter {name}" in result.err
    assert "make deploy" in result.err


@pytest.mark.parametrize(("check", "name"), [("probe", "ProbeFunction"), ("edit", "EditFunction")])
def test_a_function_that_answers_an_empty_event_starts(desk: Desk, check: str, name: str) -> None:
    probe(name, Payload=BytesIO(b"{}"))(desk, None)

    assert lines(desk.says("doctor", "--json"))[check]["detail"] == f"{name} starts"


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"errorMessage": "no"}'])
def test_a_probe_that_fails_without_a_reason_fails(desk: Desk, payload: bytes) -> None:
    probe(FunctionError="Unhandled", Payload=BytesIO(payload))(desk, None)

    found = lines(desk.says("doctor", "--json"))["probe"]
    assert (found["level"], "Unhandled" in found["detail"]) == ("fail", True)


def test_who_may_not_invoke_the_probe_reads_no_report_that_it_is_broken(desk: Desk) -> None:
    def denied(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "Invoke")

    probe()(desk, None)
    desk.patch.setattr(client("lambda"), "invoke", denied)

    assert lines(desk.says("doctor", "--json"))["probe"]["level"] == "warn"


def test_an_alarm_of_a_stack_that_is_minutes_old_only_warns(desk: Desk) -> None:
    alarm("ALARM")
    stack = desk.stack()
    stack.description["CreationTime"] = datetime.now(UTC) - timedelta(minutes=3)

    assert checks.examined("alarms", CHECKS["alarms"], stack).level == "warn"


@pytest.mark.parametrize(
    "name", ["drop events", "triggers", "functions", "concurrency", "alarms", "alarm mail"]
)
def test_who_may_not_look_at_a_part_reads_no_report_that_it_is_broken(
    desk: Desk, name: str, environment: pytest.MonkeyPatch
) -> None:
    stack = desk.stack()

    class Denied:
        def __getattr__(self, operation: str) -> Any:
            def call(*_: Any, **__: Any) -> Any:
                raise ClientError({"Error": {"Code": "AuthorizationError"}}, operation)

            return call

    environment.setattr(type(stack), "client", lambda *_: Denied())

    found = checks.examined(name, CHECKS[name], stack)

    assert found.level == "warn"
    assert "permissions" in found.next


def test_a_file_that_agrees_with_the_stack_or_names_another_one_is_fine(desk: Desk) -> None:
    samconfig('parameter_overrides = "MaxInFlight=40"')()
    agrees = lines(desk.says("doctor", "--json"))
    Path("samconfig.toml").write_text(
        '[a.deploy.parameters]\nstack_name = "other"\nparameter_overrides = "MaxInFlight=1"\n'
    )
    names_another = lines(desk.says("doctor", "--json"))

    assert agrees["parameters"]["level"] == names_another["parameters"]["level"] == "ok"
    assert agrees["parameters"]["detail"] != names_another["parameters"]["detail"]

    deploy_answers(MaxInFlight="40")()
    kept = lines(desk.says("doctor", "--json"))["parameters"]
    assert kept["level"] == "ok"
    assert str(Path("config").absolute()) in kept["detail"]


def test_the_resources_of_a_stack_are_those_of_every_page() -> None:
    stack = Stack("many", boto3.Session(region_name=REGION))
    pages = [{}, {"NextToken": "more"}, {}]
    with Stubber(stack.client("cloudformation")) as stub:
        for number, (asked, answered) in enumerate(pairwise(pages)):
            queue = {"LogicalResourceId": f"Q{number}", "PhysicalResourceId": f"https://q{number}"}
            rest: Any = {"LastUpdatedTimestamp": NOW, "ResourceStatus": "CREATE_COMPLETE"}
            found = [queue | rest | {"ResourceType": "AWS::SQS::Queue"}]
            stub.add_response(
                "list_stack_resources",
                {"StackResourceSummaries": found, **answered},
                {"StackName": "many", **asked},
            )

        assert stack.resources("SQS::Queue") == {"Q0": "https://q0", "Q1": "https://q1"}
        assert stack.resources("SNS::Topic") == {}


def test_the_page_shows_what_the_doctor_prints(desk: Desk) -> None:
    """But for what this stack has not: a samconfig.toml, functions with FFmpeg."""
    shown = {shape(line) for line in desk.says("doctor").out.splitlines()}

    lines = [line for line in samples(PAGE)["phonoscene doctor"] if line.startswith("ok ")]
    assert {shape(line) for line in lines} - shown == {
        "ok parameters samconfig.toml has the stack's values",
        "ok probe ProbeFunction starts",
        "ok edit EditFunction starts",
    }


def test_a_write_that_is_tried_writes_nothing(desk: Desk, cloud: Cloud) -> None:
    checks.drops_may_be_written(desk.stack())

    listed = cloud.s3.list_object_versions(Bucket="drops").get("Versions", [])
    assert [one for one in listed if one["Key"] != checks.NOBODYS] == []


def test_messages_come_back_from_each_dead_letter_queue(
    desk: Desk, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr("phonoscene_cli.dead_letters.EMPTY_ANSWERS", 1)
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


@pytest.mark.parametrize(("most", "said"), [(2, "drops: about 1 message left"), (3, ""), (4, "")])
def test_messages_beyond_the_most_are_not_passed_over_in_silence(
    desk: Desk, most: int, said: str
) -> None:
    for _ in range(3):
        desk.cloud.sqs.send_message(QueueUrl=desk.urls["DropsDeadLetterQueueUrl"], MessageBody="{}")

    result = desk.says("redrive", "drops", "--most", f"{most}")

    assert result.out == f"drops: {min(most, 3)} moved\n"
    assert result.err.startswith(said)
    assert bool(result.err) == bool(said)


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (ClientError({"Error": {"Code": "ThrottlingException", "Message": "Slow"}}, "Send"), 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_redrive_that_ends_early_says_how_many_messages_it_moved(
    desk: Desk, environment: pytest.MonkeyPatch, ends: BaseException, code: int
) -> None:
    environment.setattr("phonoscene_cli.dead_letters.BATCH", 2)
    for n in range(5):
        desk.cloud.sqs.send_message(
            QueueUrl=desk.urls["DropsDeadLetterQueueUrl"], MessageBody=f"{n}"
        )
    send, sent = desk.cloud.sqs.send_message, []

    def until_the_fourth(**message: Any) -> Any:
        sent.append(message)
        if len(sent) == 4:
            raise ends
        return send(**message)

    environment.setattr(desk.cloud.sqs, "send_message", until_the_fourth)
    early = desk.says("redrive", "drops")

    assert early.code == code
    assert "drops: about 2 moved" in early.err


def test_no_message_moves_before_every_queue_that_is_named_is_known(desk: Desk) -> None:
    desk.cloud.sqs.send_message(QueueUrl=desk.urls["DropsDeadLetterQueueUrl"], MessageBody="{}")

    result = desk.says("redrive", "drops", "notifications")

    assert (result.code, result.out) == (1, "")
    assert "EventWebhookUrl" in result.err
    assert desk.messages("DropsQueueUrl") == []
    assert len(desk.messages("DropsDeadLetterQueueUrl")) == 1


def test_a_queue_that_is_named_twice_is_redriven_once(
    desk: Desk, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr("phonoscene_cli.dead_letters.EMPTY_ANSWERS", 1)
    desk.cloud.sqs.send_message(QueueUrl=desk.urls["DropsDeadLetterQueueUrl"], MessageBody="{}")

    result = desk.says("redrive", "drops", "drops", "--json")

    assert result.data == {"drops": {"waiting": 1, "moved": 1}}


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

    environment.setattr("phonoscene_cli.stack.jobs_reader.Reader.get", fail)

    result = desk.says("show", "0" * 32)

    assert result.code == code
    assert said in result.err
    assert "Traceback" not in result.err
