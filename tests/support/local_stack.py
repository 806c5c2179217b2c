"""The stack deployed to a local cloud: the real template and code, fal's real host names."""

from __future__ import annotations

import http.client
import io
import json
import os
import ssl
import time
import urllib.request
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from local.cloud.certificates import SUBSCRIBER
from local.cloud.cloud import running_cloud
from local.drops.jobs import Jobs
from phonoscene.drops.keys import receipt_key
from tests.support.subscriber import Subscriber

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.cloud.endpoints import Endpoints

#: Each process of the tests has a stack of its own.
FOLDER = (
    Path(__file__).parents[2] / ".build" / f"e2e-{os.environ.get('PYTEST_XDIST_WORKER', 'one')}"
)
#: Container, codec and sample format of each audio suffix the product takes.
ENCODINGS = {
    "mp3": ("mp3", "libmp3lame"),
    "wav": ("wav", "pcm_s16le"),
    "flac": ("flac", "flac"),
    "m4a": ("ipod", "aac"),
    "aac": ("adts", "aac"),
    "ogg": ("ogg", "libopus"),
    "opus": ("ogg", "libopus"),
}
RATE = 48_000
IN_FLIGHT = 40
#: Each more costs a process of its functions a second of CPU time, and several stacks run at once.
FEW_PROCESSES = {"SubmitConcurrency": "2", "StoreConcurrency": "2"}
SECRET_PARAMETER = "/phonoscene/e2e-event-webhook-secret"
SIMULATOR = ("--concurrency", "4", "--retry-seconds", "0.3", "--run-seconds", "0.05")
SMALL = {"width": 64, "height": 64}
#: What fal does wrong for a request: stage, action and parameters of a rule of the simulator.
Fault = tuple[str, str, dict[str, Any]]
#: fal never sends the webhook of a request.
NO_WEBHOOK: Fault = ("webhook", "never", {"times": None})
#: Seconds until a step counts as failed. It is never waited for where all is well.
PATIENCE = 90.0
FINAL = {"SUCCEEDED", "FAILED", "REJECTED", "CANCELLED"}


@cache
def make_audio(suffix: str, seconds: float = 1.0) -> bytes:
    """A tone of ``seconds`` in the encoding of ``suffix``."""
    container, codec = ENCODINGS[suffix]
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=RATE, layout="mono")
        assert isinstance(stream, av.AudioStream)
        resampler = av.AudioResampler(stream.format.name, "mono", RATE)
        for frame in [_tone(seconds), None]:
            for resampled in resampler.resample(frame):
                file.mux(stream.encode(resampled))
        file.mux(stream.encode(None))
    return out.getvalue()


