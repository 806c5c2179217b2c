"""A CDN that breaks off, that is busy, or that sends its answer byte by byte."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from phonoscene.errors import CopyFailed
from phonoscene.net.public_https import Timeout
from phonoscene.videos import cdn as product
from phonoscene.videos.cdn import BUSY_TRIES, PART, TRIES
from phonoscene.videos.output_bucket import MAX_FLOWS, OutputBucket
from tests.integration.copying.copier import (
    KEY,
    LARGE,
    SMALL,
    URL,
    Copier,
    Sink,
    nothing_is_left,
    ranges,
)
from tests.integration.loopback import FileServer, Loopback, Seen, answer, cut, stall, vanish
from tests.support.stack import OUTPUT

if TYPE_CHECKING:
    from tests.integration.moto_stack import Cloud


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
    "found", ["bytes */9", "bytes 5-9/900", "chunks 0-9/900", "", "bytes 0-9/*"]
)
def test_a_range_that_was_not_asked_for_is_not_believed(
    copier: Copier, cloud: Cloud, internet: Loopback, found: str
) -> None:
    internet.plays["v3.fal.media"] = answer(SMALL.decode("latin-1"), 206, {"Content-Range": found})

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
            text = f"bytes 0-{last - first}/{total}"
        else:
            text = f"bytes {first}-{last}/{total + 1}"
        return web.Response(body=piece, status=206, headers={"Content-Range": text})

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
        fields = {"Content-Range": f"bytes {first}-{first + len(piece) - 1}/{len(server.body)}"}
        return web.Response(body=piece, status=206, headers=bend(fields, first))

    return play


def unmeasured(headers: dict[str, str], first: int) -> str:
    """A later range without the file's length."""
    return headers["Content-Range"].replace(f"/{TOTAL}", "/*" if first else f"/{TOTAL}")


BENDS: dict[str, Bend] = {
    "weak tags that differ": lambda headers, first: headers | {"ETag": f'W/"{first}"'},
    "a tag that is missing later": lambda headers, first: (
        headers | ({} if first else {"ETag": '"a"'})
    ),
    "a tag that comes later": lambda headers, first: headers | ({"ETag": '"a"'} if first else {}),
    "a weak tag after a strong one": lambda headers, first: (
        headers | {"ETag": 'W/"b"' if first else '"a"'}
    ),
    "no length later, one strong tag": lambda headers, first: (
        {"Content-Range": unmeasured(headers, first)} | {"ETag": '"a"'}
    ),
    "a unit in capitals": lambda headers, _: {
        "Content-Range": headers["Content-Range"].replace("bytes", "Bytes") + " "
    },
}


@pytest.mark.parametrize("bend", BENDS)
def test_ranges_with_other_headers_are_accepted(
    copier: Copier, cloud: Cloud, large: FileServer, internet: Loopback, bend: str
) -> None:
    internet.plays["v3.fal.media"] = bent(large, BENDS[bend])

    copier.copy_video(URL, KEY, ".mp4")

    assert cloud.outputs() == {KEY: LARGE}
    assert len(internet.seen) == 3


OTHER_FILES: dict[str, Bend] = {
    "two strong tags": lambda headers, first: headers | {"ETag": f'"{first}"'},
    "another length": lambda headers, first: (
        {"Content-Range": headers["Content-Range"] + ("0" if first else "")} | {"ETag": '"a"'}
    ),
    "no length, and no proof": lambda headers, first: (
        {"Content-Range": unmeasured(headers, first)}
    ),
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


@pytest.mark.parametrize("found", ["bytes 0-{last}/*", "bytes 0-{last}/0", "", "items 0-1/2"])
def test_where_a_range_does_not_tell_the_length_the_file_is_read_without_ranges(
    copier: Copier, cloud: Cloud, large: FileServer, internet: Loopback, found: str
) -> None:
    internet.plays["v3.fal.media"] = bent(
        large, lambda _, __: {"Content-Range": found.format(last=PART - 1)}
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
        fields = {
            "Content-Range": f"bytes 0-8/{TOTAL}"
            if odd == "another range"
            else f"{wanted.replace('=', ' ')}/{TOTAL}"
        }
        return web.Response(status=206, body=b"not video", headers=fields | headers.get(odd, {}))

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
    """Twenty-four parts of a video, the last one short."""
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


@pytest.mark.parametrize(("found", "least"), [("1", 1.0), (" 1 ", 1.0), ("soon", 0.02)])
def test_a_cdn_that_names_a_pause_is_left_alone_for_it(
    many_parts: FileServer,
    internet: Loopback,
    environment: pytest.MonkeyPatch,
    found: str,
    least: float,
) -> None:
    environment.setattr(product, "BUSY_PAUSE", 0.02)
    narrow = Narrow(many_parts, 2, headers={"Retry-After": found})
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
