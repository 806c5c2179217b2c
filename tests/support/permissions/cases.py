"""One case for every action of every role: what the stack can do only with that action.

To cover a new permission, add a line to ``CASES``: function, action, case. A case is a generator
with two steps:

1. It prepares, with all permissions, and yields nothing. Then the runner waits until no message is
   left in the stack's own queues, and takes the permission away.
2. It acts, and yields the ``Effect`` to watch for. Only the act may bring the effect about.

``name`` is a prefix that no other case uses. The runner deletes records and messages afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.support.local_stack import (
    IN_FLIGHT,
    NO_WEBHOOK,
    Phonoscene,
    eventually,
    full_window,
    held_places,
    listening,
    make_audio,
    make_picture,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Seconds until a step counts as failed. It is never waited for where all is well.
BOUND: Final = 90.0
LONG_AGO: Final = "2026-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class Effect:
    """What a case watches for.

    ``is_denied`` is for the one denial that no SDK reports: fal reads a presigned URL with the
    permissions of the role that signed it.
    """

    is_seen: Callable[[], object]
    is_denied: Callable[[], object] = lambda: False


if TYPE_CHECKING:
    Steps = Iterator[Effect | None]
    Case = Callable[[Phonoscene, str], Steps]


def sentence(case: Case) -> str:
    """What a case shows, in words."""
    return getattr(case, "__name__", "").replace("_", " ")


def reach(what: str, is_so: Callable[[], object]) -> None:
    """Wait for a step on the way to the effect.

    Raises:
        AssertionError: it took longer than ``BOUND``.
    """
    assert eventually(is_so, BOUND), f"{what} did not happen within {BOUND:.0f} s"


def newest(phonoscene: Phonoscene, name: str) -> dict[str, Any]:
    """The newest record of a name; empty if there is none."""
    return next(iter(phonoscene.jobs.takes(name)), {})


def becomes(phonoscene: Phonoscene, name: str, status: str) -> Callable[[], bool]:
    """Whether the newest job of a name has a status."""
    return lambda: newest(phonoscene, name).get("status") == status


def deliver(phonoscene: Phonoscene, prompt: str) -> None:
    """Make fal send the webhook of an ended request now, once."""
    phonoscene.control("DELETE", "/faults")
    request = phonoscene.ended_request(prompt, BOUND)
    phonoscene.control("POST", f"/requests/{request['request_id']}/deliver")


# The cases ---------------------------------------------------------------------------------------


def a_drop_becomes_its_video(phonoscene: Phonoscene, name: str) -> Steps:
    yield None
    phonoscene.drop(name)
    yield Effect(becomes(phonoscene, name, "SUCCEEDED"))


def a_long_drop_becomes_one_video(phonoscene: Phonoscene, name: str) -> Steps:
    yield None
    phonoscene.drop(name, seconds=21.0)
    yield Effect(becomes(phonoscene, name, "SUCCEEDED"))


def fal_reads_the_version_that_was_dropped(phonoscene: Phonoscene, name: str) -> Steps:
    yield None
    prompt = phonoscene.drop(name)

    def is_denied() -> bool:
        results = [request["result"] for request in phonoscene.requests(prompt)]
        return any("file_download_error" in str(result) for result in results)

    yield Effect(becomes(phonoscene, name, "SUCCEEDED"), is_denied)


def a_half_waits_for_the_other(phonoscene: Phonoscene, name: str) -> Steps:
    yield None
    phonoscene.put(f"{name}.wav", make_audio("wav"))
    yield Effect(becomes(phonoscene, name, "WAITING"))


def an_image_starts_the_drop_that_waits_for_it(phonoscene: Phonoscene, name: str) -> Steps:
    image = f"{name.rpartition('/')[2]}.png"
    phonoscene.drop(name, image_url=image)
    reach("WAITING", becomes(phonoscene, name, "WAITING"))
    yield None
    phonoscene.put(f"{name}.png", make_picture())
    yield Effect(becomes(phonoscene, name, "SUCCEEDED"))


def a_half_is_cancelled(phonoscene: Phonoscene, name: str) -> Steps:
    phonoscene.put(f"{name}.wav", make_audio("wav"))
    reach("WAITING", becomes(phonoscene, name, "WAITING"))
    yield None
    phonoscene.send("DropsQueueUrl", {"cancel": newest(phonoscene, name)["job_id"]})
    yield Effect(becomes(phonoscene, name, "CANCELLED"))


def a_half_gives_way_to_its_job(phonoscene: Phonoscene, name: str) -> Steps:
    phonoscene.put(f"{name}.wav", make_audio("wav"))
    reach("WAITING", becomes(phonoscene, name, "WAITING"))
    yield None
    phonoscene.sidecar(f"{name}.json")
    is_over = becomes(phonoscene, name, "SUCCEEDED")
    yield Effect(lambda: is_over() and len(phonoscene.jobs.takes(name)) == 1)


def a_result_that_its_webhook_could_not_carry_is_fetched(
    phonoscene: Phonoscene, name: str
) -> Steps:
    yield None
    phonoscene.drop(name, ("webhook", "payload_error", {"status": "OK"}))
    yield Effect(becomes(phonoscene, name, "SUCCEEDED"))


def a_video_that_is_there_already_is_taken(phonoscene: Phonoscene, name: str) -> Steps:
    prompt = phonoscene.drop(name)
    reach("SUCCEEDED", becomes(phonoscene, name, "SUCCEEDED"))
    request = phonoscene.ended_request(prompt)
    phonoscene.change(  # as if the store had died before its last write
        name,
        "SET #status = :status, source_url = :url REMOVE video",
        {":status": "GENERATED", ":url": request["result"]["video"]["url"]},
    )
    yield None
    deliver(phonoscene, prompt)
    is_over = becomes(phonoscene, name, "SUCCEEDED")
    yield Effect(lambda: is_over() and len(phonoscene.versions(f"{name}/")) == len(("mp4", "json")))


def a_copy_that_is_cut_off_leaves_no_parts_behind(phonoscene: Phonoscene, name: str) -> Steps:
    yield None
    # many more parts than the store asks for at once: the CDN fails before the last ones
    big, slow = {"bytes": 200_000_000}, {"bytes_per_second": 4_000_000, "times": None}
    prompt = phonoscene.drop(name, ("render", "big_file", big), ("cdn", "slow", slow))
    reach("an upload in parts", lambda: unfinished(phonoscene, name))
    phonoscene.control("DELETE", "/faults")
    phonoscene.fault(prompt, "cdn", "status", code=500, times=None)
    yield Effect(lambda: not unfinished(phonoscene, name) and not phonoscene.versions(f"{name}/"))


def unfinished(phonoscene: Phonoscene, name: str) -> list[dict[str, Any]]:
    """The uploads in parts to the output bucket that have not ended."""
    at = {"Bucket": phonoscene.endpoints.output_bucket, "Prefix": name}
    found: list[dict[str, Any]] = phonoscene.s3.list_multipart_uploads(**at).get("Uploads", [])
    return found


def a_place_that_is_free_is_given_on_at_once(phonoscene: Phonoscene, name: str) -> Steps:
    first, second = f"{name}-first", f"{name}-second"
    with full_window(phonoscene, IN_FLIGHT - 1):
        prompt = phonoscene.drop(first, NO_WEBHOOK)
        reach("SUBMITTED", becomes(phonoscene, first, "SUBMITTED"))
        phonoscene.ended_request(prompt, BOUND)
        phonoscene.drop(second)
        reach("waiting", lambda: newest(phonoscene, second).get("waits_for") == "slot")
        yield None
        deliver(phonoscene, prompt)
        yield Effect(becomes(phonoscene, second, "SUCCEEDED"))


def a_webhook_that_does_not_come_is_asked_for(phonoscene: Phonoscene, name: str) -> Steps:
    prompt = phonoscene.drop(name, NO_WEBHOOK)
    reach("SUBMITTED", becomes(phonoscene, name, "SUBMITTED"))
    phonoscene.ended_request(prompt, BOUND)
    yield None
    phonoscene.change(name, "SET due_at = :past", {":past": LONG_AGO})
    phonoscene.invoke("ReconcileFunction")
    yield Effect(becomes(phonoscene, name, "SUCCEEDED"))


def a_job_whose_turn_has_come_is_dispatched(phonoscene: Phonoscene, name: str) -> Steps:
    phonoscene.drop(name, ("submit", "status", {"code": 429}))
    reach("waiting", lambda: newest(phonoscene, name).get("waits_for") == "fal")
    yield None  # the event of the pair's other half has come and gone: it would dispatch, too
    phonoscene.change(name, "SET dispatch_at = :past", {":past": LONG_AGO})
    phonoscene.invoke("ReconcileFunction")
    yield Effect(becomes(phonoscene, name, "SUCCEEDED"))


def a_place_that_nobody_holds_is_taken_back(phonoscene: Phonoscene, name: str) -> Steps:
    with held_places(phonoscene, [name]):
        yield None
        phonoscene.invoke("ReconcileFunction")
        yield Effect(lambda: name not in phonoscene.in_flight())


def a_receipt_follows_its_job(phonoscene: Phonoscene, name: str) -> Steps:
    yield None
    phonoscene.drop(name)
    yield Effect(lambda: phonoscene.receipt(name).get("status") == "SUCCEEDED")


def a_video_has_a_copy_at_its_stable_key(phonoscene: Phonoscene, name: str) -> Steps:
    yield None
    phonoscene.drop(f"{name}/intro")
    key = f"{name}/intro.mp4"  # the pointer's begins alike
    yield Effect(lambda: key in phonoscene.versions(key))


def another_system_hears_of_a_job(phonoscene: Phonoscene, name: str) -> Steps:
    with listening(phonoscene) as listener:
        yield None
        phonoscene.drop(name)
        yield Effect(lambda: listener.events(name))


def a_record_that_cannot_be_read_is_set_aside(phonoscene: Phonoscene, name: str) -> Steps:
    queue = phonoscene.outputs["UnpublishedQueueUrl"]
    yield None
    item = {"job_id": {"S": name}, "status": {"S": "DREAMING"}}
    phonoscene.dynamodb.put_item(TableName=phonoscene.endpoints.jobs_table, Item=item)

    def is_set_aside() -> bool:
        messages = phonoscene.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
        return any(name in message["Body"] for message in messages.get("Messages", []))

    yield Effect(is_set_aside)


def a_subscriber_hears_of_a_job(phonoscene: Phonoscene, name: str) -> Steps:
    yield None
    phonoscene.drop(name)
    yield Effect(lambda: "SUCCEEDED" in phonoscene.subscriber.states(name))


def a_subscriber_that_was_down_is_asked_again_soon(phonoscene: Phonoscene, name: str) -> Steps:
    phonoscene.subscriber.status = 503
    try:
        yield None
        phonoscene.drop(name)
        yield Effect(lambda: _most_tries(phonoscene, name) > 1)
    finally:
        phonoscene.subscriber.status = 204


def _most_tries(phonoscene: Phonoscene, name: str) -> int:
    heard = phonoscene.subscriber.heard
    tries = [identifier for identifier, event in heard if event["data"]["name"] == name]
    return max(map(tries.count, tries), default=0)


# The table ---------------------------------------------------------------------------------------

CASES: Final[dict[str, dict[str, Case]]] = {
    "SubmitFunction": {
        "s3:ListBucket": a_half_waits_for_the_other,
        "s3:ListBucketVersions": a_drop_becomes_its_video,
        "s3:GetObject": a_drop_becomes_its_video,
        "s3:GetObjectVersion": fal_reads_the_version_that_was_dropped,
        "dynamodb:GetItem": a_half_is_cancelled,
        "dynamodb:PutItem": a_drop_becomes_its_video,
        "dynamodb:UpdateItem": a_drop_becomes_its_video,
        "dynamodb:DeleteItem": a_half_gives_way_to_its_job,
        "dynamodb:Query": an_image_starts_the_drop_that_waits_for_it,
        "sqs:SendMessage": a_half_waits_for_the_other,
        "ssm:GetParameter": a_drop_becomes_its_video,
        "lambda:InvokeFunction": a_drop_becomes_its_video,
        "dynamodb:BatchGetItem": a_long_drop_becomes_one_video,
        "dynamodb:ConditionCheckItem": a_long_drop_becomes_one_video,
    },
    "ProbeFunction": {"s3:GetObject": a_drop_becomes_its_video},
    "EditFunction": {
        "s3:GetObject": a_long_drop_becomes_one_video,
        "s3:GetObjectVersion": a_long_drop_becomes_one_video,
        "s3:PutObject": a_long_drop_becomes_one_video,
    },
    "WebhookFunction": {"sqs:SendMessage": a_drop_becomes_its_video},
    "StoreFunction": {
        "dynamodb:GetItem": a_drop_becomes_its_video,
        "dynamodb:UpdateItem": a_drop_becomes_its_video,
        "dynamodb:Query": a_place_that_is_free_is_given_on_at_once,
        "sqs:SendMessage": a_place_that_is_free_is_given_on_at_once,
        "s3:PutObject": a_drop_becomes_its_video,
        "s3:AbortMultipartUpload": a_copy_that_is_cut_off_leaves_no_parts_behind,
        "s3:GetObject": a_video_that_is_there_already_is_taken,
        "ssm:GetParameter": a_result_that_its_webhook_could_not_carry_is_fetched,
    },
    "PublishFunction": {
        "s3:GetObject": a_receipt_follows_its_job,
        "s3:PutObject": a_receipt_follows_its_job,
        "s3:GetObjectVersion": a_video_has_a_copy_at_its_stable_key,
        "events:PutEvents": another_system_hears_of_a_job,
        "sqs:SendMessage": a_record_that_cannot_be_read_is_set_aside,
    },
    "NotifyFunction": {
        "sqs:ChangeMessageVisibility": a_subscriber_that_was_down_is_asked_again_soon,
        "ssm:GetParameter": a_subscriber_hears_of_a_job,
    },
    "ReconcileFunction": {
        "dynamodb:Query": a_webhook_that_does_not_come_is_asked_for,
        "dynamodb:GetItem": a_webhook_that_does_not_come_is_asked_for,
        "dynamodb:UpdateItem": a_webhook_that_does_not_come_is_asked_for,
        "dynamodb:ConditionCheckItem": a_place_that_nobody_holds_is_taken_back,
        "sqs:SendMessage": a_job_whose_turn_has_come_is_dispatched,
        "ssm:GetParameter": a_webhook_that_does_not_come_is_asked_for,
    },
}

_LOG_AND_TRACE: Final = {
    "logs:CreateLogStream": "Lambda writes the log (“execution role”)",
    "logs:PutLogEvents": "Lambda writes the log (the same)",
    "xray:PutTraceSegments": "Lambda writes the trace (“AWS X-Ray”)",
    "xray:PutTelemetryRecords": "Lambda writes the trace (the same)",
}
_FROM_A_QUEUE: Final = _LOG_AND_TRACE | {
    "sqs:ReceiveMessage": "Lambda polls the queue (“Using Lambda with Amazon SQS”)",
    "sqs:DeleteMessage": "Lambda polls the queue (the same)",
    "sqs:GetQueueAttributes": "Lambda polls the queue (the same)",
}
_FROM_A_STREAM: Final = _LOG_AND_TRACE | {
    "dynamodb:DescribeStream": "Lambda polls the stream (“Using Lambda with DynamoDB”)",
    "dynamodb:GetRecords": "Lambda polls the stream (the same)",
    "dynamodb:GetShardIterator": "Lambda polls the stream (the same)",
    "dynamodb:ListStreams": "Lambda polls the stream (the same)",
}
#: The emulator does not enforce these: on AWS, Lambda itself uses them, as the function's role. The
#: reason names the chapter of Lambda's guide that says so.
NOT_ENFORCED: Final[dict[str, dict[str, str]]] = {
    "SubmitFunction": _FROM_A_QUEUE,
    "ProbeFunction": _LOG_AND_TRACE,
    "EditFunction": _LOG_AND_TRACE,
    "WebhookFunction": _LOG_AND_TRACE,
    "StoreFunction": _FROM_A_QUEUE,
    "PublishFunction": _FROM_A_STREAM,
    "NotifyFunction": _FROM_A_QUEUE,
    "ReconcileFunction": _LOG_AND_TRACE,
}
