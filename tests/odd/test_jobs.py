"""Whatever fal and its CDN answer for a while: a paid video is stored, and is paid for once.

The deployed handlers run in the crash tests' world. fal made the video, and will say so in the end;
before that it answers anything at all, except what would be a plain answer: that the run failed.
"""

from __future__ import annotations

import json
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hypothesis import given
from hypothesis import strategies as st

from phonoscene.fal.answers import accepted_id
from phonoscene.jobs import JobStatus
from tests.odd.answers import (
    ACCEPTED,
    CODES,
    LISTED,
    RESULT,
    STATUS,
    answers,
    harmless,
    json_bodies,
)
from tests.odd.runs import MARKS, drawn
from tests.support.fakes.calls import Calls
from tests.support.fakes.fal import REQUEST_ID, Play, video_of
from tests.support.fakes.world import World
from tests.support.invariants import always_broken, jobs_of, paid
from tests.support.scenarios import drop

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

pytestmark = MARKS

Reply = tuple[int, dict[str, str], bytes]

VIDEO: Final = video_of(b" the film " * 10)
HEADERS: Final[tuple[dict[str, str], ...]] = (
    {},
    {"Content-Type": "text/html"},
    {"Content-Encoding": "gzip"},
    {"Retry-After": "7"},
    {"Location": "https://subscriber.example.com/"},
    {"X-Fal-Billable-Units": "1e400"},
    {"X-Fal-Billable-Units": "NaN"},
    {"X-Fal-Request-Id": "x"},
)
#: After these no one knows whether fal has queued a job.
UNPROVEN: Final = (200, 201, 202, 204, 302, 307, 500, 502, 504)
WEBHOOK: Final[dict[str, Any]] = {"status": "OK", "error": None, "payload": RESULT}


def replies(document: Any, codes: tuple[int, ...] = CODES) -> SearchStrategy[Reply]:
    """Answers to a question of httpx's."""
    return st.tuples(
        st.sampled_from(codes), st.sampled_from(HEADERS), json_bodies(document, harmless)
    )


def says_that_it_failed(reply: Reply) -> bool:
    """A status or a result that is no odd one."""
    return reply[0] == 422 or b"error" in reply[2]


def names_another(reply: Reply) -> bool:
    """An acceptance of a request that there is not."""
    try:
        accepted = accepted_id(json.loads(reply[2]))
    except (ValueError, RecursionError):
        return False
    return accepted not in (None, REQUEST_ID) or b"\x00" in reply[2]


def some(strategy: SearchStrategy[Any]) -> SearchStrategy[deque[Any]]:
    """None, one or two of them."""
    return st.lists(strategy, max_size=2).map(deque)


def about_the_request(body: bytes) -> bytes:
    """The same, but it names the request whatever else it says."""
    return body.replace(b"{", b'{"request_id": "%s", ' % REQUEST_ID.encode(), 1)


#: Bodies that fal signs.
webhooks = json_bodies(WEBHOOK, harmless).filter(lambda body: b"ERROR" not in body)


plays = st.fixed_dictionaries(
    {
        "post": st.lists(
            replies(ACCEPTED, UNPROVEN).filter(lambda one: not names_another(one)), max_size=1
        ).map(deque),
        "status": some(replies(STATUS).filter(lambda one: not says_that_it_failed(one))),
        "result": some(replies(RESULT).filter(lambda one: not says_that_it_failed(one))),
        "list": some(replies(LISTED)),
        "webhook": some(webhooks.map(about_the_request)),
        "file": some(
            answers(st.sampled_from((VIDEO[:40], b"", b"<html>", VIDEO[:9] + VIDEO)))
            .map(lambda raw: raw.data[: raw.at])
            .filter(lambda data: b"99999" not in data)
        ),
    }
)


@given(odd=plays, calls=st.booleans())
@drawn
def test_a_paid_video_is_stored_whatever_was_answered_before(
    odd: dict[str, deque[Any]], *, calls: bool
) -> None:
    play = Play(webhooks=calls, replies=odd, result_lives=timedelta(days=2))
    world = World(Calls(), play)
    drop(world)

    world.run()

    (job,) = jobs_of(world)
    assert always_broken(world) == []
    assert (job.status, paid(world, job)) == (JobStatus.SUCCEEDED, 1)
