"""One step of a job as a conditional update: the condition is generated from ``TRANSITIONS``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from phonoscene.jobs import Job, JobStatus, Step, may_precede
from phonoscene.limits import next_day
from phonoscene.table.items import index_attributes, to_dynamodb, update
from phonoscene.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

#: What held a job up before a step, and is over with it.
_PAST: Final = (
    "waits_for",
    "missing_image",
    "waits_until",
    "unanswered_since",
    "problem",
    "unreadable_results",
)
#: The condition that a job was put off until there is a new budget; today's may have room for it.
FOR_BUDGET: Final = "{0}waits_for = :budget AND {0}dispatch_at >= :tomorrow"


def for_budget(at: datetime) -> dict[str, Any]:
    """The values of ``FOR_BUDGET``."""
    return {":budget": "budget", ":tomorrow": to_dynamodb(next_day(at))}


@dataclass(frozen=True)
class Transition:
    """One step of a job: from the record as it was read to the record as it will be."""

    job: Job
    status: JobStatus
    clock: datetime
    at: datetime | None
    only_from: frozenset[JobStatus]
    changes: dict[str, Any]
    #: Whether the job must still hold what it held when it was read, or nothing if it held nothing:
    #: only then may that be given back, or changed.
    settles: bool = False
    #: When the job's turn must have come: until then it was put off.
    turn: datetime | None = None
    #: The revision that the record must still have, where its status and attempt do not say enough.
    revision: int | None = None

    @property
    def allowed(self) -> list[JobStatus]:
        """The states from which this step may be taken."""
        return sorted(may_precede(self.status) & self.only_from)

    @property
    def _step(self) -> Step:
        return Step(status=self.status, at=self.clock)

    @property
    def after(self) -> Job:
        """The record once the step is written."""
        grown = {
            "history": (*self.job.history, self._step),
            "revision": self.job.revision + 1,
        }
        return self.job.model_copy(update=self._all_changes | grown)

    @property
    def _all_changes(self) -> dict[str, Any]:
        """With what every step changes: what held the job up before it is past."""
        always = {
            "status": self.status,
            "updated_at": self.clock,
            "phonoscene_version": VERSION,
        }
        past = dict.fromkeys(_PAST)
        return always | past | self.changes

    def _condition(self, origins: Mapping[str, str]) -> str:
        condition = f"#status IN ({', '.join(origins)}) AND attempt = :seen"
        if self.settles:
            is_held = "attribute_exists" if self.job.reservation else "attribute_not_exists"
            condition += f" AND {is_held}(reservation)"
        condition += " AND revision = :revision" if self.revision is not None else ""
        if self.turn:
            condition += f" AND (#dispatch_at <= :turn OR ({FOR_BUDGET.format('#')}))"
        return condition

    def request(self) -> dict[str, Any]:
        """The update: a value sets its attribute, None or nothing removes it."""
        after = self.after
        attributes = {name: to_dynamodb(getattr(after, name)) for name in self._all_changes}
        attributes |= index_attributes(after, self.at)
        kept = {name: value for name, value in attributes.items() if value not in (None, {}, [])}
        removed = [f"#{name}" for name in attributes if name not in kept]
        sets = [f"#{name} = :{name}" for name in kept]
        sets.append("history = list_append(if_not_exists(history, :none), :step)")
        origins = {f":from{n}": str(before) for n, before in enumerate(self.allowed)}
        values = {f":{name}": value for name, value in kept.items()} | origins
        values |= {":step": [to_dynamodb(self._step)], ":none": [], ":one": 1}
        values |= {":seen": self.job.attempt}
        if self.turn:
            values |= {":turn": to_dynamodb(self.turn), **for_budget(self.clock)}
        values |= {":revision": self.revision} if self.revision is not None else {}
        removal = f" REMOVE {', '.join(removed)}" if removed else ""
        request = update(
            self.job.job_id,
            f"SET {', '.join(sets)}{removal} ADD revision :one",
            values,
            self._condition(origins),
        )
        return request | {"ExpressionAttributeNames": {f"#{name}": name for name in attributes}}


def dropped_again(
    job: Job, at: datetime, more: Mapping[str, Any], only_from: frozenset[JobStatus]
) -> dict[str, Any]:
    """The update of a job whose name was dropped again: no step, but the newest drop is about it.

    ``more`` is added to the attributes of these names. Refused where another drop was noted
    meanwhile.
    """
    seen, newest = job.dropped_at, max(job.dropped_at or at, at)
    origins = {f":from{n}": str(status) for n, status in enumerate(sorted(only_from))}
    request = update(
        job.job_id,
        f"SET dropped_at = :at ADD {''.join(f'#{name} :{name}, ' for name in more)}revision :one",
        {":at": to_dynamodb(newest), ":one": 1, **origins}
        | {f":{name}": added for name, added in more.items()}
        | ({":seen": to_dynamodb(seen)} if seen else {}),
        f"#status IN ({', '.join(origins)}) AND "
        + ("dropped_at = :seen" if seen else "attribute_not_exists(dropped_at)"),
    )
    return request | {"ExpressionAttributeNames": {f"#{name}": name for name in ("status", *more)}}
