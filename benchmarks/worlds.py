"""The crash tests' world for measuring: indexes that are kept sorted, and a clock on every call.

The clock is the thread's own CPU time, which other work on the machine does not lengthen.

The handlers are the deployed ones, built by their own ``build()``. The SDK is whole down to the
bytes it would send; what answers them, and how long it takes to, is taken off.
"""

from __future__ import annotations

import io
import logging
import re
import secrets
import time
import types
from bisect import bisect_left, insort
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final, TypeVar
from unittest.mock import patch

from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.client import BaseClient
from botocore.httpsession import URLLib3Session

from benchmarks.aws import Asked, answer, service
from phonoscene.observability import logger
from phonoscene.table.items import SHARDS
from tests.support.fakes import stream
from tests.support.fakes.calls import Calls
from tests.support.fakes.expressions import condition, sortable
from tests.support.fakes.fal import RUNS_FOR, Fal, Request, video_of
from tests.support.fakes.table import Table, _indexes, _scope
from tests.support.fakes.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime, timedelta

    import httpx
    from botocore.awsrequest import AWSPreparedRequest

T = TypeVar("T")

#: The video of a world where no other is asked for: as small as the crash tests'.
SMALL_VIDEO: Final = video_of(b" the film " * 30)

#: DynamoDB's page is a megabyte: so many entries of an index that holds keys only.
PAGE: Final = 8000
GOLDEN: Final = 0.618034
_SEND: Final[Callable[..., Any]] = vars(BaseClient)["_make_api_call"]
_PARTITION: Final = re.compile(r"(\w+) = (:\w+)")


