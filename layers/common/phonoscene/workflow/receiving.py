"""From fal's POST to a webhook that is believed: every check there is, cheapest first."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from phonoscene.errors import WebhookRefused
from phonoscene.fal.webhook_message import WebhookMessage, hash_token
from phonoscene.fal.webhook_signature import MAX_BODY_BYTES, Claims, check_body, check_tenant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phonoscene.fal.signing_keys import SigningKeys

logger = logging.getLogger(__name__)

_JOB_ID = re.compile(r"[0-9a-f]{32}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Post:
    """One POST as it came: header names lower-case, the body raw, ``at`` in Unix seconds."""

    job_id: str
    token: str
    headers: Mapping[str, str]
    body: bytes
    at: float


def receive(post: Post, keys: SigningKeys, user_id: str) -> WebhookMessage:
    """Check a POST; nothing of its body is parsed before its signature is believed.

    The token is not compared here: this function may not read the table. Its hash travels along.

    Raises:
        WebhookRefused: with the reason, for the log only.
        SigningKeysUnavailable: no webhook can be verified now.
    """
    if len(post.body) > MAX_BODY_BYTES:
        raise WebhookRefused("body_too_long")
    if not (_JOB_ID.fullmatch(post.job_id) and _TOKEN.fullmatch(post.token)):
        raise WebhookRefused("path_malformed")
    claims = Claims.from_headers(post.headers)
    claims.check_time(post.at)
    if not _is_signed(claims, post.body, keys):
        raise WebhookRefused("signature_invalid")
    check_tenant(claims, user_id)
    return WebhookMessage(
        job_id=post.job_id,
        token_hash=hash_token(post.token),
        request_id=claims.request_id,
        body=check_body(claims, post.body),
    )


def _is_signed(claims: Claims, body: bytes, keys: SigningKeys) -> bool:
    """Verify with the known keys, and once more if fal has others by now."""
    if claims.is_signed_by_any(keys.known(), body):
        return True
    return keys.refresh() and claims.is_signed_by_any(keys.known(), body)
