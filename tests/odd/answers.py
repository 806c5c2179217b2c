"""A grammar of odd answers: status, headers, body and timing. What it draws is bytes on a wire."""

from __future__ import annotations

import gzip
import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from tests.odd.server import End, Raw
from tests.support.fakes.fal import REQUEST_ID as ID
from tests.support.fakes.fal import VIDEO_URL

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import DrawFn, SearchStrategy

QUEUE: Final = "https://queue.fal.run/fal-ai/ltx-2.3-22b/requests"
#: Where a key must never go.
STRANGER: Final = "subscriber.example.com"

CODES: Final = (
    200,
    200,
    200,
    200,
    201,
    202,
    204,
    206,
    301,
    302,
    303,
    304,
    307,
    308,
    400,
    401,
    402,
    403,
    404,
    405,
    408,
    409,
    410,
    413,
    415,
    416,
    418,
    422,
    422,
    425,
    429,
    499,
    500,
    500,
    502,
    503,
    503,
    504,
    520,
    599,
)
#: Interim answers, and codes that are none.
STRANGE_CODES: Final = (100, 101, 102, 103, 99, 0, 600, 999, 1000)
#: In place of a line that is longer than any library reads.
LONG: Final = b"[a long line]"
STATUS_LINES: Final = (
    b"HTTP/1.1 200 OK",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 200",
    b"HTTP/2.0 200 OK",
    b"http/1.1 200 ok",
    b"ICY 200 OK",
    b"HTTP/1.1 two hundred",
    b"HTTP/1.1",
    b"",
    b"\x00",
    b"HTTP/1.1 -200 OK",
    b"HTTP/1.1 200 \xff\xfe",
    b"<html>",
    b"HTTP/1.1 200 " + LONG,
)
URLS: Final = (
    f"{QUEUE}/{ID}",
    f"{QUEUE}/{ID}/status",
    f"http://queue.fal.run/requests/{ID}",
    VIDEO_URL,
    f"https://{STRANGER}/steal",
    f"https://queue.fal.run@{STRANGER}/",
    "https://queue.fal.run:8443/",
    f"https://queue.fal.run.{STRANGER}/",
    f"https://{STRANGER}#@queue.fal.run",
    "//queue.fal.run/",
    f"https:\\\\{STRANGER}\\@queue.fal.run",
    "https://[::1]/",
    "https://[queue.fal.run/",
    "file:///x",
    "https://queue.fal.run\t.example/",
    "https://QUEUE.FAL.RUN/x",
    "",
    " ",
    "https://",
    "\ud83c",
    "https://queue.fal.run:99999/",
    "https://v3.fal.media:443/a%2Fb/é.mp4",
    "data:video/mp4,",
    "https://v3.fal.media/" + "a" * 5000,
    f"https://user:key@{STRANGER}/",
    "https://[::ffff:1]/",
)
VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    10**400,
    "",
    "\ud83c",
    "\x00",
    "a" * 5000,
    [],
    {},
    [None],
    [[]],
    {"": ""},
    float("nan"),
    float("inf"),
    *URLS,
)

plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
values = st.sampled_from(VALUES) | plain_json
#: None of them leads anywhere.
harmless = st.sampled_from([v for v in VALUES if not isinstance(v, str) or ":" not in v])

