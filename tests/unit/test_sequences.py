"""Long audio as segments: each is paid once, whatever comes twice, fails or is cut off."""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from phonoscene.drops.keys import frame_key
from phonoscene.drops.validation_errors import Errors
from phonoscene.errors import DropRefused, DropUnsettled, EditingFailed, EditorFailed, MustWait
from phonoscene.jobs import (
    Actual,
    Audio,
    DropObject,
    ErrorDetail,
    Estimate,
    Job,
    JobCost,
    JobStatus,
    Request,
    Scene,
    Segment,
    Sequence,
    Video,
)
from phonoscene.publishing.events import StatusChanged
from phonoscene.publishing.public_job import notes, oddities
from phonoscene.publishing.receipts import Receipt
from phonoscene.sequences import media_editor
from phonoscene.sequences.media_editor import MediaEditor
from phonoscene.sequences.remote_editor import RemoteEditor
from phonoscene.sequences.segments import together
from phonoscene.sequences.sequencer import CUTTING, Sequencer
from phonoscene.sequences.work_files import WorkFiles
from phonoscene.spending import cost, cost_of_segments
from phonoscene.workflow.cancellation import Canceller
from phonoscene.workflow.examination import ExaminedTake
from phonoscene_cli.stack.spending import Spent, total
from phonoscene_cli.upload.segment_forecast import made_before
from tests.support.jobs import NOON
from tests.support.stack import DROPS
from tests.unit.fakes import MemoryDrops, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Act = Callable[["Bench"], object]

S = JobStatus
WHOLE, OTHER = "a" * 32, "b" * 32
ESTIMATE = Estimate(
    width=64,
    height=64,
    frames=964,
    megapixels=Decimal(4),
    usd_per_megapixel=Decimal("0.001"),
    lower_usd=Decimal("0.004"),
    upper_usd=Decimal("0.005"),
)
ARGUMENTS = {"prompt": "rain", "video_output_type": "X264 (.mp4)", "fps": 24}


#: What is said of a video that is no use to anybody.
WRONG = ErrorDetail(code="unreadable_video", message="The video cannot be read.")


@dataclass
class MemoryEditor:
    """Slices are named by their place in the audio; what is joined is written down.

    ``wrong``: the jobs whose videos can neither be joined nor give a last frame.
    """

    joined: list[list[str]] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    wrong: set[str] = field(default_factory=set)
    refused: ErrorDetail | None = None
    is_silent: bool = False
    is_broken: bool = False

    def cut(self, job: Job) -> list[Audio]:
        """One for each segment."""
        if self.refused:
            raise DropRefused(self.refused)
        if self.is_broken:
            raise EditorFailed("Runtime.OutOfMemory")
        return [
            Audio(
                key="_work/" + ("x" if self.is_silent else str(one.first)), version_id="1", bytes=4
            )
            for one in job.plan.segments
        ]

    def last_frame(self, job: Job, number: int) -> DropObject:
        """Of a segment that has its video."""
        assert job.status is S.SUCCEEDED
        if self.is_broken:
            raise EditorFailed("Runtime.OutOfMemory")
        if job.job_id in self.wrong:
            raise DropRefused(WRONG.model_copy(update={"field": f"segment {number + 1}"}))
        self.frames.append(job.job_id)
        return DropObject(key=frame_key(job.job_id), version_id=str(len(self.frames)))

    def has(self, video: Video) -> bool:
        """Whether it has not been deleted."""
        return video.key not in self.gone

    def join(self, job: Job, segments: list[Job], key: str) -> Video:
        """Write it down."""
        assert all(one.status is S.SUCCEEDED for one in segments)
        if self.is_broken:
            raise EditorFailed("Runtime.OutOfMemory")
        assert [one.frames for one in job.plan.segments] == [
            one.arguments["num_frames"] for one in segments
        ]
        for number, one in enumerate(segments):
            if one.job_id in self.wrong:
                raise DropRefused(WRONG.model_copy(update={"field": f"segment {number + 1}"}))
        self.joined.append([one.job_id for one in segments])
        return a_video(key)


def a_video(key: str) -> Video:
    return Video(
        bucket="output", key=key, version_id="1", bytes=9, sha256="0", content_type="video/mp4"
    )


