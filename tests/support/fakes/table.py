"""DynamoDB in this process: one table with its indexes, conditional writes and transactions.

moto takes a hundred times as long; ``Twins`` asks both and compares.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from boto3.dynamodb.types import TypeDeserializer
from botocore import xform_name
from moto.core.exceptions import JsonRESTError
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.utilities import dynamo_json_dump
from moto.dynamodb.responses import DynamoHandler

from tests.support import stack
from tests.support.fakes.calls import NotModelled
from tests.support.fakes.expressions import Scope, condition, sortable, update
from tests.support.template import read

if TYPE_CHECKING:
    from collections.abc import Callable


class Refused(Exception):
    """AWS answers with an error."""

    def __init__(self, code: str, **more: Any) -> None:
        super().__init__(code)
        self.response: dict[str, Any] = {"Error": {"Code": code, "Message": code}, **more}


@cache
def _indexes() -> dict[str, tuple[str, str, frozenset[str] | None]]:
    """Each index's two keys, and the attributes it holds; None: all."""
    table = read()["Resources"]["JobsTable"]["Properties"]
    found = {}
    for index in table["GlobalSecondaryIndexes"]:
        partition, sort = (key["AttributeName"] for key in index["KeySchema"])
        projection = index["Projection"]
        held = frozenset({"job_id", partition, sort, *projection.get("NonKeyAttributes", [])})
        is_all = projection["ProjectionType"] == "ALL"
        found[index["IndexName"]] = (partition, sort, None if is_all else held)
    return found


#: No page of a query or a scan is larger, in bytes.
PAGE: Final = 1024 * 1024


def _scope(asked: dict[str, Any], item: dict[str, Any]) -> Scope:
    names = asked.get("ExpressionAttributeNames", {})
    return Scope(item, names, asked.get("ExpressionAttributeValues", {}))


def _key(asked: dict[str, Any]) -> str:
    key: str = (asked.get("Key") or asked["Item"])["job_id"]["S"]
    if not key:
        raise Refused("ValidationException")
    return key


class Reader:
    """boto3's reader of values, which reads each once: none is ever changed in place."""

    def __init__(self) -> None:
        self._read = TypeDeserializer().deserialize
        #: Each value is kept, so that its id remains its own.
        self._known: dict[int, tuple[Any, Any]] = {}

    def deserialize(self, value: Any) -> Any:
        """A value of DynamoDB's in Python's types."""
        if id(value) not in self._known:
            self._known[id(value)] = value, self._read(value)
        return self._known[id(value)][1]


