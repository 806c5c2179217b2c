"""Has overdue jobs looked after at once, where the schedule may take a minute.

On AWS reconciling ticks once a minute, because a webhook brings nearly every result. Where there is
none, a person waits for each tick. This process looks every few seconds whether a job is due or has
its turn, and if so invokes the deployed function as the schedule does.
"""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.cloud.deploy import STACK
from local.cloud.endpoints import Endpoints

SECONDS = 1


class ReconcileTicker:
    """Watches one local cloud's table, as any outside observer could."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._table = endpoints.jobs_table
        self._dynamodb = endpoints.client("dynamodb")
        self._lambda = endpoints.client("lambda")
        self._function = _reconcile(endpoints)

    def tick(self) -> None:
        """Reconcile if anything is due."""
        if self._is_due():
            self._lambda.invoke(FunctionName=self._function, Payload=b"{}")

    def _is_due(self) -> bool:
        """A scan: this table is a toy's."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._table,
            FilterExpression="due_at <= :now OR dispatch_at <= :now",
            ExpressionAttributeValues={":now": {"S": now}},
        )
        return any(page["Items"] for page in pages)


def _reconcile(endpoints: Endpoints) -> str:
    found: dict[str, Any] = endpoints.client("cloudformation").describe_stack_resource(
        StackName=STACK, LogicalResourceId="ReconcileFunction"
    )
    name: str = found["StackResourceDetail"]["PhysicalResourceId"]
    return name


def main() -> None:
    """Go on until somebody ends it; what fails now may not fail later."""
    ticker = ReconcileTicker(Endpoints.load(Path(sys.argv[1])))
    while True:
        try:
            ticker.tick()
        except Exception as error:  # noqa: BLE001 - the emulator may be busy; the process must live
            print(f"ticker: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        time.sleep(SECONDS)


if __name__ == "__main__":
    main()
