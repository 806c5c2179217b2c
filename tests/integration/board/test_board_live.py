"""One poller for all tabs, which asks AWS nothing while none is open."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.jobs import MAYBE_BILLED, TRANSITIONS, DropObject, ErrorDetail, JobStatus
from phonoscene.table.job_store import JobStore
from phonoscene_cli.board import live, snapshot, views
from phonoscene_cli.board.live import Poller, events
from phonoscene_cli.board.snapshot import (
    HEALTH_AGAIN,
    LIST_AGAIN,
    MAX_PROBLEMS,
    MAX_TAKES,
    Snapshot,
)
from phonoscene_cli.errors import StackUnreachable
from phonoscene_cli.stack.jobs_reader import Reader
from phonoscene_cli.upload.upload import Dropped
from tests.integration import moto_stack
from tests.integration.workspace import Clock, RecordingClient, Workspace, an_id
from tests.support.media.samples import silence
from tests.support.stack import JOBS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Iterator

    from phonoscene_cli.board.context import Board
    from tests.integration.board.browser import Browser
    from tests.integration.board.conftest import Finder
    from tests.integration.desk import Desk

_S = JobStatus
SIDECAR = '{"prompt": "A stage", "video_size": {"width": 64, "height": 64}}'


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second is a hundredth of one."""
    monkeypatch.setattr(live, "MOVING_AGAIN", 0.01)
    monkeypatch.setattr(live, "AFTER_ERROR", 0.01)


@dataclass
class Looks:
    """Plays the observer: what each look returns, and for which jobs it was asked."""

    asked: list[list[str]] = field(default_factory=list)
    snapshot: Snapshot = field(default_factory=Snapshot)

    def look(self, _: float, watched: Collection[str] = ()) -> Snapshot:
        self.asked.append(sorted(watched))
        self.snapshot = replace(self.snapshot, unreadable=len(self.asked))
        return self.snapshot


def a_poller() -> tuple[Poller, Looks]:
    looks = Looks()
    return Poller(looks), looks  # type: ignore[arg-type]  # it has the one method


def tab(poller: Poller, *job_ids: str) -> AsyncGenerator[str]:
    return events(poller, job_ids, lambda now: {"part": f"<p>{now.unreadable}</p>"})


def test_nothing_is_asked_before_a_tab_is_open_and_after_the_last_has_gone() -> None:
    async def visits() -> list[int]:
        poller, looks = a_poller()
        counts = []
        for _ in range(2):
            await asyncio.sleep(0.05)
            counts.append(len(looks.asked))
            async with aclosing(tab(poller)) as one:
                for _ in range(3):
                    await anext(one)
            await asyncio.sleep(0.05)
            counts.append(len(looks.asked))
        await asyncio.sleep(0.1)
        return [*counts, len(looks.asked)]

    before, first, waited, second, after = asyncio.run(visits())

    assert before == 0
    assert 3 <= first == waited
    assert second >= first + 3
    assert second == after


def test_tabs_that_are_closed_disturb_no_other() -> None:
    async def leave(waiting: asyncio.Task[Snapshot | None]) -> None:
        while not waiting.done():  # the server cancels until it has an effect
            waiting.cancel()
            await asyncio.sleep(0)

    async def scenario() -> None:
        poller, _ = a_poller()
        async with poller.listening():
            for number in range(100):
                tabs = [asyncio.create_task(poller.after(poller.looks)) for _ in range(6)]
                await asyncio.sleep(number % 5 * 0.003)
                await asyncio.gather(*(leave(one) for one in tabs[::2]))
                for one in tabs[1::2]:
                    assert await one is not None

    asyncio.run(scenario())