def a_sequence(scenes: int = 1, each: int = 4, *, is_chained: bool = False, **fields: Any) -> Job:
    """A READY sequence; ``prompts``: of its scenes."""
    prompts = fields.pop("prompts", [f"scene {number}" for number in range(scenes)])
    segments = tuple(
        Segment(scene=number // each, first=241 * number, frames=241)
        for number in range(scenes * each)
    )
    sequence = Sequence(
        fps=24,
        is_chained=is_chained,
        scenes=tuple(Scene(start=n, arguments={"prompt": one}) for n, one in enumerate(prompts)),
        segments=segments,
    )
    defaults: dict[str, Any] = {
        "job_id": WHOLE,
        "name": "talks/intro",
        "bucket": DROPS,
        "arguments": ARGUMENTS,
        "estimate": ESTIMATE,
        "audio": Audio(key="talks/intro.mp3", version_id="1", bytes=9, seconds=40),
        "sequence": sequence,
    }
    return Job.new(S.READY, NOON, **defaults | fields)


class Bench:
    """A table with one sequence after another, and what the sequencer is given."""

    def __init__(self, width: int = 4) -> None:
        self.now = NOON
        self.store = MemoryStore(lambda: self.now)
        self.editor, self.drops = MemoryEditor(), MemoryDrops()
        self.sequencer = Sequencer(self.store, self.editor, self.drops, width)

    def begin(self, job: Job) -> Job:
        """Admit a sequence a minute later, and take its first steps."""
        self.now += timedelta(minutes=1)
        job = job.model_copy(update={"created_at": self.now, "updated_at": self.now})
        self.store.admit(job, ())
        return self.advance(job.job_id)

    def advance(self, job_id: str = WHOLE) -> Job:
        """As a dispatch does."""
        return self.sequencer.advance(self.job(job_id))

    def cancel(self, job_id: str = WHOLE) -> Job:
        """As ``submit`` does for a message."""
        fal: Any = SimpleNamespace(cancel=lambda _: None)
        job = Canceller(self.store, fal).cancel(job_id)
        assert job
        return self.sequencer.advance(job)

    def job(self, job_id: str = WHOLE) -> Job:
        """As it stands."""
        found = self.store.get(job_id)
        assert found
        return found

    def segments(self, job_id: str = WHOLE) -> list[Job]:
        """The jobs of a sequence's segments that exist, in its order."""
        ids = [one.job_id for one in self.job(job_id).plan.segments if one.job_id]
        return [job for one in ids if (job := self.store.get(one))]

    def made(self) -> list[Job]:
        """Every segment's job that there is: what would be paid."""
        return [job for job in self.store.jobs.values() if job.part_of]

    def submit(self, *jobs: Job) -> None:
        """Have fal take segments."""
        for job in jobs:
            self.store.move(self.job(job.job_id), S.SUBMITTED)

    def succeed(self, job: Job) -> None:
        """Have fal make a segment."""
        made = self.store.move(self.job(job.job_id), S.GENERATED)
        self.store.end(made, S.SUCCEEDED, video=a_video(f"_segments/{job.job_id}.mp4"))

    def fail(self, job: Job, why: str = "fal refused it.") -> None:
        """Have fal refuse a segment."""
        error = ErrorDetail(code="fal_error", message=why)
        self.store.end(self.job(job.job_id), S.FAILED, errors=(error,))

    def finish(self, job_id: str = WHOLE) -> Job:
        """Have fal make whatever is open, until nothing is."""
        for _ in range(50):
            for one in self.segments(job_id):
                if not one.is_final:
                    self.succeed(one)
            job = self.advance(job_id)
            if job.is_final:
                return job
        raise AssertionError(job)


def test_a_sequence_is_cut_and_its_first_segments_are_dispatched() -> None:
    bench = Bench(width=2)

    job = bench.begin(a_sequence())

    assert job.status is S.SUBMITTED
    assert [one.part for one in bench.segments()] == [0, 1]
    assert bench.drops.dispatched == [one.job_id for one in bench.segments()]
    first = bench.segments()[0]
    assert first.arguments["match_audio_length"] is False
    assert first.arguments["num_frames"] == 241
    assert first.arguments["prompt"] == "scene 0"
    assert first.name == "_segments/talks/intro"


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_segments_that_end_in_any_order_are_joined_once_in_their_own(
    order: tuple[int, ...],
) -> None:
    bench = Bench()
    bench.begin(a_sequence())
    segments = bench.segments()

    for place in order:
        bench.succeed(segments[place])
        bench.advance()
        bench.advance()  # a message that comes twice

    assert bench.job().status is S.SUCCEEDED
    assert bench.editor.joined == [[one.job_id for one in segments]]
    assert len(bench.made()) == 4


def test_segments_that_cannot_be_copied_keep_no_others_from_being_made() -> None:
    bench = Bench(2)
    bench.begin(a_sequence(scenes=2))
    for one in bench.segments():
        bench.submit(one)
        bench.store.move(bench.job(one.job_id), S.GENERATED)

    bench.advance()

    assert [one.status for one in bench.segments()] == [S.GENERATED] * 2 + [S.READY] * 2


@pytest.mark.parametrize("width", [1, 2, 3])
def test_no_more_segments_are_open_than_fal_runs(width: int) -> None:
    bench = Bench(width)
    bench.begin(a_sequence(scenes=2))
    for _ in range(20):
        running = [one for one in bench.made() if not one.is_final]
        assert len(running) <= width
        if not running:
            break
        bench.succeed(running[0])
        bench.advance()

    assert bench.job().status is S.SUCCEEDED
    assert bench.job().plan.done == 8


def test_a_chained_segment_begins_with_the_last_frame_of_the_one_before() -> None:
    bench = Bench()
    bench.begin(a_sequence(is_chained=True))
    for number in range(4):
        segments = bench.segments()
        assert len(segments) == number + 1
        if number:
            before = segments[number - 1].job_id
            assert segments[number].images["image_url"].key == frame_key(before)
        bench.succeed(segments[number])
        bench.advance()

    assert bench.job().status is S.SUCCEEDED


def test_a_scene_with_an_image_of_its_own_begins_a_chain_anew() -> None:
    bench = Bench()
    sequence = a_sequence(scenes=2, each=2, is_chained=True)
    anew = Scene(
        start=20,
        arguments={"image_url": "still.png"},
        images={"image_url": DropObject(key="talks/still.png", version_id="7")},
    )
    plan = sequence.plan.model_copy(update={"scenes": (sequence.plan.scenes[0], anew)})

    bench.begin(sequence.model_copy(update={"sequence": plan}))

    assert [one.part for one in bench.segments()] == [0, 2]
    assert bench.segments()[1].images["image_url"].key == "talks/still.png"


@pytest.mark.parametrize("own", ["https://example.com/still.png", None])
def test_a_scene_that_begins_with_another_image_is_not_sent_that_of_the_whole(
    own: str | None,
) -> None:
    bench = Bench()
    sequence = a_sequence(
        scenes=2,
        each=2,
        arguments=ARGUMENTS | {"image_url": "cover.png"},
        images={"image_url": DropObject(key="talks/cover.png", version_id="7")},
    )
    other = Scene(start=20, arguments={"image_url": own})
    plan = sequence.plan.model_copy(update={"scenes": (sequence.plan.scenes[0], other)})

    bench.begin(sequence.model_copy(update={"sequence": plan}))

    of_the_whole, of_the_scene = bench.segments()[0], bench.segments()[2]
    assert of_the_whole.images["image_url"].key == "talks/cover.png"
    assert of_the_scene.images == {}
    assert of_the_scene.arguments.get("image_url") == own


def test_the_last_frame_of_the_whole_ends_it_and_that_of_a_scene_ends_the_scene() -> None:
    bench = Bench()
    whole = DropObject(key="talks/end.png", version_id="7")
    own = DropObject(key="talks/turn.png", version_id="8")
    sequence = a_sequence(
        scenes=3,
        each=2,
        arguments=ARGUMENTS | {"end_image_url": "end.png"},
        images={"end_image_url": whole},
    )
    first, second, third = sequence.plan.scenes
    turn = second.model_copy(
        update={"arguments": {"end_image_url": "turn.png"}, "images": {"end_image_url": own}}
    )
    plan = sequence.plan.model_copy(update={"scenes": (first, turn, third)})

    bench.begin(sequence.model_copy(update={"sequence": plan}))
    bench.finish()

    ends = [one.images.get("end_image_url") for one in bench.segments()]
    assert [end and end.key for end in ends] == [None, None, None, own.key, None, whole.key]
    asked = [one.arguments.get("end_image_url") for one in bench.segments()]
    assert asked == [None, None, None, "turn.png", None, "end.png"]


def test_a_segment_that_fails_leaves_the_others_running_and_nothing_is_joined() -> None:
    bench = Bench()
    bench.begin(a_sequence())
    segments = bench.segments()
    bench.submit(segments[0], segments[2])

    bench.fail(segments[1])
    assert bench.advance().status is S.SUBMITTED
    assert bench.job(segments[3].job_id).status is S.CANCELLED
    for place in (0, 2):
        bench.succeed(segments[place])
    job = bench.advance()

    assert job.status is S.FAILED
    assert [(one.code, one.field) for one in job.errors] == [("segment_failed", "segment 2")]
    assert "Segment 2 of 4 (0:10.0 to 0:20.1)" in job.errors[0].message
    assert "fal refused it." in job.errors[0].message
    assert bench.editor.joined == []


@pytest.mark.parametrize(("code", "source"), [("drop_gone", "talks/b.png"), ("segment_gone", None)])
def test_a_segment_whose_files_were_deleted_says_whose_they_were(
    code: str, source: str | None
) -> None:
    bench = Bench()
    bench.begin(a_sequence(each=1))
    [segment] = bench.segments()
    gone = ErrorDetail(code=code, message="It is gone.", source=source, field="end_image_url")
    bench.store.end(segment, S.FAILED, errors=(gone,))

    [error] = bench.advance().errors

    assert (error.code, error.source, error.field) == (code, source, "segment 1")
    assert "It is gone." in error.message


def test_a_segment_that_waits_for_a_lost_sequence_is_left_to_another_that_uses_it() -> None:
    bench = Bench(width=2)
    bench.begin(a_sequence())
    bench.begin(a_sequence(job_id="7" * 32))
    one, other = bench.segments()

    bench.fail(one)
    bench.advance()

    assert bench.job(other.job_id).status is S.READY
    bench.succeed(other)
    assert {bench.advance().status, bench.advance("7" * 32).status} == {S.FAILED}


def test_after_a_failure_no_further_segment_is_started() -> None:
    bench = Bench(width=2)
    bench.begin(a_sequence())
    one, other = bench.segments()
    bench.submit(other)

    bench.fail(one)
    bench.advance()
    bench.succeed(other)

    assert bench.advance().status is S.FAILED
    assert len(bench.made()) == 2


def test_a_retry_pays_only_for_what_is_missing() -> None:
    bench = Bench()
    bench.begin(a_sequence())
    for number, segment in enumerate(bench.segments()):
        (bench.fail if number == 2 else bench.succeed)(segment)
    assert bench.advance().status is S.FAILED

    bench.begin(a_sequence(job_id="b" * 32))

    assert len(bench.made()) == 5
    assert bench.finish("b" * 32).status is S.SUCCEEDED


def test_the_history_of_a_receipt_says_what_the_steps_of_a_sequence_are() -> None:
    bench = Bench()
    bench.begin(a_sequence())

    history = Receipt.of(bench.finish(), None).history

    assert [(step.status, step.state) for step in history] == [
        (S.READY, "paired, checked and priced"),
        (S.SUBMITTED, "the audio is cut, and segments are sent to fal"),
        (S.GENERATED, "all segments have their videos; joining them"),
        (S.SUCCEEDED, "the video is in the output bucket"),
    ]


def test_each_of_two_sequences_costs_what_its_own_segments_do() -> None:
    bench = Bench()
    bench.begin(a_sequence())
    for number, segment in enumerate(bench.segments()):
        (bench.fail if number == 2 else bench.succeed)(segment)
    first = bench.advance()
    bench.begin(a_sequence(job_id="b" * 32))
    second = bench.finish("b" * 32)
    third = bench.begin(a_sequence(job_id="c" * 32))

    each = bench.segments()[0].estimate
    assert each
    costs = [Receipt.of(one, None).cost for one in (first, second, third)]
    assert [one and one.upper_usd for one in costs] == [
        float(3 * each.upper_usd),
        float(each.upper_usd),
        0,
    ]
    assert {one.estimate for one in (first, second, third)} == {ESTIMATE}
    assert "3 of 4 segments were made for another job, which paid for them." in notes(second)


def test_what_came_of_a_sequence_is_all_its_pictures_and_the_dollars_of_its_own_segments() -> None:
    came = Actual(
        source="size",
        width=64,
        height=64,
        frames=241,
        megapixels=Decimal(1),
        lower_usd=Decimal("0.1"),
        upper_usd=Decimal("0.2"),
        delivered_usd=Decimal("0.15"),
    )
    own, another = (
        a_sequence(job_id=n * 32, part_of=of, actual=came) for n, of in (("1", WHOLE), ("2", OTHER))
    )

    actual = together(a_sequence(), [own, another, own])["actual"]

    assert (actual.frames, actual.megapixels) == (723, 3)
    assert (actual.lower_usd, actual.upper_usd) == (Decimal("0.2"), Decimal("0.4"))
    assert actual.delivered_usd == Decimal("0.3")


@pytest.mark.parametrize("code", ["AccessDenied", "403", "NoSuchKey", "404"])
def test_a_work_file_is_not_there_yet_with_or_without_leave_to_list(code: str) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code}}, "HeadObject")

    client: Any = SimpleNamespace(head_object=refuse)

    assert WorkFiles(client, "output").find("_work/slices/a.wav") is None
    assert WorkFiles(client, "output").find_video("song.mp4") is None


