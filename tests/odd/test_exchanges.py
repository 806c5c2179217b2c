"""Whatever fal, its CDN or an endpoint answers: each exchange ends in time, in an outcome we know.

The product's own clients speak to a server that sends bytes drawn from a grammar, at their pace.
"""

from __future__ import annotations

import gzip
import json
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonoscene.errors import (
    CopyFailed,
    DropRefused,
    FalUnavailable,
    ResultMalformed,
    SigningKeysUnavailable,
    SubscriberUnreachable,
    UploadFailed,
    VideoRefused,
)
from phonoscene.fal import client, signing_keys, storage
from phonoscene.fal import queue as fal_queue
from phonoscene.fal.queue import FalQueue
from phonoscene.fal.requests import (
    Accepted,
    Ended,
    Lost,
    Medium,
    Pending,
    Refused,
    Submission,
    Unclear,
    Unknown,
)
from phonoscene.fal.results import from_webhook
from phonoscene.fal.signing_keys import SigningKeys
from phonoscene.fal.storage import FalStorage
from phonoscene.jobs import Request
from phonoscene.net.public_https import Timeout
from phonoscene.publishing import endpoint
from phonoscene.publishing.endpoint import Endpoint
from phonoscene.videos import cdn
from phonoscene.videos.cdn import Cdn
from tests.odd.answers import (
    ACCEPTED,
    FAILURE,
    KEYS,
    LISTED,
    RESULT,
    STATUS,
    TOKEN,
    answers,
    json_bodies,
)
from tests.odd.runs import MARKS, drawn
from tests.odd.server import Raw, Server
from tests.support.fakes.fal import REQUEST_ID, VIDEO_URL, video_of
from tests.support.jobs import NOON

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds that an exchange is given here, and how much later it may end.
SHORT: Final = 0.3
MARGIN: Final = 1.0
KEY: Final = "fal-key-id:fal-key-secret"
#: Hosts that fal's key may be shown to.
FAL_HOSTS: Final = {"queue.fal.run", "queue.falrun.com", "api.fal.ai", "rest.fal.ai"}
MAX_BYTES: Final = 100_000
#: A body of several parts where a part is this long.
PART: Final = 4096
VIDEO: Final = video_of(b" the film " * 1000)