def test_many_tabs_have_one_poller_and_each_sees_every_look() -> None:
    async def visits() -> tuple[list[str], list[str], list[list[str]]]:
        poller, looks = a_poller()

        async def watch(job_id: str) -> list[str]:
            async with aclosing(tab(poller, job_id)) as one:
                return [await anext(one) for _ in range(10)]

        first, second = await asyncio.gather(watch("a"), watch("b"))
        return first, second, looks.asked

    first, second, asked = asyncio.run(visits())

    assert first == second
    assert len(set(first)) == 10
    assert len(asked) <= 13  # not twice as many as each tab has seen
    assert asked[0] == ["a", "b"]


def test_a_job_is_watched_as_long_as_one_of_its_tabs_is_open() -> None:
    async def visits() -> list[list[str]]:
        poller, looks = a_poller()
        async with poller.listening(("a",)):
            async with poller.listening(("a", "b")):
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.03)
            looks.asked.clear()
            await asyncio.sleep(0.05)
        return looks.asked

    asked = asyncio.run(visits())

    assert asked
    assert all(one == ["a"] for one in asked)


def test_a_tab_gets_what_is_new_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "ALIVE", 0.1)

    async def visit() -> list[str]:
        poller, _ = a_poller()
        render = lambda now: {"same": "<p>x</p>", "new": f"<p>{now.unreadable}</p>"}  # noqa: E731
        async with aclosing(events(poller, (), render)) as one:
            return [await anext(one) for _ in range(2)]

    first, second = asyncio.run(visit())

    assert 'hx-target="#same"' in first
    assert 'hx-target="#same"' not in second
    assert 'hx-target="#new"' in second


@pytest.mark.parametrize(
    "text", ["a\nb", "a\r\nb", "a\rdata: x", "a\n\nevent: x\n\n", "\u2028\x85"]
)
def test_no_text_ends_an_event_or_begins_another(text: str) -> None:
    async def visit() -> str:
        poller, _ = a_poller()
        async with aclosing(events(poller, (), lambda _: {"part": text})) as one:
            return await anext(one)

    event = asyncio.run(visit())

    assert event.endswith("\n\n")
    lines = event.removesuffix("\n\n").split("\n")
    assert all(line.startswith("data: ") for line in lines)
    assert "\r" not in event


def test_a_tab_that_has_nothing_new_hears_that_the_board_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "ALIVE", 0.05)
    monkeypatch.setattr(live, "MOVING_AGAIN", 10)

    async def visit() -> list[str]:
        poller, _ = a_poller()
        async with aclosing(tab(poller)) as one:
            return [await anext(one) for _ in range(3)]  # one may come before the first look

    assert any(event.startswith(":") for event in asyncio.run(visit()))


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """The calls to AWS by their names."""
    calls: Counter[str] = Counter()

    def count(model: Any, **_: Any) -> None:
        calls[model.name] += 1

    clients = [moto_stack.client(one) for one in ("s3", "sqs", "dynamodb", "cloudwatch")]
    for one in clients:
        one.meta.events.register_first("before-call", count, "counts")
    try:
        yield calls
    finally:
        for one in clients:
            one.meta.events.unregister("before-call", count, "counts")


def drop(desk: Desk) -> str:
    desk.cloud.drop("talks/intro.wav", silence(1))
    desk.cloud.drop("talks/intro.json", SIDECAR)
    desk.announce("talks/intro.json")
    return str(desk.cloud.items()[-1]["job_id"])


def test_the_pages_that_are_not_live_leave_the_poller_alone(board: Board, browser: Any) -> None:
    for path in ("/", "/drop", "/checks"):
        browser.get(path)

    with counted() as calls:
        time.sleep(0.05)

    assert calls == {}
    assert board.poller.looks == 0


def test_what_changes_often_is_read_often_and_the_rest_is_not(board: Board, desk: Desk) -> None:
    drop(desk)
    board.observer.look(0.0)

    with counted() as soon:
        board.observer.look(0.5)
    with counted() as listed:
        board.observer.look(LIST_AGAIN)
    with counted() as checked:
        board.observer.look(HEALTH_AGAIN)

    assert sum(soon.values()) <= 3
    assert soon["Query"] == 0
    assert listed["Query"] > 0
    assert listed.keys() <= {"Query", "BatchGetItem", "GetItem"}
    assert checked["DescribeAlarms"] + checked["GetQueueAttributes"] > 0


