"""The template and the code agree, and every queue, log and permission is bounded."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene import settings
from phonoscene.editing import joiner, opening
from phonoscene.errors import SettingMissing
from phonoscene.jobs import JobStatus
from phonoscene.probe import audio
from phonoscene.settings import Settings
from phonoscene_cli.doctor.resources import most_at_once
from tests.support import template
from tests.support.functions import load_function
from tests.support.template import ROOT, mentioned, of_type

if TYPE_CHECKING:
    from pathlib import Path

TEXT = template.FILE.read_text(encoding="utf-8")
TEMPLATE = template.read()
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
NOTHING = {"Ref": "AWS::NoValue"}
STACK_NAME = {"Ref": "AWS::StackName"}


FUNCTIONS = of_type("AWS::Serverless::Function")
QUEUES = of_type("AWS::SQS::Queue")
BUCKETS = of_type("AWS::S3::Bucket")
BY_FOLDER = {properties["CodeUri"]: name for name, properties in FUNCTIONS.items()}
SETTINGS = {
    name.removesuffix("Settings"): found
    for name, found in vars(settings).items()
    if isinstance(found, type) and issubclass(found, Settings) and found is not Settings
}


def variables_of(function: str) -> dict[str, Any]:
    found: dict[str, Any] = FUNCTIONS[function].get("Environment", {}).get("Variables", {})
    return found


# How the file is written


def test_a_merge_adds_keys_and_never_replaces_one() -> None:
    """Checkov refuses a file in which a merge replaces a key, and readers overlook it."""
    replaced = [
        f"line {node.start_mark.line + 1}: {sorted(both)}"
        for node in template.mappings(TEXT)
        if (both := template.replaced_by_a_merge(node))
    ]

    assert not replaced


@pytest.mark.parametrize(
    ("second", "replaced"),
    [
        ("{ <<: *first, c: 3 }", set()),
        ("{ <<: *first, a: 3 }", {"a"}),
        ("{ <<: [*first, { b: 3 }] }", {"b"}),
        ("{ <<: { <<: *first }, a: 3 }", {"a"}),
    ],
)
def test_a_key_that_a_merge_replaces_is_found(second: str, replaced: set[str]) -> None:
    mappings = template.mappings(f"- &first {{ a: 1, b: 2 }}\n- {second}\n")

    assert set().union(*map(template.replaced_by_a_merge, mappings)) == replaced


def test_every_parameter_is_shown_in_one_group() -> None:
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]

    shown = [name for group in groups for name in group["Parameters"]]

    assert sorted(shown) == sorted(TEMPLATE["Parameters"])


def test_a_description_is_no_difference_between_two_expanded_templates() -> None:
    reworded = TEXT.replace("AlarmDescription: ", "AlarmDescription: (new) ", 1)
    raised = TEXT.replace("Threshold: 9000,\n", "Threshold: 9001,\n")

    assert template.differences(TEXT, reworded) == []
    assert [line for line in template.differences(TEXT, raised) if re.match(r"[-+] ", line)] == [
        '-    "Threshold": 9000,',
        '+    "Threshold": 9001,',
    ]


def test_every_check_that_checkov_skips_has_its_reason() -> None:
    lines = (ROOT / ".checkov.yaml").read_text(encoding="utf-8").splitlines()
    before = dict(zip(lines[1:], lines, strict=False))

    skipped = [line for line in lines if line.startswith("  - ")]

    assert skipped
    assert all(before[line].startswith("  # ") for line in skipped)


# Functions and their settings


def test_each_folder_of_functions_is_a_function_and_the_reverse() -> None:
    folders = {f"functions/{app.parent.name}" for app in ROOT.glob("functions/*/app.py")}

    assert set(BY_FOLDER) == folders


def test_a_folder_of_functions_holds_nothing_but_its_app() -> None:
    found = {
        file.name
        for folder in ROOT.glob("functions/*")
        for file in folder.iterdir()
        if file.name != "__pycache__"
    }

    assert found == {"app.py"}


@pytest.mark.parametrize(("folder", "name"), BY_FOLDER.items())
def test_a_function_is_named_after_its_folder(folder: str, name: str) -> None:
    assert name == folder.removeprefix("functions/").title().replace("_", "") + "Function"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_functions_environment_is_exactly_its_settings(name: str) -> None:
    wanted = {field.name.upper() for field in fields(SETTINGS[name.removesuffix("Function")])}

    assert set(variables_of(name)) == wanted


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_belong_to_a_function(name: str) -> None:
    assert f"{name}Function" in FUNCTIONS


@pytest.mark.parametrize("found", SETTINGS.values(), ids=SETTINGS.keys())
def test_settings_read_what_the_environment_holds(found: type[Settings]) -> None:
    names = [field.name for field in fields(found)]

    read = found.from_env({name.upper(): "7" for name in names} | {"PATH": "/bin"})

    assert {str(getattr(read, name)) for name in names} == {"7"}


@pytest.mark.parametrize(
    ("found", "missing"),
    [(found, field.name) for found in SETTINGS.values() for field in fields(found)],
)
def test_a_missing_variable_is_named(found: type[Settings], missing: str) -> None:
    environ = {field.name.upper(): "7" for field in fields(found) if field.name != missing}

    with pytest.raises(SettingMissing, match=missing.upper()):
        found.from_env(environ)


def test_no_variable_of_a_function_shadows_a_global_one() -> None:
    shared = set(TEMPLATE["Globals"]["Function"]["Environment"]["Variables"])

    assert {name for name in shared if not name.startswith("POWERTOOLS_")} == {"HOME"}
    assert all(not shared & set(variables_of(name)) for name in FUNCTIONS)


def test_metrics_are_named_in_the_template_as_in_the_code() -> None:
    shared = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]

    assert shared["POWERTOOLS_SERVICE_NAME"] == STACK_NAME
    assert shared["POWERTOOLS_METRICS_NAMESPACE"] == "Phonoscene"


def test_an_alarm_looks_at_this_stacks_metrics_alone() -> None:
    ours = [
        alarm["Dimensions"]
        for alarm in of_type("AWS::CloudWatch::Alarm").values()
        if alarm["Namespace"] == "Phonoscene"
    ]

    assert ours
    assert all(found == [{"Name": "service", "Value": STACK_NAME}] for found in ours)


def test_the_dashboard_shows_this_stacks_metrics_alone() -> None:
    [dashboard] = of_type("AWS::CloudWatch::Dashboard").values()

    shown = re.findall(
        r'\["Phonoscene", "\w+", "(\w+)", "([^"]*)"', dashboard["DashboardBody"]["Fn::Sub"]
    )

    assert shown
    assert set(shown) == {("service", "${AWS::StackName}")}


#: Properties that name something in the account or the region, and are not made up by AWS.
OUR_NAMES = (
    "DashboardName",
    "LogGroupName",
    "LayerName",
    "Name",
    "QueueName",
    "BucketName",
    "TableName",
    "RoleName",
    "FunctionName",
    "TopicName",
    "AlarmName",
)
#: What is named once an account, and not once a region.
OF_THE_ACCOUNT = {"AWS::CloudWatch::Dashboard", "AWS::IAM::Role", "AWS::IAM::ManagedPolicy"}


@pytest.mark.parametrize(
    ("resource", "given"),
    [
        (name, one["Properties"][key])
        for name, one in RESOURCES.items()
        for key in OUR_NAMES
        if key in one["Properties"] and one["Type"] != "AWS::Lambda::Permission"
    ],
)
def test_a_name_that_the_template_gives_leaves_room_for_another_stack_and_another_region(
    resource: str, given: Any
) -> None:
    assert "AWS::StackName" in mentioned(given) | set(re.findall(r"AWS::\w+", str(given)))
    if RESOURCES[resource]["Type"] in OF_THE_ACCOUNT:
        assert "AWS::Region" in str(given)


# Words


@pytest.mark.parametrize("section", ["Parameters", "Outputs"])
def test_every_parameter_and_output_is_described(section: str) -> None:
    undescribed = [
        name for name, entry in TEMPLATE[section].items() if not entry.get("Description")
    ]

    assert not undescribed


def test_every_parameter_is_used() -> None:
    used = mentioned(RESOURCES) | mentioned(TEMPLATE.get("Conditions", {}))

    assert set(TEMPLATE["Parameters"]) <= used


def test_every_function_says_what_it_does() -> None:
    assert all(properties.get("Description") for properties in FUNCTIONS.values())


STATUS_LIKE = re.compile(r"`([A-Z]{5,11})`")
OTHER_CAPITALS = {
    *{"COMPLETED", "IN_QUEUE", "QUEUE", "CANCELLATION", "ERROR", "TRANSITIONS"},
    *{"LICENSE", "NOTICE", "REVIEW_IN_PROGRESS"},
}


@pytest.mark.parametrize(
    "page",
    sorted(ROOT.glob("docs/*.md")) + sorted(ROOT.glob("README.md")),
    ids=lambda page: page.name,
)
def test_every_status_that_a_page_names_exists(page: Path) -> None:
    named = set(STATUS_LIKE.findall(page.read_text(encoding="utf-8")))

    assert named - OTHER_CAPITALS <= set(JobStatus)


# Queues


def dead_letter_queues() -> set[str]:
    targets = [
        queue["RedrivePolicy"]["deadLetterTargetArn"]
        for queue in QUEUES.values()
        if "RedrivePolicy" in queue
    ]
    configs = [
        target["DeadLetterConfig"]
        for rule in of_type("AWS::Events::Rule").values()
        for target in rule["Targets"]
        if target["Id"] != "mail"  # it repeats a receipt, which is not lost with it
    ]
    destinations = [source["DestinationConfig"]["OnFailure"] for _, source in stream_readers()]
    return mentioned(targets) | mentioned(configs) | mentioned(destinations)


def stream_readers() -> list[tuple[str, dict[str, Any]]]:
    """Function and event source of each that reads a table's stream."""
    return [
        (name, event["Properties"])
        for name, properties in FUNCTIONS.items()
        for event in properties.get("Events", {}).values()
        if event["Type"] == "DynamoDB"
    ]


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_has_a_dead_letter_queue_or_is_one(name: str) -> None:
    assert ("RedrivePolicy" in QUEUES[name]) != (name in dead_letter_queues())


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_keeps_its_messages_for_14_days_and_encrypts_them(name: str) -> None:
    assert QUEUES[name]["MessageRetentionPeriod"] == 14 * 24 * 3600
    without, ours = {"Fn::If": ["HasKey", NOTHING, True]}, {"Ref": "EncryptionKeyArn"}
    assert QUEUES[name]["SqsManagedSseEnabled"] == without
    assert QUEUES[name]["KmsMasterKeyId"] == {"Fn::If": ["HasKey", ours, NOTHING]}


