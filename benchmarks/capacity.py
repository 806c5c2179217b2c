"""Counts DynamoDB's request units by its published rules, on the crash tests' table.

A write costs a unit for each KB begun of the larger of the item before and after, twice that in a
transaction, and what it changes in the indexes, each as a write of its own. A read costs a unit for
each 4 KB begun, and half of that where it need not be consistent, as on an index.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.worlds import IndexedTable
from tests.support.fakes.table import _indexes

if TYPE_CHECKING:
    from collections.abc import Callable

WRITES: Final = "DynamoDB, write request units"
READS: Final = "DynamoDB, read request units"
KB: Final = 1024


class MeteredTable(IndexedTable):
    """The jobs table with a meter; ``caller`` says for whom it counts."""

    def __init__(self) -> None:
        super().__init__()
        self.units: Counter[tuple[str, str]] = Counter()
        self.caller: Callable[[], str] = lambda: ""
        self._factor = 1

    def _count(self, kind: str, units: float) -> None:
        self.units[self.caller(), kind] += units  # type: ignore[assignment]  # halves are units too

    def answer(self, operation: str, asked: dict[str, Any]) -> Any:
        """One operation; in a transaction each write costs twice."""
        self._factor = 2 if operation == "TransactWriteItems" else 1
        return super().answer(operation, asked)

    def _get(self, asked: dict[str, Any]) -> Any:
        answer = super()._get(asked)
        factor = 1 if asked.get("ConsistentRead") else 0.5
        self._count(READS, factor * read_units(size_of(answer.get("Item", {}))))
        return answer

    def _query(self, asked: dict[str, Any]) -> Any:
        answer = super()._query(asked)
        self._count(READS, 0.5 * read_units(sum(map(size_of, answer["Items"]))))
        return answer

    def _apply(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        before = self._there(asked)
        after = super()._apply(asked)
        units = self._factor * write_units(max(size_of(before), size_of(after or {})))
        self._count(WRITES, units + index_units(before, after or {}))
        return after


def read_units(size: int) -> int:
    """Of a consistent read."""
    return max(1, math.ceil(size / (4 * KB)))


def write_units(size: int) -> int:
    """Of a write outside of a transaction."""
    return max(1, math.ceil(size / KB))


def index_units(before: dict[str, Any], after: dict[str, Any]) -> int:
    """What a write changes in all indexes: an entry that moves is removed and written."""
    units = 0
    for partition, sort, held in _indexes().values():
        old, new = (_entry(item, partition, sort, held) for item in (before, after))
        if old == new:
            continue
        moved = old and new and any(old[key] != new[key] for key in (partition, sort))
        if old and (moved or not new):
            units += write_units(size_of(old))
        if new:
            units += write_units(size_of(new))
    return units


def _entry(
    item: dict[str, Any], partition: str, sort: str, held: frozenset[str] | None
) -> dict[str, Any]:
    """What an index holds of an item; nothing where the item has not both of its keys."""
    if partition not in item or sort not in item:
        return {}
    return {name: value for name, value in item.items() if held is None or name in held}


def size_of(item: dict[str, Any]) -> int:
    """An item's bytes as DynamoDB counts them: names and values, 3 for each list or map."""
    return sum(len(name.encode()) + _value(value) for name, value in item.items())


def _value(typed: dict[str, Any]) -> int:
    [(kind, value)] = typed.items()
    match kind:
        case "M":
            return 3 + size_of(value) + len(value)
        case "L":
            return 3 + sum(1 + _value(one) for one in value)
        case "SS" | "NS":
            return sum(len(one.encode()) for one in value)
        case "N":
            return len(value) // 2 + 2
        case "BOOL" | "NULL":
            return 1
    return len(value.encode())
