"""The deployed functions in a world of their own: AWS, fal, two queues, a schedule, and a clock.

The handlers are those of ``functions/``, built by their own ``build()`` with the template's own
settings. What is replaced is below boto3, httpx and http.client, and is the clock and the
threads. Time jumps from event to event. The schedule ticks each minute, and more and more rarely
while nothing but ticks happens: the product must not count them.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import random
import re
import secrets
import types
from collections import defaultdict
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Self

import boto3
import httpx
import pytest
from botocore.client import BaseClient

from phonoscene.drops.contents import MARK
from phonoscene.editing.joiner import Joined
from phonoscene.editing.slices import write_slices
from phonoscene.fal import signing_keys, webhook_message
from phonoscene.net import connections, deadlines
from phonoscene.observability import metrics
from phonoscene.sequences import media_editor
from phonoscene.table import items, job_store
from phonoscene.table.job_store import JobStore
from phonoscene.videos import cdn, output_bucket
from phonoscene.workflow import reconciliation
from tests.support import stack
from tests.support.fakes import stream
from tests.support.fakes.aws import KEY, Buckets, Message, Queue
from tests.support.fakes.calls import Calls, Crash, NotModelled
from tests.support.fakes.fal import KEY_SET, Fal, Line, Play
from tests.support.fakes.table import Refused, Table
from tests.support.functions import load_function
from tests.support.jobs import NOON
from tests.support.template import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType
    from urllib.parse import SplitResult

    from botocore.config import Config

    from phonoscene.jobs import Job

MINUTE: Final = timedelta(minutes=1)
MAX_PAUSE: Final = timedelta(minutes=16)
#: Ticks after everything has ended: nothing may be put right, or found to be done, then.
LAST_TICKS: Final = 2
FUNCTIONS: Final = ("submit", "probe", "edit", "webhook", "store", "reconcile", "publish")
#: Whose own clock must be this world's.
WITH_STORE: Final = ("submit", "store", "reconcile")
#: Records that Lambda hands to the stream's reader at once, and how often before it gives one up.
BATCH: Final = 25
MAX_TRIES: Final = 9
CLIENTS: Final[dict[str, Any]] = {}


@dataclass(frozen=True)
class Context:
    """What Powertools and the handlers read of Lambda's context."""

    function_name: str
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:a-function"
    aws_request_id: str = "52fdfc07-2182-454f-963f-5f0f9a621d72"

    def get_remaining_time_in_millis(self) -> int:
        return 120_000


class Inline:
    """A pool that runs what it is given at once: one order of calls, and so one name for each."""

    def __init__(self, _: int) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, task: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(task(*arguments))
        except Exception as exc:  # noqa: BLE001 - the future tells it; a crash goes on
            future.set_exception(exc)
        return future


class Stopped:
    """A timer that never ends: no time passes in a call of this world."""

    def __init__(self, *_: Any) -> None:
        self.daemon = False

    def start(self) -> None:
        pass

    def cancel(self) -> None:
        pass


@cache
def function(name: str) -> ModuleType:
    """functions/<name>/app.py, as Lambda loads it."""
    return load_function(name, f"phonoscene_crash_{name}_app")


def load() -> None:
    """Load every function now: processes that are forked later all run the same code."""
    for name in FUNCTIONS:
        function(name)


@cache
def environment(name: str) -> dict[str, str]:
    """The variables that the template gives a function."""
    resource = read()["Resources"][f"{name.title()}Function"]["Properties"]
    return {key: _resolved(value) for key, value in resource["Environment"]["Variables"].items()}


