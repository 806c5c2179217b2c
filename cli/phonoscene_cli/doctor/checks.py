"""What ``doctor`` checks: each check ends as ok, warn or fail, with the next step.

Nothing is changed. Secrets are read to see that they have the right form, and never shown.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from phonoscene.errors import SecretUnusable
from phonoscene.publishing.event_webhooks import Notification
from phonoscene_cli.doctor import release, resources
from phonoscene_cli.doctor.findings import DENIED, Check, Level, Look, Looked, ok
from phonoscene_cli.errors import CliError, StackUnreachable
from phonoscene_cli.failures import advice, explained, show_trace
from phonoscene_cli.stack.stack_status import DEPLOY, NEW, is_whole, next_step
from phonoscene_cli.ui import formatting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phonoscene_cli.stack.connection import Stack

#: Of what every command needs.
OUTPUTS: Final = (
    "DropBucketName",
    "OutputBucketName",
    "JobsTableName",
    "DropsQueueUrl",
    "DropsDeadLetterQueueUrl",
    "UndeliveredDropsQueueUrl",
    "VerdictsQueueUrl",
    "VerdictsDeadLetterQueueUrl",
    "WebhookBaseUrl",
    "AlarmTopicArn",
    "FalKeyParameterName",
)
#: Seconds for the webhook's answer; its function may have to start.
PATIENCE: Final = 15.0
#: A key that no drop can have, and that is ignored should it ever be there.
NOBODYS: Final = "_phonoscene-doctor"


def stack_is_deployed(stack: Stack) -> Looked:
    """CloudFormation knows it, and its last change went well."""
    status = stack.status
    if step := next_step(stack.name, status):
        is_moving = status.endswith("_IN_PROGRESS") and status != NEW
        level = Level.WARN if is_moving or is_whole(status) else Level.FAIL
        return level, f"it is {status}", step
    return ok(f"{stack.name} in {stack.session.region_name} is {status}")


def outputs_are_complete(stack: Stack) -> Looked:
    """The stack and the command line are of one release."""
    missing = [name for name in OUTPUTS if not stack.outputs.get(name)]
    if len(missing) == len(OUTPUTS) and is_whole(stack.status):
        why = f"{stack.name} has none of them: it is not a stack of Phonoscene"
        return Level.FAIL, why, "Choose another with --stack."
    if missing:
        step = next_step(stack.name, stack.status) or f"Deploy again: {DEPLOY}."
        return Level.FAIL, f"missing: {', '.join(missing)}", step
    return ok("all outputs that the commands need exist")


def fal_key_is_there(stack: Stack) -> Looked:
    """An SSM SecureString, of one line that an HTTP header can hold."""
    name = stack.outputs["FalKeyParameterName"]
    return _secret(stack, name, '"$FAL_KEY"', "of one line", _is_one_line)


def _is_one_line(key: str) -> bool:
    return bool(key) and key.isascii() and key.isprintable() and " " not in key


def event_secret_is_there(stack: Stack) -> Looked:
    """What the event webhook is signed with; without it nothing is sent, and tried for days."""
    values = stack.parameter_values
    if not values.get("EventWebhookUrl"):
        return ok("not needed: EventWebhookUrl is not set")
    name = values["EventWebhookSecretParameter"]
    value = '"whsec_$(openssl rand -base64 32)"'
    return _secret(stack, name, value, "that events can be signed with", _can_sign)


def _can_sign(secret: str) -> bool:
    try:
        Notification("doctor", "{}").headers(secret, datetime.now(UTC))
    except SecretUnusable:
        return False
    return True


def _secret(
    stack: Stack, name: str, value: str, what: str, is_fine: Callable[[str], bool]
) -> Looked:
    """A SecureString of SSM; ``what`` goes on after "is a SecureString"."""
    put = f"`aws ssm put-parameter --overwrite --name {name} --type SecureString --value {value}`"
    try:
        found = stack.client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]
    except ClientError as exc:
        code = exc.response["Error"]["Code"]
        if code == "ParameterNotFound":
            return Level.FAIL, f"the parameter does not exist: {name}", put
        if code in DENIED:  # most people need not be allowed to
            return Level.WARN, f"you may not read {name}", "Ask someone who has the permission."
        raise
    if not is_fine(str(found["Value"]).strip()):
        return Level.FAIL, f"{name} is not a text {what}", put
    if found["Type"] != "SecureString":
        return Level.WARN, f"{name} is a {found['Type']}, so its value is not encrypted", put
    return ok(f"{name} is a SecureString {what}")


def webhook_refuses_strangers(stack: Stack) -> Looked:
    """An unsigned POST gets 401: the address is there, and its function runs."""
    door = stack.door
    verify: Any = httpx.create_ssl_context(verify=door.ca_bundle) if door.ca_bundle else True
    try:
        answer = httpx.post(
            f"{door.url}/webhooks/fal/doctor/unsigned",
            content=b"{}",
            headers=dict(door.headers),
            verify=verify,
            trust_env=not stack.endpoints,
            timeout=PATIENCE,
        )
    except httpx.HTTPError as exc:
        why = f"{door.url} does not answer: {type(exc).__name__}"
        return Level.FAIL, why, "See the log of the function webhook, and API Gateway's."
    if answer.status_code != httpx.codes.UNAUTHORIZED:
        step = "See the log of the function webhook."
        return (
            Level.FAIL,
            f"it answers {answer.status_code} to an unsigned POST instead of 401",
            step,
        )
    return ok("answers 401 to an unsigned POST")


def dispatch_is_not_paused(stack: Stack) -> Looked:
    """Nothing says that fal has refused the account lately."""
    window = stack.jobs.ledger.window()
    used = formatting.slots(window, stack.parameters.max_in_flight)
    if window.uncopied:
        used += f"; {formatting.number(len(window.uncopied), 'video')} cannot be copied yet"
    if window.paused_until and window.is_paused(datetime.now(UTC)):
        until = formatting.moment(window.paused_until)
        why = f"fal refused the account; nothing is sent until {until}; {used}"
        step = "Check the balance at https://fal.ai/dashboard/billing, and the API key."
        return Level.FAIL, why, step
    if window.video_lost_at:
        lost = formatting.moment(window.video_lost_at)
        why = f"{used}; a video was lost at fal's CDN ({lost}), and none has been copied since"
        step = "See fal's status page. One job at a time runs until a video is copied."
        return Level.WARN, why, step
    jobs = stack.jobs.many(window.holders)
    held_up = sorted(window.uncopied | {one for one, job in jobs.items() if job.problem})
    if held_up:
        jobs_are = formatting.number(len(held_up), "job is", "jobs are")
        why = f"{used}; {jobs_are} held up at fal or its CDN"
        return Level.WARN, why, f"`phonoscene show {held_up[0]}` says why."
    return ok(used)


def fal_user_is_pinned(stack: Stack) -> Looked:
    """Other fal customers' signatures are refused."""
    if stack.parameters.fal_user_id:
        return ok("FalUserId is set")
    step = "Set FalUserId; the webhook's log says it at each delivery (webhook.unpinned)."
    return Level.WARN, "webhooks signed for any fal customer pass the signature check", step


