"""What is sent to fal for one attempt, and the three answers there are to it.

The difference between *refused* and *unknown* is money: fal has no idempotency key and bills each
copy of a request, so only what fal refused for sure may be sent again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from phonoscene.errors import DropRefused
from phonoscene.jobs import ErrorDetail

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from phonoscene.jobs import Request


ENDPOINT: Final = "fal-ai/ltx-2.3-22b/distilled/audio-to-video"

#: The code of a refusal that is the account's: a key that is unknown, or a balance that is
#: exhausted. And how fal answers then.
ACCOUNT = "fal_account"
REFUSED_ACCOUNT: Final = frozenset({401, 402, 403})


@dataclass(frozen=True)
class Accepted:
    """fal queued the job."""

    request: Request


@dataclass(frozen=True)
class Refused:
    """fal did not queue the job, for sure.

    ``retryable``: the same POST may be taken later; the job is not at fault, the account or the
    hour is.
    """

    code: str
    message: str
    retryable: bool


@dataclass(frozen=True)
class Unknown:
    """fal may have queued the job, and may bill it."""

    reason: str


SubmitOutcome = Accepted | Refused | Unknown


@dataclass(frozen=True)
class Submission:
    """What one POST carries; start timeout and output lifetime in seconds.

    Without ``webhook_url`` fal sends no webhook and has to be polled.
    """

    arguments: Mapping[str, Any]
    webhook_url: str | None
    start_timeout: int
    output_lifetime: int

    def headers(self) -> dict[str, str]:
        """Fal's platform headers (documented under "common parameters")."""
        return {
            # fal_client still sends this one's deprecated alias only; if both are there, this wins
            "X-Fal-Request-Start-Timeout": str(self.start_timeout),
            "X-Fal-Object-Lifecycle-Preference": json.dumps(
                {"expiration_duration_seconds": self.output_lifetime}
            ),
            "x-app-fal-disable-fallback": "true",
        }


#: fal's toolkit refuses longer URLs.
MAX_URL_LENGTH = 2048
#: The most that fal_client uploads in one request, in bytes; more takes an upload in parts.
LARGEST_UPLOAD: Final = 100 * 1024 * 1024


def check_size(key: str, size: int) -> None:
    """See that a file can be uploaded to fal's storage.

    Raises:
        DropRefused: it is too large.
    """
    if size > LARGEST_UPLOAD:
        error = ErrorDetail(
            code="too_large_to_upload",
            source=key,
            value=f"{size} bytes",
            allowed=f"at most {LARGEST_UPLOAD} bytes",
            message=(
                f"{key} has {size:,} bytes; this stack (AudioDelivery=fal-storage) uploads files "
                f"of at most {LARGEST_UPLOAD:,}. Make it shorter, or compress it."
            ),
        )
        raise DropRefused(error)


@dataclass(frozen=True)
class Medium:
    """A file on its way to fal: its names here and there, its length in bytes, and all of them."""

    key: str
    name: str
    content_type: str
    size: int
    chunks: Iterable[bytes]


@dataclass(frozen=True)
class Pending:
    """fal has the request, and has not ended it."""


@dataclass(frozen=True)
class Unclear:
    """fal has the request, and says of it what is not documented."""

    status: str


@dataclass(frozen=True)
class Ended:
    """fal has ended the request: ``body`` is what its webhook would have said."""

    body: str


@dataclass(frozen=True)
class Lost:
    """fal knows no such request, or keeps its result no more."""
