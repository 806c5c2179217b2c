"""A webhook on its way from the function that checked it to the job, with the token it shows.

Apart from ``webhook_signature``, whose cryptography only the door needs.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class WebhookMessage:
    """One verified POST of fal's, on its way to the verdicts queue.

    The path's token travels as its hash; ``body`` is the signed text, byte for byte, because fal's
    seeds exceed what other JSON readers keep.
    """

    job_id: str
    token_hash: str
    request_id: str
    body: str

    def to_message(self) -> str:
        """As the verdicts queue carries it, in ASCII: SQS refuses some characters that JSON has."""
        return json.dumps(self.__dict__)

    @classmethod
    def read(cls, message: Mapping[str, Any]) -> Self:
        """Return the webhook in a message's JSON; fields that a newer release added are ignored.

        Raises:
            KeyError: the message lacks a field.
        """
        return cls(**{field.name: message[field.name] for field in fields(cls)})


def new_token() -> str:
    """A secret of 256 bits that only fal receives, with the job's webhook address."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """What is stored of a token, in hex."""
    return hashlib.sha256(token.encode()).hexdigest()
