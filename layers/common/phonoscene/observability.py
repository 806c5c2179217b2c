"""One logger and one set of metrics for the whole package.

Modules below the functions log with the standard library under ``phonoscene.*``; those records
reach this logger's handler, with the keys (``job_id``) that were appended to it. Log lines are
event names with fields: ids, codes and counts, never bodies, prompts, tokens or URLs.
"""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from phonoscene.comparison import differences

if TYPE_CHECKING:
    from phonoscene.jobs import Job

# httpx tells every URL at INFO, and ours hold tokens
for talkative in ("httpx", "httpcore"):
    logging.getLogger(talkative).setLevel(logging.WARNING)

#: Powertools names a logger after its service; modules reach it by the package's.
logger = Logger(service="phonoscene", utc=True)
#: Their dimension ``service`` is POWERTOOLS_SERVICE_NAME: in the template, the stack's name.
metrics = Metrics(namespace="Phonoscene")
_one_at_a_time = Lock()


def count(name: str) -> None:
    """Add one to the metric ``name``."""
    gauge(name, 1)


def gauge(name: str, value: float, unit: MetricUnit = MetricUnit.Count) -> None:
    """Publish a value of the metric ``name``."""
    with _one_at_a_time:  # Powertools' metrics are not safe for threads
        metrics.add_metric(name=name, unit=unit, value=value)


def announce(job: Job) -> None:
    """Log and count that a record was written: ``job.submitted``, ``JobsSubmitted``, and so on."""
    logger.info(
        "job.%s",
        job.status.lower(),
        extra={
            "job_id": job.job_id,
            "attempt": job.attempt,
            "errors": [e.code for e in job.errors],
        },
    )
    count(f"Jobs{job.status.title()}")
    if job.is_final and differences(job):
        count("VideosDiffer")
    if job.is_final and job.is_maybe_billed:
        count("VideosUnaccounted")
    if job.generated_after is not None:
        gauge("GenerationTime", job.generated_after.total_seconds(), MetricUnit.Seconds)
        if job.costs_more_than_reserved:
            count("OverReserved")