def consumers() -> list[tuple[str, str, dict[str, Any]]]:
    """Function, queue and event source of each."""
    return [
        (name, next(iter(mentioned(event["Properties"]["Queue"]))), event["Properties"])
        for name, properties in FUNCTIONS.items()
        for event in properties.get("Events", {}).values()
        if event["Type"] == "SQS"
    ]


@pytest.mark.parametrize(("function", "queue", "source"), consumers())
def test_a_queue_hides_a_message_for_longer_than_its_function_works(
    function: str, queue: str, source: dict[str, Any]
) -> None:
    assert QUEUES[queue]["VisibilityTimeout"] >= FUNCTIONS[function]["Timeout"]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["ScalingConfig"]["MaximumConcurrency"]


def test_a_function_that_is_waited_for_ends_in_words_before_the_wait_does() -> None:
    submit = load_function("submit", "phonoscene_waiting_submit_app")
    probes, edits = submit.PROBING.read_timeout, submit.EDITING.read_timeout

    assert audio.MAX_BUSY_SECONDS < FUNCTIONS["ProbeFunction"]["Timeout"] < probes
    examined = submit.MAX_EXAMINING_SECONDS + FUNCTIONS["ProbeFunction"]["Timeout"]
    assert examined < FUNCTIONS["SubmitFunction"]["Timeout"]
    needed = submit.MIN_TIME_TO_JOIN_MS / 1000
    assert opening.MAX_BUSY_SECONDS < edits < needed < FUNCTIONS["SubmitFunction"]["Timeout"]
    # a join is not waited for to its end: what it makes is found at its key
    assert joiner.MAX_BUSY_SECONDS < FUNCTIONS["EditFunction"]["Timeout"] <= 900


