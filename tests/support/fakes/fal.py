"""fal in this process, below HTTP: queue, results, list of requests, CDN, storage, webhooks.

By the rules of ``local/fal_simulator``, which is the same over HTTP and in real time: a request is
billed once it was accepted and ran, it is listed when it has ended, its result lives an hour, a
webhook is sent until it is answered with 2xx, and an upload is read when a run begins and is gone
when its life is over.
"""

from __future__ import annotations

import base64
import json
import re
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.client import HTTPResponse
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from phonoscene.fal.webhook_signature import sign
from tests.support.fakes.calls import NotModelled
from tests.support.stack import FAL_KEY as KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.fakes.calls import Calls

RUNS_FOR: Final = timedelta(seconds=35)
RESULT_LIVES: Final = timedelta(hours=1)
FIRST_PAUSE: Final = timedelta(seconds=15)
QUEUE: Final = "https://queue.fal.run/fal-ai/ltx-2.3-22b/requests"
SIGNER: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_RAW: Final = SIGNER.public_key().public_bytes_raw()
KEY_SET: Final = json.dumps(
    {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(_RAW).decode()}]}
).encode()
#: What differs from one presigned URL to the next.
_SIGNED: Final = re.compile(r"X-Amz-(Date|Signature|Credential)=[^&]*")
PAYLOAD_ERROR: Final = "Response payload is not JSON serializable."
FILES: Final = "https://v3.fal.media/files"
#: Stand for a request and its video in answers that were written before there were any.
REQUEST_ID: Final = "0a1b2c3d-0000-4000-8000-00000000002a"
VIDEO_URL: Final = f"{FILES}/b/0a1b/video.mp4"
COPIES: Final = "https://v3b.fal.media/files/b/0a1b2c3d"
UNREAD: Final[dict[str, Any]] = {
    "detail": [{"msg": "Failed to download the file.", "type": "file_download_error"}]
}
#: A failure that no other attempt is worth.
REFUSED: Final = {"detail": "The runner refused", "error_type": "bad_request"}
PAGE: Final = "<!DOCTYPE html><html></html>"
BROKEN: Final = {"detail": "The runner broke", "error_type": "runner_server_error"}


@dataclass(frozen=True)
class Made:
    """The video that a run makes, and what fal bills for it where its header says so."""

    width: int = 1024
    height: int = 576
    frames: int = 24
    #: In the header of a result that is fetched; a webhook has none.
    units: str | None = None

    def figures(self) -> dict[str, Any]:
        """As the result reports them."""
        return {"width": self.width, "height": self.height, "num_frames": self.frames, "fps": 24.0}


@dataclass
class Play:
    """What fal does of its own accord; each list is used up request by request."""

    #: Status codes with which the next POSTs are refused; None accepts.
    refusals: deque[int | None] = field(default_factory=deque)
    #: Whether the answers to the next POSTs are lost on their way.
    lost_answers: deque[bool] = field(default_factory=deque)
    #: Whether the next runs fail, in a way that is worth another try.
    failures: deque[bool] = field(default_factory=deque)
    #: Status codes with which the next uploads are refused; None takes them.
    uploads: deque[int | None] = field(default_factory=deque)
    #: Whether the copies of the next uploads are gone before a run comes to read them.
    expired: deque[bool] = field(default_factory=deque)
    webhooks: bool = True
    #: What the runs make, in turn; one second of audio asks for the default.
    makes: tuple[Made, ...] = (Made(),)
    #: How often a webhook is sent that was answered already.
    duplicates: int = 0
    #: Whether webhooks come without the payload.
    payload: bool = True
    #: Whether a webhook overtakes the answer to its POST.
    early: bool = False
    #: For how long a result can be read; fal documents an hour, and keeps most for longer.
    result_lives: timedelta = RESULT_LIVES
    #: The forms of the next answers that no one documents, by what is asked: ``post``, ``status``,
    #: ``result``, ``list``, ``file``, ``webhook``. An empty one is the usual form.
    odd: dict[str, deque[str]] = field(default_factory=dict)
    #: The next answers themselves, by what is asked: code, headers and body; of ``file`` the bytes
    #: on the wire. Those of ``webhook`` are bodies that are signed and sent before the webhook.
    replies: dict[str, deque[Any]] = field(default_factory=dict, repr=False)
    #: What happens while the answer to a POST is on its way; what it raises is the answer.
    meanwhile: Callable[[], object] = field(default=lambda: None, repr=False)

    def form(self, asked: str) -> str:
        """The next answer's form."""
        forms = self.odd.get(asked)
        return forms.popleft() if forms else ""

    def reply(self, asked: str) -> Any:
        """The next answer itself; None where it is fal's usual one."""
        replies = self.replies.get(asked)
        return replies.popleft() if replies else None


