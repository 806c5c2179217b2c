"""Whatever strangers send, each door answers as it should. ``make fuzz`` looks for longer."""

from __future__ import annotations

import json
import random
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phonoscene.jobs import JobStatus
from phonoscene.workflow.intake import Intake
from tests.security.doors import (
    PROBES,
    Breach,
    WebhookDoor,
    drop_door,
    file_door,
    sidecar_door,
)
from tests.security.fuzz import CORPUS, DOORS
from tests.security.storm import storm
from tests.support.invariants import jobs_of
from tests.support.local_stack import make_picture
from tests.support.media.samples import SOUNDS, sound
from tests.support.scenarios import SOUND

if TYPE_CHECKING:
    from pathlib import Path

FEW = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)


# The webhook ------------------------------------------------------------------------------------


def test_of_thousands_of_forgeries_none_is_believed_and_none_breaks_the_door() -> None:
    found = storm(3_000, seed=1902)

    figures = found.figures()
    assert (found.breaches, figures["accepted"], figures["refused"]) == ([], 0, 3_000)


def test_a_door_that_believes_a_forgery_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from phonoscene.fal.webhook_signature import Claims  # noqa: PLC0415 - patched here alone

    monkeypatch.setattr(Claims, "is_signed_by_any", lambda *_: True)

    assert storm(300, seed=1902).breaches


def test_the_genuine_webhook_that_forgeries_are_made_of_is_let_in() -> None:
    door = WebhookDoor()

    assert door.knock(door.event()) == 202


# The sidecar ------------------------------------------------------------------------------------


@FEW
@given(st.binary(max_size=400) | st.text(max_size=400).map(lambda t: t.encode(errors="replace")))
def test_any_bytes_are_a_sidecar_or_refused_with_words(raw: bytes) -> None:
    assert sidecar_door(raw)


@FEW
@given(st.dictionaries(st.sampled_from(["prompt", "fps", "seed", "video_size", "x"]), JSON) | JSON)
def test_any_json_is_a_sidecar_or_refused_with_words(value: Any) -> None:
    assert sidecar_door(json.dumps(value).encode())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00" * 100,
        b"\xff\xfe{\x00}\x00",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"prompt": "x", "seed": ' + b"9" * 5_000 + b"}",
        b'{"prompt": "x", "fps": 1e400}',
        b'{"prompt": "x", "fps": NaN}',
        b'{"prompt": "x", "prompt": "y"}',
        b'{"prompt": "\\ud83d"}',
        b'{"prompt": "' + b"x" * 70_000 + b'"}',
        b'{"prompt": "x", "__proto__": {}, "constructor": 1}',
        b'{"prompt": "x", "audio_url": "https://evil.example/a.mp3"}',
        b'{"prompt": "x", "image_url": "../../secret.png"}',
        b'{"prompt": "x", "image_url": "https://169.254.169.254/latest/meta-data.png"}',
        b'{"prompt": "x", "image_url": "https://user:pass@fal.media/x.png"}',
        json.dumps([{"prompt": "x"}] * 21).encode(),
    ],
    ids=range(17),
)
def test_a_hostile_sidecar_is_refused(raw: bytes) -> None:
    assert sidecar_door(raw) != "fine"


# Audio and images ------------------------------------------------------------------------------

HEADS = (
    b"",
    b"RIFF\0\0\0\0WAVE",
    b"fLaC",
    b"OggS",
    b"ID3\x04",
    b"\xff\xfb\x90\x64",
    b"\xff\xf1\x50\x80",
    b"\0\0\0\x18ftypM4A ",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"GIF89a",
    b"II*\0",
    b"<svg ",
    b"RIFF\0\0\0\0WEBPVP8X",
    b"\0\0\0\x18ftypavif",
    b"P6 ",
    b"BM",
    b"\0\0\0\x0cjP  \r\n\x87\n",
)


@pytest.mark.parametrize("kind", PROBES)
@FEW
@given(st.sampled_from(HEADS), st.binary(max_size=600))
def test_any_bytes_are_a_file_or_refused_with_words(kind: str, head: bytes, raw: bytes) -> None:
    assert file_door(kind, head + raw)


def test_an_image_that_is_damaged_is_measured_or_refused() -> None:
    chance = random.Random(1902)  # noqa: S311 - repeatable
    whole = make_picture()

    assert "width=320, height=192" in file_door("image", whole)
    for _ in range(100):
        raw = bytearray(whole[: chance.choice((len(whole), 64, 24))])
        for _ in range(chance.choice((0, 1, 8))):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        assert file_door("image", bytes(raw))


@pytest.mark.parametrize("variety", SOUNDS)
def test_a_damaged_file_is_measured_or_refused_with_words(variety: str) -> None:
    chance = random.Random(variety)  # noqa: S311 - repeatable
    whole = sound(variety, 0.5)

    for _ in range(40):
        raw = bytearray(whole[: chance.choice((len(whole), 4096, 512, 64))])
        for _ in range(chance.choice((0, 1, 8))):
            raw[chance.randrange(min(len(raw), 300))] = chance.randrange(256)
        assert file_door("audio", bytes(raw))


