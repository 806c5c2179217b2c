"""What ``doctor`` checks of the AWS resources: whether they are as the template made them.

Queues, alarms, rules and functions are found in the stack, so that none is left out.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from phonoscene_cli.deployment import answers
from phonoscene_cli.deployment.target import Target
from phonoscene_cli.doctor import samconfig
from phonoscene_cli.doctor.findings import DENIED, Level, Looked, ok
from phonoscene_cli.stack.stack_status import DEPLOY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from phonoscene_cli.stack.connection import Stack

#: A young stack's alarms have seen nothing yet, and take that for a failure.
YOUNG: Final = timedelta(minutes=15)
#: CloudWatch takes so many names at once.
NAMES_AT_ONCE: Final = 100
COUNTS: Final = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
#: A table is made with four partitions, and publish runs once for each.
PUBLISH_SHARDS: Final = 4
NOTIFIES: Final = 2
CONCURRENCY_QUOTA: Final = (
    "aws service-quotas request-service-quota-increase --service-code lambda "
    "--quota-code L-B99A9384 --desired-value 1000"
)


def _deployments(stack: Stack) -> list[samconfig.Deployment]:
    """Those of the nearest samconfig.toml that are about a stack of this name."""
    file = None if stack.endpoints else samconfig.nearest()
    found = samconfig.read(file).values() if file else ()
    return [one for one in found if one.stack == stack.name]


def region_is_the_files(stack: Stack) -> Looked:
    """The region that is looked at is the one that is deployed to."""
    here = stack.session.region_name
    named = sorted({one.region for one in _deployments(stack) if one.region})
    if named and here not in named:
        why = f"this is {here}, but samconfig.toml deploys {stack.name} to {', '.join(named)}"
        return Level.WARN, why, f"`phonoscene --region {named[0]} doctor`"
    return ok(f"{here}, on this machine" if stack.endpoints else here)


def _files(stack: Stack) -> Iterator[tuple[str, Mapping[str, str], str]]:
    """Where this stack's parameters are written: the file, these, and how they are applied."""
    here = [one for one in _deployments(stack) if one.region in {None, stack.session.region_name}]
    for first in here[:1]:
        yield samconfig.FILE, first.parameters, "make deploy"
    if not stack.endpoints:
        file = Target(stack, stack.description["StackId"].split(":")[4]).file
        if parameters := answers.read(file).parameters:
            yield str(file), parameters, "phonoscene deploy"


def parameters_are_the_files(stack: Stack) -> Looked:
    """The next deployment changes no parameter."""
    deployed = stack.parameter_values
    files = list(_files(stack))
    for file, parameters, command in files:
        if found := samconfig.changes(parameters, deployed):
            each = (f"{name} is {now!r}, not {new!r}" for name, (now, new) in found.items())
            step = f"Correct {file}, or apply it: `{command}`."
            return Level.WARN, f"{file} differs: {', '.join(each)}", step
    if not files:
        return ok(
            "no samconfig.toml here names this stack, and `deploy` has kept no answers for it"
        )
    verb = "has" if len(files) == 1 else "have"
    return ok(f"{' and '.join(file for file, *_ in files)} {verb} the stack's values")


def drops_are_announced(stack: Stack) -> Looked:
    """S3 sends the drop bucket's events to EventBridge; without them a drop starts nothing."""
    bucket = stack.outputs["DropBucketName"]
    found = stack.client("s3").get_bucket_notification_configuration(Bucket=bucket)
    if "EventBridgeConfiguration" in found:
        return ok("S3 sends the drop bucket's events to EventBridge")
    step = (
        f"`aws s3api put-bucket-notification-configuration --bucket {bucket} "
        "--notification-configuration '{\"EventBridgeConfiguration\": {}}'`, "
        'then `phonoscene backfill ""` for drops that were missed.'
    )
    if set(found) - {"ResponseMetadata"}:
        step = (
            f"Enable EventBridge in the properties of {bucket}; keep the existing settings. {step}"
        )
    return Level.FAIL, f"S3 sends no events of {bucket} to EventBridge: drops start nothing", step


