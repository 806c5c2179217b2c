"""From fal's CDN to the output bucket: what is copied, what is refused, and what is left behind."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from botocore.exceptions import ClientError, EndpointConnectionError

from phonoscene.errors import CopyFailed, VideoRefused
from phonoscene.net.public_https import Timeout
from phonoscene.videos import cdn as product
from phonoscene.videos.cdn import BUSY_TRIES, PART, TRIES, Cdn
from phonoscene.videos.output_bucket import MAX_FLOWS, OutputBucket, Stored
from phonoscene.videos.video_formats import CONTENT_TYPES, Examination, check_container
from tests.integration.loopback import FileServer, Loopback, Seen, answer, cut, stall, vanish
from tests.support.media.samples import film
from tests.support.stack import OUTPUT
from tests.support.template import ROOT

if TYPE_CHECKING:
    from tests.integration.moto_stack import Cloud

URL = "https://v3.fal.media/files/penguin/phonoscene.mp4"
KEY = "albums/song/0f343b0931126a20f133d67c2b018a3b.mp4"
MOST = 64 * 1024 * 1024
SMALL = film(".mp4")
#: Three parts, the last one short; no two places of it are alike.
LARGE = SMALL + b"".join(n.to_bytes(4, "big") for n in range((2 * PART + 1_000_000) // 4))


@dataclass(frozen=True)
class Copier:
    """The two edges, joined as a delivery joins them."""

    output: OutputBucket
    most_bytes: int = MOST

    def copy_video(self, url: str, key: str, suffix: str, reported: int = 0) -> Stored:
        with Cdn(self.most_bytes).open(url) as source:
            found = check_container(source.head, suffix)
            examination = Examination(suffix, reported)
            return self.output.store(source, key, CONTENT_TYPES[found], examination)


@pytest.fixture
def output(cloud: Cloud) -> OutputBucket:
    return OutputBucket(cloud.s3, OUTPUT)


@pytest.fixture
def copier(output: OutputBucket) -> Copier:
    return Copier(output)


@pytest.fixture
def cdn(internet: Loopback) -> FileServer:
    """Serves the small film."""
    server = FileServer(SMALL)
    internet.plays["v3.fal.media"] = server
    return server


@pytest.fixture
def large(cdn: FileServer) -> FileServer:
    cdn.body = LARGE
    return cdn


class Sink:
    """S3 as a client, without its rule that a part has 5 MiB."""

    def __init__(self) -> None:
        self.parts: dict[int, bytes] = {}
        self.aborted = 0
        self.client: Any = self

    def create_multipart_upload(self, **_: Any) -> dict[str, str]:
        return {"UploadId": "1"}

    def upload_part(self, *, PartNumber: int, Body: bytearray, **_: Any) -> dict[str, str]:  # noqa: N803
        self.parts[PartNumber] = bytes(Body)
        return {"ETag": str(PartNumber)}

    def complete_multipart_upload(self, **_: Any) -> dict[str, str]:
        return {"VersionId": "v"}

    def abort_multipart_upload(self, **_: Any) -> None:
        self.aborted += 1
        self.parts.clear()

    @property
    def whole(self) -> bytes:
        return b"".join(self.parts[number] for number in sorted(self.parts))


def ranges(internet: Loopback) -> list[str]:
    return [seen.headers["range"] for seen in internet.seen]


def nothing_is_left(cloud: Cloud) -> bool:
    return cloud.outputs() == {} and cloud.unfinished_uploads() == []


# What is copied ---------------------------------------------------------------------------------


@pytest.mark.parametrize("with_ranges", [True, False])
@pytest.mark.parametrize(
    "body",
    [SMALL, LARGE, LARGE[:PART], LARGE[: PART + 1], LARGE[: 2 * PART]],
    ids=["small", "three parts", "one part", "a byte more", "two parts"],
)
def test_a_video_arrives_byte_for_byte(
    copier: Copier, cloud: Cloud, cdn: FileServer, body: bytes, with_ranges: bool
) -> None:
    cdn.body, cdn.ranges = body, with_ranges

    stored = copier.copy_video(URL, KEY, ".mp4")

    head = cloud.s3.head_object(Bucket=OUTPUT, Key=KEY)
    assert cloud.outputs() == {KEY: body}
    assert (stored.bucket, stored.key, stored.bytes) == (OUTPUT, KEY, len(body))
    assert stored.sha256 == hashlib.sha256(body).hexdigest()
    assert stored.version_id == head["VersionId"]
    assert stored.content_type == head["ContentType"] == "video/mp4"
    assert cloud.unfinished_uploads() == []


def test_a_small_video_is_one_request_and_one_put(
    copier: Copier, cloud: Cloud, cdn: FileServer, internet: Loopback
) -> None:
    del cdn

    copier.copy_video(URL, KEY, ".mp4")

    assert ranges(internet) == [f"bytes=0-{PART - 1}"]
    assert "-" not in cloud.s3.head_object(Bucket=OUTPUT, Key=KEY)["ETag"]


def test_a_large_video_is_read_and_written_in_parts(
    copier: Copier, cloud: Cloud, large: FileServer, internet: Loopback
) -> None:
    copier.copy_video(URL, KEY, ".mp4")

    assert sorted(ranges(internet)) == sorted(
        [
            f"bytes=0-{PART - 1}",
            f"bytes={PART}-{2 * PART - 1}",
            f"bytes={2 * PART}-{len(large.body) - 1}",
        ]
    )
    assert cloud.s3.head_object(Bucket=OUTPUT, Key=KEY)["ETag"].endswith('-3"')


def test_the_cdn_is_asked_for_plain_bytes_and_shown_no_credentials(
    copier: Copier, cdn: FileServer, internet: Loopback
) -> None:
    del cdn

    copier.copy_video(URL, KEY, ".mp4")

    (seen,) = internet.seen
    assert (seen.method, seen.headers["accept-encoding"]) == ("GET", "identity")
    assert {"authorization", "cookie"}.isdisjoint(seen.headers)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov", ".gif"])
def test_each_container_is_known_and_typed(
    copier: Copier, cloud: Cloud, cdn: FileServer, suffix: str
) -> None:
    cdn.body = film(suffix)

    stored = copier.copy_video(URL, f"a/b{suffix}", suffix)

    kind = {
        ".mp4": "video/mp4",
        ".webm": "video/webm",
        ".mov": "video/quicktime",
        ".gif": "image/gif",
    }
    head = cloud.s3.head_object(Bucket=OUTPUT, Key=f"a/b{suffix}")
    assert stored.content_type == head["ContentType"] == kind[suffix]


@pytest.mark.parametrize(
    "url",
    [
        "https://v3b.fal.media/files/b/0a1b/x.mp4",
        "https://V3.FAL.media/files/x.mp4?download=1",
        "https://v3.fal.media:443/files/x.mp4",
        "https://storage.googleapis.com/falserverless/example_outputs/x.mp4",
        " https://v3.fal.media/files/x.mp4",
        "https://v3.fal.media/files/x.mp4 \n",
        "https://v3.fal.media/files%2Fx.mp4",
        "https://v3.fal.media/files/caf\u00e9 \u2028\U0001f427.mp4?name=\u00fc",
        "https://v3.fal.media/files/two..dots.mp4",
        "https://v3.fal.media/../x.mp4",
        "HTTPS://v3.fal.media/x.mp4#t=1",
        "https://v3.fal.media?x",
    ],
)
def test_fals_own_places_are_read(
    copier: Copier, cloud: Cloud, internet: Loopback, url: str
) -> None:
    for host in ("v3.fal.media", "v3b.fal.media", "storage.googleapis.com"):
        internet.plays[host] = FileServer(SMALL)

    copier.copy_video(url, KEY, ".mp4")

    assert cloud.outputs() == {KEY: SMALL}


# Broken connections -----------------------------------------------------------------------------


@pytest.mark.parametrize("places", [[100], [100, 70], [PART - 1], [None, 900_000], [0]])
def test_a_broken_connection_is_taken_up_where_it_broke(
    copier: Copier, cloud: Cloud, large: FileServer, internet: Loopback, places: list[int | None]
) -> None:
    large.breaks = list(places)

    stored = copier.copy_video(URL, KEY, ".mp4")

    assert stored.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert cloud.outputs() == {KEY: LARGE}
    assert len(internet.seen) == 3 + sum(place is not None for place in places)
    if places == [100, 70]:
        assert [f"bytes={at}-{PART - 1}" for at in (0, 100, 170)] == ranges(internet)[:3]


@pytest.mark.parametrize("body", [SMALL, LARGE])
def test_a_video_that_stays_truncated_is_not_stored(
    copier: Copier, cloud: Cloud, cdn: FileServer, internet: Loopback, body: bytes
) -> None:
    cdn.body, cdn.breaks = body, [10] * 100

    with pytest.raises(CopyFailed):
        copier.copy_video(URL, KEY, ".mp4")

    assert nothing_is_left(cloud)
    assert len(internet.seen) <= 3 * (TRIES + 1)


def test_a_part_that_stays_broken_leaves_no_upload_behind(
    copier: Copier, cloud: Cloud, large: FileServer
) -> None:
    large.breaks = [None, *[10] * 100]

    with pytest.raises(CopyFailed):
        copier.copy_video(URL, KEY, ".mp4")

    assert nothing_is_left(cloud)


@pytest.mark.parametrize("body", [SMALL, LARGE])
def test_a_cdn_without_ranges_that_breaks_off_is_not_believed(
    copier: Copier, cloud: Cloud, cdn: FileServer, body: bytes
) -> None:
    cdn.body, cdn.ranges, cdn.breaks = body, False, [len(body) - 1]

    with pytest.raises(CopyFailed):
        copier.copy_video(URL, KEY, ".mp4")

    assert nothing_is_left(cloud)


@pytest.mark.parametrize("play", [vanish, stall])
def test_a_cdn_that_does_not_answer_is_tried_again_later(
    copier: Copier, cloud: Cloud, internet: Loopback, environment: pytest.MonkeyPatch, play: Any
) -> None:
    environment.setattr(product, "TIMEOUT", Timeout(0.3, 0.3))
    internet.plays["v3.fal.media"] = play

    with pytest.raises(CopyFailed):
        copier.copy_video(URL, KEY, ".mp4")

    assert nothing_is_left(cloud)


@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")  # wrap_socket's own
def test_a_cdn_that_cannot_be_reached_is_tried_again_later(
    copier: Copier, cloud: Cloud, internet: Loopback
) -> None:
    internet.dead.add("v3.fal.media")

    with pytest.raises(CopyFailed):
        copier.copy_video(URL, KEY, ".mp4")

    assert nothing_is_left(cloud)


@pytest.mark.parametrize("status", [400, 403, 404, 410, 416, 429, 500, 503])
def test_an_error_of_the_cdn_is_tried_again_later(
    copier: Copier, cloud: Cloud, internet: Loopback, status: int
) -> None:
    internet.plays["v3.fal.media"] = answer("<html>", status)

    with pytest.raises(CopyFailed, match=str(status)):
        copier.copy_video(URL, KEY, ".mp4")

    assert nothing_is_left(cloud)


def test_an_error_in_the_middle_leaves_no_upload_behind(
    copier: Copier, cloud: Cloud, large: FileServer, internet: Loopback
) -> None:
    async def expires(seen: Seen, request: web.Request) -> web.StreamResponse:
        first = seen.headers["range"].startswith("bytes=0-")
        return await large(seen, request) if first else web.Response(status=404)

    internet.plays["v3.fal.media"] = expires

    with pytest.raises(CopyFailed, match="404"):
        copier.copy_video(URL, KEY, ".mp4")

    assert nothing_is_left(cloud)


@pytest.mark.parametrize(
    "told", ["bytes */9", "bytes 5-9/900", "chunks 0-9/900", "", "bytes 0-9/*"]
)
def test_a_range_that_was_not_asked_for_is_not_believed(
    copier: Copier, cloud: Cloud, internet: Loopback, told: str
) -> None:
    internet.plays["v3.fal.media"] = answer(SMALL.decode("latin-1"), 206, {"Content-Range": told})

    with pytest.raises(CopyFailed):
        copier.copy_video(URL, KEY, ".mp4")

    assert nothing_is_left(cloud)


@pytest.mark.parametrize("shift", ["another range", "another file"])
def test_a_later_range_that_was_not_asked_for_is_not_believed(
    copier: Copier, cloud: Cloud, large: FileServer, internet: Loopback, shift: str
) -> None:
    """A cache that mixes up ranges, or a file that is replaced while it is read."""

    async def mixed_up(seen: Seen, request: web.Request) -> web.StreamResponse:
        first, last = map(int, seen.headers["range"].removeprefix("bytes=").split("-"))
        if first == 0:
            return await large(seen, request)
        last = min(last, len(LARGE) - 1)
        piece, total = LARGE[: last - first + 1], len(LARGE)
        if shift == "another range":
            told = f"bytes 0-{last - first}/{total}"
        else:
            told = f"bytes {first}-{last}/{total + 1}"
        return web.Response(body=piece, status=206, headers={"Content-Range": told})

    internet.plays["v3.fal.media"] = mixed_up

    with pytest.raises(CopyFailed):
        copier.copy_video(URL, KEY, ".mp4")

    assert nothing_is_left(cloud)


Bend = Callable[[dict[str, str], int], dict[str, str]]
TOTAL = len(LARGE)


def bent(server: FileServer, bend: Bend) -> Any:
    """The server, with the headers of its answers changed; ``bend`` is given the first byte."""

    async def play(seen: Seen, _: web.Request) -> web.StreamResponse:
        if "range" not in seen.headers:
            return web.Response(body=server.body)
        first, last = map(int, seen.headers["range"].removeprefix("bytes=").split("-"))
        piece = server.body[first : last + 1]
        told = {"Content-Range": f"bytes {first}-{first + len(piece) - 1}/{len(server.body)}"}
        return web.Response(body=piece, status=206, headers=bend(told, first))

    return play


def unmeasured(told: dict[str, str], first: int) -> str:
    """A later range without the file's length."""
    return told["Content-Range"].replace(f"/{TOTAL}", "/*" if first else f"/{TOTAL}")


