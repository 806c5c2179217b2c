"""``jobs``, ``show``, ``watch``, ``cancel`` and ``cost``: what the table holds, in plain words."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from phonoscene.jobs import FINAL, Audio, ErrorDetail, Job, JobStatus
from phonoscene.limits import day_of
from phonoscene.publishing.wording import WAITS
from phonoscene.table.dynamodb import Table
from phonoscene.table.items import SHARDS
from phonoscene.table.ledger import budget_key
from phonoscene_cli.commands.show import TAKES
from phonoscene_cli.follow import poller
from phonoscene_cli.stack import jobs_reader
from phonoscene_cli.stack.jobs_reader import FAR, PAGE, Reader
from phonoscene_cli.ui import formatting
from phonoscene_cli.ui.job_json import KEYS
from phonoscene_cli.ui.status_line import StatusLine
from tests.integration.workspace import Clock, RecordingClient, Workspace, an_id
from tests.support.documented import keys
from tests.support.stack import JOBS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.desk import Desk
    from tests.integration.moto_stack import Cloud

_S = JobStatus
NOW = datetime.now(UTC)
AFTER_NOW = NOW + timedelta(hours=1)


@pytest.fixture
def scene(cloud: Cloud) -> Workspace:
    return Workspace.on_moto(cloud, clock=Clock(NOW))


def ids(answer: Any) -> list[str]:
    return [job["job_id"] for job in answer.data]


# jobs -------------------------------------------------------------------------------------------


def test_jobs_are_listed_the_newest_first_across_days_and_shards(
    desk: Desk, scene: Workspace
) -> None:
    for n in range(40):
        scene.clock.now = NOW - timedelta(hours=3 * n)
        scene.admit(n)

    assert ids(desk.says("jobs", "--json")) == [an_id(n) for n in range(20)]
    assert ids(desk.says("jobs", "--json", "--limit", "3")) == [an_id(n) for n in range(3)]
    assert len(ids(desk.says("jobs", "--json", "--since", "24h", "--limit", "99"))) == 8


@pytest.mark.parametrize("options", [(), ("--name", "talks/intro"), ("--json",)])
@pytest.mark.parametrize(("limit", "is_said"), [(2, True), (3, True), (4, False)])
def test_a_list_that_may_be_cut_says_so(
    desk: Desk, scene: Workspace, options: tuple[str, ...], limit: int, *, is_said: bool
) -> None:
    for n in range(3):
        scene.admit(n, name="talks/intro")

    result = desk.says("jobs", *options, "--limit", f"{limit}")

    assert ("--limit" in result.err) is is_said


def test_budgets_of_all_days_that_are_asked_for_are_reported(desk: Desk, scene: Workspace) -> None:
    days = [day_of(NOW - timedelta(days=ago)) for ago in (89, 31, 30, 0)]
    for day in days:
        sums = {"day": day, "committed_usd": 1, "reserved_usd": 0, "changes": 1}
        scene.set_sums(budget_key(day), **sums)

    budgets = desk.says("cost", "--since", "90d", "--json").data["budgets"]

    assert [one["day"] for one in budgets] == days


@pytest.mark.parametrize("page", [1, 2, 3, 4])
def test_no_job_is_lost_between_the_pages_of_an_index(scene: Workspace, page: int) -> None:
    order = [0, 16, 1, 17, 32]  # three in one shard, and two in another
    for n in order:
        scene.clock.go_on(seconds=1)
        scene.bring(_S.UNCONFIRMED if n else _S.READY, n, name="talks/intro")
    client: Any = RecordingClient(scene.cloud.dynamodb)
    client.before = in_pages_of(page)
    reader, newest = Reader(Table(client, JOBS)), [an_id(n) for n in reversed(order)]

    assert list(reader.ids_of("talks/intro")) == newest
    assert [one.job_id for one in reader.since(NOW - timedelta(days=1))] == newest
    later = scene.clock.now + timedelta(days=1)
    due = [one for one, _ in scene.store_on(client).due(later)]
    assert sorted(due) == sorted(newest[:-1])


def in_pages_of(items: int) -> Callable[[str, dict[str, Any]], None]:
    """Have each page of an index hold so many items, as if they were large."""

    def limit(name: str, request: dict[str, Any]) -> None:
        if name == "query":
            request["Limit"] = items

    return limit


def test_a_day_is_a_utc_day(desk: Desk, scene: Workspace) -> None:
    now = scene.clock.now = datetime.now(UTC)  # a day may have begun since NOW
    yesterday = (now - timedelta(days=1)).date()
    scene.admit(0)
    scene.clock.now = datetime(yesterday.year, yesterday.month, yesterday.day, 12, tzinfo=UTC)
    scene.admit(1)

    assert ids(desk.says("jobs", "--json", "--day", f"{yesterday}")) == [an_id(1)]
    assert ids(desk.says("jobs", "--json", "--day", "yesterday")) == [an_id(1)]


def test_jobs_are_found_by_state_by_folder_and_by_name(desk: Desk, scene: Workspace) -> None:
    scene.admit(0, name="talks/intro")
    scene.admit(1, name="talks/more/intro")
    scene.admit(2, name="talksmore/intro")
    scene.bring(_S.CANCELLED, 3, name="talks/outro")

    def found(*options: str) -> set[str]:
        return set(ids(desk.says("jobs", "--json", *options)))

    assert found("--folder", "talks") == {an_id(0), an_id(1), an_id(3)}
    assert found("--folder", "talks/", "--status", "ready") == {an_id(0), an_id(1)}
    assert found("--status", "CANCELLED", "--status", "failed") == {an_id(3)}
    assert found("--name", "talks/intro") == {an_id(0)}
    assert found("--name", "s3://drops/talks/outro.mp3.json") == {an_id(3)}
    assert found("--name", "nothing") == set()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--day", "2026-11-22"), "on 2026-11-22 (UTC)"),
        (("--since", "3d"), "since "),
        ((), "since "),
    ],
)
def test_where_nothing_is_found_the_time_that_was_looked_at_is_said(
    desk: Desk, options: tuple[str, ...], said: str
) -> None:
    output = desk.says("jobs", *options).err

    assert f"No jobs match {said}" in output
    assert "--status" not in output


def test_a_name_that_has_no_takes_is_not_looked_for_further_back(desk: Desk) -> None:
    output = desk.says("jobs", "--name", "talks/nothing").err

    assert "`phonoscene jobs`" in output


def test_takes_of_a_name_are_those_of_a_time_where_one_is_given(
    desk: Desk, scene: Workspace
) -> None:
    scene.clock.now = NOW - timedelta(days=30)
    scene.admit(1, name="talks/intro")
    scene.clock.now = NOW
    scene.admit(2, name="talks/intro")

    assert ids(desk.says("jobs", "--name", "talks/intro", "--json")) == [an_id(2), an_id(1)]
    lately = desk.says("jobs", "--name", "talks/intro", "--since", "1d", "--json")
    assert ids(lately) == [an_id(2)]


def test_an_empty_column_is_left_out(desk: Desk, scene: Workspace) -> None:
    scene.admit(0)
    without = desk.says("jobs").out
    scene.store.put_off(scene.read(0), "budget", NOW)

    assert without.split("\n")[0].split() == ["created", "state", "name", "at", "most", "job"]
    assert "note" in desk.says("jobs").out.split("\n")[0]


def test_a_table_shows_what_there_is_to_know_at_a_glance(desk: Desk, scene: Workspace) -> None:
    scene.admit(0, name="talks/[red]intro\x1b[31m")
    scene.store.put_off(scene.read(0), "budget", AFTER_NOW)
    spend_today(scene)

    output = desk.says("jobs").out

    assert an_id(0) in output
    assert "READY" in output
    assert "$0.5000" in output
    assert "waits for budget" in output
    assert "talks/[red]intro\\x1b[31m" in output


def spend_today(scene: Workspace) -> None:
    sums = {"committed_usd": 1000, "reserved_usd": 0, "changes": 1}
    scene.set_sums(budget_key(day_of(datetime.now(UTC))), **sums)


def no_video_since(scene: Workspace) -> None:
    scene.set_window(video_lost_at=NOW)


def refuse_the_account(scene: Workspace) -> None:
    scene.set_window(paused_until=AFTER_NOW)


def nothing(_: Workspace) -> None:
    """The table is as it is."""


@pytest.mark.parametrize(
    ("reason", "turn", "lack", "now"),
    [
        ("account", AFTER_NOW, nothing, "account"),
        ("account", NOW, nothing, "slot"),
        ("fal", NOW, nothing, "slot"),
        ("storage", NOW, nothing, "slot"),
        ("cdn", NOW, no_video_since, "cdn"),
        ("cdn", NOW, nothing, "slot"),
        ("budget", AFTER_NOW, spend_today, "budget"),
        ("budget", AFTER_NOW, nothing, "slot"),
        ("slot", NOW, nothing, "slot"),
        ("slot", NOW, spend_today, "budget"),
        ("slot", NOW, refuse_the_account, "account"),
        ("fal", NOW, spend_today, "budget"),
    ],
)
def test_a_waiting_job_says_what_it_waits_for_now_and_not_at_its_last_try(
    desk: Desk,
    scene: Workspace,
    reason: str,
    turn: datetime,
    lack: Callable[[Workspace], None],
    now: str,
) -> None:
    job = scene.admit(1)
    scene.store.put_off(job, reason, turn)
    lack(scene)

    shown = desk.says("show", job.job_id)
    [listed] = desk.says("jobs", "--json").data

    assert desk.says("show", job.job_id, "--json").data["waits_for"] == now
    assert listed["waits_for"] == now
    assert f"waits for {WAITS[now]}" in shown.out
    assert ("slots are in use" in shown.out) is (turn <= NOW or now == "slot")


def test_a_job_that_a_clock_ahead_of_this_one_has_dated_is_there(desk: Desk, cloud: Cloud) -> None:
    ahead = Workspace.on_moto(cloud, clock=Clock(datetime.now(UTC) + timedelta(minutes=4)))
    job = ahead.bring(_S.SUBMITTED, name="talks/intro")

    assert ids(desk.says("jobs", "--json")) == [job.job_id]
    assert ids(desk.says("jobs", "--name", "talks/intro", "--since", "1d", "--json")) == [
        job.job_id
    ]
    assert desk.says("cost", "--json").data["total"]["jobs"] == 1
    followed = desk.says("watch", "talks/", "--timeout", "0s")
    assert "talks/intro is SUBMITTED" in followed.err


def test_nothing_found_is_said(desk: Desk) -> None:
    result = desk.says("jobs", "--status", "failed")

    assert (result.code, result.out) == (0, "")
    assert result.err


@pytest.mark.parametrize("command", ["jobs", "show", "watch", "cost", "audit", "cancel"])
def test_the_table_is_never_scanned(desk: Desk, scene: Workspace, command: str) -> None:
    scene.bring(_S.SUCCEEDED)
    words = {"jobs": [], "cost": [], "audit": []}.get(command, [an_id(1)])
    stack = desk.stack()
    calls: list[str] = []

    def heard(model: Any, **_: Any) -> None:
        calls.append(model.name)

    dynamodb = stack.client("dynamodb")
    dynamodb.meta.events.register("before-call.dynamodb", heard)
    try:
        desk.says(command, *words)
    finally:
        dynamodb.meta.events.unregister("before-call.dynamodb", heard)
    assert set(calls) <= {"GetItem", "BatchGetItem", "Query"}
    assert calls or command == "audit"


# show -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", JobStatus)
def test_every_state_is_shown_in_full(desk: Desk, scene: Workspace, status: JobStatus) -> None:
    job = scene.bring(status)

    shown = desk.says("show", job.job_id)
    result = desk.says("show", job.job_id, "--json")

    assert shown.code == 0
    assert shown.out.startswith(f"{job.name} {status}\n")
    assert tuple(result.data) == KEYS
    assert result.data["status"] == status


def test_a_drop_is_shown_by_its_newest_take_with_the_others_named(
    desk: Desk, scene: Workspace
) -> None:
    scene.admit(1, name="talks/intro")
    scene.clock.go_on(seconds=1)
    scene.admit(2, name="talks/intro")

    shown = desk.says("show", "talks/intro.mp3")

    assert f"job         {an_id(2)}" in shown.out
    assert f"other takes  {an_id(1)}" in shown.out


@pytest.mark.parametrize("others", [TAKES - 1, TAKES, TAKES + 1])
def test_takes_that_are_not_shown_are_mentioned(desk: Desk, scene: Workspace, others: int) -> None:
    for n in range(others + 1):
        scene.admit(n, name="my talks/intro")
        scene.clock.go_on(seconds=1)

    shown = desk.says("show", an_id(others)).out

    assert shown.count(" READY\n") == min(others, TAKES) + 1
    assert ("phonoscene jobs --name 'my talks/intro'" in shown) is (others > TAKES)


def test_settings_are_shown_as_they_are_written_in_a_sidecar(desk: Desk, scene: Workspace) -> None:
    size = {"width": 100, "height": 99}
    settings = {"prompt": "A stage", "video_size": size, "use_multiscale": False, "seed": 7}
    job = scene.bring(_S.SUCCEEDED, arguments=settings, seed=7)

    shown = desk.says("show", job.job_id).out

    assert f"video_size  {json.dumps(size)}" in shown
    assert "use_multiscale false" in shown
    assert shown.count("seed") == 1


def test_errors_are_shown_with_the_fix_and_the_next_step(desk: Desk, scene: Workspace) -> None:
    error = {
        "code": "out_of_range",
        "message": "fps is 90.",
        "field": "fps",
        "value": "90",
        "allowed": "a number from 1 to 60",
        "source": "talks/intro.json",
    }
    job = scene.bring(_S.REJECTED, errors=(error,))

    shown = desk.says("show", job.job_id).out

    for part in error.values():
        assert part in shown
    assert "fix       Correct fps in talks/intro.json and drop it again" in shown
    assert "next" in shown


@pytest.mark.parametrize("name", ["", "x" * 3000, "\udcff", "0" * 32, "s3://drops", "s3://drops/"])
def test_what_can_be_no_job_is_missed_like_any_other(desk: Desk, name: str) -> None:
    result = desk.says("show", name)

    assert result.code == 1
    assert "`phonoscene jobs`" in result.err


def test_what_is_not_there_is_missed_with_a_next_step(desk: Desk) -> None:
    result = desk.says("show", "talks/intro")

    assert (result.code, result.out) == (1, "")
    assert "talks/intro" in result.err
    assert "phonoscene jobs" in result.err


def become_unreadable(cloud: Cloud, job: Job) -> None:
    cloud.dynamodb.update_item(
        TableName=JOBS,
        Key={"job_id": {"S": job.job_id}},
        UpdateExpression="SET #s = :s",
        ExpressionAttributeNames={"#s": "status"},
        ExpressionAttributeValues={":s": {"S": "DREAMING"}},
    )


def test_a_record_of_another_release_is_missed_in_words(
    desk: Desk, scene: Workspace, cloud: Cloud
) -> None:
    job = scene.admit()
    become_unreadable(cloud, job)

    result = desk.says("show", job.job_id)

    assert result.code == 1
    assert "status" in result.err
    for command in ("jobs", "cost"):
        listed = desk.says(command)
        assert listed.code == 0
        assert f"`phonoscene show {job.job_id}`" in listed.err
    for command in ("show", "cancel", "retry"):
        named = desk.says(command, job.name)
        assert named.code == 1
        assert f"`phonoscene show {job.job_id}` says why" in named.err


# watch ------------------------------------------------------------------------------------------


def test_an_ended_job_is_reported_and_its_end_is_the_exit_code(
    desk: Desk, scene: Workspace
) -> None:
    scene.bring(_S.SUCCEEDED, 1, name="a")
    scene.bring(_S.CANCELLED, 2, name="b")

    fine, not_fine = desk.says("watch", "a"), desk.says("watch", "b")

    assert (fine.code, not_fine.code) == (0, 1)
    states = [line.split()[2] for line in fine.out.splitlines()]
    assert states == ["READY", "SUBMITTING", "SUBMITTED", "GENERATED", "SUCCEEDED"]
    assert "phonoscene retry" in not_fine.err


ERROR = {"code": "content_policy_violation", "message": "No.", "field": "prompt"}


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_the_last_line_on_stderr_says_what_to_do_about_a_job_without_a_video(
    desk: Desk, scene: Workspace, options: tuple[str, ...]
) -> None:
    audio = Audio(key="a.mp3", version_id="v1", bytes=9)
    job = scene.bring(_S.SUBMITTED, 1, name="a", audio=audio)
    scene.step(job, _S.FAILED, errors=(ErrorDetail(**ERROR),))

    result = desk.says("watch", "a", *options)

    assert result.code == 1
    assert "content_policy_violation" in result.err
    last = result.err.splitlines()[-1]
    again = f"`phonoscene retry {job.job_id} --set prompt=…`"
    assert last == f"error: a is FAILED. Change what the error names: {again}."


def test_many_jobs_that_have_not_ended_are_counted_and_the_command_is_given_again(
    desk: Desk, scene: Workspace, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr(time, "sleep", lambda _: None)
    for n in range(8):
        scene.admit(n, name=f"my talks/{n}")
    scene.bring(_S.SUBMITTING, 9, name="my talks/9")

    result = desk.says("watch", "my talks/", "--timeout", "1s")

    last = result.err.splitlines()[-1]
    assert "8 READY, 1 SUBMITTING. `phonoscene watch 'my talks/'` continues." in last
    assert an_id(1) not in last


def test_why_a_job_went_back_to_wait_is_said_and_so_is_each_new_reason(
    desk: Desk, scene: Workspace, environment: pytest.MonkeyPatch
) -> None:
    job = scene.bring(_S.SUBMITTED)
    scene.clock.go_on(seconds=1)
    looks: Any = iter(
        [
            lambda: scene.step(scene.read(), _S.READY, at=AFTER_NOW, waits_for="account"),
            lambda: None,
            lambda: scene.store.put_off(scene.read(), "slot", NOW),
            lambda: scene.step(scene.read(), _S.CANCELLED),
        ]
    )
    environment.setattr(time, "sleep", lambda _: next(looks)())

    result = desk.says("watch", job.job_id)
    lines = [line.split(maxsplit=2)[2] for line in result.out.splitlines()]

    assert [line.split()[0] for line in lines] == [
        "READY",
        "SUBMITTING",
        "SUBMITTED",
        "READY",
        "READY",
        "CANCELLED",
    ]
    assert lines[0].endswith("paired, checked and priced")
    assert "waits for the account: fal refuses its key" in lines[3]
    assert "waits for a slot" in lines[4]


def test_a_watch_of_a_name_names_the_other_takes_in_progress(desk: Desk, scene: Workspace) -> None:
    scene.bring(_S.CANCELLED, 1, name="talks/intro")
    scene.clock.go_on(seconds=1)
    scene.admit(2, name="talks/intro")
    scene.clock.go_on(seconds=1)
    scene.bring(_S.CANCELLED, 3, name="talks/intro")

    by_name, by_id = desk.says("watch", "talks/intro"), desk.says("watch", an_id(3))

    assert f"`phonoscene watch {an_id(3)} {an_id(2)}`" in by_name.err
    assert an_id(2) not in by_id.err


def test_jobs_of_one_name_are_distinguished(desk: Desk, scene: Workspace) -> None:
    for n in (1, 2):
        scene.bring(_S.CANCELLED, n, name="talks/intro")
    scene.bring(_S.CANCELLED, 3, name="talks/outro")

    result = desk.says("watch", an_id(1), an_id(2), an_id(3))

    for label in (
        f"talks/intro {an_id(1)[:8]}  ",
        f"talks/intro {an_id(2)[:8]}  ",
        "talks/outro  ",
    ):
        assert label in result.out
    assert f"talks/intro ({an_id(2)[:8]}) is CANCELLED" in result.err


def test_a_program_reads_each_step_in_a_line_of_its_own(desk: Desk, scene: Workspace) -> None:
    job = scene.bring(_S.SUCCEEDED)

    output = [
        json.loads(line) for line in desk.says("watch", job.job_id, "--json").out.splitlines()
    ]

    assert [one["step"]["status"] for one in output] == [step.status for step in job.history]
    assert all(set(one) == {*KEYS, "step"} for one in output)


def test_a_watch_ends_with_its_time(
    desk: Desk, scene: Workspace, environment: pytest.MonkeyPatch
) -> None:
    job = scene.bring(_S.SUBMITTED)
    environment.setattr(time, "sleep", lambda _: None)

    result = desk.says("watch", job.job_id, "--timeout", "0s")
    for_program = desk.says("watch", job.job_id, "--timeout", "0s", "--json")

    assert (result.code, for_program.code) == (1, 1)
    assert "is SUBMITTED" in result.err
    assert json.loads(for_program.out.splitlines()[-1])["status"] == "SUBMITTED"


def test_a_half_that_becomes_part_of_a_job_is_said_to(
    desk: Desk, scene: Workspace, environment: pytest.MonkeyPatch
) -> None:
    half = scene.bring(_S.WAITING)
    environment.setattr(time, "sleep", lambda _: scene.store.stop_waiting(half.job_id))

    result = desk.says("watch", half.job_id)

    assert result.code == 1
    assert f"phonoscene watch {half.name}" in result.err


def test_a_half_that_has_become_part_of_a_job_is_not_said_to_wait_when_the_time_is_up(
    desk: Desk, scene: Workspace, environment: pytest.MonkeyPatch
) -> None:
    half, job = scene.bring(_S.WAITING, 1), scene.bring(_S.SUBMITTED, 2)
    environment.setattr(time, "sleep", lambda _: scene.store.stop_waiting(half.job_id))

    result = desk.says("watch", half.job_id, job.job_id, "--timeout", "1s")

    assert f"The other half of {half.name} has arrived." in result.err
    assert f"{job.name} is SUBMITTED. `" in result.err
    assert f"{half.name} is WAITING" not in result.err


@pytest.mark.parametrize("status", [_S.WAITING, _S.SUBMITTED])
def test_a_job_whose_record_a_newer_release_writes_meanwhile_is_not_called_a_half(
    desk: Desk, scene: Workspace, environment: pytest.MonkeyPatch, status: JobStatus
) -> None:
    job = scene.bring(status)
    environment.setattr(time, "sleep", lambda _: become_unreadable(desk.cloud, job))

    result = desk.says("watch", job.job_id)

    assert result.code == 1
    assert "half" not in result.err.splitlines()[-1]
    assert f"cannot be read: `phonoscene show {job.job_id}` says which" in result.err


def test_a_folder_is_watched_for_what_is_on_its_way_there(
    desk: Desk, scene: Workspace, environment: pytest.MonkeyPatch
) -> None:
    scene.admit(1, name="talks/a")
    scene.bring(_S.SUCCEEDED, 2, name="talks/b")
    scene.admit(3, name="other/c")
    environment.setattr(time, "sleep", lambda _: scene.step(scene.read(1), _S.CANCELLED))

    result = desk.says("watch", "talks")

    assert result.code == 1
    assert [line.split()[2] for line in result.out.splitlines()] == ["READY", "CANCELLED"]
    environment.setattr(time, "sleep", lambda _: None)
    ended = desk.says("watch", "talks/")
    assert (ended.code, ended.out) == (0, "")
    assert "No jobs are in progress" in ended.err


def test_a_folder_without_any_job_is_missed_as_a_name_is(
    desk: Desk, environment: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    environment.setattr(time, "sleep", slept.append)
    desk.parameters["SettleSeconds"] = "20"

    result = desk.says("watch", "tlaks/")
    short = desk.says("watch", "tlaks/", "--timeout", "3s")

    assert (result.code, result.out, short.code) == (1, "", 1)
    assert "No job was created in tlaks/ in the last 7 days." in result.err
    assert "SettleSeconds" in result.err
    assert slept == pytest.approx([25, 3], abs=1)


def test_a_folder_is_looked_at_again_when_a_drop_of_just_now_has_rested(
    desk: Desk, scene: Workspace, environment: pytest.MonkeyPatch
) -> None:
    scene.bring(_S.SUCCEEDED, 1, name="talks/earlier")
    slept: list[float] = []
    desk.parameters["SettleSeconds"] = "20"

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            scene.admit(3, name="talks/new")
        else:
            scene.step(scene.read(3), _S.CANCELLED)

    environment.setattr(time, "sleep", sleep)

    result = desk.says("watch", "talks/", "s3://drops/talks/")

    assert result.code == 1
    assert [line.split()[2] for line in result.out.splitlines()] == ["READY", "CANCELLED"]
    assert slept == pytest.approx([25, 1], abs=1)


def test_of_many_jobs_no_pause_is_longer_than_the_timeout(
    desk: Desk, scene: Workspace, environment: pytest.MonkeyPatch
) -> None:
    scene.admit()
    slept: list[float] = []
    pause = time.sleep

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        pause(0.1)

    environment.setattr(poller, "AT_EASE", 0.001)
    environment.setattr(time, "sleep", sleep)

    result = desk.says("watch", an_id(1), "--timeout", "1s")

    assert "Not finished after " in result.err
    assert all(seconds <= 1 for seconds in slept)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (_S.READY, "2 jobs before it, 1 of 40 slots"),
        (_S.SUBMITTED, "at fal for"),
        (_S.UNCONFIRMED, "UNCONFIRMED for"),
    ],
)
def test_what_is_known_of_a_jobs_status_is_reported(
    desk: Desk, scene: Workspace, status: JobStatus, said: str
) -> None:
    for n in (1, 2):
        scene.admit(n)
    scene.clock.go_on(seconds=-1)
    holder = scene.bring(_S.SUBMITTED, 3)
    scene.clock.now = NOW + timedelta(microseconds=5000)
    job = holder if status is _S.SUBMITTED else scene.bring(status, 4)

    assert said in StatusLine(desk.stack(), 40.0).of([job], 1)


def test_a_job_that_was_postponed_says_until_when(desk: Desk, scene: Workspace) -> None:
    job = scene.store.put_off(scene.admit(), "budget", NOW + timedelta(hours=5))

    assert "a new one starts at 00:00 UTC" in StatusLine(desk.stack(), None).of([job], 1)


@pytest.mark.parametrize("far", [1, 3, 4, 5, 6])
def test_each_place_in_the_queue_is_counted_up_to_the_last_that_is_told(
    desk: Desk, scene: Workspace, environment: pytest.MonkeyPatch, far: int
) -> None:
    environment.setattr(jobs_reader, "FAR", far)
    environment.setattr(jobs_reader, "PAGE", 2)
    for n in range(5):
        scene.bring(_S.CANCELLED if n == 2 else _S.READY, n)
        scene.clock.go_on(seconds=1)

    found = desk.stack().jobs.places(an_id(n) for n in range(5))

    places = {one: place.ahead for one, place in found.items()}
    assert places == {an_id(n): min(far, at) for at, n in enumerate((0, 1, 3, 4))}


def test_places_of_many_jobs_are_one_look_at_the_queue(desk: Desk, scene: Workspace) -> None:
    jobs = [scene.admit(n) for n in range(40)]
    stack, client = desk.stack(), RecordingClient(scene.cloud.dynamodb)
    stack.__dict__["_clients"]["dynamodb"] = client

    said = StatusLine(stack, None).standings(jobs)

    assert len(said) == len(jobs)
    assert Counter(client.calls) == {"query": SHARDS + 1, "get_item": 1, "batch_get_item": 1}


def test_a_job_that_has_left_the_queue_is_shown_with_its_state(
    desk: Desk, scene: Workspace
) -> None:
    waiting = scene.admit(1)
    line = StatusLine(desk.stack(), None)
    assert line.standing(waiting).startswith("0 jobs before it")

    sent = scene.bring(_S.SUBMITTED, 2).model_copy(update={"job_id": waiting.job_id})

    assert line.standing(sent) == formatting.meaning(sent)


def test_no_call_counts_a_long_queue_to_its_end(scene: Workspace, cloud: Cloud) -> None:
    class Long(Table):
        read = 0

        def pages(self, *_: Any, **__: Any) -> Any:
            while True:
                Long.read += 1
                yield [{"dispatch_at": "2026"}] * PAGE

    job = scene.admit()
    place = Reader(Long(cloud.dynamodb, JOBS)).places([job.job_id])[job.job_id]

    assert place.ahead == FAR
    assert Long.read <= SHARDS + 1 + FAR // PAGE


# cancel -----------------------------------------------------------------------------------------


@pytest.fixture
def working(desk: Desk, environment: pytest.MonkeyPatch) -> Callable[..., Any]:
    """While a command waits, ``submit`` works."""
    environment.setattr(time, "sleep", desk.work)
    return desk.says


def test_jobs_are_stopped_and_it_is_reported_whether_fal_may_bill_them(
    working: Callable[..., Any], scene: Workspace
) -> None:
    scene.admit(1, name="a")
    scene.bring(_S.SUBMITTED, 2, name="b")
    scene.bring(_S.WAITING, 3)

    result = working("cancel", "a", "b", an_id(3), "a", "--json")

    assert result.code == 0
    assert [one["status"] for one in result.data] == ["CANCELLED"] * 3
    assert [one["may_be_billed"] for one in result.data] == [False, True, False]
    assert set(result.data[0]) == keys("cancel")


@pytest.mark.parametrize("status", [_S.GENERATED, *sorted(FINAL, key=str)])
def test_what_cannot_be_stopped_is_said_and_no_message_is_sent(
    working: Callable[..., Any], desk: Desk, scene: Workspace, status: JobStatus
) -> None:
    job = scene.bring(status)

    result = working("cancel", job.job_id)

    assert result.code == (0 if status is _S.CANCELLED else 1)
    assert status in result.out
    assert desk.messages("DropsQueueUrl") == []


def test_an_unknown_name_cancels_nothing(
    working: Callable[..., Any], desk: Desk, scene: Workspace
) -> None:
    scene.admit(1, name="a")

    result = working("cancel", "a", "nothing")

    assert (result.code, result.out) == (1, "")
    assert "There is no job nothing" in result.err
    assert "Nothing was cancelled." in result.err
    assert desk.messages("DropsQueueUrl") == []


def test_a_person_reads_what_it_means(working: Callable[..., Any], scene: Workspace) -> None:
    scene.bring(_S.SUBMITTED, 1, name="a")

    assert "may still be billed" in working("cancel", "a").out


def test_of_a_lost_answer_no_request_is_cancelled(
    working: Callable[..., Any], scene: Workspace
) -> None:
    scene.bring(_S.UNCONFIRMED, 1, name="a")

    output = working("cancel", "a").out

    assert "asked" not in output
    assert "fal's answer was lost" in output
    assert "may still be billed" in output


@pytest.mark.parametrize(
    ("status", "said"),
    [(_S.READY, "nothing is billed"), (_S.SUBMITTED, "bill it"), (_S.UNCONFIRMED, "bill it")],
)
def test_a_cancelled_job_says_whether_it_may_be_billed(
    desk: Desk, scene: Workspace, status: JobStatus, said: str
) -> None:
    scene.step(scene.bring(status), _S.CANCELLED)

    assert said in desk.says("show", an_id(1)).out


def test_where_not_all_are_cancelled_the_last_line_says_where_to_look(
    working: Callable[..., Any], scene: Workspace
) -> None:
    scene.admit(1)
    scene.bring(_S.SUCCEEDED, 2)

    result = working("cancel", an_id(1), an_id(2))

    assert result.code == 1
    assert result.err.splitlines()[-1].endswith(f"See `phonoscene show {an_id(2)}`.")


@pytest.mark.parametrize("jobs", [2, 3, 4])
def test_of_many_jobs_that_are_not_cancelled_three_are_named(
    desk: Desk, scene: Workspace, jobs: int
) -> None:
    for n in range(jobs):
        scene.bring(_S.SUCCEEDED, n)

    result = desk.says("cancel", *map(an_id, range(jobs)))

    assert f"{jobs} jobs not CANCELLED" in result.err
    assert result.err.count("phonoscene show") == min(jobs, 3)


def test_a_message_that_is_not_looked_at_in_time_is_said_to_wait(
    desk: Desk, scene: Workspace, environment: pytest.MonkeyPatch
) -> None:
    job = scene.admit(1)
    environment.setattr(time, "sleep", lambda _: None)

    result = desk.says("cancel", job.job_id, "--timeout", "0s")

    assert result.code == 1
    assert "READY" in result.out
    assert json.loads(desk.messages("DropsQueueUrl")[0]) == {"cancel": job.job_id}


# cost -------------------------------------------------------------------------------------------


def test_costs_are_reported_by_day_by_folder_and_by_name_against_the_budget(
    desk: Desk, scene: Workspace
) -> None:
    now = scene.clock.now = datetime.now(UTC)  # a day may have begun since NOW
    scene.bring(_S.SUCCEEDED, 1, name="talks/a")
    scene.bring(_S.SUCCEEDED, 2, name="talks/b")
    scene.bring(_S.SUBMITTED, 3, name="c")
    scene.clock.now = now - timedelta(days=3)
    scene.bring(_S.SUCCEEDED, 4, name="d")

    def groups(*options: str) -> dict[str, tuple[float, float]]:
        data = desk.says("cost", "--json", *options).data
        assert set(data) == keys("cost")
        assert all(set(one) == keys("cost", "Keys of `groups`") for one in data["groups"])
        return {one["group"]: (one["upper_usd"], one["reserved_usd"]) for one in data["groups"]}

    today = f"{now:%Y-%m-%d}"
    assert groups("--day", "today") == {today: (1.0, 0.5)}
    assert groups("--by", "folder") == {"talks/": (1.0, 0), "/": (0.5, 0.5)}
    assert groups("--by", "NAME", "--since", "1d") == {
        "talks/a": (0.5, 0),
        "talks/b": (0.5, 0),
        "c": (0, 0.5),
    }
    data = desk.says("cost")
    assert "total" in data.out
    assert all(fact in data.out for fact in (str(today), "$1.50", "$25.00"))
    budget = desk.says("cost", "--json", "--day", "today").data["budgets"]
    assert budget == [{"day": today, "committed_usd": 1.5, "reserved_usd": 0.5}]
    assert set(budget[0]) == keys("cost", "Keys of `budgets`")


def test_nothing_costs_nothing(desk: Desk) -> None:
    result = desk.says("cost", "--json")

    assert (result.code, result.data["total"]["upper_usd"]) == (0, 0)
    assert desk.says("cost").code == 0


# the table --------------------------------------------------------------------------------------


def test_many_items_are_read_at_once_and_what_was_left_out_is_asked_for_again(
    cloud: Cloud, scene: Workspace
) -> None:
    for n in range(7):
        scene.admit(n)
    slept: list[float] = []

    class Busy:
        def __init__(self) -> None:
            self.sizes: list[int] = []

        def batch_get_item(self, *, RequestItems: Any) -> Any:  # noqa: N803 - DynamoDB's name
            wanted = RequestItems[JOBS]
            self.sizes.append(len(wanted["Keys"]))
            first, rest = wanted["Keys"][:3], wanted["Keys"][3:]
            answer: Any = cloud.dynamodb.batch_get_item(
                RequestItems={JOBS: wanted | {"Keys": first}}
            )
            left = {JOBS: wanted | {"Keys": rest}} if rest else {}
            return {"Responses": answer["Responses"], "UnprocessedKeys": left}

    busy: Any = Busy()
    table = Table(busy, JOBS, slept.append)
    wanted = [an_id(n % 9) for n in range(30)]

    whole = {item["job_id"]: item for item in table.get_many(wanted)}
    some = list(table.get_many(wanted, ("job_id", "status")))

    assert set(whole) == {an_id(n) for n in range(7)}
    assert whole[an_id(0)]["estimate"]["upper_usd"] == Decimal("0.5000")
    assert all(set(item) == {"job_id", "status"} for item in some)
    assert busy.sizes[:3] == [9, 6, 3]
    assert len(slept) == 4
    assert list(table.get_many([])) == []
