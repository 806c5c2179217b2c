"""ReconcileFunction: once a minute, what is overdue is looked after."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools.metrics import MetricUnit

from phonoscene.fal.api_key import FalKey
from phonoscene.fal.queue import FalQueue
from phonoscene.limits import SpendingLimits
from phonoscene.observability import announce, gauge, logger, metrics
from phonoscene.queues import DropsQueue, VerdictsQueue
from phonoscene.settings import ReconcileSettings
from phonoscene.table.job_store import JobStore
from phonoscene.workflow.dispatch import Dispatcher
from phonoscene.workflow.reconciliation import Reconciler

if TYPE_CHECKING:
    from decimal import Decimal

    from aws_lambda_powertools.utilities.typing import LambdaContext

    from phonoscene.workflow.reconciliation import ReconcileReport

#: What a run leaves of the function's time for its last job, in milliseconds.
MIN_TIME_MS = 25_000


@dataclass(frozen=True)
class App:
    """The clients and settings that an invocation needs."""

    reconciler: Reconciler
    limits: SpendingLimits


@cache
def build() -> App:
    """Read the settings and make the clients, at the first event."""
    settings = ReconcileSettings.from_env(os.environ)
    store = JobStore(boto3.client("dynamodb"), settings.jobs_table, on_change=announce)
    sqs = boto3.client("sqs")
    limits = SpendingLimits(settings.max_in_flight, settings.daily_budget_usd)
    reconciler = Reconciler(
        store=store,
        queue=FalQueue(FalKey(settings.fal_key_parameter, partial(boto3.client, "ssm"))),
        verdicts=VerdictsQueue(sqs, settings.verdicts_queue_url),
        dispatcher=Dispatcher(store, DropsQueue(sqs, settings.drops_queue_url), limits),
        ask_again=timedelta(seconds=settings.ask_fal_seconds),
    )
    return App(reconciler, limits)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:  # noqa: ARG001 - a tick
    """Lambda's entry: one pass."""
    app = build()
    report = app.reconciler.run(lambda: context.get_remaining_time_in_millis() > MIN_TIME_MS)
    measure(report, app.limits.daily_budget_usd)
    logger.info("reconcile.done", extra={"looked": report.looked, "dispatched": report.dispatched})
    return report.looked


def measure(report: ReconcileReport, budget: Decimal) -> None:
    """Publish what a run saw as metrics."""
    gauge("JobsLookedAt", report.looked.total())
    gauge("Overdue", report.overdue.total_seconds(), MetricUnit.Seconds)
    gauge("VideosAtRisk", report.at_risk)
    gauge("StatusesUnknown", report.unclear)
    gauge("SumsCorrected", report.corrected)
    gauge("OldestReady", report.ready_for.total_seconds(), MetricUnit.Seconds)
    if report.standing:
        gauge("JobsInFlight", report.standing.in_flight)
        gauge("OldestInFlight", report.standing.oldest.total_seconds(), MetricUnit.Seconds)
        gauge("CommittedUsd", float(report.standing.committed_usd))
        used = 100 * report.standing.committed_usd / budget if budget else 100
        gauge("BudgetUsed", float(used), MetricUnit.Percent)
        gauge("DispatchPaused", int(report.standing.is_paused))
