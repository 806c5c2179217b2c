"""ReconcileFunction: once a minute, what is overdue is looked after."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities import parameters

from phonoscene.fal_queue import FalQueue
from phonoscene.job_store import JobStore
from phonoscene.ledger import Limits
from phonoscene.observability import announce, logger, metrics
from phonoscene.queues import DropsQueue, VerdictsQueue
from phonoscene.settings import ReconcileSettings
from phonoscene.workflow.dispatch import Dispatcher
from phonoscene.workflow.reconciliation import Reconciler

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

#: What a pass leaves of the function's time for its last job, in milliseconds.
RESERVE = 25_000
#: fal's longest run, and a margin for its webhook: how long a request lives after its start.
RUN_AND_CALL = timedelta(minutes=15)


@cache
def build() -> Reconciler:
    """Read the settings and make the clients, at the first event."""
    settings = ReconcileSettings.from_env(os.environ)
    store = JobStore(boto3.client("dynamodb"), settings.jobs_table, on_change=announce)
    sqs = boto3.client("sqs")
    limits = Limits(settings.max_in_flight, settings.daily_budget_usd)
    return Reconciler(
        store=store,
        queue=FalQueue(
            lambda: parameters.get_parameter(settings.fal_key_parameter, decrypt=True, max_age=300)
        ),
        verdicts=VerdictsQueue(sqs, settings.verdicts_queue_url),
        dispatcher=Dispatcher(store, DropsQueue(sqs, settings.drops_queue_url), limits),
        silence=timedelta(seconds=settings.audio_url_ttl_seconds) + RUN_AND_CALL,
        output_lifetime=timedelta(seconds=settings.output_lifetime_seconds),
        ask_again=timedelta(seconds=settings.ask_fal_seconds),
    )


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:  # noqa: ARG001 - a tick
    """Lambda's entry: one pass."""
    this = build().run(lambda: context.get_remaining_time_in_millis() > RESERVE)
    for name, value in {
        "JobsLookedAt": this.looked.total(),
        "JobsInFlight": this.in_flight,
        "VideosAtRisk": this.at_risk,
        "SumsCorrected": this.corrected,
    }.items():
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
    logger.info("reconcile.done", extra={"looked": this.looked, "dispatched": this.dispatched})
    return this.looked
