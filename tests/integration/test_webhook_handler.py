"""The one door to the internet: what it lets in, and that its refusals are all alike."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from botocore.exceptions import ClientError, EndpointConnectionError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from phonoscene.fal.webhook_message import WebhookMessage, hash_token
from phonoscene.fal.webhook_signature import REQUEST_ID, SIGNATURE, TIMESTAMP, USER_ID, sign
from tests.integration.loopback import Loopback, Seen, answer, cut, vanish
from tests.integration.moto_stack import client

if TYPE_CHECKING:
    import io
    from collections.abc import Callable
    from types import ModuleType

    from tests.integration.conftest import Context
    from tests.integration.moto_stack import Cloud

USER = "github|1234567"
TOKEN = "Zm9ub3NjZW5lLXRlc3QtdG9rZW4tb2YtNDMtY2hhcnM"
KEY, OLD, FOREIGN = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3))


def jwks(*keys: Ed25519PrivateKey, padded: bool = False) -> dict[str, Any]:
    def x(key: Ed25519PrivateKey) -> str:
        text = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).decode()
        return text if padded else text.rstrip("=")

    return {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x(key)} for key in keys]}


@dataclass
class Door:
    """The handler, and the payload that an HTTP API would pass it."""

    module: ModuleType
    context: Context
    event: dict[str, Any]
    request_id: str
    body: bytes

    def knock(self, **changes: Any) -> dict[str, Any]:
        """Deliver the webhook, freshly signed unless ``headers`` are given."""
        body = changes.pop("body", self.body)
        headers = changes.pop("headers", None) or self.signed(body)
        event = self.event | {
            "headers": self.event["headers"] | headers,
            "body": base64.b64encode(body).decode(),
        }
        answered: dict[str, Any] = self.module.handler(event | changes, self.context)
        return answered

    def signed(self, body: bytes, **changes: Any) -> dict[str, str]:
        fields: dict[str, Any] = {
            "key": KEY,
            "request_id": self.request_id,
            "user_id": USER,
            "timestamp": int(time.time()),
        }
        return sign(**fields | changes, body=body)


@pytest.fixture
def make(
    cloud: Cloud,
    internet: Loopback,
    function: Callable[..., ModuleType],
    context: Context,
    load_event: Callable[[str], Any],
) -> Callable[..., Door]:
    internet.plays["rest.fal.ai"] = answer(jwks(OLD, KEY))
    event = load_event("http-webhook")
    event["pathParameters"] = {"job_id": "0f343b0931126a20f133d67c2b018a3b", "token": TOKEN}
    body = base64.b64decode(event["body"])

    def build(fal_user_id: str = USER) -> Door:
        module = function("webhook", VERDICTS_QUEUE_URL=cloud.verdicts_url, FAL_USER_ID=fal_user_id)
        return Door(module, context, event, json.loads(body)["request_id"], body)

    return build


@pytest.fixture
def door(make: Callable[..., Door]) -> Door:
    return make()


REFUSED = {"statusCode": 401, "headers": {"content-type": "text/plain"}, "body": ""}


def test_a_genuine_webhook_is_queued_byte_for_byte_and_answered_202(
    door: Door, cloud: Cloud
) -> None:
    answered = door.knock()

    assert answered["statusCode"] == 202
    (message,) = cloud.verdicts()
    assert WebhookMessage.read(json.loads(message)) == WebhookMessage(
        job_id="0f343b0931126a20f133d67c2b018a3b",
        token_hash=hash_token(TOKEN),
        request_id=door.request_id,
        body=door.body.decode(),
    )


def test_the_seed_of_the_real_body_survives_the_queue(door: Door, cloud: Cloud) -> None:
    door.knock()

    (message,) = cloud.verdicts()
    assert '"seed": 17454220438242315174' in json.loads(message)["body"]


def test_a_body_that_is_not_base64_encoded_is_taken_as_it_is(door: Door, cloud: Cloud) -> None:
    body = json.dumps(
        {"request_id": door.request_id, "status": "OK", "note": "café ♫"}, ensure_ascii=False
    )

    plain = {"body": body, "isBase64Encoded": False, "headers": door.signed(body.encode())}

    answered = door.module.handler(door.event | plain, door.context)

    assert answered["statusCode"] == 202
    assert json.loads(cloud.verdicts()[0])["body"] == body


@pytest.mark.parametrize("spell", [str.upper, str.title, str.lower])
def test_header_names_are_read_in_any_case(door: Door, spell: Callable[[str], str]) -> None:
    headers = {spell(name): value for name, value in door.signed(door.body).items()}
    for name in list(door.event["headers"]):
        if name.startswith("x-fal-webhook"):
            del door.event["headers"][name]

    assert door.knock(headers=headers)["statusCode"] == 202


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("signer", [KEY, OLD], ids=["second key", "first key"])
def test_every_key_of_the_set_is_tried_padded_or_not(
    door: Door, internet: Loopback, padded: bool, signer: Ed25519PrivateKey
) -> None:
    internet.plays["rest.fal.ai"] = answer(jwks(OLD, KEY, padded=padded))

    assert door.knock(headers=door.signed(door.body, key=signer))["statusCode"] == 202


def test_the_key_set_is_asked_for_once_and_kept(door: Door, internet: Loopback) -> None:
    for _ in range(5):
        door.knock()

    (asked,) = internet.seen
    assert (asked.method, asked.target) == ("GET", "/.well-known/jwks.json")


def test_without_a_pinned_account_any_customer_of_fal_is_let_in(make: Callable[..., Door]) -> None:
    door = make(fal_user_id="")

    headers = door.signed(door.body, user_id="github|somebody")

    assert door.knock(headers=headers)["statusCode"] == 202


def refusals(door: Door) -> dict[str, dict[str, Any]]:
    """What to change of a genuine message, by what is then wrong with it."""
    now = int(time.time())
    signed = door.signed(door.body)

    def unlike(**changes: Any) -> dict[str, Any]:
        return {"headers": door.signed(door.body, **changes)}

    def saying(body: bytes) -> dict[str, Any]:
        return {"body": body, "headers": door.signed(body)}

    path = door.event["pathParameters"]
    missing = {f"no {name}": {"headers": signed | {name: ""}} for name in signed}
    return missing | {
        "foreign key": unlike(key=FOREIGN),
        "foreign user": unlike(user_id="github|7654321"),
        "user by prefix": unlike(user_id=USER[:-1]),
        "too old": unlike(timestamp=now - 310),
        "too early": unlike(timestamp=now + 310),
        "timestamp changed": {"headers": signed | {"x-fal-webhook-timestamp": str(now - 5)}},
        "timestamp negative": {"headers": signed | {"x-fal-webhook-timestamp": f"-{now}"}},
        "timestamp in words": {"headers": signed | {"x-fal-webhook-timestamp": "now"}},
        "timestamp in other digits": {"headers": signed | {"x-fal-webhook-timestamp": "١٢٣"}},
        "timestamp endless": {"headers": signed | {"x-fal-webhook-timestamp": "9" * 5000}},
        "signature not hex": {"headers": signed | {"x-fal-webhook-signature": "zz"}},
        "signature short": {"headers": signed | {"x-fal-webhook-signature": "00"}},
        "body changed": {"headers": signed, "body": door.body.replace(b"OK", b"KO")},
        "body spaced": {"headers": signed, "body": door.body + b" "},
        "other request": unlike(request_id="another"),
        "body of no request": saying(b'{"status": "OK"}'),
        "body no object": saying(b'["request_id"]'),
        "body no JSON": saying(b"{"),
        "body no UTF-8": saying(b'{"request_id": "\xff"}'),
        "body deep": saying(b"[" * 60_000),
        "body twice": saying(b'{"request_id": "x", ' + door.body[1:]),
        "body long": saying(door.body + b" " * 200_000),
        "body empty": saying(b""),
        "job id upper-case": {"pathParameters": path | {"job_id": path["job_id"].upper()}},
        "job id with a line feed": {"pathParameters": path | {"job_id": path["job_id"] + "\n"}},
        "token short": {"pathParameters": path | {"token": TOKEN[:-1]}},
        "token foul": {"pathParameters": path | {"token": "../" + TOKEN[3:]}},
        "no path": {"pathParameters": None},
        "no headers": {"headers": {"x-fal-webhook-signature": ""}},
    }


REFUSALS = (
    *(f"no x-fal-webhook-{name}" for name in ("request-id", "user-id", "timestamp", "signature")),
    "foreign key",
    "foreign user",
    "user by prefix",
    "too old",
    "too early",
    "timestamp changed",
    "timestamp negative",
    "timestamp in words",
    "timestamp in other digits",
    "timestamp endless",
    "signature not hex",
    "signature short",
    "body changed",
    "body spaced",
    "other request",
    "body of no request",
    "body no object",
    "body no JSON",
    "body no UTF-8",
    "body deep",
    "body twice",
    "body long",
    "body empty",
    "job id upper-case",
    "job id with a line feed",
    "token short",
    "token foul",
    "no path",
    "no headers",
)


@pytest.mark.parametrize("wrong", REFUSALS)
def test_whatever_is_wrong_the_answer_is_the_same_401_and_nothing_is_queued(
    door: Door, cloud: Cloud, log: io.StringIO, wrong: str
) -> None:
    changes = refusals(door)[wrong]

    answered = door.knock(**changes)

    assert answered == REFUSED
    assert cloud.verdicts() == []
    assert TOKEN not in log.getvalue()


def test_every_refusal_has_its_own_reason_in_our_log_only(door: Door, log: io.StringIO) -> None:
    for changes in refusals(door).values():
        door.knock(**changes)

    reasons = {json.loads(line)["reason"] for line in log.getvalue().splitlines()}
    assert reasons == {
        "header_missing",
        "signature_invalid",
        "foreign_user_id",
        "timestamp_out_of_tolerance",
        "timestamp_malformed",
        "signature_not_hex",
        "request_id_mismatch",
        "body_malformed",
        "body_too_long",
        "path_malformed",
    }


def test_the_refusals_that_are_tried_are_all_there_are(door: Door) -> None:
    assert tuple(refusals(door)) == REFUSALS


@pytest.mark.parametrize("body", ["***", "YQ", "é"])
def test_a_body_that_claims_to_be_base64_and_is_not_is_refused(door: Door, body: str) -> None:
    answered = door.module.handler(door.event | {"body": body}, door.context)

    assert answered == REFUSED


@pytest.mark.parametrize("body", [None, ""])
def test_a_post_without_a_body_is_refused(door: Door, body: str | None) -> None:
    answered = door.module.handler(
        door.event | {"body": body, "isBase64Encoded": False, "headers": door.signed(b"")},
        door.context,
    )

    assert answered == REFUSED


def test_a_webhook_within_the_tolerance_is_accepted(door: Door) -> None:
    now = int(time.time())
    for timestamp in (now - 290, now + 290):
        headers = door.signed(door.body, timestamp=timestamp)
        assert door.knock(headers=headers)["statusCode"] == 202


def test_a_key_that_fal_added_since_is_fetched_and_forgers_do_not_make_it_a_storm(
    door: Door, internet: Loopback, environment: pytest.MonkeyPatch
) -> None:
    door.knock()
    internet.plays["rest.fal.ai"] = answer(jwks(FOREIGN))
    at = time.monotonic() + 61
    environment.setattr(door.module.build().keys, "_clock", lambda: at)

    answered = [door.knock(headers=door.signed(door.body, key=FOREIGN))["statusCode"]]
    answered += [
        door.knock(headers=door.signed(door.body, key=KEY))["statusCode"] for _ in range(9)
    ]

    assert answered == [202] + [401] * 9
    assert len(internet.seen) == 2


async def _garbage(_: Seen, request: web.Request) -> web.StreamResponse:
    assert request.transport
    request.transport.write(b"\x00\x01garbage\r\n\r\n")
    request.transport.close()
    return web.Response()


async def _half(_: Seen, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(b'{"keys": [')
    cut(request.transport)
    return response


@pytest.mark.parametrize(
    "play",
    [
        answer(jwks(KEY), 500),
        answer(jwks(KEY), 404),
        answer(jwks(KEY), 302, {"Location": "https://evil.example.com/jwks.json"}),
        answer("<html>"),
        answer("[]"),
        answer("{}"),
        answer({"keys": []}),
        answer({"keys": "all"}),
        answer({"keys": [{"x": 7}, None, {"kty": "RSA", "n": "AQAB"}]}),
        answer(json.dumps(jwks(KEY)) + " " * 70_000),
        answer("[" * 60_000),
        vanish,
        _garbage,
        _half,
    ],
    ids=[
        "500",
        "404",
        "redirect",
        "html",
        "list",
        "empty",
        "no keys",
        "keys in words",
        "odd keys",
        "too long",
        "too deep",
        "no answer",
        "garbage",
        "half an answer",
    ],
)
def test_without_keys_no_webhook_is_accepted_and_fal_is_asked_to_try_again(
    door: Door, cloud: Cloud, internet: Loopback, play: Any
) -> None:
    internet.plays["rest.fal.ai"] = play
    internet.plays["evil.example.com"] = answer(jwks(KEY))

    answered = door.knock()

    assert answered == REFUSED | {"statusCode": 503}
    assert cloud.verdicts() == []
    assert internet.requests("evil.example.com") == []
    assert len(internet.requests("rest.alpha.fal.ai")) == 1


def test_where_fals_host_cannot_tell_its_keys_the_older_one_is_asked(
    door: Door, internet: Loopback
) -> None:
    internet.plays["rest.alpha.fal.ai"] = internet.plays["rest.fal.ai"]
    for play in (vanish, answer("", 503), answer({"keys": []}), answer("<html>")):
        internet.plays["rest.fal.ai"] = play
        door.module.build.cache_clear()

        assert door.knock()["statusCode"] == 202

    assert len(internet.requests("rest.alpha.fal.ai")) == 4


@pytest.mark.parametrize("header", [REQUEST_ID, USER_ID, TIMESTAMP, SIGNATURE])
@pytest.mark.parametrize("joined", ["{0},{0}", "{0}, {0}", ", {0}", "{0},"])
def test_a_header_that_is_there_twice_is_refused(
    door: Door, cloud: Cloud, header: str, joined: str
) -> None:
    """HTTP API joins them with commas; none of them is a value that was signed."""
    headers = door.signed(door.body)

    answered = door.knock(headers=headers | {header: joined.format(headers[header])})

    assert (answered, cloud.verdicts()) == (REFUSED, [])


def test_header_names_that_differ_in_case_only_are_one_header_and_nothing_is_let_in_by_it(
    door: Door, cloud: Cloud
) -> None:
    forged = {SIGNATURE.title(): "00" * 64}

    assert door.knock(headers=door.signed(door.body) | forged) == REFUSED
    assert cloud.verdicts() == []


def test_keys_that_cannot_be_refreshed_serve_for_a_day_and_no_longer(
    door: Door, internet: Loopback, environment: pytest.MonkeyPatch
) -> None:
    door.knock()
    start = time.monotonic()
    statuses = []
    for hours, play in enumerate((vanish, _half, _garbage, answer("", 500)), 20):
        internet.plays["rest.fal.ai"] = play
        at = start + hours * 3600
        environment.setattr(door.module.build().keys, "_clock", lambda at=at: at)
        statuses.append(door.knock()["statusCode"])
    asked = len(internet.requests("rest.fal.ai"))
    environment.setattr(door.module.build().keys, "_clock", lambda: start + 25 * 3600)

    statuses.append(door.knock()["statusCode"])

    assert statuses == [202, 202, 202, 202, 503]
    assert asked == 5


@pytest.mark.parametrize(
    "trouble",
    [
        ClientError({"Error": {"Code": "KmsThrottled"}}, "SendMessage"),
        EndpointConnectionError(endpoint_url="https://sqs"),
    ],
)
def test_a_queue_that_cannot_be_reached_is_a_503(
    door: Door, environment: pytest.MonkeyPatch, log: io.StringIO, trouble: Exception
) -> None:
    def fail(**_: Any) -> None:
        raise trouble

    environment.setattr(client("sqs"), "send_message", fail)

    answered = door.knock()

    assert answered == REFUSED | {"statusCode": 503}
    assert TOKEN not in log.getvalue()


def test_what_is_logged_of_a_message_is_its_job_and_nothing_of_its_token_or_body(
    door: Door, log: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    door.knock()
    door.knock(headers=door.signed(door.body, key=FOREIGN))

    out, err = capfd.readouterr()
    printed = log.getvalue() + out + err
    assert "0f343b0931126a20f133d67c2b018a3b" in log.getvalue()
    for secret in (
        TOKEN,
        hash_token(TOKEN),
        "A woman sings",
        "v3.fal.media",
        "17454220438242315174",
    ):
        assert secret not in printed


def test_it_is_counted_what_became_of_webhooks(
    door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    door.knock()
    door.knock(headers=door.signed(door.body, key=FOREIGN))

    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert [set(line) & {"WebhooksAccepted", "WebhooksRefused"} for line in printed] == [
        {"WebhooksAccepted"},
        {"WebhooksRefused"},
    ]
