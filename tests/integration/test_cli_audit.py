"""``audit`` and ``backfill``: nothing that was dropped is missing, or it is named and admitted."""

from __future__ import annotations

import io
import json
import re
import shlex
import unicodedata
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from phonoscene.drops.drop_bucket import DropBucket
from phonoscene.drops.keys import job_id
from phonoscene.jobs import DropObject
from phonoscene.publishing.receipts import Receipt
from phonoscene.queues import DropsQueue
from phonoscene.table.job_store import JobStore
from phonoscene_cli.audit import backfill as backfill_module
from phonoscene_cli.audit import rate_limit
from phonoscene_cli.audit.audit import Audit, settled_at
from phonoscene_cli.audit.rate_limit import Pace
from phonoscene_cli.commands import backfill as backfill_command
from phonoscene_cli.ui import terminal
from tests.integration.moto_stack import client
from tests.integration.workspace import numbered_job
from tests.support.documented import keys
from tests.support.media.samples import silence
from tests.support.stack import JOBS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from phonoscene_cli.audit.bucket_listing import BucketDrop
    from tests.integration.desk import Desk
    from tests.integration.moto_stack import Cloud

SIDECAR = {"prompt": "A stage", "video_size": {"width": 64, "height": 64}}
SOUND = silence(0.5)
NOW = ("--older-than", "0s")
ZERO, MINUTE = timedelta(0), timedelta(minutes=1)


def pair(desk: Desk, name: str, sidecar: Any = SIDECAR, *, announced: bool = True) -> None:
    """Drop both halves; ``announced``: S3's events arrive."""
    desk.cloud.drop(f"{name}.wav", SOUND)
    desk.cloud.drop(f"{name}.json", json.dumps(sidecar))
    if announced:
        desk.announce(f"{name}.wav", f"{name}.json")


def audit(desk: Desk, *words: str) -> Any:
    result = desk.says("audit", *words, *NOW, "--json")
    assert result.code == (1 if result.data["missing"] else 0)
    assert set(result.data) == keys("audit")
    parts = ("accounted", "resting", "unreadable_count", "missing_count")
    counted = sum(result.data[part] for part in parts)
    assert result.data["dropped"] == counted
    assert result.data["missing_count"] == len(result.data["missing"])
    return result.data


def missing(desk: Desk, *words: str) -> list[str]:
    return [one["name"] for one in audit(desk, *words)["missing"]]


# audit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 3, 7, 8])
def test_no_drop_is_lost_between_the_pages_of_a_listing(
    desk: Desk, environment: pytest.MonkeyPatch, most: int
) -> None:
    for name in ("a", "b/a", "b/c"):
        pair(desk, name, announced=False)
    desk.cloud.drop("b/a.wav", SOUND + SOUND)  # two versions, which may be on two pages
    s3 = client("s3")
    pages = partial(s3.list_object_versions, MaxKeys=most)
    environment.setattr(s3, "list_object_versions", pages)

    assert missing(desk) == ["a", "b/a", "b/c"]


def test_what_has_its_record_is_accounted_for_and_what_has_none_is_named(desk: Desk) -> None:
    pair(desk, "talks/here")
    pair(desk, "talks/lost", announced=False)
    desk.cloud.drop("talks/cover.png", b"picture")

    result = audit(desk)

    assert (result["dropped"], result["accounted"], result["ignored"]) == (2, 1, 1)
    assert result["states"] == {"SUBMITTED": 1}
    [lost] = result["missing"]
    assert set(lost) == keys("audit", "Keys of `missing`")
    assert (lost["audio"], lost["sidecar"]) == ("talks/lost.wav", "talks/lost.json")
    assert missing(desk, "talks/h") == []
    assert missing(desk, "talks/lost.wav") == ["talks/lost"]


