"""What the template tells the functions, read from the environment once, at the first event."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

from phonoscene.errors import SettingMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

_READERS: dict[str, Any] = {"str": str, "int": int, "Decimal": Decimal}


@dataclass(frozen=True)
class Settings:
    """The base: each field is an environment variable of the same name in capitals."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """The settings, with every field read from its variable.

        Raises:
            SettingMissing: naming the variable; the template and the code disagree.
        """
        values = {}
        for field in fields(cls):
            text = environ.get(field.name.upper())
            if text is None:
                raise SettingMissing(f"the environment variable {field.name.upper()} is not set")
            values[field.name] = _READERS[str(field.type)](text)
        return cls(**values)


@dataclass(frozen=True)
class SubmitSettings(Settings):
    """For the function ``submit``; an empty ``webhook_base_url`` means polling."""

    drop_bucket: str
    jobs_table: str
    fal_key_parameter: str
    webhook_base_url: str
    audio_url_ttl_seconds: int
    output_lifetime_seconds: int
    drops_queue_url: str
    settle_seconds: int
    pair_grace_minutes: int
    same_content: str
    max_frames: int
    price_per_megapixel_usd: Decimal
    max_job_cost_usd: Decimal
    max_in_flight: int
    daily_budget_usd: Decimal
    audio_delivery: str
    ask_fal_seconds: int
    probe_function: str
    edit_function: str
    output_bucket: str
    long_audio: str
    max_sequence_seconds: int
    stable_key: str


@dataclass(frozen=True)
class ProbeSettings(Settings):
    """For the function ``probe``."""

    drop_bucket: str


@dataclass(frozen=True)
class EditSettings(Settings):
    """For the function ``edit``."""

    drop_bucket: str
    output_bucket: str


@dataclass(frozen=True)
class WebhookSettings(Settings):
    """For the function ``webhook``; ``fal_user_id`` empty means any fal customer."""

    verdicts_queue_url: str
    fal_user_id: str


@dataclass(frozen=True)
class StoreSettings(Settings):
    """For the function ``store``."""

    jobs_table: str
    output_bucket: str
    fal_key_parameter: str
    drops_queue_url: str
    max_video_bytes: int
    max_in_flight: int
    daily_budget_usd: Decimal
    stable_key: str


@dataclass(frozen=True)
class PublishSettings(Settings):
    """For the function ``publish``."""

    output_bucket: str
    event_bus: str
    unpublished_queue_url: str
    drops_queue_url: str


@dataclass(frozen=True)
class NotifySettings(Settings):
    """For the function ``notify``."""

    event_webhook_url: str
    event_webhook_secret_parameter: str
    notifications_queue_url: str


@dataclass(frozen=True)
class ReconcileSettings(Settings):
    """For the function ``reconcile``."""

    jobs_table: str
    fal_key_parameter: str
    drops_queue_url: str
    verdicts_queue_url: str
    max_in_flight: int
    daily_budget_usd: Decimal
    ask_fal_seconds: int
