"""The parts of the fal simulator that need no process: rules, ranges, targets, vocabulary."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from local.fal_simulator import webhooks
from local.fal_simulator.config import Config, parse
from local.fal_simulator.dial import Dialer, RefusedTargetError, UnreachableTargetError
from local.fal_simulator.faults.fault_dial import ACTIONS, FORMS, FaultDial, InvalidFaultError
from local.fal_simulator.hosts.cdn import BigBlob, UnsatisfiableRangeError, head_of, span_of
from local.fal_simulator.jobs import Places, Request
from local.fal_simulator.outcomes import success
from local.fal_simulator.redaction import without_signatures, without_token
from local.fal_simulator.schema import Inputs
from local.fal_simulator.signing import Signer, SigningKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "fal-simulator.md"
EVERY_ACTION = [(stage, action) for stage in ACTIONS for action in ACTIONS[stage]]
WORTH = {
    "seconds": 1,
    "code": 500,
    "bytes": 9,
    "bytes_per_second": 9,
    "location": "https://x/",
    "width": 640,
    "height": 360,
    "frames": 9,
    "units": 0.5,
    "connections": 3,
}


def a_config(**changes: Any) -> Config:
    nowhere = Path("nowhere")
    needed: dict[str, Any] = {
        "certificate": nowhere,
        "private_key": nowhere,
        "ca_bundle": nowhere,
        "emulator_port": 1,
        "fal_key": "k",
        "user_id": "u",
    }
    return Config(**needed | changes)


# rules


@pytest.mark.parametrize(("stage", "action"), EVERY_ACTION)
def test_every_action_is_accepted_with_what_it_needs_and_only_with_that(
    stage: str, action: str
) -> None:
    rule: dict[str, Any] = {"stage": stage, "action": action}
    needed = [name for name, required in ACTIONS[stage][action].items() if required]
    worth = {name: worth_of(name, stage, action) for name in needed}

    assert FaultDial(None).add(rule | worth)
    if needed:
        with pytest.raises(InvalidFaultError, match=f"{stage}/{action} needs {needed[0]}"):
            FaultDial(None).add(rule)
    stray = "count" if "user_id" in ACTIONS[stage][action] else "user_id"
    with pytest.raises(InvalidFaultError, match=f"{stage}/{action} does not take {stray}"):
        FaultDial(None).add(rule | worth | {stray: "1"})


def worth_of(name: str, stage: str, action: str) -> Any:
    return FORMS[stage, action][0] if name == "form" else WORTH[name]


@pytest.mark.parametrize(("stage", "action"), FORMS)
def test_every_form_of_an_action_is_accepted_and_no_other(stage: str, action: str) -> None:
    rule = {"stage": stage, "action": action}

    for form in FORMS[stage, action]:
        assert FaultDial(None).add(rule | {"form": form})
    with pytest.raises(InvalidFaultError, match="has no form 'round'"):
        FaultDial(None).add(rule | {"form": "round"})


def test_every_action_with_a_form_says_which_there_are() -> None:
    with_forms = {
        (stage, action) for stage, action in EVERY_ACTION if "form" in ACTIONS[stage][action]
    }

    assert with_forms == FORMS.keys()


def test_the_page_names_every_form() -> None:
    page = PAGE.read_text()

    named = {form for forms in FORMS.values() for form in forms}
    assert {form for form in named if f"`{form}`" not in page} == set()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"stage": "lunch", "action": "x"}, "the stages are submit, queue"),
        ({"stage": "queue", "action": "x"}, "it has delay, expire"),
        ({"stage": "queue", "action": "expire", "times": 0}, "times"),
        ({"stage": "queue", "action": "expire", "probability": 2}, "probability"),
        ({"stage": "queue", "action": "delay", "seconds": -1}, "negative"),
        ({"stage": "keys", "action": "empty", "match": {}}, "no match"),
        ({"stage": "storage", "action": "expired", "match": {}}, "no match"),
        ({"stage": "requests", "action": "error_ok", "match": {}}, "no match"),
        ({"stage": "cdn", "action": "drip", "seconds": -1}, "negative"),
        ({"stage": "cdn", "action": "limit", "connections": 0}, "connections"),
        ({"stage": "submit", "action": "foreign_urls", "scheme": "ftp"}, "'http' or 'https'"),
        ({"stage": "status", "action": "drip", "seconds": 1, "part": "tail"}, "'body' or 'all'"),
        ({"stage": "storage", "action": "drop", "call": "list"}, "'token' or 'upload'"),
        ({"stage": "render", "action": "error", "status": "OK"}, "HTTP status code"),
        ({"stage": "render", "action": "error", "status": 200}, "400-599"),
        ({"stage": "webhook", "action": "payload_error", "status": 404}, "OK or ERROR"),
        ({"stage": "render", "action": "bigger_video", "width": 0, "height": 9}, "width"),
        ({"stage": "render", "action": "longer_video", "frames": 0}, "frames"),
        ({"stage": "render", "action": "bill", "units": -1}, "units"),
        ({"stage": "queue"}, "action"),
        ({"stage": "queue", "action": "expire", "speed": 1}, "speed: no rule has this field"),
        ("never", "dictionary"),
    ],
)
def test_a_senseless_rule_is_refused_with_the_reason(rule: Any, message: str) -> None:
    with pytest.raises(InvalidFaultError, match=message):
        FaultDial(None).add(rule)


def test_a_rule_strikes_as_often_as_it_says_and_the_next_one_follows() -> None:
    dial = FaultDial(None)
    dial.add(
        [
            {"stage": "queue", "action": "expire", "times": 2},
            {"stage": "queue", "action": "delay", "seconds": 1, "times": None},
        ]
    )

    taken = [dial.take("queue") for _ in range(5)]

    assert [fault and fault.action for fault in taken] == ["expire"] * 2 + ["delay"] * 3


def test_chance_is_repeatable_with_a_seed() -> None:
    def struck(seed: int) -> list[bool]:
        dial = FaultDial(seed)
        dial.add({"stage": "queue", "action": "expire", "times": None, "probability": 0.2})
        return [dial.take("queue") is not None for _ in range(1000)]

    assert struck(1) == struck(1) != struck(2)
    assert 150 < sum(struck(1)) < 250


def test_a_rule_about_one_request_leaves_the_others_alone() -> None:
    dial = FaultDial(None)
    dial.add({"stage": "cdn", "action": "no_ranges", "match": {"request_id": "mine"}})

    assert dial.take("cdn", request_id="other") is None
    assert dial.take("cdn", request_id="mine") is not None


# the page for people


def test_the_page_names_every_action_and_every_option() -> None:
    page = PAGE.read_text()
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.MULTILINE)
    options = re.findall(r"^\| `(--[\w-]+)`", page, re.MULTILINE)

    assert rows == EVERY_ACTION
    declared = [f"--{name.replace('_', '-')}" for name in Config.__dataclass_fields__]
    assert sorted(options) == sorted(declared)


def test_the_command_line_has_small_defaults() -> None:
    words = [
        "--proxy-port=0",
        "--control-port=0",
        "--certificate=c",
        "--private-key=k",
        "--ca-bundle=b",
        "--emulator-port=1",
        "--fal-key=k",
        "--user-id=u",
    ]

    config = parse(words)

    assert (config.concurrency, config.run_seconds, config.result_lifetime) == (2, 0.2, 3600)
    for wrong in ("--concurrency=0", "--run-seconds=-1", "--retry-seconds=inf"):
        with pytest.raises(SystemExit):
            parse([*words, wrong])


def test_a_result_of_ten_kilobytes_is_kept_for_a_tenth_of_the_time() -> None:
    assert a_config().lifetime_of(10_239) == 3600
    assert a_config().lifetime_of(10_240) == 360


# ranges and big files


@pytest.mark.parametrize(
    ("header", "first", "length", "partial"),
    [
        (None, 0, 100, False),
        ("bytes=0-0", 0, 1, True),
        ("bytes=90-", 90, 10, True),
        ("bytes=90-500", 90, 10, True),
        ("bytes=-5", 95, 5, True),
        ("bytes=-500", 0, 100, True),
        ("bytes=0-1,5-6", 0, 100, False),
        ("bytes=-", 0, 100, False),
        ("items=0-1", 0, 100, False),
    ],
)
def test_a_range_is_read_as_http_says(
    header: str | None, first: int, length: int, partial: bool
) -> None:
    span = span_of(header, 100)

    assert (span.first, span.length, span.partial) == (first, length, partial)


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=5-4", "bytes=-0"])
def test_a_range_that_holds_nothing_is_unsatisfiable(header: str) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        span_of(header, 100)


@given(st.integers(0, 3_000_000), st.integers(0, 50), st.integers(0, 50))
def test_a_big_file_is_the_same_however_it_is_cut(offset: int, first: int, second: int) -> None:
    blob = BigBlob(2_500_000, head_of("mp4", 2_500_000))

    whole = blob.read(offset, first + second)

    assert whole == blob.read(offset, first) + blob.read(offset + first, second)
    assert len(whole) == max(0, min(first + second, blob.size - offset))


# where calls may lead


def test_only_the_emulator_is_ever_dialled(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")

    async def check() -> None:
        dialer = Dialer(4566, tmp_path / "ca.pem")
        virtual = dialer.media("https://drop.s3.us-east-1.amazonaws.com/a%20b.wav?X=%2F")
        assert str(virtual.url) == "https://127.0.0.1:4566/a%20b.wav?X=%2F"
        assert virtual.host == virtual.server_name == "drop.s3.us-east-1.amazonaws.com"
        assert dialer.media("https://drop.localhost:4566/a").host == "drop.localhost:4566"
        hook = dialer.webhook("https://ab12.execute-api.eu-west-1.amazonaws.com/hook/t")
        assert hook.host == "ab12.execute-api.localhost:4566"
        for url in ("https://169.254.169.254/", "https://evil.com/", "https://xamazonaws.com/"):
            with pytest.raises(UnreachableTargetError):
                dialer.media(url)
        for url in ("https://169.254.169.254/", "https://[::1]/", "https://x.internal/"):
            with pytest.raises(RefusedTargetError):
                dialer.webhook(url)
        with pytest.raises(UnreachableTargetError):
            dialer.webhook("https://evil.com/x.execute-api.eu-west-1.amazonaws.com")
        await dialer.close()

    asyncio.run(check())


def test_a_shown_url_keeps_its_path_and_loses_its_secrets() -> None:
    shown = without_signatures({"a": ["https://h/p?sig=1", "plain?"], "b": {"c": "http://h/p"}})

    assert shown == {"a": ["https://h/p?…", "plain?"], "b": {"c": "http://h/p"}}
    assert without_token("https://u:p@h/webhooks/j/token?x=1") == "https://h/webhooks/j/…"


# waiting and delivering


def test_a_slot_given_to_someone_who_leaves_in_that_moment_is_not_lost() -> None:
    async def check() -> None:
        slots = Places(1)
        await slots.take(0)
        waiting = asyncio.create_task(slots.take(0))
        await asyncio.sleep(0)
        slots.give_back()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(slots.take(0), 1)

    asyncio.run(check())


class SilentDialer:
    """No one answers; remembers how long was waited for."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def webhook(self, _: str) -> None:
        return

    @asynccontextmanager
    async def open(self, *_: Any, timeout: float, **__: Any) -> AsyncIterator[None]:  # noqa: ASYNC109 - the dialer's signature
        self.waited.append(timeout)
        raise TimeoutError
        yield


