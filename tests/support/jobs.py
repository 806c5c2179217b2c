"""Jobs, of which a test names the fields that concern it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from phonoscene.jobs import Job, JobStatus, Step
from tests.support.stack import DROPS

NOON: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)


def a_job(status: JobStatus = JobStatus.READY, at: datetime = NOON, **fields: Any) -> Job:
    """A job whose only step so far, at ``at``, is the one to ``status``."""
    defaults: dict[str, Any] = {
        "job_id": "0" * 32,
        "name": "talks/intro",
        "bucket": DROPS,
        "revision": 1,
        "created_at": at,
        "updated_at": at,
        "history": (Step(status=status, at=at),),
    }
    return Job(status=status, **defaults | fields)
