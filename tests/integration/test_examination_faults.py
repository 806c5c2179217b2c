"""What S3 refuses, what it does not answer, and what no one foresaw: nothing ends in silence."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from botocore.response import StreamingBody

from phonoscene.probe import object_reader
from phonoscene.workflow import examination
from tests.integration.moto_stack import Cloud, client
from tests.support.media.samples import png, silence
from tests.support.stack import DROPS, created, sqs

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from tests.integration.conftest import Context
    from tests.integration.fal_queue import FakeFalQueue

    Send = Callable[..., list[str]]

KEY = "a/song.wav"


@pytest.fixture
def send(submit: ModuleType, fal: FakeFalQueue, context: Context) -> Send:
    """Announce ``KEY`` to submit for the n-th time; the ids of messages that failed."""
    del fal  # it is in its place
    created_at = datetime.now(UTC)

    def deliver(tries: int = 1) -> list[str]:
        nonlocal created_at
        created_at = datetime.now(UTC) if tries == 1 else created_at
        event = sqs(created(KEY, created_at))
        event["Records"][0]["attributes"] = {"ApproximateReceiveCount": str(tries)}
        answer = submit.handler(event, context)
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    return deliver


@pytest.fixture
def drop(cloud: Cloud) -> None:
    """Audio of four blocks, an image, and a sidecar that names it."""
    cloud.drop(KEY, silence(2))
    cloud.drop("a/cover.png", png(64, 64))
    cloud.drop("a/song.json", {"prompt": "A stage", "image_url": "cover.png"})


def error(code: str, message: str = "", operation: str = "GetObject") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


class Broken:
    """A body that breaks off after some bytes."""

    def read(self, amt: int | None = None) -> bytes:
        raise ReadTimeoutError(endpoint_url=f"https://s3.example/{amt}")

    def close(self) -> None:
        pass


def short(answer: Any) -> Any:
    raw = answer["Body"].read()[:-1]
    return answer | {"Body": StreamingBody(io.BytesIO(raw), len(raw))}


TRANSIENT: dict[str, Callable[[Any], Any]] = {
    "SlowDown": lambda _: error("SlowDown"),
    "InternalError": lambda _: error("InternalError"),
    "RequestTimeout": lambda _: error("RequestTimeout"),
    "ServiceUnavailable": lambda _: error("503"),
    "no connection": lambda _: EndpointConnectionError(endpoint_url="https://s3.example"),
    "no answer": lambda _: ReadTimeoutError(endpoint_url="https://s3.example"),
    "a body that breaks off": lambda answer: answer | {"Body": Broken()},
    "a body that is short": short,
    "another range": lambda answer: answer | {"ContentRange": "bytes 5-9/10"},
    "the whole object": lambda answer: {k: v for k, v in answer.items() if k != "ContentRange"},
}


@pytest.fixture
def disturb(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[Any], Any]], list[str]]:
    """Have the n-th ranged read answered otherwise; the list tells what was read."""
    monkeypatch.setattr(object_reader, "BLOCK", 4096)

    def install(nth: int, change: Callable[[Any], Any]) -> list[str]:
        s3, read = client("s3"), []
        get = s3.get_object

        def get_object(**request: Any) -> Any:
            answer = get(**request)
            if "Range" in request:
                read.append(request["Range"])
                if len(read) == nth:
                    answer = change(answer)
                if isinstance(answer, Exception):
                    raise answer
            return answer

        monkeypatch.setattr(s3, "get_object", get_object)
        return read

    return install


@pytest.mark.parametrize("fault", TRANSIENT)
@pytest.mark.usefixtures("drop")
def test_no_fault_of_any_ranged_read_rejects_a_drop(
    cloud: Cloud,
    fal: FakeFalQueue,
    send: Send,
    disturb: Callable[[int, Callable[[Any], Any]], list[str]],
    fault: str,
) -> None:
    nth, read = 1, disturb(0, lambda answer: answer)
    assert send() == []
    reads = len(read)
    assert reads == 5

    for nth in range(1, reads + 1):
        cloud.empty()
        cloud.drop(KEY, silence(2))
        cloud.drop("a/cover.png", png(64, 64))
        cloud.drop("a/song.json", {"prompt": "A stage", "image_url": "cover.png"})
        disturb(nth, TRANSIENT[fault])

        assert send() == ["m0"], nth
        assert cloud.statuses() == []
        assert send(2) == []
        assert cloud.statuses() == ["SUBMITTED"]

    assert len(fal.posts) == reads + 1


REFUSALS = {
    "archived_object": error("InvalidObjectState", "The operation is not valid"),
    "customer_key": error(
        "InvalidRequest",
        "The object was stored using a form of Server Side Encryption. The correct parameters must "
        "be provided to retrieve the object.",
    ),
    "unusable_key": error("KMS.DisabledException", "is disabled"),
    "access_denied": error("AccessDenied", "is not authorized to perform: kms:Decrypt"),
}


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("half", ["a/song.wav", "a/song.json", "a/cover.png", "_defaults.json"])
@pytest.mark.parametrize("head", [True, False], ids=["HEAD as well", "GET alone"])
@pytest.mark.usefixtures("drop")
def test_an_object_whose_bytes_s3_refuses_is_rejected_in_its_own_words(
    cloud: Cloud, send: Send, monkeypatch: pytest.MonkeyPatch, code: str, half: str, head: bool
) -> None:
    cloud.drop("_defaults.json", {"fps": 25})
    s3 = client("s3")

    def refusing(call: Callable[..., Any], refused: ClientError) -> Callable[..., Any]:
        def answer(**request: Any) -> Any:
            if request["Key"] == half:
                raise refused
            return call(**request)

        return answer

    monkeypatch.setattr(s3, "get_object", refusing(s3.get_object, REFUSALS[code]))
    if head:
        monkeypatch.setattr(s3, "head_object", refusing(s3.head_object, error("403")))

    assert send() == []

    [item] = cloud.items()
    assert item["status"] == "REJECTED"
    assert [(e["code"], e["source"]) for e in item["errors"]] == [(code, half)]


@pytest.mark.usefixtures("drop")
def test_a_drop_that_s3_gave_at_last_takes_the_place_of_its_refusal(
    cloud: Cloud, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(client("s3"), "head_object", lambda **_: 1 / 0)
        assert send() == ["m0"]

    [item] = cloud.items()
    assert (item["status"], item["errors"][0]["code"]) == ("REJECTED", "could_not_be_examined")
    assert item["errors"][0]["value"] == "ZeroDivisionError"

    assert send(2) == []
    assert cloud.statuses() == ["SUBMITTED"]


@pytest.mark.parametrize(("tries", "records"), [(1, []), (2, []), (3, ["REJECTED"])])
@pytest.mark.usefixtures("drop")
def test_what_may_pass_is_tried_again_before_the_dropper_hears_of_it(
    cloud: Cloud, send: Send, monkeypatch: pytest.MonkeyPatch, tries: int, records: list[str]
) -> None:
    def throttled(**_: Any) -> Any:
        raise error("SlowDown", operation="HeadObject")

    monkeypatch.setattr(client("s3"), "head_object", throttled)

    assert send(tries) == ["m0"]
    assert cloud.statuses() == records


KILLED = {"errorType": "Runtime.ExitError", "errorMessage": "exited with error: signal: killed"}
TOO_SLOW = {"errorType": "Sandbox.Timedout", "errorMessage": "Task timed out after 75.00 seconds"}
IN_WORDS = {"errorMessage": "2026-11-22T12:00:00Z 52fdfc07 Task timed out after 75.00 seconds"}


@pytest.mark.parametrize(("answer", "tries"), [(KILLED, 2), (TOO_SLOW, 1), (IN_WORDS, 1)])
@pytest.mark.usefixtures("drop")
def test_a_file_that_ends_the_decoder_twice_or_takes_too_long_is_rejected(
    cloud: Cloud,
    send: Send,
    submit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    answer: Any,
    tries: int,
) -> None:
    asked = []

    def invoke(**request: Any) -> Any:
        asked.append(json.loads(request["Payload"]))
        return {"Payload": io.BytesIO(json.dumps(answer).encode()), "FunctionError": "Unhandled"}

    monkeypatch.setattr(submit.build().intake.examiner.prober.client, "invoke", invoke)

    assert send() == []
    [item] = cloud.items()
    assert {e["code"] for e in item["errors"]} == {"could_not_be_examined"}
    assert [one["kind"] for one in asked] == ["audio"] * tries + ["image"] * tries


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass by the clock that ends examinations, and by no other."""
    passed = [0.0]
    monkeypatch.setattr(examination, "time", SimpleNamespace(monotonic=lambda: sum(passed)))
    return passed.append


