"""The table's stream through the function publish: receipts in S3, events on a bus."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import permutations
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from phonoscene.errors import EventRefused, StableKeyRefused
from phonoscene.jobs import JobStatus, Video
from phonoscene.publishing.event_bus import EventBus
from phonoscene.publishing.events import StatusChanged
from phonoscene.publishing.pointers import Pointer
from phonoscene.publishing.receipt_bucket import ReceiptBucket, StoredReceipt
from phonoscene.publishing.receipts import Receipt
from phonoscene.publishing.stable_videos import StableCopy, StableVideos
from phonoscene.table.items import from_item, to_job
from phonoscene.workflow.publication import next_look
from tests.integration.moto_stack import Bus, Cloud
from tests.integration.workspace import Workspace, an_id, numbered_job
from tests.support import schemas, stack
from tests.support.fakes.stream import batch, record
from tests.support.stack import OUTPUT, event

if TYPE_CHECKING:
    import io
    from collections.abc import Callable
    from types import ModuleType

    from tests.integration.conftest import Context

S = JobStatus


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def publish(
    function: Callable[..., ModuleType],
    cloud: Cloud,
    bus: Bus,
    environment: pytest.MonkeyPatch,
    context: Context,
) -> Callable[..., list[str]]:
    """Hand a batch of records to the function; the sequence numbers it says have failed."""
    known = boto3.client

    def clients(service: str, **options: Any) -> Any:
        return bus.client if service == "events" else known(service, **options)  # type: ignore[call-overload]  # any service

    environment.setattr(boto3, "client", clients)
    module = function(
        "publish",
        OUTPUT_BUCKET=OUTPUT,
        EVENT_BUS="bus",
        UNPUBLISHED_QUEUE_URL=cloud.verdicts_url,
        DROPS_QUEUE_URL=cloud.drops_url,
    )

    def deliver(*records: dict[str, Any]) -> list[str]:
        failed = module.handler(batch(records), context)["batchItemFailures"]
        return [failure["itemIdentifier"].lstrip("0") for failure in failed]

    return deliver


@pytest.fixture
def workspace(cloud: Cloud) -> Workspace:
    """A table that tells its stream."""
    return Workspace(cloud)


def stream_records(workspace: Workspace) -> list[dict[str, Any]]:
    """The whole stream: its records' sequence numbers are 1, 2, 3, …"""
    changes = workspace.client._table.changes
    return [record(number, change) for number, change in enumerate(changes, 1)]


def of_jobs(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in records if "status" in one["dynamodb"].get("NewImage", {})]