ACCEPTED: Final[dict[str, Any]] = {
    "request_id": ID,
    "status": "IN_QUEUE",
    "queue_position": 0,
    "response_url": f"{QUEUE}/{ID}",
    "status_url": f"{QUEUE}/{ID}/status",
    "cancel_url": f"{QUEUE}/{ID}/cancel",
}
STATUS: Final[dict[str, Any]] = {
    "status": "COMPLETED",
    "request_id": ID,
    "response_url": f"{QUEUE}/{ID}",
    "logs": None,
    "metrics": {"inference_time": 3.7},
}
RESULT: Final[dict[str, Any]] = {
    "video": {
        "url": VIDEO_URL,
        "content_type": "video/mp4",
        "file_name": "video.mp4",
        "file_size": 4242,
        "width": 1024,
        "height": 576,
        "fps": 24.0,
        "duration": 1.0,
        "num_frames": 24,
    },
    "seed": 2**63 + 5,
    "prompt": "a harbour",
}
FAILURE: Final[dict[str, Any]] = {
    "detail": [
        {
            "loc": ["body", "audio_url"],
            "msg": "Failed to download.",
            "ctx": {},
            "url": "x",
            "type": "file_download_error",
            "input": f"https://{STRANGER}/?X-Amz-Signature=00",
        }
    ],
}
LISTED: Final[dict[str, Any]] = {
    "items": [
        {
            "request_id": ID,
            "endpoint_id": "fal-ai/ltx-2.3-22b",
            "json_input": {"audio_url": "https://bucket.s3.amazonaws.com/a.wav?x=1#mine"},
        }
    ],
    "has_more": False,
    "next_cursor": None,
}
KEYS: Final[dict[str, Any]] = {
    "keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}],
}
TOKEN: Final[dict[str, Any]] = {
    "token": "upload-token",
    "token_type": "Bearer",
    "base_url": "https://v3.fal.media",
    "access_url": VIDEO_URL,
}


@st.composite
def mutated(draw: DrawFn, document: Any, instead: SearchStrategy[Any] = values) -> Any:
    """A document, as it is or with something in it missing, replaced or added."""
    made = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(0, 3))):
        at = made
        while isinstance(at, dict | list) and at:
            key = draw(st.sampled_from(list(at) if isinstance(at, dict) else list(range(len(at)))))
            if not at[key] or draw(st.booleans()):
                _change(draw, at, key, instead)
                break
            at = at[key]
    return made


def _change(draw: DrawFn, at: Any, key: Any, instead: SearchStrategy[Any]) -> None:
    match draw(st.sampled_from(("replace", "drop", "wrap", "text", "add"))):
        case "replace":
            at[key] = deepcopy(draw(instead))
        case "drop":
            del at[key]
        case "wrap":
            at[key] = [at[key]]
        case "text":
            at[key] = str(at[key])
        case "add" if isinstance(at, dict):
            at[draw(st.sampled_from(("status", "error", "next", "videos", "x")))] = deepcopy(
                draw(instead)
            )