@dataclass
class Request:
    """One accepted submission."""

    request_id: str
    audio_url: str
    webhook_url: str
    #: What is wrong with the run; None: nothing, and it is billed.
    failure: dict[str, Any] | None
    ends_at: datetime
    webhook_at: datetime | None
    duplicates: int
    made: Made = Made()
    attempts: int = 0
    is_cancelled: bool = False

    @property
    def fails(self) -> bool:
        """Whether there is no video, and no bill."""
        return self.failure is not None

    @property
    def video(self) -> bytes:
        """The bytes of its video: an mp4 of several parts, where parts are small."""
        return video_of(f" the film of {self.request_id} ".encode() * 6)


def video_of(frames: bytes) -> bytes:
    """A whole MP4 around these bytes, which no player would play."""
    boxes = {b"ftyp": b"isom\0\0\2\0isom", b"moov": b"", b"mdat": frames}
    return b"".join((8 + len(body)).to_bytes(4) + name + body for name, body in boxes.items())


@dataclass
class Fal:
    """Everything of fal that the product can reach."""

    clock: Callable[[], datetime]
    play: Play
    #: Hands a webhook over; its status code.
    deliver: Callable[[str, dict[str, str], bytes], int]
    requests: list[Request] = field(default_factory=list)
    posts: int = 0
    #: Copies by address: the body, and when it is gone.
    copies: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)

    def state(self) -> str:
        """All that a request to this fal can change, as a text to compare."""
        return f"{self.requests} {self.posts} {self.play} {self.copies}"

    # what happens with time

    def next_at(self) -> datetime | None:
        """When the next webhook is due."""
        return min((found.webhook_at for found in self.requests if found.webhook_at), default=None)

    def act(self) -> None:
        """Send the webhook that is due."""
        due = [found for found in self.requests if found.webhook_at]
        self.send(min(due, key=lambda found: found.webhook_at or self.clock()))

    def send(self, found: Request) -> None:
        """Send a request's webhook once, and again later if it is not answered."""
        at = self.clock()
        form = self.play.form("webhook")
        body = self._webhook(found, form)
        pause = FIRST_PAUSE * 2**found.attempts
        found.attempts += 1
        again = at + pause if at + pause < found.ends_at + self.play.result_lives else None
        found.webhook_at = again  # it comes again, unless it is answered
        if form == "error first":
            self._hand_over(found, self._failure_of(found))
        while (odd := self.play.reply("webhook")) is not None:
            self._hand_over(found, self._about(found, odd))
        if self._hand_over(found, body) // 100 == 2:
            found.duplicates -= 1
            found.webhook_at = again if found.duplicates >= 0 else None

    def _hand_over(self, found: Request, body: bytes) -> int:
        at = int(self.clock().timestamp())
        headers = sign(SIGNER, found.request_id, "github|1", at, body)
        return self.deliver(found.webhook_url, headers, body)

    def _reply(self, odd: Any, found: Request | None = None) -> httpx.Response:
        code, headers, body = odd
        stream = httpx.ByteStream(self._about(found, body) if found else body)
        return httpx.Response(code, headers=headers, stream=stream)

    @staticmethod
    def _about(found: Request, body: bytes) -> bytes:
        url = f"{FILES}/{found.request_id}.mp4"
        body = body.replace(VIDEO_URL.encode(), url.encode())
        return body.replace(REQUEST_ID.encode(), found.request_id.encode())

    def _failure_of(self, found: Request) -> bytes:
        body = {"request_id": found.request_id, "status": "ERROR", "payload": REFUSED}
        return json.dumps(body | {"error": "Invalid status code: 500"}, sort_keys=True).encode()

    def _webhook(self, found: Request, form: str) -> bytes:
        body: dict[str, Any] = {"request_id": found.request_id, "status": "OK", "error": None}
        if found.fails:
            body |= {"status": "ERROR", "error": "Invalid status code", "payload": found.failure}
        elif self.play.payload:
            body["payload"] = _in_form(self._output(found), form)
        else:
            body |= {"payload": None, "payload_error": PAYLOAD_ERROR}
        return json.dumps(body, sort_keys=True).encode()

    def _output(self, found: Request) -> dict[str, Any]:
        url = f"{FILES}/{found.request_id}.mp4"
        video = {"url": url, "file_size": len(found.video), **found.made.figures()}
        return {"video": video, "seed": 2**63 + 5, "prompt": "a harbour"}

    # what it is asked

    def answer(self, asked: httpx.Request) -> httpx.Response:
        """One HTTP request to one of fal's hosts."""
        hosts = {
            "queue.fal.run": self._queue,
            "queue.falrun.com": self._queue,
            "api.fal.ai": self._list,
            "rest.fal.ai": self._sign_in,
            "v3.fal.media": self._cdn,
        }
        if asked.url.host not in hosts:
            raise NotModelled(f"{asked.method} {asked.url}")
        return hosts[asked.url.host](asked)

    def _queue(self, asked: httpx.Request) -> httpx.Response:
        if asked.method == "POST":
            return self._post(asked)
        request_id, _, what = asked.url.path.partition("/requests/")[2].partition("/")
        found = next((one for one in self.requests if one.request_id == request_id), None)
        if found is None:
            return httpx.Response(404, json={"status": "NOT_FOUND"})
        return {"status": self._status, "": self._result, "cancel": self._cancel}[what](found)

    def _post(self, asked: httpx.Request) -> httpx.Response:
        self.posts += 1
        refusal = self.play.refusals.popleft() if self.play.refusals else None
        if refusal:
            return httpx.Response(refusal, json={"detail": "not now"})
        found = self._accept(asked)
        if self.play.early and found.webhook_at:
            self.send(found)
        self.play.meanwhile()
        if self.play.lost_answers and self.play.lost_answers.popleft():
            raise httpx.ReadTimeout("the answer is lost", request=asked)
        url = f"{QUEUE}/{found.request_id}"
        if (odd := self.play.reply("post")) is not None:
            return self._reply(odd, found)
        if self.play.form("post") == "bare":
            return httpx.Response(200, json={"request_id": found.request_id})
        fields = {
            "request_id": found.request_id,
            "response_url": url,
            "status_url": f"{url}/status",
            "cancel_url": f"{url}/cancel",
            "queue_position": 0,
        }
        return httpx.Response(200, json=fields)

    def _accept(self, asked: httpx.Request) -> Request:
        number = len(self.requests) + 1
        ends_at = self.clock() + (timedelta(0) if self.play.early else RUNS_FOR)
        arguments = json.loads(asked.content)
        query = parse_qs(urlsplit(str(asked.url)).query)
        webhook_url = query.get("fal_webhook", [""])[0]
        found = Request(
            request_id=f"00000000-0000-4000-8000-{number:012}",
            audio_url=_SIGNED.sub("", str(arguments["audio_url"])),
            webhook_url=webhook_url,
            failure=self._failure(arguments),
            ends_at=ends_at,
            webhook_at=ends_at if webhook_url and self.play.webhooks else None,
            duplicates=self.play.duplicates,
            made=self.play.makes[len(self.requests) % len(self.play.makes)],
        )
        self.requests.append(found)
        return found

    def _failure(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """What is wrong with a run; a copy must be there with the bytes that were dropped."""
        if self.play.failures and self.play.failures.popleft():
            return BROKEN
        for name in ("audio_url", "image_url"):
            url = str(arguments.get(name, "")).partition("#")[0]
            if url.startswith(COPIES) and self.copies[url][1] <= self.clock():
                return UNREAD | {"detail": [UNREAD["detail"][0] | {"loc": ["body", name]}]}
        return None

    def _sign_in(self, asked: httpx.Request) -> httpx.Response:
        """The key is good for a token; the CDN is never shown the key itself."""
        if asked.headers["Authorization"] != f"Key {KEY}":
            raise NotModelled("a call of rest.fal.ai without the key")
        fields = {
            "token": "upload-token",
            "token_type": "Bearer",
            "base_url": "https://v3.fal.media",
            "expires_at": "2026-11-23T12:00:00+00:00",
        }
        return httpx.Response(200, json=fields)

    def _upload(self, asked: httpx.Request) -> httpx.Response:
        if asked.headers["Authorization"] != "Bearer upload-token":
            raise NotModelled("an upload without its token")
        refusal = self.play.uploads.popleft() if self.play.uploads else None
        if refusal:
            return httpx.Response(refusal, json={"detail": "not now"})
        life = json.loads(asked.headers["X-Fal-Object-Lifecycle"])["expiration_duration_seconds"]
        is_expired = bool(self.play.expired) and self.play.expired.popleft()
        ends = self.clock() + timedelta(seconds=0 if is_expired else life)
        url = f"{COPIES}/{len(self.copies):04}_{asked.headers['X-Fal-File-Name']}"
        self.copies[url] = (asked.content, ends)
        return httpx.Response(200, json={"access_url": url})

    def _has_ended(self, found: Request) -> bool:
        return found.is_cancelled or self.clock() >= found.ends_at

    def _status(self, found: Request) -> httpx.Response:
        if (odd := self.play.reply("status")) is not None:
            return self._reply(odd, found)
        if form := self.play.form("status"):
            return httpx.Response(200, json={"status": form})
        if self._has_ended(found):
            why = "client_cancelled" if found.is_cancelled else "a failure"
            failed = {"error": why, "error_type": why} if found.is_cancelled or found.fails else {}
            return httpx.Response(200, json={"status": "COMPLETED", **failed})
        return httpx.Response(202, json={"status": "IN_PROGRESS"})

    def _result(self, found: Request) -> httpx.Response:
        if (odd := self.play.reply("result")) is not None:
            return self._reply(odd, found)
        if not self._has_ended(found):
            return httpx.Response(400, json={"detail": "Request is still in progress"})
        if self.clock() >= found.ends_at + self.play.result_lives:
            return httpx.Response(404, json={"status": "NOT_FOUND"})
        if found.is_cancelled:
            return httpx.Response(499, json={"detail": "Request cancelled by the client"})
        code = 500 if found.failure == BROKEN else 422
        return httpx.Response(code, json=found.failure) if found.fails else self._ok(found)

    def _ok(self, found: Request) -> httpx.Response:
        units = {"X-Fal-Billable-Units": found.made.units} if found.made.units else {}
        form = self.play.form("result")
        if form == "page":
            return httpx.Response(200, text=PAGE)
        if form == "accepted":
            return httpx.Response(202, json={"status": "IN_PROGRESS"})
        return httpx.Response(200, json=_in_form(self._output(found), form), headers=units)

    def _cancel(self, found: Request) -> httpx.Response:
        """One that has not ended is stopped, and sends no webhook."""
        if self._has_ended(found):
            return httpx.Response(400, json={"status": "ALREADY_COMPLETED"})
        found.is_cancelled, found.webhook_at = True, None
        return httpx.Response(200, json={"status": "OK"})

    def _list(self, asked: httpx.Request) -> httpx.Response:
        if (odd := self.play.reply("list")) is not None:
            return self._reply(odd)
        since, until = (datetime.fromisoformat(asked.url.params[end]) for end in ("start", "end"))
        items = [
            {"request_id": found.request_id, "json_input": {"audio_url": found.audio_url}}
            for found in self.requests
            if self._has_ended(found) and since <= found.ends_at <= until
        ]
        page = {"items": items, "has_more": False}
        bare = [{"request_id": item["request_id"]} for item in items]
        odd = {
            "no input": page | {"items": bare},
            "another envelope": {"requests": items},
            "an error": {"error": {"type": "server_error"}},
        }
        return httpx.Response(200, json=odd.get(self.play.form("list"), page))

    def _cdn(self, asked: httpx.Request) -> httpx.Response:
        return self._upload(asked) if asked.method == "POST" else self._file(asked)

    def _file(self, asked: httpx.Request) -> httpx.Response:
        found = next(one for one in self.requests if one.request_id in asked.url.path)
        form = self.play.form("file")
        if form == "page":
            return httpx.Response(200, text=PAGE, headers={"Content-Type": "text/html"})
        video = found.video[:40] if form == "short" else found.video
        first, _, last = asked.headers["Range"].removeprefix("bytes=").partition("-")
        body = video[int(first) : int(last) + 1]
        span = f"bytes {first}-{int(first) + len(body) - 1}/{len(video)}"
        return httpx.Response(206, content=body, headers={"Content-Range": span})


def _in_form(output: dict[str, Any], form: str) -> dict[str, Any]:
    """The output as no one documents it, where a form is named."""
    odd: dict[str, dict[str, Any]] = {
        "empty": {},
        "videos": {"videos": [output["video"]], "seed": output["seed"]},
        "half a surrogate pair": output | {"prompt": "a harbour \ud83c"},
    }
    return odd.get(form, output)


@dataclass
class Line:
    """An open connection to the CDN; what is asked over it is a call of the product."""

    host: str
    calls: Calls
    fal: Fal
    #: http.client's: a connection without one is closed.
    sock: object = field(default_factory=object)
    _answer: bytes = b""

    def request(self, method: str, target: str, headers: dict[str, str]) -> None:
        if method == "GET" and (odd := self.fal.play.reply("file")) is not None:
            self._answer = self.calls.make(f"{method} {self.host}", lambda: odd)
            return
        asked = httpx.Request(method, f"https://{self.host}{target}", headers=headers)
        answer = self.calls.make(f"{method} {self.host}", lambda: self.fal.answer(asked))
        lines = (f"{name}: {value}\r\n" for name, value in answer.headers.items())
        head = f"HTTP/1.1 {answer.status_code} \r\n{''.join(lines)}\r\n"
        self._answer = head.encode() + answer.content

    def getresponse(self) -> HTTPResponse:
        response = HTTPResponse(self)  # type: ignore[arg-type]  # all that it asks of a socket
        response.begin()
        return response

    def makefile(self, _: str) -> BytesIO:
        return BytesIO(self._answer)

    def close(self) -> None:
        pass
