"""Objects of S3 for a browser's player: a range at a time, never more than a piece.

A browser opens six connections to a host. A player that has read a video's first frame keeps its
own open, so pieces are short, and each answer ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from botocore.exceptions import ClientError
from starlette.responses import Response, StreamingResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

PIECE: Final = 2 * 1024 * 1024
CHUNK: Final = 256 * 1024
_RANGE: Final = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")
#: What a player may get; anything else is a download.
PLAYABLE: Final = frozenset(
    {
        "video/mp4",
        "video/webm",
        "video/quicktime",
        "image/gif",
        "image/png",
        "image/jpeg",
        "image/webp",
        "audio/mpeg",
        "audio/wav",
        "audio/x-wav",
        "audio/flac",
        "audio/mp4",
        "audio/aac",
        "audio/ogg",
    }
)
#: Of what others have made: no script of it runs, should anything open it as a page.
SANDBOX: Final = {"Content-Security-Policy": "default-src 'none'; sandbox"}


@dataclass(frozen=True)
class S3Object:
    """An object's version; ``size`` in bytes, ``name`` as a download is called."""

    bucket: str
    key: str
    version_id: str
    size: int
    content_type: str
    name: str


def answer(s3: S3Client, found: S3Object, asked: str | None, *, is_download: bool) -> Response:
    """The whole as a download, or the piece that a ``Range`` header asks for."""
    is_playable = found.content_type in PLAYABLE
    kind = found.content_type if is_playable else "application/octet-stream"
    headers = SANDBOX | {"Accept-Ranges": "bytes", "Content-Type": kind}
    if is_download or not is_playable:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(found.name)}"
    if found.size == 0:
        return Response(b"", headers=headers)
    first, last = _piece(asked, found.size) if asked else (0, found.size - 1)
    if first >= found.size or last < first:
        return Response(
            status_code=416, headers=headers | {"Content-Range": f"bytes */{found.size}"}
        )
    try:
        chunks = read(s3, found, first, last)
    except ClientError as exc:
        if exc.response["Error"]["Code"] not in ("NoSuchKey", "NoSuchVersion"):
            raise
        return Response("It is no longer in the bucket.\n", 404)
    headers["Content-Length"] = str(last - first + 1)
    if asked:
        headers["Content-Range"] = f"bytes {first}-{last}/{found.size}"
    return StreamingResponse(chunks, 206 if asked else 200, headers)


def read(s3: S3Client, found: S3Object, first: int, last: int) -> Iterator[bytes]:
    """The bytes from ``first`` to ``last``; S3 is asked before the first of them is.

    What answers in the place of S3 may give the whole object: then the others are left out.
    """
    got = s3.get_object(
        Bucket=found.bucket,
        Key=found.key,
        VersionId=found.version_id,
        Range=f"bytes={first}-{last}",
    )
    skipped = 0 if got.get("ContentRange") else first
    return _chunks(got["Body"], skipped, last - first + 1)


def _chunks(body: Any, skipped: int, wanted: int) -> Iterator[bytes]:
    try:
        for chunk in body.iter_chunks(CHUNK):
            piece = chunk[skipped:][:wanted]
            skipped, wanted = max(skipped - len(chunk), 0), wanted - len(piece)
            if piece:
                yield piece
            if not wanted:
                return
    finally:
        body.close()


def _piece(asked: str, size: int) -> tuple[int, int]:
    """The bytes to send: from where it asks, as many as a piece has."""
    found = _RANGE.fullmatch(asked.strip())
    if found is None:  # the end of a file, or several ranges: a server may answer as it likes
        tail = re.fullmatch(r"bytes=-(\d{1,15})", asked.strip())
        return (max(size - int(tail[1]), 0), size - 1) if tail else (0, min(PIECE, size) - 1)
    first = int(found[1])
    last = int(found[2]) if found[2] else size - 1
    return first, min(last, first + PIECE - 1, size - 1)
