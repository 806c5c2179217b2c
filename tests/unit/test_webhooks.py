"""One door to the internet: what fal signed for us a moment ago comes in, and nothing else does."""

from __future__ import annotations

import base64
import http.client
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import example, given
from hypothesis import strategies as st

from phonoscene.errors import AddressRefused, SigningKeysUnavailable, WebhookRefused
from phonoscene.fal import signing_keys
from phonoscene.fal.signing_keys import SigningKeys
from phonoscene.fal.webhook_message import WebhookMessage, hash_token, new_token
from phonoscene.fal.webhook_signature import Claims, public_keys, sign, signed_message
from phonoscene.workflow.receiving import Post, receive

if TYPE_CHECKING:
    from urllib.parse import SplitResult

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NEXT_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
FOREIGN_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))

NOW = 1_795_348_800
USER = "github|12345"
REQUEST = "a1b2c3d4-0000-4000-8000-000000000001"
JOB = "0123456789abcdef" * 2
TOKEN = "t" * 43
BODY = (
    b'{"error": null, "gateway_request_id": "a1b2c3d4-0000-4000-8000-000000000001", "payload": '
    b'{"prompt": "caf\xc3\xa9", "seed": 17454220438242315174, '
    b'"video": {"url": "https://v3b.fal.media/files/b/1/a.mp4"}}, '
    b'"request_id": "a1b2c3d4-0000-4000-8000-000000000001", "status": "OK"}'
)

ID = "x-fal-webhook-request-id"
USER_ID = "x-fal-webhook-user-id"
TIMESTAMP = "x-fal-webhook-timestamp"
SIGNATURE = "x-fal-webhook-signature"
HEADERS = (ID, USER_ID, TIMESTAMP, SIGNATURE)


def x_of(key: Ed25519PrivateKey) -> str:
    raw = key.public_key().public_bytes_raw()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def key_set(*keys: Ed25519PrivateKey) -> dict[str, Any]:
    return {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x_of(key)} for key in keys]}


class Jwks:
    """fal's key set, in memory: what it serves may change or fail; ``asked`` counts."""

    def __init__(self, *keys: Ed25519PrivateKey) -> None:
        self.answer: Any = key_set(*keys)
        self.asked = 0
        self.now = 0.0

    def fetch(self) -> dict[str, Any]:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return dict(self.answer)

    def signing_keys(self) -> SigningKeys:
        return SigningKeys(self.fetch, lambda: self.now)


def post(
    body: bytes = BODY,
    *,
    key: Ed25519PrivateKey = KEY,
    user: str = USER,
    request: str = REQUEST,
    **changes: Any,
) -> Post:
    """What fal would POST."""
    genuine = Post(JOB, TOKEN, sign(key, request, user, NOW, body), body, NOW)
    return replace(genuine, **changes)


def with_header(name: str, value: str | None) -> Post:
    headers = {**post().headers, name: value}
    return post(headers={name: value for name, value in headers.items() if value is not None})


def reason(refused: Post, keys: SigningKeys | None = None, user: str = USER) -> str:
    """Why it is refused."""
    with pytest.raises(WebhookRefused) as caught:
        receive(refused, keys or Jwks(KEY).signing_keys(), user)
    return caught.value.reason


# The signature scheme

#: RFC 8032, 7.1, TEST 1 to 3: secret key, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]


@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC_8032)
def test_keys_of_a_key_set_verify_the_vectors_of_rfc_8032(
    secret: str, public: str, message: str, signature: str
) -> None:
    x = base64.urlsafe_b64encode(bytes.fromhex(public)).decode().rstrip("=")

    [key] = public_keys({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]})

    key.verify(bytes.fromhex(signature), bytes.fromhex(message))
    signer = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    assert signer.sign(bytes.fromhex(message)).hex() == signature
    with pytest.raises(InvalidSignature):
        key.verify(bytes.fromhex(signature), bytes.fromhex(message) + b"!")