BENDS: dict[str, Bend] = {
    "weak tags that differ": lambda told, first: told | {"ETag": f'W/"{first}"'},
    "a tag that is missing later": lambda told, first: told | ({} if first else {"ETag": '"a"'}),
    "a tag that comes later": lambda told, first: told | ({"ETag": '"a"'} if first else {}),
    "a weak tag after a strong one": lambda told, first: (
        told | {"ETag": 'W/"b"' if first else '"a"'}
    ),
    "no length later, one strong tag": lambda told, first: (
        {"Content-Range": unmeasured(told, first)} | {"ETag": '"a"'}
    ),
    "a unit in capitals": lambda told, _: {
        "Content-Range": told["Content-Range"].replace("bytes", "Bytes") + " "
    },
}


@pytest.mark.parametrize("bend", BENDS)
def test_ranges_that_are_told_otherwise_are_taken(
    copier: Copier, cloud: Cloud, large: FileServer, internet: Loopback, bend: str
) -> None:
    internet.plays["v3.fal.media"] = bent(large, BENDS[bend])

    copier.copy_video(URL, KEY, ".mp4")

    assert cloud.outputs() == {KEY: LARGE}
    assert len(internet.seen) == 3


OTHER_FILES: dict[str, Bend] = {
    "two strong tags": lambda told, first: told | {"ETag": f'"{first}"'},
    "another length": lambda told, first: (
        {"Content-Range": told["Content-Range"] + ("0" if first else "")} | {"ETag": '"a"'}
    ),
    "no length, and no proof": lambda told, first: ({"Content-Range": unmeasured(told, first)}),
}