def test_what_is_edited_is_the_version_that_was_dropped(tmp_path: Path) -> None:
    versions = {"7": b"as it was dropped", None: b"replaced since"}

    def get_object(**asked: Any) -> dict[str, Any]:
        body = versions[asked.get("VersionId")]
        return {"Body": io.BytesIO(body), "ContentLength": len(body)}

    client: Any = SimpleNamespace(get_object=get_object)
    audio = DropObject(key="talks/intro.mp3", version_id="7")

    path = WorkFiles(client, "output").download(audio, DROPS, tmp_path / "audio")

    assert path
    assert path.read_bytes() == b"as it was dropped"


def test_a_file_that_breaks_off_is_not_edited(tmp_path: Path) -> None:
    answer = {"Body": io.BytesIO(b"half"), "ContentLength": 9}
    files = WorkFiles(SimpleNamespace(get_object=lambda **_: answer), "output")  # type: ignore[arg-type]  # a stand-in
    audio = DropObject(key="talks/intro.mp3", version_id="7")

    with pytest.raises(EditorFailed):
        files.download(audio, DROPS, tmp_path / "audio")


@pytest.mark.parametrize(("segment", "named"), [(2, "_segments/2.mp4"), (None, "talks/intro.mp3")])
def test_a_join_that_is_refused_names_the_file_at_fault_and_not_the_one_it_did_not_write(
    monkeypatch: pytest.MonkeyPatch, segment: int | None, named: str
) -> None:
    def get_object(**_: Any) -> dict[str, Any]:
        return {"Body": io.BytesIO(b"media"), "ContentLength": 5}

    def refuse(*_: Any) -> None:
        raise EditingFailed("wrong_frames", "It has 9 frames.", segment)

    def head_object(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "404"}}, "HeadObject")

    monkeypatch.setattr(media_editor, "join", refuse)
    client: Any = SimpleNamespace(get_object=get_object, head_object=head_object)
    editor = MediaEditor(DROPS, WorkFiles(client, "output"))
    kept = {"bucket": "output", "version_id": "1", "bytes": 5, "sha256": "", "content_type": ""}
    videos = [Video(key=f"_segments/{number}.mp4", **kept) for number in (1, 2)]
    audio = Audio(key="talks/intro.mp3", version_id="7", bytes=5)

    with pytest.raises(DropRefused) as refused:
        editor.join(videos, [9, 9], 24, audio, "talks/intro/1.mp4", {})

    assert refused.value.errors[0].source == named