def test_what_is_signed_are_four_lines_without_a_line_feed_at_the_end() -> None:
    message = signed_message("request", "github|1", "1795348800", b"{}")

    assert message == (
        b"request\ngithub|1\n1795348800\n"
        b"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )


def test_a_genuine_post_becomes_a_message_with_the_signed_text_byte_for_byte() -> None:
    message = receive(post(), Jwks(KEY).signing_keys(), USER)

    assert message == WebhookMessage(JOB, hash_token(TOKEN), REQUEST, BODY.decode())
    assert message.body.encode() == BODY


def test_a_message_survives_its_queue() -> None:
    message = receive(post(), Jwks(KEY).signing_keys(), USER)

    assert WebhookMessage.read(json.loads(message.to_message())) == message
    assert TOKEN not in message.to_message()


#: What SQS takes in a message (SendMessage, in its API reference).
SQS_TAKES = re.compile("[\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("a prompt with \ufffe and \uffff and \x0b")
def test_a_webhook_of_any_text_is_a_message_that_sqs_takes(body: str) -> None:
    message = WebhookMessage(JOB, hash_token(TOKEN), REQUEST, body)

    assert SQS_TAKES.fullmatch(message.to_message())
    assert WebhookMessage.read(json.loads(message.to_message())) == message


@given(
    st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=3),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40),
    st.integers(-300, 300),
)
def test_whatever_fal_signs_for_us_is_let_in(payload: dict[str, Any], user: str, skew: int) -> None:
    body = json.dumps({"request_id": REQUEST, "payload": payload}).encode()

    message = receive(post(body, user=user, at=NOW + skew), Jwks(KEY).signing_keys(), user)

    assert message.body.encode() == body


# One thing altered


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("value", [None, ""], ids=["missing", "empty"])
def test_a_post_without_one_of_the_headers_is_refused(name: str, value: str | None) -> None:
    assert reason(with_header(name, value)) == "header_missing"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (ID, "a1b2c3d4-0000-4000-8000-000000000002", "signature_invalid"),
        (ID, REQUEST + " ", "signature_invalid"),
        (ID, REQUEST.upper(), "signature_invalid"),
        (USER_ID, "github|54321", "signature_invalid"),
        (TIMESTAMP, str(NOW + 1), "signature_invalid"),
        (TIMESTAMP, "0" + str(NOW), "signature_invalid"),
        (SIGNATURE, "00" * 64, "signature_invalid"),
        (SIGNATURE, "00", "signature_invalid"),
        (SIGNATURE, post().headers[SIGNATURE] + "00", "signature_invalid"),
        (SIGNATURE, post().headers[SIGNATURE][:-2], "signature_invalid"),
        (SIGNATURE, post().headers[SIGNATURE][:-1], "signature_not_hex"),
        (SIGNATURE, "0x" + post().headers[SIGNATURE], "signature_not_hex"),
        (SIGNATURE, "zz" * 64, "signature_not_hex"),
        (SIGNATURE, "٣" * 128, "signature_not_hex"),
    ],
)
def test_a_post_with_an_altered_header_is_refused(name: str, value: str, expected: str) -> None:
    assert reason(with_header(name, value)) == expected


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("value", ["\ud800", "\x00", "ü", "a\nb", "\udcff\udcfe"])
def test_no_text_in_a_header_is_more_than_a_refusal(name: str, value: str) -> None:
    assert reason(with_header(name, value))


