"""The soak's audit: what was dropped, against the table, the output bucket and fal's own books.

It knows nothing of the product but what its documents promise.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from tests.support.records import spent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.soak.plan import Drop

Item = dict[str, Any]
FINAL: Final = {"SUCCEEDED", "FAILED", "REJECTED", "CANCELLED"}
OK: Final = 200


@dataclass(frozen=True)
class World:
    """Everything that can be seen from outside at one moment."""

    items: list[Item]
    #: (key, version) of each object version in the output bucket; None: a delete marker.
    outputs: list[tuple[str, str | None]]
    #: fal's accepted requests.
    requests: list[Item]
    #: Messages in the stack's two queues, of any visibility.
    queued: int = 0
    #: The receipts by key, where somebody looked at them.
    receipts: dict[str, Item] | None = None

    @property
    def records(self) -> list[Item]:
        """The jobs, and the halves that wait."""
        return [item for item in self.items if "status" in item]

    def item(self, key: str) -> Item:
        """One of the sums, or nothing."""
        return next((item for item in self.items if item["job_id"] == key), {})


@dataclass
class Audit:
    """Every drop looked at once; ``breaches`` is what must not be."""

    drops: list[Drop]
    world: World
    breaches: list[str] = field(default_factory=list)
    exceptions: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def run(self) -> Audit:
        """Look at all of it."""
        self.figures["billed_usd"] = "0"
        self.accepted = _by(self.world.requests, lambda one: one["arguments"]["prompt"])
        self.by_pair = _by(self.world.records, pair_of)
        accounted = [self._look(drop) for drop in self.drops]
        self._strangers()
        self._videos()
        self._sums()
        self._receipts()
        self.figures |= {
            "dropped": len(self.drops),
            "accounted": sum(accounted),
            "statuses": dict(Counter(record["status"] for record in self.world.records)),
            "waiting_for_proven_silence": len(self.waiting),
            "unsettled": len(self.unsettled),
            **self._home(),
        }
        return self

    def _home(self) -> dict[str, float]:
        """Seconds from the end of fal's run until its video was in the bucket."""
        ended = {one.get("request_id"): one.get("completed_at") for one in self.world.requests}
        took = []
        for record in self.world.records:
            began = ended.get((record.get("request") or {}).get("request_id"))
            if record["status"] == "SUCCEEDED" and began:
                took.append(_seconds(record["history"][-1]["at"]) - began)
        took.sort()
        return {
            "home_p50": round(took[len(took) // 2], 1) if took else 0.0,
            "home_most": round(took[-1], 1) if took else 0.0,
        }

    def _breach(self, what: str, text: str) -> None:
        self.breaches.append(f"{what}: {text}")

    def _look(self, drop: Drop) -> bool:
        """One drop and its job; whether it has exactly one."""
        records = self.by_pair.get((drop.audio, drop.audio_version, drop.sidecar_version), [])
        if len(records) != 1:
            self._unaccounted(drop, len(records))
            return False
        (record,) = records
        self._payments(drop, record)
        if record["status"] not in FINAL:
            self._in_motion(drop, record)
        elif record["status"] not in drop.may_end:
            self._breach("unexpected_ends", f"{drop.name}: {_end(record)} {_fault(drop)}")
        elif record["status"] in {"FAILED", "REJECTED"} and not record.get("errors"):
            self._breach("ends_without_reason", f"{drop.name}: {record['status']}")
        return True

    def _unaccounted(self, drop: Drop, found: int) -> None:
        if found == 0 and self.world.queued:
            self.unsettled.append(f"{drop.name}: no record yet, and messages wait in the queues")
        else:
            self._breach("lost" if found == 0 else "double_jobs", f"{drop.name}: {found} records")

    def _in_motion(self, drop: Drop, record: Item) -> None:
        if record["status"] == "UNCONFIRMED" and not self._answering(drop, record):
            self.waiting.append(f"{drop.name}: {record['job_id']} attempt {record['attempt']}")
        else:
            self.unsettled.append(f"{drop.name}: {record['status']} {_fault(drop)}")

    def _answering(self, drop: Drop, record: Item) -> list[Item]:
        """fal's requests that may be this attempt's: those that began after its claim."""
        claimed = max(step["at"] for step in record["history"] if step["status"] == "SUBMITTING")
        mine = self.accepted.get(drop.prompt, [])
        return [one for one in mine if one["submitted_at"] >= _seconds(claimed) - 1]

    def _payments(self, drop: Drop, record: Item) -> None:
        """At most one paid request; what fal was asked more than once must say why."""
        mine = self.accepted.get(drop.prompt, [])
        paid = [one for one in mine if one["status_code"] in {OK, None}]
        failed = [str(one["error_type"] or one["status_code"]) for one in mine if one not in paid]
        self.figures["accepted"] = self.figures.get("accepted", 0) + len(mine)
        self.figures["paid"] = self.figures.get("paid", 0) + len(paid)
        reason = ("resubmitted after a proven silence, " * bool(record.get("resubmitted"))) + (
            f"retried after {', '.join(failed)}" if failed else ""
        )
        attempts = int(record.get("attempt", 0))
        text = f"{drop.name}: {len(mine)} accepted, {len(paid)} paid, {attempts} attempts"
        self._bills(drop, record, paid)
        if len(paid) > 1 + bool(record.get("resubmitted")) or len(mine) > attempts:
            self._breach("paid_twice", text)
        elif drop.bad and mine:
            self._breach("paid_though_bad", text)
        elif len(mine) > 1:
            self.exceptions.append(f"{text}: {reason or 'no reason'}")
            if not reason:
                self._breach("unexplained_requests", text)

    def _bills(self, drop: Drop, record: Item, paid: list[Item]) -> None:
        """fal bills no more than was reserved, unless a fault adds to it; then the job says so."""
        asked = record.get("estimate") or {}
        for one in paid:
            if not asked or one.get("billable_units") is None:
                continue
            usd = Decimal(one["billable_units"]) * asked["usd_per_megapixel"]
            self.figures["billed_usd"] = str(Decimal(self.figures["billed_usd"]) + usd)
            text = f"{drop.name}: {usd} USD billed, {asked['upper_usd']} reserved"
            if usd > asked["upper_usd"] and not (drop.fault and drop.fault.bills_more):
                self._breach("billed_above_reserved", text)
            if record["status"] == "SUCCEEDED" and usd > spent(record):
                self._breach("billed_above_recorded", f"{text}, {spent(record)} recorded")

    def _strangers(self) -> None:
        """Records that no drop explains: a second job, or a half left behind."""
        known = {(drop.audio, drop.audio_version, drop.sidecar_version) for drop in self.drops}
        for pair, records in self.by_pair.items():
            if pair not in known:
                names = [f"{record['name']} {record['status']}" for record in records]
                self._breach("strange_records", ", ".join(names))
        prompts = {drop.prompt for drop in self.drops}
        for prompt in self.accepted.keys() - prompts:
            self._breach("strange_requests", prompt)

    def _videos(self) -> None:
        """One version of each video, one video of each job that succeeded, and its copies."""
        stored = _by(
            (one for one in self.world.outputs if not one[0].endswith(".json")), lambda one: one[0]
        )
        self._copies(stored)
        for key, versions in stored.items():
            if len(versions) != 1 or versions[0][1] is None:
                self._breach("double_videos", f"{key}: {len(versions)} versions")
        fields = {}
        for record in self.world.records:
            video = record.get("video")
            if record["status"] == "SUCCEEDED":
                key = video["key"] if video else ""
                fields[key] = record
                if not video or (key, video["version_id"]) not in stored.get(key, []):
                    self._breach("lost_videos", f"{record['name']}: {key or 'no video'}")
        moving = [r["job_id"] for r in self.world.records if r["status"] not in FINAL]
        for key in stored.keys() - fields.keys():
            if not any(job in key for job in moving):
                self._breach("orphan_videos", key)
        self.figures["videos"] = len(stored)

    def _copies(self, stored: dict[str, list[Any]]) -> None:
        """Take out what is at stable keys; each has a copy."""
        videos = [r["video"] for r in self.world.records if r.get("video")]
        for key in {key for video in videos for key in video.get("stable_keys", ())}:
            if not stored.pop(key, None):
                self._breach("lost_copies", key)

    def _sums(self) -> None:
        """Places and money set aside belong to jobs in motion, each to one."""
        held = [r for r in self.world.records if r.get("reservation")]
        for record in held:
            if record["status"] in FINAL | {"READY"}:
                self._breach("leaked_reservations", f"{record['name']}: {record['status']}")
        slots = len(self.world.item("window").get("in_flight", ()))
        if slots != len(held):
            self._breach("leaked_slots", f"{slots} taken, {len(held)} held")
        days = [item for item in self.world.items if item["job_id"].startswith("budget#")]
        for item in days:
            day = item["job_id"].partition("#")[2]
            due = sum(r["reservation"]["usd"] for r in held if r["reservation"]["day"] == day)
            if item.get("reserved_usd", 0) != due:
                self._breach("leaked_usd", f"{day}: {item['reserved_usd']} set aside, {due} held")
        committed = sum((item.get("committed_usd", Decimal(0)) for item in days), Decimal(0))
        due = sum((r["reservation"]["usd"] for r in held), Decimal(0))
        due += sum(map(spent, self.world.records), Decimal(0))
        if committed != due:
            self._breach("miscounted_usd", f"{committed} committed, {due} by the records")
        self.figures |= {"slots_taken": slots, "committed_usd": str(committed)}

    def _receipts(self) -> None:
        """Each receipt has the status of its job: every name has one job here."""
        if self.world.receipts is None:
            return
        for record in self.world.records:
            answer = self.world.receipts.get(f"{record['name']}.status.json", {})
            same = ("job_id", "status", "revision")
            if [answer.get(field) for field in same] != [record.get(field) for field in same]:
                shown = f"{record['status']} at {record.get('revision')}"
                self._breach(
                    "stale_receipts", f"{record['name']}: {shown}, receipt {answer or 'none'}"
                )


def pair_of(record: Item) -> tuple[str, str, str]:
    """Which audio and which versions a record was made from."""
    audio, sidecar = record.get("audio") or {}, record.get("sidecar") or {}
    return audio.get("key", ""), audio.get("version_id", ""), sidecar.get("version_id", "")


def _by(things: Iterable[Any], key: Any) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = defaultdict(list)
    for thing in things:
        found[key(thing)].append(thing)
    return found


def _end(record: Item) -> str:
    return f"{record['status']} ({', '.join(e['code'] for e in record.get('errors') or [])})"


def _fault(drop: Drop) -> str:
    return f"(fault: {drop.fault.name if drop.fault else 'none'})"


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
