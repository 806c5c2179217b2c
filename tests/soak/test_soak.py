"""A soak small enough for every day, and proof that the audit sees what it is there for."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.fal_simulator.faults.fault_dial import FaultDial
from tests.soak.books import Audit, World
from tests.soak.plan import FAULTS, SoakOptions, background, plan
from tests.soak.soak import MUST_BE_ZERO, exit_code, soak, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.soak.plan import Drop, Fault

FOLDER = Path(__file__).parents[2] / ".build" / "soak"
AT = "2026-11-22T12:00:00+00:00"


def test_the_same_seed_drops_the_same() -> None:
    options = SoakOptions(drops=200, faults=0.25, seed=3)

    assert plan(options) == plan(options)
    assert sum(drop.fault is not None for drop in plan(options)) == 50
    assert plan(options) != plan(SoakOptions(drops=200, faults=0.25, seed=4))


def test_the_dial_takes_every_rule_of_a_plan() -> None:
    options = SoakOptions(drops=500, faults=0.5, seed=3)
    drops = plan(options)

    rules = [rule for drop in drops for rule in drop.rules()] + background(options)

    assert {drop.fault.name for drop in drops if drop.fault} == {one.name for one in FAULTS}
    assert len(FaultDial(None).add(rules)) == len(rules)


@pytest.mark.timeout(300)
def test_twenty_drops_under_faults_are_all_accounted_for() -> None:
    options = SoakOptions(drops=20, faults=0.2, seed=7, quick=True, patience=200)

    figures = soak(options, FOLDER)

    assert exit_code(figures) == 0, table(figures)
    assert figures["accounted"] == figures["dropped"] == 20
    assert sum(figures["struck"].values()) >= 4


# What the audit must see --------------------------------------------------------------------------


def test_a_world_in_order_has_no_breach() -> None:
    audit = _audit(lambda _: None)

    assert audit.breaches == audit.unsettled == audit.waiting == audit.exceptions == []


def _no_record(world: World) -> None:
    del world.items[0]
    world.outputs.clear()


def _second_job(world: World) -> None:
    world.items.append({**world.items[0], "job_id": "again"})


def _half_left_behind(world: World) -> None:
    half = {"key": "soak/half.wav", "version_id": "v"}
    world.items.append({"job_id": "h", "name": "soak/half", "status": "WAITING", "audio": half})


def _paid_again(world: World) -> None:
    world.requests.append(dict(world.requests[0]))
    world.items[0]["attempt"] = 2


def _asked_again_in_one_attempt(world: World) -> None:
    world.requests.append({**world.requests[0], "status_code": 503})


def _stored_again(world: World) -> None:
    world.outputs.append((world.outputs[0][0], "v2"))


def _deleted(world: World) -> None:
    world.outputs.clear()


def _video_of_nobody(world: World) -> None:
    world.outputs.append(("soak/elsewhere/job9.mp4", "v1"))


def _copy_missing(world: World) -> None:
    world.items[0]["video"]["stable_keys"] = ["soak/job1.mp4"]


def _failed(world: World) -> None:
    world.items[0] |= {"status": "FAILED", "errors": [{"code": "x"}], "video": None}
    world.outputs.clear()


def _place_kept(world: World) -> None:
    world.items[1]["in_flight"] = {"job9"}


def _money_kept(world: World) -> None:
    world.items[2]["reserved_usd"] = Decimal("0.01")


def _held_after_the_end(world: World) -> None:
    world.items[0]["reservation"] = {"day": "2026-11-22", "usd": Decimal("0.01")}


def _billed_more(world: World) -> None:
    world.requests[0]["billable_units"] = "3"


def _budget_behind(world: World) -> None:
    world.items[2]["committed_usd"] = Decimal("0.01")


def _receipt_behind(world: World) -> None:
    assert world.receipts
    for receipt in world.receipts.values():
        receipt["revision"] = 4


def _no_receipt(world: World) -> None:
    assert world.receipts
    world.receipts.clear()


@pytest.mark.parametrize(
    ("harm", "breach"),
    [
        (_receipt_behind, "stale_receipts"),
        (_no_receipt, "stale_receipts"),
        (_no_record, "lost"),
        (_second_job, "double_jobs"),
        (_half_left_behind, "strange_records"),
        (_paid_again, "paid_twice"),
        (_asked_again_in_one_attempt, "paid_twice"),
        (_stored_again, "double_videos"),
        (_deleted, "lost_videos"),
        (_video_of_nobody, "orphan_videos"),
        (_copy_missing, "lost_copies"),
        (_failed, "unexpected_ends"),
        (_place_kept, "leaked_slots"),
        (_money_kept, "leaked_usd"),
        (_held_after_the_end, "leaked_reservations"),
        (_billed_more, "billed_above_reserved"),
        (_billed_more, "billed_above_recorded"),
        (_budget_behind, "miscounted_usd"),
    ],
)
def test_the_audit_sees(harm: Callable[[World], None], breach: str) -> None:
    audit = _audit(harm)

    kinds = {one.partition(":")[0] for one in audit.breaches}
    assert breach in kinds
    assert kinds <= MUST_BE_ZERO.keys()


def test_a_higher_bill_is_no_breach_where_the_simulator_adds_it_and_the_job_says_so() -> None:
    def larger(world: World) -> None:
        world.requests[0]["billable_units"] = "3"
        world.items[0]["actual"] = {"upper_usd": Decimal(3)}
        world.items[2]["committed_usd"] = Decimal(3)

    answer = next(fault for fault in FAULTS if fault.bills_more)

    assert _audit(larger, answer).breaches == []
    assert len(_audit(larger).breaches) == 1


def test_an_attempt_after_a_failed_run_is_an_exception_with_its_reason() -> None:
    def retried(world: World) -> None:
        failed = {**world.requests[0], "status_code": 503, "error_type": "runner_disconnected"}
        world.requests.insert(0, failed)
        world.items[0]["attempt"] = 2

    audit = _audit(retried)

    assert audit.breaches == []
    assert audit.exceptions[0].endswith("retried after runner_disconnected")


@pytest.mark.parametrize(("fal_has_it", "found"), [(False, "waiting"), (True, "unsettled")])
def test_an_unconfirmed_job_waits_only_where_fal_has_nothing(fal_has_it: bool, found: str) -> None:
    def cut_off(world: World) -> None:
        world.items[0] |= {"status": "UNCONFIRMED", "video": None}
        world.outputs.clear()
        if not fal_has_it:
            world.requests.clear()

    audit = _audit(cut_off)

    assert [len(audit.waiting), len(audit.unsettled)] == [found == "waiting", found == "unsettled"]


def _audit(harm: Callable[[World], None], fault: Fault | None = None) -> Audit:
    (drop,) = plan(SoakOptions(drops=1, faults=0, seed=1))
    drop.bad, drop.cancel, drop.fault = None, False, fault
    drop.audio_version, drop.sidecar_version = "a1", "s1"
    world = _in_order(drop)
    harm(world)
    return Audit([drop], world).run()


def _in_order(drop: Drop) -> World:
    key = f"{drop.name}/job1.mp4"
    record: dict[str, Any] = {
        "job_id": "job1",
        "name": drop.name,
        "status": "SUCCEEDED",
        "audio": {"key": drop.audio, "version_id": "a1"},
        "sidecar": {"key": drop.sidecar, "version_id": "s1"},
        "attempt": Decimal(1),
        "revision": Decimal(5),
        "estimate": {"usd_per_megapixel": Decimal(1), "upper_usd": Decimal(1)},
        "history": [{"status": "SUBMITTING", "at": AT}, {"status": "GENERATED", "at": AT}],
        "video": {"key": key, "version_id": "v1"},
    }
    request = {
        "arguments": {"prompt": drop.prompt},
        "status_code": 200,
        "error_type": None,
        "submitted_at": 4e9,
        "billable_units": "1",
    }
    sums: list[dict[str, Any]] = [
        {"job_id": "window"},
        {"job_id": "budget#2026-11-22", "reserved_usd": Decimal(0), "committed_usd": Decimal(1)},
    ]
    receipt = {name: record[name] for name in ("job_id", "status", "revision")}
    receipts = {f"{drop.name}.status.json": receipt}
    return World([record, *sums], [(key, "v1")], [request], receipts=receipts)
