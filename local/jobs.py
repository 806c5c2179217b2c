"""Reads job records as any outside observer could; never writes one."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from local.endpoints import Endpoints
from local.errors import LocalCloudError
from local.progress import DIM, GREEN, RED, Ticker, coloured, say
from phonoscene.jobs import JobStatus
from phonoscene.meanings import STATES

Record = dict[str, Any]

POLL_SECONDS = 0.2

FINAL = {"SUCCEEDED", "FAILED", "REJECTED", "CANCELLED"}


class Jobs:
    """The jobs table of a local cloud."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._table = endpoints.jobs_table
        self._dynamodb = endpoints.client("dynamodb")

    def counts(self) -> Counter[str]:
        """How many jobs stand where. A scan: this table is a toy's."""
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=self._table)
        return Counter(
            item["status"]["S"] for page in pages for item in page["Items"] if "status" in item
        )

    def takes(self, name: str) -> list[Record]:
        """The whole records of a drop's name, newest first."""
        found = self._dynamodb.query(
            TableName=self._table,
            IndexName="by_name",
            KeyConditionExpression="#name = :name",
            ExpressionAttributeNames={"#name": "name"},  # NAME is a reserved word
            ExpressionAttributeValues={":name": {"S": name}},
            ScanIndexForward=False,
        )
        # The index copies little; an item may be gone again (a half that became a job).
        records = (self._get(item["job_id"]) for item in found["Items"])
        return [record for record in records if record]

    def _get(self, key: Record) -> Record | None:
        item = self._dynamodb.get_item(
            TableName=self._table, Key={"job_id": key}, ConsistentRead=True
        ).get("Item")
        return _plain(item) if item else None


def follow(jobs: Jobs, name: str, before: list[Record], seconds: float) -> Record:
    """Show the steps of the newest job of `name` that is not in `before`; return it at its end."""
    known = {record["job_id"] for record in before if record["status"] in FINAL}
    status = None
    with Ticker() as ticker:
        for record, status in _steps(jobs, name, known, ticker, seconds):
            _show(status, ticker.seconds)
            if status in FINAL:
                return record
    standing = f"still {status}" if status else "no record of it"
    raise LocalCloudError(
        f"No end after {seconds:.0f} s: {standing}. `python -m local logs` shows what happened."
    )


def _steps(
    jobs: Jobs, name: str, known: set[str], ticker: Ticker, seconds: float
) -> Iterator[tuple[Record, str]]:
    """Yield each entry of the history as it appears, with the record it was read from."""
    shown: Counter[str] = Counter()
    while ticker.seconds < seconds:
        for record in jobs.takes(name)[:1]:
            job = record["job_id"]
            fresh = [] if job in known else record["history"][shown[job] :]
            shown[job] += len(fresh)
            yield from ((record, step["status"]) for step in fresh)
        time.sleep(POLL_SECONDS)


def _show(status: str, seconds: float) -> None:
    colour = {"SUCCEEDED": GREEN, "FAILED": RED, "REJECTED": RED}.get(status)
    word = f"{status:<11}"
    at = coloured(f"{seconds:6.1f} s", DIM)
    meaning = STATES[JobStatus(status)]
    say(f"{at}  {coloured(word, colour) if colour else word}  {meaning}")


def _plain(item: Record) -> Record:
    deserializer = TypeDeserializer()
    return {key: deserializer.deserialize(value) for key, value in item.items()}
