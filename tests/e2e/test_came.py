"""What came against what was asked, on the deployed stack."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from tests.e2e.command_line import json_of, output_of
from tests.support import schemas
from tests.support.local_stack import eventually, listening, make_audio
from tests.support.records import unexplained

if TYPE_CHECKING:
    from tests.support.local_stack import Phonoscene

#: One second of sound is 25 frames at most: one megapixel, $0.001205.
SMALL = {"video_size": {"width": 64, "height": 64}}
RESERVED = "$0.0013 was reserved."
DIFFERS = "The video differs from the request: "
BIGGER: dict[str, Any] = {"action": "bigger_video", "width": 640, "height": 360}
LONGER: dict[str, Any] = {"action": "longer_video", "frames": 500}
BILLED: dict[str, Any] = {"action": "bill", "units": 9.25}


@pytest.mark.parametrize(
    ("fault", "is_fetched", "notes", "usd"),
    [
        (
            BIGGER,
            False,
            [
                f"fal reports 640x360x24 frames: up to $0.0073, {RESERVED}",
                f"{DIFFERS}asked 64x64 pixels, got 640x360.",
            ],
            0.0073,
        ),
        (
            LONGER,
            False,
            [
                f"fal reports 64x64x500 frames: up to $0.0037, {RESERVED}",
                f"{DIFFERS}asked 24 frames, got 500.",
            ],
            0.0037,
        ),
        (BILLED, True, [f"fal bills 9.25 megapixels: up to $0.0112, {RESERVED}"], 0.0112),
    ],
)
def test_more_than_was_reserved_is_noted_and_counted(
    phonoscene: Phonoscene,
    name: str,
    fault: dict[str, Any],
    is_fetched: bool,
    notes: list[str],
    usd: float,
) -> None:
    before = unexplained(phonoscene)
    prompt = phonoscene.sidecar(f"{name}.json", **SMALL)
    phonoscene.fault(prompt, "render", **fault)
    if is_fetched:
        phonoscene.fault(prompt, "webhook", "payload_error", status="OK")
    with listening(phonoscene) as listener:
        phonoscene.put(f"{name}.wav", make_audio("wav"))
        job = phonoscene.take(name)
        assert eventually(lambda: any(e["status"] == "SUCCEEDED" for e in listener.events(name)))
    assert eventually(lambda: phonoscene.is_told(name))

    receipt = phonoscene.receipt(name)
    assert job["status"] == "SUCCEEDED"
    assert receipt["notes"] == notes
    assert receipt["cost"]["billed_usd" if is_fetched else "delivered_usd"] == usd
    assert (receipt["cost"]["upper_usd"], receipt["actual"]["upper_usd"]) == (0.0013, usd)
    event = listener.heard_of(name)[-1]
    assert (event["notes"], event["actual"]) == (receipt["notes"], receipt["actual"])
    jsonschema.validate(event, schemas.closed(schemas.published()))
    assert notes[0] in output_of("show", name)
    assert json_of("jobs", "--name", name)[0]["actual"]["upper_usd"] == usd
    (group,) = [one for one in json_of("cost", "--by", "name")["groups"] if one["group"] == name]
    assert (group["videos"], group["upper_usd"], group["reserved_usd"]) == (1, usd, 0)
    assert eventually(lambda: unexplained(phonoscene) == before)


def test_less_than_was_reserved_is_given_back(phonoscene: Phonoscene, name: str) -> None:
    before = unexplained(phonoscene)
    prompt = phonoscene.sidecar(f"{name}.json")
    phonoscene.fault(prompt, "render", "bigger_video", width=64, height=64)
    phonoscene.put(f"{name}.wav", make_audio("wav"))

    job = phonoscene.take(name)

    assert (job["estimate"]["upper_usd"], job["actual"]["upper_usd"]) == (
        Decimal("0.0181"),
        Decimal("0.0013"),
    )
    assert eventually(lambda: phonoscene.is_told(name))
    assert phonoscene.receipt(name)["notes"] == [f"{DIFFERS}asked 1024x576 pixels, got 64x64."]
    (group,) = [one for one in json_of("cost", "--by", "name")["groups"] if one["group"] == name]
    assert group["upper_usd"] == 0.0013
    assert eventually(lambda: unexplained(phonoscene) == before)
    manifest = phonoscene.s3.get_object(
        Bucket=phonoscene.endpoints.output_bucket, Key=f"{name}/{job['job_id']}.json"
    )
    assert json.load(manifest["Body"])["actual"]["width"] == 64
