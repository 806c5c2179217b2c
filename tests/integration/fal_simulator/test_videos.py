"""The videos, and the CDN that serves them, with its faults."""

from __future__ import annotations

import io
import math
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from tests.integration.fal_simulator.simulator import Fal, a_picture, a_sound, converted, until
from tests.support.media.samples import image_of, turned

pytestmark = pytest.mark.enable_socket
ROOT = Path(__file__).parents[3]

# the video


@pytest.mark.parametrize(
    ("output_type", "container", "codec", "audio", "content_type"),
    [
        ("X264 (.mp4)", "mp4", "h264", "aac", "video/mp4"),
        ("VP9 (.webm)", "webm", "vp9", "opus", "video/webm"),
        ("PRORES4444 (.mov)", "mov", "prores", "pcm_s16le", "video/quicktime"),
        ("GIF (.gif)", "gif", "gif", None, "image/gif"),
    ],
)
def test_each_output_type_is_a_real_video_as_described(
    fal: Fal, output_type: str, container: str, codec: str, audio: str | None, content_type: str
) -> None:
    made = fal.run(video_output_type=output_type)["result"]["video"]

    answer = fal.http.get(made["url"])
    assert answer.headers["content-type"] == made["content_type"] == content_type
    assert made["file_name"].endswith(f".{container}")
    assert len(answer.content) == made["file_size"]
    with av.open(io.BytesIO(answer.content), "r") as video:
        frames = list(video.decode(video=0))
        assert video.streams.video[0].codec_context.name == codec
        assert [s.codec_context.name for s in video.streams.audio] == ([audio] if audio else [])
        assert video.duration is not None
        assert abs(video.duration / av.time_base - 1) < 0.1
    assert (frames[0].width, frames[0].height) == (made["width"], made["height"]) == (64, 48)
    assert len(frames) == made["num_frames"] == 24
    assert (made["fps"], made["duration"]) == (24, 1)


@pytest.mark.parametrize(
    ("name", "container", "codec", "rate"),
    [
        ("mp3", "mp3", "libmp3lame", 44_100),
        ("flac", "flac", "flac", 44_100),
        ("m4a", "ipod", "aac", 44_100),
        ("aac", "adts", "aac", 44_100),
        ("ogg", "ogg", "vorbis", 44_100),
        ("opus", "opus", "libopus", 48_000),
    ],
)
def test_each_audio_format_makes_a_video_of_its_own_length(
    fal: Fal, name: str, container: str, codec: str, rate: int
) -> None:
    fal.emulator.files["a.wav"] = converted(a_sound(1.5), container, codec, rate)

    made = fal.run()["result"]["video"]

    assert abs(made["duration"] - 1.5) < 0.1, name


def test_the_number_of_frames_is_the_one_asked_for_when_the_length_is_not_matched(fal: Fal) -> None:
    made = fal.run(match_audio_length=False, num_frames=30, fps=12.5)["result"]["video"]

    assert (made["num_frames"], made["fps"], made["duration"]) == (30, 12.5, 2.4)
    with av.open(io.BytesIO(fal.http.get(made["url"]).content), "r") as video:
        assert len(list(video.decode(video=0))) == 30


@pytest.mark.parametrize(
    ("size", "pixels"),
    [("portrait_16_9", (576, 1024)), ({"width": 33, "height": 50}, (34, 50)), ("auto", (80, 60))],
)
def test_the_size_is_a_preset_a_pair_or_the_images_own(
    fal: Fal, size: Any, pixels: tuple[int, int]
) -> None:
    fal.emulator.files |= {"a.png": a_picture(80, 60), "a.wav": a_sound(0.4)}
    image = f"https://bucket.s3.us-east-1.amazonaws.com:{fal.emulator.port}/drop/a.png"

    made = fal.run(video_size=size, image_url=image, end_image_url=image)["result"]["video"]

    assert (made["width"], made["height"]) == pixels


