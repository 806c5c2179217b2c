"""The job record: what its states are, which may follow which, and what it holds.

Only the job store writes records, and it writes what ``TRANSITIONS`` allows.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict

from phonoscene.version import VERSION


class JobStatus(StrEnum):
    """Where a job stands."""

    #: One half of the pair is here; or both are, and an image that the drop names is not.
    WAITING = "WAITING"
    #: Paired, validated, priced.
    READY = "READY"
    #: Claimed: a token is stored as a hash and the one POST is in flight.
    SUBMITTING = "SUBMITTING"
    #: The POST's outcome is unknown. Never blindly sent again: fal bills each copy.
    UNCONFIRMED = "UNCONFIRMED"
    #: fal accepted the request; its id and its three URLs are stored.
    SUBMITTED = "SUBMITTED"
    #: A verified result says that the video exists on fal's CDN; it is being copied.
    GENERATED = "GENERATED"
    #: The video is in the output bucket.
    SUCCEEDED = "SUCCEEDED"
    #: fal or the copy failed for good.
    FAILED = "FAILED"
    #: The drop was wrong; nothing was spent.
    REJECTED = "REJECTED"
    #: Somebody stopped it.
    CANCELLED = "CANCELLED"


_S = JobStatus

#: The statuses that a new record may have.
BORN_AS = frozenset({_S.WAITING, _S.READY, _S.REJECTED})

#: The whole state machine. A webhook may overtake the answer to our own POST (SUBMITTING to
#: GENERATED), prove that a request was taken after all which fal had seemed to refuse (READY to
#: GENERATED), or bring a success after an error (FAILED to GENERATED). A half's WAITING leads to no
#: job state: the half's record is replaced by its job's. A sequence goes from READY to SUBMITTED,
#: because its segments make the POSTs.
TRANSITIONS = MappingProxyType(
    {
        _S.WAITING: frozenset({_S.READY, _S.REJECTED, _S.CANCELLED}),
        _S.READY: frozenset({_S.SUBMITTING, _S.SUBMITTED, _S.GENERATED, _S.FAILED, _S.CANCELLED}),
        _S.SUBMITTING: frozenset(
            {_S.SUBMITTED, _S.UNCONFIRMED, _S.GENERATED, _S.READY, _S.FAILED, _S.CANCELLED}
        ),
        _S.UNCONFIRMED: frozenset({_S.SUBMITTED, _S.GENERATED, _S.READY, _S.FAILED, _S.CANCELLED}),
        _S.SUBMITTED: frozenset({_S.GENERATED, _S.READY, _S.FAILED, _S.CANCELLED}),
        _S.GENERATED: frozenset({_S.SUCCEEDED, _S.FAILED}),
        _S.SUCCEEDED: frozenset[JobStatus](),
        _S.FAILED: frozenset({_S.GENERATED}),
        _S.REJECTED: frozenset[JobStatus](),
        _S.CANCELLED: frozenset[JobStatus](),
    }
)

#: The states in which nothing more is done for a job. Only fal itself can still bring a video.
FINAL = frozenset({_S.SUCCEEDED, _S.FAILED, _S.REJECTED, _S.CANCELLED})
#: The states that say that there is no video and will be none: the same files may start anew.
WITHOUT_VIDEO = FINAL - {_S.SUCCEEDED}

#: The states before fal's answer is known: the answer may change them. A refusal must
#: not undo what an earlier attempt's webhook has brought.
UNANSWERED = frozenset({_S.SUBMITTING, _S.UNCONFIRMED})

#: The codes of failures after which fal may have made a video that never arrived, and bills it:
#: what was set aside for it stays spent.
MAYBE_BILLED = frozenset({"result_lost", "result_unreadable", "outcome_unproven"})
#: The code of a failure whose video exists, and could not be copied while fal kept it.
NOT_COPIED = "video_unavailable"

#: For how long odd answers of fal are asked for again, before a job ends by them. fal may delete a
#: large result six minutes after the run.
ANSWER_PATIENCE = timedelta(minutes=5)

#: How long a state may last before somebody should look at the job: the sort key of index ``due``.
#: SUBMITTING and GENERATED outlast their function's own timeout; UNCONFIRMED outlasts fal's first
#: webhook attempts. WAITING's grace is a parameter of the stack.
LOOK_AGAIN_AFTER = MappingProxyType(
    {
        _S.SUBMITTING: timedelta(seconds=180),
        _S.UNCONFIRMED: timedelta(seconds=60),
        _S.SUBMITTED: timedelta(seconds=45),
        _S.GENERATED: timedelta(seconds=360),
    }
)


def may_precede(status: JobStatus) -> frozenset[JobStatus]:
    """The states from which ``status`` may be reached in one step."""
    return frozenset(before for before, followers in TRANSITIONS.items() if status in followers)


def from_decimals(value: Any) -> Any:
    """DynamoDB's numbers as Python's: they are read back as Decimal, at any depth."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {key: from_decimals(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [from_decimals(inner) for inner in value]
    return value