pytestmark = MARKS


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """All hosts, and the product's clients with less patience."""
    made = Server(tmp_path_factory.mktemp("odd") / "ca.pem")
    with made.running(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{made.port}")
        patch.setenv("HTTP_PROXY", f"http://127.0.0.1:{made.port}")
        patch.setenv("SSL_CERT_FILE", str(made.ca_file))
        patch.setattr(client, "TIMEOUT", SHORT)
        for limit in ("POLL_SECONDS", "RESULT_SECONDS", "PAGE_SECONDS", "SEARCH_SECONDS"):
            patch.setattr(fal_queue, limit, SHORT)
        patch.setattr(storage, "MAX_SECONDS", SHORT)
        patch.setattr(signing_keys, "FETCH_TIMEOUT", SHORT)
        patch.setattr(endpoint, "MAX_SECONDS", SHORT)
        patch.setattr(cdn, "MAX_SECONDS", SHORT)
        patch.setattr(cdn, "TIMEOUT", Timeout(connect=SHORT, read=SHORT))
        patch.setattr(cdn, "ODD_PAUSE", 0.001)
        patch.setattr(cdn, "BUSY_PAUSE", 0.001)
        patch.setattr(cdn, "PART", PART)
        yield made
    assert made.broken == []


@pytest.fixture(scope="module")
def queue(server: Server) -> FalQueue:
    """fal's queue, as the functions use it."""
    assert server.port
    return FalQueue(lambda **_: KEY)


@contextmanager
def within(server: Server, exchanges: int = 1) -> Iterator[None]:
    """What happens here ends in time, and shows no secret to a stranger."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began <= exchanges * SHORT + MARGIN
    assert server.in_the_clear == []
    for asked in server.asked:
        if "fal-key" in asked.authorization:
            assert asked.host in FAL_HOSTS
        elif asked.authorization:
            # the token of the upload, whatever fal's answer calls it
            assert asked.host == "v3.fal.media"


def code_of(raw: Raw) -> int:
    """The status that a reader of all these bytes sees; 0 where there is none."""
    sent = raw.data if raw.at is None or raw.end == "drip" else raw.data[: raw.at]
    while match := re.match(rb"HTTP/\d\.\d +(\d{3})(?!\d)", sent):
        code, (_, _, sent) = int(match[1]), sent.partition(b"\r\n\r\n")
        if not 100 <= code < 200:
            return code
    return 0


odd_answers = answers(json_bodies(ACCEPTED) | json_bodies(FAILURE))
SUBMISSION: Final = Submission(
    arguments={"prompt": "a harbour", "audio_url": "https://bucket.s3.amazonaws.com/a.wav"},
    webhook_url="https://hooks.example.com/webhooks/fal/job/token",
    start_timeout=3600,
    output_lifetime=86400,
)


@given(raw=odd_answers)
@drawn
def test_a_submission_is_one_post_and_refused_only_by_what_proves_it(
    server: Server, queue: FalQueue, raw: Raw
) -> None:
    server.play([raw])

    with within(server):
        outcome = queue.ready().submit(SUBMISSION)

    assert len([asked for asked in server.asked if asked.method == "POST"]) == 1
    if isinstance(outcome, Accepted):
        request = outcome.request
        assert re.fullmatch("[A-Za-z0-9_-]{1,200}", request.request_id)
        for url in (request.status_url, request.response_url, request.cancel_url):
            assert url is None or re.match("https://queue.fal(.run|run.com)(:443)?/", url.lower())
    elif isinstance(outcome, Refused):
        code = code_of(raw)
        assert 400 <= code < 500 or code == 503
        assert code not in (408, 409, 425)
        assert "X-Amz-Signature" not in outcome.message
    else:
        assert isinstance(outcome, Unknown)


@given(
    raws=st.tuples(
        answers(json_bodies(STATUS)), answers(json_bodies(RESULT) | json_bodies(FAILURE))
    ),
    is_overdue=st.booleans(),
)
@drawn
def test_a_poll_ends_in_an_outcome_or_can_be_repeated(
    server: Server, queue: FalQueue, raws: tuple[Raw, Raw], *, is_overdue: bool
) -> None:
    server.play(raws)

    with within(server, exchanges=2):
        try:
            outcome = queue.poll(Request(request_id=REQUEST_ID), is_overdue=is_overdue)
        except FalUnavailable:
            return

    assert isinstance(outcome, Pending | Unclear | Ended | Lost)
    if isinstance(outcome, Ended):
        read_verdict(outcome.body)
        if json.loads(outcome.body)["status"] == "ERROR":  # never where the result is a result
            assert code_of(raws[1]) != 200


def read_verdict(body: str) -> None:
    """It is a result, or known to be none."""
    try:
        result = from_webhook(body)
    except ResultMalformed:
        return
    json.dumps([error.model_dump(mode="json") for error in result.errors])
    assert not any("X-Amz-Signature" in error.message for error in result.errors)


@given(raw=answers(json_bodies(LISTED)))
@drawn
def test_only_a_list_that_was_understood_whole_proves_that_a_request_is_missing(
    server: Server, queue: FalQueue, raw: Raw
) -> None:
    server.play([raw])

    with within(server, exchanges=20):
        try:
            found = queue.find("#no-such-marker", NOON, NOON)
        except FalUnavailable:
            return

    assert found is None
    body = json.loads(body_of(raw).decode("utf-8-sig", "replace"))
    assert 200 <= code_of(raw) < 300
    assert body["has_more"] is False
    assert not body.get("next_cursor")
    for item in body["items"]:
        assert item["request_id"]
        assert item["json_input"]["audio_url"]


def body_of(raw: Raw) -> bytes:
    """The last answer's body, without its framing."""
    head, _, body = raw.data.partition(b"\r\n\r\n")
    while re.match(rb"HTTP/1\.[01] 1\d\d", head):
        head, _, body = body.partition(b"\r\n\r\n")
    if b"chunked" in head:
        size, _, rest = body.partition(b"\r\n")
        body = rest[: int(size, 16)]
    return gzip.decompress(body) if b"Encoding: gzip" in head and body[:2] == b"\x1f\x8b" else body


@given(raw=st.lists(answers(st.sampled_from((VIDEO, VIDEO[:40], b"", b"<html>"))), max_size=3))
@drawn
def test_a_video_is_read_whole_or_not_at_all(server: Server, raw: list[Raw]) -> None:
    server.play([*raw, Raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(VIDEO) + VIDEO)])
    body = bytearray()

    with within(server):
        try:
            with Cdn(MAX_BYTES).open(VIDEO_URL) as source:
                while part := source.next():
                    body += part.body
        except CopyFailed:
            return
        except VideoRefused:  # by what is said of its length
            assert any(b"99999" in one.data for one in raw)
            return

    assert len(body) <= MAX_BYTES
    assert source.size in (0, len(body))


@given(raw=answers(json_bodies({"ok": True})))
@drawn
def test_an_endpoint_has_taken_an_event_only_where_it_says_so(server: Server, raw: Raw) -> None:
    server.play([raw])

    with within(server):
        try:
            answer = Endpoint("https://subscriber.example.com/hook").post({}, "{}")
        except SubscriberUnreachable:
            return

    assert answer.is_taken == (200 <= code_of(raw) < 300)
    assert 0 <= answer.retry_after < 10**7
    assert len(server.asked) == 1


@given(raws=st.tuples(answers(json_bodies(KEYS)), answers(json_bodies(KEYS))))
@drawn
def test_signing_keys_are_had_or_not(server: Server, raws: tuple[Raw, Raw]) -> None:
    server.play(raws)

    with within(server, exchanges=2):
        try:
            keys = SigningKeys().known()
        except SigningKeysUnavailable:
            return

    assert keys


@given(raws=st.tuples(answers(json_bodies(TOKEN)), answers(json_bodies(TOKEN))))
@drawn
def test_a_file_is_uploaded_to_an_address_of_fals_or_not(
    server: Server, raws: tuple[Raw, Raw]
) -> None:
    server.play(raws)
    medium = Medium("song.wav", "song.wav", "audio/wav", 9, [b"the sound"])

    with within(server, exchanges=2):
        try:
            with FalStorage(lambda **_: KEY).open(3600) as uploads:
                address = uploads.upload(medium)
        except (UploadFailed, DropRefused):
            return

    assert re.match(r"https://([a-z0-9-]+\.)+fal\.media[:/]", address)
