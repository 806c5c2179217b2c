"""Runs the intake through every order in which puts, events and crashes can come.

A handler that is cut off between two of its calls cannot be copied, so it is replayed: it starts
again, hears the answers it has heard before, and is let through to the world for one call more.
Handlers thus take turns without threads, each call is a place to crash, and every state that can be
reached is visited once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from phonoscene.errors import DropUnsettled
from phonoscene.workflow.examination import DropLimits, Examiner
from phonoscene.workflow.intake import Announcement, Intake
from tests.support.jobs import NOON
from tests.unit.fakes import MemoryBucket, MemoryProber, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


RULES = DropLimits(481, Decimal("0.001205"), Decimal(2), Decimal(25))


def intake_of(
    bucket: Any,
    store: Any,
    rules: DropLimits = RULES,
    *,
    skips_repeats: bool = True,
    queue: Any = None,
) -> Intake:
    """The workflow over a bucket and a store of any make; without a ``queue`` no drop rests."""
    examiner = Examiner(bucket, rules, MemoryProber(bucket))
    intake = Intake(bucket, store, examiner, timedelta(minutes=60), skips_repeats)
    return replace(intake, rest=queue.rest, dispatch=queue.dispatch) if queue else intake


class Paused(BaseException):
    """The handler's turn is over; no ``except`` of the product catches it."""


@dataclass(frozen=True)
class Answer:
    """What a call gave; ``text`` tells answers apart."""

    value: Any
    error: Exception | None
    text: str


@dataclass(frozen=True)
class Call:
    """What a handler does next: a method of bucket, store or queue, and its arguments."""

    target: str
    name: str
    arguments: tuple[Any, ...]
    named: dict[str, Any]

    @cached_property
    def text(self) -> str:
        """Tells calls apart."""
        return f"{self.name} {self.arguments!r} {self.named!r}"

    @property
    def may_write(self) -> bool:
        """Whether it may change the store; nothing that a handler calls changes the bucket."""
        return self.target == "store" and self.name not in {"get", "holders", "waiting_for"}

    def of(
        self, bucket: MemoryBucket, store: MemoryStore, queue: Sent
    ) -> tuple[Answer, MemoryStore]:
        """What the world answers, and the store after it; each is made once for each state."""
        if self.target == "queue":
            return self._made(queue), store
        is_of_store = self.target == "store"
        target = store if is_of_store else bucket
        if self.text not in target.answers:
            after = store.copy() if self.may_write else store
            answer = self._made(after if is_of_store else bucket)
            target.answers[self.text] = answer, KNOWN_STORES.setdefault(after.table.state(), after)
        answer, after = target.answers[self.text]
        return answer, after if is_of_store else store

    def _made(self, target: Any) -> Answer:
        try:
            value = getattr(target, self.name)(*self.arguments, **self.named)
        except Exception as exc:  # noqa: BLE001 - the handler gets it, whatever it is
            return Answer(None, exc, f"{exc!r} {getattr(exc, 'found', None)!r}")
        text = repr(sorted(value) if isinstance(value, set) else value)
        return Answer(value, None, text)


class Tape:
    """Plays the answers of earlier turns; at the next call the handler's turn is over."""

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        self._answers = iter(answers)
        self.next: Call | None = None

    def play(self, call: Call) -> Any:
        """The next answer."""
        answer = next(self._answers, None)
        if answer is None:
            self.next = call
            raise Paused
        if answer.error:
            raise answer.error
        return answer.value


class Taped:
    """A bucket, a store or a queue whose methods answer from a tape."""

    def __init__(self, target: Any, tape: Tape, kind: str) -> None:
        self._target = target
        self._tape = tape
        self._kind = kind

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not callable(value) or name == "clock":
            return value
        return lambda *arguments, **named: self._tape.play(Call(self._kind, name, arguments, named))


class Sent:
    """The queue of drops: what a handler sends, as it will be received."""

    def __init__(self) -> None:
        self.messages: tuple[Announcement | str, ...] = ()

    def rest(self, announced: Announcement) -> None:
        """The same announcement, once it has rested."""
        self.messages += (replace(announced, has_rested=True),)

    def dispatch(self, job_ids: Sequence[str]) -> None:
        """The ids of jobs whose image has come."""
        self.messages += tuple(job_ids)


@cache
def _said(message: Announcement | str) -> str:
    if isinstance(message, str):
        return message
    return f"{message.key} {message.happened_at} {message.has_rested}"


