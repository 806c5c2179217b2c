"""The stack's resources on moto, made from the template where that says how."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from moto.backends import get_backend

from phonoscene.table.items import from_item, index_attributes, to_item, to_record
from tests.support.fakes.table import Refused as TableRefused
from tests.support.fakes.table import Table
from tests.support.stack import ACCOUNT, DROPS, FAL_KEY, JOBS, KEY_PARAMETER, OUTPUT, REGION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient

    from phonoscene.jobs import Job


@cache
def session() -> boto3.Session:
    """One for all clients: each reads AWS's descriptions of its services again, up to 1 MB each."""
    return boto3.Session(region_name=REGION)


@cache
def client(service: str, signature: str | None = None) -> Any:
    """One client a session: making one takes 70 ms, and moto empties its own backends."""
    # botocore would build its own header for a tenth of the time of a call
    config = Config(signature_version=signature, user_agent="tests")
    made: Any = session().client(service, config=config)  # type: ignore[call-overload]  # any service
    made.meta.events.register_first("before-send.s3.UploadPart", _in_bytes)
    if service == "dynamodb":
        made.meta.events.register_last("before-call", _call_table, "table")
        made.meta.events.register("before-send.dynamodb", _send_to_table)
    return made


#: The jobs table. ``tests/crash`` holds it to moto, which is a hundred times slower.
TABLE: Final = Table()
_LOCK: Final = Lock()


def _ask_table(operation: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """DynamoDB's answer, its HTTP status first."""
    try:
        with _LOCK:
            return 200, TABLE.answer(operation, json.loads(body))
    except TableRefused as exc:
        return 400, exc.response


def _call_table(model: Any, params: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]]:
    """Answers, after every other handler, before there is a request to sign and to send."""
    status, answer = _ask_table(model.name, params["body"])
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0}
    return AWSResponse("", status, HTTPHeaders(), None), {**answer, "ResponseMetadata": metadata}


def _send_to_table(request: Any, **_: Any) -> AWSResponse:
    """Answers what botocore would send."""
    operation = request.headers["X-Amz-Target"].decode().rpartition(".")[2]
    status, answer = _ask_table(operation, request.body)
    error = answer.get("Error")
    body = answer | ({"__type": error["Code"], "message": error["Message"]} if error else {})
    return AWSResponse(str(request.url), status, HTTPHeaders(), _Raw(json.dumps(body).encode()))


@contextmanager
def over_http(dynamodb: Any) -> Iterator[None]:
    """Each call is signed, sent and parsed, so that a test can let the network fail."""
    dynamodb.meta.events.unregister("before-call", unique_id="table")
    try:
        yield
    finally:
        dynamodb.meta.events.register_last("before-call", _call_table, "table")


def _in_bytes(request: Any, **_: Any) -> None:
    """What botocore sends as it is, moto reads in bytes only."""
    request.body = bytes(request.body)


@dataclass
class Bus:
    """An event bus behind boto3's own client: what it was sent, and which entries it refuses."""

    events: list[dict[str, Any]] = field(default_factory=list)
    #: For each entry that is to come: an error code, or None to take it.
    refuses: list[str | None] = field(default_factory=list)

    @cached_property
    def client(self) -> Any:
        made: Any = session().client("events")
        made.meta.events.register("before-send.events.PutEvents", self._answer)
        return made

    @property
    def details(self) -> list[dict[str, Any]]:
        return [json.loads(event["Detail"]) for event in self.events]

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        entries = json.loads(request.body)["Entries"]
        codes = [self.refuses.pop(0) if self.refuses else None for _ in entries]
        self.events += [entry for entry, code in zip(entries, codes, strict=True) if not code]
        fields = {
            "FailedEntryCount": len([code for code in codes if code]),
            "Entries": [{"ErrorCode": code} if code else {"EventId": "e"} for code in codes],
        }
        raw, headers = _Raw(json.dumps(fields).encode()), HTTPHeaders()
        return AWSResponse(str(request.url), 200, headers, raw)


@dataclass(frozen=True)
class Functions:
    """Functions behind boto3's own client: their handlers run here, as in Lambda."""

    handlers: Mapping[str, Callable[[dict[str, Any], Any], dict[str, Any]]]
    context: Any

    @cached_property
    def client(self) -> Any:
        made: Any = session().client("lambda")
        made.meta.events.register("before-send.lambda.Invoke", self._answer)
        return made

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        headers = HTTPHeaders()
        try:
            name = str(request.url).rpartition("/invocations")[0].rpartition("/")[2]
            data = self.handlers[name](json.loads(request.body), self.context)
        except Exception as exc:  # noqa: BLE001 - as Lambda's runtime answers
            headers["X-Amz-Function-Error"] = "Unhandled"
            data = {"errorType": type(exc).__name__, "errorMessage": str(exc)}
        return AWSResponse(str(request.url), 200, headers, _Raw(json.dumps(data).encode()))


class _Raw(BytesIO):
    """What botocore reads an answer from."""

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


