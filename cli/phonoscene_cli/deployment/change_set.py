"""What a change set would do to a stack, and what of it loses data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

#: What is lost with a resource of a type. Buckets and the table are retained, but a stack that uses
#: others knows none of the jobs that were paid for.
DATA: Final[Mapping[str, str]] = {
    "AWS::S3::Bucket": "its files, which the stack no longer uses",
    "AWS::DynamoDB::Table": "its jobs, which the stack no longer knows and may pay for again",
    "AWS::SQS::Queue": "its messages",
}


class Effect(StrEnum):
    """What happens to a resource."""

    CREATE = "create"
    CHANGE = "change"
    REPLACE = "replace"
    MAY_REPLACE = "may replace"
    DELETE = "delete"


@dataclass(frozen=True)
class Change:
    """One resource that a change set changes."""

    name: str
    type: str
    effect: Effect

    @property
    def loses(self) -> str | None:
        """What would be lost, or None."""
        is_safe = self.effect in (Effect.CREATE, Effect.CHANGE)
        return None if is_safe else DATA.get(self.type)


_ACTIONS: Final = {"Add": Effect.CREATE, "Import": Effect.CREATE, "Remove": Effect.DELETE}
_REPLACEMENTS: Final = {"True": Effect.REPLACE, "Conditional": Effect.MAY_REPLACE}


def changes_of(entries: Iterable[Mapping[str, Any]]) -> list[Change]:
    """The changes that CloudFormation describes; one it cannot foresee may be a replacement."""
    found = [entry["ResourceChange"] for entry in entries if "ResourceChange" in entry]
    return [
        Change(one["LogicalResourceId"], one["ResourceType"], _effect(one))
        for one in sorted(found, key=lambda one: str(one["LogicalResourceId"]))
    ]


def _effect(change: Mapping[str, Any]) -> Effect:
    action = change["Action"]
    if action == "Modify":
        return _REPLACEMENTS.get(change.get("Replacement", "False"), Effect.CHANGE)
    return _ACTIONS.get(action, Effect.MAY_REPLACE)


def losses(changes: Iterable[Change], accepted: Collection[str]) -> list[Change]:
    """The changes that lose data and are not accepted by name."""
    return [one for one in changes if one.loses and one.name not in accepted]


def summary(changes: Iterable[Change]) -> str:
    """How many resources are created, changed, replaced and deleted."""
    counts = Counter(one.effect for one in changes)
    return ", ".join(f"{effect} {counts[effect]}" for effect in Effect if counts[effect]) or "none"