def files_have_versions(stack: Stack) -> Looked:
    """Both buckets are versioned: a job is bound to the versions it was made from."""
    s3 = stack.client("s3")
    buckets = (stack.outputs["DropBucketName"], stack.outputs["OutputBucketName"])
    off = [
        one for one in buckets if s3.get_bucket_versioning(Bucket=one).get("Status") != "Enabled"
    ]
    if off:
        commands = (
            f"`aws s3api put-bucket-versioning --bucket {one} "
            "--versioning-configuration Status=Enabled`"
            for one in off
        )
        return Level.FAIL, f"versioning is off: {', '.join(off)}", " and ".join(commands)
    return ok("both buckets keep versions")


def triggers_are_on(stack: Stack) -> Looked:
    """Every rule and every event source of the stack is enabled."""
    rules, sources = stack.resources("Events::Rule"), stack.resources("Lambda::EventSourceMapping")
    off = {name: _switch_rule(stack, rule) for name, rule in rules.items()}
    off |= {name: _switch_source(stack, source) for name, source in sources.items()}
    commands = {name: command for name, command in off.items() if command}
    if commands:
        step = " and ".join(commands.values())
        return Level.FAIL, f"disabled or deleted: {', '.join(commands)}", step
    return ok(f"{len(rules)} rules and {len(sources)} event sources are on")


def _switch_rule(stack: Stack, rule: str) -> str:
    """What switches a rule on, where it is off."""
    *bus, name = rule.split("|")  # CloudFormation names a rule of another bus so, emulators do not
    buses = bus or ["default", stack.outputs["EventBusName"]]
    events = stack.client("events")
    found = {
        one["State"]: f"`aws events enable-rule --name {name} --event-bus-name {one_bus}`"
        for one_bus in buses
        for one in events.list_rules(NamePrefix=name, EventBusName=one_bus)["Rules"]
        if one["Name"] == name
    }
    if not found:
        return f"{name} is deleted. Restore it by hand, or recreate the stack"
    return found.get("DISABLED", "")


def _switch_source(stack: Stack, source: str) -> str:
    """What switches an event source on, where it is off."""
    state = stack.client("lambda").get_event_source_mapping(UUID=source)["State"]
    if state not in {"Disabled", "Disabling"}:
        return ""
    return f"`aws lambda update-event-source-mapping --uuid {source} --enabled`"


def functions_are_ready(stack: Stack) -> Looked:
    """Lambda could load every function of the stack."""
    functions, client = stack.resources("Lambda::Function"), stack.client("lambda")
    bad = []
    for name, function in functions.items():
        found = client.get_function_configuration(FunctionName=function)
        if "Failed" in {found.get("State"), found.get("LastUpdateStatus")}:
            why = found.get("StateReason") or found.get("LastUpdateStatusReason") or "no reason"
            bad.append(f"{name}: {why}")
    if bad:
        return (
            Level.FAIL,
            f"failed: {'; '.join(bad)}",
            f"Deploy again: {DEPLOY}.",
        )
    return ok(f"{len(functions)} functions are ready")


def probe_starts(stack: Stack) -> Looked:
    """The function that measures audio starts."""
    return _starts(stack, "ProbeFunction")


def edit_starts(stack: Stack) -> Looked:
    """The function that cuts audio and joins videos starts."""
    return _starts(stack, "EditFunction")


def _starts(stack: Stack, name: str) -> Looked:
    """A function that uses FFmpeg gets an empty event, which it answers without an error.

    An error would count as one of the function's, and ring its alarm.
    """
    function = stack.resources("Lambda::Function").get(name)
    if function is None:
        return ok("this stack has none")
    try:
        answer = stack.client("lambda").invoke(FunctionName=function, Payload=b"{}")
    except ClientError as exc:
        if exc.response["Error"]["Code"] in DENIED:
            return Level.WARN, f"you may not invoke {name}", "Ask an administrator."
        raise
    if "FunctionError" in answer:
        step = f"See the log of {name}, then deploy again: `phonoscene deploy`."
        return Level.FAIL, f"{name} fails: {_kind_of_error(answer)}", step
    return ok(f"{name} starts")


def _kind_of_error(answer: Any) -> str:
    """Lambda's or Python's name of what went wrong."""
    try:
        return str(json.loads(answer["Payload"].read())["errorType"])
    except (ValueError, KeyError, TypeError):
        return str(answer["FunctionError"])


