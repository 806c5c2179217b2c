"""Jobs that wait for a tick, which comes once a minute; they were dropped before all others."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.local_stack import Phonoscene


#: A request is polled at the first tick that is 45 s after its POST, so within 105 s. The rest is
#: for this machine, on which several stacks start side by side. fal may delete a large result 360 s
#: after the run: a job that needs more than half of that is found here.
STORED_WITHIN = 180

pytestmark = pytest.mark.timeout(STORED_WITHIN + 60)


def test_results_without_a_webhook_are_stored_long_before_fal_may_delete_them(
    phonoscene: Phonoscene, lost: dict[str, str]
) -> None:
    jobs = {name: phonoscene.take(name, seconds=STORED_WITHIN) for name in lost}

    for name, job in jobs.items():
        (request,) = phonoscene.requests(lost[name])
        stored_at = datetime.fromisoformat(job["history"][-1]["at"]).timestamp()
        assert job["status"] == "SUCCEEDED"
        assert stored_at - request["completed_at"] < STORED_WITHIN
        assert [one["status_code"] for one in request["deliveries"] if one["status_code"]] == []


def test_a_job_that_fal_turned_away_said_what_it_waited_for_and_was_sent_in_its_turn(
    phonoscene: Phonoscene, refused: str
) -> None:
    job = phonoscene.take("refused/once", seconds=STORED_WITHIN)

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
    assert phonoscene.take("crowded/out", seconds=STORED_WITHIN)["status"] == "SUCCEEDED"
