"""Events as webhooks to a subscriber: what is sent, how it is signed, and when it is tried again.

By Standard Webhooks 1.0.0 (standardwebhooks.com): the id stays an event's own however often it is
sent, the time is the attempt's, and both are signed with the body.
"""

from __future__ import annotations

import base64
import binascii
import json
import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from standardwebhooks import Webhook

from phonoscene.errors import NotificationMalformed, SecretUnusable
from phonoscene.version import USER_AGENT

if TYPE_CHECKING:
    from datetime import datetime

TYPE: Final = "job.status_changed"
PREFIX: Final = "whsec_"
#: Bytes of a secret.
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
#: After each failure, in seconds: the standard's own schedule over 75 hours, but for its pauses of
#: 14, 20 and 24 hours, because SQS hides a message for 12 hours at most.
PAUSES: Final = (5, 300, 1800, 7200, 18_000, 36_000, *[43_200] * 5)
#: SQS counts its 12 hours from the receipt of the message.
MAX_PAUSE: Final = 43_200 - 120
_ID: Final = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class Notification:
    """One event on its way; the body is what is signed, to the byte."""

    id: str
    body: str

    @classmethod
    def of(cls, event: str) -> Notification:
        """Of an event as EventBridge hands it out.

        Raises:
            NotificationMalformed: it is none of ours.
        """
        try:
            detail = json.loads(event)["detail"]
            data = {"type": TYPE, "timestamp": detail["at"], "data": detail}
            identifier = str(detail["id"])
        except (ValueError, KeyError, TypeError) as exc:
            raise NotificationMalformed from exc
        if not _ID.fullmatch(identifier):
            raise NotificationMalformed
        return cls(identifier, json.dumps(data, ensure_ascii=False, separators=(",", ":")))

    def headers(self, secrets: str, at: datetime) -> dict[str, str]:
        """With a signature by each of the secrets, so that one can be replaced at leisure.

        Raises:
            SecretUnusable: there is none, or one of another form; nothing is sent unsigned.
        """
        signed = [signer.sign(self.id, at, self.body) for signer in _signers(secrets)]
        return {
            "content-type": "application/json",
            "user-agent": USER_AGENT,
            "webhook-id": self.id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signed),
        }


def _signers(secrets: str) -> list[Webhook]:
    found = [Webhook(_secret_bytes(secret)) for secret in secrets.split()]
    if not found:
        raise SecretUnusable
    return found


def _secret_bytes(secret: str) -> bytes:
    encoded = secret.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        raise SecretUnusable from None  # the reason shows the secret
    if encoded == secret or not MIN_SECRET_BYTES <= len(raw) <= MAX_SECRET_BYTES:
        raise SecretUnusable
    return raw


def pause_after(tries: int, retry_after: int) -> int:
    """How long to wait after so many tries, in seconds; the subscriber may ask for longer.

    0 after the last: SQS moves a message to its dead-letter queue once it is visible again.
    """
    if tries > len(PAUSES):
        return 0
    pause = PAUSES[tries - 1] * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
    return min(max(int(pause), retry_after), MAX_PAUSE)