def test_a_person_reads_what_is_missing_and_what_to_do(desk: Desk) -> None:
    pair(desk, "talks/lost", announced=False)

    result = desk.says("audit", "talks/", *NOW)

    assert result.code == 1
    assert "talks/lost.wav and talks/lost.json" in result.out
    assert "dropped 1, accounted 0, missing 1" in result.out
    assert "phonoscene redrive" in result.err
    assert "phonoscene backfill talks/" in result.err


def test_a_drop_that_came_a_moment_ago_is_not_missed_yet(desk: Desk) -> None:
    pair(desk, "talks/new", announced=False)

    result = desk.says("audit", "--json")

    assert (result.code, result.data["resting"], result.data["missing"]) == (0, 1, [])
    assert "too recent to judge 1" in desk.says("audit").out


def test_an_empty_bucket_lacks_nothing(desk: Desk) -> None:
    assert audit(desk)["dropped"] == 0
    assert desk.says("audit").out == "dropped 0, accounted 0, missing 0\n"
    assert desk.says("audit", "--json").out.splitlines()[1] == '  "missing": [],'


def again(desk: Desk) -> None:
    """The audio is dropped anew."""
    desk.cloud.drop("song.wav", silence(0.6))


def remove(key: str) -> Callable[[Desk], None]:
    return lambda desk: desk.cloud.s3.delete_object(Bucket="drops", Key=key) and None


def put(key: str, value: Any = SIDECAR, *, announced: bool = True) -> Callable[[Desk], None]:
    def act(desk: Desk) -> None:
        desk.cloud.drop(key, value)
        if announced:
            desk.announce(key)

    return act


def copy(key: str, *, announced: bool = True) -> Callable[[Desk], None]:
    """A new version of the same bytes."""

    def act(desk: Desk) -> None:
        at: Any = {"Bucket": "drops", "Key": key}
        desk.cloud.s3.copy_object(**at, CopySource=at, MetadataDirective="REPLACE")
        if announced:
            desk.announce(key)

    return act


def move(key: str) -> Callable[[Desk], None]:
    """To the folder ``done/``."""

    def act(desk: Desk) -> None:
        at: Any = {"Bucket": "drops", "Key": key}
        desk.cloud.s3.copy_object(Bucket="drops", Key=f"done/{key}", CopySource=at)
        desk.cloud.s3.delete_object(**at)
        desk.announce(f"done/{key}")

    return act


#: What happens to a drop after it has become a job; and which drops are missing then.
LATER: dict[str, tuple[list[Callable[[Desk], None]], list[str]]] = {
    "nothing": ([], []),
    "its sidecar is removed": ([remove("song.json")], []),
    "its audio is removed": ([remove("song.wav")], []),
    "both are removed": ([remove("song.json"), remove("song.wav")], []),
    "a longer-named sidecar takes its place": ([put("song.wav.json")], []),
    "and is removed again": ([put("song.wav.json"), remove("song.wav.json")], []),
    "its event is lost": ([put("song.wav.json", announced=False)], ["song"]),
    "the audio's new version is lost": ([again], ["song"]),
    "the sidecar's new version is lost": ([put("song.json", announced=False)], ["song"]),
    "the sidecar comes again": ([put("song.json")], []),
    "a tool copies the audio in place": ([copy("song.wav")], []),
    "a tool copies both in place": ([copy("song.wav"), copy("song.json")], []),
    "the event of a copy is lost": ([copy("song.wav", announced=False)], ["song"]),
    "a sidecar that is not used comes": (
        [put("song.wav.json"), put("song.json", SIDECAR | {"seed": 1})],
        [],
    ),
    "both are moved to a folder that is ignored": (
        [
            put("done/_defaults.json", {"ignore": True}, announced=False),
            move("song.wav"),
            move("song.json"),
        ],
        [],
    ),
    "a rival audio comes": ([put("song.mp3", SOUND)], []),
    "a rival audio is lost": ([put("song.mp3", SOUND, announced=False)], ["song"]),
    "another name that begins alike is lost": (
        [put("song.live.wav", SOUND, announced=False)],
        ["song.live"],
    ),
}


