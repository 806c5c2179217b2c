"""Long audio ends well, and is paid once, whatever fal, its webhooks and the limits do."""

from __future__ import annotations

from collections import deque

import pytest

from phonoscene.jobs import JobStatus
from tests.support.fakes.calls import Calls
from tests.support.fakes.fal import Play
from tests.support.invariants import broken
from tests.support.scenarios import COPIES, Scenario, drop_chain, drop_long_again

S = JobStatus
CHAIN, AGAIN = (S.SUCCEEDED,) * 5, (S.SUCCEEDED,) * 7
SONGS = {
    "each webhook three times": Scenario(drop_chain, CHAIN, play=lambda: Play(duplicates=2)),
    "no webhook ever": Scenario(drop_chain, CHAIN, play=lambda: Play(webhooks=False)),
    "each webhook before the answer": Scenario(drop_chain, CHAIN, play=lambda: Play(early=True)),
    "copies in fal's storage": Scenario(drop_chain, CHAIN, settings=COPIES),
    "an answer lost": Scenario(drop_chain, CHAIN, play=lambda: Play(lost_answers=deque([True]))),
    "a run that fails": Scenario(drop_chain, CHAIN, play=lambda: Play(failures=deque([True]))),
    "one slot": Scenario(drop_long_again, AGAIN, settings={"MAX_IN_FLIGHT": "1"}),
}


@pytest.mark.parametrize("name", SONGS)
def test_a_song_ends_well_and_each_segment_is_paid_once(name: str) -> None:
    world = SONGS[name].world(Calls())

    world.run()

    assert broken(world, SONGS[name]) == []
