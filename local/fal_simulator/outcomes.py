"""What a run came to: the status code, headers and body that fal replays as the result."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

OK = 200
BILLABLE_UNITS = "X-Fal-Billable-Units"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One finished run. `error` and `error_type` are what the queue status says of a failure."""

    status_code: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    error_type: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the model answered 200, which is what a webhook calls `OK`."""
        return self.status_code == OK

    def without_type(self) -> Outcome:
        """A failure whose body and headers do not say of which kind it was."""
        if self.succeeded:
            return self
        return replace(self, body={"detail": self.error}, headers={BILLABLE_UNITS: "0"})


class ModelError(Exception):
    """The model refuses the input or fails on it; becomes `{"detail": [...]}`."""

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        field: str | None = None,
        ctx: dict[str, Any] | None = None,
        status_code: int = 422,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.field = field
        self.ctx = ctx
        self.status_code = status_code
        self.retryable = retryable

    def outcome(self) -> Outcome:
        """Write the error as fal documents model errors; unbilled, which fal does not promise."""
        entry: dict[str, Any] = {
            "loc": ["body", self.field] if self.field else ["body"],
            "msg": self.message,
            "type": self.kind,
            "url": f"https://docs.fal.ai/errors#{self.kind}",
        }
        entry |= {"ctx": self.ctx} if self.ctx else {}
        headers = {
            "X-Fal-Retryable": "true" if self.retryable else "false",
            BILLABLE_UNITS: "0",
        }
        return Outcome(self.status_code, {"detail": [entry]}, headers, self.message, self.kind)


def infrastructure_error(
    status_code: int, error_type: str, message: str, headers: dict[str, str] | None = None
) -> Outcome:
    """Build a failure of fal's own machinery; fal documents this flat shape and its header."""
    body = {"detail": message, "error_type": error_type}
    named = {"X-Fal-Error-Type": error_type} | (headers or {})
    return Outcome(status_code, body, named, message, error_type)


def start_timeout() -> Outcome:
    """Build the 504 of a request that did not start in the time its sender allowed."""
    return infrastructure_error(
        504,
        "request_timeout",
        "Request did not start within the requested time",
        {"X-Fal-Request-Timeout-Type": "user"},
    )


def success(body: dict[str, Any], units: float) -> Outcome:
    """Build a success, and what is billed for it: megapixels of video."""
    return Outcome(OK, body, {BILLABLE_UNITS: str(units)})