def _in_order(metadata: dict[str, str]) -> dict[str, str]:
    """By key: DynamoDB keeps no order, and a job that is published twice gives the same text."""
    return dict(sorted(metadata.items()))


Json = Annotated[dict[str, Any], BeforeValidator(from_decimals)]
Metadata = Annotated[dict[str, str], AfterValidator(_in_order)]


class FrozenModel(BaseModel):
    """A frozen part of a job; what a newer release added to an item is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class KeptModel(FrozenModel):
    """A part that is read and then written whole: what a newer release added to it is kept."""

    model_config = ConfigDict(extra="allow")


class ErrorDetail(FrozenModel):
    """One thing that is wrong with a job, in words its dropper can act on."""

    code: str
    message: str
    field: str | None = None
    value: str | None = None
    allowed: str | None = None
    #: The key of the file it stands in.
    source: str | None = None
    #: The policies that fal names, of a ``content_policy_violation``.
    categories: tuple[str, ...] | None = None
    retryable: bool = False


class Unusable(FrozenModel):
    """Why the video of a segment cannot be part of a whole, and since when that is known."""

    since: AwareDatetime
    error: ErrorDetail


class DropObject(FrozenModel):
    """One object, pinned to the version that was looked at.

    ``bucket``: None is the drop bucket; a work file of a sequence is in the output bucket.
    ``etag``: of the images of a sequence, which are compared by their bytes.
    """

    key: str
    version_id: str
    bucket: str | None = None
    etag: str | None = None


class Audio(DropObject):
    """The audio half: its size in bytes, and what was measured.

    That is its length in seconds, its content type, and FFmpeg's name of the codec.
    """

    bytes: int
    seconds: float | None = None
    format: str | None = None
    codec: str | None = None


class Estimate(FrozenModel):
    """What the job should cost, in US dollars: ``pricing`` says where both bounds come from.

    ``frames`` are the most that fal may bill, ``megapixels`` as many of the size asked for.
    """

    width: int
    height: int
    frames: int
    megapixels: Decimal
    #: None in a record of before.
    usd_per_megapixel: Decimal | None = None
    lower_usd: Decimal
    upper_usd: Decimal


#: Where the figures of an ``Actual`` come from: fal's bill, the frames or the length that it
#: reports, or no more than the size.
Source = Literal["billable_units", "frames", "duration", "size"]


class Actual(FrozenModel):
    """What fal says it made, in frames and pixels, and what that costs in US dollars."""

    source: Source
    width: int
    height: int
    frames: int
    megapixels: Decimal
    lower_usd: Decimal
    upper_usd: Decimal
    #: The most that the frames and pixels cost, whatever fal bills; None in a record of before.
    delivered_usd: Decimal | None = None


class JobCost(FrozenModel):
    """What a job costs, in US dollars: ``spending`` says how it follows from the record.

    ``delivered_usd`` and ``billed_usd``: None where fal does not say it of all that is paid.
    ``may_be_billed``: whether ``upper_usd`` counts a request that fal may bill without a video.
    """

    lower_usd: Decimal
    upper_usd: Decimal
    delivered_usd: Decimal | None = None
    billed_usd: Decimal | None = None
    may_be_billed: bool = False


class Reservation(FrozenModel):
    """Dollars set aside on a day (``2026-11-22``, UTC); with them goes a place in flight."""

    day: str
    usd: Decimal


class Request(FrozenModel):
    """fal's request, with the URLs as fal returned them; None where only a webhook named it."""

    request_id: str
    status_url: str | None = None
    response_url: str | None = None
    cancel_url: str | None = None


