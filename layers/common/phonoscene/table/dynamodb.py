"""One DynamoDB table: reads, conditional writes, transactions, pages of an index.

In Python's types; a condition that fails is an error that carries the item found, so it need not be
read again.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from phonoscene.errors import ConditionFailed
from phonoscene.table.items import from_item, to_item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mypy_boto3_dynamodb import DynamoDBClient

#: How often a transaction is tried that meets another on the same items: 20 ms doubled, 5 s in all.
MAX_CONFLICTS: Final = 8
#: As many items as DynamoDB reads in one call.
MAX_KEYS: Final = 100

Item = dict[str, Any]


class Table:
    """A table whose only key is ``job_id``."""

    def __init__(
        self, client: DynamoDBClient, name: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._name = name
        self._sleep = sleep

    def get(self, key: str) -> Item:
        """An item as it stands now; empty where there is none."""
        answer = self._client.get_item(
            TableName=self._name, Key=to_item({"job_id": key}), ConsistentRead=True
        )
        return from_item(answer.get("Item", {}))

    def get_many(self, keys: Sequence[str], attributes: Sequence[str] = ()) -> Iterator[Item]:
        """Those of many items that are there, in no order; whole, or only some ``attributes``."""
        names = {f"#{n}": name for n, name in enumerate(attributes)}
        part = {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names}
        distinct = [to_item({"job_id": key}) for key in dict.fromkeys(keys)]
        for first in range(0, len(distinct), MAX_KEYS):
            wanted = {"Keys": distinct[first : first + MAX_KEYS], "ConsistentRead": True}
            yield from self._get_some(wanted | (part if attributes else {}))

    def _get_some(self, wanted: Item) -> Iterator[Item]:
        """One call's worth; what DynamoDB leaves out for want of capacity is asked for again."""
        request: Any = {self._name: wanted}
        tries = 0
        while request:
            answer: Any = self._client.batch_get_item(RequestItems=request)
            yield from (from_item(item) for item in answer["Responses"].get(self._name, []))
            request, tries = answer.get("UnprocessedKeys", {}), tries + 1
            if request:
                self._sleep(random.uniform(0, min(5, 0.05 * 2**tries)))  # noqa: S311 - jitter

    def put(self, item: Mapping[str, Any], condition: str, values: Mapping[str, Any]) -> None:
        """Write a whole item.

        Raises:
            ConditionFailed: with the item that is there.
        """
        self._write(
            "put_item",
            TableName=self._name,
            Item=to_item(item),
            ConditionExpression=condition,
            ExpressionAttributeValues=to_item(values),
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )

    def update(self, request: Mapping[str, Any]) -> Item:
        """Change an item by a request of ``items.update``; return the item as it then stands.

        Raises:
            ConditionFailed: with the item as it stood.
        """
        answer = self._write("update_item", TableName=self._name, ReturnValues="ALL_NEW", **request)
        return from_item(answer["Attributes"])

    def delete(self, key: str) -> None:
        """Remove an item, if it is there."""
        self._write("delete_item", TableName=self._name, Key=to_item({"job_id": key}))

    def transact(self, writes: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """All of the writes or none; each is ``Put``, ``Update``, … and its request.

        Raises:
            ConditionFailed: with the item that is there, and the write's position.
        """
        items = [{kind: {"TableName": self._name, **one}} for kind, one in writes]
        self._write("transact_write_items", TransactItems=items)

    def _write(self, operation: str, **request: Any) -> Any:
        """A conflict with another transaction on the same items is retried."""
        for attempt in range(1, MAX_CONFLICTS + 1):
            try:
                return getattr(self._client, operation)(**request)
            except ClientError as exc:
                reasons = _reasons(exc)
                _raise_refusal(reasons, exc)
                is_conflict = any("TransactionConflict" in reason["Code"] for reason in reasons)
                if not is_conflict or attempt == MAX_CONFLICTS:
                    raise
                self._sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - jitter
        raise AssertionError("the last try returns or raises")

    def pages(self, index: str, condition: str, values: Item, **more: Any) -> Iterator[list[Item]]:
        """What an index holds, in its order, page by page."""
        request = {
            "TableName": self._name,
            "IndexName": index,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": to_item(values),
            **more,
        }
        while True:
            answer: Any = self._client.query(**request)
            yield [from_item(item) for item in answer["Items"]]
            if not answer.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _reasons(exc: ClientError) -> list[Any]:
    """Why a write failed: for each item of a transaction, or for the only one."""
    data: Any = exc.response
    one = {"Code": data["Error"]["Code"], "Item": data.get("Item", {})}
    return list(data.get("CancellationReasons") or [one])


def _raise_refusal(reasons: list[Any], exc: Exception) -> None:
    """The first condition that failed, if one did."""
    for position, reason in enumerate(reasons):
        if "ConditionalCheckFailed" in reason["Code"]:
            raise ConditionFailed(from_item(reason.get("Item", {})), position) from exc