def _encoded(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


#: By name, as some are too long to be shown.
BODIES: Final[dict[str, bytes]] = {
    "none": b"",
    "a page": b"<!DOCTYPE html><html><body>503</body></html>",
    "null": b"null",
    "a word": b"OK",
    "no text": b"\xff",
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000,
    "a long number": b"1" * 6_000,
    "a number that does not end": b'{"status": ' + b"9" * 5_000,
    "a key twice": b'{"status":"COMPLETED","status":"IN_QUEUE"}',
    "half a surrogate pair": b'"\\ud83c"',
    "long": b"x" * 5_000_000,
}


def json_bodies(document: Any, instead: SearchStrategy[Any] = values) -> SearchStrategy[bytes]:
    """Bytes that may replace this document."""
    others = st.sampled_from((ACCEPTED, STATUS, RESULT, FAILURE, LISTED))
    good = (mutated(document, instead) | instead | others).map(_encoded)
    return st.one_of(
        *[mutated(document, instead).map(_encoded)] * 3,
        good,
        st.tuples(st.sampled_from(sorted(SPOILT)), good).map(
            lambda drawn: SPOILT[drawn[0]](drawn[1])
        ),
        st.binary(max_size=60),
        st.sampled_from(sorted(BODIES)).map(BODIES.__getitem__),
    )


SPOILT: Final[dict[str, Callable[[bytes], bytes]]] = {
    "with a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "in UTF-16": lambda body: body.decode("utf-8", "replace").encode("utf-16"),
    "cut": lambda body: body[: len(body) // 2],
    "twice": lambda body: body + body,
    "guarded": lambda body: b")]}'\n" + body,
}


header_lines = st.sampled_from(
    (
        b"Content-Type: application/json",
        b"Content-Type: text/html",
        b"Content-Type: \xff",
        b"Content-Encoding: gzip",
        b"Content-Encoding: br",
        b"Content-Encoding: deflate",
        b"Content-Encoding: identity",
        b"Retry-After: 1",
        b"Retry-After: -1",
        b"Retry-After: Fri, 27 Nov 2026 07:28:00 GMT",
        b"Retry-After: 99999999999999999999",
        b"Location: https://subscriber.example.com/steal",
        b"Location: /again",
        b"Location: http://queue.fal.run/x",
        b"Location: https://v3.fal.media/again.mp4",
        b"Location: \xff\xfe",
        b"Location:",
        b'ETag: "a"',
        b'ETag: W/"a"',
        b"ETag: \xe9",
        b"Content-Range: bytes 0-39/40",
        b"Content-Range: bytes 0-39/*",
        b"Content-Range: bytes 0-0/99999999999",
        b"Content-Range: bytes 5-2/1",
        b"Content-Range: x",
        b"Content-Range: bytes 0-18446744073709551616/18446744073709551617",
        b"X-Fal-Request-Id: 0a1b",
        b"X-Fal-Billable-Units: 1e400",
        b"X-Fal-Billable-Units: NaN",
        b"X-Fal-Billable-Units: -3",
        b"X-Fal-Billable-Units: 1.5",
        b"X-Fal-Error-Type: nobody",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Set-Cookie: a=b; Domain=fal.run",
        b"no colon",
        b": no name",
        b" folded",
        b"X: " + LONG,
        b"\xe9\xe9: \xe9",
        b"Transfer-Encoding: chunked",
        b"Content-Length: -1",
        b"Content-Length: x",
        b"Content-Length: 99999999999999999999",
        b"Content-Length: 0",
        b"X: a\rb",
        b"\r\n".join(b"X-%d: y" % n for n in range(150)),
    )
)


#: How an answer's connection ends: mostly well. One that stalls takes as long as its reader waits.
ENDS: Final[tuple[End, ...]] = ("close",) * 35 + ("reset", "stall", "reset") + ("close",) * 20
FRAMINGS: Final = ("length",) * 5 + ("chunked", "close", "wrong") + ("length",) * 2
HINTS: Final = (b"",) * 9 + (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",)

codes = st.sampled_from(CODES).map(lambda code: b"HTTP/1.1 %d X" % code)
strange_codes = st.sampled_from(STRANGE_CODES).map(lambda code: b"HTTP/1.1 %d X" % code)
status_lines = st.one_of(*[codes] * 10, strange_codes, st.sampled_from(STATUS_LINES))


@st.composite
def answers(draw: DrawFn, bodies: SearchStrategy[bytes]) -> Raw:
    """One answer."""
    lines = [draw(status_lines), *draw(st.lists(header_lines, max_size=3))]
    body = _framed(lines, draw(bodies), draw(st.sampled_from(FRAMINGS)))
    data = draw(st.sampled_from(HINTS)) + _head(lines) + body
    end = draw(st.sampled_from(ENDS))
    if end == "stall":
        slow: tuple[End, ...] = ("stall", "drip")
        return Raw(data, draw(st.sampled_from(slow)), draw(st.integers(0, min(len(data), 400))))
    is_cut = end == "reset" or draw(st.sampled_from((False,) * 5 + (True,) + (False,) * 4))
    return Raw(data, end, draw(st.integers(0, len(data))) if is_cut else None)


def _head(lines: list[bytes]) -> bytes:
    return b"\r\n".join(lines).replace(LONG, b"y" * 70_000) + b"\r\n\r\n"


def _framed(lines: list[bytes], body: bytes, framing: str) -> bytes:
    """The body as it is sent; its length, or that it has none, joins the head's lines."""
    if any(line.endswith(b"gzip") for line in lines) and len(body) % 2:
        body = gzip.compress(body, 1)
    if framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif framing == "wrong":
        lines.append(b"Content-Length: %d" % (len(body) + 9 if len(body) % 2 else 1))
    elif framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        return (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    return body