@pytest.mark.parametrize("code", ["NoSuchVersion", "NoSuchKey", "404", "AccessDenied"])
def test_a_version_is_gone_only_where_s3_says_so(tmp_path: Path, code: str) -> None:
    refused = [code, "SlowDown"]

    def get_object(**_: Any) -> None:
        raise ClientError({"Error": {"Code": refused.pop(0)}}, "GetObject")

    files = WorkFiles(SimpleNamespace(get_object=get_object), "output")  # type: ignore[arg-type]  # a stand-in
    audio = DropObject(key="talks/intro.mp3", version_id="7")

    assert files.download(audio, DROPS, tmp_path / "audio") is None
    with pytest.raises(ClientError):
        files.download(audio, DROPS, tmp_path / "audio")


def test_one_scene_changed_pays_for_that_scene() -> None:
    bench = Bench()
    bench.begin(a_sequence(scenes=3, each=2))
    bench.finish()

    bench.begin(
        a_sequence(scenes=3, each=2, job_id="b" * 32, prompts=["scene 0", "sun", "scene 2"])
    )

    new = [one for one in bench.made() if not one.is_final]
    assert [(one.part, one.arguments["prompt"]) for one in new] == [(2, "sun"), (3, "sun")]
    assert bench.finish("b" * 32).status is S.SUCCEEDED
    assert len(bench.made()) == 8


def test_each_segment_has_the_size_that_was_priced_whatever_its_image_is() -> None:
    bench = Bench()
    scenes = (
        Scene(images={"image_url": DropObject(key="large.png", version_id="1")}),
        Scene(start=20, arguments={"image_url": None}),
    )
    whole = a_sequence(scenes=2, each=2, arguments=ARGUMENTS | {"video_size": "auto"})

    bench.begin(
        whole.model_copy(update={"sequence": whole.plan.model_copy(update={"scenes": scenes})})
    )

    assert [one.arguments["video_size"] for one in bench.made()] == [
        {"width": 64, "height": 64}
    ] * 4


@pytest.mark.parametrize(("width", "made"), [(64, {0, 1}), (128, set())])
def test_a_forecast_knows_that_another_size_of_the_whole_makes_other_segments(
    width: int, made: set[int]
) -> None:
    bench = Bench()
    bench.now = datetime.now(UTC)  # the forecast's own clock
    bench.begin(a_sequence(each=2, arguments=ARGUMENTS | {"video_size": "auto"}))
    job = bench.finish()
    fields = {name: getattr(job, name) for name in ("arguments", "images", "sequence")}
    fields["estimate"] = ESTIMATE.model_copy(update={"width": width})

    take = ExaminedTake(fields, Errors(), {})
    found = made_before(job, take, lambda ids: bench.store.many([*ids]), lambda _: False)

    assert found == made


def test_the_same_sequence_again_pays_for_nothing() -> None:
    bench = Bench(width=2)
    bench.begin(a_sequence(is_chained=True))
    bench.finish()

    assert bench.begin(a_sequence(is_chained=True, job_id="b" * 32)).status is S.SUCCEEDED
    assert len(bench.made()) == 4


def test_a_segment_whose_video_has_expired_is_made_again() -> None:
    bench = Bench()
    bench.begin(a_sequence())
    bench.finish()
    bench.editor.gone.add(f"_segments/{bench.segments()[1].job_id}.mp4")

    bench.begin(a_sequence(job_id="b" * 32))

    assert [one.part for one in bench.made() if not one.is_final] == [1]


@pytest.mark.parametrize("is_chained", [False, True])
@pytest.mark.parametrize("place", range(4))
def test_a_segment_whose_video_cannot_be_used_is_paid_again_by_each_retry_and_no_other(
    is_chained: bool, place: int
) -> None:
    bench, again = Bench(), "b" * 32
    bench.begin(a_sequence(is_chained=is_chained))
    while len(bench.segments()) <= place:
        bench.succeed(bench.segments()[-1])
        bench.advance()
    bench.editor.wrong.add(bench.segments()[place].job_id)
    job = bench.finish()

    assert job.status is S.FAILED
    assert [(one.code, one.field) for one in job.errors] == [
        ("unreadable_video", f"segment {place + 1}")
    ]
    for job_id in (again, "c" * 32):  # once more without luck, and then with it
        before = {one.job_id for one in bench.made()}
        bench.begin(a_sequence(is_chained=is_chained, job_id=job_id))
        new = [one for one in bench.made() if one.job_id not in before]
        assert [one.part for one in new] == [place]
        bench.editor.wrong |= {new[0].job_id} if job_id == again else set()
        assert bench.finish(job_id).status is (S.FAILED if job_id == again else S.SUCCEEDED)


def test_a_chain_without_a_last_frame_ends_when_nothing_of_it_runs() -> None:
    bench = Bench()
    image = DropObject(key="talks/still.png", version_id="1")
    whole = a_sequence(scenes=2, each=2, is_chained=True)
    anew = Scene(start=20, arguments={"image_url": "still.png"}, images={"image_url": image})
    plan = whole.plan.model_copy(update={"scenes": (whole.plan.scenes[0], anew)})
    bench.begin(whole.model_copy(update={"sequence": plan}))
    first, third = bench.segments()
    bench.editor.wrong.add(first.job_id)
    bench.submit(third)

    bench.succeed(first)
    assert bench.advance().status is S.SUBMITTED
    bench.succeed(third)
    job = bench.advance()

    assert job.status is S.FAILED
    assert [(one.field, one.value) for one in job.errors] == [("segment 1", "0:00.0 to 0:10.0")]
    assert len(bench.made()) == 2