@pytest.mark.parametrize("bend", OTHER_FILES)
def test_a_range_of_another_file_is_not_taken(
    copier: Copier, cloud: Cloud, large: FileServer, internet: Loopback, bend: str
) -> None:
    internet.plays["v3.fal.media"] = bent(large, OTHER_FILES[bend])

    with pytest.raises(CopyFailed, match="another file"):
        copier.copy_video(URL, KEY, ".mp4")

    assert nothing_is_left(cloud)
    assert len(internet.seen) <= 1 + 2 * TRIES


@pytest.mark.parametrize("told", ["bytes 0-{last}/*", "bytes 0-{last}/0", "", "items 0-1/2"])
def test_where_a_range_does_not_tell_the_length_the_file_is_read_without_ranges(
    copier: Copier, cloud: Cloud, large: FileServer, internet: Loopback, told: str
) -> None:
    internet.plays["v3.fal.media"] = bent(
        large, lambda _, __: {"Content-Range": told.format(last=PART - 1)}
    )

    copier.copy_video(URL, KEY, ".mp4")

    assert cloud.outputs() == {KEY: LARGE}
    assert ["range" in seen.headers for seen in internet.seen] == [True, False]


@pytest.mark.parametrize("odd", [200, 302, 404, 500, 502, "page", "packed", "another range"])
def test_an_odd_answer_for_a_range_costs_that_range_and_no_more(
    copier: Copier, cloud: Cloud, large: FileServer, internet: Loopback, odd: int | str
) -> None:
    spoilt: list[str] = []

    async def play(seen: Seen, request: web.Request) -> web.StreamResponse:
        wanted = seen.headers["range"]
        if wanted.startswith("bytes=0-") or wanted in spoilt:
            return await large(seen, request)
        spoilt.append(wanted)
        if isinstance(odd, int):
            return web.Response(status=odd, text="not now")
        headers = {"page": {"Content-Type": "text/html"}, "packed": {"Content-Encoding": "br"}}
        told = {
            "Content-Range": f"bytes 0-8/{TOTAL}"
            if odd == "another range"
            else f"{wanted.replace('=', ' ')}/{TOTAL}"
        }
        return web.Response(status=206, body=b"not video", headers=told | headers.get(odd, {}))

    internet.plays["v3.fal.media"] = play

    copier.copy_video(URL, KEY, ".mp4")

    assert cloud.outputs() == {KEY: LARGE}
    assert len(internet.seen) == 5


