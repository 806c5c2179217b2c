"""The records of a deployed stack's table, and the dollars in them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from phonoscene.table.items import from_item

if TYPE_CHECKING:
    from tests.support.local_stack import Phonoscene


#: Errors of which docs/operations.md says that fal may have billed the job: its estimate is booked.
MAYBE_BILLED: Final = {"result_lost", "result_unreadable", "outcome_unproven"}


def items(phonoscene: Phonoscene) -> list[dict[str, Any]]:
    """Every item of the stack's table."""
    return scanned(phonoscene.dynamodb, phonoscene.endpoints.jobs_table)


def scanned(dynamodb: Any, table: str) -> list[dict[str, Any]]:
    """Every item of a table, as Python values."""
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return [from_item(item) for page in pages for item in page["Items"]]


def unexplained(phonoscene: Phonoscene) -> Decimal:
    """Dollars that the days have committed, and no job holds or has spent.

    Other tests of the same stack delete the records of jobs whose money was spent.
    """
    found = items(phonoscene)
    jobs = [one for one in found if "status" in one]
    days = [one["committed_usd"] for one in found if one["job_id"].startswith("budget#")]
    held = [job["reservation"]["usd"] for job in jobs if job.get("reservation")]
    return sum(days, Decimal(0)) - sum(held, Decimal(0)) - sum(map(spent, jobs), Decimal(0))


def spent(record: dict[str, Any]) -> Decimal:
    """Dollars that a record says fal may bill, beside what it holds."""
    made = "GENERATED" in [step["status"] for step in record.get("history", [])]
    made = made or bool(MAYBE_BILLED & {error["code"] for error in record.get("errors") or ()})
    own = [record.get("actual") or record.get("estimate")]
    known = record.get("duplicate_actuals") or []
    unknown = len(record.get("duplicate_requests") or ()) - len(known)
    costs = [*(own * (made and not record.get("reservation"))), *known]
    costs += [record.get("estimate")] * unknown
    return sum((cost["upper_usd"] for cost in costs if cost), Decimal(0))
