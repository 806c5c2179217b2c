"""What is copied from fal's CDN to the output bucket, how it is written, and in how much memory."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from botocore.exceptions import ClientError, EndpointConnectionError

from phonoscene.errors import CopyFailed
from phonoscene.version import USER_AGENT
from phonoscene.videos.cdn import PART
from tests.integration.copying.copier import KEY, LARGE, SMALL, URL, Copier, nothing_is_left, ranges
from tests.integration.loopback import FileServer, Loopback, Seen
from tests.support.media.samples import video_file
from tests.support.stack import OUTPUT
from tests.support.template import ROOT

if TYPE_CHECKING:
    from phonoscene.videos.output_bucket import OutputBucket
    from tests.integration.moto_stack import Cloud


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
    assert [seen.headers["user-agent"] for seen in internet.seen] == [USER_AGENT]
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
    cdn.body = video_file(suffix)

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
def test_what_is_there_already_is_not_overwritten_by_another_video(
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
    data = json.loads(done.stdout)
    assert data["stored"] == data["got"] == size
    assert data["grown"] < 150 * 1024 * 1024
