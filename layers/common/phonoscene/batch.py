"""Lambda's batches: record after record, and the answer that names those which must come back.

Not Powertools': its processor brings asyncio and a class for every kind of event.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Record = dict[str, Any]


@dataclass(frozen=True)
class Message:
    """A message of a queue: its text, SQS's word for this receipt, and how many there were."""

    body: str
    receipt_handle: str
    tries: int

    @classmethod
    def of(cls, record: Record) -> Self:
        """Read a record of Lambda's event."""
        tries = int(record["attributes"]["ApproximateReceiveCount"])
        return cls(record["body"], record["receiptHandle"], tries)

    def json(self) -> Any:
        """What the text holds; a ``ValueError`` where that is no JSON."""
        return json.loads(self.body)


def each(event: Mapping[str, Any], handle: Callable[[Message], object]) -> dict[str, Any]:
    """Handle a queue's messages, each by itself; one that fails comes back, and no other."""
    failed = []
    for record in event["Records"]:
        try:
            handle(Message.of(record))
        except Exception:  # noqa: BLE001 - whatever it is, the handler has logged it
            failed.append(record["messageId"])
    return _failures(failed)


def in_order(event: Mapping[str, Any], handle: Callable[[Record], object]) -> dict[str, Any]:
    """Handle a stream's records in their order, up to the first that fails: none overtakes it.

    Lambda hands out that one and all after it again. Where it is the very first, its error is the
    function's, so that AWS counts an error where nothing continues.
    """
    records = event["Records"]
    for position, record in enumerate(records):
        try:
            handle(record)
        except Exception:
            if position == 0:
                raise
            return _failures(one["dynamodb"]["SequenceNumber"] for one in records[position:])
    return _failures(())


def _failures(identifiers: Iterable[str]) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": one} for one in identifiers]}
