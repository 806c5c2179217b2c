"""Which failures are worth another attempt, and when: fal's own error types, bounded.

Source: fal.ai/docs, "errors" and "request errors". An attempt that failed is not billed; one that
succeeded is never repeated.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Final

#: Attempts of one job that fal accepts, the first among them.
MAX_ATTEMPTS: Final = 4
#: How often fal may refuse a job before it is queued, which costs nothing: a day of outage.
MAX_REFUSALS: Final = 100
#: The same because of the account: more than three days. Each is kept in the job's item, and all of
#: them have to fit.
MAX_ACCOUNT_REFUSALS: Final = 1000
#: Before the second attempt, in seconds; doubled at each further one, with jitter.
BACKOFF: Final = 30
MAX_BACKOFF: Final = 900

#: Infrastructure, not the job: fal marks these retryable, or they name a runner that broke.
#: ``request_timeout`` is also how a start timeout ends: by then our presigned URL is of no use, and
#: a new attempt signs a new one.
RETRYABLE: Final = frozenset(
    {
        "internal_server_error",
        "generation_timeout",
        "downstream_service_error",
        "downstream_service_unavailable",
        "request_timeout",
        "startup_timeout",
        "runner_scheduling_failure",
        "runner_connection_timeout",
        "runner_disconnected",
        "runner_connection_refused",
        "runner_connection_error",
        "runner_incomplete_response",
        "runner_server_error",
        "internal_error",
    }
)
#: fal could not read a file of ours: its presigned URL has expired, or S3 had a bad moment.
_UNREAD: Final = frozenset({"file_download_error", "image_load_error"})
_OURS: Final = frozenset({"audio_url", "image_url", "end_image_url"})


def is_retryable(code: str, field: str | None) -> bool:
    """Whether an error of fal's may be gone at the next attempt."""
    return code in RETRYABLE or (code in _UNREAD and (field is None or field in _OURS))


def retry_at(times: int, at: datetime) -> datetime:
    """When to try again after something failed for the ``times``-th time."""
    longest = min(MAX_BACKOFF, BACKOFF * 2 ** min(10, max(0, times - 1)))
    return at + timedelta(seconds=random.uniform(longest / 2, longest))  # noqa: S311 - jitter
