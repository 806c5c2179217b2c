"""A jobs table, a clock that the test sets, and fakes for what the workflows call."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, Self

from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.errors import CopyFailed, FalUnavailable
from phonoscene.fal.webhook_message import WebhookMessage, hash_token
from phonoscene.jobs import FINAL, Audio, DropObject, Estimate, Job, JobStatus, Request
from phonoscene.limits import SpendingLimits
from phonoscene.table.items import from_item, index_attributes, to_dynamodb, to_item, to_record
from phonoscene.table.job_store import JobStore
from phonoscene.videos.cdn import Part, Source
from phonoscene.videos.output_bucket import OutputBucket
from phonoscene.workflow.cancellation import Canceller
from phonoscene.workflow.dispatch import Dispatcher
from phonoscene.workflow.media_urls import Presigned
from phonoscene.workflow.reconciliation import RUN_AND_CALL, START_TIMEOUT, Reconciler
from phonoscene.workflow.storing import ResultHandler
from phonoscene.workflow.submission import SubmissionSettings, Submitter
from tests.integration.fal_queue import FakeFalQueue
from tests.integration.moto_stack import Cloud, client
from tests.support.fakes.table import Refused as TableRefused
from tests.support.fakes.table import Table
from tests.support.jobs import a_job
from tests.support.media.samples import video_file
from tests.support.stack import DROPS, JOBS, OUTPUT, WEBHOOKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

START: Final = datetime(2026, 11, 22, 10, 15, 30, tzinfo=UTC)
DAY: Final = "2026-11-22"
SILENCE: Final = START_TIMEOUT + RUN_AND_CALL
USD: Final = Decimal("0.5000")
QUEUE: Final = "https://queue.fal.run/fal-ai/ltx-2.3-22b/requests"
ENDINGS: Final = FINAL | {JobStatus.READY}

_S = JobStatus
#: The steps that lead to a state.
WAY: Final[dict[JobStatus, tuple[JobStatus, ...]]] = {
    _S.READY: (),
    _S.SUBMITTING: (_S.SUBMITTING,),
    _S.UNCONFIRMED: (_S.SUBMITTING, _S.UNCONFIRMED),
    _S.SUBMITTED: (_S.SUBMITTING, _S.SUBMITTED),
    _S.GENERATED: (_S.SUBMITTING, _S.SUBMITTED, _S.GENERATED),
    _S.SUCCEEDED: (_S.SUBMITTING, _S.SUBMITTED, _S.GENERATED, _S.SUCCEEDED),
    _S.FAILED: (_S.SUBMITTING, _S.SUBMITTED, _S.FAILED),
    _S.CANCELLED: (_S.CANCELLED,),
}


@dataclass
class Clock:
    """The time, until the test says otherwise."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, **span: float) -> None:
        self.now += timedelta(**span)


#: Moto's transactions copy the tables and put them back: threads take turns.
MOTO: Final = RLock()


class RecordingClient:
    """A client of DynamoDB that writes down its calls; ``before`` may make one fail."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.calls: list[str] = []
        self.before: Callable[[str, dict[str, Any]], None] = lambda _, __: None

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._client, name)
        if name == "exceptions":
            return inner

        def call(*args: Any, **request: Any) -> Any:
            self.calls.append(name)
            self.before(name, request)
            with MOTO:
                return inner(*args, **request)

        return call


class FakeDynamoDB:
    """DynamoDB's client over a table in this process, whose answers are compared with moto's."""

    def __init__(self, jobs: Sequence[Job] = ()) -> None:
        real = client("dynamodb")
        self.exceptions = real.exceptions
        self._operations = real.meta.method_to_api_mapping
        self._table = Table()
        for job in jobs:
            item = to_item(to_record(job) | index_attributes(job, None))
            self._table.answer("PutItem", {"TableName": JOBS, "Item": item})

    def __getattr__(self, name: str) -> Any:
        operation = self._operations[name]

        def call(**request: Any) -> Any:
            try:
                return self._table.answer(operation, request)
            except TableRefused as exc:
                error: Any = self.exceptions.from_code(str(exc))
                raise error(exc.response, operation) from exc

        return call

    def items(self) -> list[dict[str, Any]]:
        """Every record, as Python values; not the sums."""
        return [from_item(item) for item in self._table.items() if "status" in item]

    def item(self, job_id: str) -> dict[str, Any]:
        """One of them."""
        return next(item for item in self.items() if item["job_id"] == job_id)

    def index(self, name: str) -> set[str]:
        """The ids that an index holds."""
        return self._table.index(name)


def canceled(client: Any, *reasons: dict[str, Any] | str) -> Exception:
    """What DynamoDB raises for a transaction that it cancelled, for these reasons."""
    shown = [{"Code": reason} if isinstance(reason, str) else reason for reason in reasons]
    code = "TransactionCanceledException"
    made: Exception = client.exceptions.TransactionCanceledException(
        {"Error": {"Code": code, "Message": ""}, "CancellationReasons": shown}, "TransactWriteItems"
    )
    return made


@dataclass
class FakeCdn:
    """fal's CDN, with one video at every URL."""

    body: bytes = field(default_factory=lambda: video_file(".mp4"))
    opened: list[str] = field(default_factory=list)
    is_down: bool = False

    @contextmanager
    def open(self, url: str, _: int | None = None) -> Iterator[Source]:
        self.opened.append(url)
        if self.is_down:
            raise CopyFailed("the CDN answered 503")
        yield OnePartSource(self.body)