def test_a_job_that_ends_is_among_the_ended_with_the_next_look(board: Board, desk: Desk) -> None:
    job_id = drop(desk)
    job = desk.stack().jobs.get(job_id)
    assert job
    first = board.observer.look(0.0)
    JobStore(moto_stack.client("dynamodb"), JOBS).end(job, _S.FAILED)
    second = board.observer.look(0.1)

    assert [one.job_id for one in first.moving] == [job_id]
    assert (first.without_video, second.moving) == ((), ())
    assert [one.job_id for one in second.without_video] == [job_id]


def test_a_new_drop_is_seen_with_the_next_list(board: Board, desk: Desk) -> None:
    empty = board.observer.look(0.0)
    job_id = drop(desk)

    found = board.observer.look(LIST_AGAIN)

    assert empty.is_empty
    assert [one.job_id for one in found.moving] == [job_id]
    assert found.slots == (1, 40)
    assert found.money
    assert found.money.reserved > 0
    assert found.money.left == found.money.budget - found.money.reserved


def test_a_stack_that_goes_away_is_said_and_found_anew(
    board: Board, desk: Desk, find: Finder
) -> None:
    job_id = drop(desk)
    before = board.observer.look(0.0)
    board.observer.forget()
    find.error = StackUnreachable("The local cloud is down. Start it with `make up`.")

    gone = [board.observer.look(1.0), board.observer.look(2.0)]
    find.error = None
    back = board.observer.look(3.0, [job_id])

    assert [one.problem for one in gone] == 2 * [
        "The local cloud is down. Start it with `make up`."
    ]
    assert [one.moving for one in gone] == 2 * [before.moving]
    assert back.problem == ""
    assert set(back.watched) == {job_id}
    assert len(find.found) == 2
    assert board.stack is find.found[-1]


def test_a_page_that_fails_has_the_stack_found_anew(browser: Any, find: Finder) -> None:
    assert browser.get("/jobs").status == 200
    find.found[-1].__dict__["jobs"] = None  # whatever it is that broke
    broken = browser.get("/jobs")

    assert broken.status == 502
    assert browser.get("/jobs").status == 200
    assert len(find.found) == 2


def test_a_page_that_cannot_be_reached_says_why(browser: Any, find: Finder) -> None:
    find.error = StackUnreachable("The local cloud is down. Start it with `make up`.")

    page, part = browser.get("/jobs"), browser.get("/jobs", **{"hx-request": "true"})

    assert page.status == part.status == 502
    assert "The local cloud is down." in page.text
    assert "<html" in page.text
    assert "<html" not in part.text


def test_every_part_of_a_page_can_be_drawn_in_every_state(board: Board, desk: Desk) -> None:
    job_id = drop(desk)
    now = board.observer.look(0.0, [job_id])
    [job] = now.moving
    for status in JobStatus:
        shown = job.model_copy(update={"status": status})
        snapshot = replace(now, moving=(shown,), watched={job_id: shown}, standing={})
        for parts in (
            views.parts_of_board(board.env, snapshot),
            views.JobParts(board.env, job_id)(snapshot),
        ):
            assert any(status.value in html for html in parts.values())
    assert views.JobParts(board.env, job_id)(Snapshot()) == {"problem": ""}


@pytest.mark.parametrize("status", JobStatus)
def test_a_job_can_be_cancelled_where_the_state_machine_says_so(
    board: Board, desk: Desk, status: JobStatus
) -> None:
    job_id = drop(desk)
    now = board.observer.look(0.0, [job_id])
    job = now.watched[job_id].model_copy(update={"status": status})
    actions = views.JobParts(board.env, job_id)(replace(now, watched={job_id: job}))["actions"]

    assert ("/cancel" in actions) is (_S.CANCELLED in TRANSITIONS[status])


