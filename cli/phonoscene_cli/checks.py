"""What ``doctor`` looks at: one thing each, told as ok, warn or fail, with the next step.

Nothing is changed. The fal key is read to see that it is one plain line, and never shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from phonoscene_cli import words
from phonoscene_cli.errors import StackUnreachable
from phonoscene_cli.redrive import DeadLetters, of_stack

if TYPE_CHECKING:
    from phonoscene_cli.stack import Stack

#: Of what every command needs.
OUTPUTS: Final = (
    "DropBucketName", "OutputBucketName", "JobsTableName", "DropsQueueUrl",
    "DropsDeadLetterQueueUrl", "UndeliveredDropsQueueUrl", "VerdictsQueueUrl",
    "VerdictsDeadLetterQueueUrl", "WebhookBaseUrl", "AlarmTopicArn", "FalKeyParameterName",
)  # fmt: skip
#: Seconds for the webhook's answer; its function may have to start.
PATIENCE: Final = 15.0
#: A key that no drop can have, and that is ignored should it ever be there.
NOBODYS: Final = "_phonoscene-doctor"
_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "403", "AccessDeniedFault"})


class Level(StrEnum):
    """How it stands."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, how it stands, and the next step where there is one."""

    check: str
    level: Level
    detail: str
    next: str = ""

    def as_data(self) -> dict[str, str]:
        """For programs."""
        return asdict(self)


Looked = tuple[Level, str, str]
Look = Callable[["Stack"], Looked]


def _ok(detail: str) -> Looked:
    return Level.OK, detail, ""


def stack_is_deployed(stack: Stack) -> Looked:
    """CloudFormation knows it, and its last change went well."""
    status = str(stack.description.get("StackStatus", ""))
    if status.endswith("_IN_PROGRESS"):
        return Level.WARN, f"it is {status}", "Wait until it is done."
    if "FAILED" in status or "ROLLBACK" in status:
        step = f"`aws cloudformation describe-stack-events --stack-name {stack.name}` says why."
        level = Level.WARN if status == "UPDATE_ROLLBACK_COMPLETE" else Level.FAIL
        return level, f"it is {status}", step
    return _ok(f"{stack.name} in {stack.session.region_name} is {status}")


def outputs_are_complete(stack: Stack) -> Looked:
    """The stack and the command line are of one release."""
    missing = [name for name in OUTPUTS if not stack.outputs.get(name)]
    if missing:
        return Level.FAIL, f"missing: {', '.join(missing)}", "Deploy it again: `make deploy`."
    return _ok(f"all {len(OUTPUTS)} are there")


def fal_key_is_there(stack: Stack) -> Looked:
    """An SSM SecureString, of one line that an HTTP header can hold."""
    name = stack.outputs["FalKeyParameterName"]
    put = (
        f'`aws ssm put-parameter --overwrite --name {name} --type SecureString --value "$FAL_KEY"`'
    )
    try:
        found = stack.client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]
    except ClientError as exc:
        code = exc.response["Error"]["Code"]
        if code == "ParameterNotFound":
            return Level.FAIL, f"there is no parameter {name}", put
        if code in _DENIED:  # most people need not be allowed to
            return Level.WARN, f"you may not read {name}", "Ask somebody who may."
        raise
    key = str(found["Value"]).strip()
    if not (key and key.isascii() and key.isprintable()) or " " in key:
        return Level.FAIL, f"{name} is not one line of plain text", put
    if found["Type"] != "SecureString":
        return Level.WARN, f"{name} is a {found['Type']}, readable in clear", put
    return _ok(f"{name} is a SecureString of one line")


def webhook_refuses_strangers(stack: Stack) -> Looked:
    """An unsigned POST gets 401: the address is there, and its function runs."""
    door = stack.door
    verify: Any = httpx.create_ssl_context(verify=door.ca_bundle) if door.ca_bundle else True
    try:
        answer = httpx.post(
            f"{door.url}/webhooks/fal/doctor/unsigned", content=b"{}", headers=dict(door.headers),
            verify=verify, trust_env=not stack.told, timeout=PATIENCE,
        )  # fmt: skip
    except httpx.HTTPError as exc:
        why = f"{door.url} does not answer: {type(exc).__name__}"
        return Level.FAIL, why, "See the log of the function webhook, and API Gateway's."
    if answer.status_code != httpx.codes.UNAUTHORIZED:
        step = "See the log of the function webhook."
        return Level.FAIL, f"it answers {answer.status_code} to a stranger, not 401", step
    return _ok("answers 401 to an unsigned POST")