@pytest.mark.parametrize("bit", range(0, 8 * 64, 13))
def test_a_signature_with_any_bit_flipped_is_refused(bit: int) -> None:
    flipped = bytearray.fromhex(post().headers[SIGNATURE])
    flipped[bit // 8] ^= 1 << bit % 8

    assert reason(with_header(SIGNATURE, flipped.hex())) == "signature_invalid"


@pytest.mark.parametrize("bit", range(0, 8 * len(BODY), 97))
def test_a_body_with_any_bit_flipped_is_refused(bit: int) -> None:
    flipped = bytearray(BODY)
    flipped[bit // 8] ^= 1 << bit % 8

    assert reason(post(headers=post().headers, body=bytes(flipped))) == "signature_invalid"


@pytest.mark.parametrize(
    "body",
    [b"", BODY + b" ", BODY + b"\n", b" " + BODY, BODY[:-1], json.dumps(json.loads(BODY)).encode()],
)
def test_a_body_that_is_not_the_signed_bytes_is_refused(body: bytes) -> None:
    assert reason(post(headers=post().headers, body=body)) == "signature_invalid"


def test_a_post_signed_with_another_key_is_refused() -> None:
    assert reason(post(key=FOREIGN_KEY)) == "signature_invalid"


def test_a_signature_over_parts_that_only_join_to_the_same_text_is_refused() -> None:
    headers = sign(KEY, f"{REQUEST}\n{USER}", USER, NOW, BODY)

    assert reason(post(headers={**headers, ID: REQUEST})) == "signature_invalid"


@pytest.mark.parametrize("skew", [-300, -299.5, 0, 299.5, 300])
def test_a_timestamp_of_at_most_300_seconds_before_or_after_is_fresh(skew: float) -> None:
    assert receive(post(at=NOW + skew), Jwks(KEY).signing_keys(), USER)


@pytest.mark.parametrize("skew", [-301, -300.5, 300.5, 301, 86400])
def test_a_timestamp_beyond_300_seconds_is_refused(skew: float) -> None:
    assert reason(post(at=NOW + skew)) == "timestamp_out_of_tolerance"


@pytest.mark.parametrize(
    "timestamp",
    [
        "1e3",
        "+5",
        "-5",
        " 5",
        "5 ",
        "٣",
        "²",
        "1.0",
        "0x5",
        "1_000",
        "now",
        "null",
        "\n",
        "9" * 13,
        "9" * 5000,
    ],
)
def test_a_timestamp_that_is_not_plain_digits_is_refused(timestamp: str) -> None:
    assert reason(with_header(TIMESTAMP, timestamp)) == "timestamp_malformed"


@pytest.mark.parametrize("user", ["github|1234", "github|123456", "GitHub|12345", "google|12345"])
def test_a_genuine_post_for_another_customer_is_refused(user: str) -> None:
    assert reason(post(user=user)) == "foreign_user_id"


def test_without_a_pinned_user_any_customer_is_let_in() -> None:
    assert receive(post(user="google|1"), Jwks(KEY).signing_keys(), "")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"request_id": "another"}', "request_id_mismatch"),
        (b'{"request_id": null}', "request_id_mismatch"),
        (b'{"request_id": 1}', "request_id_mismatch"),
        (b'{"gateway_request_id": "x"}', "request_id_mismatch"),
        (b"{}", "request_id_mismatch"),
        (b"[]", "request_id_mismatch"),
        (b"null", "request_id_mismatch"),
        (b'"' + REQUEST.encode() + b'"', "request_id_mismatch"),
        (b"", "body_malformed"),
        (b"{", "body_malformed"),
        (b"\xff", "body_malformed"),
        (BODY[:-1] + b', "status": "ERROR"}', "body_malformed"),
        (BODY[:-1] + b', "request_id": "' + REQUEST.encode() + b'"}', "body_malformed"),
        (BODY[:-1] + b', "a": {"b": 1, "b": 1}}', "body_malformed"),
        (BODY[:-1] + b', "a": ' + b"9" * 5000 + b"}", "body_malformed"),
        (BODY[:-1] + b', "a": ' + b"[" * 60_000 + b"]" * 60_000 + b"}", "body_malformed"),
        (BODY[:-1] + b', "a": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001, "body_malformed"),
    ],
)
def test_a_signed_body_that_does_not_name_its_request_once_is_refused(
    body: bytes, expected: str
) -> None:
    assert reason(post(body)) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + BODY,
        *(
            BODY[:-1] + b', "a": ' + odd + b"}"
            for odd in (b"NaN", b"-Infinity", b'"\\ud83c"', b'"\xed\xa0\xbc"')
        ),
    ],
)
def test_what_is_odd_and_harmless_in_a_signed_body_passes(body: bytes) -> None:
    message = receive(post(body), Jwks(KEY).signing_keys(), USER)

    assert WebhookMessage.read(json.loads(message.to_message())) == message