def test_a_range_that_comes_in_several_answers_is_put_together(
    copier: Copier, cloud: Cloud, large: FileServer, internet: Loopback
) -> None:
    async def stingy(seen: Seen, _: web.Request) -> web.StreamResponse:
        first, last = map(int, seen.headers["range"].removeprefix("bytes=").split("-"))
        last = min(last, first + PART // 2)
        headers = {"Content-Range": f"bytes {first}-{last}/{TOTAL}"}
        return web.Response(body=large.body[first : last + 1], status=206, headers=headers)

    internet.plays["v3.fal.media"] = stingy

    copier.copy_video(URL, KEY, ".mp4")

    assert cloud.outputs() == {KEY: LARGE}


# A CDN that is busy ------------------------------------------------------------------------------


@dataclass
class Narrow:
    """A CDN that answers so many requests at once, and any more with a status, or 0: by a reset."""

    server: FileServer
    width: int
    status: int = 429
    headers: dict[str, str] = field(default_factory=dict)
    now: int = 0
    refused: int = 0
    #: When it refused, and when it was asked.
    refusals: list[float] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)

    async def __call__(self, seen: Seen, request: web.Request) -> web.StreamResponse:
        self.asked.append(time.monotonic())
        if self.now >= self.width:
            self.refusals.append(time.monotonic())
            if not self.status:
                cut(request.transport)
            return web.Response(status=self.status or 500, headers=self.headers)
        self.now += 1
        try:
            await asyncio.sleep(0.02)
            return await self.server(seen, request)
        finally:
            self.now -= 1


@pytest.fixture
def many_parts(cdn: FileServer, environment: pytest.MonkeyPatch) -> FileServer:
    """Twenty-four parts of a film, the last one short."""
    environment.setattr(product, "PART", 128 * 1024)
    cdn.body = LARGE[: 23 * 128 * 1024 + 77]
    return cdn


@pytest.mark.parametrize("status", [429, 503, 0])
@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_a_cdn_that_limits_connections_is_copied_from_with_fewer_of_them(
    many_parts: FileServer,
    internet: Loopback,
    environment: pytest.MonkeyPatch,
    width: int,
    status: int,
) -> None:
    environment.setattr(product, "BUSY_PAUSE", 0.02)
    narrow = Narrow(many_parts, width, status)
    internet.plays["v3.fal.media"] = narrow
    sink = Sink()

    Copier(OutputBucket(sink.client, OUTPUT)).copy_video(URL, KEY, ".mp4")

    assert sink.whole == many_parts.body
    assert len(narrow.refusals) <= 2 * MAX_FLOWS


@pytest.mark.parametrize(("told", "least"), [("1", 1.0), (" 1 ", 1.0), ("soon", 0.02)])
def test_a_cdn_that_names_a_pause_is_left_alone_for_it(
    many_parts: FileServer,
    internet: Loopback,
    environment: pytest.MonkeyPatch,
    told: str,
    least: float,
) -> None:
    environment.setattr(product, "BUSY_PAUSE", 0.02)
    narrow = Narrow(many_parts, 2, headers={"Retry-After": told})
    internet.plays["v3.fal.media"] = narrow
    sink = Sink()

    Copier(OutputBucket(sink.client, OUTPUT)).copy_video(URL, KEY, ".mp4")

    assert sink.whole == many_parts.body
    assert max(narrow.asked) >= narrow.refusals[0] + least
    answered_at_once = [at for at in narrow.asked if at < narrow.refusals[0] + least / 2]
    assert len(answered_at_once) < len(many_parts.body) // product.PART


