"""AWS over its own wire formats, answered by the fakes of the crash tests.

So the SDK does all its work (serialising, signing, parsing), and what answers takes next to no
time.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from email.utils import format_datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.support.fakes.table import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Who answers an operation: service, operation, and what is asked, in the SDK's words.
Answerer = "Callable[[str, str, dict[str, Any]], Any]"
_JSON_SERVICES: Final = {
    "DynamoDB_20120810": "dynamodb",
    "AmazonSQS": "sqs",
    "AmazonSSM": "ssm",
    "AWSEvents": "events",
}
HEADERS: Final = (("range", "Range"), ("if-none-match", "IfNoneMatch"), ("if-match", "IfMatch"))
_S3_STATUS: Final = {"NoSuchKey": 404, "404": 404, "NoSuchUpload": 404, "PreconditionFailed": 412}


#: The path of an invocation, in Lambda's REST API.
_INVOKED: Final = re.compile(r"/functions/([^/]+)/invocations$")


@dataclass(frozen=True)
class Asked:
    """One request, who carried it; header names are lower-case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answered:
    """What goes back."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def service(name: str) -> Any:
    """As much of a client as the crash world looks at."""
    return SimpleNamespace(meta=SimpleNamespace(service_model=SimpleNamespace(service_name=name)))


def answer(asked: Asked, ask: Callable[[str, str, dict[str, Any]], Any]) -> Answered:
    """One request to AWS, whichever service it is for."""
    target = asked.headers.get("x-amz-target", "")
    invoked = _INVOKED.search(asked.url)
    if invoked:
        named = {"FunctionName": unquote(invoked[1]), "Payload": asked.body}
        return Answered(200, {}, ask("lambda", "Invoke", named)["Payload"].read())
    if not target:
        return _s3(asked, ask)
    prefix, _, operation = target.partition(".")
    kind = {"Content-Type": "application/x-amz-json-1.0"}
    try:
        data = ask(_JSON_SERVICES[prefix], operation, json.loads(asked.body))
    except Refused as exc:
        error = exc.response.pop("Error")
        data = {"__type": f"com.amazonaws#{error['Code']}", "message": error["Message"]}
        return Answered(400, kind, json.dumps(data | exc.response).encode())
    return Answered(200, kind, json.dumps(data).encode())


def _s3(asked: Asked, ask: Callable[[str, str, dict[str, Any]], Any]) -> Answered:
    split = urlsplit(asked.url)
    query = {
        name: values[0] for name, values in parse_qs(split.query, keep_blank_values=True).items()
    }
    operation = operation_of(asked.method, query, has_key=bool(place_of(asked.url)[1]))
    try:
        found = ask("s3", operation, _parameters(asked, query))
    except Refused as exc:
        code = str(exc)
        body = "" if asked.method == "HEAD" else f"<Error><Code>{code}</Code></Error>"
        return Answered(_S3_STATUS.get(code, 400), {}, body.encode())
    return _encoded(operation, found)


def place_of(url: str) -> tuple[str, str]:
    """Bucket and key; by path where the host is an address, by the host's name otherwise."""
    split = urlsplit(url)
    host, path = split.hostname or "", unquote(split.path).lstrip("/")
    if re.fullmatch(r"[\d.]+|localhost", host):
        bucket, _, key = path.partition("/")
        return bucket, key
    return host.partition(".s3.")[0], path


def operation_of(method: str, query: Mapping[str, str], *, has_key: bool) -> str:
    """S3's name of a request."""
    in_parts = {
        "POST": "CompleteMultipartUpload",
        "PUT": "UploadPart",
        "DELETE": "AbortMultipartUpload",
    }
    if "uploadId" in query:
        return in_parts[method]
    if "uploads" in query:
        return "CreateMultipartUpload"
    if method == "GET" and not has_key:
        return "ListObjectVersions" if "versions" in query else "ListObjectsV2"
    return {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject"}[method]


def _parameters(asked: Asked, query: Mapping[str, str]) -> dict[str, Any]:
    bucket, key = place_of(asked.url)
    fields: dict[str, Any] = {"Bucket": bucket, "Key": key, "Body": asked.body}
    named = {"uploadId": "UploadId", "versionId": "VersionId", "prefix": "Prefix"}
    fields |= {named[name]: value for name, value in query.items() if name in named}
    if "partNumber" in query:
        fields["PartNumber"] = int(query["partNumber"])
    fields |= {name: asked.headers[header] for header, name in HEADERS if header in asked.headers}
    if b"<CompleteMultipartUpload" in asked.body:
        numbers = re.findall(rb"<PartNumber>(\d+)</PartNumber>", asked.body)
        fields["MultipartUpload"] = {"Parts": [{"PartNumber": int(n)} for n in numbers]}
    return fields


def _encoded(operation: str, answer: dict[str, Any]) -> Answered:
    headers = {"ETag": str(answer.get("ETag", '"e"'))}
    if "VersionId" in answer:
        headers["x-amz-version-id"] = answer["VersionId"]
    if "LastModified" in answer:
        headers["Last-Modified"] = format_datetime(answer["LastModified"], usegmt=True)
    if "ContentRange" in answer:
        headers["Content-Range"] = answer["ContentRange"]
    if operation == "HeadObject":
        return Answered(200, headers | {"Content-Length": str(answer["ContentLength"])})
    body = _body(operation, answer)
    return Answered(200, headers | {"Content-Length": str(len(body))}, body)


def _body(operation: str, answer: dict[str, Any]) -> bytes:
    if operation == "GetObject":
        return bytes(answer["Body"].read())
    if operation == "ListObjectVersions":
        versions = "".join(
            f"<Version><Key>{escape(one['Key'])}</Key><VersionId>{one['VersionId']}</VersionId>"
            f"<IsLatest>{str(one['IsLatest']).lower()}</IsLatest></Version>"
            for one in answer["Versions"]
        )
        ended = f"<IsTruncated>{str(answer['IsTruncated']).lower()}</IsTruncated>"
        return f"<ListVersionsResult>{versions}{ended}</ListVersionsResult>".encode()
    if operation == "ListObjectsV2":
        keys = "".join(
            f"<Contents><Key>{escape(one['Key'])}</Key></Contents>" for one in answer["Contents"]
        )
        return (
            f"<ListBucketResult>{keys}<IsTruncated>false</IsTruncated></ListBucketResult>".encode()
        )
    inner = f"<UploadId>{answer['UploadId']}</UploadId>" if "UploadId" in answer else ""
    return f"<Result>{inner}</Result>".encode()