@pytest.mark.parametrize(
    ("length", "expected"), [(131_072, "body_malformed"), (131_073, "body_too_long")]
)
def test_a_body_of_more_than_128_kib_is_refused_before_any_cryptography(
    length: int, expected: str
) -> None:
    jwks = Jwks(KEY)

    assert reason(post(b"x" * length), jwks.signing_keys()) == expected
    assert jwks.asked == (expected != "body_too_long")


@pytest.mark.parametrize(
    "job_id",
    [
        "",
        "0",
        JOB[:-1],
        JOB + "0",
        JOB.upper(),
        JOB[:-1] + "g",
        JOB + "\n",
        "../" + JOB[3:],
        "٣" * 32,
    ],
)
def test_a_path_whose_job_id_is_none_of_ours_is_refused(job_id: str) -> None:
    assert reason(post(job_id=job_id)) == "path_malformed"


@pytest.mark.parametrize(
    "token",
    ["", TOKEN[:-1], TOKEN + "t", TOKEN[:-1] + "=", TOKEN[:-1] + "/", TOKEN + "\n", "ü" * 43],
)
def test_a_path_whose_token_is_none_of_ours_is_refused(token: str) -> None:
    assert reason(post(token=token)) == "path_malformed"


def test_a_new_token_fits_the_path_and_is_another_each_time() -> None:
    tokens = {new_token() for _ in range(100)}

    assert len(tokens) == 100
    assert all(receive(post(token=token), Jwks(KEY).signing_keys(), USER) for token in tokens)


def test_a_token_is_kept_as_its_sha256() -> None:
    assert hash_token("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_hopeless_post_costs_no_fetch_of_the_keys() -> None:
    jwks = Jwks(KEY)
    hopeless = [
        post(token="x"),
        with_header(SIGNATURE, None),
        with_header(SIGNATURE, "zz"),
        with_header(TIMESTAMP, "1e3"),
        post(at=NOW + 301),
    ]

    for refused in hopeless:
        reason(refused, jwks.signing_keys())

    assert jwks.asked == 0


# The key set


@pytest.mark.parametrize("padding", ["", "="])
def test_a_key_is_read_with_and_without_padding(padding: str) -> None:
    jwks = Jwks()
    jwks.answer = {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x_of(KEY) + padding}]}

    assert receive(post(), jwks.signing_keys(), USER)


def test_where_the_first_host_leads_inside_the_second_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def get(url: SplitResult, *_: float) -> bytes:
        if url.netloc == "rest.fal.ai":
            raise AddressRefused
        return json.dumps(key_set(KEY)).encode()

    monkeypatch.setattr(signing_keys, "get", get)

    assert receive(post(), SigningKeys(), USER)


def test_a_key_that_names_no_curve_is_read() -> None:
    """fal's own example of a check reads nothing but ``x``."""
    [key] = public_keys({"keys": [{"x": x_of(KEY)}]})

    assert key.public_bytes_raw() == KEY.public_key().public_bytes_raw()


@pytest.mark.parametrize(
    "entry",
    [
        None,
        1,
        "key",
        [],
        {},
        {"x": None},
        {"x": 1},
        {"x": ""},
        {"x": "AAAA"},
        {"x": "ü" * 43},
        {"x": "!" * 43},
        {"x": "A" * 42},
        {"x": "A" * 86},
        {"x": x_of(FOREIGN_KEY), "crv": "X25519"},
        {"x": x_of(FOREIGN_KEY), "crv": None},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
    ],
)
def test_a_broken_entry_is_passed_over_and_its_neighbours_are_kept(entry: Any) -> None:
    keys = public_keys({"keys": [entry, *key_set(KEY)["keys"], entry]})

    assert [key.public_bytes_raw() for key in keys] == [KEY.public_key().public_bytes_raw()]


@pytest.mark.parametrize("answer", [{}, {"keys": None}, {"keys": {}}, {"keys": "x"}, {"keys": []}])
def test_a_key_set_without_keys_verifies_nothing(answer: dict[str, Any]) -> None:
    jwks = Jwks()
    jwks.answer = answer

    with pytest.raises(SigningKeysUnavailable):
        receive(post(), jwks.signing_keys(), USER)


