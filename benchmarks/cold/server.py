"""AWS and fal in a process of its own, for functions that start: the crash tests' fakes over TLS.

`POST /reset` puts everything back to how it was at first: one drop, one job that fal has finished.
"""

from __future__ import annotations

import copy
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import httpx

from benchmarks.aws import Answered, Asked, answer, service
from benchmarks.growth import an_item, ready_job
from benchmarks.transfer.sink import body_of
from benchmarks.transfer.wire import Network, Wire, announce_and_stay, serve, tls
from benchmarks.worlds import MeasuredWorld
from phonoscene.fal.webhook_message import WebhookMessage, hash_token
from phonoscene.fal.webhook_signature import sign
from phonoscene.jobs import JobStatus, Request
from tests.support import stack
from tests.support.fakes import stream
from tests.support.fakes.aws import Version
from tests.support.fakes.fal import KEY_SET, QUEUE, SIGNER
from tests.support.fakes.fal import Request as Submitted
from tests.support.scenarios import AUDIO, SIDECAR, SOUND, WISH

if TYPE_CHECKING:
    import socket
    import ssl

TOKEN: Final = "t" * 43
JOB: Final = "0f343b0931126a20f133d67c2b018a3b"
REQUEST: Final = "00000000-0000-4000-8000-000000000001"


def world() -> MeasuredWorld:
    """How things are before a first event: a pair was dropped, and an earlier job has run."""
    made = MeasuredWorld(now=datetime.now(UTC), settings={})
    made.buckets.put(stack.DROPS, AUDIO, SOUND)
    made.buckets.put(stack.DROPS, SIDECAR, json.dumps(WISH).encode())
    made.fal.add(_submitted(made.now))
    made.table.answer("PutItem", {"TableName": stack.JOBS, "Item": an_item(_job(made.now))})
    return made


def _submitted(now: datetime) -> Submitted:
    return Submitted(REQUEST, "", "", failure=None, ends_at=now, webhook_at=None, duplicates=0)


def _job(now: datetime) -> Any:
    url = f"{QUEUE}/{REQUEST}"
    request = Request(request_id=REQUEST, status_url=f"{url}/status", response_url=url)
    job = ready_job(job_id=JOB, attempt=1, token_hashes=(hash_token(TOKEN),), request=request)
    return job.model_copy(update={"status": JobStatus.SUBMITTED, "updated_at": now})


def first_events() -> dict[str, Any]:
    """The first event of each function, by name."""
    body = _verdict()
    audio = Version("", SOUND, datetime.now(UTC))
    message = WebhookMessage(JOB, hash_token(TOKEN), REQUEST, body)
    at = int(datetime.now(UTC).timestamp())
    headers = sign(SIGNER, REQUEST, "github|1", at, body.encode())
    return {
        "submit": stack.sqs(stack.created(SIDECAR, datetime.now(UTC) + timedelta(minutes=1))),
        "probe": {"kind": "audio", "key": AUDIO, "etag": audio.etag, "bytes": len(SOUND)},
        "edit": {"do": "silences", "key": AUDIO, "etag": audio.etag, "bytes": len(SOUND)},
        "webhook": {
            "pathParameters": {"job_id": JOB, "token": TOKEN},
            "headers": headers,
            "body": body,
        },
        "store": stack.sqs(message.to_message()),
        "reconcile": {},
        "publish": stream.batch([stream.record(1, ({}, an_item(_job(datetime.now(UTC)))))]),
        "plain": {"body": body},
    }


def _verdict() -> str:
    url = f"https://v3.fal.media/files/{REQUEST}.mp4"
    payload = {"video": {"url": url}, "seed": 1, "prompt": "a harbour"}
    return json.dumps({"request_id": REQUEST, "status": "OK", "error": None, "payload": payload})


class Server:
    """Both listeners: AWS directly, fal behind CONNECT."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._first = world()
        self._now = copy.deepcopy(self._state(self._first))

    def _state(self, of: MeasuredWorld) -> Any:
        return of.table._items, of.table._sorted, of.buckets.versions  # type: ignore[attr-defined]

    def _reset(self) -> None:
        made = self._first
        made.table._items, made.table._sorted, made.buckets.versions = copy.deepcopy(self._now)  # type: ignore[attr-defined]
        made.now = datetime.now(UTC)
        made.buckets.uploads.clear()

    def aws(self, sock: socket.socket) -> None:
        """One connection to AWS."""
        with self._context.wrap_socket(sock, server_side=True) as secure:
            wire = Wire(secure, Network())
            while request := wire.head():
                if request.headers.get("expect", "").lower() == "100-continue":
                    secure.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                asked = Asked(
                    request.method,
                    f"https://{request.headers['host']}{request.target}",
                    request.headers,
                    bytes(body_of(wire, request)),
                )
                self._send(wire, self._aws(asked))

    def _aws(self, asked: Asked) -> Answered:
        if asked.url.endswith("/reset"):
            self._reset()
            return Answered(200)
        return answer(
            asked, lambda name, what, found: self._first._answer(service(name), what, found)
        )

    def fal(self, sock: socket.socket) -> None:
        """One tunnel to a host of fal's."""
        tunnel = Wire(sock, Network())
        connect = tunnel.head()
        if connect is None:
            return
        host = connect.target.partition(":")[0]
        sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with self._context.wrap_socket(sock, server_side=True) as secure:
            wire = Wire(secure, Network())
            while request := wire.head():
                body = bytes(body_of(wire, request))
                url = f"https://{host}{request.target}"
                self._send(
                    wire,
                    self._fal(
                        httpx.Request(request.method, url, headers=request.headers, content=body)
                    ),
                )

    def _fal(self, asked: httpx.Request) -> Answered:
        if asked.url.path.endswith("jwks.json"):
            return Answered(200, {"Content-Type": "application/json"}, KEY_SET)
        found = self._first.fal.answer(asked)
        found.read()
        kept = {name: value for name, value in found.headers.items() if name != "content-length"}
        return Answered(found.status_code, kept, found.content)

    def _send(self, wire: Wire, answer: Answered) -> None:
        wire.answer(f"{answer.status} Answer", answer.headers, answer.body)


def main() -> None:
    """Serve until standard input ends; the events come first, on one line."""
    server = Server(tls(sys.argv[1]))
    print(serve(server.fal))
    announce_and_stay(serve(server.aws))


if __name__ == "__main__":
    main()
