"""The names of the stack's resources in tests, and the events that its functions receive."""

from __future__ import annotations

import base64
import json
import secrets
from datetime import UTC, datetime
from typing import Any, Final

from tests.support.template import ROOT

ACCOUNT: Final = "123456789012"  # moto's
REGION: Final = "us-east-1"
DROPS: Final = "drops"
OUTPUT: Final = "outputs"
JOBS: Final = "jobs"
KEY_PARAMETER: Final = "/phonoscene/fal-key"
FAL_KEY: Final = "key-id:key-secret"
#: Dollars for a megapixel, as the recorded moments have it. The template's default follows fal's.
PRICE: Final = "0.001205"
WEBHOOKS: Final = "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com"


def event(name: str) -> Any:
    """A payload of ``events/``."""
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


def created(key: str, at: datetime | None = None) -> dict[str, Any]:
    """S3's event for a key, as of ``at`` or now."""
    payload: dict[str, Any] = event("s3-audio-created")
    payload["detail"]["object"]["key"] = key
    payload["time"] = (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return payload


def sqs(*bodies: Any) -> dict[str, Any]:
    """A batch of an SQS event source; ids are m0, m1, …"""
    one = event("sqs-drops")["Records"][0]
    texts = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
    return {"Records": [one | {"messageId": f"m{n}", "body": text} for n, text in enumerate(texts)]}


def webhook_secret(length: int = 32) -> str:
    """A new secret of so many bytes for event webhooks."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(length)).decode()