@dataclass(frozen=True, eq=False)
class Handler:
    """One message at work, between two of its calls: an announcement, or a job's id.

    Equal ones are one object, made by ``starting`` and ``answered``.
    """

    announced: Announcement | str
    text: str
    answers: tuple[Answer, ...] = ()
    _after: dict[str, Handler] = field(default_factory=dict)
    _next: dict[bool, Call | str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"call {len(self.answers)} of {_said(self.announced)}"

    def answered(self, answer: Answer) -> Handler:
        """The same after its next call."""
        if answer.text not in self._after:
            text, answers = f"{self.text}|{answer.text}", (*self.answers, answer)
            self._after[answer.text] = Handler(self.announced, text, answers)
        return self._after[answer.text]

    def next(self, *, skips_repeats: bool) -> Call | str:
        """What it does next; or how it ended, ``done`` or ``unsettled``.

        That follows from its answers alone, so it is found out once.
        """
        if skips_repeats not in self._next:
            self._next[skips_repeats] = self._found(skips_repeats=skips_repeats)
        return self._next[skips_repeats]

    def _found(self, *, skips_repeats: bool) -> Call | str:
        tape = Tape(self.answers)
        bucket = Taped(IMAGES, tape, "bucket")
        store = Taped(MemoryStore(), tape, "store")
        queue = Taped(Sent(), tape, "queue")
        intake = intake_of(bucket, store, skips_repeats=skips_repeats, queue=queue)
        try:
            if isinstance(self.announced, str):
                waiting = store.get(self.announced)
                if waiting:
                    intake.look_again(waiting)
            else:
                intake.take(self.announced)
        except Paused:
            assert tape.next
            return tape.next
        except DropUnsettled:
            return "unsettled"
        return "done"


@cache
def starting(message: Announcement | str) -> Handler:
    """The handler of a message before its first call."""
    return Handler(message, _said(message))


#: What each image shows, in pixels.
IMAGES = MemoryBucket()
IMAGES.images |= dict.fromkeys(("cover.png", "end.png"), (1024, 576))


@dataclass(frozen=True, eq=False)
class Upload:
    """One thing the dropper does: create a version, or begin one that is uploaded in parts."""

    key: str
    body: bytes = b"x"
    only_begins: bool = False


def _contents(bucket: MemoryBucket) -> Any:
    return frozenset((key, tuple(versions)) for key, versions in bucket.versions.items())


def _records(store: MemoryStore) -> Any:
    """What tells tables apart: of a job not its history, which differs by the order of events."""
    kept = ("job_id", "status", "audio", "sidecar", "dropped_at", "missing_image")
    return frozenset(
        repr([item.get(name) for name in kept] if "status" in item else item)
        for item in store.table.items()
    )


def _once(tell: Callable[[Any], Any], part: Any) -> Any:
    """What tells a part of a world apart, kept with it: worlds share what they do not change."""
    if "identity" not in part.__dict__:
        known = tell(part)
        part.identity = KNOWN_PARTS.setdefault(known, known)
    return part.identity


#: Equal ones are one object, which is equal to itself at once.
KNOWN_PARTS: dict[Any, Any] = {}
KNOWN_STORES: dict[str, MemoryStore] = {}
KNOWN_BUCKETS: dict[Any, MemoryBucket] = {}


@dataclass(frozen=True)
class World:
    """Everything there is at one moment."""

    uploads: tuple[Upload, ...]
    deliveries: int = 1
    handlers_at_once: int = 1
    crashes: int = 0
    same_second: bool = False
    skips_repeats: bool = True
    #: Whether all uploads follow each other within one rest.
    at_one_time: bool = True
    bucket: MemoryBucket = field(default_factory=MemoryBucket)
    store: MemoryStore = field(default_factory=MemoryStore)
    begun: tuple[tuple[str, datetime], ...] = ()
    pending: tuple[Announcement | str, ...] = ()
    running: tuple[Handler, ...] = ()
    pairs: frozenset[tuple[str, ...]] = frozenset()
    ticks: int = 0
    #: The last action and what it was done to, after those before it.
    steps: tuple[Any, ...] = ()

    @property
    def path(self) -> list[str]:
        """How it came to be so."""
        actions, steps = [], self.steps
        while steps:
            steps, *action = steps
            actions.append(" ".join(map(str, action)))
        return actions[::-1]

    @property
    def identity(self) -> tuple[Any, ...]:
        """Two worlds of the same identity have the same future."""
        return (
            self.uploads,
            self.crashes,
            _once(_contents, self.bucket),
            tuple(sorted(map(_said, self.pending))),
            tuple(sorted(handler.text for handler in self.running)),
            _once(_records, self.store),
            self.pairs,
            self.begun,
        )

    def _with(self, action: str, what: Any, **changes: Any) -> World:
        """What dataclasses.replace would return, sooner: no field needs to be made anew."""
        world = object.__new__(World)
        world.__dict__.update(self.__dict__, steps=(self.steps, action, what), **changes)
        return world

    def _now(self) -> datetime:
        return NOON + timedelta(seconds=0 if self.same_second else self.ticks)

    def _uploaded(self, number: int) -> World:
        upload = self.uploads[number]
        rest = self.uploads[:number] + self.uploads[number + 1 :]
        began = dict(self.begun)
        changes: dict[str, Any] = {"uploads": rest, "ticks": self.ticks + 1}
        if upload.only_begins:
            begun = tuple({**began, upload.key: self._now()}.items())
            return self._with("begin", upload.key, begun=begun, **changes)
        bucket = self.bucket.copy()
        announced = bucket.put(
            upload.key, upload.body, at=self._now(), begun=began.pop(upload.key, None)
        )
        kept = (_contents(bucket), bucket.dated_after, id(bucket.images))
        bucket = KNOWN_BUCKETS.setdefault(kept, bucket)
        newest = tuple(sorted(versions[-1].version_id for versions in bucket.versions.values()))
        return self._with(
            "put",
            newest,
            bucket=bucket,
            begun=tuple(began.items()),
            pending=self.pending + (announced,) * self.deliveries,
            pairs=self.pairs | {newest},
            **changes,
        )

    def _started(self, announced: Announcement | str) -> World:
        pending = list(self.pending)
        pending.remove(announced)
        handler = starting(announced)
        calls = isinstance(handler.next(skips_repeats=self.skips_repeats), Call)
        running = (*self.running, handler) if calls else self.running
        return self._with("deliver", handler, pending=tuple(pending), running=running)

    def _may_come(self, message: Announcement | str) -> bool:
        """Whether its time has come: what rested comes after all that followed within the rest."""
        if isinstance(message, str) or not message.has_rested:
            return True
        return not (self.at_one_time and self.uploads)

    def _others(self, handler: Handler) -> tuple[Handler, ...]:
        running = list(self.running)
        running.remove(handler)
        return tuple(running)

    def _crashed(self, handler: Handler) -> World:
        return self._with(
            "crash after",
            handler,
            crashes=self.crashes - 1,
            pending=(*self.pending, handler.announced),
            running=self._others(handler),
        )

    def _stepped(self, handler: Handler) -> World:
        call = handler.next(skips_repeats=self.skips_repeats)
        assert isinstance(call, Call)
        sent = Sent()
        answer, store = call.of(self.bucket, self.store, sent)
        answered = handler.answered(answer)
        then = answered.next(skips_repeats=self.skips_repeats)
        running, again = self._others(handler), self.pending + sent.messages
        if isinstance(then, Call):
            running = (*running, answered)
        elif then == "unsettled":
            again = (*again, handler.announced)
        return self._with("make", answered, store=store, running=running, pending=again)

    def _next_uploads(self) -> Iterator[int]:
        """Uploads of one key keep their order; those of different keys do not."""
        seen: set[str] = set()
        for number, upload in enumerate(self.uploads):
            if upload.key not in seen:
                yield number
            seen.add(upload.key)

    def futures(self) -> Iterator[World]:
        """Every world that one action makes of this one."""
        yield from (self._uploaded(number) for number in self._next_uploads())
        if len(self.running) < self.handlers_at_once:
            yield from map(self._started, filter(self._may_come, set(self.pending)))
        for handler in self.running:
            yield self._stepped(handler)
            if self.crashes:
                yield self._crashed(handler)


def ends(start: World) -> Iterator[World]:
    """Every world in which all is uploaded and every event is done."""
    seen, stack = {start.identity}, [start]
    while stack:
        world = stack.pop()
        futures = list(world.futures())
        if not futures:
            yield world
        for future in futures:
            identity = future.identity
            if identity not in seen:
                seen.add(identity)
                stack.append(future)