@pytest.mark.parametrize("case", LATER)
def test_what_happens_to_a_drop_later_is_understood(desk: Desk, case: str) -> None:
    steps, lost = LATER[case]
    pair(desk, "song")

    for step in steps:
        step(desk)

    assert missing(desk) == lost


@pytest.mark.parametrize(
    ("keys", "lost"),
    [
        (["song.wav"], []),
        (["song.json"], []),
        (["a/../song.wav"], []),
        (["a/../song.wav", "a/../song.json"], []),
    ],
    ids=str,
)
def test_halves_that_wait_and_keys_that_were_refused_have_their_records(
    desk: Desk, keys: list[str], lost: list[str]
) -> None:
    for key in keys:
        desk.cloud.drop(key, SOUND)
        desk.announce(key)

    assert missing(desk) == lost


def test_what_is_in_a_folder_that_is_ignored_is_counted_as_that(desk: Desk) -> None:
    desk.cloud.drop("done/_defaults.json", {"ignore": True})
    pair(desk, "done/old")
    pair(desk, "new")

    result = audit(desk)

    assert (result["dropped"], result["accounted"], result["ignored"]) == (1, 1, 3)


def test_a_receipt_that_was_synced_back_is_counted_as_ignored(desk: Desk) -> None:
    pair(desk, "song")
    receipt = Receipt.of(numbered_job(name="song"), None).to_json()
    desk.cloud.drop("song.status.json", receipt)
    desk.announce("song.status.json")

    result = audit(desk)

    assert (result["dropped"], result["accounted"], result["ignored"]) == (1, 1, 1)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")], ids=str)
@pytest.mark.parametrize("is_told", [True, False])
def test_halves_that_are_spelled_in_two_ways_are_one_drop(
    desk: Desk, forms: tuple[Any, Any], *, is_told: bool
) -> None:
    names = [unicodedata.normalize(form, "talks/café") for form in forms]
    desk.cloud.drop(f"{names[0]}.wav", SOUND)
    desk.cloud.drop(f"{names[1]}.json", SIDECAR)
    if is_told:
        desk.announce(f"{names[0]}.wav")

    result = audit(desk)

    assert (result["dropped"], result["accounted"]) == (1, int(is_told))


def test_a_half_that_waits_is_missed_once_its_pair_should_be_a_job(desk: Desk) -> None:
    desk.cloud.drop("song.wav", SOUND)
    desk.announce("song.wav")
    desk.cloud.drop("song.json", SIDECAR)  # and its event is lost

    assert missing(desk) == ["song"]


def test_every_take_must_be_there(desk: Desk, cloud: Cloud) -> None:
    pair(desk, "song", [SIDECAR | {"prompt": text} for text in "abc"])
    assert missing(desk) == []
    [second] = [i["job_id"] for i in cloud.items() if i["arguments"]["prompt"] == "b"]

    JobStore(client("dynamodb"), JOBS).stop_waiting(second)

    assert missing(desk) == ["song"]


def test_many_drops_take_few_questions(desk: Desk, cloud: Cloud) -> None:
    clients = (client("s3"), client("dynamodb"))
    jobs = []
    for n in range(250):
        halves = [(key, cloud.drop(key, b"x")) for key in (f"{n:03}.wav", f"{n:03}.json")]
        made = job_id("drops", halves[0], halves[1])
        pinned = [DropObject(key=key, version_id=version) for key, version in halves]
        job = numbered_job(
            1, job_id=made, audio={**pinned[0].model_dump(), "bytes": 1}, sidecar=pinned[1]
        )
        jobs.append(job)
    cloud.put_jobs(jobs)
    calls: list[str] = []
    heard: Any = lambda model, **_: calls.append(model.name)  # noqa: E731 - an event's handler
    for service in clients:
        service.meta.events.register("before-call", heard)
    try:
        result = audit(desk)
    finally:
        for service in clients:
            service.meta.events.unregister("before-call", heard)

    assert result["accounted"] == 250
    assert set(calls) == {"ListObjectVersions", "BatchGetItem"}
    assert len(calls) <= 10


