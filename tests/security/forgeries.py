"""Deliveries that must not be believed: a genuine one with something of it changed, or anything."""

from __future__ import annotations

import base64
import copy
import json
import time
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from phonoscene.fal.webhook_signature import REQUEST_ID, SIGNATURE, TIMESTAMP, USER_ID, sign

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.security.doors import WebhookDoor

HEADERS: Final = (REQUEST_ID, USER_ID, TIMESTAMP, SIGNATURE)
STRANGER: Final = Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32)
WEIRD: Final = (
    "",
    " ",
    "\0",
    "\n",
    "é",
    "\ud800",
    "💥",
    "null",
    "true",
    "[]",
    "{}",
    "-1",
    "0",
    "NaN",
    "1e309",
    "9" * 400,
    "A" * 9_000,
    "../../etc/passwd",
    "%00",
    "' OR 1=1 --",
    "${jndi:x}",
    "<script>",
    "٣" * 10,
    "0x10",
    "1795521520.5",
    " 1795521520",
    "+1795521520",
    "1795521520\n",
)
ODD: Final[tuple[Any, ...]] = (None, 0, 1.5, True, [], {}, [1], {"a": 1}, "text", b"bytes")

Event = dict[str, Any]


def forgery(chance: Random, door: WebhookDoor) -> Any:
    """One of very many; the same seed gives the same."""
    event = copy.deepcopy(door.event())
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        chance.choice(CHANGES)(chance, event)
    if chance.random() < 0.02:
        return _anything(chance, 4)
    # whatever else was changed, and perhaps undone: this is never genuine
    if _is_genuine(event, door):
        event["headers"][SIGNATURE] = "00" * 64
    return event


def _is_genuine(event: Event, door: WebhookDoor) -> bool:
    """Whether all that is signed is as it was, so that to believe it would be right."""
    genuine = door.event()
    headers = event.get("headers")
    if not isinstance(headers, dict) or _body_of(event) != door.body:
        return False
    return all(headers.get(name) == genuine["headers"][name] for name in (REQUEST_ID, USER_ID))


def _body_of(event: Event) -> bytes:
    """The body's bytes, as far as it has any."""
    body = event.get("body")
    if not (isinstance(body, str) and event.get("isBase64Encoded")):
        return str(body).encode(errors="surrogatepass")
    try:
        return base64.b64decode(body)
    except ValueError:
        return b""


def _without_header(chance: Random, event: Event) -> None:
    event["headers"].pop(chance.choice(HEADERS), None)


def _weird_header(chance: Random, event: Event) -> None:
    event["headers"][chance.choice(HEADERS)] = chance.choice(WEIRD)


def _header_twice(chance: Random, event: Event) -> None:
    name = chance.choice(HEADERS)
    value = event["headers"].get(name, "")
    event["headers"][name] = chance.choice((f"{value},{value}", f"{value}, {value}", f",{value}"))


def _odd_header(chance: Random, event: Event) -> None:
    event["headers"][chance.choice(HEADERS)] = chance.choice(ODD)


def _other_time(chance: Random, event: Event) -> None:
    away = chance.choice((-1, 1)) * 10 ** chance.uniform(2.5, 12)
    event["headers"][TIMESTAMP] = str(int(time.time() + away))


def _flipped_signature(chance: Random, event: Event) -> None:
    text = list(str(event["headers"].get(SIGNATURE) or "0" * 128))
    place = chance.randrange(len(text))
    text[place] = chance.choice([d for d in "0123456789abcdef" if d != text[place].lower()])
    event["headers"][SIGNATURE] = "".join(text)


def _strangers_signature(chance: Random, event: Event) -> None:
    body = json.dumps({"request_id": "r", "status": "OK", "n": chance.random()}).encode()
    event["headers"] |= sign(STRANGER, "r", "somebody", int(time.time()), body)
    event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def _changed_body(chance: Random, event: Event) -> None:
    body = bytearray(_body_of(event))
    if chance.random() < 0.5 and body:
        body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
    else:
        body = bytearray(chance.randbytes(chance.choice((0, 1, 30, 3_000, 140_000))))
    event |= {"body": base64.b64encode(bytes(body)).decode(), "isBase64Encoded": True}


def _evil_json(chance: Random, event: Event) -> None:
    text = chance.choice(
        (
            "[" * 50_000,
            '{"a":' * 20_000,
            '{"request_id": NaN}',
            '{"request_id": "a", "request_id": "b"}',
            "\ufeff{}",
            '{"request_id": "\\ud800"}',
            "1" * 6_000,
            '"' + "x" * 130_000 + '"',
        )
    )
    event |= {"body": text, "isBase64Encoded": chance.random() < 0.3}


def _odd_part(chance: Random, event: Event) -> None:
    part = chance.choice(("headers", "pathParameters", "body", "isBase64Encoded", "version"))
    if chance.random() < 0.5:
        event.pop(part, None)
    else:
        event[part] = chance.choice(ODD)
    event.setdefault("headers", {})
    if not isinstance(event["headers"], dict) and chance.random() < 0.5:
        event["headers"] = {}


def _other_path(chance: Random, event: Event) -> None:
    path = {"job_id": chance.choice((*WEIRD, "0" * 32)), "token": chance.choice((*WEIRD, "A" * 43))}
    event["pathParameters"] = {n: v for n, v in path.items() if chance.random() < 0.7}


def _anything(chance: Random, depth: int) -> Any:
    """JSON of any shape."""
    if depth == 0 or chance.random() < 0.3:
        return chance.choice((*ODD[:4], *WEIRD))
    if chance.random() < 0.5:
        return [_anything(chance, depth - 1) for _ in range(chance.randrange(4))]
    names = ("headers", "body", "pathParameters", "isBase64Encoded", *HEADERS, "x")
    return {chance.choice(names): _anything(chance, depth - 1) for _ in range(chance.randrange(5))}


def _guarded(change: Callable[[Random, Event], None]) -> Callable[[Random, Event], None]:
    """Changes come in any order, so the parts may be odd already."""

    def safe(chance: Random, event: Event) -> None:
        if isinstance(event.get("headers"), dict):
            change(chance, event)

    return safe


CHANGES: Final = tuple(
    _guarded(change)
    for change in (
        _without_header,
        _weird_header,
        _header_twice,
        _odd_header,
        _other_time,
        _flipped_signature,
        _strangers_signature,
        _changed_body,
        _evil_json,
        _odd_part,
        _other_path,
    )
)
