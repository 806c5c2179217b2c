"""Videos and addresses that are not copied, and videos that are cut off."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from phonoscene.errors import CopyFailed, VideoRefused
from phonoscene.videos.output_bucket import OutputBucket
from phonoscene.videos.video_formats import CONTENT_TYPES
from tests.integration.copying.copier import KEY, LARGE, SMALL, URL, Copier, nothing_is_left
from tests.integration.loopback import FileServer, Loopback, Seen, answer
from tests.support.media.samples import video_file
from tests.support.stack import OUTPUT

if TYPE_CHECKING:
    from tests.integration.moto_stack import Cloud


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
        "https://storage.googleapis.com/falserverless/a%5Cb.mp4",
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
    cdn.body = video_file(got)

    stored = copier.copy_video(URL, KEY, asked)

    head = cloud.s3.head_object(Bucket=OUTPUT, Key=KEY)
    assert stored.content_type == head["ContentType"] == CONTENT_TYPES[got]
    assert cloud.outputs() == {KEY: video_file(got)}


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
    cdn.body = video_file(suffix)[:-1]

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