# backfill ---------------------------------------------------------------------------------------


@pytest.fixture
def cursor(tmp_path: Path) -> Path:
    return tmp_path / "cursor.json"


def backfill(desk: Desk, cursor: Path, *words: str) -> Any:
    return desk.says(
        "backfill", "archive/", *NOW, "--rate", "1000/s", "--yes", "--cursor", str(cursor), *words
    )


def test_a_dry_run_counts_and_prices_what_would_be_admitted_and_admits_nothing(
    desk: Desk, cloud: Cloud
) -> None:
    for n in range(3):
        pair(desk, f"archive/{n}", announced=False)
    pair(desk, "archive/there")
    pair(desk, "archive/wrong", SIDECAR | {"fps": 99}, announced=False)
    desk.cloud.drop("archive/alone.wav", SOUND)
    before = cloud.items()

    data = desk.says("backfill", "archive/", "--dry-run", *NOW, "--json").data
    shown = desk.says("backfill", "archive/", "--dry-run", *NOW).out

    assert set(data) == keys("backfill", "Keys of a dry run")
    assert (data["drops"], data["jobs"], data["rejected"], data["waiting"]) == (5, 3, 1, 1)
    assert data["errors"] == {"out_of_range": 1}
    assert data["frames"] == 3 * 17
    assert data["days"] == 1
    assert "5 drops under 'archive/' without a job" in shown
    assert "1 job would be REJECTED: 1 out_of_range" in shown
    assert "3 jobs would be created, 51 frames" in shown
    assert (desk.messages("DropsQueueUrl"), cloud.items()) == ([], before)


def test_the_price_of_a_plan_is_that_of_the_jobs_it_makes(
    desk: Desk, cloud: Cloud, cursor: Path
) -> None:
    for n in range(3):
        pair(desk, f"archive/{n}", SIDECAR | {"fps": 10 + n}, announced=False)
    plan = desk.says("backfill", "archive/", "--dry-run", *NOW, "--json").data

    backfill(desk, cursor)
    desk.work()

    made = [item["estimate"] for item in cloud.items()]
    assert float(sum(one["upper_usd"] for one in made)) == pytest.approx(plan["upper_usd"])
    assert sum(one["frames"] for one in made) == plan["frames"]


def test_what_is_admitted_becomes_jobs_once_and_is_not_admitted_again(
    desk: Desk, cloud: Cloud, cursor: Path
) -> None:
    for n in range(25):
        pair(desk, f"archive/{n:02}", announced=False)
    desk.cloud.drop("archive/alone.wav", SOUND)

    first = backfill(desk, cursor, "--json")
    sent = desk.work()
    second = backfill(desk, cursor, "--json")

    assert first.data == {
        "prefix": "archive/",
        "sent": 26,
        "complete": True,
        "failed": [],
        "remaining": 0,
    }
    assert set(first.data) == keys("backfill")
    assert sent == 26  # a message a drop, not two
    states = sorted(item["status"] for item in cloud.items())
    assert states == ["SUBMITTED"] * 25 + ["WAITING"]
    assert second.data["sent"] == 0
    assert not cursor.exists()
    assert missing(desk) == []


def test_no_more_are_admitted_than_the_limit_says_and_the_next_run_goes_on(
    desk: Desk, cloud: Cloud, cursor: Path
) -> None:
    for n in range(5):
        pair(desk, f"archive/{n}", announced=False)

    first = backfill(desk, cursor, "--limit", "2", "--json")
    second = backfill(desk, cursor, "--json")
    desk.work()

    assert (first.data["sent"], first.data["complete"]) == (2, False)
    assert (second.data["sent"], second.data["complete"]) == (3, True)
    assert "Resuming after archive/1" in second.err
    assert len(cloud.items()) == 5