class Table:
    """The jobs table; items are in DynamoDB's types, and never changed in place."""

    def __init__(self) -> None:
        self._items: dict[str, dict[str, Any]] = {}
        self._state: str | None = None
        self.reader = Reader()
        #: The stream: each write's item before and after it, empty where there is none.
        self.changes: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def clear(self) -> None:
        """As it was made."""
        self._items.clear()
        self._state = None
        self.changes.clear()

    def items(self) -> list[dict[str, Any]]:
        """Every item."""
        return list(self._items.values())

    def index(self, name: str) -> set[str]:
        """The ids that an index holds."""
        return {item["job_id"]["S"] for item in self._indexed(name)}

    def _indexed(self, name: str) -> list[dict[str, Any]]:
        """The items that an index holds."""
        partition, sort, _ = _indexes()[name]
        return [item for item in self._items.values() if partition in item and sort in item]

    def state(self) -> str:
        """Distinguishes two tables."""
        if self._state is None:
            self._state = repr(self._items)
        return self._state

    def answer(self, operation: str, asked: dict[str, Any]) -> Any:
        """One operation, in DynamoDB's words."""
        if asked.get("TableName", stack.JOBS) != stack.JOBS:
            raise Refused("ResourceNotFoundException")
        if operation not in _ANSWERS:
            raise NotModelled(f"dynamodb {operation}")
        return _ANSWERS[operation](self, asked)

    def _get(self, asked: dict[str, Any]) -> Any:
        found = self._items.get(_key(asked))
        return {"Item": found} if found else {}

    def _there(self, asked: dict[str, Any]) -> dict[str, Any]:
        return self._items.get(_key(asked), {})

    def _holds(self, asked: dict[str, Any]) -> bool:
        wanted = asked.get("ConditionExpression")
        return wanted is None or condition(wanted)(_scope(asked, self._there(asked)))

    def _found(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What a refusal shows of the item."""
        there = self._there(asked)
        is_shown = asked.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and there
        return {"Item": there} if is_shown else {}

    def _write(self, asked: dict[str, Any]) -> Any:
        if not self._holds(asked):
            raise Refused("ConditionalCheckFailedException", **self._found(asked))
        after = self._apply(asked)
        return {"Attributes": after} if asked.get("ReturnValues") == "ALL_NEW" else {}

    def _apply(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """Put, update or delete; the item as it then is."""
        self._state = None
        before = self._there(asked)
        if "Item" in asked:
            after = asked["Item"]
        elif "UpdateExpression" in asked:
            scope = _scope(asked, before)
            after = {**asked["Key"], **update(asked["UpdateExpression"])(scope)}
        else:
            self._items.pop(_key(asked), None)
            self._tell(before, {})
            return None
        self._items[after["job_id"]["S"]] = after
        self._tell(before, after)
        return dict(after)

    def _tell(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        """A write that changes nothing is not in the stream."""
        if before != after:
            self.changes.append((before, after))

    def _transact(self, asked: dict[str, Any]) -> Any:
        kinds = [kind for item in asked["TransactItems"] for kind in item]
        writes = [write for item in asked["TransactItems"] for write in item.values()]
        keys = [_key(write) for write in writes]
        if len(set(keys)) != len(keys):
            raise Refused("ValidationException")
        if all(self._holds(write) for write in writes):
            for kind, write in zip(kinds, writes, strict=True):
                if kind != "ConditionCheck":
                    self._apply(write)
            return {}
        reasons = [
            {"Code": "None"}
            if self._holds(write)
            else {"Code": "ConditionalCheckFailed", **self._found(write)}
            for write in writes
        ]
        raise Refused("TransactionCanceledException", CancellationReasons=reasons)

    def _get_many(self, asked: dict[str, Any]) -> Any:
        [(name, wanted)] = asked["RequestItems"].items()
        found = [self._items.get(key["job_id"]["S"]) for key in wanted["Keys"]]
        return {
            "Responses": {name: [_projected(item, wanted) for item in found if item]},
            "UnprocessedKeys": {},
        }

    def _write_many(self, asked: dict[str, Any]) -> Any:
        [writes] = asked["RequestItems"].values()
        for write in writes:
            [one] = write.values()
            self._apply(one)
        return {"UnprocessedItems": {}}

    def _query(self, asked: dict[str, Any]) -> Any:
        partition, sort, _ = _indexes()[asked["IndexName"]]
        matches = condition(asked["KeyConditionExpression"])
        found = [i for i in self._indexed(asked["IndexName"]) if matches(_scope(asked, i))]
        is_backward = not asked.get("ScanIndexForward", True)
        found.sort(key=lambda item: sortable(item[sort]), reverse=is_backward)
        return _page(asked, found, (partition, sort))

    def _scan(self, asked: dict[str, Any]) -> Any:
        if "IndexName" not in asked:
            return _page(asked, self.items(), ())
        partition, sort, _ = _indexes()[asked["IndexName"]]
        return _page(asked, self._indexed(asked["IndexName"]), (partition, sort))


_ANSWERS: Final[dict[str, Callable[[Table, dict[str, Any]], Any]]] = {
    "GetItem": Table._get,
    "PutItem": Table._write,
    "UpdateItem": Table._write,
    "DeleteItem": Table._write,
    "TransactWriteItems": Table._transact,
    "BatchGetItem": Table._get_many,
    "BatchWriteItem": Table._write_many,
    "Query": Table._query,
    "Scan": Table._scan,
    "ListTables": lambda *_: {"TableNames": [stack.JOBS]},
}


def _projected(item: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """The attributes that a read asks for; whole without a projection."""
    if "ProjectionExpression" not in asked:
        return item
    scope = _scope(asked, item)
    names = [scope.name(token.strip()) for token in asked["ProjectionExpression"].split(",")]
    return {name: item[name] for name in names if name in item}


def _page(asked: dict[str, Any], found: list[dict[str, Any]], keys: tuple[str, ...]) -> Any:
    """The items of a query or a scan up to its limit or 1 MiB, and where the next page begins."""
    if "ExclusiveStartKey" in asked:
        last = asked["ExclusiveStartKey"]["job_id"]
        found = found[[item["job_id"] for item in found].index(last) + 1 :]
    read: list[dict[str, Any]] = []
    size = 0
    for item in found:
        if len(read) == asked.get("Limit") or size >= PAGE:
            break
        read.append(item)
        size += _size(item)
    held = _indexes()[asked["IndexName"]][2] if "IndexName" in asked else None
    kept = [
        {name: value for name, value in item.items() if held is None or name in held}
        for item in read
    ]
    if "FilterExpression" in asked:
        passes = condition(asked["FilterExpression"])
        kept = [item for item in kept if passes(_scope(asked, item))]
    answer: dict[str, Any] = {"Count": len(kept), "ScannedCount": len(read)}
    if asked.get("Select") != "COUNT":
        answer["Items"] = [_projected(item, asked) for item in kept]
    if len(read) < len(found) or len(read) == asked.get("Limit"):
        answer["LastEvaluatedKey"] = {name: read[-1][name] for name in ("job_id", *keys)}
    return answer


def _size(item: dict[str, Any]) -> int:
    """About the bytes of an item."""
    return len(json.dumps(item))


class Mismatch(BaseException):
    """Two answers to one question; no ``except`` of the product may catch it."""


class Twins(Table):
    """The same, and moto's beside it: whatever they do not answer alike is a mistake of ours."""

    def __init__(self) -> None:
        super().__init__()
        _make_motos()
        # not kept: a transaction that fails puts another table in its place
        dynamodb_backends[stack.ACCOUNT][stack.REGION].tables[stack.JOBS].items.clear()
        self.compared = 0

    def answer(self, operation: str, asked: dict[str, Any]) -> Any:
        """One operation, asked twice."""
        ours, theirs = _said(super().answer, operation, asked), _said(_moto, operation, asked)
        self.compared += 1
        answers = [_comparable(ours), _comparable(theirs)]
        if operation == "Scan":  # DynamoDB promises no order
            for answer in answers:
                answer["Items"].sort(key=repr)
        if answers[0] != answers[1]:
            raise Mismatch(f"{operation} {asked}: {answers[0]} and {answers[1]}")
        if isinstance(ours, Refused):
            raise ours
        return ours


def _said(answer: Callable[[str, Any], Any], operation: str, asked: Any) -> Any:
    try:
        return answer(operation, asked)
    except Refused as exc:
        return exc


def _comparable(answer: Any) -> Any:
    """An answer without what differs without meaning: capacities, and texts for people."""
    if isinstance(answer, Refused):
        return _comparable({"Refused": str(answer), **answer.response})
    if isinstance(answer, dict):
        left_out = (
            "ConsumedCapacity",
            "ConsumedCapacityUnits",
            "ItemCollectionMetrics",
            "LastEvaluatedKey",
            "Error",
            "Message",
            "message",
        )
        kept = {name: _comparable(value) for name, value in answer.items() if name not in left_out}
        return {"N": float(kept["N"])} if set(kept) == {"N"} else kept
    return [_comparable(one) for one in answer] if isinstance(answer, list) else answer


@cache
def _make_motos() -> None:
    table = read()["Resources"]["JobsTable"]["Properties"]
    names = ("BillingMode", "KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes")
    _asked("create_table", {"TableName": stack.JOBS, **{name: table[name] for name in names}})


def _asked(operation: str, body: Any) -> Any:
    """moto without HTTP."""
    handler = DynamoHandler()
    handler.body, handler.headers = body, {}
    handler.region, handler.current_account, handler.partition = stack.REGION, stack.ACCOUNT, "aws"
    return getattr(handler, operation)().result


def _moto(operation: str, asked: Any) -> Any:
    try:
        return json.loads(dynamo_json_dump(_asked(xform_name(operation), asked)))
    except JsonRESTError as exc:
        body = json.loads(exc.get_body())
        code = str(body.pop("__type")).rpartition("#")[2]
        raise Refused(code, **body) from exc
