"""What each function may do: its own role, single actions, on what the stack made."""

from __future__ import annotations

import re
from typing import Any

import pytest

from phonoscene.drops.keys import POINTER_SUFFIX, RECEIPT_SUFFIX
from phonoscene.videos.video_formats import GIF, MOV, MP4, WEBM
from tests.support.template import FILE, expand, mentioned, of_type, read

RESOURCES: dict[str, dict[str, Any]] = read()["Resources"]
FUNCTIONS = of_type("AWS::Serverless::Function")
READ_A_QUEUE = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
WRITE_A_LOG = {"logs:CreateLogStream", "logs:PutLogEvents"}
#: What each function may do, and nothing else.
PERMISSIONS = {
    "SubmitFunction": {
        "s3:ListBucket",
        "s3:ListBucketVersions",
        "s3:GetObject",
        "s3:GetObjectVersion",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
        "dynamodb:DeleteItem",
        "dynamodb:Query",
        "dynamodb:BatchGetItem",
        "dynamodb:ConditionCheckItem",
        "ssm:GetParameter",
        "lambda:InvokeFunction",
        "sqs:SendMessage",
        *READ_A_QUEUE,
    },
    "ProbeFunction": {"s3:GetObject"},
    "EditFunction": {"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"},
    "WebhookFunction": {"sqs:SendMessage"},
    "StoreFunction": {
        "dynamodb:GetItem",
        "dynamodb:UpdateItem",
        "s3:PutObject",
        "s3:AbortMultipartUpload",
        "s3:GetObject",
        "ssm:GetParameter",
        "dynamodb:Query",
        "sqs:SendMessage",
        *READ_A_QUEUE,
    },
    "PublishFunction": {
        "dynamodb:DescribeStream",
        "dynamodb:GetRecords",
        "dynamodb:GetShardIterator",
        "dynamodb:ListStreams",
        "s3:GetObject",
        "s3:GetObjectVersion",
        "s3:PutObject",
        "events:PutEvents",
        "sqs:SendMessage",
    },
    "NotifyFunction": {"sqs:ChangeMessageVisibility", "ssm:GetParameter", *READ_A_QUEUE},
    "ReconcileFunction": {
        "dynamodb:Query",
        "dynamodb:GetItem",
        "dynamodb:UpdateItem",
        "dynamodb:ConditionCheckItem",
        "sqs:SendMessage",
        "ssm:GetParameter",
    },
}
#: X-Ray knows no resources: https://docs.aws.amazon.com/service-authorization (AWS X-Ray).
WITHOUT_RESOURCE = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}


def role_of(function: str) -> str:
    at: str = FUNCTIONS[function]["Role"]["Fn::GetAtt"]
    return at.removesuffix(".Arn")


def statements_of(role: str) -> list[dict[str, Any]]:
    """A role's own statements, but for what both share."""
    policies = RESOURCES[role]["Properties"]["Policies"]
    return [one for policy in policies for one in policy["PolicyDocument"]["Statement"]]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


EVERY = [
    (function, statement)
    for function in FUNCTIONS
    for statement in statements_of(role_of(function))
]


def test_each_function_has_a_role_of_its_own_and_no_other_function_has_one() -> None:
    made = expand(read())["Resources"]

    roles = {name for name, found in made.items() if found["Type"] == "AWS::IAM::Role"}
    used = [role_of(function) for function in FUNCTIONS]
    assert sorted(used) == sorted(roles)
    for role in roles:
        [statement] = made[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}


def test_no_role_has_a_policy_that_is_not_written_in_the_template() -> None:
    made = expand(read())["Resources"]

    for function in FUNCTIONS:
        role = made[role_of(function)]["Properties"]
        assert role["ManagedPolicyArns"] == [{"Ref": "CommonPolicy"}]
        assert [policy["PolicyName"] for policy in role["Policies"]] == [
            role_of(function).removesuffix("Role").lower()
        ]
    policies = {n for n, one in made.items() if one["Type"] in POLICY_TYPES}
    assert policies == {"CommonPolicy"}


POLICY_TYPES = {"AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"}


@pytest.mark.parametrize(
    ("function", "statement"),
    EVERY,
    ids=lambda value: value if isinstance(value, str) else value["Sid"],
)
def test_a_permission_names_its_actions_and_its_resource(
    function: str, statement: dict[str, Any]
) -> None:
    actions, resources = listed(statement["Action"]), listed(statement["Resource"])

    assert statement["Effect"] == "Allow", function
    assert all(re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action) for action in actions)
    assert all(mentioned(resource) - {"AWS"} or "ssm" in str(resource) for resource in resources)
    assert "*" not in resources


def test_what_every_role_may_is_without_resource_only_where_aws_knows_none() -> None:
    traces, key = RESOURCES["CommonPolicy"]["Properties"]["PolicyDocument"]["Statement"]

    assert set(traces["Action"]) == WITHOUT_RESOURCE
    assert traces["Resource"] == "*"
    assert 'Resource: "*" # ' in FILE.read_text(encoding="utf-8")  # with its reason
    with_key = key["Fn::If"][1]
    assert (with_key["Action"], with_key["Resource"]) == (
        ["kms:Decrypt", "kms:GenerateDataKey"],
        {"Ref": "EncryptionKeyArn"},
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_may_do_what_its_work_needs_and_nothing_else(name: str) -> None:
    granted = [action for one in statements_of(role_of(name)) for action in listed(one["Action"])]

    assert set(granted) == PERMISSIONS[name] | WRITE_A_LOG


def test_what_faces_the_internet_touches_one_queue_and_knows_no_key() -> None:
    mine = statements_of(role_of("WebhookFunction"))

    assert {name for one in mine for name in mentioned(one["Resource"])} == {
        "VerdictsQueue",
        "WebhookLogGroup",
    }
    variables = FUNCTIONS["WebhookFunction"]["Environment"]["Variables"]
    assert set(variables) == {"VERDICTS_QUEUE_URL", "FAL_USER_ID"}


def test_publish_reads_no_table_and_writes_receipts_pointers_and_videos_alone() -> None:
    mine = {one["Sid"]: one["Resource"] for one in statements_of(role_of("PublishFunction"))}

    assert mine["ReadTheStream"] == {"Fn::GetAtt": "JobsTable.StreamArn"}
    assert written(mine["ReplaceReceipts"]) == {RECEIPT_SUFFIX, POINTER_SUFFIX}
    assert written(mine["CopyVideos"]) == {MP4, WEBM, MOV, GIF}


def written(resources: list[dict[str, str]]) -> set[str]:
    """The suffixes of the output bucket's keys that a statement is about."""
    return {one["Fn::Sub"].removeprefix("${OutputBucket.Arn}/*") for one in resources}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_role_writes_to_its_own_functions_log_and_no_other(name: str) -> None:
    [log] = [one for one in statements_of(role_of(name)) if one["Sid"] == "WriteItsOwnLog"]

    assert mentioned(log["Resource"]) == mentioned(FUNCTIONS[name]["LoggingConfig"])