class Video(FrozenModel):
    """The stored video; sides, frames and ``duration`` are as fal reported them, if it did."""

    bucket: str
    key: str
    version_id: str
    bytes: int
    sha256: str
    content_type: str
    #: The keys without a job's id that get a copy: the name's, and the take's if there are several.
    stable_keys: tuple[str, ...] = ()
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    frames: int | None = None
    duration: float | None = None
    #: Seconds of picture and of sound by the file's own headers; None: unknown. 0: no sound.
    seconds: float | None = None
    sound_seconds: float | None = None


class Scene(KeptModel):
    """What a stretch of a sequence asks for: what differs from the job's own arguments."""

    start: float = 0
    arguments: Json = {}
    images: dict[str, DropObject] = {}


class Segment(KeptModel):
    """One request of a sequence: ``frames`` frames from the frame ``first`` on, of a scene.

    ``job_id``: the job that makes it, once there is one; ``status`` and ``request_id`` are that
    job's as they were last seen, and ``is_sent`` whether fal may have had it by then. A segment
    that ``is_reused`` was made for another sequence, which paid for it.
    """

    scene: int
    first: int
    frames: int
    slice: Audio | None = None
    job_id: str | None = None
    status: JobStatus | None = None
    request_id: str | None = None
    is_sent: bool = False
    is_reused: bool = False

    def without_job(self) -> Self:
        """The segment as it was planned, and cut."""
        return type(self)(scene=self.scene, first=self.first, frames=self.frames, slice=self.slice)


class Sequence(KeptModel):
    """Audio that is longer than one request, or in scenes: the requests that make its video.

    ``fps``: frames per second, of all segments. ``is_chained``: each segment begins with the last
    frame of the one before. ``twin``: how many takes before it in its sidecar ask for the same.
    """

    fps: float
    is_chained: bool = False
    twin: int = 0
    scenes: tuple[Scene, ...]
    segments: tuple[Segment, ...]

    def asked(self) -> list[dict[str, Any]]:
        """What each scene asks for, and when it begins; and whether segments are chained."""
        scenes = [{"start": scene.start, **scene.arguments} for scene in self.scenes]
        return [*scenes, {"is_chained": True}] if self.is_chained else scenes

    def is_first_of_scene(self, number: int) -> bool:
        """Whether a scene begins with this segment."""
        return number == 0 or self.segments[number].scene != self.segments[number - 1].scene

    def is_last_of_scene(self, number: int) -> bool:
        """Whether a scene ends with this segment."""
        return number == len(self.segments) - 1 or self.is_first_of_scene(number + 1)

    def continues(self, number: int) -> bool:
        """Whether a segment begins with the last frame of the one before."""
        scene = self.scenes[self.segments[number].scene]
        begins_anew = self.is_first_of_scene(number) and "image_url" in scene.arguments
        return self.is_chained and number > 0 and not begins_anew

    @property
    def done(self) -> int:
        """How many segments have their video."""
        return sum(one.status is JobStatus.SUCCEEDED for one in self.segments)

    def start_of(self, number: int) -> float:
        """When a segment begins, in seconds; segments are counted from 0."""
        return self.segments[number].first / self.fps

    def seconds_of(self, number: int) -> float:
        """How long a segment lasts."""
        return self.segments[number].frames / self.fps

    def with_segment(self, number: int, **changes: Any) -> Self:
        """The same with another segment at that place."""
        changed = self.segments[number].model_copy(update=changes)
        rest = self.segments[number + 1 :]
        return self.model_copy(update={"segments": (*self.segments[:number], changed, *rest)})


class Step(FrozenModel):
    """One entry of a job's history."""

    status: JobStatus
    at: AwareDatetime