def test_a_drop_with_more_images_than_there_is_time_for_has_a_record_that_says_so(
    cloud: Cloud,
    send: Send,
    monkeypatch: pytest.MonkeyPatch,
    pass_time: Callable[[float], None],
) -> None:
    takes = [{"prompt": "A stage", "image_url": f"{n}.png"} for n in range(20)]
    cloud.drop(KEY, silence(1))
    cloud.drop("a/song.json", json.dumps(takes))
    head, asked = client("s3").head_object, []

    def slow(**request: Any) -> Any:
        if request["Key"].endswith(".png"):
            asked.append(request["Key"])
            pass_time(15)
        return head(**request)

    monkeypatch.setattr(client("s3"), "head_object", slow)

    assert send() == ["m0"]
    [item] = cloud.items()
    assert (item["status"], item["errors"][0]["code"]) == ("REJECTED", "could_not_be_examined")
    assert 1 <= len(asked) <= 4


def test_a_sidecar_of_more_audio_files_than_there_is_time_for_has_a_record_that_says_so(
    cloud: Cloud,
    submit: ModuleType,
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
    pass_time: Callable[[float], None],
) -> None:
    for case in ("wav", "waV", "wAv", "wAV", "Wav", "WaV", "WAv", "WAV"):
        cloud.drop(f"a/song.{case}", silence(1))
    cloud.drop("a/song.json", {"prompt": "A stage"})
    client, asked = submit.build().intake.examiner.prober.client, []
    invoke = client.invoke

    def slow(**request: Any) -> Any:
        asked.append(request)
        pass_time(30)
        return invoke(**request)

    monkeypatch.setattr(client, "invoke", slow)

    answer = submit.handler(sqs(created("a/song.json", datetime.now(UTC))), context)

    assert answer["batchItemFailures"] == [{"itemIdentifier": "m0"}]
    found = [item for item in cloud.items() if "could_not_be_examined" in str(item["errors"])]
    assert [item["status"] for item in found] == ["REJECTED"]
    assert 1 <= len(asked) <= 2


