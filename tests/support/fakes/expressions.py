"""DynamoDB's expressions, read once and evaluated on items in DynamoDB's own types.

Only the grammar that conditional writes and queries need; what is not known raises.
``test_crash_matrix`` compares every answer with moto's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from tests.support.fakes.calls import NotModelled

if TYPE_CHECKING:
    from collections.abc import Callable

_TOKEN: Final = re.compile(r"[#:]?\w[\w.#]*|<=|>=|<>|[=<>(),+-]")
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: _ordered(a, b) and a < b,
    "<=": lambda a, b: _ordered(a, b) and a <= b,
    ">": lambda a, b: _ordered(a, b) and a > b,
    ">=": lambda a, b: _ordered(a, b) and a >= b,
}


def _ordered(a: Any, b: Any) -> bool:
    """What is absent, or of another type, is in no order."""
    return a is not None and b is not None and a[0] == b[0]


@dataclass(frozen=True)
class Scope:
    """What an expression is evaluated on."""

    item: dict[str, Any]
    names: dict[str, str]
    values: dict[str, Any]

    def name(self, token: str) -> str:
        return self.names[token] if token.startswith("#") else token

    def read(self, token: str) -> Any:
        """A value or a path, ``a.b``; None where there is nothing."""
        if token.startswith(":"):
            return self.values[token]
        found: Any = {"M": self.item}
        for part in token.split("."):
            found = found.get("M", {}).get(self.name(part)) if found else None
        return found


def sortable(value: Any) -> Any:
    """A typed value as something that compares; None where there is nothing."""
    if value is None:
        return None
    [(kind, inner)] = value.items()
    return kind, Decimal(inner) if kind == "N" else inner


class _Reader:
    """The tokens of one expression."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        if "".join(self._tokens) != re.sub(r"\s", "", text):
            raise NotModelled(text)

    @property
    def ahead(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def take(self, wanted: str | None = None) -> str:
        token: str = self._tokens.pop(0)
        if wanted and token.upper() != wanted:
            raise NotModelled(f"{token} instead of {wanted}")
        return token

    def took(self, wanted: str) -> bool:
        if self.ahead.upper() != wanted:
            return False
        self.take()
        return True

    def listed(self) -> list[str]:
        """Names or values in brackets."""
        self.take("(")
        found = [self.take()]
        while self.took(","):
            found.append(self.take())
        self.take(")")
        return found


@cache
def condition(text: str) -> Callable[[Scope], bool]:
    """A condition, a key condition or a filter."""
    reader = _Reader(text)
    test = _either(reader)
    if reader.ahead:
        raise NotModelled(text)
    return test


def _either(reader: _Reader) -> Callable[[Scope], bool]:
    tests = [_both(reader)]
    while reader.took("OR"):
        tests.append(_both(reader))
    return lambda scope: any(test(scope) for test in tests)


def _both(reader: _Reader) -> Callable[[Scope], bool]:
    tests = [_single(reader)]
    while reader.took("AND"):
        tests.append(_single(reader))
    return lambda scope: all(test(scope) for test in tests)


def _single(reader: _Reader) -> Callable[[Scope], bool]:
    if reader.took("NOT"):
        inverted = _single(reader)
        return lambda scope: not inverted(scope)
    if reader.took("("):
        inner = _either(reader)
        reader.take(")")
        return inner
    token = reader.take()
    if reader.ahead == "(":
        arguments = reader.listed()
        if token != "size":
            return _function(token, arguments)
        compare, most = _COMPARE[reader.take()], reader.take()
        [path] = arguments
        return lambda scope: compare(_size(scope.read(path)), sortable(scope.read(most)))
    if reader.took("IN"):
        allowed = reader.listed()
        return lambda scope: scope.read(token) in [scope.read(one) for one in allowed]
    compare, other = _COMPARE[reader.take()], reader.take()
    return lambda scope: compare(sortable(scope.read(token)), sortable(scope.read(other)))


def _size(value: Any) -> Any:
    """How many members a set has; None where there is nothing."""
    return None if value is None else ("N", Decimal(len(value["SS"])))


def _contains(held: Any, one: Any) -> bool:
    return held is not None and one["S"] in held["SS"]


def _function(name: str, arguments: list[str]) -> Callable[[Scope], bool]:
    path = arguments[0]
    return {
        "attribute_exists": lambda scope: scope.read(path) is not None,
        "attribute_not_exists": lambda scope: scope.read(path) is None,
        "contains": lambda scope: _contains(scope.read(path), scope.read(arguments[1])),
    }[name]


@cache
def update(text: str) -> Callable[[Scope], dict[str, Any]]:
    """An update; it gives the new item and leaves the old one alone."""
    reader, steps = _Reader(text), []
    clauses = {"SET": _set, "REMOVE": _remove, "ADD": _add, "DELETE": _delete}
    while reader.ahead:
        clause = clauses[reader.take().upper()]
        steps.append(clause(reader))
        while reader.took(","):
            steps.append(clause(reader))

    def updated(scope: Scope) -> dict[str, Any]:
        changed = dict(scope.item)
        for step in steps:
            name, value = step(scope)
            _put(changed, name.split("."), value)
        return changed

    return updated


def _put(item: dict[str, Any], path: list[str], value: Any) -> None:
    """Set or remove what a path leads to, in a map of the item if need be."""
    name, *rest = path
    if rest:
        inner = dict(item[name]["M"])
        _put(inner, rest, value)
        item[name] = {"M": inner}
    elif value is None:
        item.pop(name, None)
    else:
        item[name] = value


def _set(reader: _Reader) -> Callable[[Scope], tuple[str, Any]]:
    path = reader.take()
    reader.take("=")
    value = _operand(reader)
    if reader.ahead in ("+", "-"):
        sign, left, right = reader.take(), value, _operand(reader)
        return lambda scope: (scope.name(path), _sum(left(scope), sign, right(scope)))
    return lambda scope: (scope.name(path), value(scope))


def _sum(left: Any, sign: str, right: Any) -> dict[str, str]:
    a, b = Decimal(left["N"]), Decimal(right["N"])
    return {"N": str(a + b if sign == "+" else a - b)}


def _operand(reader: _Reader) -> Callable[[Scope], Any]:
    token = reader.take()
    if reader.ahead != "(":
        return lambda scope: scope.read(token)
    reader.take("(")
    first = _operand(reader)
    reader.take(",")
    second = _operand(reader)
    reader.take(")")
    return {
        "if_not_exists": lambda scope: _first(first(scope), second(scope)),
        "list_append": lambda scope: {"L": [*first(scope)["L"], *second(scope)["L"]]},
    }[token]


def _first(found: Any, otherwise: Any) -> Any:
    return otherwise if found is None else found


def _remove(reader: _Reader) -> Callable[[Scope], tuple[str, Any]]:
    path = reader.take()
    return lambda scope: (scope.name(path), None)


def _add(reader: _Reader) -> Callable[[Scope], tuple[str, Any]]:
    path, token = reader.take(), reader.take()

    def added(scope: Scope) -> tuple[str, Any]:
        before, more = scope.read(path), scope.read(token)
        if "N" in more:
            return scope.name(path), _sum(before or {"N": "0"}, "+", more)
        members = set((before or {"SS": []})["SS"]) | set(more["SS"])
        return scope.name(path), {"SS": sorted(members)}

    return added


def _delete(reader: _Reader) -> Callable[[Scope], tuple[str, Any]]:
    path, token = reader.take(), reader.take()

    def deleted(scope: Scope) -> tuple[str, Any]:
        before, less = scope.read(path), scope.read(token)
        members = set((before or {"SS": []})["SS"]) - set(less["SS"])
        return scope.name(path), {"SS": sorted(members)} if members else None

    return deleted