def test_a_sequence_that_shares_a_segment_of_no_use_ends_as_well() -> None:
    bench = Bench()
    bench.begin(a_sequence())
    bench.begin(a_sequence(job_id="b" * 32))
    bench.editor.wrong.add(bench.segments()[1].job_id)

    assert bench.finish().status is S.FAILED
    other = bench.advance("b" * 32)
    assert other.status is S.FAILED
    assert [one.field for one in other.errors] == ["segment 2"]
    assert len(bench.made()) == 4


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("is_chained", [False, True])
def test_a_process_that_dies_while_a_segment_is_refused_changes_nothing_of_it(
    is_chained: bool, after: bool
) -> None:
    for at in range(100):
        bench = Bench()
        bench.begin(a_sequence(is_chained=is_chained))
        bench.editor.wrong.add(bench.segments()[0].job_id)
        for one in bench.segments():
            bench.succeed(one)
        client: Any = bench.store._table._client
        whole = client._answer
        client._answer = dying(whole, at, after=after)
        is_dead = False
        try:
            bench.advance()
        except Died:
            is_dead = True
        client._answer = whole

        assert bench.finish().errors[0].field == "segment 1", at
        made = len(bench.made())
        bench.begin(a_sequence(is_chained=is_chained, job_id="b" * 32))
        assert [one.part for one in bench.made()[made:]] == [0], at
        if not is_dead:
            break
    assert at > 3


def test_a_segment_that_another_sequence_is_having_made_is_not_paid_again() -> None:
    bench = Bench()
    bench.begin(a_sequence())
    bench.begin(a_sequence(job_id="b" * 32))

    assert len(bench.made()) == 4
    assert bench.finish().status is S.SUCCEEDED
    assert bench.advance("b" * 32).status is S.SUCCEEDED


def test_equal_stretches_of_audio_get_a_picture_each() -> None:
    bench = Bench()
    bench.editor.is_silent = True

    bench.begin(a_sequence())

    assert len(bench.made()) == 4


def test_another_seed_or_a_take_that_asks_for_the_same_is_another_picture() -> None:
    bench = Bench()
    bench.begin(a_sequence())
    bench.begin(a_sequence(job_id="b" * 32, arguments=ARGUMENTS | {"seed": 1}))
    twin = a_sequence(job_id="c" * 32, take=2)
    bench.begin(twin.model_copy(update={"sequence": twin.plan.model_copy(update={"twin": 1})}))

    assert len(bench.made()) == 12


def test_one_take_of_several_dropped_alone_pays_for_nothing() -> None:
    bench = Bench()
    bench.begin(a_sequence(take=2))
    bench.begin(a_sequence(job_id="b" * 32))

    assert len(bench.made()) == 4


def test_an_image_uploaded_again_is_the_same_image() -> None:
    bench = Bench()
    for job_id, version in (("a" * 32, "1"), ("b" * 32, "2")):
        image = DropObject(key="talks/still.png", version_id=version, etag="same")
        bench.begin(a_sequence(job_id=job_id, images={"image_url": image}))
    other = DropObject(key="talks/still.png", version_id="3", etag="another")
    bench.begin(a_sequence(job_id="c" * 32, images={"image_url": other}))

    assert len(bench.made()) == 8


def test_a_sequence_says_what_its_segments_wait_for_until_they_wait_no_more() -> None:
    bench = Bench()
    bench.begin(a_sequence())
    one, *others = bench.segments()
    bench.store.put_off(one, "budget", bench.now + timedelta(hours=1))

    assert bench.advance().waits_for == "budget"
    for segment in (one, *others):
        bench.succeed(segment)
    assert bench.advance().waits_for is None


def test_a_sequence_whose_segments_go_on_waits_for_nothing() -> None:
    bench = Bench()
    bench.begin(a_sequence())
    one, other, *_ = bench.segments()
    bench.store.put_off(one, "budget", bench.now + timedelta(hours=1))
    bench.advance()

    bench.succeed(one)
    bench.succeed(other)

    assert bench.advance().waits_for is None


def test_an_edit_that_fails_is_tried_again_more_and_more_rarely_and_ends_after_a_day() -> None:
    bench = Bench()
    bench.editor.is_broken = True
    bench.begin(a_sequence())
    looks = 0
    while not bench.job().is_final:
        turn = bench.store.table._items[WHOLE]["dispatch_at"]["S"]
        bench.now = datetime.fromisoformat(turn)
        bench.advance()
        looks += 1

    assert 90 < looks < 150
    assert [one.code for one in bench.job().errors] == ["not_edited"]
    assert bench.made() == []
    assert cost(bench.job()) == JobCost(lower_usd=0, upper_usd=0)


def test_an_edit_that_fails_once_after_days_of_waiting_is_tried_again() -> None:
    bench = Bench()
    bench.begin(a_sequence(is_chained=True))
    bench.now += timedelta(days=3)  # for the budget of another day, say
    bench.succeed(bench.segments()[0])
    bench.editor.is_broken = True

    assert bench.advance().status is S.SUBMITTED
    bench.editor.is_broken = False
    assert bench.finish().status is S.SUCCEEDED


@pytest.mark.parametrize("step", ["cut", "last_frame", "join"])
def test_an_edit_whose_first_try_comes_days_after_the_last_step_is_tried_for_a_day(
    step: str,
) -> None:
    bench = Bench()
    job = a_sequence(is_chained=step == "last_frame")
    bench.store.admit(job, ()) if step == "cut" else bench.begin(job)
    for one in bench.segments():
        bench.succeed(one)
    bench.now += timedelta(days=3)  # the function submit was switched off, say
    bench.editor.is_broken = True
    begun = bench.now

    while not bench.advance().is_final:
        bench.now += timedelta(minutes=15)

    assert [one.code for one in bench.job().errors] == ["not_edited"]
    assert bench.job().spent == cost_of_segments(bench.job(), bench.segments())
    assert bench.now - begun == timedelta(hours=24, minutes=15)


def test_an_edit_that_failed_days_before_the_last_segment_is_tried_again() -> None:
    bench = Bench()
    bench.begin(a_sequence(is_chained=True))
    bench.succeed(bench.segments()[0])
    bench.editor.is_broken = True
    bench.advance()
    bench.editor.is_broken = False
    bench.advance()
    bench.now += timedelta(days=3)  # fal took its time
    bench.succeed(bench.segments()[1])
    bench.editor.is_broken = True

    assert bench.advance().status is S.SUBMITTED
    bench.editor.is_broken = False
    assert bench.finish().status is S.SUCCEEDED