def drops_may_be_read(stack: Stack) -> Looked:
    """List and read the drop bucket: drop, retry, audit, backfill."""
    bucket, s3 = stack.outputs["DropBucketName"], stack.client("s3")
    s3.list_object_versions(Bucket=bucket, MaxKeys=1)
    stack.bucket.keys_under(NOBODYS)
    stack.bucket.find(NOBODYS)
    return ok("you may list and read the drop bucket")


def drops_may_be_written(stack: Stack) -> Looked:
    """Put objects: drop, retry. Tried by a write whose condition cannot be true."""
    bucket, s3 = stack.outputs["DropBucketName"], stack.client("s3")
    try:
        s3.put_object(Bucket=bucket, Key=NOBODYS, Body=b"", IfMatch='"no such thing"')
    except ClientError as exc:
        if exc.response["Error"]["Code"] in DENIED:
            raise
    return ok("you may put objects in the drop bucket")


def videos_may_be_read(stack: Stack) -> Looked:
    """Read the output bucket: --out."""
    try:
        stack.client("s3").get_object(Bucket=stack.outputs["OutputBucketName"], Key=NOBODYS)
    except ClientError as exc:
        if exc.response["Error"]["Code"] in DENIED:
            raise
    return ok("you may read the output bucket")


def jobs_may_be_read(stack: Stack) -> Looked:
    """Read the table and its indexes: all commands."""
    stack.jobs.get("0" * 32)
    stack.jobs.many(["0" * 32])
    next(stack.jobs.ids_of(NOBODYS), None)
    next(stack.jobs.of_day("2026-01-01"), None)
    return ok("you may read the jobs table and its indexes")


