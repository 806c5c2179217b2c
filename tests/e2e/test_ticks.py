"""Jobs that wait for a tick, which comes once a minute; they were dropped before all others."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.local_stack import Phonoscene


def test_lost_webhooks_are_asked_for_and_stored_within_two_minutes(
    phonoscene: Phonoscene, lost: dict[str, str]
) -> None:
    jobs = {name: phonoscene.take(name, seconds=130) for name in lost}

    for name, job in jobs.items():
        (request,) = phonoscene.requests(lost[name])
        stored_at = datetime.fromisoformat(job["history"][-1]["at"]).timestamp()
        assert job["status"] == "SUCCEEDED"
        assert stored_at - request["completed_at"] < 120
        assert [one["status_code"] for one in request["deliveries"] if one["status_code"]] == []


def test_a_job_that_fal_turned_away_said_what_it_waited_for_and_was_sent_in_its_turn(
    phonoscene: Phonoscene, refused: str
) -> None:
    job = phonoscene.take("refused/once", seconds=130)

    assert job["status"] == "SUCCEEDED"
    assert [step["status"] for step in job["history"]] == [
        "READY",
        "SUBMITTING",
        "READY",
        "SUBMITTING",
        "SUBMITTED",
        "GENERATED",
        "SUCCEEDED",
    ]
    assert (job["attempt"], job["refusals"], job.get("waits_for")) == (2, 1, None)
    assert len(phonoscene.requests(refused)) == 1


def test_a_job_without_a_place_waits_and_says_so_until_there_is_one(
    phonoscene: Phonoscene, crowded_out: dict[str, Any]
) -> None:
    assert crowded_out["waits_for"] == "slot"
    assert phonoscene.take("crowded/out", seconds=130)["status"] == "SUCCEEDED"