@pytest.mark.parametrize(
    ("status", "error", "action"),
    [
        (_S.SUCCEEDED, {}, "Make another take"),
        (_S.CANCELLED, {}, "Make another take"),
        (_S.REJECTED, {"code": "out_of_range", "field": "fps"}, "Correct it and try again"),
        (_S.REJECTED, {"code": "unknown_field", "field": "promt"}, "Correct it and try again"),
        (_S.REJECTED, {"code": "missing_sidecar", "field": "sidecar"}, "Correct it and try again"),
        (_S.REJECTED, {"code": "not_json", "source": "a.json"}, "Drop the files again"),
        (_S.REJECTED, {"code": "ambiguous_sidecar", "field": "sidecar"}, "Drop the files again"),
        (
            _S.REJECTED,
            {"code": "not_an_image", "field": "image_url", "source": "a.png"},
            "Drop the files again",
        ),
        (_S.REJECTED, {"code": "image_not_found", "field": "image_url"}, "Drop the files again"),
        (_S.REJECTED, {"code": "no_sound", "field": "audio"}, "Drop another audio file"),
        (_S.FAILED, {"code": "no_sound", "field": "audio_url"}, "Drop another audio file"),
        (
            _S.FAILED,
            {"code": "busy", "field": "audio_url", "retryable": True},
            "Make another take",
        ),
        (_S.FAILED, {"code": "drop_gone", "field": "audio"}, "Drop the files again"),
        (_S.FAILED, {"code": "generation_failed"}, "Make another take"),
        (_S.FAILED, {"code": "content_policy_violation"}, "Correct it and try again"),
        (_S.FAILED, {"code": "content_policy_violation", "field": "prompt"}, "Correct it and try"),
        *((_S.FAILED, {"code": code}, "Pay for another take") for code in sorted(MAYBE_BILLED)),
        (_S.FAILED, {"code": "video_too_large"}, "Pay for another take"),
    ],
)
def test_a_page_offers_what_helps_against_the_error(
    board: Board, desk: Desk, status: JobStatus, error: dict[str, Any], action: str
) -> None:
    job_id = drop(desk)
    now = board.observer.look(0.0, [job_id])
    address = "https://v3.fal.media/x.mp4" if error.get("code") == "video_too_large" else None
    errors = (ErrorDetail(message="", **error),) if error else ()
    changes = {"status": status, "errors": errors, "source_url": address}
    job = now.watched[job_id].model_copy(update=changes)
    actions = views.JobParts(board.env, job_id)(replace(now, watched={job_id: job}))["actions"]

    assert action in actions
    assert ('class="button"' in actions) is not action.startswith("Pay")
    assert ("/retry" in actions) is not action.startswith("Drop")


def ended(desk: Desk, job_id: str, status: JobStatus = _S.FAILED) -> None:
    job = desk.stack().jobs.get(job_id)
    assert job
    JobStore(moto_stack.client("dynamodb"), JOBS).end(job, status)


def test_parameters_that_are_changed_hold_without_a_restart(
    board: Board, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "DESCRIBE_AGAIN", 0.0)
    before = board.observer.look(0.0).money
    desk.parameters |= {"DailyBudgetUsd": "30", "MaxJobCostUsd": "0.05"}
    after = board.observer.look(1.0).money

    assert before
    assert after
    assert [str(one.budget) for one in (before, after)] == ["25", "30"]
    assert str(board.stack.parameters.max_job_cost_usd) == "0.05"


def test_the_takes_of_an_open_job_stand_as_its_heading_does(board: Board, desk: Desk) -> None:
    job_id = drop(desk)
    shown = views.JobParts(board.env, job_id)
    before = shown(board.observer.look(0.0, [job_id]))
    ended(desk, job_id)
    after = shown(board.observer.look(0.1, [job_id]))

    for parts, state in ((before, "SUBMITTED"), (after, "FAILED")):
        assert state in parts["head"]
        assert state in parts["takes"]
    assert "SUBMITTED" not in after["takes"]