def test_a_cdn_that_stays_busy_is_left_alone_after_some_tries(
    many_parts: FileServer, internet: Loopback, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr(product, "BUSY_PAUSE", 0.001)
    environment.setattr(product, "MAX_PAUSE", 0.01)

    async def busy(seen: Seen, request: web.Request) -> web.StreamResponse:
        if seen.headers["range"].startswith("bytes=0-"):
            return await many_parts(seen, request)
        return web.Response(status=429, headers={"Retry-After": "77"})

    internet.plays["v3.fal.media"] = busy
    sink = Sink()

    with pytest.raises(CopyFailed, match="429") as caught:
        Copier(OutputBucket(sink.client, OUTPUT)).copy_video(URL, KEY, ".mp4")

    assert caught.value.retry_after == 77
    assert len(internet.seen) <= 1 + MAX_FLOWS * BUSY_TRIES
    assert (sink.parts, sink.aborted) == ({}, 1)


def test_a_cdn_that_is_busy_at_once_says_for_how_long(copier: Copier, internet: Loopback) -> None:
    internet.plays["v3.fal.media"] = answer("", 429, {"Retry-After": "120"})

    with pytest.raises(CopyFailed, match="429") as caught:
        copier.copy_video(URL, KEY, ".mp4")

    assert caught.value.retry_after == 120


def test_a_pause_that_is_longer_than_the_copy_may_take_is_not_waited_for(
    many_parts: FileServer, internet: Loopback, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr(product, "MAX_SECONDS", 0.5)
    internet.plays["v3.fal.media"] = Narrow(many_parts, 1, headers={"Retry-After": "20"})
    sink = Sink()
    began = time.monotonic()

    with pytest.raises(CopyFailed, match="longer than"):
        Copier(OutputBucket(sink.client, OUTPUT)).copy_video(URL, KEY, ".mp4")

    assert time.monotonic() - began < 1.5
    assert sink.aborted == 1


# Heads of answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [100, 102, 103, 199])
@pytest.mark.parametrize("times", [1, 3])
def test_what_announces_an_answer_is_passed_over(
    copier: Copier, cloud: Cloud, large: FileServer, internet: Loopback, status: int, times: int
) -> None:
    async def announced(seen: Seen, request: web.Request) -> web.StreamResponse:
        assert request.transport
        hint = f"HTTP/1.1 {status} Hint\r\nLink: </a>; rel=preload\r\n\r\n"
        request.transport.write(hint.encode() * times)
        return await large(seen, request)

    internet.plays["v3.fal.media"] = announced

    copier.copy_video(URL, KEY, ".mp4")

    assert cloud.outputs() == {KEY: LARGE}
    assert len(internet.seen) == 3


def test_announcements_without_end_are_no_answer(
    copier: Copier, cloud: Cloud, internet: Loopback
) -> None:
    async def endless(_: Seen, request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)
        return web.Response()

    internet.plays["v3.fal.media"] = endless

    with pytest.raises(CopyFailed, match="broke off"):
        copier.copy_video(URL, KEY, ".mp4")

    assert nothing_is_left(cloud)


HEADS = {
    "the status": b"HTTP/1.1 ",
    "a header": b"HTTP/1.1 206 Partial Content\r\nX-Long: ",
    "an announcement": b"HTTP/1.1 103 Early Hints\r\nX-Long: ",
}


@pytest.mark.parametrize("head", HEADS)
def test_a_head_that_drips_is_given_up_when_its_time_is_over(
    copier: Copier, cloud: Cloud, internet: Loopback, environment: pytest.MonkeyPatch, head: str
) -> None:
    environment.setattr(product, "MAX_SECONDS", 0.4)

    async def drip(_: Seen, request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.write(HEADS[head])
        for _n in range(60):
            request.transport.write(b"2")
            await asyncio.sleep(0.05)
        return web.Response()

    internet.plays["v3.fal.media"] = drip
    began = time.monotonic()

    with pytest.raises(CopyFailed, match="longer than"):
        copier.copy_video(URL, KEY, ".mp4")

    assert time.monotonic() - began < 1.2
    assert nothing_is_left(cloud)


@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")  # wrap_socket's own
def test_a_handshake_that_drips_is_given_up_when_a_connection_may_take_no_longer(
    copier: Copier, cloud: Cloud, internet: Loopback, environment: pytest.MonkeyPatch
) -> None:
    """TLS's own limit is for the whole handshake, not for each read of it."""
    environment.setattr(product, "TIMEOUT", Timeout(0.4, 5))
    internet.dripping.add("v3.fal.media")
    began = time.monotonic()

    with pytest.raises(CopyFailed, match="broke off"):
        copier.copy_video(URL, KEY, ".mp4")

    assert time.monotonic() - began < 1.2
    assert nothing_is_left(cloud)


@pytest.mark.parametrize("with_ranges", [True, False])
def test_a_drip_is_given_up_when_its_time_is_over(
    copier: Copier,
    cloud: Cloud,
    internet: Loopback,
    environment: pytest.MonkeyPatch,
    with_ranges: bool,
) -> None:
    environment.setattr(product, "MAX_SECONDS", 0.4)

    async def drip(_: Seen, request: web.Request) -> web.StreamResponse:
        headers = {"Content-Range": f"bytes 0-{len(SMALL) - 1}/{len(SMALL)}"} if with_ranges else {}
        response = web.StreamResponse(status=206 if with_ranges else 200, headers=headers)
        await response.prepare(request)
        for n in range(len(SMALL)):
            await response.write(SMALL[n : n + 1])
            await asyncio.sleep(0.05)
        return response

    internet.plays["v3.fal.media"] = drip
    began = time.monotonic()

    with pytest.raises(CopyFailed, match="longer than"):
        copier.copy_video(URL, KEY, ".mp4")

    assert time.monotonic() - began < 1.5
    assert nothing_is_left(cloud)


# What is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://v3.fal.media/x.mp4",
        "ftp://v3.fal.media/x.mp4",
        "https://v3.fal.media:8443/x.mp4",
        "https://v3.fal.media:x/x.mp4",
        "https://user@v3.fal.media/x.mp4",
        "https://@v3.fal.media/x.mp4",
        "https://user:secret@v3.fal.media/x.mp4",
        "https://fal.media/x.mp4",
        "https://v3.fal.media.example.com/x.mp4",
        "https://v3.fal.media./x.mp4",
        "https://evilfal.media/x.mp4",
        "https://evil.example.com/v3.fal.media/x.mp4",
        "https://evil.example.com#.fal.media/x.mp4",
        "https://evil.example.com?.fal.media/x.mp4",
        "https://evil.example.com\\.fal.media/x.mp4",
        "https://169.254.169.254/latest/meta-data",
        "https://127.0.0.1/x.mp4",
        "https://[::1]/x.mp4",
        "https://[::1].fal.media/x.mp4",
        "https://storage.googleapis.com/other-bucket/x.mp4",
        "https://storage.googleapis.com/falserverless",
        "https://storage.googleapis.com/falserverless-evil/x.mp4",
        "https://storage.googleapis.com/falserverless/../other-bucket/x.mp4",
        "https://storage.googleapis.com/falserverless/%2e%2e/other-bucket/x.mp4",
        "https://storage.googleapis.com/falserverless/%2E./other-bucket/x.mp4",
        "https://storage.googleapis.com//falserverless/x.mp4",
        "https://v3.fal.media/a\nb.mp4",
        "https://v3.fal.media/a\ud800b.mp4",
        "https://v3\uff0efal\uff0emedia/x.mp4",
        "https://v\u00e93.fal.media/x.mp4",
        "https://storage.googleapis.com/falserverless/a%2Fb.mp4",
        "https://storage.googleapis.com/falserverless\\x.mp4",
        "https://v3.fal.media/a\x00b.mp4",
        "https://a b.fal.media/x.mp4",
        "https://.fal.media/x.mp4",
        "//v3.fal.media/x.mp4",
        "v3.fal.media/x.mp4",
        "data:video/mp4;base64,AAAA",
        "file:///etc/passwd",
        "",
    ],
)
def test_any_other_place_is_refused_without_a_request(
    copier: Copier, cloud: Cloud, internet: Loopback, url: str
) -> None:
    with pytest.raises(VideoRefused) as refused:
        copier.copy_video(url, KEY, ".mp4")

    assert refused.value.error.code == "video_url_refused"
    assert internet.tunnels == {}
    assert nothing_is_left(cloud)


REDIRECTS = [301, 302, 303, 307, 308]


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example.com/x.mp4",
        "//evil.example.com/x.mp4",
        "",
        "http://v3b.fal.media/x",
        "https://user@v3b.fal.media/x.mp4",
        "https://[::1",
        "https://169.254.169.254/",
        "data:,x",
        "https://storage.googleapis.com/falserverless/../x.mp4",
        "https://v3b.fal.media:8443/x",
    ],
)
def test_a_redirect_to_another_place_is_not_followed_and_may_be_none_the_next_time(
    copier: Copier, cloud: Cloud, internet: Loopback, status: int, location: str
) -> None:
    internet.plays["v3.fal.media"] = answer("", status, {"Location": location})
    internet.plays["evil.example.com"] = FileServer(SMALL)

    with pytest.raises(CopyFailed, match=r"redirects|answered 30"):
        copier.copy_video(URL, KEY, ".mp4")

    assert set(internet.tunnels) == {"v3.fal.media"}
    assert nothing_is_left(cloud)


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize(
    ("location", "host", "target"),
    [
        ("https://v3b.fal.media/other.mp4?a=b", "v3b.fal.media", "/other.mp4?a=b"),
        ("/moved/x.mp4", "v3.fal.media", "/moved/x.mp4"),
        ("there/caf\u00e9.mp4", "v3.fal.media", "/files/penguin/there/caf%C3%A9.mp4"),
        (
            "https://storage.googleapis.com/falserverless/x.mp4",
            "storage.googleapis.com",
            "/falserverless/x.mp4",
        ),
    ],
)
def test_one_redirect_to_fals_cdn_is_followed(  # noqa: PLR0913, PLR0917 - a table
    copier: Copier,
    cloud: Cloud,
    internet: Loopback,
    status: int,
    location: str,
    host: str,
    target: str,
) -> None:
    server = FileServer(LARGE)
    internet.plays[host] = server

    async def moved(seen: Seen, request: web.Request) -> web.StreamResponse:
        if seen.target == "/files/penguin/phonoscene.mp4":
            return web.Response(status=status, headers={"Location": location})
        return await server(seen, request)

    internet.plays["v3.fal.media"] = moved

    copier.copy_video(URL, KEY, ".mp4")

    assert cloud.outputs() == {KEY: LARGE}
    assert {(seen.host, seen.target) for seen in internet.seen[1:]} == {(host, target)}
    assert len(internet.seen) == 4


