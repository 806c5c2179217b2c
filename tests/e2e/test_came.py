"""What came against what was asked, on the deployed stack."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from tests.e2e.command_line import json_of, output_of
from tests.support import schemas
from tests.support.local_stack import SMALL, eventually, listening
from tests.support.records import unexplained

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.local_stack import Fault, Listener, Phonoscene

#: One second of sound is 25 small frames at most: one megapixel, $0.001205.
RESERVED = "$0.0013 was reserved."
BIGGER: Fault = ("render", "bigger_video", {"width": 640, "height": 360})
LONGER: Fault = ("render", "longer_video", {"frames": 500})
BILLED: Fault = ("render", "bill", {"units": 9.25})
#: fal's bill stands in the headers of a result, which Phonoscene fetches only then.
UNREADABLE: Fault = ("webhook", "payload_error", {"status": "OK"})
DIFFERS = "The video differs from the request: "
#: Each drop that costs more than was reserved: what fal does, the notes on it, and the dollars.
MORE: dict[str, tuple[tuple[Fault, ...], list[str], float]] = {
    "bigger": (
        (BIGGER,),
        [
            f"fal reports 640x360x24 frames: up to $0.0073, {RESERVED}",
            f"{DIFFERS}asked 64x64 pixels, got 640x360.",
        ],
        0.0073,
    ),
    "longer": (
        (LONGER,),
        [
            f"fal reports 64x64x500 frames: up to $0.0037, {RESERVED}",
            f"{DIFFERS}asked 24 frames, got 500.",
        ],
        0.0037,
    ),
    "billed": (
        (BILLED, UNREADABLE),
        [f"fal bills 9.25 megapixels: up to $0.0112, {RESERVED}"],
        0.0112,
    ),
}
LESS: Fault = ("render", "bigger_video", {"width": 64, "height": 64})


@dataclass
class Dropped:
    """All drops of this file at once, so that their waits overlap."""

    #: Dollars that no job explained, before.
    before: Decimal
    listener: Listener

    def is_explained(self, phonoscene: Phonoscene) -> bool:
        """Whether the dollars are again those that no job explained before."""
        return unexplained(phonoscene) == self.before


@pytest.fixture(scope="module")
def dropped(phonoscene: Phonoscene) -> Iterator[Dropped]:
    before = unexplained(phonoscene)
    with listening(phonoscene) as listener:
        for name, (faults, _, _) in MORE.items():
            phonoscene.drop(f"came/{name}", *faults, video_size=SMALL)
        phonoscene.drop("came/smaller", LESS, video_size="landscape_16_9")
        yield Dropped(before, listener)


@pytest.mark.parametrize("case", MORE)
def test_more_than_was_reserved_is_noted_and_counted(
    phonoscene: Phonoscene, dropped: Dropped, case: str
) -> None:
    name, (_, notes, usd), listener = f"came/{case}", MORE[case], dropped.listener
    job = phonoscene.take(name)
    assert eventually(lambda: any(e["status"] == "SUCCEEDED" for e in listener.events(name)))
    assert eventually(lambda: phonoscene.is_told(name))

    receipt = phonoscene.receipt(name)
    assert job["status"] == "SUCCEEDED"
    assert receipt["notes"] == notes
    assert receipt["cost"]["billed_usd" if case == "billed" else "delivered_usd"] == usd
    assert (receipt["cost"]["upper_usd"], receipt["actual"]["upper_usd"]) == (usd, usd)
    assert job["estimate"]["upper_usd"] == Decimal("0.0013")
    event = listener.heard_of(name)[-1]
    assert (event["notes"], event["actual"]) == (receipt["notes"], receipt["actual"])
    schemas.check(event)
    assert notes[0] in output_of("show", name)
    assert json_of("jobs", "--name", name)[0]["actual"]["upper_usd"] == usd
    (group,) = [one for one in json_of("cost", "--by", "name")["groups"] if one["group"] == name]
    assert (group["videos"], group["upper_usd"], group["reserved_usd"]) == (1, usd, 0)
    assert eventually(lambda: dropped.is_explained(phonoscene))


def test_less_than_was_reserved_is_given_back(phonoscene: Phonoscene, dropped: Dropped) -> None:
    name = "came/smaller"
    job = phonoscene.take(name)

    assert (job["estimate"]["upper_usd"], job["actual"]["upper_usd"]) == (
        Decimal("0.0181"),
        Decimal("0.0013"),
    )
    assert eventually(lambda: phonoscene.is_told(name))
    assert phonoscene.receipt(name)["notes"] == [f"{DIFFERS}asked 1024x576 pixels, got 64x64."]
    (group,) = [one for one in json_of("cost", "--by", "name")["groups"] if one["group"] == name]
    assert group["upper_usd"] == 0.0013
    assert eventually(lambda: dropped.is_explained(phonoscene))
    manifest = phonoscene.s3.get_object(
        Bucket=phonoscene.endpoints.output_bucket, Key=f"{name}/{job['job_id']}.json"
    )
    assert json.load(manifest["Body"])["actual"]["width"] == 64