class Job(FrozenModel):
    """One job, as it was read; a change makes a new one.

    Never part of it: presigned URLs, tokens in clear, the fal key.
    """

    job_id: str
    name: str
    status: JobStatus
    bucket: str
    audio: Audio | None = None
    sidecar: DropObject | None = None
    images: dict[str, DropObject] = {}
    arguments: Json = {}
    #: Texts of the dropper, which come back as they are and are never sent to fal.
    metadata: Metadata = {}
    #: The take's place in its sidecar's array, from 1; None if the sidecar lists only one.
    take: int | None = None
    estimate: Estimate | None = None
    #: The segments of a job that takes more than one request.
    sequence: Sequence | None = None
    #: Of a segment's job: the id of the sequence that first asked for it, and its place, from 0.
    part_of: str | None = None
    part: int | None = None
    #: Of a segment's job: the ids of other sequences that use it, too.
    wanted_by: frozenset[str] = frozenset()
    #: Of a segment's job that SUCCEEDED: why a sequence that begins later does not use its video.
    unusable: Unusable | None = None
    #: By how many seconds the audio is longer than the longest video, which is asked for then.
    padding: float | None = None
    #: Claims so far; ``refusals`` of them were turned away before fal queued anything, and
    #: ``account_refusals`` of those because of the account.
    attempt: int = 0
    refusals: int = 0
    account_refusals: int = 0
    #: How often fal's storage would not take its files, before any claim.
    uploads_failed: int = 0
    #: Held from the claim until the attempt ends; with it goes a place in the window, unless the
    #: video cannot be copied yet.
    reservation: Reservation | None = None
    #: What a READY job waits for, in a word; None when it is its turn. A WAITING job that is not a
    #: half waits for an ``image``: the first that its drop names and that is missing.
    waits_for: str | None = None
    missing_image: str | None = None
    waits_until: AwareDatetime | None = None
    #: Since when fal has not given what it should: an answer about a job that it may have been paid
    #: for, or the whole of a video. Of long audio, since when it cannot be cut or joined.
    unanswered_since: AwareDatetime | None = None
    #: Why fal did not say how the request stands, or the video could not be copied, the last time;
    #: it is tried again.
    problem: str | None = None
    #: How many results of fal's in a row could not be read.
    unreadable_results: int | None = None
    #: Whether the one resubmission after a proven silence has been used.
    resubmitted: bool = False
    token_hashes: tuple[str, ...] = ()
    request: Request | None = None
    #: For how many seconds fal was asked to let the request wait at most, until it runs.
    start_timeout: int | None = None
    #: For how many seconds after the run fal was asked to keep what it made.
    output_lifetime: int | None = None
    #: Where the video lies on fal's public CDN: only while it is being copied, or where it could
    #: not be stored, or not whole.
    source_url: str | None = None
    #: What fal said of the video, kept for the copy.
    reported: Json = {}
    #: What came, against the estimate; None where fal reported nothing that can be compared.
    actual: Actual | None = None
    #: Of a sequence that starts no further segment: what those cost that it asked for first.
    spent: JobCost | None = None
    video: Video | None = None
    #: What is odd about it, in the words of ``video_formats``; it was stored all the same.
    video_flaws: frozenset[str] = frozenset()
    seed: int | None = None
    prompt_used: str | None = None
    errors: tuple[ErrorDetail, ...] = ()
    #: Other requests that answered for this job: paid twice, stored once.
    duplicate_requests: frozenset[str] = frozenset()
    #: What came of them, as far as fal reported it.
    duplicate_actuals: tuple[Actual, ...] = ()
    #: How often the same content was dropped again: it is this job's, and was not paid again.
    repeats: int = 0
    #: How many of those had other metadata: the job keeps its own.
    unused_metadata: int = 0
    #: Sidecars beside the one that counts, which nothing is made of.
    unused_sidecars: frozenset[str] = frozenset()
    history: tuple[Step, ...] = ()
    #: Grows with every write; 0 in a record that was written before there were any.
    revision: int = 0
    #: The release that wrote the last step; None in a record of before 0.1.0.
    phonoscene_version: str | None = None
    #: When S3 dates the newer of its halves, or of the last drop that repeats it: which of two jobs
    #: of a name is of the newer drop.
    dropped_at: AwareDatetime | None = None
    created_at: AwareDatetime
    updated_at: AwareDatetime

    @classmethod
    def new(cls, status: JobStatus, at: datetime, **fields: Any) -> Self:
        """A new record in one of the states of ``BORN_AS``."""
        if status not in BORN_AS:
            raise ValueError(f"no new record is {status}")
        history = (Step(status=status, at=at),)
        begun = {"status": status, "history": history, "revision": 1}
        return cls(**begun, phonoscene_version=VERSION, created_at=at, updated_at=at, **fields)

    def after_wait(self, waiting: Job) -> Self:
        """The same record, as the next write of the one that waits for an image under its id."""
        still_waits = self.status is waiting.status
        same = {"name": waiting.name, "created_at": waiting.created_at}
        step = () if still_waits else self.history
        grown = {"history": (*waiting.history, *step), "revision": waiting.revision + 1}
        kept = {"updated_at": waiting.updated_at, "waits_until": waiting.waits_until}
        return self.model_copy(update=same | grown | (kept if still_waits else {}))

    def last(self, status: JobStatus) -> datetime:
        """When the job last became that; when it was created, if it never did."""
        return max(
            (step.at for step in self.history if step.status is status), default=self.created_at
        )

    @property
    def generated_after(self) -> timedelta | None:
        """How long fal took, of a job that has just been generated."""
        if self.status is not JobStatus.GENERATED:
            return None
        return self.last(JobStatus.GENERATED) - self.last(JobStatus.SUBMITTED)

    @property
    def paid(self) -> list[Actual | Estimate]:
        """Each video that fal made for the job, priced as it came, else as it was estimated.

        A sequence paid for none itself: its segments did.
        """
        if self.sequence:
            return []
        unreported = len(self.duplicate_requests) - len(self.duplicate_actuals)
        found = [self.actual or self.estimate] * self.was_generated + [*self.duplicate_actuals]
        return [cost for cost in (*found, *[self.estimate] * unreported) if cost]

    @property
    def costs_more_than_reserved(self) -> bool:
        """Whether what came may cost more than what was set aside for it."""
        if self.actual is None or self.estimate is None:
            return False
        return self.actual.upper_usd > self.estimate.upper_usd

    @property
    def plan(self) -> Sequence:
        """The segments of a job that is a sequence.

        Raises:
            ValueError: it is none.
        """
        if self.sequence is None:
            raise ValueError(f"{self.job_id} is no sequence")
        return self.sequence

    @property
    def users(self) -> frozenset[str]:
        """Of a segment's job: the ids of all sequences that it was made for."""
        return self.wanted_by | ({self.part_of} if self.part_of else set())

    @property
    def marker(self) -> str:
        """What the audio's URL of this attempt carries, so that fal's list shows whose it is."""
        return f"{self.job_id}-{self.attempt}"

    @property
    def next_marker(self) -> str:
        """That of the attempt which a claim would begin."""
        return f"{self.job_id}-{self.attempt + 1}"

    @property
    def media(self) -> dict[str, DropObject]:
        """The job's files in the drop bucket, by the argument that names them to fal."""
        return ({"audio_url": self.audio} if self.audio else {}) | self.images

    @property
    def was_generated(self) -> bool:
        """Whether fal has made a video for it, as far as is known."""
        return any(step.status is JobStatus.GENERATED for step in self.history)

    @property
    def is_sent(self) -> bool:
        """Whether fal may have had a request of the job: one was sent, and not turned away."""
        return self.attempt > self.refusals

    @property
    def is_maybe_billed(self) -> bool:
        """Whether it ended without a word of fal's that no video was made."""
        return any(error.code in MAYBE_BILLED for error in self.errors)

    def is_overdue(self, now: datetime) -> bool:
        """Whether fal has given no usable answer for so long that what it gave has to do."""
        return self.unanswered_since is not None and now - self.unanswered_since > ANSWER_PATIENCE

    @property
    def is_final(self) -> bool:
        """Whether the job has ended; after FAILED fal may still bring a video."""
        return self.status in FINAL
