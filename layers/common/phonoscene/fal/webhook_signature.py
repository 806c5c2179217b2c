"""fal's webhook: what is signed, how it is signed, and how a webhook is checked.

``sign`` and ``verify`` stand side by side; the first makes the tests of the second.
Source of the scheme: https://fal.ai/docs/documentation/model-apis/inference/webhooks
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from phonoscene.errors import WebhookRefused
from phonoscene.fal.lenient_json import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: How old, or how far ahead, a signed timestamp may be, in seconds (fal documents it).
TOLERANCE_SECONDS = 300
#: fal's longest answer of this endpoint stays under 10 KB; a body is capped before any
#: cryptography.
MAX_BODY_BYTES = 128 * 1024

#: Digits of a time in seconds until the year 33658.
MAX_TIMESTAMP = 12

REQUEST_ID = "x-fal-webhook-request-id"
USER_ID = "x-fal-webhook-user-id"
TIMESTAMP = "x-fal-webhook-timestamp"
SIGNATURE = "x-fal-webhook-signature"


def signed_message(request_id: str, user_id: str, timestamp: str, body: bytes) -> bytes:
    """The four lines that are signed; no line feed ends the last."""
    digest = hashlib.sha256(body).hexdigest()
    return f"{request_id}\n{user_id}\n{timestamp}\n{digest}".encode(errors="surrogatepass")


def sign(
    key: Ed25519PrivateKey, request_id: str, user_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """The headers fal would send with ``body``."""
    message = signed_message(request_id, user_id, str(timestamp), body)
    return {
        REQUEST_ID: request_id,
        USER_ID: user_id,
        TIMESTAMP: str(timestamp),
        SIGNATURE: key.sign(message).hex(),
    }


def public_keys(key_set: Mapping[str, Any]) -> list[Ed25519PublicKey]:
    """The Ed25519 keys of a JWKS; what is not one is passed over.

    ``x`` is padded before it is decoded: 32 bytes are 43 characters without padding, which Python's
    decoder refuses, and JWKS forbids padding.
    """
    listed = key_set.get("keys")
    found = [_public_key(entry) for entry in listed] if isinstance(listed, list) else []
    return [key for key in found if key is not None]


def _public_key(entry: Any) -> Ed25519PublicKey | None:
    x = entry.get("x") if isinstance(entry, dict) else None
    if not isinstance(x, str) or entry.get("crv", "Ed25519") != "Ed25519":
        return None
    try:
        return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=" * (-len(x) % 4)))
    except ValueError:
        return None


@dataclass(frozen=True)
class Claims:
    """The four headers of a webhook, read but not yet believed."""

    request_id: str
    user_id: str
    timestamp: str
    signature: bytes

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Claims:
        """Read the headers, whose names are lower-case; a missing or empty one refuses."""
        request_id, user_id, timestamp, signature = (
            headers.get(name, "") for name in (REQUEST_ID, USER_ID, TIMESTAMP, SIGNATURE)
        )
        if not (request_id and user_id and timestamp and signature):
            raise WebhookRefused("header_missing")
        try:
            return cls(request_id, user_id, timestamp, bytes.fromhex(signature))
        except ValueError as exc:
            raise WebhookRefused("signature_not_hex") from exc

    def check_time(self, now: float) -> None:
        """Refuse what was signed more than ``TOLERANCE_SECONDS`` before or after ``now``."""
        is_plain = self.timestamp.isascii() and self.timestamp.isdigit()
        if not is_plain or len(self.timestamp) > MAX_TIMESTAMP:
            raise WebhookRefused("timestamp_malformed")
        if abs(now - int(self.timestamp)) > TOLERANCE_SECONDS:
            raise WebhookRefused("timestamp_out_of_tolerance")

    def is_signed_by_any(self, keys: Iterable[Ed25519PublicKey], body: bytes) -> bool:
        """Whether one of the keys signed this body; fal names none, so each is tried."""
        message = signed_message(self.request_id, self.user_id, self.timestamp, body)
        return any(_is_signed(key, self.signature, message) for key in keys)


def _is_signed(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def check_tenant(claims: Claims, user_id: str) -> None:
    """Refuse a webhook that is signed for another customer of fal.

    One global key set signs for everybody, so a genuine signature alone proves only that fal sent
    it. ``user_id`` empty: not pinned.
    """
    theirs = claims.user_id.encode(errors="surrogatepass")
    if user_id and not secrets.compare_digest(theirs, user_id.encode()):
        raise WebhookRefused("foreign_user_id")


def check_body(claims: Claims, body: bytes) -> str:
    """The body's text, once it names the request that the signed header names.

    It is signed, so what is harmless in it passes: a byte order mark, NaN, half a character.
    """
    try:
        text = body.decode("utf-8", "surrogatepass")
        parsed = read_json(text, _no_key_twice)
    except (ValueError, RecursionError) as exc:
        raise WebhookRefused("body_malformed") from exc
    if not isinstance(parsed, dict) or parsed.get("request_id") != claims.request_id:
        raise WebhookRefused("request_id_mismatch")
    return text


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(pairs)
    if len(parsed) != len(pairs):
        raise ValueError("a key stands twice")
    return parsed
