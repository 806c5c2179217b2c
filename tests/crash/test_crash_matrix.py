"""Processes that die anywhere lose no job, pay nothing twice and leave nothing behind.

A sample of pairs; ``python -m tests.crash.matrix`` runs all of them.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene.jobs import JobStatus
from phonoscene.table import ledger
from phonoscene.workflow.reconciliation import Reconciler
from tests.crash.matrix import Matrix, Row, Run, main, points, run, table
from tests.support.fakes.calls import FAULTS, Calls, Point
from tests.support.fakes.table import Refused, Twins
from tests.support.invariants import broken
from tests.support.scenarios import SCENARIOS
from tests.support.stack import JOBS

if TYPE_CHECKING:
    from phonoscene.jobs import Job

every_scenario = pytest.mark.parametrize("scenario", SCENARIOS)


@every_scenario
def test_the_undisturbed_world_ends_well_and_our_dynamodb_answers_as_motos(scenario: str) -> None:
    twins = Twins()
    world = SCENARIOS[scenario].world(Calls(), twins)

    world.run()

    assert broken(world, SCENARIOS[scenario]) == []
    assert twins.compared > 20


def test_reads_of_many_items_are_as_motos() -> None:
    """Of the operations that no scenario makes: the command line's, and those of tests."""
    twins, order = Twins(), random.Random(7)  # noqa: S311 - a sample
    names = [f"{n:032x}" for n in range(40)]
    items = [
        {
            "job_id": {"S": name},
            "name": {"S": f"talks/{n}"},
            "arguments": {"M": {"fps": {"N": "24"}}},
            **(
                {"due_shard": {"N": str(n % 3)}, "due_at": {"S": f"2026-11-{n:02}"}}
                if n % 4
                else {}
            ),
        }
        for n, name in enumerate(order.sample(names, 40))
    ]
    at = {"TableName": JOBS}
    puts = [{"PutRequest": {"Item": item}} for item in items]
    for start in range(0, len(puts), 25):
        twins.answer("BatchWriteItem", {"RequestItems": {JOBS: puts[start : start + 25]}})
    change = {
        "UpdateExpression": "SET arguments.fps = :f",
        "ExpressionAttributeValues": {":f": {"N": "9"}},
    }
    twins.answer("UpdateItem", {**at, "Key": {"job_id": {"S": names[3]}}, **change})
    keys = [{"job_id": {"S": name}} for name in order.sample([*names, "nothing"], 12)]
    part = {"ProjectionExpression": "#a, job_id", "ExpressionAttributeNames": {"#a": "name"}}

    for more in ({}, part):
        found = twins.answer("BatchGetItem", {"RequestItems": {JOBS: {"Keys": keys, **more}}})
        assert len(found["Responses"][JOBS]) >= len(keys) - 1
    for forward in (True, False):
        assert [len(page) for page in pages(twins, forward=forward)] == [4, 4, 2]
    assert len(twins.answer("Scan", at)["Items"]) == 40
    with pytest.raises(Refused, match="ValidationException"):
        twins.answer("GetItem", {**at, "Key": {"job_id": {"S": ""}}})


def pages(twins: Twins, *, forward: bool) -> list[list[Any]]:
    """A shard of the index ``due``, four items at a time, as both tables answer."""
    query: dict[str, Any] = {
        "TableName": JOBS,
        "IndexName": "due",
        "KeyConditionExpression": "due_shard = :shard",
        "ExpressionAttributeValues": {":shard": {"N": "1"}},
        "ScanIndexForward": forward,
        "Limit": 4,
    }
    found = [twins.answer("Query", query)]
    while len(found) < 5 and (last := found[-1].get("LastEvaluatedKey")):
        found.append(twins.answer("Query", query | {"ExclusiveStartKey": last}))
    return [page["Items"] for page in found]


@every_scenario
def test_a_process_may_die_at_any_moment(scenario: str) -> None:
    moments = run(scenario, tell_moments=True).moments

    runs = [run(scenario, [point]) for point in moments]

    assert len(runs) > 10
    assert [str(one) for one in runs if one.wrong] == []
    assert not sum(one.given_up for one in runs)


