"""The stack's parameters, as far as they decide about drops and money."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Self

from phonoscene.limits import SpendingLimits
from phonoscene.workflow.examination import DropLimits

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class StackParameters:
    """What the operator has decided; dollars are US dollars."""

    max_frames: int
    price_per_megapixel_usd: Decimal
    max_job_cost_usd: Decimal
    daily_budget_usd: Decimal
    max_in_flight: int
    settle: timedelta
    fal_user_id: str
    #: Whether fal is sent copies, in its own storage: AudioDelivery is fal-storage.
    uploads: bool
    #: Whether the same content again is the same job: SameContent is skip.
    skips_repeats: bool
    #: The longest audio that several requests are made of; 0: none is.
    max_sequence_seconds: int

    @classmethod
    def from_values(cls, values: Mapping[str, str]) -> Self:
        """The parameters, parsed from the texts that CloudFormation lists."""
        return cls(
            max_frames=int(values["MaxFrames"]),
            price_per_megapixel_usd=Decimal(values["PricePerMegapixelUsd"]),
            max_job_cost_usd=Decimal(values["MaxJobCostUsd"]),
            daily_budget_usd=Decimal(values["DailyBudgetUsd"]),
            max_in_flight=int(values["MaxInFlight"]),
            settle=timedelta(seconds=int(values["SettleSeconds"])),
            fal_user_id=values["FalUserId"],
            uploads=values["AudioDelivery"] == "fal-storage",
            skips_repeats=values["SameContent"] == "skip",
            max_sequence_seconds=int(values["MaxSequenceSeconds"])
            if values["LongAudio"] == "split"
            else 0,
        )

    def spending(self) -> SpendingLimits:
        """Those that a claim keeps."""
        return SpendingLimits(self.max_in_flight, self.daily_budget_usd)

    def rules(self) -> DropLimits:
        """Those that the product examines a drop by."""
        return DropLimits(
            max_frames=self.max_frames,
            usd_per_megapixel=self.price_per_megapixel_usd,
            max_job_cost_usd=self.max_job_cost_usd,
            daily_budget_usd=self.daily_budget_usd,
            uploads=self.uploads,
            max_sequence_seconds=self.max_sequence_seconds,
        )