def test_a_sequence_that_has_ended_is_not_joined_by_a_process_that_read_it_before() -> None:
    bench = Bench()
    bench.begin(a_sequence())
    for one in bench.segments():
        bench.succeed(one)
    read = bench.job()
    bench.store.end(read, S.FAILED, errors=(WRONG,))

    assert bench.sequencer.advance(read).status is S.FAILED
    assert bench.editor.joined == []


def test_a_process_that_cannot_cut_does_not_end_what_another_has_cut() -> None:
    class CutByTwo(MemoryEditor):
        def cut(self, job: Job) -> list[Audio]:  # noqa: ARG002
            bench.sequencer = Sequencer(bench.store, MemoryEditor(), bench.drops, 4)
            bench.advance()
            raise DropRefused(WRONG)

    bench = Bench()
    bench.sequencer = Sequencer(bench.store, CutByTwo(), bench.drops, 4)

    assert bench.begin(a_sequence()).status is S.SUBMITTED
    assert bench.job().status is S.SUBMITTED


def test_what_is_made_again_of_a_chain_asks_for_no_frame() -> None:
    bench = Bench()
    bench.begin(a_sequence(is_chained=True))
    bench.finish()
    frames = len(bench.editor.frames)

    assert bench.begin(a_sequence(is_chained=True, job_id="b" * 32)).status is S.SUCCEEDED
    assert len(bench.editor.frames) == frames == 3


def test_audio_that_cannot_be_cut_costs_nothing() -> None:
    bench = Bench()
    bench.editor.refused = ErrorDetail(code="unreadable_audio", message="It cannot be decoded.")

    job = bench.begin(a_sequence())

    assert job.status is S.FAILED
    assert job.errors == (bench.editor.refused,)
    assert bench.made() == []


class Died(Exception):
    """The process ended."""


def dying(answer: Callable[..., Any], at: int, *, after: bool) -> Callable[..., Any]:
    """A table at whose n-th call the process dies, before or after it."""
    count = itertools.count()

    def call(operation: str, asked: dict[str, Any]) -> Any:
        if next(count) != at:
            return answer(operation, asked)
        if after:
            answer(operation, asked)
        raise Died

    return call


def lives(is_chained: bool, at: int, *, after: bool) -> Iterator[Bench]:
    """A sequence whose process dies at the n-th call of the table, and is begun again."""
    bench = Bench(width=2)
    job = a_sequence(is_chained=is_chained)
    bench.store.admit(job, ())
    client: Any = bench.store._table._client
    whole = client._answer
    client._answer = dying(whole, at, after=after)
    for _ in range(60):
        try:
            bench.advance()
        except Died:
            yield bench
        client_answer, client._answer = client._answer, whole
        if bench.job().is_final:
            return
        for one in bench.made():
            if not one.is_final:
                bench.succeed(one)
        client._answer = client_answer
    raise AssertionError("it does not end")


