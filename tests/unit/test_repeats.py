"""After any history: each content has one job that counts, and no drop is without a record."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from phonoscene.drops.contents import MARK
from phonoscene.drops.keys import composed, half_id, job_id
from phonoscene.drops.pairing import all_pairings
from phonoscene.jobs import WITHOUT_VIDEO, Job, JobStatus
from tests.support.jobs import NOON
from tests.unit.explorer import intake_of
from tests.unit.fakes import MemoryBucket, MemoryStore

if TYPE_CHECKING:
    from phonoscene.workflow.intake import Announcement

#: One name in two spellings, with a second audio file and a second sidecar; and a plain one.
AUDIO = ("caf\u00e9.wav", "cafe\u0301.wav", "caf\u00e9.mp3", "song.wav")
SIDECARS = ("caf\u00e9.json", "cafe\u0301.JSON", "caf\u00e9.wav.json", "song.json")
SOUNDS = (b"x", b"yy")
PROMPTS = ("a harbour", "a forest")
DEFAULTS = "_defaults.json"
ON_THE_WAY = (JobStatus.SUBMITTING, JobStatus.SUBMITTED, JobStatus.GENERATED, JobStatus.SUCCEEDED)


@dataclass
class Past:
    """What was in the bucket, by version, and which marks were asked for."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)


class History(RuleBasedStateMachine):
    """People, tools, S3 and fal do what they like, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.bucket, self.store, self.past = MemoryBucket(), MemoryStore(), Past()
        self.intake = intake_of(self.bucket, self.store)
        self.now = 0
        self.events: list[Announcement] = []
        self.pending: list[int] = []

    def _put(self, key: str, body: bytes, mark: str = "") -> None:
        at = NOON + timedelta(seconds=self.now)
        announced = self.bucket.put(key, body, at=at, mark=mark)
        self.past.bodies[self.bucket.versions[key][-1].version_id] = body
        self.pending.append(len(self.events))
        self.events.append(announced)

    @rule(key=st.sampled_from(AUDIO), body=st.sampled_from(SOUNDS))
    def somebody_drops_a_sound(self, key: str, body: bytes) -> None:
        self._put(key, body)

    @rule(key=st.sampled_from(SIDECARS), prompt=st.sampled_from(PROMPTS), space=st.booleans())
    def somebody_drops_a_sidecar(self, key: str, prompt: str, *, space: bool) -> None:
        self._put(key, json.dumps({"prompt": prompt}, indent=4 if space else None).encode())

    @rule(fps=st.sampled_from([12, 24]))
    def somebody_changes_the_defaults(self, fps: int) -> None:
        self._put(DEFAULTS, json.dumps({"fps": fps}).encode())

    @rule(data=st.data(), keeps=st.booleans())
    def a_tool_copies_in_place(self, data: st.DataObject, *, keeps: bool) -> None:
        """It keeps the metadata, or it does not."""
        if self.bucket.versions:
            key = data.draw(st.sampled_from(sorted(self.bucket.versions)))
            newest = self.bucket.versions[key][-1]
            self._put(key, newest.body, dict(newest.metadata)[MARK] if keeps else "")

    @rule(data=st.data())
    def somebody_wants_another_take(self, data: st.DataObject) -> None:
        keys = sorted(set(self.bucket.versions) - {DEFAULTS})
        if keys:
            key, mark = data.draw(st.sampled_from(keys)), f"mark {len(self.events)}"
            self.past.marks.add(mark)
            self._put(key, self.bucket.versions[key][-1].body, mark)

    @rule(data=st.data())
    def somebody_removes_a_file(self, data: st.DataObject) -> None:
        """S3 announces no removal: whatever it uncovers has to be announced again."""
        if self.bucket.versions:
            self.bucket.remove(data.draw(st.sampled_from(sorted(self.bucket.versions))))
            self.pending = list(range(len(self.events)))

    @rule(seconds=st.integers(0, 2))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def an_event_arrives(self, data: st.DataObject) -> None:
        """For the first time, or again."""
        number = data.draw(st.integers(0, len(self.events) - 1))
        self.intake.take(self.events[number])
        self.pending = [one for one in self.pending if one != number]

    @rule(data=st.data(), end=st.sampled_from([*ON_THE_WAY, JobStatus.CANCELLED]))
    def a_job_goes_on(self, data: st.DataObject, end: JobStatus) -> None:
        ready = sorted(job.job_id for job in self.store.by_status(JobStatus.READY))
        if ready:
            job = self.store.jobs[data.draw(st.sampled_from(ready))]
            steps = ON_THE_WAY[: ON_THE_WAY.index(end) + 1] if end in ON_THE_WAY else (end,)
            for step in steps:
                job = self.store.move(job, step)

    def _contents(self) -> Counter[tuple[Any, ...]]:
        """What the jobs that count were made of."""
        jobs = [
            job
            for job in self.store.jobs.values()
            if job.arguments and job.status not in WITHOUT_VIDEO | {JobStatus.WAITING}
        ]
        return Counter(map(self._content, jobs))

    def _content(self, job: Job) -> tuple[Any, ...]:
        assert job.audio
        asked = json.dumps(job.arguments, sort_keys=True)
        return composed(job.audio.key), self.past.bodies[job.audio.version_id], asked

    @invariant()
    def no_content_has_more_jobs_than_takes_were_asked_for(self) -> None:
        most = 1 + len(self.past.marks)
        assert max(self._contents().values(), default=0) <= most

    @invariant()
    def nothing_is_repeated_but_a_job_that_is_there(self) -> None:
        counted = {job.job_id: job.repeats for job in self.store.jobs.values() if job.repeats}
        assert Counter(self.store.repeats.values()) == counted

    def teardown(self) -> None:
        for number in self.pending:
            self.intake.take(self.events[number])
        present = set(self.bucket.versions) - {DEFAULTS}
        for pairing in all_pairings(present).values():
            if pairing.is_whole:
                self._has_record(str(pairing.audio), str(pairing.sidecar))
        for key in present:
            waiting = self.store.jobs.get(half_id("drops", key))
            if waiting and waiting.status is JobStatus.WAITING:
                assert all(
                    key not in pairing.keys or not pairing.is_whole
                    for pairing in all_pairings(present).values()
                )

    def _has_record(self, audio: str, sidecar: str) -> None:
        """The pair that is there now is a job, or repeats one of the same audio and prompt."""
        halves = [(key, self.bucket.versions[key][-1].version_id) for key in (audio, sidecar)]
        job = self.store.get(job_id("drops", halves[0], halves[1]))
        assert job
        assert job.audio
        assert job.status is not JobStatus.WAITING
        assert self.past.bodies[job.audio.version_id] == self.past.bodies[halves[0][1]]
        if job.status is not JobStatus.REJECTED:
            prompt = json.loads(self.past.bodies[halves[1][1]])["prompt"]
            assert job.arguments["prompt"] == prompt


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
