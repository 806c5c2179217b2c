"""docs/permissions.md: what a deployer and each person of the command line must be allowed."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final

import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER  # type: ignore[import-untyped]  # ships none

from tests.support import template
from tests.support.aws_commands import actions, commands_of
from tests.support.documented import PAGE as COMMAND_LINE
from tests.support.policies import PAGE, granted, is_like, policies

POLICIES: Final = policies()
DEPLOY: Final = ("phonoscene-deploy-data", "phonoscene-deploy-code")
MAX_CHARACTERS: Final = 6144  # of a managed policy, without white space
HANDLERS: Final = ("create", "read", "update", "delete")

#: What a schema names and this template does not need: patterns of actions, by type, and why.
NOT_NEEDED: Final[dict[str, dict[str, str]]] = {
    "*": {
        "kms:*": "phonoscene-key has it, for a stack with EncryptionKeyArn",
    },
    "AWS::ApiGatewayV2::Api": {"s3:getObject": "no definition is read from S3"},
    "AWS::ApiGatewayV2::Integration": {"iam:PassRole": "the integration has no role"},
    "AWS::DynamoDB::Table": {
        "dynamodb:*Replica": "not a global table",
        "dynamodb:*Item": "replicas and imports only",
        "dynamodb:Query": "replicas only",
        "dynamodb:Scan": "replicas only",
        "dynamodb:*KinesisStreamingDestination": "no Kinesis stream",
        "dynamodb:*ResourcePolicy": "no resource policy",
        "dynamodb:ImportTable": "no import",
        "dynamodb:UpdateContributorInsights": "not used",
        "dynamodb:UpdateTimeToLive": "no item expires",
        "iam:*": "replicas only",
        "kinesis:*": "no Kinesis stream",
        "logs:*": "imports only",
        "s3:*": "imports only",
    },
    "AWS::Events::EventBus": {"events:*Permission": "the bus has no policy"},
    "AWS::Events::Rule": {"iam:PassRole": "no target has a role"},
    "AWS::IAM::ManagedPolicy": {"iam:*tach*": "roles attach the policy"},
    "AWS::IAM::Role": {"iam:*PermissionsBoundary": "the roles have none"},
    "AWS::Lambda::Function": {
        "ec2:*": "no VPC",
        "elasticfilesystem:*": "no file system",
        "s3files:*": "no file system",
        "lambda:*CodeSigningConfig": "no code signing",
        "lambda:*RuntimeAlias": "no runtime is pinned",
        "lambda:PutRuntimeManagementConfig": "no runtime is pinned",
        "lambda:PutFunctionRecursionConfig": "Lambda's default",
        "lambda:PutFunctionScalingConfig": "no capacity provider",
        "lambda:PassCapacityProvider": "no capacity provider",
    },
    "AWS::Logs::LogGroup": {
        "firehose:*": "no delivery stream",
        "s3:*": "no delivery to S3",
        "logs:PutBearerTokenAuthentication": "not used",
        "logs:*DataProtectionPolicy": "no data protection policy",
        "logs:*IndexPolicy": "no index policy",
        "logs:DeleteResourcePolicy": "only added to",
        "logs:PutLogGroupDeletionProtection": "not used",
    },
    "AWS::S3::Bucket": {
        "iam:PassRole": "no replication",
        "s3tables:*": "no metadata table",
        "s3:*MetadataTableConfiguration": "no metadata table",
        "s3:UpdateBucketMetadata*": "no metadata table",
        "s3:*ObjectLockConfiguration": "no object lock",
        "s3:DeleteObject": "CloudFormation empties no bucket",
        "s3:PutObjectAcl": "the bucket's owner owns all objects",
        "s3:PutBucketAcl": "the bucket's owner owns all objects",
        "s3:*Abac": "not used",
        **{
            f"s3:*{feature}*": "not used"
            for feature in (
                "Accelerate",
                "Analytics",
                "BucketCORS",
                "BucketCors",
                "BucketLogging",
                "BucketWebsite",
                "IntelligentTiering",
                "Inventory",
                "Metrics",
                "Replication",
            )
        },
        "s3:DeleteBucketEncryption": "a bucket is always encrypted",
        "s3:DeleteBucketLifecycle": "both buckets have rules",
    },
    "AWS::SNS::Subscription": {"iam:*": "no delivery to Firehose"},
    "AWS::SNS::Topic": {
        "iam:*": "no delivery logs",
        "sns:PutDataProtectionPolicy": "no data protection policy",
    },
}
#: What no schema names: ``phonoscene deploy`` itself, and what AWS's guides ask for.
DIRECT: Final = {
    "cloudformation:*": "phonoscene deploy",
    "ssm:*Parameter": "phonoscene deploy stores the fal key",
    "s3:PutObject": "phonoscene deploy uploads the code",
    "iam:CreateServiceLinkedRole": "API Gateway's role, with the first API of an account",
    "logs:*LogDeliver*": "the access log of an HTTP API",
    "lambda:ListTags": "tags of functions, as of event sources",
}


@cache
def types() -> set[str]:
    return {one["Type"] for one in template.expand(template.read())["Resources"].values()}


def named(kind: str) -> set[str]:
    """The actions that AWS's schema of a type names."""
    schema: Any = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    handlers = schema["handlers"]
    return {action for name in HANDLERS for action in handlers.get(name, {}).get("permissions", ())}