def test_a_second_redirect_is_not_followed(
    copier: Copier, cloud: Cloud, internet: Loopback
) -> None:
    internet.plays["v3.fal.media"] = answer("", 302, {"Location": "https://v3.fal.media/b.mp4"})

    with pytest.raises(CopyFailed, match="more than once"):
        copier.copy_video(URL, KEY, ".mp4")

    assert len(internet.seen) == 2
    assert nothing_is_left(cloud)


@pytest.mark.parametrize("with_ranges", [True, False])
def test_a_video_that_is_too_large_by_its_own_word_is_not_begun(
    cloud: Cloud, large: FileServer, internet: Loopback, with_ranges: bool
) -> None:
    large.ranges = with_ranges

    with pytest.raises(VideoRefused) as refused:
        Copier(OutputBucket(cloud.s3, OUTPUT), len(LARGE) - 1).copy_video(URL, KEY, ".mp4")

    assert refused.value.error.code == "video_too_large"
    assert len(internet.seen) == 1
    assert nothing_is_left(cloud)


def test_a_video_that_is_too_large_without_a_word_is_given_up(
    cloud: Cloud, internet: Loopback
) -> None:
    async def endless(_: Seen, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            await response.write(SMALL)
            while True:
                await response.write(bytes(1024 * 1024))
        except ConnectionError:
            return response

    internet.plays["v3.fal.media"] = endless

    with pytest.raises(VideoRefused) as refused:
        Copier(OutputBucket(cloud.s3, OUTPUT), 20 * 1024 * 1024).copy_video(URL, KEY, ".mp4")

    assert refused.value.error.code == "video_too_large"
    assert nothing_is_left(cloud)


def test_the_largest_video_that_is_allowed_is_stored(cloud: Cloud, large: FileServer) -> None:
    Copier(OutputBucket(cloud.s3, OUTPUT), len(large.body)).copy_video(URL, KEY, ".mp4")

    assert cloud.outputs() == {KEY: LARGE}


ASKED = (".mp4", ".webm", ".mov", ".gif")


@pytest.mark.parametrize(
    ("asked", "got"), [(asked, got) for asked in ASKED for got in ASKED if asked != got]
)
def test_another_container_than_was_asked_for_is_stored_as_what_it_is(
    copier: Copier, cloud: Cloud, cdn: FileServer, asked: str, got: str
) -> None:
    cdn.body = film(got)

    stored = copier.copy_video(URL, KEY, asked)

    head = cloud.s3.head_object(Bucket=OUTPUT, Key=KEY)
    assert stored.content_type == head["ContentType"] == CONTENT_TYPES[got]
    assert cloud.outputs() == {KEY: film(got)}


PAGES = {
    "a page": (b"<!DOCTYPE html><html>" * 9, {"Content-Type": "text/html; charset=utf-8"}),
    "a page that is declared a video": (b"<html>" * 99, {"Content-Type": "video/mp4"}),
    "a video that is declared a page": (SMALL, {"Content-Type": "Text/HTML"}),
    "an error": (b'{"detail": "Not Found"}', {"Content-Type": "application/json"}),
    "a packed video": (gzip.compress(SMALL), {"Content-Encoding": "gzip"}),
    "a packed video of which nothing is said": (gzip.compress(SMALL), {}),
    "zeros": (bytes(4096), {}),
}


@pytest.mark.parametrize("status", [200, 206])
@pytest.mark.parametrize("page", PAGES)
def test_what_comes_in_place_of_a_video_may_be_one_the_next_time(
    copier: Copier, cloud: Cloud, internet: Loopback, page: str, status: int
) -> None:
    body, headers = PAGES[page]
    span = {"Content-Range": f"bytes 0-{len(body) - 1}/{len(body)}"} if status == 206 else {}

    async def odd(_: Seen, __: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers | span)

    internet.plays["v3.fal.media"] = odd

    with pytest.raises(CopyFailed):
        copier.copy_video(URL, KEY, ".mp4")

    assert nothing_is_left(cloud)
    internet.plays["v3.fal.media"] = FileServer(SMALL)
    copier.copy_video(URL, KEY, ".mp4")
    assert cloud.outputs() == {KEY: SMALL}


def test_an_empty_file_may_be_whole_the_next_time(
    copier: Copier, cloud: Cloud, cdn: FileServer
) -> None:
    cdn.body, cdn.ranges = b"", False

    with pytest.raises(CopyFailed):
        copier.copy_video(URL, KEY, ".mp4")

    assert nothing_is_left(cloud)


# What is cut off --------------------------------------------------------------------------------


@pytest.mark.parametrize("with_ranges", [True, False])
@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["one PUT", "parts"])
def test_fewer_bytes_than_fal_reported_may_be_all_the_next_time(
    copier: Copier, cloud: Cloud, cdn: FileServer, body: bytes, with_ranges: bool
) -> None:
    cdn.body, cdn.ranges = body, with_ranges

    with pytest.raises(CopyFailed, match="cut off"):
        copier.copy_video(URL, KEY, ".mp4", len(body) + 1)

    assert nothing_is_left(cloud)
    copier.copy_video(URL, KEY, ".mp4", len(body))
    assert cloud.outputs() == {KEY: body}