def test_every_queue_with_a_dead_letter_queue_has_a_consumer() -> None:
    read = {queue for _, queue, _ in consumers()}

    assert read == {name for name, queue in QUEUES.items() if "RedrivePolicy" in queue}


@pytest.mark.parametrize(("function", "source"), stream_readers())
def test_what_a_stream_tells_is_bounded_in_tries_and_time_and_never_just_dropped(
    function: str, source: dict[str, Any]
) -> None:
    assert mentioned(source["Stream"]) == {"JobsTable"}
    assert source["StartingPosition"] == "TRIM_HORIZON"
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["BisectBatchOnFunctionError"] is True
    assert 0 < source["MaximumRetryAttempts"] <= 10_000
    assert FUNCTIONS[function]["Timeout"] < source["MaximumRecordAgeInSeconds"] <= 43_200
    assert mentioned(source["DestinationConfig"]["OnFailure"]) <= set(QUEUES)


def test_the_stream_wakes_its_reader_for_jobs_and_not_for_sums_or_deletions() -> None:
    [(_, source)] = stream_readers()
    [one] = source["FilterCriteria"]["Filters"]

    pattern = json.loads(one["Pattern"])

    assert pattern["eventName"] == ["INSERT", "MODIFY"]
    [(image, wanted)] = pattern["dynamodb"].items()
    assert (image, wanted) == ("NewImage", {"status": {"S": [{"exists": True}]}})