def _resolved(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    parameters = read()["Parameters"]
    [(intrinsic, target)] = value.items()
    if intrinsic == "Fn::If":  # no condition of the template holds by default
        return _resolved(target[2])
    if intrinsic == "Fn::Sub":
        return stack.WEBHOOKS
    return RESOURCES[target] if target in RESOURCES else str(parameters[target]["Default"])


RESOURCES: Final = {
    "PricePerMegapixelUsd": stack.PRICE,
    "DropBucket": stack.DROPS,
    "OutputBucket": stack.OUTPUT,
    "JobsTable": stack.JOBS,
    "DropsQueue": "drops",
    "VerdictsQueue": "verdicts",
    "UnpublishedQueue": "unpublished",
    "EventBus": "bus",
    "ProbeFunction": "probe",
    "EditFunction": "edit",
}


def _queue(resource: str, trigger: str, clock: Callable[[], datetime]) -> Queue:
    """An SQS queue as the template has it, with the function that reads it."""
    resources = read()["Resources"]
    queue = resources[resource]["Properties"]
    delay = queue.get("DelaySeconds", 0)
    events = resources[trigger]["Properties"]["Events"].values()
    return Queue(
        clock=clock,
        delay=int(_resolved(delay)),
        visibility=queue["VisibilityTimeout"],
        most_receives=queue["RedrivePolicy"]["maxReceiveCount"],
        batch=int(_resolved(next(one["Properties"]["BatchSize"] for one in events))),
    )


@dataclass
class World:
    """One run, from the first drop until nothing changes any more."""

    calls: Calls = field(default_factory=Calls)
    play: Play = field(default_factory=Play)
    settings: dict[str, str] = field(default_factory=dict)
    now: datetime = NOON
    #: What people do, and when.
    script: list[tuple[datetime, Callable[[], object]]] = field(default_factory=list)
    #: Events of one run; an undisturbed one has about ten.
    most_events: int = 400
    #: Partitions of an index. With the product's 16, two thirds of a run's calls are queries that
    #: find nothing.
    shards: int = 3
    #: Bytes of a part of a video.
    part: int = cdn.PART
    table: Table = field(default_factory=Table)
    #: Items of the table by their ids, each with the job that it is.
    jobs: dict[int, tuple[dict[str, Any], Job]] = field(default_factory=dict)
    #: The product's metrics, summed up.
    measured: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    #: The details of what was put on the bus, and what was set aside.
    events: list[str] = field(default_factory=list)
    unpublished: list[str] = field(default_factory=list)
    #: Whether the stream is published when everything is at rest: it costs a third of a run's time.
    publishes: bool = True
    #: What happened, for a person who looks for the reason.
    log: list[str] = field(default_factory=list)
    is_settled: bool = False

    def __post_init__(self) -> None:
        clock = lambda: self.now  # noqa: E731 - handed to everything that asks for the time
        self.buckets = Buckets(clock)
        self.fal = Fal(clock, self.play, self._webhook)
        self.queues = {
            "drops": _queue("DropsQueue", "SubmitFunction", clock),
            "verdicts": _queue("VerdictsQueue", "StoreFunction", clock),
        }
        self._readers = {"drops": "submit", "verdicts": "store"}
        self._tick_at, self._pause = self.now + MINUTE, MINUTE

    # people

    def at(self, seconds: float, act: Callable[[], object]) -> None:
        """Have something done at a time."""
        self.script.append((NOON + timedelta(seconds=seconds), act))

    def drop(
        self,
        key: str,
        body: bytes | dict[str, Any] | list[Any],
        *,
        times: int = 1,
        delay: int | None = None,
        mark: str = "",
    ) -> None:
        """Put an object in the drop bucket; S3 announces it, perhaps more than once."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        metadata = {MARK: mark} if mark else {}
        self.buckets.put(stack.DROPS, key, raw, **metadata)
        for _ in range(times):
            self.announce(key, delay)

    def touch(self, key: str, delay: int | None = None) -> None:
        """Copy an object onto itself: a new version of the same bytes and the same metadata."""
        version = self.buckets.versions[stack.DROPS, key][-1]
        self.buckets.put(stack.DROPS, key, version.body, **dict(version.metadata))
        self.announce(key, delay)

    def announce(self, key: str, delay: int | None = None) -> None:
        """S3's event of an object, by way of EventBridge."""
        at = self.buckets.versions[stack.DROPS, key][-1].modified
        self.send("drops", json.dumps(stack.created(key, at)), delay)

    def send(self, queue: str, body: str, delay: int | None = None) -> None:
        """A message of somebody's."""
        target = self.queues[queue]
        seconds = target.delay if delay is None else delay
        target.messages.append(Message(body, self.now + timedelta(seconds=seconds)))

    # time

    def run(self) -> None:
        """Until nothing changes any more."""
        with self.under():
            self.settle()

    def settle(self) -> None:
        """Let everything happen that will happen by itself."""
        self.is_settled = self._comes_to_rest()
        for _ in range(LAST_TICKS):
            self.now = max(self.now, self._tick_at) + 3 * MINUTE
            self.invoke("reconcile", {})
            self.is_settled = self.is_settled and self._comes_to_rest()
        if self.publishes:
            with self._uncounted():
                self.publish()

    def _comes_to_rest(self) -> bool:
        return any(not self._step() for _ in range(self.most_events))

    def _step(self) -> bool:
        """The next event; whether there was one."""
        at, act, is_tick = self._next()
        if act is None:
            return False
        self.now = max(self.now, at)
        crashes = self.calls.crashes
        act()
        is_quiet = is_tick and self.calls.crashes == crashes
        self._pause = min(2 * self._pause, MAX_PAUSE) if is_quiet else MINUTE
        self._tick_at = self.now + self._pause if is_tick else min(self._tick_at, self.now + MINUTE)
        return True

    def _next(self) -> tuple[datetime, Callable[[], object] | None, bool]:
        events: list[tuple[datetime, Callable[[], object], bool]] = []
        if self.script:
            at, act = min(self.script, key=lambda entry: entry[0])
            events.append((at, partial(self._act, (at, act)), False))
        for name, queue in self.queues.items():
            if queue.messages:
                at = min(message.visible_at for message in queue.messages)
                events.append((at, partial(self.receive, name), False))
        webhook_at = self.fal.next_at()
        if webhook_at:
            events.append((webhook_at, self.fal.act, False))
        if events or self.is_moving():
            events.append((self._tick_at, partial(self.invoke, "reconcile", {}), True))
        return min(events, key=lambda event: event[0]) if events else (self.now, None, False)

    def wait(self, minutes: int) -> None:
        """Let time pass."""
        self.now += minutes * MINUTE

    def _act(self, entry: tuple[datetime, Callable[[], object]]) -> None:
        self.script.remove(entry)
        entry[1]()

    def is_moving(self) -> bool:
        """Whether a record says that somebody must still look at it."""
        return any({"due_at", "dispatch_at"} & set(item) for item in self.table.items())

    # the stream

    @contextmanager
    def _uncounted(self) -> Iterator[None]:
        """Calls that no crash is planned for: no one reads what is published.

        ``test_publication`` plans for them, on what undisturbed worlds have written.
        """
        counted, self.calls = self.calls, Calls()
        try:
            yield
        finally:
            self.calls = counted

    def publish(self, seed: int = 0) -> None:
        """Tell the stream: shuffled across records, some of it twice, the end once more."""
        for batch in self.batches(seed):
            self.hand_out(batch)

    def batches(self, seed: int) -> Iterator[list[dict[str, Any]]]:
        """The stream's records as its reader gets them: each batch, and then some of it again."""
        choose = random.Random(seed or len(self.table.changes))  # noqa: S311 - a sample
        answer = stream.shuffled(self.table.changes, choose)
        while answer:
            batch, answer = answer[:BATCH], answer[BATCH:]
            yield batch
            yield batch[choose.randrange(len(batch)) :]

    def hand_out(self, records: list[dict[str, Any]]) -> None:
        """As Lambda does: again from the first that failed; all of it where the process died."""
        for _ in range(MAX_TRIES):
            answer = self.invoke("publish", stream.batch(records))
            failed = answer and {one["itemIdentifier"] for one in answer["batchItemFailures"]}
            if answer and not failed:
                return
            numbers = [one["dynamodb"]["SequenceNumber"] for one in records]
            records = records[numbers.index(min(failed)) if failed else 0 :]
        self.unpublished.append("given up")

    # the functions

    def receive(self, name: str) -> None:
        """Hand the oldest visible messages to the queue's reader; what it fails comes back."""
        queue = self.queues[name]
        visible = [message for message in queue.messages if message.visible_at <= self.now]
        batch = visible[: queue.batch]
        for message in batch:
            message.receives += 1
            message.visible_at = self.now + timedelta(seconds=queue.visibility)
        event = stack.sqs(*(message.body for message in batch))
        answer = self.invoke(self._readers[name], event)
        failed = (
            []
            if answer is None
            else [entry["itemIdentifier"] for entry in answer["batchItemFailures"]]
        )
        for number, message in enumerate(batch):
            is_done = answer is not None and f"m{number}" not in failed
            is_dead = not is_done and message.receives >= queue.most_receives
            if is_done or is_dead:
                queue.messages.remove(message)
            if is_dead:
                queue.dead.append(message)

    def receive_all(self, name: str) -> None:
        """Until no message is visible."""
        queue = self.queues[name]
        while any(message.visible_at <= self.now for message in queue.messages):
            self.receive(name)

    def _webhook(self, url: str, headers: dict[str, str], body: bytes) -> int:
        """fal's POST through the HTTP API; a function that dies answers 500."""
        match = re.fullmatch(re.escape(stack.WEBHOOKS) + r"/webhooks/fal/([^/]+)/([^/]+)", url)
        assert match, url
        path = {"job_id": match[1], "token": match[2]}
        text = base64.b64encode(body).decode()
        event = {"pathParameters": path, "headers": headers, "body": text, "isBase64Encoded": True}
        answer = self.invoke("webhook", event)
        return int(answer["statusCode"]) if answer else 500

    def invoke(self, name: str, event: Any) -> Any:
        """One invocation; None where the process died, and the next begins anew."""
        self.log.append(f"{self.now:%H:%M:%S} {name}")
        module = function(name)
        random.seed(self.now.timestamp())  # the product's jitter
        with self.calls.of(name):
            try:
                return module.handler(event, Context(name))
            except Crash:
                self.log.append(f"{self.now:%H:%M:%S} {name} died")
                module.build.cache_clear()
                return None
            except Exception as exc:  # noqa: BLE001 - Lambda reports it, and the next event comes
                self.log.append(f"{self.now:%H:%M:%S} {name} failed: {exc!r}")
                return None

    def _invoked(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        """A synchronous invocation by another function, in the words of Lambda's API."""
        if operation != "Invoke":
            raise NotModelled(f"lambda {operation}")
        data = self.invoke(asked["FunctionName"], json.loads(asked["Payload"]))
        answer = {"errorType": "Runtime.ExitError"} if data is None else data
        return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(answer).encode())}

    # what is below the product

    @contextmanager
    def under(self) -> Iterator[None]:
        """Put this world under boto3, httpx, http.client and urllib."""
        store = partial(JobStore, clock=lambda: self.now, sleep=lambda _: None)
        with pytest.MonkeyPatch.context() as patch:
            for target, name, value in (
                (boto3, "client", _client),
                (BaseClient, "_make_api_call", self._aws()),
                (httpx._client, "HTTPTransport", self._transport()),
                (connections, "dial", lambda host, *_: Line(host, self.calls, self.fal)),
                (deadlines, "Timer", Stopped),
                (cdn, "tls_context", lambda: None),  # to read all CAs takes 27 ms
                (items, "TypeDeserializer", lambda: self.table.reader),
                (items, "SHARDS", self.shards),
                (job_store, "SHARDS", self.shards),
                (webhook_message, "secrets", self._secrets()),
                (function("webhook"), "time", types.SimpleNamespace(time=self._seconds)),
                (signing_keys, "get", self._key_set()),
                (metrics.provider, "add_metric", self._measure),
                (metrics.provider, "flush_metrics", lambda **_: None),
                (cdn, "PART", self.part),
                (media_editor, "join", _join),
                (media_editor, "write_slices", _write_slices),
                (media_editor, "silences", lambda *_: []),
                (media_editor, "last_frame", lambda file, *_: file.read()),
                (output_bucket, "ThreadPoolExecutor", Inline),
                (reconciliation, "ThreadPoolExecutor", Inline),
                *((function(name), "os", self._environment(name)) for name in FUNCTIONS),
                *((function(name), "JobStore", store) for name in WITH_STORE),
            ):
                patch.setattr(target, name, value)
            logging.disable()
            try:
                self._start_cold()
                yield
            finally:
                logging.disable(logging.NOTSET)

    def _measure(self, name: str, value: float, **_: Any) -> None:
        self.measured[name] += value

    def _secrets(self) -> types.SimpleNamespace:
        """Tokens that only depend on the jobs: equal worlds must look equal, and go on alike."""
        return types.SimpleNamespace(
            compare_digest=secrets.compare_digest,
            token_urlsafe=lambda _: sha256(self.table.state().encode()).hexdigest()[:43],
        )

    def _environment(self, name: str) -> types.SimpleNamespace:
        return types.SimpleNamespace(environ=environment(name) | self.settings)

    def _start_cold(self) -> None:
        for name in FUNCTIONS:
            function(name).build.cache_clear()

    def _seconds(self) -> float:
        return self.now.timestamp()

    def _aws(self) -> Callable[..., Any]:
        def call(client: Any, operation: str, asked: dict[str, Any]) -> Any:
            try:
                return self.calls.make(operation, lambda: self._answer(client, operation, asked))
            except Refused as exc:
                error = client.exceptions.from_code(str(exc))
                raise error(exc.response, operation) from exc

        return call

    def _answer(self, client: Any, operation: str, asked: dict[str, Any]) -> Any:
        whole = {
            "dynamodb": self.table.answer,
            "s3": self.buckets.answer,
            "lambda": self._invoked,
        }
        match client.meta.service_model.service_name, operation:
            case service, _ if service in whole:
                return whole[service](operation, asked)
            case "ssm", "GetParameter":
                return KEY
            case "events", "PutEvents":
                self.events += [entry["Detail"] for entry in asked["Entries"]]
                return {"FailedEntryCount": 0, "Entries": [{"EventId": "e"}]}
            case "sqs", "SendMessage" if asked["QueueUrl"] not in self.queues:
                self.unpublished.append(asked["MessageBody"])
                return {"MessageId": "m"}
            case "sqs", "SendMessage":
                self.send(asked["QueueUrl"], asked["MessageBody"], asked.get("DelaySeconds"))
                return {"MessageId": "m"}
            case service, _:
                raise NotModelled(f"{service} {operation}")

    def _transport(self) -> type[httpx.BaseTransport]:
        calls, fal = self.calls, self.fal

        class Transport(httpx.BaseTransport):
            def __init__(self, *_: Any, **__: Any) -> None:
                pass

            def handle_request(self, request: httpx.Request) -> httpx.Response:
                request.read()
                name = f"{request.method} {request.url.host}"
                return calls.make(name, lambda: fal.answer(request))

        return Transport

    def _key_set(self) -> Callable[..., Any]:
        def get(url: SplitResult, *_: Any) -> bytes:
            return self.calls.make(f"GET {url.hostname}", lambda: KEY_SET)

        return get

    def state(self) -> int:
        """Distinguishes two worlds."""
        queues = "".join(queue.state() for queue in self.queues.values())
        return hash((self.table.state(), self.buckets.state(), queues, self.fal.state()))


