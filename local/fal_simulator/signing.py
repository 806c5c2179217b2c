"""fal's Ed25519 signatures over webhooks, and the key set that lets others verify them."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

if TYPE_CHECKING:
    from pathlib import Path

KEPT_KEYS = 4  # a rotated key stays listed for a while, so deliveries on their way still verify


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key pair and the name it has in the key set."""

    kid: str
    private: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new pair with a random name."""
        return cls(secrets.token_hex(8), Ed25519PrivateKey.generate())

    @classmethod
    def kept(cls, file: Path) -> SigningKey:
        """Read the pair of a file, or make one there: fal's keys outlive a restart of its servers.

        A receiver reads the key set once a minute at most, so a new pair would cost it a minute.
        """
        if not file.is_file():
            part = file.with_suffix(".part")
            part.touch(mode=0o600)
            part.write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
            part.replace(file)
        private = Ed25519PrivateKey.from_private_bytes(file.read_bytes())
        return cls(
            hashlib.sha256(private.public_key().public_bytes_raw()).hexdigest()[:16], private
        )

    def jwk(self, *, padded: bool) -> dict[str, Any]:
        """Describe the public half; unpadded base64url is 43 characters, padded 44."""
        encoded = base64.urlsafe_b64encode(self.private.public_key().public_bytes_raw()).decode()
        point = encoded if padded else encoded.rstrip("=")
        return {"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "use": "sig", "x": point}


class Signer:
    """Signs for one account with the newest of its keys."""

    def __init__(self, user_id: str, first: SigningKey | None = None) -> None:
        self.user_id = user_id
        self._keys = [first or SigningKey.generate()]
        self._stranger = SigningKey.generate()  # never listed

    def rotate(self) -> None:
        """Sign with a new key from now on; the old ones stay in the key set."""
        self._keys = [*self._keys[1 - KEPT_KEYS :], SigningKey.generate()]

    def key_set(self, *, padded: bool = False) -> dict[str, Any]:
        """Return the JWKS document."""
        return {"keys": [key.jwk(padded=padded) for key in self._keys]}

    def headers(
        self,
        request_id: str,
        body: bytes,
        timestamp: int,
        *,
        user_id: str | None = None,
        known_key: bool = True,
    ) -> dict[str, str]:
        """Return the four headers of a delivery of exactly these bytes."""
        user = user_id or self.user_id
        key = self._keys[-1] if known_key else self._stranger
        message = signed_message(request_id, user, str(timestamp), body)
        return {
            "X-Fal-Webhook-Request-Id": request_id,
            "X-Fal-Webhook-User-Id": user,
            "X-Fal-Webhook-Timestamp": str(timestamp),
            "X-Fal-Webhook-Signature": key.private.sign(message).hex(),
        }


def signed_message(request_id: str, user_id: str, timestamp: str, body: bytes) -> bytes:
    """Join the four parts fal documents with line feeds, without one at the end."""
    digest = hashlib.sha256(body).hexdigest()
    return f"{request_id}\n{user_id}\n{timestamp}\n{digest}".encode()