@every_scenario
def test_a_call_may_fail_or_lose_its_answer_or_be_made_twice(scenario: str) -> None:
    faults = [point for point in points(scenario) if point.when in FAULTS]
    sample = random.Random(scenario).sample(faults, 12)  # noqa: S311 - a sample

    runs = [run(scenario, [point]) for point in sample]

    assert [str(one) for one in runs if one.wrong] == []


@every_scenario
def test_a_second_process_may_die_at_any_moment_after_the_first(scenario: str) -> None:
    choose = random.Random(scenario)  # noqa: S311 - a sample
    first = choose.choice(run(scenario, tell_moments=True).moments[:-1])
    follow = run(scenario, [first], tell_moments=True).moments

    runs = [run(scenario, [first, second]) for second in choose.sample(follow, min(6, len(follow)))]

    assert [str(one) for one in runs if one.wrong] == []


def test_two_crashes_without_a_change_between_them_leave_the_same_world_behind() -> None:
    choose = random.Random(1902)  # noqa: S311 - a sample

    for scenario in ("a drop", "a video in parts", "a run that fails"):
        calls = Calls()
        undisturbed = SCENARIOS[scenario].world(calls)
        calls.state = undisturbed.state
        undisturbed.run()
        for passed in choose.sample(calls.passed, 10):
            twin = next(one for one in calls.passed if one.moment == passed.moment)
            assert _end(scenario, passed.point) == _end(scenario, twin.point)


def _end(scenario: str, point: Point) -> int:
    world = SCENARIOS[scenario].world(Calls([point]))
    world.run()
    return world.state()


def test_every_call_has_a_point_before_it_and_one_after_it_and_its_faults() -> None:
    found = points("a drop")

    assert len(found) == (2 + len(FAULTS)) * run("a drop").calls
    assert Point("submit: POST queue.fal.run #1", "before") in found
    assert Point("store: PutObject #2", "after") in found


def test_a_point_is_read_as_it_is_printed() -> None:
    assert Point.read("store: PutObject after") == Point("store: PutObject #1", "after")
    assert str(Point.read("store: PutObject #2 before")) == "store: PutObject #2 before"
    with pytest.raises(ValueError, match="ends with none"):
        Point.read("store: PutObject")


# What finds nothing must be able to find something.


def _wrongs(scenario: str) -> set[str]:
    moments = run(scenario, tell_moments=True).moments
    return {wrong for point in moments for wrong in run(scenario, [point]).wrong}


def test_a_product_that_sends_again_blindly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def settle(self: Reconciler, job: Job) -> None:
        self.store.end(job, JobStatus.READY, resubmitted=False)

    monkeypatch.setattr(Reconciler, "_settle", settle)

    assert "2 paid submissions, 1 allowed" in _wrongs("no webhook ever")


def test_a_product_that_keeps_its_money_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    give_back = ledger.give_back

    def forgetful(*arguments: Any, **named: Any) -> list[ledger.Change]:
        return give_back(*arguments, **named)[:1]

    monkeypatch.setattr(ledger, "give_back", forgetful)

    assert "the sums were not the jobs' and had to be put right" in _wrongs("a drop")


def test_a_product_that_never_looks_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reconciler, "_look", lambda *_: None)

    assert "something goes on for ever" in run("no webhook ever").wrong


def test_the_command_runs_one_crash_and_tells_what_happened(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["--only", "a drop", "--at", "store: PutObject after"])

    assert code == 0
    assert "store died" in capsys.readouterr().out


def test_the_table_names_what_failed_so_that_it_can_be_repeated() -> None:
    failed = Run("a drop", (Point("store: PutObject #1", "after"),), ("1 places leaked",))

    told = table([Row("a drop", calls=143, pairs=186)], [failed], 2.0)

    assert '1 places leaked\n    --only "a drop" --at "store: PutObject #1 after"' in told


def test_the_matrix_runs_in_several_processes() -> None:
    rows, failed = Matrix(["no sidecar"], most_pairs=2, every_point=False).play()

    assert failed == []
    assert [(row.scenario, row.pairs) for row in rows] == [("no sidecar", 2)]
    assert rows[0].stand_for > rows[0].pairs
