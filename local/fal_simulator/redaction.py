"""What of a request may be logged or shown: never a signature, a token or the key."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

HIDDEN = "…"
# Authorization is the key; an upload policy is a signed permission to write to a bucket.
SECRET_HEADERS = frozenset({"authorization", "x-app-fal-upload-policy", "cookie"})


def without_signatures(value: Any) -> Any:
    """Copy JSON with the query string of every URL in it replaced by `?…`."""
    if isinstance(value, dict):
        return {name: without_signatures(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_signatures(item) for item in value]
    if isinstance(value, str) and value.lower().startswith(("https://", "http://")):
        address, mark, _ = value.partition("?")
        return f"{address}?{HIDDEN}" if mark else address
    return value


def without_token(url: str) -> str:
    """Write a webhook URL with its last path segment, where a capability token lives, hidden."""
    parts = urlsplit(url)
    folder = parts.path.rpartition("/")[0]
    return f"{parts.scheme}://{parts.hostname}{folder}/{HIDDEN}"


def without_secrets(headers: dict[str, str]) -> dict[str, str]:
    """Lower-case the names and drop the headers that are credentials."""
    lowered = {name.lower(): value for name, value in headers.items()}
    return {name: value for name, value in lowered.items() if name not in SECRET_HEADERS}