def _tone(seconds: float) -> av.AudioFrame:
    samples = int(seconds * RATE)
    frame = av.AudioFrame(format="s16", layout="mono", samples=samples)
    frame.sample_rate = RATE
    low, high = ((n * 8000).to_bytes(2, "little", signed=True) for n in (-1, 1))
    wave = (50 * low + 50 * high) * (samples // 100 + 1)
    frame.planes[0].update(wave[: 2 * samples])
    return frame


@cache
def make_picture() -> bytes:
    """A PNG of 320 x 192 pixels."""
    out = io.BytesIO()
    with av.open(out, "w", format="image2pipe") as file:
        stream = file.add_stream("png", rate=1, width=320, height=192, pix_fmt="rgb24")
        assert isinstance(stream, av.VideoStream)
        file.mux(stream.encode(av.VideoFrame(320, 192, "rgb24")))
        file.mux(stream.encode(None))
    return out.getvalue()


def looks(seconds: float) -> Iterator[None]:
    """Yield for each look at something that may take so long, and once more at its end.

    The longer it takes, the longer the pauses: a look costs 10 ms of the CPU time that the stack
    needs, so that ten a second from each process would be half a core.
    """
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        yield
        time.sleep(min(0.1 + passed / 10, 1.0))
    yield


@dataclass
class Phonoscene:
    """The stack as its users meet it: two buckets, a table, an address; and fal's own books."""

    endpoints: Endpoints
    subscriber: Subscriber = field(default_factory=Subscriber)  # most stacks have none
    jobs: Jobs = field(init=False)

    def __post_init__(self) -> None:
        self.s3 = self.endpoints.client("s3")
        self.sqs = self.endpoints.client("sqs")
        self.iam = self.endpoints.client("iam")
        self.dynamodb = self.endpoints.client("dynamodb")
        self.jobs = Jobs(self.endpoints)
        (stack,) = self.endpoints.client("cloudformation").describe_stacks()["Stacks"]
        self.outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}

    def put(self, key: str, body: bytes) -> str:
        """Upload to the drop bucket; the object's version."""
        answer = self.s3.put_object(Bucket=self.endpoints.drop_bucket, Key=key, Body=body)
        return str(answer["VersionId"])

    def sidecar(self, key: str, **fields: Any) -> str:
        """Drop a sidecar with a prompt of its own, which finds its request in fal's books.

        Its video is small unless ``fields`` say otherwise: to render the usual one takes as long as
        all the rest of a job.
        """
        fields = {"prompt": f"a test {uuid.uuid4()}", "video_size": SMALL, **fields}
        self.put(key, json.dumps(fields).encode())
        return str(fields["prompt"])

    def drop(
        self,
        name: str,
        *faults: Fault,
        suffix: str = "wav",
        seconds: float = 1.0,
        **fields: Any,
    ) -> str:
        """Drop a whole pair, for whose request fal misbehaves from the start; the prompt."""
        prompt = str(fields.setdefault("prompt", f"a test {uuid.uuid4()}"))
        for stage, action, parameters in faults:  # before the drop: fal may be quick
            self.fault(prompt, stage, action, **parameters)
        self.sidecar(f"{name}.json", **fields)
        self.put(f"{name}.{suffix}", make_audio(suffix, seconds))
        return prompt

    def take(
        self,
        name: str,
        *,
        until: set[str] | None = None,
        once: Callable[[dict[str, Any]], bool] = lambda _: True,
        seconds: float = PATIENCE,
    ) -> dict[str, Any]:
        """The newest record of a name, once it is in one of the states ``until``, and is so."""
        wanted = until or FINAL
        for _ in looks(seconds):
            takes = self.jobs.takes(name)
            if takes and takes[0]["status"] in wanted and once(takes[0]):
                return takes[0]
        raise AssertionError(f"{name} is not {wanted} after {seconds} s: {takes}")

    def video(self, job: dict[str, Any]) -> bytes:
        """The stored video's bytes."""
        at = job["video"]
        body = self.s3.get_object(Bucket=at["bucket"], Key=at["key"])["Body"].read()
        return bytes(body)

    def versions(self, prefix: str) -> list[str]:
        """The keys of all object versions in the output bucket under a prefix."""
        pages = self.s3.get_paginator("list_object_versions").paginate(
            Bucket=self.endpoints.output_bucket, Prefix=prefix
        )
        return [version["Key"] for page in pages for version in page.get("Versions", [])]

    def receipt(self, name: str) -> dict[str, Any]:
        """The receipt of a name as it is; empty where there is none."""
        answer = self.receipts(name)
        return answer[-1] if answer else {}

    def receipts(self, name: str) -> list[dict[str, Any]]:
        """Every version of a name's receipt, in the order in which they were written."""
        at = {"Bucket": self.endpoints.output_bucket, "Key": receipt_key(name)}
        found = self.s3.list_object_versions(Bucket=at["Bucket"], Prefix=at["Key"])
        mine = [one["VersionId"] for one in found.get("Versions", []) if one["Key"] == at["Key"]]
        bodies = [self.s3.get_object(**at, VersionId=version)["Body"] for version in mine]
        return [json.load(body) for body in reversed(bodies)]

    def is_told(self, name: str) -> bool:
        """Whether a name's receipt tells what its newest record does."""
        record, receipt = self.jobs.takes(name)[0], self.receipt(name)
        return [receipt.get(field) for field in ("job_id", "revision")] == [
            record["job_id"],
            record["revision"],
        ]

    def requests(self, prompt: str) -> list[dict[str, Any]]:
        """The submissions fal has in its books for a prompt."""
        listed = self.control("GET", "/requests")["requests"]
        return [one for one in listed if one["arguments"]["prompt"] == prompt]

    def ended_request(self, prompt: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The one submission for a prompt, once fal has ended it."""
        for _ in looks(seconds):
            for request in self.requests(prompt):
                if request["completed_at"]:
                    return request
        raise AssertionError(f"fal has not ended the request of {prompt}")

    def is_withheld(self, prompt: str) -> bool:
        """Whether the one submission for a prompt has ended, and a fault kept its webhook back."""
        (request,) = self.requests(prompt)
        return [one["kind"] for one in request["deliveries"]] == ["withheld"]

    def send(self, output: str, message: dict[str, Any]) -> None:
        """Put a message in the queue that an output of the stack names."""
        self.sqs.send_message(QueueUrl=self.outputs[output], MessageBody=json.dumps(message))

    def change(self, name: str, expression: str, values: dict[str, str]) -> None:
        """Change the newest record of a name by hand; values are texts."""
        at: dict[str, Any] = {"TableName": self.endpoints.jobs_table}
        at["Key"] = {"job_id": {"S": self.jobs.takes(name)[0]["job_id"]}}
        if "#status" in expression:
            at["ExpressionAttributeNames"] = {"#status": "status"}
        texts = {key: {"S": value} for key, value in values.items()}
        self.dynamodb.update_item(
            **at, UpdateExpression=expression, ExpressionAttributeValues=texts
        )

    def in_flight(self) -> set[str]:
        """The ids in the slots."""
        found = self.dynamodb.get_item(**self._window, ConsistentRead=True)["Item"]
        return set(found.get("in_flight", {"SS": []})["SS"])

    def place(self, verb: str, jobs: list[str]) -> None:
        """``ADD`` or ``DELETE`` slots by hand."""
        self.dynamodb.update_item(
            **self._window,
            UpdateExpression=f"{verb} in_flight :jobs",
            ExpressionAttributeValues={":jobs": {"SS": jobs}},
        )

    @property
    def _window(self) -> dict[str, Any]:
        return {"TableName": self.endpoints.jobs_table, "Key": {"job_id": {"S": "window"}}}

    def function_name(self, function: str) -> str:
        """The deployed name of a function of the template."""
        found = self.endpoints.client("lambda").list_functions()["Functions"]
        (name,) = (one["FunctionName"] for one in found if f"-{function}-" in one["FunctionName"])
        return str(name)

    def invoke(self, function: str) -> None:
        """Call a function now, and wait for its end."""
        name = self.function_name(function)
        self.endpoints.client("lambda").invoke(FunctionName=name, Payload=b"{}")

    def empty_queues(self) -> None:
        """Delete every message, those that somebody works on too."""
        for output, url in self.outputs.items():
            if output.endswith("QueueUrl"):
                self.sqs.purge_queue(QueueUrl=url)

    @contextmanager
    def stopped_clock(self) -> Iterator[None]:
        """No tick comes for the body's time; ``invoke`` does what a tick does."""
        events = self.endpoints.client("events")
        rules = [one["Name"] for one in events.list_rules()["Rules"] if "ScheduleExpression" in one]
        for rule in rules:
            events.disable_rule(Name=rule)
        try:
            yield
        finally:
            for rule in rules:
                events.enable_rule(Name=rule)

    def fault(self, prompt: str, stage: str, action: str, **parameters: Any) -> None:
        """Make fal misbehave once for the request with this prompt."""
        rule = {
            "stage": stage,
            "action": action,
            "match": {"prompt_contains": prompt},
            **parameters,
        }
        self.control("POST", "/faults", rule)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """The simulator's control port."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(  # noqa: S310 - loopback
            self.endpoints.simulator_url + path,
            data,
            {"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            return json.load(answer)

    def call(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """POST to the public address, as anybody on the internet could."""
        host, port = self.endpoints.webhook_connect.split(":")
        api = self.endpoints.webhook_base_url.removeprefix("https://").partition(".")[0]
        context = ssl.create_default_context(cafile=self.endpoints.ca_bundle)
        connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=20)
        try:
            connection.request(
                "POST", path, body, {"Host": f"{api}.execute-api.localhost", **headers}
            )
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextmanager
def deployed(folder: Path, lambda_python: Path | None = None) -> Iterator[Phonoscene]:
    """A stack of its own with everything there is, and a system that listens to its events."""
    subscriber = Subscriber()
    parameters = {
        "MaxInFlight": str(IN_FLIGHT),
        **FEW_PROCESSES,
        "NotifyEmail": "person@example.com",
        "EventWebhookUrl": f"https://{SUBSCRIBER}/hooks/phonoscene",
        "EventWebhookSecretParameter": SECRET_PARAMETER,
    }
    options = (*SIMULATOR, "--subscriber-port", str(subscriber.port))
    with running_cloud(folder, parameters, options, lambda_python=lambda_python) as endpoints:
        endpoints.client("ssm").put_parameter(
            Name=SECRET_PARAMETER, Value=subscriber.secret, Type="SecureString"
        )
        with subscriber.listening(folder / "tls"):
            yield Phonoscene(endpoints, subscriber)


def is_put_off(job: dict[str, Any]) -> bool:
    """Whether a record says what it waits for."""
    return "waits_for" in job


def eventually(is_so: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Whether something becomes true in time."""
    return any(is_so() for _ in looks(seconds))


@dataclass
class Listener:
    """Another system: a queue with a rule on the stack's bus; what it has heard so far."""

    phonoscene: Phonoscene
    url: str
    heard: list[dict[str, Any]] = field(default_factory=list)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Listen, and then the same as ``heard_of``."""
        while got := self.phonoscene.sqs.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10
        ).get("Messages"):
            for message in got:
                self.heard.append(json.loads(message["Body"]))
                self.phonoscene.sqs.delete_message(
                    QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"]
                )
        return self.heard_of(name)

    def heard_of(self, name: str) -> list[dict[str, Any]]:
        """The details of all events about a name, in the order in which they came."""
        return [event["detail"] for event in self.heard if event["detail"]["name"] == name]


@contextmanager
def listening(phonoscene: Phonoscene, **detail: Any) -> Iterator[Listener]:
    """A rule on the stack's bus leads its events to a queue, for the body's time.

    ``detail``: what the rule's pattern requires of the events' detail.
    """
    name = f"listener-{uuid.uuid4().hex}"
    events, bus = phonoscene.endpoints.client("events"), phonoscene.outputs["EventBusName"]
    url = phonoscene.sqs.create_queue(QueueName=name)["QueueUrl"]
    wanted: dict[str, Any] = {"source": ["phonoscene"], "detail-type": ["Job Status Changed"]}
    wanted |= {"detail": detail} if detail else {}
    events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps(wanted))
    got = phonoscene.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    target = {"Id": "queue", "Arn": got["Attributes"]["QueueArn"]}
    events.put_targets(Rule=name, EventBusName=bus, Targets=[target])
    try:
        yield Listener(phonoscene, url)
    finally:
        events.remove_targets(Rule=name, EventBusName=bus, Ids=["queue"])
        events.delete_rule(Name=name, EventBusName=bus)
        phonoscene.sqs.delete_queue(QueueUrl=url)


@contextmanager
def held_places(phonoscene: Phonoscene, jobs: list[str]) -> Iterator[None]:
    """Slots are taken by these ids, whose jobs hold nothing, for the body's time."""
    phonoscene.place("ADD", jobs)
    try:
        yield
    finally:
        phonoscene.place("DELETE", jobs)


@contextmanager
def full_window(phonoscene: Phonoscene, places: int = IN_FLIGHT) -> Iterator[None]:
    """Other jobs hold so many slots, and rightly, for the body's time."""
    table, others = phonoscene.endpoints.jobs_table, [f"other {n}" for n in range(places)]
    held = {"M": {"day": {"S": "2026-11-22"}, "usd": {"N": "0"}}}
    for other in others:
        item = {"job_id": {"S": other}, "reservation": held}
        phonoscene.dynamodb.put_item(TableName=table, Item=item)
    try:
        with held_places(phonoscene, others):
            yield
    finally:
        for other in others:
            phonoscene.dynamodb.delete_item(TableName=table, Key={"job_id": {"S": other}})