def account_has_room(stack: Stack) -> Looked:
    """The account lets as many functions run at once as the stack may need."""
    needed = most_at_once(stack.parameter_values, set(stack.resources("Lambda::Function")))
    limits = stack.client("lambda").get_account_settings()["AccountLimit"]
    most = limits["ConcurrentExecutions"]
    if most < needed:
        why = (
            f"this account allows {most} concurrent executions; this stack alone may need {needed}"
        )
        return Level.WARN, why, f"Ask AWS for more: `{CONCURRENCY_QUOTA}`"
    return ok(f"{most} concurrent executions are allowed; this stack may need {needed}")


def most_at_once(parameters: dict[str, str], functions: set[str]) -> int:
    """How many functions of a stack may run at once, one webhook among them; see docs/scale.md."""
    submits = int(parameters["SubmitConcurrency"])
    probes = submits if "ProbeFunction" in functions else 0
    notifies = NOTIFIES if "NotifyFunction" in functions else 0
    stores, reconcile, webhook = int(parameters["StoreConcurrency"]), 1, 1
    return submits + probes + stores + PUBLISH_SHARDS + reconcile + webhook + notifies


def dead_letters_are_none(stack: Stack) -> Looked:
    """No message was given up. A queue that hands over to no other is a dead-letter queue."""
    sqs, counts = stack.client("sqs"), {}
    for name, url in stack.resources("SQS::Queue").items():
        wanted: Any = ["RedrivePolicy", *COUNTS]
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted).get("Attributes", {})
        if "RedrivePolicy" not in found:
            counts[name] = sum(int(found.get(count, 0)) for count in COUNTS)
    messages = ", ".join(f"{count} in {name}" for name, count in counts.items() if count)
    if not messages:
        return ok(f"all {len(counts)} are empty")
    step = "See the function's log, correct the cause, then `phonoscene redrive`."
    if counts.get("UnpublishedQueue"):
        step += (
            " Messages of UnpublishedQueue stay until they are deleted: see docs/operations.md, "
            "“an outdated receipt”."
        )
    return Level.FAIL, f"messages: {messages}", step


def alarms_are_quiet(stack: Stack) -> Looked:
    """No alarm of the stack is in ALARM."""
    alarms, client = stack.resources("CloudWatch::Alarm"), stack.client("cloudwatch")
    names = list(alarms.values())
    ringing = {
        alarm["AlarmName"]
        for first in range(0, len(names), NAMES_AT_ONCE)
        for alarm in client.describe_alarms(AlarmNames=names[first : first + NAMES_AT_ONCE])[
            "MetricAlarms"
        ]
        if alarm["StateValue"] == "ALARM"
    }
    found = ", ".join(name for name, alarm in alarms.items() if alarm in ringing)
    if not found:
        return ok(f"none of {len(alarms)} is in ALARM")
    made = stack.description.get("CreationTime")
    if made and datetime.now(UTC) - made < YOUNG:
        step = "The stack is new and has no metrics yet. Run `phonoscene doctor` again later."
        return Level.WARN, f"in ALARM: {found}", step
    return Level.FAIL, f"in ALARM: {found}", "docs/operations.md, “By alarm”, says what to do."


def alarm_mail_is_confirmed(stack: Stack) -> Looked:
    """Somebody hears of alarms: SNS sends nothing to an address that has not said yes."""
    if stack.endpoints:
        return ok("the local cloud sends none")
    topic = stack.outputs["AlarmTopicArn"]
    pages = stack.client("sns").get_paginator("list_subscriptions_by_topic")
    found = [one for page in pages.paginate(TopicArn=topic) for one in page["Subscriptions"]]
    pending = [one for one in found if one["SubscriptionArn"] == "PendingConfirmation"]
    if pending:
        who = ", ".join(one["Endpoint"] for one in pending)
        step = (
            "Follow the link in AWS's email. It is valid for two days; to get another afterwards: "
            f"`aws sns subscribe --topic-arn {topic} --protocol email --notification-endpoint "
            f"{pending[0]['Endpoint']}`"
        )
        return Level.WARN, f"alarms do not reach {who}, who has not confirmed", step
    if not found:
        step = "Deploy with AlarmEmail: `phonoscene deploy`, or samconfig.toml and `make deploy`."
        return Level.WARN, "alarms notify no one", step
    return ok(f"alarms go to {len(found)} confirmed")