@pytest.mark.parametrize("suffix", ASKED)
def test_a_container_that_says_that_it_goes_on_may_be_whole_the_next_time(
    copier: Copier, cloud: Cloud, cdn: FileServer, suffix: str
) -> None:
    cdn.body = film(suffix)[:-1]

    with pytest.raises(CopyFailed, match="cut off"):
        copier.copy_video(URL, KEY, suffix)

    assert nothing_is_left(cloud)


def test_a_number_that_fal_reports_brings_no_stream_into_memory(
    copier: Copier, cloud: Cloud, internet: Loopback
) -> None:
    async def unmeasured(_: Seen, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(LARGE)
        return response

    internet.plays["v3.fal.media"] = unmeasured

    copier.copy_video(URL, KEY, ".mp4", 100)

    assert cloud.outputs() == {KEY: LARGE}
    assert cloud.s3.head_object(Bucket=OUTPUT, Key=KEY)["ETag"].endswith('-3"')


# Writing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["one PUT", "parts"])
def test_the_second_writer_gets_the_firsts_version(
    copier: Copier, cloud: Cloud, cdn: FileServer, body: bytes
) -> None:
    cdn.body = body

    first = copier.copy_video(URL, KEY, ".mp4")
    second = copier.copy_video(URL, KEY, ".mp4")

    assert second == first
    assert cloud.output_versions() == [KEY]
    assert cloud.unfinished_uploads() == []


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["one PUT", "parts"])
def test_what_lies_there_already_is_not_overwritten_by_another_video(
    copier: Copier, cloud: Cloud, cdn: FileServer, body: bytes
) -> None:
    first = body + bytes(4)
    cdn.body = first
    copier.copy_video(URL, KEY, ".mp4")
    cdn.body = body

    with pytest.raises(CopyFailed, match="another video"):
        copier.copy_video(URL, KEY, ".mp4")

    assert cloud.outputs() == {KEY: first}
    assert cloud.output_versions() == [KEY]
    assert cloud.unfinished_uploads() == []


DENIED = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "AnyOperation")
AWAY = EndpointConnectionError(endpoint_url="https://s3")


