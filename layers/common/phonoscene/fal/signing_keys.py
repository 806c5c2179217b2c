"""Fetches and caches fal's key set: the only module that asks fal who signs its webhooks.

The standard library does it: the function that faces the internet starts without an HTTP package.
"""

from __future__ import annotations

import json
import logging
import time
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from phonoscene.errors import AddressRefused, SigningKeysUnavailable
from phonoscene.fal.webhook_signature import public_keys
from phonoscene.net.public_https import get

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

logger = logging.getLogger(__name__)

#: Where fal publishes them: today's host, and the one of older texts, asked where the first fails.
KEY_SET_URLS: Final = (
    "https://rest.fal.ai/.well-known/jwks.json",
    "https://rest.alpha.fal.ai/.well-known/jwks.json",
)
#: fal's own limit on caching; before it, old keys still serve while fal cannot be asked.
STALE_AFTER: Final = 24 * 3600
REFRESH_AFTER: Final = 3600
#: A webhook that no key verifies asks for a refetch; forgers must not turn that into a storm.
REFETCH_EVERY: Final = 60
#: While there is no key at all every webhook is turned away, so the next try comes sooner.
FIRST_FETCH_EVERY: Final = 5
#: For connecting, headers and body together; fal waits 15 s for our answer.
FETCH_TIMEOUT: Final = 4.0
MAX_KEY_SET_BYTES: Final = 64 * 1024


_FAILURES: Final = (OSError, HTTPException, AddressRefused, ValueError, RecursionError)


def fetch() -> dict[str, Any]:
    """The key set as fal serves it now, from the first of its hosts that can tell.

    Raises:
        OSError, HTTPException, AddressRefused: it cannot be reached within ``FETCH_TIMEOUT``.
        ValueError: it answers with an error, a redirect, no JSON, no key, or more than
            ``MAX_KEY_SET_BYTES``.
    """
    first, second = KEY_SET_URLS
    try:
        return _fetch(first)
    except _FAILURES as exc:
        logger.warning("signing_keys.other_host", extra={"error": type(exc).__name__})
        return _fetch(second)


def _fetch(url: str) -> dict[str, Any]:
    body = get(urlsplit(url), MAX_KEY_SET_BYTES, FETCH_TIMEOUT)
    parsed = json.loads(body)
    if not isinstance(parsed, dict) or not public_keys(parsed):
        raise ValueError("the answer holds no key")
    return parsed


class SigningKeys:
    """fal's keys, fetched at most once a minute, kept at most a day."""

    def __init__(
        self,
        fetch: Callable[[], dict[str, Any]] = fetch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: list[Ed25519PublicKey] = []
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")

    def known(self) -> list[Ed25519PublicKey]:
        """The keys to verify with.

        Raises:
            SigningKeysUnavailable: none are cached that are younger than a day, and none can be
            had.
        """
        if self._age() > REFRESH_AFTER:
            self.refresh()
        if not self._keys or self._age() >= STALE_AFTER:
            raise SigningKeysUnavailable
        return self._keys

    def refresh(self) -> bool:
        """Ask fal again, unless that was just done; whether the keys are now others."""
        now = self._clock()
        if now - self._tried_at < (REFETCH_EVERY if self._keys else FIRST_FETCH_EVERY):
            return False
        self._tried_at = now
        try:
            keys = public_keys(self._fetch())
        except _FAILURES as exc:
            logger.warning("signing_keys.unavailable", extra={"error": type(exc).__name__})
            return False
        if not keys:
            # an empty answer is fal's mistake, and must not lock its webhooks out for a day
            logger.warning("signing_keys.empty")
            return False
        before, self._keys, self._fetched_at = self._keys, keys, now
        return {k.public_bytes_raw() for k in before} != {k.public_bytes_raw() for k in keys}

    def _age(self) -> float:
        return self._clock() - self._fetched_at
