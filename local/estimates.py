"""What a drop will cost, told before it is dropped: by the product's own examination."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

from botocore.exceptions import ClientError

from local import deploy
from local.errors import LocalCloudError
from local.progress import RED, coloured
from phonoscene.drops import Pairing
from phonoscene.jobs import Estimate
from phonoscene.media import DropBucket
from phonoscene.pricing import PRESETS, estimate
from phonoscene.workflow.examination import Rules
from phonoscene_cli.preview import Overlay, foresee
from phonoscene_cli.uploads import Drop


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

    def rules(self) -> Rules:
        """Those that the product examines a drop by, where it uploads to fal's storage."""
        return Rules(
            max_frames=self.max_frames,
            usd_per_megapixel=self.usd_per_megapixel,
            max_job_cost_usd=self.max_job_cost_usd,
            daily_budget_usd=self.daily_budget_usd,
            uploads=True,
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
    files: Any = Overlay(Nowhere(), {piece.key: piece.source for piece in drop.pieces})
    sidecar = drop.sidecar.key if drop.sidecar else None
    pairing = Pairing(drop.audio.key, sidecar)
    outlook = foresee(DropBucket(files, files, "a bucket that is empty"), prices.rules(), pairing)
    if outlook.errors:
        wrong = [f"  {coloured(error.code, RED)}  {error.message}" for error in outlook.errors]
        raise LocalCloudError("\n".join([f"{drop.audio.key} would be rejected:", *wrong]))
    return outlook.estimates


class Nowhere:
    """S3's client, in whose buckets nothing lies."""

    def head_object(self, **_: str) -> NoReturn:
        """Nothing."""
        raise ClientError({"Error": {"Code": "404", "Message": ""}}, "HeadObject")

    def get_object(self, **_: str) -> NoReturn:
        """Nothing."""
        raise ClientError({"Error": {"Code": "NoSuchKey", "Message": ""}}, "GetObject")