@pytest.mark.parametrize("order", [(KEY, NEXT_KEY), (NEXT_KEY, KEY), (FOREIGN_KEY, NEXT_KEY, KEY)])
def test_each_key_of_the_set_is_tried(order: tuple[Ed25519PrivateKey, ...]) -> None:
    assert receive(post(), Jwks(*order).signing_keys(), USER)


def test_keys_are_fetched_once_for_many_posts() -> None:
    jwks = Jwks(KEY)
    keys = jwks.signing_keys()

    for second in range(3600):
        jwks.now = second
        assert keys.known()

    assert jwks.asked == 1


def test_a_rotated_key_is_fetched_when_the_first_post_that_it_signed_arrives() -> None:
    jwks = Jwks(KEY)
    keys = jwks.signing_keys()
    receive(post(), keys, USER)
    jwks.answer = key_set(KEY, NEXT_KEY)
    jwks.now = 61

    rotated = receive(post(key=NEXT_KEY), keys, USER)

    assert rotated
    assert receive(post(), keys, USER)
    assert jwks.asked == 2


def test_a_withdrawn_key_is_believed_no_longer_than_an_hour() -> None:
    jwks = Jwks(KEY)
    keys = jwks.signing_keys()
    receive(post(), keys, USER)
    jwks.answer = key_set(NEXT_KEY)
    jwks.now = 3601

    assert reason(post(), keys) == "signature_invalid"


def test_forgers_make_the_keys_be_fetched_once_a_minute_at_most() -> None:
    jwks = Jwks(KEY)
    keys = jwks.signing_keys()

    for second in range(600):
        jwks.now = second
        assert reason(post(key=FOREIGN_KEY), keys) == "signature_invalid"

    assert jwks.asked == 10


FAILURES = [
    OSError("unreachable"),
    TimeoutError(),
    ConnectionResetError(),
    ValueError("not JSON"),
    RecursionError(),
    http.client.IncompleteRead(b""),
    http.client.BadStatusLine(""),
    http.client.RemoteDisconnected(""),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_no_webhook_is_verified_while_there_is_no_key_and_the_next_try_is_soon(
    failure: Exception,
) -> None:
    jwks = Jwks(KEY)
    genuine, jwks.answer = jwks.answer, failure
    keys = jwks.signing_keys()

    for second in (0, 1, 4):
        jwks.now = second
        with pytest.raises(SigningKeysUnavailable):
            receive(post(), keys, USER)

    jwks.now, jwks.answer = 5, genuine
    assert receive(post(), keys, USER)
    assert jwks.asked == 2


@pytest.mark.parametrize(
    "failure", [*FAILURES, {"keys": []}], ids=lambda failure: type(failure).__name__
)
def test_old_keys_serve_for_a_day_while_fal_cannot_be_asked(failure: Any) -> None:
    jwks = Jwks(KEY)
    keys = jwks.signing_keys()
    receive(post(), keys, USER)
    jwks.answer = failure

    for hour in range(1, 24):
        jwks.now = hour * 3600 + 1
        assert receive(post(), keys, USER)

    jwks.now = 24 * 3600
    with pytest.raises(SigningKeysUnavailable):
        receive(post(), keys, USER)


def test_refresh_tells_whether_the_keys_are_others() -> None:
    jwks = Jwks(KEY)
    keys = jwks.signing_keys()

    shown = [keys.refresh()]
    for minute, answer in enumerate(
        [
            key_set(KEY),
            key_set(KEY, NEXT_KEY),
            key_set(NEXT_KEY, KEY),
            {},
            key_set(NEXT_KEY),
            key_set(KEY),
        ],
        1,
    ):
        jwks.now, jwks.answer = minute * 60.0, answer
        shown.append(keys.refresh())

    assert shown == [True, False, True, False, False, True, True]


def test_a_claim_is_checked_against_public_keys_only() -> None:
    claims = Claims.from_headers(post().headers)
    keys = [Ed25519PublicKey.from_public_bytes(KEY.public_key().public_bytes_raw())]

    assert claims.is_signed_by_any(keys, BODY)
    assert not claims.is_signed_by_any([], BODY)
