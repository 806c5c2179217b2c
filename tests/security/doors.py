"""The doors through which strangers speak to us, each as one function of bytes or events.

Whatever comes, a door answers as it should, or raises ``Breach``: an exception that no one
expected, a 5xx, a message that no one understands and that stops others, a forgery that was
believed.
"""

from __future__ import annotations

import base64
import io
import json
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from botocore.response import StreamingBody
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.drops.media_facts import StoredObject
from phonoscene.drops.sidecar_files import MAX_SIDECAR_BYTES, parse, read_takes
from phonoscene.errors import DropRefused
from phonoscene.fal.signing_keys import SigningKeys
from phonoscene.fal.webhook_signature import sign
from phonoscene.probe.prober import LocalProber
from phonoscene.settings import WebhookSettings
from tests.support import stack
from tests.support.fakes.calls import Calls
from tests.support.fakes.world import Context, World, function
from tests.support.invariants import always_broken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from phonoscene.fal.webhook_message import WebhookMessage

KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
USER: Final = "github|1234567"
JOB_ID: Final = "0f343b0931126a20f133d67c2b018a3b"
TOKEN: Final = "Zm9ub3NjZW5lLXRlc3QtdG9rZW4tb2YtNDMtY2hhcnM"


class Breach(AssertionError):
    """A door did what it must not."""


@dataclass
class Tray:
    """In the verdicts queue's place."""

    delivered: list[WebhookMessage] = field(default_factory=list)

    def send(self, webhook: WebhookMessage) -> None:
        self.delivered.append(webhook)


class WebhookDoor:
    """The function that faces the internet, as Lambda calls it; its own key set signs for it."""

    def __init__(self) -> None:
        x = base64.urlsafe_b64encode(KEY.public_key().public_bytes_raw()).decode().rstrip("=")
        key_set = {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]}
        self.module: ModuleType = function.__wrapped__("webhook")  # one that no one else uses
        self.tray = Tray()
        settings = WebhookSettings(verdicts_queue_url="", fal_user_id=USER)
        app = self.module.App(settings, SigningKeys(lambda: key_set), self.tray)
        vars(self.module)["build"] = lambda: app
        self.body = json.dumps(stack.event("fal-success")).encode()
        self.request_id = str(json.loads(self.body)["request_id"])

    def event(self, **headers: str) -> dict[str, Any]:
        """A genuine message, as the HTTP API hands it over."""
        at = int(time.time())
        signed = sign(KEY, self.request_id, USER, at, self.body)
        event: dict[str, Any] = stack.event("http-webhook")
        return event | {
            "pathParameters": {"job_id": JOB_ID, "token": TOKEN},
            "headers": event["headers"] | signed | headers,
            "body": base64.b64encode(self.body).decode(),
            "isBase64Encoded": True,
        }

    def knock(self, event: Any) -> int:
        """One call; the status.

        Raises:
            Breach: it raised, answered 5xx, or believed what was not signed.
        """
        self.tray.delivered.clear()
        try:
            answer = self.module.handler(event, Context("webhook"))
        except Exception as exc:
            raise Breach(f"the webhook raised {exc!r}") from exc
        status = int(answer["statusCode"])
        if status not in (202, 401):
            raise Breach(f"the webhook answered {status}")
        if (status == 202) != bool(self.tray.delivered):
            raise Breach("the answer and the queue disagree")
        for message in self.tray.delivered:
            if message.body.encode() != self.body or message.request_id != self.request_id:
                raise Breach("the webhook believed what no key had signed")
        return status


def drop_door(objects: Mapping[str, bytes], messages: list[str]) -> World:
    """Any objects under any keys, and any messages in the drops queue, run to their end.

    Raises:
        Breach: a function failed, an object's own event could not be worked on, or the books are
        wrong. What is no event of ours may end in the dead-letter queue, alone.
    """
    world = World(Calls())
    with world.under():
        for key, body in objects.items():
            world.drop(key, body)
        for message in messages:
            world.send("drops", message)
        world.settle()
    raised = [line for line in world.log if "failed" in line]
    ours = {stack_event(world, key) for key in objects}
    dead = [message.body for queue in world.queues.values() for message in queue.dead]
    stuck = [body for body in dead if body in ours or body not in messages]
    for queue in world.queues.values():
        queue.dead.clear()
    if wrong := [*raised, *stuck, *always_broken(world)]:
        raise Breach("; ".join(wrong))
    return world


def stack_event(world: World, key: str) -> str:
    """S3's event of an object, as the world sends it."""
    at = world.buckets.versions[stack.DROPS, key][0].modified
    return json.dumps(stack.created(key, at))


def sidecar_door(raw: bytes) -> str:
    """Any bytes as a sidecar; ``fine`` or the codes of its errors.

    Raises:
        Breach: it raised anything else than a refusal, or a refusal without words.
    """
    try:
        for take in read_takes("a/song.json", raw[: MAX_SIDECAR_BYTES + 1]):
            parse([take])[0].arguments()
    except DropRefused as exc:
        return _told(exc)
    except Exception as exc:
        raise Breach(f"a sidecar raised {exc!r}") from exc
    return "fine"


def file_door(kind: str, raw: bytes) -> str:
    """Any bytes as a dropped file of a kind; what was found in it, or the code of its refusal.

    Raises:
        Breach: it raised anything else, or took too much CPU time.
    """
    client: Any = Ranges(raw)
    prober = LocalProber(DropBucket(client, client, "drops"))
    stored = StoredObject(key="a/song.mp3", etag="e", bytes=len(raw))
    began = time.process_time()
    try:
        answer = str(PROBES[kind](prober, stored))
    except DropRefused as exc:
        answer = _told(exc)
    except Exception as exc:
        raise Breach(f"the {kind} raised {exc!r}") from exc
    if time.process_time() - began > SLOW.total_seconds():
        raise Breach(f"the {kind} took too long to be examined")
    return answer


#: CPU time that one file may take.
SLOW: Final = timedelta(seconds=5)

#: What examines a dropped file, by its kind. The tests, the corpus and ``make fuzz`` go through it.
PROBES: Final[dict[str, Callable[[LocalProber, StoredObject], object]]] = {
    "audio": LocalProber.audio,
    "image": LocalProber.image,
}


def _told(refused: DropRefused) -> str:
    if not all(error.code and error.message for error in refused.errors):
        raise Breach("a refusal says nothing")
    return " ".join(sorted(error.code for error in refused.errors))


class Ranges:
    """S3, as far as a header is read."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def get_object(self, **asked: Any) -> dict[str, Any]:
        first, _, last = asked["Range"].removeprefix("bytes=").partition("-")
        body = self._raw[int(first) : int(last) + 1]
        return {
            "Body": StreamingBody(io.BytesIO(body), len(body)),
            "ContentRange": f"bytes {first}-{last}/{len(self._raw)}",
        }