@pytest.mark.parametrize("kind", ["X264 (.mp4)", "VP9 (.webm)", "PRORES4444 (.mov)"])
def test_a_video_with_an_image_is_encoded_as_one_without(fal: Fal, kind: str) -> None:
    fal.emulator.files |= {"a.png": a_picture(80, 60), "a.wav": a_sound(0.4)}
    image = f"https://bucket.s3.us-east-1.amazonaws.com:{fal.emulator.port}/drop/a.png"

    found = []
    for images in ({}, {"image_url": image, "end_image_url": image}):
        made = fal.run(video_output_type=kind, **images)["result"]["video"]
        with av.open(io.BytesIO(fal.http.get(made["url"]).content), "r") as video:
            context = video.streams.video[0].codec_context
            colours = {(one.colorspace, one.color_range) for one in video.decode(video=0)}
            found.append((context.colorspace, context.color_range, colours))

    assert found[0] == found[1]


def animated_png() -> bytes:
    """Two black pictures of 64 x 64 pixels."""
    file = io.BytesIO()
    with av.open(file, "w", format="apng") as output:
        stream = output.add_stream("apng", rate=2)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
        for at in range(2):
            frame = av.VideoFrame(64, 64, "rgb24")
            frame.pts = at
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(animated_png(), id="apng"),
        pytest.param((ROOT / "tests/security/corpus/image/avif.bin").read_bytes(), id="avif"),
    ],
)
def test_what_the_product_takes_for_an_image_is_one(fal: Fal, content: bytes) -> None:
    fal.emulator.files |= {"a": content, "a.wav": a_sound(0.4)}
    image = f"https://bucket.s3.us-east-1.amazonaws.com:{fal.emulator.port}/drop/a"

    made = fal.run(video_size="auto", image_url=image)["result"]["video"]

    assert (made["width"], made["height"]) == (64, 64)


def test_a_photograph_on_its_side_makes_an_upright_video(fal: Fal) -> None:
    photo = turned(image_of("mjpeg", "image2pipe", "yuvj420p", 80, 60), 6)
    fal.emulator.files |= {"a.jpg": photo, "a.wav": a_sound(0.4)}
    image = f"https://bucket.s3.us-east-1.amazonaws.com:{fal.emulator.port}/drop/a.jpg"

    made = fal.run(video_size="auto", image_url=image)["result"]["video"]

    assert (made["width"], made["height"]) == (60, 80)


def test_the_seed_is_kept_and_the_prompt_is_expanded_only_on_request(fal: Fal) -> None:
    plain = fal.run(seed=5, enable_prompt_expansion=False)["result"]
    expanded = fal.run(enable_prompt_expansion=True)["result"]

    assert (plain["seed"], plain["prompt"]) == (5, "A cat sings")
    assert expanded["prompt"].startswith("A cat sings, ")
    assert 0 <= expanded["seed"] < 2**64


def test_the_bill_is_the_megapixels_rounded_up(fal: Fal) -> None:
    request_id = fal.run(video_size="square")["request_id"]

    units = fal.call(request_id).headers["x-fal-billable-units"]

    assert units == str(math.ceil(512 * 512 * 24 / 1e6))


@pytest.mark.parametrize(
    ("rule", "made", "units"),
    [
        (
            {"action": "bigger_video", "width": 639, "height": 360},
            {"width": 640, "height": 360, "num_frames": 24, "duration": 1.0},
            "6",
        ),
        (
            {"action": "longer_video", "frames": 61},
            {"width": 64, "height": 48, "num_frames": 61, "duration": 61 / 24},
            "1",
        ),
        (
            {"action": "bill", "units": 12.5},
            {"width": 64, "height": 48, "num_frames": 24, "duration": 1.0},
            "12.5",
        ),
    ],
)
def test_a_video_can_be_made_or_billed_otherwise_than_it_was_asked_for(
    fal: Fal, rule: dict[str, Any], made: dict[str, Any], units: str
) -> None:
    fal.control.post("/faults", json={"stage": "render", **rule})

    done = fal.run()

    video = done["result"]["video"]
    assert {name: video[name] for name in made} == made
    assert done["billable_units"] == units
    assert fal.call(done["request_id"]).headers["x-fal-billable-units"] == units
    with av.open(io.BytesIO(fal.http.get(video["url"]).content), "r") as video_bytes:
        frames = list(video_bytes.decode(video=0))
    assert len(frames) == video["num_frames"]
    assert (frames[0].width, frames[0].height) == (video["width"], video["height"])
    assert fal.run()["result"]["video"]["num_frames"] == 24