@pytest.mark.parametrize("cut", [0, 1, 4, 6])
@pytest.mark.parametrize("before", [True, False])
def test_an_interrupt_anywhere_loses_nothing_and_doubles_nothing(
    desk: Desk,
    cloud: Cloud,
    cursor: Path,
    environment: pytest.MonkeyPatch,
    cut: int,
    *,
    before: bool,
) -> None:
    names = ["a", "b", "b.live", "b.live.more", "b.x", "c", "d", "e"]
    cloud.drop("archive/_defaults.json", {**SIDECAR, "wait_for_sidecar": False})
    for name in names:
        cloud.drop(f"archive/{name}.wav", SOUND)
    announce, calls = DropsQueue.announce, []

    def interrupted(self: DropsQueue, *args: Any) -> Any:
        calls.append(args)
        if len(calls) == cut + 1 and before:
            raise KeyboardInterrupt
        answer = announce(self, *args)
        if len(calls) == cut + 1:
            raise KeyboardInterrupt
        return answer

    with environment.context() as patch:
        patch.setattr(DropsQueue, "announce", interrupted)
        patch.setattr(Pace, "together", 1)
        first = backfill(desk, cursor)
    second = backfill(desk, cursor)
    sent = desk.work()

    assert (first.code, second.code) == (130, 0)
    assert len(names) <= sent <= len(names) + 4  # what was in doubt is sent once more
    assert sorted(item["name"] for item in cloud.items()) == [f"archive/{name}" for name in names]
    assert missing(desk) == []


def test_what_the_queue_does_not_take_is_offered_again(
    desk: Desk, cursor: Path, environment: pytest.MonkeyPatch
) -> None:
    pair(desk, "archive/a", announced=False)
    announce, refusals = DropsQueue.announce, iter([1, 1, 0])

    def hesitant(self: DropsQueue, bucket: str, objects: Any) -> Any:
        return objects if next(refusals, 1) else announce(self, bucket, objects)

    environment.setattr(DropsQueue, "announce", hesitant)
    taken = backfill(desk, cursor, "--json")

    assert (taken.code, taken.data["sent"], taken.data["failed"]) == (0, 1, [])