class IndexedTable(Table):
    """The jobs table with sorted indexes, so that a query costs what it finds, as on AWS."""

    def __init__(self) -> None:
        super().__init__()
        #: Whether writes are kept; they are answered in any case.
        self.keeps = True
        self._sorted: dict[str, defaultdict[Any, list[tuple[Any, str]]]] = {
            name: defaultdict(list) for name in _indexes()
        }

    def _apply(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        key = (asked.get("Key") or asked["Item"])["job_id"]["S"]
        before = self._items.get(key)
        after = super()._apply(asked)
        if not self.keeps and before:
            self._items[key] = before
            self.changes.clear()
            return after
        for name, (partition, sort, _) in _indexes().items():
            _index(
                self._sorted[name],
                key,
                _entry(before, partition, sort),
                _entry(after, partition, sort),
            )
        return after

    def _query(self, asked: dict[str, Any]) -> Any:
        name, matches = asked["IndexName"], condition(asked["KeyConditionExpression"])
        attribute = _PARTITION.search(asked["KeyConditionExpression"])
        assert attribute
        value = sortable(asked["ExpressionAttributeValues"][attribute[2]])
        entries = self._sorted[name][value]
        start = asked.get("ExclusiveStartKey")
        first = bisect_left(entries, _place(start, name)) + 1 if start else 0
        found: list[dict[str, Any]] = []
        most = min(PAGE, asked.get("Limit", PAGE))
        for _, key in entries[first:]:
            item = self._items[key]
            if not matches(_scope(asked, item)):
                if found:
                    break
                continue
            if len(found) == most:
                return _page(found, name) | {"LastEvaluatedKey": _kept(found[-1], name)}
            found.append(item)
        return _page(found, name)


def _entry(item: dict[str, Any] | None, partition: str, sort: str) -> tuple[Any, Any] | None:
    if not item or partition not in item or sort not in item:
        return None
    return sortable(item[partition]), sortable(item[sort])


def _index(
    index: defaultdict[Any, list[tuple[Any, str]]],
    key: str,
    before: tuple[Any, Any] | None,
    after: tuple[Any, Any] | None,
) -> None:
    if before == after:
        return
    if before:
        entries = index[before[0]]
        del entries[bisect_left(entries, (before[1], key))]
    if after:
        insort(index[after[0]], (after[1], key))


def _place(item: dict[str, Any], index: str) -> tuple[Any, str]:
    _, sort, _ = _indexes()[index]
    return sortable(item[sort]), item["job_id"]["S"]


def _kept(item: dict[str, Any], index: str) -> dict[str, Any]:
    _, _, held = _indexes()[index]
    return {name: value for name, value in item.items() if held is None or name in held}


def _page(found: list[dict[str, Any]], index: str) -> dict[str, Any]:
    return {"Items": [_kept(item, index) for item in found], "Count": len(found)}


@dataclass
class TimedCalls(Calls):
    """Counts the calls of each function, and sums up how long they took to answer."""

    counts: Counter[str] = field(default_factory=Counter)
    answering: float = 0.0

    def make(self, what: str, act: Callable[[], T]) -> T:
        """Let a call through."""
        self.counts[f"{self._function}: {what}"] += 1
        begun = time.thread_time()
        try:
            return act()
        finally:
            self.answering += time.thread_time() - begun


class QuickFal(Fal):
    """fal that finds a request at once, runs only so many at a time, and makes videos of any size.

    Where it runs only so many, runs differ in length, by up to 30 % from ``RUNS_FOR``.
    """

    def __init__(self, fal: Fal, video: bytes, concurrency: int | None) -> None:
        super().__init__(fal.clock, fal.play, fal.deliver)
        self._video = video
        self._by_id: dict[str, Request] = {}
        self._webhooks: list[tuple[datetime, str]] = []
        #: When each of its runners is free again.
        self.runners = [fal.clock()] * (concurrency or 0)
        #: When each request began to run.
        self.began: list[datetime] = []

    def add(self, found: Request) -> None:
        """A request that it has taken."""
        self.requests.append(found)
        self._by_id[found.request_id] = found

    def next_at(self) -> datetime | None:
        """When the next webhook is due."""
        while self._webhooks:
            at, request_id = self._webhooks[0]
            if self._by_id[request_id].webhook_at == at:
                return at
            heappop(self._webhooks)
        return None

    def act(self) -> None:
        """Send the webhook that is due."""
        found = self._by_id[self._webhooks[0][1]]
        self.send(found)
        if found.webhook_at:
            heappush(self._webhooks, (found.webhook_at, found.request_id))

    def _accept(self, asked: httpx.Request) -> Request:
        found = super()._accept(asked)
        found.__class__ = type("Request", (Request,), {"video": self._video})
        began = self.clock()
        if self.runners:  # it runs when a runner is free, as fal's own queue has it
            began = max(began, heappop(self.runners))
            found.ends_at = found.webhook_at = began + run_of(len(self.began))
            heappush(self.runners, found.ends_at)
        self.began.append(began)
        self._by_id[found.request_id] = found
        heappush(self._webhooks, (found.webhook_at or found.ends_at, found.request_id))
        return found

    def _queue(self, asked: httpx.Request) -> httpx.Response:
        if asked.method == "POST":
            return self._post(asked)
        return self._alone(asked.url.path.partition("/requests/")[2].partition("/")[0], asked)

    def _file(self, asked: httpx.Request) -> httpx.Response:
        return self._alone(asked.url.path.rpartition("/")[2].partition(".")[0], asked)

    def _alone(self, request_id: str, asked: httpx.Request) -> httpx.Response:
        """As if it were the only request there is."""
        one = Fal(self.clock, self.play, self.deliver, requests=[self._by_id[request_id]])
        return one.answer(asked)


def run_of(number: int) -> timedelta:
    """How long a request runs: spread evenly, the same every time."""
    return RUNS_FOR * (0.7 + 0.6 * (number * GOLDEN % 1))


@dataclass
class Lines(io.TextIOBase):
    """A stream that keeps nothing of what is written but how much it was."""

    count: int = 0

    def write(self, text: str) -> int:
        """Count the lines."""
        self.count += text.count("\n")
        return len(text)


@dataclass
class MeasuredWorld(World):
    """A world whose invocations are timed, function by function."""

    calls: TimedCalls = field(default_factory=TimedCalls)
    table: Table = field(default_factory=IndexedTable)
    #: Each invocation's own seconds: without what answered its calls.
    own: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    #: Whether the SDK serialises, signs and parses, or is answered where it is asked.
    has_whole_sdk: bool = False
    video: bytes = SMALL_VIDEO
    #: How many requests fal runs at once; None is all.
    concurrency: int | None = None
    lines: Lines = field(default_factory=Lines)
    publishes: bool = False
    shards: int = SHARDS

    def __post_init__(self) -> None:
        super().__post_init__()
        self.fal: QuickFal = QuickFal(self.fal, self.video, self.concurrency)

    def invoke(self, name: str, event: Any) -> Any:
        """One invocation; those that it brings about by its calls are not its own."""
        before, begun = self.calls.answering, time.thread_time()
        try:
            return super().invoke(name, event)
        finally:
            took = time.thread_time() - begun
            self.own[name].append(took - (self.calls.answering - before))

    def publish_each(self) -> None:
        """Tell the stream, write by write, as on a stack that is not busy."""
        for number, change in enumerate(self.table.changes, 1):
            one = stream.record(number, change)
            if stream.passes(one):
                self.hand_out([one])

    def is_moving(self) -> bool:
        """The world's own look at every record would be what is measured."""
        return False

    @contextmanager
    def under(self) -> Iterator[None]:
        """Put this world under the product; logs are written, into memory."""
        with super().under(), patch.object(logger.registered_handler, "stream", self.lines):
            logging.disable(logging.NOTSET)
            if self.has_whole_sdk:
                with patch.object(URLLib3Session, "send", self._send()):
                    yield
            else:
                yield

    def _secrets(self) -> types.SimpleNamespace:
        """Real tokens: the world's own are made of all there is in the table."""
        return types.SimpleNamespace(
            compare_digest=secrets.compare_digest, token_urlsafe=secrets.token_urlsafe
        )

    def _aws(self) -> Callable[..., Any]:
        return _SEND if self.has_whole_sdk else super()._aws()

    def _send(self) -> Callable[..., Any]:
        def send(_: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
            headers = {str(name).lower(): _text(value) for name, value in request.headers.items()}
            asked = Asked(request.method, request.url, headers, _bytes(request.body))
            found = answer(asked, self._asked)
            told_headers: Any = HeadersDict(found.headers)  # a dict that ignores case
            return AWSResponse(request.url, found.status, told_headers, _Raw(found.body))

        return send

    def _asked(self, name: str, operation: str, asked: dict[str, Any]) -> Any:
        return self.calls.make(operation, lambda: self._answer(service(name), operation, asked))


class _Raw(io.BytesIO):
    """What botocore reads an answer from."""

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    return bytes(body) if isinstance(body, bytes | bytearray) else body.read()