@pytest.mark.parametrize("trouble", [DENIED, AWAY], ids=["denied", "away"])
@pytest.mark.parametrize(
    "call", ["create_multipart_upload", "upload_part", "complete_multipart_upload", "put_object"]
)
def test_a_write_that_fails_is_tried_again_later_and_leaves_nothing(
    copier: Copier,
    cloud: Cloud,
    cdn: FileServer,
    environment: pytest.MonkeyPatch,
    call: str,
    trouble: Exception,
) -> None:
    def fail(**_: Any) -> None:
        raise trouble

    cdn.body = SMALL if call == "put_object" else LARGE
    with environment.context() as broken:
        broken.setattr(cloud.s3, call, fail)
        with pytest.raises(CopyFailed):
            copier.copy_video(URL, KEY, ".mp4")

    assert nothing_is_left(cloud)


def test_an_abort_that_fails_does_not_hide_why(
    copier: Copier, cloud: Cloud, large: FileServer, environment: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise AWAY

    large.breaks = [None, *[10] * 100]
    environment.setattr(cloud.s3, "abort_multipart_upload", fail)

    with pytest.raises(CopyFailed, match="of the"):
        copier.copy_video(URL, KEY, ".mp4")


def test_a_manifest_is_written_once(output: OutputBucket, cloud: Cloud) -> None:
    output.put_manifest("a.json", b'{"first": true}')
    output.put_manifest("a.json", b'{"first": false}')

    assert cloud.outputs() == {"a.json": b'{"first": true}'}
    assert cloud.output_versions() == ["a.json"]


class Conflicts:
    """Answers 409 to so many writes, and lets the next one through."""

    def __init__(self, put: Any, times: int, code: str) -> None:
        self._put, self.left, self._code = put, times, code

    def __call__(self, **asked: Any) -> Any:
        if self.left:
            self.left -= 1
            raise ClientError({"Error": {"Code": self._code}}, "PutObject")
        return self._put(**asked)


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "409"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_manifest_that_meets_another_request_is_sent_again(
    output: OutputBucket, cloud: Cloud, environment: pytest.MonkeyPatch, code: str, times: int
) -> None:
    environment.setattr("phonoscene.videos.output_bucket.PAUSE", 0)
    environment.setattr(cloud.s3, "put_object", Conflicts(cloud.s3.put_object, times, code))

    output.put_manifest("a.json", b"{}")

    assert cloud.outputs() == {"a.json": b"{}"}


def test_a_manifest_that_meets_another_request_each_time_is_no_success(
    output: OutputBucket, cloud: Cloud, environment: pytest.MonkeyPatch
) -> None:
    conflicts = Conflicts(cloud.s3.put_object, 100, "ConditionalRequestConflict")
    environment.setattr("phonoscene.videos.output_bucket.PAUSE", 0)
    environment.setattr(cloud.s3, "put_object", conflicts)

    with pytest.raises(ClientError):
        output.put_manifest("a.json", b"{}")

    assert conflicts.left > 90  # and not without end


def test_a_manifest_that_cannot_be_written_is_no_success(
    output: OutputBucket, cloud: Cloud, environment: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise DENIED

    environment.setattr(cloud.s3, "put_object", fail)

    with pytest.raises((ClientError, CopyFailed)):
        output.put_manifest("a.json", b"{}")


# Memory -----------------------------------------------------------------------------------------

COPY_A_GIGABYTE = r"""
import json, re, sys, threading
from phonoscene.videos.cdn import Cdn
from phonoscene.videos.video_formats import Examination
from phonoscene.videos.output_bucket import OutputBucket

class Sink:
    "S3, as a hole."
    got, lock = 0, threading.Lock()
    def create_multipart_upload(self, **_): return {"UploadId": "1"}
    def upload_part(self, *, Body, **_):
        with self.lock: self.got += len(Body)
        return {"ETag": "x"}
    def complete_multipart_upload(self, **_): return {"VersionId": "v"}
    def put_object(self, **_): return {"VersionId": "v"}

def peak():
    "In bytes; getrusage would tell the parent's, which a child inherits."
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
sink = Sink()
def copy(name):
    with Cdn(2**33).open(sys.argv[1] + name) as source:
        seen = Examination(".mp4")
        return OutputBucket(sink, "outputs").store(source, "k", "video/mp4", seen)
copy("/small.mp4")
before = peak()
stored = copy("/large.mp4")
print(json.dumps({"grown": peak() - before, "stored": stored.bytes, "got": sink.got}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells peaks there")
def test_memory_stays_flat_while_a_gigabyte_passes(internet: Loopback) -> None:
    size = 1024**3
    block = bytes(1024 * 1024)

    async def generate(seen: Seen, request: web.Request) -> web.StreamResponse:
        if seen.target == "/small.mp4":
            return await FileServer(SMALL)(seen, request)
        first, last = map(int, seen.headers["range"].removeprefix("bytes=").split("-"))
        last = min(last, size - 1)
        headers = {
            "Content-Range": f"bytes {first}-{last}/{size}",
            "Content-Length": str(last - first + 1),
        }
        response = web.StreamResponse(status=206, headers=headers)
        await response.prepare(request)
        left = last - first + 1
        if first == 0:
            await response.write(SMALL)
            left -= len(SMALL)
        while left:
            await response.write(block[:left])
            left -= min(left, len(block))
        return response

    internet.plays["v3.fal.media"] = generate
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT / "layers" / "common"),
        "HTTPS_PROXY": internet.proxy,
        "SSL_CERT_FILE": str(internet.ca_file),
    }

    done = subprocess.run(  # noqa: S603 - our own words only
        [sys.executable, "-c", COPY_A_GIGABYTE, "https://v3.fal.media"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["stored"] == told["got"] == size
    assert told["grown"] < 150 * 1024 * 1024
