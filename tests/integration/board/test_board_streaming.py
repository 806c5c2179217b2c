"""Videos and audio for a browser's player, in ranges, from S3 or from what plays it."""

from __future__ import annotations

import asyncio
import io
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from hypothesis import given, settings
from hypothesis import strategies as st

from phonoscene_cli.board.access import HEADERS
from phonoscene_cli.board.media import streaming
from phonoscene_cli.board.media.streaming import PIECE, PLAYABLE, S3Object, answer
from tests.integration.board.browser import Answer, Browser

FEW = settings(deadline=None, max_examples=50)


@dataclass
class Store:
    """S3 with one object; one that does not know ranges returns all of it."""

    body: bytes
    knows_ranges: bool = True
    error: str = ""
    bodies: list[StreamingBody] = field(default_factory=list)

    def get_object(self, **asked: Any) -> Any:
        if self.error:
            raise ClientError({"Error": {"Code": self.error}}, "GetObject")
        first, last = map(int, asked["Range"].removeprefix("bytes=").split("-"))
        part = self.body[first : last + 1] if self.knows_ranges else self.body
        self.bodies.append(StreamingBody(io.BytesIO(part), len(part)))
        found: dict[str, Any] = {"Body": self.bodies[-1]}
        if self.knows_ranges:
            found["ContentRange"] = f"bytes {first}-{last}/{len(self.body)}"
        return found


def an_object(size: int, kind: str = "video/mp4", name: str = "intro.mp4") -> S3Object:
    return S3Object("output", "talks/intro.mp4", "v1", size, kind, name)


def sent(
    store: Store, asked: str | None = None, *, is_download: bool = False, **about: str
) -> Answer:
    made = answer(store, an_object(len(store.body), **about), asked, is_download=is_download)  # type: ignore[arg-type]  # it has the one call
    return Browser(made).get("/")


BODIES = st.binary(min_size=1, max_size=3000)


@FEW
@given(BODIES, st.integers(0, 4000), st.none() | st.integers(0, 4000), st.booleans())
def test_a_range_is_that_slice_of_the_object(
    body: bytes, first: int, last: int | None, knows_ranges: bool
) -> None:
    answered = sent(Store(body, knows_ranges), f"bytes={first}-{'' if last is None else last}")

    wanted = body[first:] if last is None else body[first : last + 1]
    if not wanted:
        assert answered.status == 416
        assert answered.headers["content-range"] == f"bytes */{len(body)}"
        assert answered.body == b""
        return
    end = first + len(wanted) - 1
    assert (answered.status, answered.body) == (206, wanted)
    assert answered.headers["content-range"] == f"bytes {first}-{end}/{len(body)}"
    assert answered.headers["content-length"] == str(len(wanted))


@FEW
@given(BODIES, st.integers(1, 4000), st.booleans())
def test_a_range_from_the_end_is_that_end(body: bytes, count: int, knows_ranges: bool) -> None:
    answered = sent(Store(body, knows_ranges), f"bytes=-{count}")

    assert (answered.status, answered.body) == (206, body[-count:])


@FEW
@given(BODIES, st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_whatever_range_is_asked_the_answer_is_a_part_that_it_names(
    body: bytes, asked: str
) -> None:
    answered = sent(Store(body), asked or None)

    assert answered.status in (200, 206, 416)
    if answered.status == 206:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answered.headers["content-range"])
        assert found
        first, last, size = map(int, found.groups())
        assert (answered.body, size) == (body[first : last + 1], len(body))


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_player_gets_a_piece_at_a_time_and_all_pieces_are_the_whole(knows_ranges: bool) -> None:
    body = bytes(range(256)) * (PIECE // 256) * 2 + b"the end"
    store = Store(body, knows_ranges)
    got = b""
    while len(got) < len(body):
        answered = sent(store, f"bytes={len(got)}-")
        assert 0 < len(answered.body) <= PIECE
        got += answered.body

    assert got == body
    assert all(one.closed or one._raw_stream.closed for one in store.bodies)  # type: ignore[attr-defined]  # botocore's own


def test_a_download_is_the_whole_object() -> None:
    body = b"x" * (PIECE + 1)
    answered = sent(Store(body), is_download=True)

    assert (answered.status, answered.body) == (200, body)
    assert "content-range" not in answered.headers


@pytest.mark.parametrize("asked", [None, "bytes=0-", "bytes=-5"])
def test_an_empty_object_is_an_empty_answer(asked: str | None) -> None:
    answered = sent(Store(b""), asked)

    assert (answered.status, answered.body) == (200, b"")


@pytest.mark.parametrize(
    ("code", "status"), [("NoSuchKey", 404), ("NoSuchVersion", 404), ("AccessDenied", None)]
)
def test_an_object_that_is_gone_is_404_and_another_error_is_told(
    code: str, status: int | None
) -> None:
    store = Store(b"x", error=code)
    if status is None:
        with pytest.raises(ClientError):
            sent(store)
    else:
        assert sent(store).status == status


@pytest.mark.parametrize(
    "kind", [*sorted(PLAYABLE), "text/html", "image/svg+xml", "application/xhtml+xml", "", "x\r\ny"]
)
def test_what_a_browser_would_run_is_a_download_of_bytes(kind: str) -> None:
    answered = sent(Store(b"<script>"), kind=kind)

    is_playable = kind in PLAYABLE
    sent_kind = answered.headers["content-type"].partition(";")[0]
    assert sent_kind == (kind if is_playable else "application/octet-stream")
    assert ("content-disposition" in answered.headers) is not is_playable
    assert "sandbox" in answered.headers["content-security-policy"]
    assert "nosniff" in HEADERS.values()


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@FEW
@given(
    NAMES | st.sampled_from(['a"; filename=b.exe', "a\r\nSet-Cookie: x=y", "ä ö.mp4", "a%2Fb;*'"])
)
def test_a_downloads_name_arrives_as_it_is_and_is_no_header(name: str) -> None:
    answered = sent(Store(b"x"), is_download=True, name=name)

    line = answered.headers["content-disposition"]
    assert re.fullmatch(r"attachment; filename\*=UTF-8''[A-Za-z0-9%._~/-]+", line)
    assert unquote(line.partition("''")[2]) == name
    assert set(answered.headers) <= {
        "accept-ranges",
        "content-type",
        "content-disposition",
        "content-length",
        "content-security-policy",
    }


def test_a_player_that_leaves_ends_the_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "CHUNK", 1000)
    store = Store(b"x" * 1_000_000)
    made = answer(store, an_object(1_000_000), "bytes=0-", is_download=False)  # type: ignore[arg-type]  # it has the one call
    read: list[int] = []

    async def play() -> None:
        async def send(message: Any) -> None:
            read.append(len(message.get("body", b"")))
            if len(read) > 3:
                left.set()

        async def receive() -> Any:
            await left.wait()
            return {"type": "http.disconnect"}

        left = asyncio.Event()
        await made(Browser(made).scope("GET", "/"), receive, send)

    asyncio.run(play())

    assert sum(read) < 500_000
