"""Reads job records as any outside observer could; never writes one."""

from collections import Counter
from typing import Any

from local.cloud.endpoints import Endpoints
from local.errors import LocalCloudError
from phonoscene.jobs import Job
from phonoscene.table.dynamodb import Table
from phonoscene.table.items import from_item
from phonoscene_cli.follow.follow import Labels, said
from phonoscene_cli.follow.poller import Follower
from phonoscene_cli.stack.jobs_reader import Reader
from phonoscene_cli.ui import terminal

Record = dict[str, Any]

POLL_SECONDS = 0.2
FOLLOW_SECONDS = 120
#: fal's queue may be long; its own run of this model is some minutes.
FOLLOW_REAL_FAL_SECONDS = 1800


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

    def all(self) -> list[Job]:
        """Every job. A scan as well."""
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=self._table)
        items = [from_item(item) for page in pages for item in page["Items"]]
        return [Job.model_validate(item) for item in items if "status" in item]

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
        return from_item(item) if item else None


def follow(endpoints: Endpoints, job_ids: list[str]) -> list[Job]:
    """Show the steps of a drop's jobs; return them at their end."""
    seconds = FOLLOW_SECONDS if endpoints.simulator_url else FOLLOW_REAL_FAL_SECONDS
    reader = Reader(Table(endpoints.client("dynamodb"), endpoints.jobs_table))
    follower = Follower(reader.many, POLL_SECONDS)
    labels, watch = Labels(job_ids), terminal.Watch()
    with terminal.working("waiting") as turn:

        def enough() -> bool:
            turn(f"waiting {watch}")
            return watch.seconds > seconds

        for job, step in follower.follow(job_ids, enough):
            line = said(job, step, f"{watch.seconds:6.1f} s", labels.of(job))
            terminal.people.print(line, soft_wrap=True)
    if not follower.all_ended(job_ids):
        standing = [f"still {job.status}" for job in follower.jobs.values() if not job.is_final]
        raise LocalCloudError(
            f"Not finished after {seconds} s: {', '.join(standing) or 'no record of it'}. "
            "`python -m local logs` shows what happened."
        )
    return [follower.jobs[job_id] for job_id in job_ids]
