"""Long audio ends well, and is paid once, whatever fal, its webhooks and the limits do."""

from __future__ import annotations

import json
import random
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Never
from unittest.mock import patch

import pytest

from phonoscene.jobs import JobStatus
from phonoscene.sequences import media_editor
from phonoscene.spending import cost
from tests.support import schemas
from tests.support.fakes.calls import Calls
from tests.support.fakes.fal import Play
from tests.support.invariants import always_broken, broken, jobs_of, spent
from tests.support.scenarios import (
    COPIES,
    Scenario,
    drop_chain,
    drop_long_again,
    drop_long_again_and_cancel,
)
from tests.support.stack import OUTPUT

if TYPE_CHECKING:
    from datetime import datetime

    from phonoscene.jobs import Job

S = JobStatus
CHAIN, AGAIN = (S.SUCCEEDED,) * 5, (S.SUCCEEDED,) * 7
ONE_OF_TWO = Scenario(
    drop_long_again_and_cancel,
    ends=(S.SUCCEEDED,) * 5 + (S.CANCELLED,) * 2,
    settings={"MAX_IN_FLIGHT": "8"},
)
SONGS = {
    "each webhook three times": Scenario(drop_chain, CHAIN, play=lambda: Play(duplicates=2)),
    "no webhook ever": Scenario(drop_chain, CHAIN, play=lambda: Play(webhooks=False)),
    "each webhook before the answer": Scenario(drop_chain, CHAIN, play=lambda: Play(early=True)),
    "copies in fal's storage": Scenario(drop_chain, CHAIN, settings=COPIES),
    "an answer lost": Scenario(drop_chain, CHAIN, play=lambda: Play(lost_answers=deque([True]))),
    "a run that fails": Scenario(drop_chain, CHAIN, play=lambda: Play(failures=deque([True]))),
    "one slot": Scenario(drop_long_again, AGAIN, settings={"MAX_IN_FLIGHT": "1"}),
    "the first of two songs cancelled": ONE_OF_TWO,
}


@pytest.mark.parametrize("name", SONGS)
def test_a_song_ends_well_and_each_segment_is_paid_once(name: str) -> None:
    world = SONGS[name].world(Calls())

    world.run()

    assert broken(world, SONGS[name]) == []
    jobs = jobs_of(world)
    for job in jobs:
        if job.video:
            key = f"{job.video.key.removesuffix('.mp4')}.json"
            manifest = json.loads(world.buckets.versions[OUTPUT, key][-1].body)
            schemas.check(manifest, schemas.MANIFEST)
            assert ("segments" in manifest) == bool(job.sequence)
    for song in (job for job in jobs if job.sequence):
        found = cost(song)
        assert found
        own = sum(spent(one) for one in jobs if one.part_of == song.job_id)
        # nothing is published here, which would tell a cancelled song how its segments ended
        assert found.upper_usd > own if found.may_be_billed else found.upper_usd == own


def test_a_song_has_its_video_whenever_the_other_is_cancelled_and_a_process_dies() -> None:
    calls = Calls(state=lambda: 0)
    ONE_OF_TWO.world(calls).run()
    choose = random.Random(1102)  # noqa: S311 - a sample

    for passed in choose.sample(calls.passed, 40):
        world = ONE_OF_TWO.world(Calls([passed.point]))
        world.run()

        *_, second = sorted((job for job in jobs_of(world) if job.sequence), key=_age)
        assert always_broken(world) == [], passed.point
        assert second.status is S.SUCCEEDED, passed.point


def _age(job: Job) -> datetime:
    return job.created_at


def test_a_song_that_cannot_be_joined_for_a_day_ends_and_says_why() -> None:
    world = Scenario(drop_chain).world(Calls())
    world.most_events = 2_000

    def join(*_: object) -> Never:
        raise MemoryError

    with world.under(), patch.object(media_editor, "join", join):
        world.settle()

    [song] = [job for job in jobs_of(world) if job.sequence]
    assert song.status is S.FAILED
    assert [error.code for error in song.errors] == ["not_edited"]
    assert song.updated_at - song.last(S.GENERATED) > timedelta(hours=24)
    assert [job.status for job in jobs_of(world) if job.part_of] == [S.SUCCEEDED] * 4
    assert len(world.fal.requests) == 4
