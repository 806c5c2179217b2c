"""The fault dial: rules that make one stage of the simulator misbehave, a counted number of times.

`ACTIONS` is the whole vocabulary: every action of every stage with the parameters it takes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from local.fal_simulator.faults import containers, oddities

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOTHING: dict[str, bool] = {}
_SECONDS = {"seconds": True}
_STATUS = {"code": True, "body": False}
_DRIP = {"seconds": True, "part": False}
_FORM = {"form": True}

# stage -> action -> parameter -> is it required
ACTIONS: dict[str, dict[str, dict[str, bool]]] = {
    "submit": {
        "drop_before": _NOTHING,
        "lost_response": _NOTHING,
        "delay": _SECONDS,
        "status": {**_STATUS, "request_id_header": False},
        "exhausted_balance": _NOTHING,
        "unauthorized": _NOTHING,
        "redirect": {"location": False},
        "foreign_urls": {"scheme": False, "host": False},
        "without_urls": _NOTHING,
        "drip": _DRIP,
    },
    "queue": {"delay": _SECONDS, "expire": _NOTHING},
    "audio": {"delay": _SECONDS, "download_error": _NOTHING, "unsupported": _NOTHING},
    "render": {
        "delay": _SECONDS,
        "error": {
            "type": False,
            "error_type": False,
            "status": False,
            "retryable": False,
            "message": False,
        },
        "big_file": {"bytes": True},
        "bigger_video": {"width": True, "height": True},
        "longer_video": {"frames": True},
        "bill": {"units": True},
        "retried": _NOTHING,
        "file_size": {"bytes": True},
        "container": _FORM,
        "other_container": _NOTHING,
    },
    "webhook": {
        "duplicate": {"count": False},
        "never": _NOTHING,
        "delay": _SECONDS,
        "early": _NOTHING,
        "forged": _NOTHING,
        "wrong_key": _NOTHING,
        "stale": {"seconds": False},
        "foreign_tenant": {"user_id": False},
        "header_mismatch": _NOTHING,
        "payload_error": {"status": False},
        "malformed": _FORM,
        "error_first": {"seconds": False, "error_type": False},
        "unavailable": _NOTHING,
    },
    "status": {
        "status": _STATUS,
        "delay": _SECONDS,
        "drop": _NOTHING,
        "drip": _DRIP,
        "unknown": {"value": False},
        "not_an_object": {"value": False},
        "error_type_only": _NOTHING,
    },
    "result": {
        "status": _STATUS,
        "delay": _SECONDS,
        "drop": _NOTHING,
        "drip": _DRIP,
        "gone": _NOTHING,
        "malformed": _FORM,
        "not_json": _NOTHING,
        "accepted": _NOTHING,
    },
    "cancel": {"status": _STATUS, "delay": _SECONDS, "drop": _NOTHING, "stop_running": _NOTHING},
    "cdn": {
        "status": _STATUS,
        "redirect": {"location": False, "host": False},
        "truncated": {"bytes": True},
        "reset": {"bytes": True},
        "slow": {"bytes_per_second": True},
        "no_ranges": _NOTHING,
        "wrong_container": _NOTHING,
        "oversize": {"bytes": True},
        "wrong_host": {"host": False},
        "odd_url": _FORM,
        "drip": _DRIP,
        "short": {"bytes": True},
        "html": _NOTHING,
        "gzip": _NOTHING,
        "limit": {"connections": True, "retry_after": False},
        "unknown_total": _NOTHING,
        "odd_etag": _FORM,
        "early_hints": _NOTHING,
        "not_yet": _SECONDS,
    },
    "requests": {
        "status": _STATUS,
        "delay": _SECONDS,
        "drop": _NOTHING,
        "drip": _DRIP,
        "not_json": _NOTHING,
        "without_input": {"form": False},
        "envelope": {"key": False},
        "error_ok": _NOTHING,
        "next_page": _NOTHING,
    },
    "storage": {
        "status": {**_STATUS, "call": False},
        "delay": {**_SECONDS, "call": False},
        "drop": {"call": False},
        "expired": _NOTHING,
    },
    "keys": {
        "status": _STATUS,
        "delay": _SECONDS,
        "drip": _DRIP,
        "rotate": _NOTHING,
        "padded": _NOTHING,
        "empty": _NOTHING,
    },
}
#: What `form` may say; the first is meant where it is left out.
FORMS: dict[tuple[str, str], tuple[str, ...]] = {
    ("webhook", "malformed"): oddities.PAYLOADS,
    ("result", "malformed"): oddities.PAYLOADS,
    ("render", "container"): tuple(containers.FORMS),
    ("cdn", "odd_url"): oddities.URLS,
    ("cdn", "odd_etag"): ("weak", "weak_later", "missing_later"),
    ("requests", "without_input"): ("absent", "null", "text", "no_url"),
}
ERRORS = range(400, 600)
NOT_ABOUT_A_REQUEST = frozenset({"keys", "requests", "storage"})
MAY_BE_NEGATIVE = frozenset({"stale"})  # a timestamp in the future
_COMMON = frozenset({"stage", "action", "times", "probability", "match"})


class InvalidFaultError(ValueError):
    """The rule names something that does not exist; the message lists what does."""


class Match(BaseModel):
    """Which requests a rule is about; both given means both must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt_contains: str | None = None
    request_id: str | None = None

    def admits(self, request_id: str | None, prompt: str) -> bool:
        """Whether the rule is about this request."""
        if self.request_id is not None and self.request_id != request_id:
            return False
        return self.prompt_contains is None or self.prompt_contains in prompt


