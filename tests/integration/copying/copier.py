"""Copies from fal's CDN to the output bucket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phonoscene.videos.cdn import PART, Cdn
from phonoscene.videos.video_formats import CONTENT_TYPES, Examination, check_container
from tests.support.media.samples import video_file

if TYPE_CHECKING:
    from phonoscene.videos.output_bucket import OutputBucket, Stored
    from tests.integration.loopback import Loopback
    from tests.integration.moto_stack import Cloud

URL = "https://v3.fal.media/files/penguin/phonoscene.mp4"
KEY = "albums/song/0f343b0931126a20f133d67c2b018a3b.mp4"
MOST = 64 * 1024 * 1024
SMALL = video_file(".mp4")
#: Three parts, the last one short; no two places of it are alike.
LARGE = SMALL + b"".join(n.to_bytes(4, "big") for n in range((2 * PART + 1_000_000) // 4))


@dataclass(frozen=True)
class Copier:
    """The two edges, joined as a message joins them."""

    output: OutputBucket
    most_bytes: int = MOST

    def copy_video(self, url: str, key: str, suffix: str, reported: int = 0) -> Stored:
        with Cdn(self.most_bytes).open(url) as source:
            found = check_container(source.head, suffix)
            examination = Examination(suffix, reported)
            return self.output.store(source, key, CONTENT_TYPES[found], examination)


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
