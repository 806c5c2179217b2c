"""What a drop will cost, told before it is dropped: by the product's own examination."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from local import deploy
from local.drops import Drop
from local.errors import LocalCloudError
from local.progress import RED, coloured
from phonoscene.documents import LONGEST_SIDECAR
from phonoscene.drops import Pairing, beside
from phonoscene.jobs import Estimate
from phonoscene.media import DropBucket, Found
from phonoscene.pricing import PRESETS, estimate
from phonoscene.workflow.examination import Errors, Examiner, Halves, Rules

NOWHERE = "a-bucket-that-is-not-there"


@dataclass(frozen=True)
class Prices:
    """The stack's parameters that money depends on."""

    usd_per_megapixel: Decimal
    max_job_cost_usd: Decimal
    daily_budget_usd: Decimal
    max_frames: int

    @classmethod
    def of(cls, values: Mapping[str, str]) -> "Prices":
        """From what the stack is, or would be, deployed with."""
        template = deploy.read_template()

        def told(name: str) -> str:
            return deploy.parameter(template, values, name)

        return cls(
            Decimal(told("PricePerMegapixelUsd")),
            Decimal(told("MaxJobCostUsd")),
            Decimal(told("DailyBudgetUsd")),
            int(told("MaxFrames")),
        )

    def example(self) -> Estimate:
        """Ten seconds with the defaults."""
        return estimate(240, PRESETS["landscape_16_9"], self.usd_per_megapixel)


def interval(estimates: list[Estimate]) -> str:
    """Dollars from … to …, of all together."""
    lower = sum((one.lower_usd for one in estimates), Decimal(0))
    upper = sum((one.upper_usd for one in estimates), Decimal(0))
    return f"${lower:.4f} to ${upper:.4f}"


def estimate_drop(drop: Drop, prices: Prices) -> list[Estimate]:
    """The cost of each take; what the product would reject is an error now, and costs nothing."""
    bucket = DropBucket(_Lender(drop), _Lender(drop), NOWHERE)  # type: ignore[arg-type]  # it lends as S3 does
    rules = Rules(
        max_frames=prices.max_frames,
        usd_per_megapixel=prices.usd_per_megapixel,
        max_job_cost_usd=prices.max_job_cost_usd,
        daily_budget_usd=prices.daily_budget_usd,
        uploads=True,
    )
    sidecar = f"{drop.name}.json"
    halves = Halves(Pairing(drop.key, sidecar), *_found(bucket, drop.key, sidecar))
    takes = Examiner(bucket, rules).examine(halves, [], Errors())
    wrong = [error for take in takes for error in take.errors]
    if wrong:
        lines = [f"  {coloured(error.code, RED)}  {error.message}" for error in wrong]
        raise LocalCloudError("\n".join([f"{drop.key} would be rejected:", *lines]))
    return [take.fields["estimate"] for take in takes]


def _found(bucket: DropBucket, audio: str, sidecar: str) -> tuple[Found, Found, bytes]:
    """Both halves as they would lie there, and the sidecar's text."""
    half, read = bucket.find(audio), bucket.read(sidecar, LONGEST_SIDECAR + 1)
    if half is None or read is None:
        raise LocalCloudError(f"{audio} lacks one of its halves.")
    return half, *read


class _Lender:
    """What the drop bucket asks of S3, answered from a drop that is not there yet."""

    def __init__(self, drop: Drop) -> None:
        images = {beside(drop.key, name): image for name, image in drop.images.items()}
        sidecar = {f"{drop.name}.json": drop.sidecar}
        self._objects: dict[str, bytes] = {drop.key: drop.audio, **sidecar, **images}

    def head_object(self, *, Key: str, **_: str) -> dict[str, Any]:  # noqa: N803 - S3's word
        """An object's version and length."""
        if Key not in self._objects:
            raise ClientError({"Error": {"Code": "404", "Message": ""}}, "HeadObject")
        length = len(self._objects[Key])
        at = datetime.now(UTC)
        return {"VersionId": "none", "ContentLength": length, "LastModified": at}

    def get_object(self, *, Key: str, Range: str = "", **_: str) -> dict[str, Any]:  # noqa: N803 - S3's words
        """An object's bytes, or a range of them."""
        found = self.head_object(Key=Key)
        first, _dash, last = Range.removeprefix("bytes=").partition("-")
        body = self._objects[Key][int(first or 0) : int(last) + 1 if last else None]
        return found | {"Body": StreamingBody(io.BytesIO(body), len(body))}