class Fault(BaseModel):
    """One rule as it was posted. `times` null means for ever; parameters belong to the action."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    action: str
    times: int | None = Field(1, ge=1)
    probability: float = Field(1.0, ge=0, le=1)
    match: Match | None = None

    seconds: float = Field(0.0, ge=-864_000, le=864_000)
    code: int = Field(500, ge=200, le=599)
    body: Any = None
    request_id_header: bool = False
    type: str | None = None
    error_type: str | None = None
    status: int | Literal["OK", "ERROR"] | None = None
    retryable: bool = False
    message: str = "A rule of the simulator made this fail"
    bytes: int = Field(0, ge=0, le=2**40)
    bytes_per_second: int = Field(65_536, ge=1)
    width: int = Field(0, ge=1, le=4096)
    height: int = Field(0, ge=1, le=4096)
    frames: int = Field(0, ge=1, le=10_000)
    units: float = Field(0.0, ge=0, le=1e9)
    count: int = Field(1, ge=1, le=100)
    user_id: str = "another-account"
    location: str = ""
    host: str | None = None
    scheme: Literal["http", "https"] | None = None
    key: str = "requests"
    value: Any = None
    form: str | None = None
    part: Literal["body", "all"] = "body"
    connections: int = Field(1, ge=1)
    retry_after: float | None = Field(None, ge=0, le=86_400)
    call: Literal["token", "upload"] = "upload"

    @model_validator(mode="after")
    def _belongs_to_its_action(self) -> Self:
        allowed = _parameters(self.stage, self.action)
        given = self.model_fields_set - _COMMON
        where = f"{self.stage}/{self.action}"
        if unknown := sorted(given - allowed.keys()):
            takes = ", ".join(allowed) or "nothing"
            raise ValueError(f"{where} does not take {', '.join(unknown)}; it takes {takes}")
        if missing := [name for name, needed in allowed.items() if needed and name not in given]:
            raise ValueError(f"{where} needs {', '.join(missing)}")
        forms = FORMS.get((self.stage, self.action), ())
        if self.form is not None and self.form not in forms:
            raise ValueError(f"{where} has no form {self.form!r}; it has {', '.join(forms)}")
        return self

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.match and self.stage in NOT_ABOUT_A_REQUEST:
            raise ValueError(f"{self.stage} rules are about no request, so they take no match")
        if self.seconds < 0 and self.action not in MAY_BE_NEGATIVE:
            raise ValueError("seconds cannot be negative")
        if self.status is None:
            return self
        if self.action == "payload_error" and self.status not in {"OK", "ERROR"}:
            raise ValueError("status must be OK or ERROR")
        if self.action == "error" and self.status not in ERRORS:
            raise ValueError("status must be an HTTP status code, 400-599")
        return self


def _parameters(stage: str, action: str) -> Mapping[str, bool]:
    if stage not in ACTIONS:
        raise ValueError(f"unknown stage {stage!r}; the stages are {', '.join(ACTIONS)}")
    if action not in ACTIONS[stage]:
        known = ", ".join(ACTIONS[stage])
        raise ValueError(f"{stage} has no action {action!r}; it has {known}")
    return ACTIONS[stage][action]


@dataclass(slots=True)
class _Rule:
    """A fault and how often it has struck."""

    fault: Fault
    struck: int = 0

    @property
    def spent(self) -> bool:
        return self.fault.times is not None and self.struck >= self.fault.times


class FaultDial:
    """The rules in force, in the order they were posted; the first that fits strikes."""

    def __init__(self, seed: int | None) -> None:
        self._rules: list[_Rule] = []
        self._chance = random.Random(seed)  # noqa: S311 - repeatable chance, not a secret

    def add(self, posted: Any) -> list[dict[str, Any]]:
        """Add one rule or a list of them, all or none; raises `InvalidFaultError`."""
        try:
            rules = [_Rule(Fault.model_validate(item)) for item in _listed(posted)]
        except ValidationError as error:
            raise InvalidFaultError(_sentence(error)) from error
        self._rules.extend(rules)
        return self.describe()

    def clear(self) -> None:
        """Forget every rule."""
        self._rules.clear()

    def describe(self) -> list[dict[str, Any]]:
        """List the rules as posted, each with how often it has struck."""
        return [
            rule.fault.model_dump(mode="json", exclude_unset=True) | {"struck": rule.struck}
            for rule in self._rules
        ]

    def take(
        self,
        stage: str,
        *actions: str,
        request_id: str | None = None,
        prompt: str = "",
        call: str | None = None,
    ) -> Fault | None:
        """Return the first rule of the stage that strikes now, and count it.

        With `actions`, only rules with one of these actions are considered; with `call`, only those
        about this call.
        """
        for rule in self._rules:
            fault = rule.fault
            if fault.stage != stage or rule.spent or (actions and fault.action not in actions):
                continue
            if call is not None and fault.call != call:
                continue
            if fault.match and not fault.match.admits(request_id, prompt):
                continue
            if self._chance.random() < fault.probability:
                rule.struck += 1
                return fault
        return None


def _listed(posted: Any) -> list[Any]:
    return posted if isinstance(posted, list) else [posted]


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    text = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        text = f"no rule has this field; the fields are {', '.join(Fault.model_fields)}"
    return f"{where}: {text}" if where else text