@pytest.mark.parametrize("is_chained", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_a_process_that_dies_at_any_call_of_the_table_loses_nothing_and_pays_nothing_twice(
    is_chained: bool, after: bool
) -> None:
    for at in range(400):
        died = list(lives(is_chained, at, after=after))
        if not died:
            break
        [bench] = died
        assert bench.job().status is S.SUCCEEDED, at
        assert len(bench.made()) == 4, at
        assert len(bench.editor.joined) <= 2
    assert at > 10


@pytest.mark.parametrize("at", range(12))
def test_a_cancellation_at_any_moment_leaves_no_segment_that_it_cannot_find(at: int) -> None:
    bench = Bench(width=4)
    bench.store.admit(a_sequence(), ())
    client: Any = bench.store._table._client
    whole, count = client._answer, itertools.count()

    def call(operation: str, asked: dict[str, Any]) -> Any:
        if next(count) == at:
            client._answer = whole
            Canceller(bench.store, SimpleNamespace()).cancel(WHOLE)  # type: ignore[arg-type]  # fal is not asked
        return whole(operation, asked)

    client._answer = call
    bench.advance()
    client._answer = whole

    known = {one.job_id for one in bench.job().plan.segments}
    assert {one.job_id for one in bench.made()} <= known
    if bench.job().status is S.CANCELLED:
        assert bench.advance().status is S.CANCELLED
        born = {one.job_id for one in bench.made()}
        assert {one.job_id for one in bench.job().plan.segments if one.job_id} == born


def test_a_cancelled_sequence_says_how_each_of_its_segments_ended() -> None:
    bench = Bench(width=3)
    bench.begin(a_sequence())
    one, other, third = bench.segments()
    bench.succeed(one)
    bench.store.end(bench.job(), S.CANCELLED)
    bench.store.end(other, S.CANCELLED)
    assert one.estimate
    each = one.estimate
    for _ in range(2):  # fal may bill the third, which has not ended
        assert cost(bench.advance()) == JobCost(
            lower_usd=each.lower_usd, upper_usd=2 * each.upper_usd, may_be_billed=True
        )
    bench.fail(third)

    job = bench.advance()
    assert job.status is S.CANCELLED
    assert cost(job) == JobCost(lower_usd=each.lower_usd, upper_usd=each.upper_usd)
    ends = [S.SUCCEEDED, S.CANCELLED, S.FAILED, None]
    assert [segment.status for segment in job.plan.segments] == ends
    assert bench.advance().revision == job.revision


def late(bench: Bench, one: Job) -> None:
    """Have fal deliver a segment that had failed."""
    bench.succeed(one)


def again(bench: Bench, one: Job) -> None:
    """Have fal make a segment twice."""
    bench.store.note_paid_again(bench.job(one.job_id), "another-request")


@pytest.mark.parametrize(("ends", "after"), [(S.FAILED, late), (S.SUCCEEDED, again)])
def test_what_is_paid_for_a_segment_after_its_sequence_has_ended_is_in_its_cost(
    ends: JobStatus, after: Callable[[Bench, Job], None]
) -> None:
    bench = Bench()
    bench.begin(a_sequence())
    one, *others = bench.segments()
    bench.submit(one, *others)
    for other in others:
        bench.succeed(other)
    bench.fail(one) if ends is S.FAILED else bench.succeed(one)
    before = bench.advance()

    after(bench, one)
    job = bench.advance()

    report = total(map(Spent.of, bench.segments()))
    was, found = cost(before), cost(job)
    assert was
    assert found
    assert job.status is before.status is ends
    assert found.upper_usd == report.upper_usd > was.upper_usd
    assert bench.advance().revision == job.revision


def test_a_cancellation_that_fal_cannot_be_told_of_stops_every_segment_all_the_same() -> None:
    bench = Bench()
    bench.begin(a_sequence())
    for number, one in enumerate(bench.segments()[:2]):
        bench.store.move(one, S.SUBMITTED, request=Request(request_id=f"request-{number}"))

    def cancel(_: Request) -> None:
        raise MustWait("account")  # the key cannot be used

    fal: Any = SimpleNamespace(cancel=cancel)
    with pytest.raises(MustWait):
        Canceller(bench.store, fal).cancel(WHOLE)

    assert [one.status for one in bench.segments()] == [S.CANCELLED] * 4


def test_a_cancelled_sequence_costs_what_fal_may_bill_of_its_segments() -> None:
    bench = Bench(width=3)
    bench.begin(a_sequence())
    one, other, _ = bench.segments()
    bench.succeed(one)
    bench.submit(other)

    job = bench.cancel()

    found, report = cost(job), total(map(Spent.of, bench.segments()))
    assert found
    assert found.may_be_billed
    assert (found.lower_usd, found.upper_usd) == (
        report.lower_usd,
        report.upper_usd + report.unbilled_risk_usd,
    )
    assert one.estimate
    assert found.upper_usd == 2 * one.estimate.upper_usd


# A segment of two sequences


def prompts(second: str) -> list[str]:
    """Those of two scenes."""
    return ["a quay", second]


def two(bench: Bench, *, is_chained: bool = False) -> tuple[Job, Job]:
    """Two sequences of two segments, of which they share the first; as far as they go at once."""
    first = a_sequence(2, 1, is_chained=is_chained, prompts=prompts("rain"))
    second = a_sequence(2, 1, is_chained=is_chained, prompts=prompts("snow"), job_id=OTHER)
    return bench.begin(first), bench.begin(second)


@pytest.mark.parametrize("is_chained", [False, True])
@pytest.mark.parametrize(("stopped", "lives"), [(WHOLE, OTHER), (OTHER, WHOLE)])
def test_a_segment_that_another_sequence_uses_is_not_cancelled(
    stopped: str, lives: str, is_chained: bool
) -> None:
    bench = Bench()
    two(bench, is_chained=is_chained)
    shared, *own = [one.job_id for one in bench.segments(stopped)]

    for _ in range(2):
        bench.cancel(stopped)

    assert bench.job(shared).status is S.READY
    assert [bench.job(one).status for one in own] == [S.CANCELLED] * len(own)
    assert bench.finish(lives).status is S.SUCCEEDED
    assert sum(one.status is S.SUCCEEDED for one in bench.made()) == 2
    assert bench.advance(stopped).plan.segments[0].status is S.SUCCEEDED


@pytest.mark.parametrize("order", [(WHOLE, OTHER), (OTHER, WHOLE)])
def test_a_segment_is_cancelled_with_the_last_sequence_that_uses_it(order: tuple[str, str]) -> None:
    bench = Bench()
    two(bench)

    for one in order:
        bench.cancel(one)

    assert [one.status for one in bench.made()] == [S.CANCELLED] * 3


def test_fal_is_not_asked_to_stop_a_segment_that_another_sequence_uses() -> None:
    bench = Bench()
    two(bench)
    for one in bench.segments():
        bench.store.move(one, S.SUBMITTED, request=Request(request_id=one.job_id))
    _, own = bench.segments()
    asked: list[Request] = []
    fal: Any = SimpleNamespace(cancel=asked.append)

    Canceller(bench.store, fal).cancel(WHOLE)

    assert asked == [own.request]


def test_a_segment_of_a_sequence_that_failed_is_cancelled_with_the_other() -> None:
    bench = Bench()
    two(bench)
    bench.store.end(bench.job(), S.FAILED)

    bench.cancel(OTHER)

    assert bench.segments(OTHER)[0].status is S.CANCELLED


def test_a_segment_is_not_cancelled_by_its_own_id_while_a_sequence_uses_it() -> None:
    bench = Bench()
    two(bench)
    shared = bench.segments()[0]

    Canceller(bench.store, SimpleNamespace()).cancel(shared.job_id)  # type: ignore[arg-type]  # fal is not asked

    assert bench.job(shared.job_id).status is S.READY


def test_a_segment_whose_users_were_not_noted_is_shared_at_the_next_look() -> None:
    bench = Bench()
    two(bench)
    shared = bench.segments()[0]
    del bench.store.table._items[shared.job_id]["wanted_by"]  # as a release of before wrote it

    bench.advance(OTHER)

    assert bench.job(shared.job_id).users == {WHOLE, OTHER}
    revision = bench.job(shared.job_id).revision
    bench.advance(OTHER)
    assert bench.job(shared.job_id).revision == revision


def test_a_sequence_that_a_segment_has_no_room_for_has_its_video_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("phonoscene.table.job_store.MAX_USERS", 1)
    bench, third = Bench(), "d" * 32
    bench.begin(a_sequence(2, 1, prompts=prompts("rain")))
    shared = bench.segments()[0]
    bench.store.share_segment(shared, a_sequence(2, 1, job_id=third))

    bench.begin(a_sequence(2, 1, prompts=prompts("snow"), job_id=OTHER))
    bench.succeed(bench.job(shared.job_id))

    assert bench.segments(OTHER)[0].job_id == shared.job_id
    assert bench.finish(OTHER).status is S.SUCCEEDED
    assert bench.job(shared.job_id).users == {WHOLE, third}


def test_a_segment_that_was_cancelled_before_its_turn_is_made_anew() -> None:
    bench = Bench(width=1)
    bench.begin(a_sequence(2, 1, prompts=prompts("rain")))
    bench.succeed(bench.segments()[0])
    bench.advance()
    bench.begin(a_sequence(2, 1, prompts=["a ship", "rain"], job_id=OTHER))
    bench.cancel()

    assert bench.finish(OTHER).status is S.SUCCEEDED
    assert [one.status for one in bench.made()].count(S.CANCELLED) == 1


def test_a_segment_that_was_cancelled_although_it_is_used_is_made_anew() -> None:
    bench = Bench()
    two(bench)
    cancelled = bench.store.end(bench.segments(OTHER)[0], S.CANCELLED)

    assert bench.finish(OTHER).status is S.SUCCEEDED
    assert cancelled.job_id not in {one.job_id for one in bench.segments(OTHER)}


def at_call(bench: Bench, at: int, happens: Act, acts: Act) -> bool:
    """Do something, and at its n-th call of the table something else; whether it came to that."""
    client: Any = bench.store._table._client
    whole, count = client._answer, itertools.count()

    def call(operation: str, asked: dict[str, Any]) -> Any:
        if next(count) == at:
            client._answer = whole
            happens(bench)
        return whole(operation, asked)

    client._answer = call
    try:
        acts(bench)
    except Died:
        pass
    finally:
        came, client._answer = client._answer is whole, whole
    return came


def died(_: Bench) -> None:
    raise Died


@pytest.mark.parametrize("is_first", [False, True])
def test_a_cancellation_while_another_sequence_takes_a_segment_costs_it_nothing(
    is_first: bool,
) -> None:
    def begin(bench: Bench) -> None:
        bench.begin(a_sequence(2, 1, prompts=prompts("snow"), job_id=OTHER))

    acts, happens = (Bench.cancel, begin) if is_first else (begin, Bench.cancel)
    for at in range(100):
        bench = Bench()
        bench.begin(a_sequence(2, 1, prompts=prompts("rain")))
        if not at_call(bench, at, happens, acts):
            break
        assert bench.finish(OTHER).status is S.SUCCEEDED, at
        assert bench.job().status is S.CANCELLED
        ends = [one.status for one in bench.made()]
        assert ends.count(S.SUCCEEDED) == 2, at
        assert set(ends) == {S.SUCCEEDED, S.CANCELLED}
        cancelled = [one for one in bench.made() if one.status is S.CANCELLED]
        assert all(OTHER not in one.users for one in cancelled), at
    assert at > 3


@pytest.mark.parametrize("with_other", [False, True])
def test_a_cancellation_that_is_cut_off_is_finished_when_its_message_returns(
    with_other: bool,
) -> None:
    happens = partial(Bench.cancel, job_id=OTHER) if with_other else died
    for at in range(100):
        bench = Bench()
        two(bench)
        if not at_call(bench, at, happens, Bench.cancel):
            break
        bench.cancel()
        left = {one.job_id for one in bench.made() if not one.is_final}
        assert left == (set() if with_other else {one.job_id for one in bench.segments(OTHER)}), at
    assert at > 3


def test_a_retry_that_dies_before_a_segments_job_is_written_goes_on_with_that_job() -> None:
    def retry(bench: Bench) -> None:
        bench.begin(a_sequence(job_id=OTHER))

    for at in range(100):
        bench = Bench()
        bench.begin(a_sequence())
        for number, segment in enumerate(bench.segments()):
            (bench.fail if number == 2 else bench.succeed)(segment)
        bench.advance()
        if not at_call(bench, at, died, retry):
            break
        if not bench.store.get(OTHER):
            continue
        assert bench.finish(OTHER).status is S.SUCCEEDED, at
        assert len(bench.made()) == 5, at
    assert at > 3


def test_a_segment_that_another_sequence_takes_while_its_own_is_given_up_is_not_cancelled() -> None:
    def give_up(bench: Bench) -> None:
        bench.advance()

    def begin(bench: Bench) -> None:
        bench.begin(a_sequence(2, 1, prompts=prompts("snow"), job_id=OTHER))

    for at in range(100):
        bench = Bench(width=2)
        bench.begin(a_sequence(2, 1, prompts=prompts("rain")))
        bench.fail(bench.segments()[1])
        if not at_call(bench, at, begin, give_up):
            break
        assert bench.finish(OTHER).status is S.SUCCEEDED, at
        ends = [one.status for one in bench.made()]
        cancelled = [one for one in bench.made() if one.status is S.CANCELLED]
        assert all(OTHER not in one.users for one in cancelled), at
        assert ends.count(S.SUCCEEDED) == 2, at
    assert at > 3


def test_while_audio_is_cut_no_other_process_is_asked_to_cut_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    cut, seen = bench.editor.cut, []

    def cutting(job: Job) -> list[Audio]:
        just_before = bench.now + CUTTING - timedelta(seconds=1)
        seen.append((bench.job().waits_for, bench.store.oldest_ready(1, just_before)))
        return cut(job)

    monkeypatch.setattr(bench.editor, "cut", cutting)

    bench.begin(a_sequence())

    assert seen == [("cutting", [])]


def test_a_process_that_dies_while_it_takes_a_segment_of_another_sequence_loses_nothing() -> None:
    for at in range(100):
        bench = Bench()
        bench.begin(a_sequence(2, 1, prompts=prompts("rain")))
        bench.store.admit(a_sequence(2, 1, prompts=prompts("snow"), job_id=OTHER), ())
        if not at_call(bench, at, died, partial(Bench.advance, job_id=OTHER)):
            break
        bench.cancel()
        assert bench.finish(OTHER).status is S.SUCCEEDED, at
        assert [one.status for one in bench.made()].count(S.SUCCEEDED) == 2
    assert at > 3


def test_a_segment_counts_as_made_for_another_job_once_it_has_its_video() -> None:
    bench = Bench()
    _, second = two(bench)
    shared = bench.segments(OTHER)[0]
    assert notes(second) == []

    bench.succeed(shared)

    said = "1 of 2 segments was made for another job, which paid for it."
    assert notes(bench.advance(OTHER)) == [said]
    assert oddities(bench.job(OTHER)) == []
    event = StatusChanged.of(None, bench.job(OTHER), None, "output")
    assert event
    assert not event.has_problems
    assert notes(bench.advance()) == []


# What the function edit answers


NOT_DONE: dict[str, tuple[Any, type[Exception]]] = {
    "no answer in time": (ReadTimeoutError(endpoint_url="https://lambda"), EditorFailed),
    "throttled": (
        ClientError({"Error": {"Code": "TooManyRequestsException"}}, "Invoke"),
        EditorFailed,
    ),
    "ended": ({"errorType": "Runtime.OutOfMemory"}, EditorFailed),
    "replaced meanwhile": ({"unsettled": True}, DropUnsettled),
    "not readable": ({"errors": [WRONG.model_dump(exclude_none=True)]}, DropRefused),
}


@pytest.mark.parametrize(("answer", "error"), NOT_DONE.values(), ids=NOT_DONE)
def test_an_edit_that_is_not_done_is_refused_only_by_the_function(
    answer: Any, error: type[Exception]
) -> None:
    def invoke(**_: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}

    client: Any = SimpleNamespace(invoke=invoke)
    work: Any = None

    with pytest.raises(error):
        RemoteEditor(client, "edit", work).cut(a_sequence())
