"""A video's parts on their way: several at once, hashed in order, given up together."""

from __future__ import annotations

import hashlib
import random
import threading
import time
import types
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError

from phonoscene.errors import CopyFailed
from phonoscene.videos import output_bucket
from phonoscene.videos.cdn import Part
from phonoscene.videos.output_bucket import CHECK_SECONDS, FIRST_FLOWS, MAX_FLOWS, OutputBucket
from phonoscene.videos.video_formats import Examination

SIZE = 1000


@dataclass
class Film:
    """A source of small parts; what it does before it hands one out is recorded and counted."""

    count: int = 40
    waits: float = 0.0
    breaks_at: int | None = None
    #: How many asked at the same time, at most.
    most: int = 0
    handed: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, used: Part | None = None) -> Part | None:
        with self._lock:
            number, self.handed = self.handed, self.handed + 1
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            if number >= self.count:
                return None
            time.sleep(self.waits * random.random())  # noqa: S311 - whatever order
            if number == self.breaks_at:
                raise CopyFailed("broken")
            body = used.body if used else bytearray(SIZE)
            body[:] = number.to_bytes(2, "big") * (SIZE // 2)
            return Part(number, body)
        finally:
            with self._lock:
                self._now -= 1

    #: As the CDN tells it.
    size = 0

    @property
    def whole(self) -> bytes:
        return b"".join(n.to_bytes(2, "big") * (SIZE // 2) for n in range(self.count))


@dataclass
class Sink:
    """S3, as far as an upload in parts goes."""

    parts: dict[int, bytes] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    aborted: int = 0

    def create_multipart_upload(self, **_: Any) -> dict[str, str]:
        return {"UploadId": "1"}

    def upload_part(self, *, PartNumber: int, Body: bytearray, **_: Any) -> dict[str, str]:  # noqa: N803 - S3's
        before = bytes(Body)
        time.sleep(0.002 * random.random())  # noqa: S311 - whatever order
        assert bytes(Body) == before, "its memory was used again while it was sent"
        self.parts[PartNumber] = before
        return {"ETag": str(PartNumber)}

    def complete_multipart_upload(self, *, MultipartUpload: Any, **_: Any) -> dict[str, str]:  # noqa: N803
        self.order = [part["PartNumber"] for part in MultipartUpload["Parts"]]
        return {"VersionId": "v"}

    def abort_multipart_upload(self, **_: Any) -> None:
        self.aborted += 1


def store(film: Film, sink: Sink) -> Any:
    source: Any = film
    client: Any = sink
    return OutputBucket(client, "outputs").store(
        source, "a.mp4", "video/mp4", Examination(".mp4", takes_cut=True)
    )


@pytest.mark.parametrize("seed", range(10))
def test_parts_that_come_in_any_order_make_the_video_and_its_digest(seed: int) -> None:
    random.seed(seed)
    video, sink = Film(waits=0.01), Sink()

    stored = store(video, sink)

    assert sink.order == list(range(1, video.count + 1))
    assert b"".join(sink.parts[number] for number in sink.order) == video.whole
    assert (stored.bytes, stored.sha256) == (
        len(video.whole),
        hashlib.sha256(video.whole).hexdigest(),
    )
    assert sink.aborted == 0


@pytest.mark.parametrize(("cpus", "at_most"), [(0.2, MAX_FLOWS), (1.5, FIRST_FLOWS)])
def test_there_are_more_flows_where_the_process_is_not_busy(
    monkeypatch: pytest.MonkeyPatch, cpus: float, at_most: int
) -> None:
    clock = types.SimpleNamespace(
        monotonic=time.monotonic, process_time=lambda: cpus * time.monotonic()
    )
    monkeypatch.setattr(output_bucket, "time", clock)
    video = Film(count=100, waits=CHECK_SECONDS / 2)

    store(video, Sink())

    assert at_most - FIRST_FLOWS < video.most <= at_most


@pytest.mark.parametrize("broken", [0, 1, 7, 39])
def test_a_part_that_does_not_come_ends_them_all(broken: int) -> None:
    video, sink = Film(waits=0.005, breaks_at=broken, count=10_000), Sink()
    others = threading.active_count()

    with pytest.raises(CopyFailed, match="broken"):
        store(video, sink)

    assert sink.order == []
    assert sink.aborted == 1
    assert video.handed <= broken + 2 * MAX_FLOWS
    assert threading.active_count() == others


@pytest.mark.parametrize("code", ["AccessDenied", "403", "NoSuchKey", "404"])
def test_a_video_is_not_there_yet_with_or_without_leave_to_list(code: str) -> None:
    assert refusing(code).find("song.mp4", Examination(".mp4")) is None


def test_a_video_that_s3_cannot_look_for_now_is_not_taken_for_missing() -> None:
    with pytest.raises(ClientError):
        refusing("SlowDown").find("song.mp4", Examination(".mp4"))


def refusing(code: str) -> OutputBucket:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code}}, "GetObject")

    client: Any = types.SimpleNamespace(get_object=refuse)
    return OutputBucket(client, "output")