def test_a_take_that_is_not_the_newest_leads_to_the_newest(board: Board, desk: Desk) -> None:
    first = drop(desk)
    ended(desk, first)
    shown = views.JobParts(board.env, first)
    before = shown(board.observer.look(0.0, [first]))["actions"]
    desk.cloud.drop("talks/intro.json", SIDECAR.replace("stage", "lake"))
    desk.announce("talks/intro.json")
    [second] = [str(one["job_id"]) for one in desk.cloud.items() if one["job_id"] != first]
    after = shown(board.observer.look(LIST_AGAIN, [first]))["actions"]

    assert f"/jobs/{first}/retry" in before
    assert "/retry" not in after
    assert f'href="/jobs/{second}"' in after


def test_each_take_of_the_newest_sidecar_can_be_made_anew(board: Board, desk: Desk) -> None:
    desk.cloud.drop("talks/intro.wav", silence(1))
    desk.cloud.drop("talks/intro.json", f"[{SIDECAR}, {SIDECAR.replace('stage', 'lake')}]")
    desk.announce("talks/intro.json")
    ids = [str(one["job_id"]) for one in desk.cloud.items()]
    for one in ids:
        ended(desk, one)
    now = board.observer.look(0.0, ids)

    assert len(ids) == 2
    for one in ids:
        assert f"/jobs/{one}/retry" in views.JobParts(board.env, one)(now)["actions"]


def test_the_page_of_a_new_drop_becomes_the_jobs_when_that_has_its_record(
    board: Board, browser: Any, desk: Desk
) -> None:
    job_id = drop(desk)
    new, now = "a" * 32, board.observer.look(0.0, [job_id])
    page = browser.get(f"/jobs/{new}").text
    before = views.NewDropParts(board.env, new)(now)
    after = views.NewDropParts(board.env, job_id)(now)

    assert "<title>New drop" in page
    assert f"/live?drop={new}" in page
    assert "Waiting for the job" in before["note"]
    assert before["arrival"] == ""
    assert f'hx-get="/jobs/{job_id}"' in after["arrival"]
    assert "<title>talks/intro" in browser.get(f"/jobs/{job_id}").text