def queues_may_be_read(stack: Stack) -> Looked:
    """Look at the queues; sending, for cancel, backfill and redrive, cannot be tried in vain."""
    url = stack.outputs["DropsQueueUrl"]
    stack.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return ok("you may look at the queues (sending to them is not tried)")


#: In the order in which they are shown.
CHECKS: Final[dict[str, Look]] = {
    "region": resources.region_is_the_files,
    "stack": stack_is_deployed,
    "outputs": outputs_are_complete,
    "version": release.versions_agree,
    "parameters": resources.parameters_are_the_files,
    "fal key": fal_key_is_there,
    "event webhook": event_secret_is_there,
    "webhook": webhook_refuses_strangers,
    "drop events": resources.drops_are_announced,
    "versioning": resources.files_have_versions,
    "triggers": resources.triggers_are_on,
    "functions": resources.functions_are_ready,
    "probe": resources.probe_starts,
    "edit": resources.edit_starts,
    "concurrency": resources.account_has_room,
    "dead letters": resources.dead_letters_are_none,
    "alarms": resources.alarms_are_quiet,
    "alarm mail": resources.alarm_mail_is_confirmed,
    "records": release.records_can_be_read,
    "left over": release.nothing_was_left,
    "dispatch": dispatch_is_not_paused,
    "fal user": fal_user_is_pinned,
    "may read drops": drops_may_be_read,
    "may drop": drops_may_be_written,
    "may fetch": videos_may_be_read,
    "may read jobs": jobs_may_be_read,
    "may see queues": queues_may_be_read,
}


#: Those whose subject is the caller's permission; of all others many people need not be allowed.
PERMISSIONS: Final = ("may read drops", "may drop", "may fetch", "may read jobs", "may see queues")


def examined(name: str, look: Look, stack: Stack) -> Check:
    """One check; an error is a result like any other, so that the other checks follow."""
    try:
        return Check(name, *look(stack))
    except Exception as exc:  # noqa: BLE001 - whatever it is, it concerns this check alone
        if isinstance(exc, ClientError) and exc.response["Error"].get("Code") in DENIED:
            level = Level.FAIL if name in PERMISSIONS else Level.WARN
            step = "docs/command-line.md lists the permissions."
            return Check(name, level, f"you may not: {exc.operation_name}", step)
        return Check(name, Level.FAIL, *_told(exc))


def _told(exc: Exception) -> tuple[str, str]:
    """What an error is, and the next step where it is known apart."""
    if isinstance(exc, StackUnreachable):
        return exc.what, exc.next_step
    if isinstance(exc, ClientError):
        return str(exc), advice(exc)
    if isinstance(exc, BotoCoreError):
        return f"AWS cannot be reached: {exc}", advice(exc)
    if not isinstance(exc, CliError):
        show_trace(exc)
    return explained(exc)[0], ""


def examine_all(stack: Stack) -> Iterator[Check]:
    """Every check in its order; where there is no stack, no other check follows."""
    for name, look in CHECKS.items():
        one = examined(name, look, stack)
        yield one
        if name == "stack" and one.level is Level.FAIL:
            return