def test_an_event_that_the_queue_never_takes_is_passed_over_and_named(
    desk: Desk, cursor: Path, environment: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        pair(desk, f"archive/{name}", announced=False)
    announce = DropsQueue.announce

    def picky(self: DropsQueue, bucket: str, objects: Any) -> Any:
        bad = [one for one in objects if one.key == "archive/b.wav"]
        if len(bad) < len(objects):
            announce(self, bucket, [one for one in objects if one not in bad])
        return bad

    environment.setattr(DropsQueue, "announce", picky)
    result = backfill(desk, cursor, "--json")

    assert (result.code, result.data["sent"], result.data["complete"]) == (1, 2, True)
    assert [one["name"] for one in result.data["failed"]] == ["archive/b"]
    assert "archive/b" in result.err


def test_a_queue_that_takes_nothing_ends_the_backfill(
    desk: Desk, cursor: Path, environment: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        pair(desk, f"archive/{name}", announced=False)
    environment.setattr(DropsQueue, "announce", lambda _, __, objects: objects)

    given_up = backfill(desk, cursor)

    assert given_up.code == 1
    assert "archive/a.wav" in given_up.err


@pytest.fixture
def archived(environment: pytest.MonkeyPatch) -> set[str]:
    """Keys that S3 lists and does not give out, as those of its archive classes."""
    keys: set[str] = set()
    read = DropBucket.read

    def refusing(self: DropBucket, key: str, at_most: int) -> Any:
        if key in keys:
            error: Any = {"Error": {"Code": "InvalidObjectState", "Message": "archived"}}
            raise ClientError(error, "GetObject")
        return read(self, key, at_most)

    environment.setattr(DropBucket, "read", refusing)
    return keys


def test_a_drop_that_cannot_be_read_does_not_end_the_audit_and_is_named(
    desk: Desk, archived: set[str]
) -> None:
    pair(desk, "a", [SIDECAR | {"prompt": text} for text in "ab"])
    pair(desk, "b")
    pair(desk, "c", announced=False)
    archived.add("a.json")

    result = desk.says("audit", *NOW, "--json")
    shown = desk.says("audit", *NOW)

    assert result.code == 1
    assert result.data["unreadable"] == [{"name": "a", "problem": "InvalidObjectState"}]
    assert set(result.data["unreadable"][0]) == keys(
        "audit", "Keys of `unreadable`, which has the first 100"
    )
    assert (result.data["dropped"], result.data["accounted"]) == (3, 1)
    assert (result.data["unreadable_count"], result.data["missing_count"]) == (1, 1)
    assert "a (InvalidObjectState)" in shown.err


def test_an_audit_that_misses_nothing_but_could_not_read_all_is_not_fine(
    desk: Desk, archived: set[str]
) -> None:
    pair(desk, "a", [SIDECAR | {"prompt": text} for text in "ab"])
    archived.add("a.json")

    shown = desk.says("audit", *NOW)

    assert shown.code == 1
    assert "archive" in shown.err.splitlines()[-1]


def test_a_drop_that_cannot_be_examined_does_not_end_the_dry_run_and_is_named(
    desk: Desk, archived: set[str]
) -> None:
    for name in "abc":
        pair(desk, f"archive/{name}", announced=False)
    archived.add("archive/b.json")

    result = desk.says("backfill", "archive/", "--dry-run", *NOW, "--json")
    shown = desk.says("backfill", "archive/", "--dry-run", *NOW)

    assert result.code == 1
    assert (result.data["jobs"], result.data["unreadable_count"]) == (2, 1)
    assert result.data["unreadable"] == [{"name": "archive/b", "problem": "InvalidObjectState"}]
    assert "archive/b (InvalidObjectState)" in shown.err


def test_a_backfill_goes_on_past_what_cannot_be_read(
    desk: Desk, cursor: Path, archived: set[str]
) -> None:
    pair(desk, "archive/a", [SIDECAR | {"prompt": text} for text in "ab"])
    pair(desk, "archive/b", announced=False)
    archived.add("archive/a.json")

    result = backfill(desk, cursor, "--json")

    assert (result.code, result.data["sent"], result.data["complete"]) == (1, 1, True)
    assert result.data["failed"] == [{"name": "archive/a", "problem": "InvalidObjectState"}]


def test_a_person_is_asked_with_the_price_and_reads_how_many_remain(
    desk: Desk, cursor: Path, environment: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        pair(desk, f"archive/{n}", announced=False)
    environment.setattr(terminal, "must_be_able_to_ask", lambda: None)
    environment.setattr("sys.stdin", io.StringIO("y\n"))
    words = ("backfill", "archive/", *NOW, "--cursor", str(cursor), "--limit", "2")

    result = desk.says(*words)

    assert "2 jobs" in result.err
    assert "megapixels: $0 to $0.0026" in result.err
    assert "2 drops" in result.err
    assert "3 more" in result.err
    assert result.out == "sent 2 drops\n"


@pytest.mark.parametrize(
    ("most", "expected"), [(3, "3 or more are left."), (4, "3 more are left.")]
)
def test_of_many_remaining_drops_only_the_first_are_counted(
    desk: Desk, cursor: Path, environment: pytest.MonkeyPatch, most: int, expected: str
) -> None:
    for n in range(5):
        pair(desk, f"archive/{n}", announced=False)
    environment.setattr(backfill_command, "FAR", most)

    result = backfill(desk, cursor, "--limit", "2")

    assert result.err.startswith(expected)


def test_what_came_too_recently_is_said_to_be_left_out(desk: Desk, cursor: Path) -> None:
    pair(desk, "archive/a", announced=False)

    result = desk.says("backfill", "archive/", "--yes", "--cursor", str(cursor))

    assert result.out == "sent 0 drops\n"
    assert "1 drop" in result.err


@pytest.mark.parametrize(("waiting", "times"), [(1, 0), (2, 1), (3, 1)])
def test_a_backfill_that_holds_back_says_so_once(
    desk: Desk, cursor: Path, environment: pytest.MonkeyPatch, waiting: int, times: int
) -> None:
    environment.setattr(rate_limit, "DEEP", 2)
    environment.setattr(rate_limit, "HOLD", 0)
    for n in range(2):
        pair(desk, f"archive/{n}", announced=False)
    for _ in range(waiting):
        desk.cloud.sqs.send_message(QueueUrl=desk.urls["DropsQueueUrl"], MessageBody="{}")
    looks = iter(range(1000))
    attributes = desk.cloud.sqs.get_queue_attributes

    def drained(**asked: Any) -> Any:
        if next(looks) == 4:
            desk.messages("DropsQueueUrl")
        return attributes(**asked)

    environment.setattr(desk.cloud.sqs, "get_queue_attributes", drained)

    result = backfill(desk, cursor, "--rate", "3/s")

    assert result.out == "sent 2 drops\n"
    assert result.err.count("sending continues when fewer wait") == times


@pytest.mark.parametrize("option", ["--yes", "--dry-run"])
def test_the_status_line_shows_while_drops_are_looked_for_beyond_the_limit(
    desk: Desk, cursor: Path, environment: pytest.MonkeyPatch, option: str
) -> None:
    for n in range(3):
        pair(desk, f"archive/{n}", announced=False)
    shown: list[str] = []
    looked: list[list[str]] = []
    missing = Audit.missing

    @contextmanager
    def working(label: str) -> Iterator[Callable[[str], None]]:
        shown.append(label)
        yield lambda _: None
        shown.pop()

    def watched(self: Audit, after: str | None = None) -> Iterator[BucketDrop]:
        for one in missing(self, after):
            looked.append(list(shown))
            yield one

    environment.setattr(terminal, "working", working)
    environment.setattr(Audit, "missing", watched)
    words = ("backfill", "archive/", *NOW, "--cursor", str(cursor), "--limit", "1")

    assert "2 more are left" in desk.says(*words, option).err
    assert len(looked) == 3
    assert all(looked)


def test_the_backfill_that_an_audit_advises_admits_what_it_missed(desk: Desk, cursor: Path) -> None:
    pair(desk, "my archive/a", announced=False)
    missed = desk.says("audit", "my archive/", *NOW)
    [advised] = re.findall(r"`phonoscene (backfill [^`]+)`", missed.err)

    result = desk.says(*shlex.split(advised), "--yes", "--cursor", str(cursor), "--json")

    assert result.data["sent"] == 1


def test_nothing_is_sent_without_a_yes(desk: Desk) -> None:
    pair(desk, "archive/a", announced=False)

    result = desk.says("backfill", "archive/", *NOW)

    assert result.code == 2
    assert desk.messages("DropsQueueUrl") == []


def test_a_cursor_may_be_left_aside(desk: Desk, cursor: Path) -> None:
    pair(desk, "archive/a", announced=False)
    pair(desk, "archive/b", announced=False)
    backfill(desk, cursor, "--limit", "1")

    assert backfill(desk, cursor, "--restart", "--json").data["sent"] == 2


def test_a_backfill_needs_nothing_that_an_audit_has_not_missed(desk: Desk) -> None:
    stack = desk.stack()

    assert settled_at(stack, None) < settled_at(stack, MINUTE) < settled_at(stack, ZERO)
    assert list(Audit(stack, "", settled_at(stack, ZERO)).missing()) == []
    assert backfill_module.TRIES > 1