@pytest.mark.parametrize("name", sorted(dead_letter_queues()))
def test_the_operator_is_notified_of_a_message_in_a_dead_letter_queue(name: str) -> None:
    alarms = of_type("AWS::CloudWatch::Alarm").values()

    assert any(name in mentioned(alarm.get("Dimensions")) for alarm in alarms)
    assert name in mentioned(TEMPLATE["Outputs"])


# Logs, buckets, permissions


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_logs_to_a_group_of_its_own_that_forgets(name: str) -> None:
    [group] = mentioned(FUNCTIONS[name]["LoggingConfig"]["LogGroup"])

    assert group == name.replace("Function", "LogGroup")
    assert RESOURCES[group]["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_every_log_group_forgets() -> None:
    groups = of_type("AWS::Logs::LogGroup")

    assert all("RetentionInDays" in group for group in groups.values())


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_is_private_encrypted_versioned_and_cleans_up(name: str) -> None:
    bucket = BUCKETS[name]

    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["BucketEncryption"]
    assert bucket["VersioningConfiguration"]["Status"] == "Enabled"
    assert "AbortIncompleteMultipartUpload" in str(bucket["LifecycleConfiguration"])


@pytest.mark.parametrize("name", [*BUCKETS, *of_type("AWS::DynamoDB::Table")])
def test_what_holds_somebodys_work_outlives_the_stack(name: str) -> None:
    assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"
    assert RESOURCES[name]["DeletionPolicy"] in {"Retain", "RetainExceptOnCreate"}


def test_every_bucket_and_every_queue_that_work_flows_through_refuses_plain_http() -> None:
    policies = of_type("AWS::S3::BucketPolicy") | of_type("AWS::SQS::QueuePolicy")

    closed = {
        name
        for policy in policies.values()
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Sid"] == "TlsOnly" and statement["Effect"] == "Deny"
        for name in mentioned(statement["Resource"])
    }

    assert closed == set(BUCKETS) | set(QUEUES)


def test_the_webhook_answers_before_fal_gives_up() -> None:
    [integration] = of_type("AWS::ApiGatewayV2::Integration").values()

    assert FUNCTIONS["WebhookFunction"]["Timeout"] * 1000 < integration["TimeoutInMillis"] < 15_000


def test_the_path_of_the_route_is_the_one_that_fal_is_given() -> None:
    [route] = of_type("AWS::ApiGatewayV2::Route").values()

    assert route["RouteKey"] == "POST /webhooks/fal/{job_id}/{token}"


def test_no_access_log_holds_a_path() -> None:
    [stage] = of_type("AWS::ApiGatewayV2::Stage").values()

    assert "$context.path" not in stage["AccessLogSettings"]["Format"]
    assert "$context.routeKey" in stage["AccessLogSettings"]["Format"]


def test_the_table_has_the_indexes_that_the_records_fill() -> None:
    [table] = of_type("AWS::DynamoDB::Table").values()

    indexed = {
        index["IndexName"]: tuple(key["AttributeName"] for key in index["KeySchema"])
        for index in table["GlobalSecondaryIndexes"]
    }

    assert indexed == {
        "due": ("due_shard", "due_at"),
        "backlog": ("backlog_shard", "dispatch_at"),
        "by_name": ("name", "created_at"),
        "by_day": ("day_shard", "created_at"),
    }


# Doors and keys


def test_the_open_route_is_throttled_and_refusals_raise_an_alarm() -> None:
    [stage] = of_type("AWS::ApiGatewayV2::Stage").values()
    alarms = of_type("AWS::CloudWatch::Alarm").values()

    throttle = stage["DefaultRouteSettings"]
    assert throttle["ThrottlingRateLimit"] == {"Ref": "WebhookRatePerSecond"}
    assert throttle["ThrottlingBurstLimit"] <= 100
    assert "WebhooksRefused" in {alarm.get("MetricName") for alarm in alarms}


def test_the_page_adds_up_what_runs_at_once_as_the_doctor_does() -> None:
    defaults = {name: str(one.get("Default")) for name, one in TEMPLATE["Parameters"].items()}
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    section = text.partition("## Functions at once")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| \**(\w+)\** \| \**(\d+)\b", section, re.MULTILINE))

    submit, store = rows["submit"], rows["store"]
    assert (submit, store) == (defaults["SubmitConcurrency"], defaults["StoreConcurrency"])
    always = {name: int(most) for name, most in rows.items() if name not in {"together", "notify"}}
    assert int(rows["together"]) == sum(always.values())
    assert int(rows["together"]) == most_at_once(defaults, {"ProbeFunction"})
    with_notify = most_at_once(defaults, {"ProbeFunction", "NotifyFunction"})
    assert int(rows["notify"]) == with_notify - int(rows["together"])
    assert defaults["WebhookReservedConcurrency"] == "0"  # a new account has none to reserve


def test_the_pages_add_up_what_an_idle_stack_costs() -> None:
    scale, reference, readme = (
        (ROOT / page).read_text(encoding="utf-8")
        for page in ("docs/scale.md", "docs/reference.md", "README.md")
    )
    table = scale.partition("An idle stack costs")[2].partition("\n\nA month")[0]
    rows = re.findall(r"^\| (.+) \| ([\d.]+) \| ([\d.]+) \|$", table, re.MULTILINE)
    listed = round(sum(float(usd) for _, usd, _ in rows))
    free = round(sum(float(usd) for _, _, usd in rows))
    resources = TEMPLATE["Resources"].values()
    alarms = [one for one in resources if one["Type"] == "AWS::CloudWatch::Alarm"]
    webhooks = sum("Condition" in one for one in alarms)
    always = len(alarms) - webhooks

    assert f"| {always} alarms, 0.10 each; an account's first ten are free " in scale
    assert {(usd, tier) for name, usd, tier in rows if " alarms" in name} == {
        (f"{always / 10:.2f}", f"{always / 10 - 1:.2f}")
    }
    assert f"| **together** | **about {listed}** | **about {free}** |" in table
    assert f"within the account's free tier | about {free} |" in reference
    assert f"a month, without it | about {listed} |" in reference
    assert f"About {free} USD a month while idle**, or {listed} USD" in readme
    assert webhooks == 3


#: Actions on the key that a person needs to set it (DynamoDB's and Lambda's developer guides).
DEPLOYER = {
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:ReEncrypt*",
    "kms:GenerateDataKey*",
    "kms:DescribeKey",
    "kms:CreateGrant",
}


def test_the_key_policy_of_the_page_is_enough_for_the_deployer_and_for_every_service() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```json\n(.*?)```", text, re.DOTALL)

    by_principal = {next(iter(one["Principal"].values())): one for one in json.loads(block)}

    assert set(by_principal["arn:aws:iam::ACCOUNT:root"]["Action"]) == DEPLOYER
    assert set(by_principal) - {"arn:aws:iam::ACCOUNT:root"} == {
        "events.amazonaws.com",
        "cloudwatch.amazonaws.com",
        "logs.REGION.amazonaws.com",
    }
    # to send to an encrypted queue or topic takes both
    for service in ("events.amazonaws.com", "cloudwatch.amazonaws.com"):
        assert {"kms:Decrypt", "kms:GenerateDataKey"} <= set(by_principal[service]["Action"])
    assert "Condition" not in by_principal["events.amazonaws.com"]


def test_drops_are_announced_from_the_drop_bucket_alone() -> None:
    [rule] = [one for one in of_type("AWS::Events::Rule").values() if "Object Created" in str(one)]
    announced = {name for name, one in BUCKETS.items() if "NotificationConfiguration" in one}

    assert mentioned(rule["EventPattern"]) == announced == {"DropBucket"}


HOLDS_DATA = {
    "AWS::S3::Bucket",
    "AWS::SQS::Queue",
    "AWS::DynamoDB::Table",
    "AWS::Logs::LogGroup",
    "AWS::SNS::Topic",
}


@pytest.mark.parametrize(
    "name", [name for name, one in RESOURCES.items() if one["Type"] in HOLDS_DATA]
)
def test_an_own_key_encrypts_everything_that_holds_data(name: str) -> None:
    assert "EncryptionKeyArn" in mentioned(RESOURCES[name]["Properties"])


def test_an_own_key_encrypts_the_variables_of_the_functions() -> None:
    assert "EncryptionKeyArn" in mentioned(TEMPLATE["Globals"]["Function"]["KmsKeyArn"])


@pytest.mark.parametrize(
    ("value", "is_taken"),
    [
        ("", True),
        ("arn:aws:kms:eu-central-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab", True),
        ("arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/1234abcd-12ab-34cd-56ef", True),
        ("arn:aws:kms:eu-central-1:123456789012:alias/mine", False),  # grants the roles nothing
        ("1234abcd-12ab-34cd-56ef-1234567890ab", False),
        ("alias/mine", False),
    ],
)
def test_an_own_key_is_named_by_its_arn_and_not_by_an_alias(value: str, is_taken: bool) -> None:
    pattern = TEMPLATE["Parameters"]["EncryptionKeyArn"]["AllowedPattern"]

    assert bool(re.fullmatch(pattern, value)) == is_taken


def test_an_url_leaves_room_among_the_variables_of_its_function() -> None:
    assert TEMPLATE["Parameters"]["EventWebhookUrl"]["MaxLength"] <= 2048  # they have 4 KB in all


def test_a_rule_that_is_added_while_jobs_run_may_send_from_its_first_event_on() -> None:
    late = [
        one
        for one in RESOURCES.values()
        if one["Type"] == "AWS::Events::Rule" and "Condition" in one
    ]

    assert len(late) == 2
    for rule in late:
        targets = mentioned(rule["Properties"]["Targets"])
        assert set(rule["DependsOn"]) == {f"{target}Policy" for target in targets}


@pytest.mark.parametrize("name", TEMPLATE["Outputs"])
def test_an_output_is_there_for_a_program_or_a_page(name: str) -> None:
    files = [
        *ROOT.glob("cli/**/*.py"),
        *ROOT.glob("local/**/*.py"),
        *ROOT.glob("docs/*.md"),
        ROOT / "README.md",
    ]

    assert any(name in file.read_text(encoding="utf-8") for file in files)