BOMBS = {
    "wav that declares 4 GiB": b"RIFF\xff\xff\xff\xffWAVEfmt "
    + struct.pack("<IHHIIHH", 16, 1, 2, 48000, 192000, 4, 16)
    + b"data\xff\xff\xff\xff",
    "wav of endless empty chunks": b"RIFF\xff\xff\xff\xffWAVE" + b"junk\0\0\0\0" * 20_000,
    "wav at 0 Hz": b"RIFF\x24\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 0, 0, 0, 0),
    "flac with a block of 16 MiB": b"fLaC\x04\xff\xff\xff" + b"\0" * 1000,
    "flac of endless blocks": b"fLaC" + b"\x01\0\0\0" * 50_000,
    "id3 that declares 256 MiB": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + b"\0" * 1000,
    "mp4 whose atoms hold each other": b"".join(
        struct.pack(">I4s", 8 * (2_000 - n), b"moov") for n in range(2_000)
    ),
    "mp4 with an atom of no length": struct.pack(">I4s", 0, b"ftyp") + b"\0" * 64,
    "mp4 with an atom of 2^64 bytes": struct.pack(">I4sQ", 1, b"moov", 2**64 - 1),
    "ogg of empty pages": (b"OggS\0\0" + b"\0" * 20 + b"\0") * 20_000,
    "compressed nothing": zlib.compress(b"\0" * 10_000_000),
    "zeros": b"\0" * 1_000_000,
    "adts frames without end": b"\xff\xf1\x50\x80\0\x1f\xfc" * 60_000,
}


#: What is to be read is 4 MiB at most; these are longer.
LONG = 6 * 1024 * 1024
PICTURE_BOMBS = {
    "png that declares 2^31 pixels": b"\x89PNG\r\n\x1a\n"
    + struct.pack(">I4sII", 13, b"IHDR", 2**31 - 1, 2**31 - 1),
    "jpeg without a marker": b"\xff\xd8" + b"\0" * LONG,
    "jpeg of endless fill bytes": b"\xff\xd8" + b"\xff" * LONG,
    "jpeg of endless comments": b"\xff\xd8" + b"\xff\xfe\0\x02" * (LONG // 4),
    "tiff whose directory is at the end": struct.pack("<2sHI", b"II", 42, LONG - 2) + b"\0" * LONG,
    "svg whose tag does not end": b"<svg " + b"a" * LONG,
    "svg of endless attributes": b"<svg " + b'a="b" ' * (LONG // 6),
    "svg of entities in entities": b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "'
    + b"x" * 1000
    + b'"><!ENTITY b "'
    + b"&a;" * 1000
    + b'">]><svg width="&b;" height="1"/>',
    "webp of endless chunks": b"RIFF\xff\xff\xff\xffWEBP" + b"JUNK\0\0\0\0" * (LONG // 8),
    "avif of endless boxes": b"\0\0\0\x18ftypavif\0\0\0\0avifmif1"
    + b"\0\0\0\x08free" * (LONG // 8),
    "zeros": b"\0" * LONG,
}


@pytest.mark.parametrize(
    ("kind", "bomb"),
    [("audio", bomb) for bomb in BOMBS] + [("image", bomb) for bomb in PICTURE_BOMBS],
)
def test_a_header_that_promises_too_much_costs_no_more_than_others(kind: str, bomb: str) -> None:
    assert file_door(kind, {"audio": BOMBS, "image": PICTURE_BOMBS}[kind][bomb])


# A drop under any name --------------------------------------------------------------------------

KEYS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=60
).map(lambda text: text.encode()[:900].decode(errors="ignore")) | st.sampled_from(
    [
        "..",
        "../x",
        "a/../b",
        "/",
        "//",
        "a//b",
        ".hidden",
        "_x",
        "con",
        "a\0b",
        "%2e%2e/x",
        "a" * 990,
    ]
)


@settings(FEW, max_examples=25)
@given(KEYS.filter(bool), st.sampled_from([".wav", ".WAV", ".json", ".wav.json", "", "/song.wav"]))
def test_a_drop_under_any_key_is_ignored_or_has_a_record(key: str, suffix: str) -> None:
    name = key + suffix
    if not 0 < len(name.encode()) <= 1024:
        return

    world = drop_door({name: SOUND if "wav" in suffix.lower() else b'{"prompt": "x"}'}, [])

    assert len(jobs_of(world)) <= 1
    assert {job.status for job in jobs_of(world)} <= {JobStatus.REJECTED, JobStatus.WAITING}


@settings(FEW, max_examples=25)
@given(st.lists(JSON.map(json.dumps) | st.text(max_size=50), min_size=1, max_size=4))
def test_messages_that_no_one_understands_leave_a_real_drop_alone(messages: list[str]) -> None:
    world = drop_door({"a/song.wav": SOUND, "a/song.json": b'{"prompt": "x"}'}, messages)

    assert [job.status for job in jobs_of(world)] == [JobStatus.SUCCEEDED]


# The corpus -------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(CORPUS.rglob("*.bin")), ids=lambda file: file.name)
def test_what_was_once_found_stays_mended(file: Path) -> None:
    DOORS[file.parent.name](file.read_bytes())


def test_a_product_that_stumbles_over_a_key_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(_: Intake, key: str) -> Any:
        raise ValueError(key)

    monkeypatch.setattr(Intake, "_pairings", stumble)

    with pytest.raises(Breach):
        drop_door({"a/song.wav": SOUND}, [])