def test_a_drop_that_another_has_replaced_says_so_and_leads_to_the_newest_take(
    board: Board, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = {"talks/intro.wav": silence(1), "talks/intro.json": SIDECAR.encode()}
    put = [
        DropObject(key=key, version_id=desk.cloud.drop(key, body)) for key, body in bodies.items()
    ]
    dropped = Dropped("drops", *put)
    [replaced] = dropped.job_ids()
    board.observer.dropped[replaced] = dropped
    monkeypatch.setattr(views, "RECORDED", -1.0)
    shown = views.NewDropParts(board.env, replaced)
    late = shown(board.observer.look(0.0, [replaced]))
    newest = drop(desk)
    after = shown(board.observer.look(LIST_AGAIN, [replaced]))

    assert "There is no record of this drop of talks/intro yet" in late["note"]
    assert "No such job" not in late["head"] + after["head"]
    assert "A later drop of talks/intro replaced this one" in after["note"]
    assert f'href="/jobs/{newest}"' in after["note"]


def test_an_id_that_no_job_gets_is_said_to_be_none(
    board: Board, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "RECORDED", -1.0)
    parts = views.NewDropParts(board.env, "a" * 32)(board.observer.look(0.0))

    assert "No such job" in parts["head"]
    assert "No job has the id" in parts["note"]
    assert browser.get("/jobs/typo").status == 404


def test_a_half_that_is_part_of_a_job_leads_to_the_job(board: Board, desk: Desk) -> None:
    desk.cloud.drop("talks/intro.wav", silence(1))
    desk.announce("talks/intro.wav")
    [half] = [str(one["job_id"]) for one in desk.cloud.items()]
    shown = views.JobParts(board.env, half)
    before = shown(board.observer.look(0.0, [half]))
    desk.cloud.drop("talks/intro.json", SIDECAR)
    desk.announce("talks/intro.json")
    [whole] = [str(one["job_id"]) for one in desk.cloud.items()]
    after = shown(board.observer.look(LIST_AGAIN, [half]))

    assert "WAITING" in before["head"]
    assert "WAITING" not in after["head"]
    assert "Its other half has arrived" in after["head"]
    assert f'href="/jobs/{whole}"' in after["head"]
    assert after["actions"].strip() == ""


def test_a_job_whose_record_is_gone_is_not_called_a_half(board: Board, desk: Desk) -> None:
    job_id = drop(desk)
    shown = views.JobParts(board.env, job_id)
    now = board.observer.look(0.0, [job_id])
    shown(now)
    parts = shown(replace(now, watched={}, takes={}))

    assert "half" not in parts["head"]
    assert "no longer has a record of this job" in parts["head"]
    assert "/jobs?name=talks/intro" in parts["head"]


def test_drops_without_a_video_that_are_not_shown_are_counted(board: Board, desk: Desk) -> None:
    for n in range(MAX_PROBLEMS + 2):
        desk.cloud.drop(f"talks/{n}.wav", silence(1))
        desk.cloud.drop(f"talks/{n}.json", '{"prompt": 1}')
        desk.announce(f"talks/{n}.json")

    shown = views.parts_of_board(board.env, board.observer.look(0.0))["rejected"]

    assert shown.count('class="item"') == MAX_PROBLEMS
    assert "2 more in the last 7 days" in shown
    assert "/jobs?status=REJECTED" in shown


def test_jobs_that_are_not_looked_through_are_not_called_absent(
    board: Board, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(2):
        desk.cloud.drop(f"talks/{n}.wav", silence(1))
        desk.cloud.drop(f"talks/{n}.json", SIDECAR if n else '{"prompt": 1}')
        desk.announce(f"talks/{n}.json")
    whole = views.parts_of_board(board.env, board.observer.look(0.0))
    monkeypatch.setattr(snapshot, "MAX_ENTRIES", 1)
    board.observer.forget()
    found = board.observer.look(0.0)
    cut = views.parts_of_board(board.env, found)
    more = views.parts_of_board(board.env, replace(found, more_moving=3))
    none = views.parts_of_board(board.env, replace(found, moving=()))

    assert "At least 3 more in progress" in more["moving"]
    assert "None of the newest jobs is in progress" in none["moving"]
    assert "No videos in the last 7 days." in whole["gallery"]
    assert "There is no video" not in cut["gallery"]
    assert "/jobs?status=SUCCEEDED" in cut["gallery"]


def test_a_job_that_waits_says_until_when_in_the_readers_zone(board: Board, desk: Desk) -> None:
    job_id = drop(desk)
    now = board.observer.look(0.0, [job_id])
    job = now.watched[job_id].model_copy(update={"status": _S.READY})
    at = "2126-11-28T13:20:06.000Z"
    waits = {job_id: f"waits until {at} for <the account>"}
    now = replace(now, moving=(job,), watched={job_id: job}, standing=waits)

    for html in (
        views.parts_of_board(board.env, now)["moving"],
        views.JobParts(board.env, job_id)(now)["head"],
    ):
        assert f'<time datetime="{at}" data-local>{at}</time> for &lt;the' in html


@pytest.mark.parametrize(
    ("limits", "shown", "more"),
    [
        ({"MAX_MOVING": 4}, [3, 2, 1, 0], 0),
        ({"MAX_MOVING": 3}, [0, 3, 2], 1),
        ({"MAX_MOVING": 1}, [0], 3),
        ({"MAX_MOVING": 3, "MAX_ENTRIES": 2}, [0, 3, 2], 0),
        ({"MAX_MOVING": 2, "MAX_ENTRIES": 2}, [0, 3], 1),
    ],
)
def test_of_many_jobs_in_progress_those_at_fal_are_shown_first(
    board: Board,
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, int],
    shown: list[int],
    more: int,
) -> None:
    for name, most in limits.items():
        monkeypatch.setattr(snapshot, name, most)
    scene = Workspace.on_moto(desk.cloud, clock=Clock(datetime.now(UTC)))
    for n in range(4):
        scene.bring(_S.READY if n else _S.SUBMITTED, n, name=f"talks/{n}")
        scene.clock.go_on(seconds=1)

    found = board.observer.look(0.0)

    assert [one.job_id for one in found.moving] == [an_id(n) for n in shown]
    assert found.more_moving == more


def test_a_job_whose_segments_are_at_fal_is_shown_first(
    board: Board, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "MAX_MOVING", 1)
    scene = Workspace.on_moto(desk.cloud, clock=Clock(datetime.now(UTC)))
    scene.admit(0, name="talks/song")
    scene.bring(_S.SUBMITTED, 1, name="_segments/talks/song", part_of=an_id(0), part=0)
    scene.clock.go_on(seconds=1)
    scene.admit(2, name="talks/other")

    found = board.observer.look(0.0)

    assert [one.job_id for one in found.moving] == [an_id(0)]
    assert found.more_moving == 1


def test_a_song_that_has_ended_before_its_segments_does_not_read_the_list_at_each_look(
    board: Board, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "MAX_MOVING", 1)
    scene = Workspace.on_moto(desk.cloud, clock=Clock(datetime.now(UTC)))
    scene.bring(_S.CANCELLED, 0, name="talks/song")
    scene.bring(_S.SUBMITTED, 1, name="_segments/talks/song", part_of=an_id(0), part=0)
    scene.admit(2, name="talks/other")
    scene.admit(3, name="talks/more")
    lists: list[object] = []
    read = Reader.since

    def counted(*args: Any, **kwargs: Any) -> Any:
        lists.append(args)
        return read(*args, **kwargs)

    monkeypatch.setattr(Reader, "since", counted)

    board.observer.look(0.0)
    once = len(lists)
    board.observer.look(0.5)

    assert once
    assert len(lists) == once


@pytest.mark.parametrize("takes", [MAX_TAKES - 1, MAX_TAKES, MAX_TAKES + 1])
def test_no_take_is_read_that_an_open_page_does_not_show(
    board: Board, desk: Desk, takes: int
) -> None:
    scene = Workspace.on_moto(desk.cloud, clock=Clock(datetime.now(UTC)))
    for n in range(takes):
        scene.bring(_S.CANCELLED, n, name="talks/intro")
        scene.clock.go_on(seconds=1)
    read: list[int] = []
    client = RecordingClient(desk.cloud.dynamodb)
    client.before = lambda name, request: (
        read.append(len(request["RequestItems"][JOBS]["Keys"])) if "batch" in name else None
    )
    board.observer.stack.__dict__["_clients"]["dynamodb"] = client

    found = board.observer.look(0.0, [an_id(takes - 1)])

    assert [one.job_id for one in found.takes[an_id(takes - 1)]] == [
        an_id(n) for n in reversed(range(takes))
    ][:MAX_TAKES]
    assert max(read) <= MAX_TAKES


def test_the_takes_of_a_name_are_live_and_other_lists_count_no_seconds(
    browser: Any, desk: Desk
) -> None:
    job_id = drop(desk)
    moving, others = browser.get("/jobs?name=talks/intro").text, browser.get("/jobs").text
    ended(desk, job_id)
    still = browser.get("/jobs?name=talks/intro").text

    assert 'hx-trigger="every 2s"' in moving
    assert 'hx-trigger="every 2s"' in browser.get("/jobs?name=just/dropped").text
    assert "data-since" in moving
    assert "SUBMITTED" in others
    for page in (others, still):
        assert "every 2s" not in page
        assert "data-since" not in page


@pytest.mark.parametrize("part", ["intro", "TRO", "talks/in"])
def test_a_part_of_a_name_finds_a_drop(browser: Any, desk: Desk, part: str) -> None:
    job_id = drop(desk)

    page = browser.get(f"/jobs?name={part}").text

    assert f"/jobs/{job_id}" in page
    assert "every 2s" not in page
    assert "Part of a name is searched for" in browser.get("/jobs?name=nothing").text


def test_jobs_that_no_page_holds_are_on_the_next_one(
    browser: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonoscene_cli.board.pages.stack.MAX_LISTED", 2)
    for n in range(3):
        desk.cloud.drop(f"talks/{n}.wav", silence(1))
        desk.cloud.drop(f"talks/{n}.json", '{"prompt": 1}')
        desk.announce(f"talks/{n}.json")
    first = browser.get("/jobs?status=REJECTED").text
    link = re.search(r'href="(/jobs\?[^"]*page=2)"', first)
    assert link
    second = browser.get(link[1].replace("&amp;", "&")).text

    shown = [re.findall(r'href="/jobs/([0-9a-f]{32})"', page) for page in (first, second)]
    assert [len(one) for one in shown] == [2, 1]
    assert len({*shown[0], *shown[1]}) == 3
    assert "Older jobs" not in second


@pytest.mark.parametrize(("listed", "more"), [(2, "And 1 more: "), (3, ""), (4, "")])
def test_an_audit_says_how_many_missing_drops_it_does_not_list(
    browser: Browser, desk: Desk, monkeypatch: pytest.MonkeyPatch, listed: int, more: str
) -> None:
    page = "phonoscene_cli.board.pages.stack"
    monkeypatch.setattr(f"{page}.MAX_LISTED", listed)
    monkeypatch.setattr(f"{page}.settled_at", lambda *_: datetime.now(UTC) + timedelta(hours=1))
    for n in range(3):
        desk.cloud.drop(f"talks/{n}.wav", b"sound")

    text = browser.get("/checks/audit").text

    assert text.count("<li>") == min(listed, 3)
    assert more in text
    assert ("more:" in text) is bool(more)


def test_an_audit_does_not_say_that_drops_have_records_which_it_cannot_read(
    browser: Browser, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise ClientError({"Error": {"Code": "SlowDown", "Message": "Slow"}}, "GetObject")

    monkeypatch.setattr(DropBucket, "read", refuse)
    desk.cloud.drop("talks/a.wav", b"sound")

    text = browser.get("/checks/audit").text

    assert "cannot be read 1" in text
    assert "Every drop has its record" not in text


def test_a_record_that_cannot_be_read_ends_no_list(
    browser: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonoscene_cli.board.pages.stack.MAX_LISTED", 1)
    older = drop(desk)
    desk.cloud.drop("talks/other.wav", silence(1))
    desk.cloud.drop("talks/other.json", SIDECAR)
    desk.announce("talks/other.json")
    [newer] = [str(one["job_id"]) for one in desk.cloud.items() if one["job_id"] != older]
    desk.cloud.dynamodb.update_item(
        TableName=JOBS,
        Key={"job_id": {"S": newer}},
        UpdateExpression="SET estimate = :s",
        ExpressionAttributeValues={":s": {"S": "of a newer release"}},
    )
    first, second = (browser.get(f"/jobs?page={page}").text for page in (1, 2))

    assert "Older jobs" in first
    assert f"/jobs/{older}" in second
    assert "Older jobs" not in second


def test_a_job_that_a_clock_ahead_of_this_one_has_dated_is_shown(board: Board, desk: Desk) -> None:
    ahead = Clock(datetime.now(UTC) + timedelta(minutes=4))
    job = Workspace.on_moto(desk.cloud, clock=ahead).bring(_S.SUBMITTED)

    assert [one.job_id for one in board.observer.look(0.0).moving] == [job.job_id]