def dead_letters_are_none(stack: Stack) -> Looked:
    """No message was given up."""
    sqs = stack.client("sqs")
    counts = {
        str(name): DeadLetters.of(stack.outputs, name).count(sqs)
        for name in of_stack(stack.outputs)
    }
    found = ", ".join(f"{count} in {name}" for name, count in counts.items() if count)
    if found:
        step = "See the function's log, mend the cause, then `phonoscene redrive`."
        return Level.FAIL, f"messages: {found}", step
    return _ok("all three are empty")


def dispatch_is_not_paused(stack: Stack) -> Looked:
    """Nothing says that fal has refused the account lately."""
    window = stack.jobs.ledger.window()
    if window.paused_until and window.is_paused(datetime.now(UTC)):
        why = f"fal refused the account; nothing is sent until {words.moment(window.paused_until)}"
        step = "Look at the balance, https://fal.ai/dashboard/billing, and the key."
        return Level.FAIL, why, step
    held, most = len(window.in_flight), stack.parameters.max_in_flight
    return _ok(f"{held} of {most} places at fal are taken")


def fal_user_is_pinned(stack: Stack) -> Looked:
    """Other fal customers' signatures are refused."""
    if stack.parameters.fal_user_id:
        return _ok("FalUserId is set")
    step = "Set FalUserId; the webhook's log says it at each delivery (webhook.unpinned)."
    return Level.WARN, "webhooks signed for any fal customer pass the signature check", step


def drops_may_be_read(stack: Stack) -> Looked:
    """List and read the drop bucket: drop, retry, audit, backfill."""
    bucket, s3 = stack.outputs["DropBucketName"], stack.client("s3")
    s3.list_object_versions(Bucket=bucket, MaxKeys=1)
    stack.bucket.keys_under(NOBODYS)
    stack.bucket.find(NOBODYS)
    return _ok("you may list and read the drop bucket")


def drops_may_be_written(stack: Stack) -> Looked:
    """Put objects: drop, retry. Tried by a write whose condition cannot be true."""
    bucket, s3 = stack.outputs["DropBucketName"], stack.client("s3")
    try:
        s3.put_object(Bucket=bucket, Key=NOBODYS, Body=b"", IfMatch='"no such thing"')
    except ClientError as exc:
        if exc.response["Error"]["Code"] in _DENIED:
            raise
    return _ok("you may put objects in the drop bucket")


def videos_may_be_read(stack: Stack) -> Looked:
    """Read the output bucket: --out."""
    try:
        stack.client("s3").get_object(Bucket=stack.outputs["OutputBucketName"], Key=NOBODYS)
    except ClientError as exc:
        if exc.response["Error"]["Code"] in _DENIED:
            raise
    return _ok("you may read the output bucket")


def jobs_may_be_read(stack: Stack) -> Looked:
    """Read the table and its indexes: all commands."""
    stack.jobs.get("0" * 32)
    stack.jobs.many(["0" * 32])
    next(stack.jobs.ids_of(NOBODYS), None)
    next(stack.jobs.of_day("2026-01-01"), None)
    return _ok("you may read the jobs table and its indexes")


def queues_may_be_read(stack: Stack) -> Looked:
    """Look at the queues; sending, for cancel, backfill and redrive, cannot be tried in vain."""
    url = stack.outputs["DropsQueueUrl"]
    stack.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return _ok("you may look at the queues (sending to them is not tried)")


#: In the order in which they are told.
CHECKS: Final[dict[str, Look]] = {
    "stack": stack_is_deployed,
    "outputs": outputs_are_complete,
    "fal key": fal_key_is_there,
    "webhook": webhook_refuses_strangers,
    "dead letters": dead_letters_are_none,
    "dispatch": dispatch_is_not_paused,
    "fal user": fal_user_is_pinned,
    "may read drops": drops_may_be_read,
    "may drop": drops_may_be_written,
    "may fetch": videos_may_be_read,
    "may read jobs": jobs_may_be_read,
    "may see queues": queues_may_be_read,
}


def examined(name: str, look: Look, stack: Stack) -> Check:
    """One check; what AWS refuses or breaks off is told like anything else."""
    try:
        return Check(name, *look(stack))
    except StackUnreachable as exc:
        return Check(name, Level.FAIL, str(exc))
    except ClientError as exc:
        denied = exc.response["Error"]["Code"] in _DENIED
        what = f"you may not: {exc.operation_name}" if denied else f"{exc}"
        return Check(name, Level.FAIL, what, "docs/command-line.md lists the permissions." * denied)
    except BotoCoreError as exc:
        return Check(name, Level.FAIL, f"AWS cannot be asked: {exc}")
