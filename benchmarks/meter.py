"""Reads what a run on the local cloud cost: the emulator's access log, and the functions' logs."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from benchmarks.aws import operation_of, place_of

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The emulator's root, whose requests are the benchmark's own.
ROOT: Final = "test"
_CREDENTIAL: Final = re.compile(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/")
_REPORT: Final = re.compile(r"Billed Duration: (\d+) ms\tMemory Size: (\d+) MB")
_PLATFORM: Final = ("START ", "END ", "REPORT ", "INIT_START ")
#: What CloudWatch adds to each event's bytes when it counts them.
EVENT_BYTES: Final = 26
DEARER: Final = {
    "ListObjectsV2",
    "ListObjectVersions",
    "PutObject",
    "UploadPart",
    "CreateMultipartUpload",
    "CompleteMultipartUpload",
}


@dataclass(frozen=True)
class Line:
    """One request: whose it was (a key id, or no one's), and what it was: ``s3 GetObject``."""

    who: str
    what: str


def read(line: str) -> Line:
    """One line of the access log (``local.cloud.emulator.ACCESS_LOG``)."""
    method, target, operation, authorization = line.rstrip("\n").split("\t")
    method = method.rpartition(" ")[2]  # behind the server's time, process and level
    split = urlsplit(target)
    if "/webhooks/fal/" in split.path:
        return Line("", "webhook")
    signed = _CREDENTIAL.search(authorization)
    if signed is None:  # a presigned URL, which only fal has
        is_presigned = "X-Amz-Signature" in split.query
        return Line("", f"fal {method}" if is_presigned else f"unsigned {method}")
    who, service = signed.groups()
    if service == "s3":
        operation = _s3(method, target)
    return Line(who, f"{service} {operation.rpartition('.')[2]}")


def _s3(method: str, target: str) -> str:
    url = f"https://localhost{target}"
    query = {
        name: values[0]
        for name, values in parse_qs(urlsplit(url).query, keep_blank_values=True).items()
    }
    return operation_of(method, query, has_key=bool(place_of(url)[1]))


def requests(lines: Iterable[str]) -> Counter[str]:
    """How often what was asked for by the functions, by fal, and by droppers."""
    counted: Counter[str] = Counter()
    for line in map(read, lines):
        if line.who == ROOT:
            counted[f"dropper {line.what}"] += line.what == "s3 PutObject"
        else:
            counted[line.what] += 1
    return +counted


@dataclass
class Logged:
    """What the functions' log groups hold."""

    lines: int = 0
    bytes: int = 0
    invocations: int = 0
    gb_seconds: float = 0.0

    def add(self, event: dict[str, Any]) -> None:
        """One log event."""
        message = str(event["message"])
        self.bytes += len(message.encode()) + EVENT_BYTES
        if reported := _REPORT.search(message):
            self.invocations += 1
            self.gb_seconds += int(reported[1]) / 1000 * int(reported[2]) / 1024
        elif not message.startswith(_PLATFORM):
            self.lines += 1


def amounts(counted: Counter[str], logged: Logged, audio_bytes: int) -> dict[str, float]:
    """What is paid for, by the names of ``prices.PRICES``; DynamoDB is metered elsewhere."""
    stored = {what.rpartition(" ")[2]: 0 for what in counted if "s3 " in what}
    for what, times in counted.items():
        if "s3 " in what:
            stored[what.rpartition(" ")[2]] += times
    dearer = sum(times for operation, times in stored.items() if operation in DEARER)
    read_by_fal = counted["fal GET"]
    cheaper = sum(
        stored[operation] for operation in stored if operation in ("GetObject", "HeadObject")
    )
    # S3 announces every drop; a message is sent, received and deleted, at most one by one
    messages = counted["dropper s3 PutObject"] + counted["sqs SendMessage"]
    return {
        "Lambda, GB-seconds on arm64": logged.gb_seconds,
        "Lambda, invocations": logged.invocations,
        "S3, PUT, POST and LIST": dearer,
        "S3, GET and HEAD": cheaper + read_by_fal,
        "S3, audio out to fal": read_by_fal * audio_bytes,
        "SQS, requests": 3 * messages,
        "API Gateway, HTTP API": counted["webhook"],
        "EventBridge, own events": counted["events PutEvents"],
        "CloudWatch Logs, bytes": logged.bytes,
        "X-Ray, traces": logged.invocations,
        "KMS, for the fal key": counted["ssm GetParameter"],
    }