class OnePartSource(Source):
    """A video of one part."""

    def __init__(self, body: bytes) -> None:
        no_one: Any = None
        super().__init__(no_one, len(body))
        self._begin(Part(0, bytearray(body)))

    def _next(self, _: Part | None) -> None:
        return None


@dataclass
class RecordingQueues:
    """Both queues: the jobs dispatched and the messages sent."""

    dispatched: list[str] = field(default_factory=list)
    delivered: list[WebhookMessage] = field(default_factory=list)

    def dispatch(self, job_ids: Sequence[str]) -> None:
        self.dispatched += job_ids

    def send(self, webhook: WebhookMessage) -> None:
        self.delivered.append(webhook)


def an_id(n: int) -> str:
    """The n-th job's; it is in shard n of 16."""
    return f"{n:08x}" + "0" * 24


def a_request(name: str) -> Request:
    url = f"{QUEUE}/{name}"
    return Request(
        request_id=name, status_url=f"{url}/status", response_url=url, cancel_url=f"{url}/cancel"
    )


def numbered_job(n: int = 1, usd: Decimal = USD, at: datetime = START, **fields: Any) -> Job:
    """A READY job, unless ``status`` says otherwise; it has no audio, so nothing is presigned."""
    status = fields.pop("status", _S.READY)
    cost = Estimate(
        width=1, height=1, frames=9, megapixels=Decimal(1), lower_usd=usd, upper_usd=usd
    )
    answer = {
        "job_id": an_id(n),
        "name": f"albums/song{n}",
        "arguments": {"prompt": "A stage", "video_output_type": "X264 (.mp4)"},
        "estimate": cost,
    }
    return a_job(status, at, **answer | fields)


def noted(job: Job, *, writes: int = 1, **changes: Any) -> Job:
    """The record after one more write, or several, which were no steps."""
    return job.model_copy(update=changes | {"revision": job.revision + writes})


def numbered_half(n: int = 1, at: datetime = START, *, is_audio: bool = True) -> Job:
    """A record that waits for the other half."""
    pinned = {"key": f"albums/song{n}.mp3" if is_audio else f"albums/song{n}.json"}
    half: dict[str, Any] = (
        {"audio": Audio(**pinned, version_id="v1", bytes=9)}
        if is_audio
        else {"sidecar": DropObject(**pinned, version_id="v1")}
    )
    return a_job(_S.WAITING, at, job_id=an_id(n), name=f"albums/song{n}", **half)