@pytest.mark.usefixtures("drop")
def test_a_drop_beside_more_files_than_there_is_time_for_has_a_record_that_says_so(
    cloud: Cloud,
    send: Send,
    monkeypatch: pytest.MonkeyPatch,
    pass_time: Callable[[float], None],
) -> None:
    asked = []

    class Endless:
        def paginate(self, **request: Any) -> Any:
            for n in range(1000):
                asked.append(request["Prefix"])
                pass_time(15)
                yield {"Contents": [{"Key": f"a/song.{n}.txt"}]}

    truncated = {"IsTruncated": True}
    monkeypatch.setattr(client("s3"), "list_object_versions", lambda **_: truncated)
    monkeypatch.setattr(client("s3"), "get_paginator", lambda _: Endless())

    assert send() == ["m0"]
    [item] = cloud.items()
    assert (item["status"], item["errors"][0]["code"]) == ("REJECTED", "could_not_be_examined")
    assert 1 <= len(asked) <= 5


@pytest.mark.usefixtures("drop")
def test_a_decoder_that_ends_once_is_asked_again_and_nothing_is_rejected(
    cloud: Cloud, send: Send, submit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = submit.build().intake.examiner.prober.client
    ends, invoke = [{"errorType": "Runtime.OutOfMemory"}], client.invoke

    asked = []

    def once(**request: Any) -> Any:
        asked.append(json.loads(request["Payload"])["etag"])
        if ends:
            return {"Payload": io.BytesIO(json.dumps(ends.pop()).encode())}
        return invoke(**request)

    monkeypatch.setattr(client, "invoke", once)

    assert send() == []
    assert ends == []
    assert cloud.statuses() == ["SUBMITTED"]
    assert asked[:2] == [cloud.s3.head_object(Bucket=DROPS, Key=KEY)["ETag"]] * 2


@pytest.mark.usefixtures("drop")
def test_an_error_of_the_probe_itself_brings_the_message_back(
    cloud: Cloud, send: Send, submit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"errorType": "KeyError", "errorMessage": "kind"}
    answer = {"Payload": io.BytesIO(json.dumps(fields).encode()), "FunctionError": "Unhandled"}
    monkeypatch.setattr(submit.build().intake.examiner.prober.client, "invoke", lambda **_: answer)

    assert send() == ["m0"]
    assert cloud.statuses() == []


@pytest.mark.parametrize(("seconds", "status"), [(20.06, "SUBMITTED"), (20.3, "REJECTED")])
def test_audio_that_is_longer_by_an_encoders_padding_is_made_into_the_longest_video(
    cloud: Cloud,
    fal: FakeFalQueue,
    send: Send,
    function: Callable[..., ModuleType],
    seconds: float,
    status: str,
) -> None:
    function("submit", LONG_AUDIO="reject")
    cloud.drop(KEY, silence(seconds))
    cloud.drop("a/song.json", {"prompt": "A stage"})

    assert send() == []

    [item] = cloud.items()
    assert item["status"] == status
    if status == "SUBMITTED":
        [post] = fal.posts
        assert (post.arguments["match_audio_length"], post.arguments["num_frames"]) == (False, 481)
        assert float(item["padding"]) == pytest.approx(20.06 - 481 / 24)
        assert item["estimate"]["frames"] == 481
