"""What a drop will cost, before it is dropped: by the product's own examination."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn

from botocore.exceptions import ClientError

from local.cloud import deploy, real_fal
from local.errors import LocalCloudError
from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.drops.pairing import Pairing
from phonoscene.drops.pricing import PRESETS, estimate
from phonoscene.jobs import Estimate
from phonoscene_cli.stack.parameters import StackParameters
from phonoscene_cli.upload.dry_run import Overlay, forecast
from phonoscene_cli.upload.upload import Drop


def deciding(values: Mapping[str, str]) -> StackParameters:
    """The parameters of a stack with the real fal, deployed with ``values`` or by default."""
    template, given = deploy.read_template(), {**values, **real_fal.PARAMETERS}
    return StackParameters.from_values(
        {name: deploy.parameter(template, given, name) for name in template["Parameters"]}
    )


def example(prices: StackParameters) -> Estimate:
    """Ten seconds with the defaults."""
    return estimate(240, PRESETS["landscape_16_9"], prices.price_per_megapixel_usd)


def interval(estimates: list[Estimate]) -> str:
    """Dollars from … to …, of all together."""
    lower = sum((one.lower_usd for one in estimates), Decimal(0))
    upper = sum((one.upper_usd for one in estimates), Decimal(0))
    return f"${lower:.4f} to ${upper:.4f}"


def estimate_drop(drop: Drop, prices: StackParameters) -> list[Estimate]:
    """The cost of each take; what the product would reject is an error now, and costs nothing."""
    files: Any = Overlay(Nowhere(), {piece.key: piece.source for piece in drop.pieces})
    sidecar = drop.sidecar.key if drop.sidecar else None
    pairing = Pairing(drop.audio.key, sidecar)
    outlook = forecast(DropBucket(files, files, "a bucket that is empty"), prices.rules(), pairing)
    if outlook.errors:
        wrong = [f"  {error.code}  {error.message}" for error in outlook.errors]
        raise LocalCloudError("\n".join([f"{drop.audio.key} would be rejected:", *wrong]))
    return outlook.estimates


class Nowhere:
    """S3's client, in whose buckets nothing lies."""

    def head_object(self, **_: str) -> NoReturn:
        """Raise S3's answer for a missing object."""
        raise ClientError({"Error": {"Code": "404", "Message": ""}}, "HeadObject")

    def get_object(self, **_: str) -> NoReturn:
        """Raise S3's answer for a missing object."""
        raise ClientError({"Error": {"Code": "NoSuchKey", "Message": ""}}, "GetObject")