@dataclass
class Workspace:
    """One table, one clock, and the workflows on them."""

    cloud: Cloud
    limits: SpendingLimits = field(default_factory=lambda: SpendingLimits(4, Decimal(10)))
    clock: Clock = field(default_factory=Clock)
    fal: FakeFalQueue = field(default_factory=FakeFalQueue)
    queues: RecordingQueues = field(default_factory=RecordingQueues)
    cdn: FakeCdn = field(default_factory=FakeCdn)
    slept: list[float] = field(default_factory=list)
    #: Of a table; functions and the command line know the stack's alone (``on_moto``).
    client: Any = field(default_factory=FakeDynamoDB)

    def __post_init__(self) -> None:
        self.recording_client = RecordingClient(self.client)
        self.store = self.store_on(self.recording_client)

    @classmethod
    def on_moto(cls, cloud: Cloud, **parts: Any) -> Self:
        """With the stack's own table."""
        return cls(cloud, client=cloud.dynamodb, **parts)

    def store_on(self, client: Any) -> JobStore:
        """The same table, through another client."""
        return JobStore(client, JOBS, clock=self.clock, sleep=self.slept.append)

    @property
    def bucket(self) -> DropBucket:
        return DropBucket(self.cloud.s3, self.cloud.s3, DROPS)

    @property
    def submitter(self) -> Submitter:
        media = Presigned(self.bucket, TERMS.audio_url_ttl)
        return Submitter(media, self.store, _as_any(self.fal), TERMS, self.limits)

    @property
    def reconciler(self) -> Reconciler:
        queues = _as_any(self.queues)
        dispatcher = Dispatcher(self.store, queues, self.limits)
        return Reconciler(self.store, _as_any(self.fal), queues, dispatcher)

    @property
    def canceller(self) -> Canceller:
        return Canceller(self.store, _as_any(self.fal))

    @property
    def result_handler(self) -> ResultHandler:
        output = OutputBucket(self.cloud.s3, OUTPUT)
        return ResultHandler(self.store, _as_any(self.fal), _as_any(self.cdn), output)

    def admit(self, n: int = 1, usd: Decimal = USD, **fields: Any) -> Job:
        return self.store.admit(numbered_job(n, usd, self.clock(), **fields), ())

    def bring(self, status: JobStatus, n: int = 1, **fields: Any) -> Job:
        """A job that came to a state by the writes that lead there."""
        if status is _S.WAITING:
            self.store.wait(
                half := numbered_half(n, self.clock()), self.clock() + timedelta(minutes=60)
            )
            return half
        if status is _S.REJECTED:
            return self.admit(n, status=status, **fields)
        job = self.admit(n, **fields)
        for step in WAY[status]:
            job = self.step(job, step)
        return job

    def step(self, job: Job, status: JobStatus, **changes: Any) -> Job:
        """One step as the product takes it: a claim takes, an end gives back."""
        if status is _S.SUBMITTING:
            return self.store.claim(job, self.limits, token_hash_of(job, job.attempt + 1))
        if status is _S.SUBMITTED:
            changes.setdefault("request", request_of(job))
        if status is _S.GENERATED:
            changes |= {"request": job.request or request_of(job), "source_url": VIDEO_URL}
        take = self.store.end if status in ENDINGS else self.store.move
        return take(job, status, **changes)

    def read(self, n: int = 1) -> Job:
        found = self.store.get(an_id(n))
        assert found
        return found

    def turn(self, n: int = 1) -> datetime | None:
        """When somebody will look at a job: at what its index is sorted by."""
        key = {"job_id": {"S": an_id(n)}}
        item = from_item(self.client.get_item(TableName=JOBS, Key=key)["Item"])
        answer = item.get("dispatch_at") or item.get("due_at")
        return datetime.fromisoformat(answer) if answer else None

    def sums(self, day: str = DAY) -> tuple[int, Decimal, Decimal]:
        """Jobs in flight; dollars of a day that are committed, and of them reserved."""
        window, budget = self._sums("window"), self._sums(f"budget#{day}")
        zero = Decimal(0)
        return (
            len(window.get("in_flight", ())),
            budget.get("committed_usd", zero),
            budget.get("reserved_usd", zero),
        )

    def _sums(self, key: str) -> dict[str, Any]:
        found = self.client.get_item(TableName=JOBS, Key={"job_id": {"S": key}})
        return from_item(found.get("Item", {}))

    def set_window(self, **attributes: Any) -> None:
        """As somebody from outside would: a leak, a pause."""
        self.set_sums("window", **attributes)

    def set_sums(self, key: str, **attributes: Any) -> None:
        """The same for any sum."""
        written = {name: to_dynamodb(value) for name, value in attributes.items()}
        self.client.update_item(
            TableName=JOBS,
            Key={"job_id": {"S": key}},
            UpdateExpression="SET " + ", ".join(f"{name} = :{name}" for name in written),
            ExpressionAttributeValues=to_item({f":{n}": value for n, value in written.items()}),
        )


TERMS: Final = SubmissionSettings(WEBHOOKS, 3600, 86400)
VIDEO_URL: Final = "https://v3.fal.media/files/b/koala/video.mp4"
UNHEARD: Final = FalUnavailable("fal could not be asked: ReadTimeout")


def _as_any(stand_in: Any) -> Any:
    """It plays its part by its methods; the product's classes are no protocols."""
    return stand_in


def token_hash_of(job: Job, attempt: int) -> str:
    """Of the token that ``Workspace.step`` gives an attempt."""
    return hash_token(f"{job.job_id}, attempt {attempt}")


def request_of(job: Job, attempt: int | None = None) -> Request:
    """What fal calls an attempt in these tests."""
    return a_request(f"request-{job.job_id[:8]}-{attempt or job.attempt}")


def result_message(job: Job, attempt: int | None = None, **body: Any) -> WebhookMessage:
    """fal's result of an attempt, by default the job's last: OK, unless ``body`` says otherwise."""
    number = attempt or job.attempt
    request_id = request_of(job, number).request_id
    fields = {"status": "OK", "payload": {"video": {"url": VIDEO_URL}}} | body
    return WebhookMessage(
        job_id=job.job_id,
        token_hash=job.token_hashes[number - 1],
        request_id=request_id,
        body=json.dumps({"request_id": request_id, **fields}),
    )


def failure(job: Job, error_type: str = "runner_disconnected", **answer: Any) -> WebhookMessage:
    """The same, where the run failed by fal's own fault or for another reason."""
    payload = {"detail": "It did not work.", "error_type": error_type}
    return result_message(job, status="ERROR", payload=payload, **answer)