def receipt(cloud: Cloud, key: str = "albums/song1.status.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cloud.outputs()[key])
    return found


def expected(one: dict[str, Any]) -> dict[str, Any]:
    item = from_item(one["dynamodb"]["NewImage"])
    job = to_job(item)
    assert job
    made: dict[str, Any] = json.loads(Receipt.of(job, next_look(item)).to_json())
    return made


def test_a_sample_of_the_stream_becomes_a_receipt_and_an_event(
    cloud: Cloud, bus: Bus, publish: Callable[..., list[str]]
) -> None:
    failed = publish(*event("dynamodb-job-changed")["Records"])

    answer = receipt(cloud, "talks/intro.status.json")
    schemas.check(answer, schemas.RECEIPT)
    assert failed == []
    assert (answer["status"], answer["revision"]) == ("SUBMITTING", 2)
    (sent,) = bus.details
    assert (sent["previous_status"], sent["status"]) == ("READY", "SUBMITTING")
    head = cloud.s3.head_object(Bucket=OUTPUT, Key="talks/intro.status.json")
    assert (head["ContentType"], head["CacheControl"]) == ("application/json", "no-cache")


def test_an_event_is_put_on_the_stacks_bus_as_its_schema_says(
    bus: Bus, publish: Callable[..., list[str]]
) -> None:
    publish(*event("dynamodb-job-changed")["Records"])

    (entry,) = bus.events
    assert (entry["EventBusName"], entry["Source"], entry["DetailType"]) == (
        "bus",
        "phonoscene",
        "Job Status Changed",
    )
    schemas.check(json.loads(entry["Detail"]))
    sample = event("job-status-changed")
    assert (sample["source"], sample["detail-type"]) == (entry["Source"], entry["DetailType"])


@pytest.mark.parametrize("status", JobStatus)
def test_a_job_in_any_state_ends_with_the_receipt_of_its_record(
    cloud: Cloud,
    bus: Bus,
    workspace: Workspace,
    publish: Callable[..., list[str]],
    status: JobStatus,
) -> None:
    workspace.bring(status)
    records = stream_records(workspace)

    failed = publish(*records)

    last = of_jobs(records)[-1]
    assert failed == []
    assert receipt(cloud) == expected(last)
    assert receipt(cloud)["status"] == status
    assert [sent["status"] for sent in bus.details] == [
        step["status"] for step in receipt(cloud)["history"]
    ]


def test_sums_and_deletions_are_passed_over(
    cloud: Cloud, bus: Bus, workspace: Workspace, publish: Callable[..., list[str]]
) -> None:
    workspace.bring(S.WAITING)
    workspace.store.stop_waiting(an_id(1))
    workspace.store.ledger.pause(workspace.clock())
    waiting, *others = stream_records(workspace)

    failed = publish(*others)

    assert [one["eventName"] for one in others] == ["REMOVE", "INSERT"]
    assert (failed, cloud.outputs(), bus.events) == ([], {}, [])
    assert publish(waiting) == []


def test_a_half_has_a_receipt_that_becomes_its_jobs(
    cloud: Cloud, workspace: Workspace, publish: Callable[..., list[str]]
) -> None:
    half = workspace.bring(S.WAITING)
    publish(*stream_records(workspace))
    waiting = receipt(cloud)
    workspace.store.admit(numbered_job(2, name=half.name, audio=half.audio), (half.job_id,))

    publish(*stream_records(workspace))

    assert (waiting["status"], waiting["waits"]["what"]) == ("WAITING", "sidecar")
    assert waiting["waits"]["until"] == "2026-11-22T11:15:30.000Z"
    assert (receipt(cloud)["status"], receipt(cloud)["job_id"]) == ("READY", an_id(2))


def test_a_job_that_waits_says_for_what_and_until_when(
    cloud: Cloud, bus: Bus, workspace: Workspace, publish: Callable[..., list[str]]
) -> None:
    job = workspace.bring(S.READY)
    workspace.clock.go_on(hours=2)
    workspace.store.put_off(job, "budget", workspace.clock())

    publish(*stream_records(workspace))

    assert receipt(cloud)["waits"]["what"] == "budget"
    assert receipt(cloud)["waits"]["until"] == "2026-11-22T12:15:30.000Z"
    assert len(bus.events) == 1  # that it waits is no change of its status


def test_steps_that_come_together_are_events_each_and_one_receipt(
    cloud: Cloud, bus: Bus, workspace: Workspace, publish: Callable[..., list[str]]
) -> None:
    workspace.bring(S.SUCCEEDED)

    publish(*of_jobs(stream_records(workspace)))

    assert [sent["status"] for sent in bus.details] == [
        "READY",
        "SUBMITTING",
        "SUBMITTED",
        "GENERATED",
        "SUCCEEDED",
    ]
    assert receipt(cloud)["status"] == "SUCCEEDED"
    assert cloud.output_versions() == ["albums/song1.status.json"]


# Stable keys


STABLE = "albums/song.mp4"


def with_video(cloud: Cloud, workspace: Workspace, n: int, body: bytes) -> Video:
    """The n-th job succeeds, with a stored video."""
    key = f"albums/song/{an_id(n)}.mp4"
    put = cloud.s3.put_object(Bucket=OUTPUT, Key=key, Body=body, ContentType="video/mp4")
    video = Video(
        bucket=OUTPUT,
        key=key,
        version_id=put["VersionId"],
        bytes=len(body),
        sha256="0" * 64,
        content_type="video/mp4",
        stable_keys=(STABLE,),
    )
    dropped_at = workspace.clock() + timedelta(minutes=n)
    job = workspace.bring(S.GENERATED, n, name="albums/song", dropped_at=dropped_at)
    workspace.step(job, S.SUCCEEDED, video=video)
    return video


@pytest.mark.parametrize("order", list(permutations((1, 2, 3))))
def test_the_newest_of_three_videos_is_at_the_stable_key_in_whatever_order_they_end(
    cloud: Cloud, workspace: Workspace, publish: Callable[..., list[str]], order: tuple[int, ...]
) -> None:
    for n in order:
        with_video(cloud, workspace, n, f"film {n}".encode())

    failed = publish(*stream_records(workspace))

    assert failed == []
    assert cloud.outputs()[STABLE] == b"film 3"
    assert json.loads(cloud.outputs()[f"{STABLE}.newest.json"])["job_id"] == an_id(3)
    newest_so_far = [n for at, n in enumerate(order) if n == max(order[: at + 1])]
    assert cloud.output_versions().count(STABLE) == len(newest_so_far)
    assert receipt(cloud, "albums/song.status.json")["video"]["stable_keys"] == [STABLE]


def test_a_copy_is_of_the_stored_version_and_has_no_tags(
    cloud: Cloud, workspace: Workspace, publish: Callable[..., list[str]]
) -> None:
    video = with_video(cloud, workspace, 1, b"film")
    cloud.s3.put_object_tagging(
        Bucket=OUTPUT,
        Key=video.key,
        VersionId=video.version_id,
        Tagging={"TagSet": [{"Key": "a", "Value": "b"}]},
    )
    cloud.s3.put_object(Bucket=OUTPUT, Key=video.key, Body=b"another file", Tagging="a=b")

    publish(*stream_records(workspace))

    head = cloud.s3.head_object(Bucket=OUTPUT, Key=STABLE)
    assert cloud.outputs()[STABLE] == b"film"
    assert (head["ContentType"], head["CacheControl"]) == ("video/mp4", "no-cache")
    assert head["Metadata"] == {"phonoscene-job-id": an_id(1)}
    assert cloud.s3.get_object_tagging(Bucket=OUTPUT, Key=STABLE)["TagSet"] == []


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchVersion", "InvalidRequest"])
def test_a_copy_that_s3_refuses_is_set_aside_after_the_receipt_and_the_event(
    cloud: Cloud,
    bus: Bus,
    workspace: Workspace,
    publish: Callable[..., list[str]],
    environment: pytest.MonkeyPatch,
    code: str,
) -> None:
    with_video(cloud, workspace, 1, b"film")
    refusing = Refusing(cloud.s3, "copy_object", code, status=403)
    environment.setattr(StableVideos, "__init__", lambda self, _, name: _put(self, refusing, name))

    failed = publish(of_jobs(stream_records(workspace))[-1])

    assert failed == []
    assert receipt(cloud, "albums/song.status.json")["status"] == "SUCCEEDED"
    assert [sent["status"] for sent in bus.details] == ["SUCCEEDED"]
    assert [json.loads(body)["reason"] for body in cloud.verdicts()] == ["stable key refused"]


def test_a_repeat_of_a_job_whose_video_was_deleted_is_no_fault_of_the_stack(
    cloud: Cloud,
    workspace: Workspace,
    publish: Callable[..., list[str]],
) -> None:
    video = with_video(cloud, workspace, 1, b"film")
    publish(of_jobs(stream_records(workspace))[-1])
    job = workspace.read(1)
    for key in (video.key, STABLE):  # as a lifecycle rule does
        for one in cloud.s3.list_object_versions(Bucket=OUTPUT, Prefix=key)["Versions"]:
            cloud.s3.delete_object(Bucket=OUTPUT, Key=one["Key"], VersionId=one["VersionId"])
    workspace.store.mention(job, frozenset({"albums/song.wav.json"}), workspace.clock())

    failed = publish(of_jobs(stream_records(workspace))[-1])

    assert failed == []
    assert cloud.verdicts() == []
    assert (
        "albums/song.wav.json is not used" in receipt(cloud, "albums/song.status.json")["notes"][0]
    )


def _put(videos: StableVideos, client: Any, name: str) -> None:
    videos._client, videos.name = client, name


@pytest.mark.parametrize(
    ("code", "status"), [("SlowDown", 503), ("InternalError", 200), ("RequestTimeout", 400)]
)
def test_a_copy_that_fails_this_time_is_no_refusal(cloud: Cloud, code: str, status: int) -> None:
    videos = StableVideos(Refusing(cloud.s3, "copy_object", code, status), OUTPUT)  # type: ignore[arg-type]  # a stand-in

    with pytest.raises(ClientError):
        videos.copy(a_pointer(), None)


@pytest.mark.parametrize("code", ["PreconditionFailed", "ConditionalRequestConflict", "412"])
@pytest.mark.parametrize("found", [None, StableCopy('"etag"', "0" * 32)])
def test_a_copy_that_another_was_before_is_lost_and_no_failure(
    cloud: Cloud, code: str, found: StableCopy | None
) -> None:
    videos = StableVideos(Refusing(cloud.s3, "copy_object", code, status=412), OUTPUT)  # type: ignore[arg-type]  # a stand-in

    assert videos.copy(a_pointer(), found) is False


@pytest.mark.parametrize("code", ["NoSuchKey", "NoSuchVersion", "404"])
def test_a_copy_whose_video_is_gone_is_refused_and_not_tried_again_while_the_older_one_is_there(
    cloud: Cloud, code: str
) -> None:
    videos = StableVideos(Refusing(cloud.s3, "copy_object", code, status=404), OUTPUT)  # type: ignore[arg-type]  # a stand-in
    older = StableCopy('"etag"', "0" * 32)
    assert videos.copy(a_pointer(), older) is False  # the copy was deleted as well

    cloud.s3.put_object(Bucket=OUTPUT, Key="a.mp4", Body=b"an older film")

    for found in (older, None):
        with pytest.raises(StableKeyRefused):
            videos.copy(a_pointer(), found)


@pytest.mark.parametrize("code", ["AccessDenied", "403", "404"])
def test_a_stable_key_has_no_video_yet_with_or_without_leave_to_list(
    cloud: Cloud, code: str
) -> None:
    client: Any = Refusing(cloud.s3, "head_object", code)

    assert StableVideos(client, OUTPUT).find("a.mp4") is None


def test_a_sdk_that_knows_no_conditional_copies_is_a_refusal(cloud: Cloud) -> None:
    class Old:
        def copy_object(self, **given: Any) -> Any:
            return cloud.s3.copy_object(**given | {"NoSuchParameter": "x"})

    with pytest.raises(StableKeyRefused, match="NoSuchParameter"):
        StableVideos(Old(), OUTPUT).copy(a_pointer(), None)  # type: ignore[arg-type]  # a stand-in


def a_pointer() -> Pointer:
    stored = {"bucket": OUTPUT, "key": "a/1.mp4", "version_id": "v", "sha256": ""}
    video = Video(**stored, bytes=1, content_type="video/mp4", stable_keys=("a.mp4",))
    [pointer] = Pointer.all_of(numbered_job(status=S.SUCCEEDED, video=video))
    return pointer


# What fails


@pytest.fixture
def refusing(publish: Any, environment: pytest.MonkeyPatch) -> Callable[[str, int], None]:  # noqa: ARG001 - after its clients
    """Let S3 refuse the n-th write from now on with an error."""
    put, calls = ReceiptBucket.replace, [0]

    def refuse(code: str, nth: int) -> None:
        def replace(*arguments: Any) -> bool:
            calls[0] += 1
            if calls[0] == nth:
                raise ClientError({"Error": {"Code": code, "Message": ""}}, "PutObject")
            return put(*arguments)

        environment.setattr(ReceiptBucket, "replace", replace)

    return refuse


def test_a_record_that_fails_is_overtaken_by_none_and_comes_back_with_the_rest(
    cloud: Cloud,
    bus: Bus,
    workspace: Workspace,
    publish: Callable[..., list[str]],
    refusing: Callable[[str, int], None],
) -> None:
    for n in (1, 2):
        workspace.bring(S.SUBMITTED, n)
    records = of_jobs(stream_records(workspace))
    refusing("SlowDown", 2)

    failed = publish(*records)
    published = [sent["status"] for sent in bus.details]
    again = publish(*records[3:])

    numbers = [one["dynamodb"]["SequenceNumber"].lstrip("0") for one in records]
    assert failed == numbers[3:]  # Lambda begins again at the lowest of them
    assert (published, again) == (["READY", "SUBMITTING", "SUBMITTED"], [])
    assert [sent["status"] for sent in bus.details] == ["READY", "SUBMITTING", "SUBMITTED"] * 2
    assert len({sent["id"] for sent in bus.details}) == len(bus.details)
    assert receipt(cloud)["status"] == "SUBMITTED"


def test_a_batch_of_which_nothing_was_published_fails_as_a_whole(
    bus: Bus,
    workspace: Workspace,
    publish: Callable[..., list[str]],
    refusing: Callable[[str, int], None],
) -> None:
    workspace.bring(S.SUBMITTED)
    refusing("SlowDown", 1)

    with pytest.raises(ClientError, match="SlowDown"):
        publish(*of_jobs(stream_records(workspace)))

    assert bus.events == []


def test_an_event_that_the_bus_did_not_take_is_sent_again_and_the_receipt_stays(
    cloud: Cloud, bus: Bus, workspace: Workspace, publish: Callable[..., list[str]]
) -> None:
    workspace.bring(S.SUBMITTING)
    records = of_jobs(stream_records(workspace))
    bus.refuses = [None, "ThrottlingException"]

    failed = publish(*records)
    versions = cloud.output_versions()
    again = publish(*records[1:])

    assert (len(failed), again) == (1, [])
    assert [sent["status"] for sent in bus.details] == ["READY", "SUBMITTING"]
    assert len(versions) == 1
    assert cloud.output_versions() == versions  # the second time it was there already


def test_a_bus_that_refuses_is_distinguished_from_one_that_takes(bus: Bus) -> None:
    job = numbered_job()
    sent = StatusChanged.of(None, job, None, OUTPUT)
    assert sent
    bus.refuses = ["InternalFailure"]

    with pytest.raises(EventRefused, match="InternalFailure"):
        EventBus(bus.client, "bus").send(sent)


def test_too_little_time_for_a_record_leaves_it_and_its_followers_to_the_next_invocation(
    bus: Bus,
    workspace: Workspace,
    publish: Callable[..., list[str]],
    context: Context,
    environment: pytest.MonkeyPatch,
) -> None:
    workspace.bring(S.SUBMITTED)
    left = iter([60_000, 19_999, 60_000])
    environment.setattr(
        type(context), "get_remaining_time_in_millis", lambda _: next(left), raising=True
    )

    failed = publish(*of_jobs(stream_records(workspace)))

    assert len(failed) == 2
    assert [sent["status"] for sent in bus.details] == ["READY"]


def test_a_record_whose_video_may_have_to_be_copied_needs_the_time_for_it(
    cloud: Cloud,
    bus: Bus,
    workspace: Workspace,
    publish: Callable[..., list[str]],
    context: Context,
    environment: pytest.MonkeyPatch,
) -> None:
    with_video(cloud, workspace, 1, b"film")
    first, *others = of_jobs(stream_records(workspace))
    left = iter([110_000, 109_999])
    environment.setattr(type(context), "get_remaining_time_in_millis", lambda _: next(left))

    failed = publish(first, *others)

    assert len(failed) == len(others)
    assert [sent["status"] for sent in bus.details] == ["READY"]
    assert cloud.outputs()[STABLE] == b"film"


UNREADABLE = {
    "a status of a later release": {"status": {"S": "DREAMING"}},
    "a number in the place of a text": {"name": {"N": "7"}},
    "a time that is none": {"created_at": {"S": "yesterday"}},
    "a turn that is none": {"due_at": {"S": "soon"}, "dispatch_at": {"S": "soon"}},
    "a turn of another kind": {"due_at": {"N": "1"}, "dispatch_at": {"N": "1"}},
}


@pytest.mark.parametrize("spoilt", UNREADABLE.values(), ids=UNREADABLE)
def test_a_record_that_cannot_be_read_is_set_aside_and_delays_no_other(
    cloud: Cloud,
    bus: Bus,
    workspace: Workspace,
    publish: Callable[..., list[str]],
    log: io.StringIO,
    spoilt: dict[str, Any],
) -> None:
    for n in (1, 2):
        workspace.bring(S.READY, n, arguments={"prompt": "PRIVATE"})
    records = stream_records(workspace)
    records[0]["dynamodb"]["NewImage"] = records[0]["dynamodb"]["NewImage"] | spoilt

    failed = publish(*records)

    assert failed == []
    assert [json.loads(body) for body in cloud.verdicts()] == [
        {"job_id": an_id(1), "reason": "unreadable"}
    ]
    assert list(cloud.outputs()) == ["albums/song2.status.json"]
    assert len(bus.events) == 1
    assert "record.unreadable" in log.getvalue()
    assert "PRIVATE" not in log.getvalue()


@pytest.mark.parametrize("spoilt", UNREADABLE.values(), ids=UNREADABLE)
def test_a_write_before_one_that_cannot_be_read_has_its_receipt(
    cloud: Cloud,
    workspace: Workspace,
    publish: Callable[..., list[str]],
    spoilt: dict[str, Any],
) -> None:
    workspace.bring(S.SUBMITTING)
    before, after = of_jobs(stream_records(workspace))
    after["dynamodb"]["NewImage"] = after["dynamodb"]["NewImage"] | spoilt

    assert publish(before, after) == []
    assert receipt(cloud)["status"] == "READY"
    assert len(cloud.verdicts()) == 1


def test_a_record_that_was_unreadable_is_published_when_it_is_mended(
    cloud: Cloud, bus: Bus, workspace: Workspace, publish: Callable[..., list[str]]
) -> None:
    workspace.bring(S.READY)
    (one,) = stream_records(workspace)
    mended = one["dynamodb"]["NewImage"]
    one["dynamodb"]["OldImage"] = mended | {"status": {"S": "DREAMING"}}

    publish(one)

    assert receipt(cloud)["status"] == "READY"
    assert [sent["status"] for sent in bus.details] == ["READY"]


@pytest.mark.parametrize(
    "code", ["PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "412", "409", "404"]
)
def test_a_write_that_another_was_before_is_lost_and_no_failure(cloud: Cloud, code: str) -> None:
    client: Any = Refusing(cloud.s3, "put_object", code)

    assert ReceiptBucket(client, OUTPUT).replace(None, "a.status.json", b"{}") is False


@pytest.mark.parametrize("code", ["AccessDenied", "403"])
def test_a_receipt_that_was_deleted_since_it_was_read_is_read_again_and_no_failure(
    cloud: Cloud, code: str
) -> None:
    receipts = ReceiptBucket(Refusing(cloud.s3, "put_object", code), OUTPUT)  # type: ignore[arg-type]  # a stand-in

    assert receipts.replace(StoredReceipt(b"{}", '"etag"'), "a.status.json", b"{}") is False
    with pytest.raises(ClientError):
        receipts.replace(None, "a.status.json", b"{}")


@pytest.mark.parametrize("code", ["NoSuchKey", "AccessDenied", "403", "404"])
def test_what_is_not_there_is_not_there_with_or_without_leave_to_list(
    cloud: Cloud, code: str
) -> None:
    client: Any = Refusing(cloud.s3, "get_object", code)

    assert ReceiptBucket(client, OUTPUT).read("a.status.json") is None


@pytest.mark.parametrize("operation", ["get_object", "put_object"])
def test_any_other_error_of_s3_rises(cloud: Cloud, operation: str) -> None:
    receipts = ReceiptBucket(Refusing(cloud.s3, operation, "SlowDown"), OUTPUT)  # type: ignore[arg-type]  # a stand-in

    with pytest.raises(ClientError):
        receipts.read("a") if operation == "get_object" else receipts.replace(None, "a", b"")


class Refusing:
    """A client of S3 that refuses one operation."""

    def __init__(self, client: Any, operation: str, code: str, status: int = 0) -> None:
        self._client, self._operation, self._code = client, operation, code
        self._status = status

    def __getattr__(self, name: str) -> Any:
        if name != self._operation:
            return getattr(self._client, name)

        def refuse(**_: Any) -> None:
            error: Any = {"Code": self._code, "Message": ""}
            metadata: Any = {"HTTPStatusCode": self._status}
            raise ClientError({"Error": error, "ResponseMetadata": metadata}, name)

        return refuse


def test_what_was_read_is_replaced_once_and_only_by_who_has_read_it(cloud: Cloud) -> None:
    receipts = ReceiptBucket(cloud.s3, OUTPUT)

    first = [receipts.replace(None, "a.status.json", body) for body in (b"1", b"2")]
    kept = receipts.read("a.status.json")
    second = [receipts.replace(kept, "a.status.json", body) for body in (b"3", b"4")]

    assert (first, second) == ([True, False], [True, False])
    assert cloud.outputs()["a.status.json"] == b"3"


def test_no_more_is_read_than_a_receipt_can_be_long(cloud: Cloud) -> None:
    cloud.s3.put_object(Bucket=OUTPUT, Key="a.status.json", Body=b"x" * (2**20 + 1))

    kept = ReceiptBucket(cloud.s3, OUTPUT).read("a.status.json")

    assert kept
    assert len(kept.body) == 2**20


@pytest.mark.parametrize(
    "name", ["a b+c%d", "\N{SNOWMAN}/é", "x" * 1020, "\N{GRINNING FACE}" * 255, "/a//b", "a/../b"]
)
def test_a_receipt_of_any_name_can_be_written(
    cloud: Cloud, workspace: Workspace, publish: Callable[..., list[str]], name: str
) -> None:
    workspace.bring(S.READY, name=name)

    failed = publish(*stream_records(workspace))

    ((key, body),) = cloud.outputs().items()
    assert failed == []
    assert json.loads(body)["name"] == name
    assert len(key.encode()) <= 1024


def test_nothing_secret_reaches_a_log_a_receipt_or_an_event(
    cloud: Cloud,
    bus: Bus,
    workspace: Workspace,
    publish: Callable[..., list[str]],
    log: io.StringIO,
) -> None:
    job = workspace.bring(S.GENERATED, arguments={"prompt": "PRIVATE", "video_output_type": "x"})

    publish(*stream_records(workspace))

    out = log.getvalue() + json.dumps(receipt(cloud)) + json.dumps(bus.details)
    assert job.source_url
    for secret in (job.source_url, *job.token_hashes, "PRIVATE", stack.FAL_KEY):
        assert secret not in out