def _write_slices(file: Any, spans: Any, write: Callable[[int, bytes], None], suffix: str) -> None:
    """The product's slices, which are always the same for the same audio."""
    for number, body in enumerate(_slices(file.read(), tuple(spans), suffix)):
        write(number, body)


@cache
def _slices(audio: bytes, spans: tuple[tuple[int, int], ...], suffix: str) -> list[bytes]:
    found: list[bytes] = []
    write_slices(io.BytesIO(audio), spans, lambda _, body: found.append(body), suffix)
    return found


def _join(videos: Any, frames: Any, fps: float, _: Any, to: Path, __: str) -> Joined:
    """In the place of FFmpeg: this fal's videos are none that could be decoded."""
    to.write_bytes(b"".join(video.read() for video in videos))
    seconds = sum(frames) / fps
    return Joined(sum(frames), seconds, seconds, is_sound_copied=True)


@cache
def _session() -> boto3.session.Session:
    """One for all clients: each reads AWS's descriptions of its services again, up to 1 MB each."""
    return boto3.session.Session("testing", "testing", region_name=stack.REGION)


def _client(service: str, *_: Any, config: Config | None = None, **__: Any) -> Any:
    """One client of a kind for all runs: to make one takes 70 ms."""
    options = getattr(config, "_user_provided_options", {})
    name = f"{service} {options}"
    if name not in CLIENTS:
        CLIENTS[name] = _session().client(service, config=config)  # type: ignore[call-overload]  # any service
    return CLIENTS[name]