def needed(kind: str) -> set[str]:
    patterns = NOT_NEEDED["*"].keys() | NOT_NEEDED.get(kind, {}).keys()
    return {action for action in named(kind) if not is_like(action, patterns)}


@pytest.mark.parametrize("kind", sorted(types()))
def test_the_deployer_may_do_what_awss_schema_names_for_each_type(kind: str) -> None:
    allowed = granted(*DEPLOY)

    assert {action for action in needed(kind) if not is_like(action, allowed)} == set()


def test_the_deployer_may_do_nothing_that_no_type_needs() -> None:
    every = {action for kind in types() for action in named(kind)}
    unused = [
        action
        for action in granted(*DEPLOY)
        if not any(fnmatchcase(one, action) for one in every) and not is_like(action, DIRECT)
    ]

    assert unused == []


def test_no_reason_for_leaving_an_action_out_is_superfluous() -> None:
    assert set(NOT_NEEDED) - {"*"} <= types()
    for kind, patterns in NOT_NEEDED.items():
        every = {action for one in types() for action in named(one)} if kind == "*" else named(kind)
        assert [one for one in patterns if not any(fnmatchcase(a, one) for a in every)] == []


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_policy_can_be_used_as_it_is(name: str) -> None:
    policy = POLICIES[name]

    assert policy["Version"] == "2012-10-17"
    assert len(json.dumps(policy, separators=(",", ":"))) <= MAX_CHARACTERS
    sids = [one["Sid"] for one in policy["Statement"]]
    assert len(sids) == len(set(sids))
    assert all(re.fullmatch(r"[A-Za-z0-9]+", sid) for sid in sids)
    assert {one["Effect"] for one in policy["Statement"]} == {"Allow"}
    assert all(re.fullmatch(r"[a-z0-9]+:[A-Za-z*]+", one) for one in granted(name))


def documented(command: str) -> set[str]:
    """The actions that the command line's page lists for a command."""
    table = COMMAND_LINE.partition("\n## Permissions\n")[2]
    found: set[str] = set()
    for row in re.findall(r"^\| (.+?) \| (.+) \| .+ \|$", table, re.MULTILINE):
        whom, actions = row
        if not (whom == "everything" or re.search(rf"`[^`]*\b{command}\b[^`]*`", whom)):
            continue
        if "EncryptionKeyArn" in whom:
            continue
        for text in re.findall(r"`([a-z0-9]+:[^`]+)`", actions):
            service, _, names = text.partition(":")
            found |= {f"{service}:{name.rpartition(':')[2]}" for name in names.split()}
    return found


_PERSON: Final = re.compile(
    r"^\| [^|]+ \| `(phonoscene-(?:viewer|dropper|operator))` \| (.+) \|$", re.MULTILINE
)
PEOPLE: Final = dict(_PERSON.findall(PAGE))


#: What an operator sees in the console: the dashboard, the metrics of a rule, and logs.
CONSOLE: Final = {
    "cloudwatch:GetDashboard",
    "cloudwatch:GetMetricData",
    "cloudwatch:ListDashboards",
    "cloudwatch:ListMetrics",
    "logs:DescribeLogGroups",
    "logs:DescribeLogStreams",
    "logs:GetLogEvents",
    "logs:GetQueryResults",
    "logs:StartQuery",
}
#: Each is a section of the command line's page.
COMMANDS: Final = set(re.findall(r"^## `(\w+)`$", COMMAND_LINE, re.MULTILINE))


def commands(person: str) -> set[str]:
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", PEOPLE[person]))))
    if person == "phonoscene-dropper":
        return words | commands("phonoscene-viewer")
    if person == "phonoscene-operator":
        return COMMANDS - words
    return words


@pytest.mark.parametrize("person", sorted(PEOPLE))
def test_each_person_may_do_what_their_commands_need_and_no_more(person: str) -> None:
    wanted = {action for command in commands(person) for action in documented(command)}
    if person == "phonoscene-operator":
        wanted |= CONSOLE.union(*(actions(*one) for one in commands_of("operations.md")))

    assert set(granted(person)) == wanted, (
        f"{person} of docs/permissions.md has other actions than docs/command-line.md lists under "
        f"Permissions for {', '.join(sorted(commands(person)))}, or than docs/operations.md needs"
    )
    assert commands(person)


def test_each_command_is_one_of_a_person() -> None:
    named = {"deploy"}.union(*map(commands, PEOPLE))

    assert named == COMMANDS, "docs/permissions.md names the commands of each person in its table"


def test_every_policy_is_in_the_table_of_persons() -> None:
    table = PAGE.partition("## Who needs which policy")[2].partition("\n## ")[0]

    assert set(re.findall(r"`(phonoscene-[\w-]+)`", table)) == set(POLICIES)
    assert len(PEOPLE) == 3