def plain_value(of_any: Callable[..., Any]) -> Callable[..., Any]:
    """How moto finds a field of what it answers with; DynamoDB's values have one of ten.

    moto looks for each of the ten under each alias of its name, which took a sixth of the time.
    """

    def find(serializer: Any, value: Any, key: str, shape: Any) -> Any:
        if type(value) is dict and shape.parent.name == "AttributeValue":
            return value.get(key)
        return of_any(serializer, value, key, shape)

    return find


@dataclass(frozen=True)
class Cloud:
    """Both buckets, the jobs table, two queues and the fal key."""

    s3: S3Client
    dynamodb: DynamoDBClient
    sqs: SQSClient
    ssm: SSMClient
    verdicts_url: str
    drops_url: str

    @classmethod
    def make(cls) -> Cloud:
        s3, dynamodb, sqs, ssm = (
            client("s3", "s3v4"),
            client("dynamodb"),
            client("sqs"),
            client("ssm"),
        )
        for bucket in (DROPS, OUTPUT):
            s3.create_bucket(Bucket=bucket)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        ssm.put_parameter(Name=KEY_PARAMETER, Value=FAL_KEY, Type="SecureString")
        urls = [sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("verdicts", "drops")]
        return cls(s3, dynamodb, sqs, ssm, *urls)

    def empty(self) -> None:
        """Back to the beginning, in moto's own memory, which is quicker than asking for it."""
        for bucket in get_backend("s3")[ACCOUNT]["aws"].buckets.values():
            for key, versions in list(bucket.keys.lists()):
                real = [one for one in versions if hasattr(one, "dispose")]  # no delete marker
                bucket.keys.setlist(key, real)
                bucket.keys.pop(key)
            bucket.multiparts.clear()
        TABLE.clear()
        for queue in get_backend("sqs")[ACCOUNT][REGION].queues.values():
            queue._messages = []
        self.ssm.put_parameter(
            Name=KEY_PARAMETER, Value=FAL_KEY, Type="SecureString", Overwrite=True
        )

    def drop(self, key: str, body: bytes | str | dict[str, Any]) -> str:
        """Put an object in the drop bucket; its version."""
        raw = json.dumps(body) if isinstance(body, dict) else body
        raw = raw.encode() if isinstance(raw, str) else raw
        put = get_backend("s3")[ACCOUNT]["aws"].put_object(DROPS, key, raw)  # a PUT takes 5 ms
        return str(put.version_id)

    def put_jobs(self, jobs: Iterable[Job], at: datetime | None = None) -> None:
        """Put records as they are; ``at`` is when somebody must look at them."""
        items = [to_item(to_record(job) | index_attributes(job, at)) for job in jobs]
        puts: Any = [{"PutRequest": {"Item": item}} for item in items]
        for start in range(0, len(puts), 25):
            self.dynamodb.batch_write_item(RequestItems={JOBS: puts[start : start + 25]})

    def items(self) -> list[dict[str, Any]]:
        """Every record of the jobs table, as Python values; not the sums."""
        return [from_item(item) for item in TABLE.items() if "status" in item]

    def only_item(self) -> dict[str, Any]:
        (item,) = self.items()
        return item

    def statuses(self) -> list[str]:
        return sorted(item["status"] for item in self.items())

    def objects(self) -> list[str]:
        """The keys of the drop bucket, once for each version."""
        listed = self.s3.list_object_versions(Bucket=DROPS).get("Versions", [])
        return sorted(version["Key"] for version in listed)

    def item(self, job_id: str) -> dict[str, Any]:
        return next(item for item in self.items() if item["job_id"] == job_id)

    def let_turn_come(self, job_id: str) -> None:
        """As time would: a READY job that was put off may be claimed."""
        self.dynamodb.update_item(
            TableName=JOBS,
            Key={"job_id": {"S": job_id}},
            UpdateExpression="SET dispatch_at = :past",
            ExpressionAttributeValues={":past": {"S": "2026-01-01T00:00:00.000Z"}},
        )

    def index(self, name: str) -> set[str]:
        """The ids that an index holds."""
        return TABLE.index(name)

    def outputs(self) -> dict[str, bytes]:
        """What lies in the output bucket, by key."""
        listed = self.s3.list_objects_v2(Bucket=OUTPUT).get("Contents", [])
        return {
            entry["Key"]: self.s3.get_object(Bucket=OUTPUT, Key=entry["Key"])["Body"].read()
            for entry in listed
        }

    def output_versions(self) -> list[str]:
        """Every version of every object of the output bucket, by key."""
        return [v["Key"] for v in self.s3.list_object_versions(Bucket=OUTPUT).get("Versions", [])]

    def unfinished_uploads(self) -> list[str]:
        listed = self.s3.list_multipart_uploads(Bucket=OUTPUT).get("Uploads", [])
        return [upload["Key"] for upload in listed]

    def sent(self, name: str) -> list[str]:
        """Take the bodies of all messages of a queue, of delayed ones too."""
        queue = get_backend("sqs")[ACCOUNT][REGION].queues[name]
        found = [message.body for message in queue._messages]
        queue._messages = []
        return found

    def verdicts(self) -> list[str]:
        """The bodies of the messages that wait in the verdicts queue."""
        got = self.sqs.receive_message(QueueUrl=self.verdicts_url, MaxNumberOfMessages=10)
        return [message["Body"] for message in got.get("Messages", [])]