def test_a_silent_receiver_is_tried_31_times_first_for_15_seconds_then_for_120() -> None:
    async def check() -> tuple[SilentDialer, Request]:
        dialer, config = SilentDialer(), a_config(retry_seconds=0)
        deliverer = webhooks.Deliverer(config, cast("Dialer", dialer), Signer("u"), FaultDial(None))
        inputs = Inputs(prompt="x", audio_url="https://h/a")
        request = Request(arguments={}, inputs=inputs, headers={}, webhook_url="https://h/")
        request.outcome, request.expires_at = success({}, 1), 2.0**40
        await deliverer._deliver(request)
        return dialer, request

    dialer, request = asyncio.run(check())

    assert dialer.waited == [15] + [120] * 30
    assert {one["kind"] for one in request.deliveries} == {"timeout"}


def test_a_restarted_simulator_signs_with_the_same_key_which_only_its_owner_may_read(
    tmp_path: Path,
) -> None:
    file = tmp_path / "signing-key"

    first, second = SigningKey.kept(file), SigningKey.kept(file)

    assert first.jwk(padded=False) == second.jwk(padded=False)
    assert first.jwk(padded=False) != SigningKey.kept(tmp_path / "another").jwk(padded=False)
    assert file.stat().st_mode & 0o777 == 0o600