@pytest.mark.parametrize(("seconds", "frames"), [(1.0, 24), (1.001, 25), (1.03, 25), (0.2, 9)])
def test_a_frame_of_the_audio_that_is_begun_is_made(fal: Fal, seconds: float, frames: int) -> None:
    fal.emulator.files["a.wav"] = a_sound(seconds)

    assert fal.run()["result"]["video"]["num_frames"] == frames


# the CDN


def test_a_video_is_read_in_ranges_by_anyone(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    whole = fal.http.get(url)
    size = len(whole.content)

    def part(value: str) -> httpx.Response:
        return fal.http.get(url, headers={"Range": value})

    assert part("bytes=0-9").content + part("bytes=10-").content == whole.content
    assert part("bytes=-7").content == whole.content[-7:]
    assert part("bytes=0-9").headers["content-range"] == f"bytes 0-9/{size}"
    beyond = part(f"bytes={size}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    assert part("pages=1-2").status_code == 200
    head = fal.http.head(url)
    assert (head.headers["content-length"], head.headers["accept-ranges"]) == (str(size), "bytes")
    assert fal.http.get(url.replace("v3b.fal.media", "v3.fal.media")).content == whole.content
    assert fal.http.get("https://v3b.fal.media/files/b/no/no.mp4").status_code == 404


def test_a_key_sent_to_the_cdn_is_recorded(fal: Fal) -> None:
    record = fal.run()
    url = record["result"]["video"]["url"]

    fal.http.get(url)
    fal.http.get(url, headers=fal.headers)

    downloads = fal.record(record["request_id"])["downloads"]
    assert [one["authorization"] for one in downloads] == [False, True]


def test_the_cdn_can_answer_badly(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    whole = fal.http.get(url).content

    fal.fault("cdn", "status", code=403)
    assert fal.http.get(url).status_code == 403
    fal.fault("cdn", "redirect", location="https://elsewhere.example.com/")
    assert fal.http.get(url).headers["location"] == "https://elsewhere.example.com/"
    fal.fault("cdn", "no_ranges")
    unranged = fal.http.get(url, headers={"Range": "bytes=5-"})
    assert (unranged.status_code, unranged.content) == (200, whole)
    assert "accept-ranges" not in unranged.headers
    fal.fault("cdn", "wrong_container")
    page = fal.http.get(url)
    assert page.content.startswith(b"<!DOCTYPE html>")
    assert page.headers["content-type"] == "video/mp4"
    fal.fault("cdn", "oversize", bytes=2**40)
    assert fal.http.head(url).headers["content-length"] == str(2**40)
    fal.fault("cdn", "slow", bytes_per_second=len(whole) * 3)
    started = time.monotonic()
    assert fal.http.get(url).content == whole
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize(("action", "count"), [("truncated", 100), ("reset", 100), ("reset", 0)])
def test_a_download_can_break_off(fal: Fal, action: str, count: int) -> None:
    record = fal.run()
    fal.fault("cdn", action, bytes=count)

    with (
        pytest.raises(httpx.TransportError),
        fal.http.stream("GET", record["result"]["video"]["url"]) as answer,
    ):
        answer.read()

    (download,) = fal.record(record["request_id"])["downloads"]
    assert (download["bytes"], download["fault"]) == (count, action)


def test_a_result_can_name_a_host_that_is_not_fals(fal: Fal) -> None:
    fal.fault("cdn", "wrong_host", host="internal.example.com")

    assert fal.run()["result"]["video"]["url"].startswith("https://internal.example.com/")


def test_a_big_file_takes_no_disk_and_is_the_same_in_any_pieces(fal: Fal) -> None:
    fal.fault("render", "big_file", bytes=2**30)
    made = fal.run()["result"]["video"]
    assert made["file_size"] == 2**30

    def part(first: int, last: int) -> bytes:
        return fal.http.get(made["url"], headers={"Range": f"bytes={first}-{last}"}).content

    assert part(0, 15)[4:12] == b"ftypisom"
    assert part(2**29 - 5, 2**29 + 4) == part(2**29 - 5, 2**29 - 1) + part(2**29, 2**29 + 4)
    assert len(part(2**30 - 3_000_000, 2**30)) == 3_000_000


def test_a_file_can_be_short_and_look_whole(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    fal.fault("cdn", "short", bytes=40, times=3)

    whole, part = fal.http.get(url), fal.http.get(url, headers={"Range": "bytes=0-99"})
    beyond = fal.http.get(url, headers={"Range": "bytes=40-"})

    assert (whole.headers["content-length"], len(whole.content)) == ("40", 40)
    assert (part.status_code, part.headers["content-range"]) == (206, "bytes 0-39/40")
    assert beyond.status_code == 416


def test_a_file_can_be_a_page_or_packed(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    whole = fal.http.get(url).content
    fal.fault("cdn", "html")
    fal.fault("cdn", "gzip")

    page, packed = fal.http.get(url), fal.http.get(url, headers={"Range": "bytes=0-9"})

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (packed.status_code, packed.headers["content-encoding"]) == (200, "gzip")
    assert packed.content == whole  # httpx unpacks it


def test_a_file_can_be_somewhere_else_on_a_host_that_has_it(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    fal.fault("cdn", "redirect")
    found = fal.http.get(url, follow_redirects=True)
    fal.fault("cdn", "redirect", host="storage.googleapis.com")
    other = fal.http.get(url)

    assert (found.status_code, found.url.host) == (200, "v3.fal.media")
    assert other.headers["location"] == url.replace("v3b.fal.media", "storage.googleapis.com")


def test_a_file_can_be_kept_from_more_than_a_few_readers_at_once(fal: Fal) -> None:
    fal.fault("render", "big_file", bytes=2**20)
    url = fal.run()["result"]["video"]["url"]
    fal.fault("cdn", "slow", bytes_per_second=2**19)
    fal.fault("cdn", "limit", connections=1, retry_after=2, times=None)

    with fal.http.stream("GET", url) as slow:
        refused = fal.http.get(url, headers={"Range": "bytes=0-9"})
        assert len(slow.read()) == 2**20
    served = until(
        lambda: (a := fal.http.get(url, headers={"Range": "bytes=0-9"})).is_success and a
    )

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    assert len(served.content) == 10


def test_a_range_can_leave_the_length_open(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    fal.fault("cdn", "unknown_total")

    part = fal.http.get(url, headers={"Range": "bytes=0-9"})

    assert (part.headers["content-range"], len(part.content)) == ("bytes 0-9/*", 10)


@pytest.mark.parametrize(
    ("form", "tags"),
    [("weak", ["W/", "W/"]), ("weak_later", ["", "W/"]), ("missing_later", ["", None])],
)
def test_an_etag_can_be_weak_or_missing(fal: Fal, form: str, tags: list[str | None]) -> None:
    url = fal.run()["result"]["video"]["url"]
    tag = fal.http.head(url).headers["etag"]
    fal.fault("cdn", "odd_etag", form=form, times=2)

    parts = [fal.http.get(url, headers={"Range": f"bytes={at}-"}) for at in (0, 9)]

    shown = [part.headers.get("etag") for part in parts]
    assert shown == [None if mark is None else f"{mark}{tag}" for mark in tags]


def test_hints_can_come_before_a_file(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    fal.fault("cdn", "early_hints")

    heads = raw_answer(fal, url).split(b"\r\n\r\n")

    assert heads[0].startswith(b"HTTP/1.1 103 Early Hints\r\n")
    assert heads[1].startswith(b"HTTP/1.1 200 OK\r\n")
    fal.fault("cdn", "early_hints")
    assert fal.http.get(url).status_code == 200


def raw_answer(fal: Fal, url: str) -> bytes:
    """What comes over the wire, through the proxy's tunnel."""
    host = httpx.URL(url).host
    with socket.create_connection(("127.0.0.1", fal.proxy_port), 10) as plain:
        plain.sendall(f"CONNECT {host}:443 HTTP/1.1\r\n\r\n".encode())
        assert plain.recv(4096).startswith(b"HTTP/1.1 200")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain, server_hostname=host) as wire:
            request = f"GET {httpx.URL(url).path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
            wire.sendall(f"{request}\r\n".encode())
            return b"".join(iter(lambda: wire.recv(65_536), b""))


def test_a_file_can_be_announced_before_it_is_there(fal: Fal) -> None:
    url = fal.run()["result"]["video"]["url"]
    fal.fault("cdn", "not_yet", seconds=0.6, times=None)

    assert fal.http.get(url).status_code == 404
    until(lambda: fal.http.get(url).status_code == 200)


@pytest.mark.parametrize(
    ("form", "mark"), [("escaped_slash", "%2F"), ("non_ascii", "é"), ("leading_space", " https:")]
)
def test_a_video_can_be_at_an_odd_address_and_is_there(fal: Fal, form: str, mark: str) -> None:
    fal.fault("cdn", "odd_url", form=form)

    video = fal.run()["result"]["video"]

    assert mark in video["url"]
    assert len(fal.http.get(video["url"].strip()).content) == video["file_size"]


def test_a_video_can_be_reported_with_a_wrong_length(fal: Fal) -> None:
    fal.fault("render", "file_size", bytes=100)

    video = fal.run()["result"]["video"]

    assert video["file_size"] == 100 < len(fal.http.get(video["url"]).content)


MP4, MOV, WEBM = "X264 (.mp4)", "PRORES4444 (.mov)", "VP9 (.webm)"


@pytest.mark.parametrize(
    ("form", "output_type", "begins"),
    [
        ("free_first", MP4, b"free"),
        ("free_first", MOV, b"free"),
        ("wide_first", MP4, b"wide"),
        ("wide_first", MOV, b"wide"),
        ("styp_first", MP4, b"styp"),
        ("no_ftyp", MP4, b"moov"),
        ("no_ftyp", MOV, b"wide"),
        ("qt_brand", MP4, b"ftypqt  "),
        ("isom_brand", MOV, b"ftypisom"),
        ("late_doctype", WEBM, None),
    ],
)
def test_a_video_can_begin_otherwise_and_plays_all_the_same(
    fal: Fal, form: str, output_type: str, begins: bytes | None
) -> None:
    fal.fault("render", "container", form=form)

    video = fal.run(video_output_type=output_type)["result"]["video"]

    data = fal.http.get(video["url"]).content
    assert len(data) == video["file_size"]
    if begins is None:
        assert data.index(b"webm") > 64
    else:
        assert data[4:].startswith(begins)
    with av.open(io.BytesIO(data), "r") as video_bytes:
        assert len(list(video_bytes.decode(video=0))) == 24
        video_bytes.seek(0)
        assert len(list(video_bytes.decode(audio=0))) > 0


def test_a_form_of_another_container_fails_the_run(fal: Fal) -> None:
    fal.fault("render", "container", form="late_doctype")

    record = fal.run()

    assert record["status_code"] == 500
    assert "late_doctype is a form of webm" in record["result"]["detail"][0]["msg"]


@pytest.mark.parametrize(
    ("asked", "codec", "content_type"), [(MP4, "vp9", "video/webm"), (MOV, "h264", "video/mp4")]
)
def test_a_video_can_come_in_another_container_than_was_asked_for(
    fal: Fal, asked: str, codec: str, content_type: str
) -> None:
    fal.fault("render", "other_container")

    video = fal.run(video_output_type=asked)["result"]["video"]

    assert video["content_type"] == content_type
    with av.open(io.BytesIO(fal.http.get(video["url"]).content), "r") as video_bytes:
        assert video_bytes.streams.video[0].codec_context.name == codec
