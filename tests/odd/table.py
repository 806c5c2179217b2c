"""fal, its CDN and an endpoint at their oddest: nothing paid is lost, or paid twice, or unbooked.

Each row of the table is an odd answer. It is played in a cloud of its own, side by side with all
the others, and in two ways: fal calls the webhook, or it never does and is asked.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from local.cloud.certificates import SUBSCRIBER
from local.cloud.cloud import running_cloud
from local.cloud.reconcile_ticker import ReconcileTicker
from phonoscene.workflow.reconciliation import RUN_AND_CALL
from tests.support.local_stack import (
    FINAL,
    NO_WEBHOOK,
    SECRET_PARAMETER,
    Phonoscene,
    eventually,
    make_audio,
)
from tests.support.records import items, spent, unexplained
from tests.support.subscriber import Subscriber

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.local_stack import Fault

FOLDER = Path(__file__).parents[2] / ".build" / "odd"
PARAMETERS: Final = {
    "AskFalSeconds": "3",
    "AudioUrlTtlSeconds": "600",
    "DailyBudgetUsd": "1000",
    "MaxInFlight": "200",
    "EventWebhookUrl": f"https://{SUBSCRIBER}/hooks/phonoscene",
    "EventWebhookSecretParameter": SECRET_PARAMETER,
}
SIMULATOR: Final = ("--concurrency", "40", "--retry-seconds", "0.3", "--run-seconds", "0.05")
#: Cheap to render.
SMALL: Final[dict[str, Any]] = {"video_size": {"width": 64, "height": 64}, "video_quality": "low"}
#: Hosts that fal's key may be shown to, over TLS.
FAL_HOSTS: Final = {
    "https://queue.fal.run",
    "https://queue.falrun.com",
    "https://api.fal.ai",
    "https://rest.fal.ai",
}
STRANGER: Final = "evil.example.com"
#: Seconds for the whole table. A copy or a submission is tried again after half a minute.
PATIENCE: Final = 600.0
#: Seconds; longer than a batch of the drops takes, and than a copy.
VISIBILITY: Final = 45
#: Seconds; an endpoint has 20 to answer, and notices late that it was left.
LEFT_AFTER: Final = 23
#: What proves that a submission was not taken: its start timeout, and fal's longest run.
SILENCE: Final = timedelta(seconds=300) + RUN_AND_CALL

WEBHOOK, POLLING = "webhook", "polling"
WAYS: Final = (WEBHOOK, POLLING)
FOR_EVER: Final = {"times": None}
WEBM: Final = {"video_output_type": "VP9 (.webm)"}
MOV: Final = {"video_output_type": "PRORES4444 (.mov)"}
#: A video of several ranges; its bytes are of no video.
LARGE: Fault = ("render", "big_file", {"bytes": 17 * 2**20})


@dataclass(frozen=True)
class Row:
    """What fal does for one drop, and how that must end.

    ``ends``: states, any of which is right by the time the table is closed. ``posts``: submissions
    that fal counts. ``in_webhooks``: what else happens where fal calls, so that the answer in
    question is asked for at all.
    """

    faults: tuple[Fault, ...]
    ends: frozenset[str] = frozenset({"SUCCEEDED"})
    posts: int = 1
    ways: tuple[str, ...] = WAYS
    in_webhooks: tuple[Fault, ...] = ()
    sidecar: dict[str, Any] = field(default_factory=dict)


def _row(stage: str, action: str, **parameters: Any) -> Row:
    return Row(((stage, action, parameters),))


def _submit(action: str, **parameters: Any) -> Row:
    return _row("submit", action, **parameters)


def _status(action: str, **parameters: Any) -> Row:
    """fal is asked before it calls."""
    late: Fault = ("webhook", "delay", {"seconds": 25})
    return Row((("status", action, parameters),), in_webhooks=(late,))


def _result(action: str, **parameters: Any) -> Row:
    """The webhook does not bring what it should, so that the result is fetched."""
    bare: Fault = ("webhook", "payload_error", {"status": "OK"})
    return Row((("result", action, parameters),), in_webhooks=(bare,))


def _webhook(action: str, **parameters: Any) -> Row:
    return Row((("webhook", action, parameters),), ways=(WEBHOOK,))


def _cdn(action: str, *more: Fault, **parameters: Any) -> Row:
    return Row((*more, ("cdn", action, parameters)))


def _film(form: str, **sidecar: Any) -> Row:
    return Row((("render", "container", {"form": form}),), sidecar=sidecar)


FORMS: Final = ("video_list", "videos", "url_text", "empty", "surrogate", "nan", "bom")
ROWS: Final[dict[str, Row]] = {
    "submit: URLs in the clear": _submit("foreign_urls"),
    "submit: URLs of a stranger": _submit("foreign_urls", host=STRANGER),
    "submit: URLs of another port": _submit("foreign_urls", host="queue.fal.run:8443"),
    "submit: URLs with a user": _submit("foreign_urls", host="me@queue.fal.run"),
    "submit: no URLs": _submit("without_urls"),
    "submit: a dripping answer": _submit("drip", seconds=0.2),
    # nothing proves that what redirects has not queued it
    "submit: a redirect": Row((("submit", "redirect", {}),), ends=frozenset({"UNCONFIRMED"})),
    "submit: 500 with fal's id": Row(
        (("submit", "status", {"code": 500, "request_id_header": True}),),
        ends=frozenset({"UNCONFIRMED"}),
    ),
    "status: FAILED": _status("unknown", times=2),
    "status: completed": _status("unknown", value="completed", times=2),
    "status: a list": _status("unknown", value=["COMPLETED"], times=2),
    "status: an object": _status("unknown", value={"error": "?"}, times=2),
    "status: no object": _status("not_an_object", times=2),
    "status: a text": _status("not_an_object", value="COMPLETED", times=2),
    "status: dripping": _status("drip", seconds=0.2),
    "status: dripping from its head on": _status("drip", seconds=0.2, part="all"),
    "status: the error's type alone": Row(
        (
            ("render", "error", {"error_type": "runner_disconnected"}),
            ("status", "error_type_only", {}),
        ),
        posts=2,
    ),
    **{f"result: {form}": _result("malformed", form=form) for form in FORMS},
    "result: no JSON": _result("not_json"),
    "result: accepted": _result("accepted"),
    "result: 503": _result("status", code=503),
    "result: dripping": _result("drip", seconds=0.1),
    "result: never with a video": Row(
        (("result", "malformed", {"form": "empty", "times": None}),),
        ends=frozenset({"SUBMITTED", "FAILED"}),
        in_webhooks=(("webhook", "malformed", {"form": "empty"}),),
    ),
    **{f"webhook: {form}": _webhook("malformed", form=form) for form in FORMS},
    "webhook: an error first": _webhook("error_first", seconds=2),
    "webhook: a final error first": _webhook(
        "error_first", seconds=2, error_type="content_policy_violation"
    ),
    "webhook: unavailable": _webhook("unavailable"),
    "cdn: short": _cdn("short", bytes=40),
    "cdn: short, without ranges": _cdn("truncated", bytes=40),
    "cdn: a page": _cdn("html"),
    "cdn: a page's bytes": _cdn("wrong_container"),
    "cdn: packed": _cdn("gzip"),
    "cdn: elsewhere at fal's": _cdn("redirect"),
    "cdn: at a stranger's": _cdn("redirect", location=f"https://{STRANGER}/video.mp4"),
    "cdn: not yet there": _cdn("not_yet", seconds=6, times=None),
    "cdn: two at once": _cdn("limit", LARGE, connections=2, retry_after=1, times=None),
    "cdn: an open length": _cdn("unknown_total", LARGE, times=None),
    "cdn: weak ETags": _cdn("odd_etag", LARGE, form="weak", times=None),
    "cdn: weak ETags later": _cdn("odd_etag", LARGE, form="weak_later", times=None),
    "cdn: no ETags later": _cdn("odd_etag", LARGE, form="missing_later", times=None),
    "cdn: early hints": _cdn("early_hints", times=None),
    "cdn: dripping": _cdn("drip", seconds=0.1),
    "cdn: dripping from its head on": _cdn("drip", seconds=0.2, part="all"),
    "cdn: %2F in the path": _cdn("odd_url", form="escaped_slash"),
    "cdn: é in the path": _cdn("odd_url", form="non_ascii"),
    "cdn: a space before the URL": _cdn("odd_url", form="leading_space"),
    "run: too small a file_size": _row("render", "file_size", bytes=100),
    "run: too small a file_size, no ranges": _cdn(
        "no_ranges", ("render", "file_size", {"bytes": 100}), times=None
    ),
    "run: too large a file_size": Row(
        (("render", "file_size", {"bytes": 10**6}),), ends=frozenset({"GENERATED", "SUCCEEDED"})
    ),
    **{
        f"run: mp4, {form}": _film(form)
        for form in ("free_first", "wide_first", "styp_first", "no_ftyp", "qt_brand")
    },
    **{
        f"run: mov, {form}": _film(form, **MOV)
        for form in ("free_first", "wide_first", "no_ftyp", "isom_brand")
    },
    "run: webm, late_doctype": _film("late_doctype", **WEBM),
    "run: another container": Row(
        (("render", "other_container", {}),), ends=frozenset({"SUCCEEDED", "FAILED"})
    ),
}
CASES: Final = [(name, way) for name, row in ROWS.items() for way in row.ways]

#: What the list of requests answers when a submission's answer was lost: a rule of the simulator.
LISTS: Final[dict[str, dict[str, Any]]] = {
    "no input": {"action": "without_input"},
    "null for input": {"action": "without_input", "form": "null"},
    "input as text": {"action": "without_input", "form": "text"},
    "input without a URL": {"action": "without_input", "form": "no_url"},
    "another envelope": {"action": "envelope"},
    "200 with an error": {"action": "error_ok"},
    "another next page": {"action": "next_page"},
    "no JSON": {"action": "not_json"},
    "503": {"action": "status", "code": 503},
    "a list": {"action": "status", "code": 200, "body": []},
    "nothing in items": {"action": "status", "code": 200, "body": {"items": None}},
    "no items": {"action": "status", "code": 200, "body": {}},
    "dropped": {"action": "drop"},
}
LIST_CASES: Final = [(name, way) for name in LISTS for way in WAYS]


@pytest.fixture(scope="module")
def stack() -> Iterator[Phonoscene]:
    """The deployed stack, with a system that listens to its events."""
    subscriber = Subscriber()
    options = (*SIMULATOR, "--subscriber-port", str(subscriber.port))
    with running_cloud(FOLDER, PARAMETERS, options) as endpoints:
        endpoints.client("ssm").put_parameter(
            Name=SECRET_PARAMETER, Value=subscriber.secret, Type="SecureString"
        )
        with subscriber.listening(FOLDER / "tls"):
            stack = Phonoscene(endpoints, subscriber)
            _come_back_soon(stack)
            yield stack


def _come_back_soon(stack: Phonoscene) -> None:
    """What a busy emulator turns away comes back soon: its queues would take three minutes."""
    for url in (stack.endpoints.drops_queue_url, stack.endpoints.verdicts_queue_url):
        attributes = {"VisibilityTimeout": str(VISIBILITY)}
        stack.sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)


@contextmanager
def quick_ticks(stack: Phonoscene) -> Iterator[None]:
    """Due jobs are looked at within a second, for the body's time."""
    ticker, ended = ReconcileTicker(stack.endpoints), threading.Event()

    def go_on() -> None:
        while not ended.wait(1):
            with suppress(BotoCoreError, ClientError):  # a pass that was cut off: another one
                ticker.tick()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(30)


@dataclass(frozen=True)
class Outcome:
    """What became of a row."""

    status: str
    errors: tuple[str, ...]
    videos: int
    #: Bytes of the stored video, and of the one that fal made.
    stored: int
    made: int
    posts: int
    billed: Decimal
    booked: Decimal
    source_kept: bool
    struck: int
    seconds: float

    def __str__(self) -> str:
        answer = f"{self.status} {','.join(self.errors)}"
        sums = f"{self.billed:8} {self.booked:8}"
        return (
            f"{answer:40} {self.videos:6} {self.posts:5} {sums} {self.struck:6} {self.seconds:7.1f}"
        )


COLUMNS: Final = ("videos", "POSTs", "billed", "booked", "struck", "seconds")
HEAD: Final = f"{'':46}{'ends':40} {' '.join(f'{column:>7}' for column in COLUMNS)}"


def drop_name(name: str, way: str) -> str:
    """The folder and name of a row's drop."""
    rank = [*ROWS, *LISTS].index(name)
    return f"odd/{way}/{rank:03}"


def prompt_of(name: str, way: str) -> str:
    """What finds a row's request in fal's books; no row's begins with another's."""
    return f"the row {drop_name(name, way)} of odd answers"


@dataclass(frozen=True)
class Books:
    """The table, the output bucket and fal's own books at one moment."""

    records: dict[str, dict[str, Any]]
    videos: Counter[str]
    at_fal: dict[str, Any]
    rules: list[dict[str, Any]]

    @classmethod
    def of(cls, stack: Phonoscene) -> Books:
        """As they are now."""
        found = [one for one in items(stack) if "status" in one]
        keys = [key for key in stack.versions("odd/") if not key.endswith(".json")]
        return cls(
            records={one["name"]: one for one in found},
            videos=Counter(key.rpartition("/")[0] for key in keys),
            at_fal=stack.control("GET", "/requests"),
            rules=stack.control("GET", "/faults")["faults"],
        )

    def outcome(self, name: str, way: str, seconds: float = 0.0) -> Outcome:
        """How a row is."""
        drop, prompt = drop_name(name, way), prompt_of(name, way)
        record = self.records.get(drop, {})
        requests = [one for one in self.at_fal["requests"] if one["arguments"]["prompt"] == prompt]
        paid = [one for one in requests if one["status_code"] == HTTPStatus.OK]
        price = (record.get("estimate") or {}).get("usd_per_megapixel", Decimal(0))
        held = (record.get("reservation") or {}).get("usd", Decimal(0))
        return Outcome(
            status=record.get("status", "no record"),
            errors=tuple(error["code"] for error in record.get("errors") or ()),
            videos=self.videos[drop],
            stored=int((record.get("video") or {}).get("bytes", 0)),
            made=_made(paid),
            posts=sum(post["prompt"] == prompt for post in self.at_fal["posts"]),
            billed=sum((Decimal(one["billable_units"]) * price for one in paid), Decimal(0)),
            booked=(spent(record) if record else Decimal(0)) + held,
            source_kept=bool(record.get("source_url")),
            struck=self._struck(ROWS.get(name), prompt),
            seconds=seconds,
        )

    def _struck(self, row: Row | None, prompt: str) -> int:
        """How often the row's own faults did, each at least once; else 0."""
        own = [(stage, action) for stage, action, _ in row.faults] if row else []
        struck = [
            rule["struck"]
            for rule in self.rules
            if (rule["stage"], rule["action"]) in own
            and (rule.get("match") or {}).get("prompt_contains") == prompt
        ]
        return sum(struck) if all(struck) else 0


def _made(paid: list[dict[str, Any]]) -> int:
    """How long the video is that fal made, in bytes, by the file that it serves."""
    files = [file for one in paid for file in FOLDER.rglob(f"fal/{one['request_id']}.*")]
    return files[0].stat().st_size if files else _reported(paid)


def _reported(paid: list[dict[str, Any]]) -> int:
    return int(paid[0]["result"]["video"]["file_size"]) if paid else 0


@pytest.fixture(scope="module")
def played(stack: Phonoscene) -> dict[tuple[str, str], Outcome]:
    """The whole table, every row dropped at once."""
    began, ended = time.monotonic(), dict[tuple[str, str], float]()
    with quick_ticks(stack):
        _drop_all(stack, {case: _faults(*case) for case in CASES})
        must_end = {case for case in CASES if ROWS[case[0]].ends <= FINAL}
        while not must_end <= ended.keys() and time.monotonic() - began < PATIENCE:
            time.sleep(2)
            statuses = {one["name"]: one["status"] for one in items(stack) if "status" in one}
            for case in CASES:
                if statuses.get(drop_name(*case)) in FINAL:
                    ended.setdefault(case, time.monotonic() - began)
    books = Books.of(stack)
    outcomes = {case: books.outcome(*case, ended.get(case, PATIENCE)) for case in CASES}
    (FOLDER / "table.txt").write_text(table(outcomes))
    return outcomes


def _drop_all(stack: Phonoscene, faults: dict[tuple[str, str], tuple[Fault, ...]]) -> None:
    """A pair of each case, with what fal does wrong for it."""
    rules = [
        {"stage": stage, "action": action, "match": {"prompt_contains": prompt_of(*case)}, **more}
        for case, own in faults.items()
        for stage, action, more in own
    ]
    stack.control("POST", "/faults", rules)
    audio = make_audio("wav")
    for case in faults:
        row, drop = ROWS.get(case[0]), drop_name(*case)
        sidecar = {**SMALL, **(row.sidecar if row else {}), "prompt": prompt_of(*case)}
        stack.put(f"{drop}.json", json.dumps(sidecar).encode())
        stack.put(f"{drop}.wav", audio)


def _faults(name: str, way: str) -> tuple[Fault, ...]:
    row = ROWS[name]
    return (*row.faults, *(row.in_webhooks if way == WEBHOOK else (NO_WEBHOOK,)))


def table(outcomes: dict[tuple[str, str], Outcome]) -> str:
    """For a person to read."""
    lines = [f"{name:38}{way:8}{one}" for (name, way), one in outcomes.items()]
    return "\n".join(["", HEAD, *lines])


# in this order: the key set is read at the first webhook of a cloud, and later the queue of events
# is full of those of the table


def test_a_dripping_key_set_delays_no_webhook_for_longer_than_fal_waits(
    stack: Phonoscene,
) -> None:
    stack.control("POST", "/faults", {"stage": "keys", "action": "drip", "seconds": 0.5})
    prompt = stack.drop("odd/keys", **SMALL)

    with quick_ticks(stack):
        job = stack.take("odd/keys", seconds=60)

    assert job["status"] == "SUCCEEDED"
    assert eventually(lambda: all("seconds" in one for one in _deliveries(stack, prompt)), 20)
    assert max(one["seconds"] for one in _deliveries(stack, prompt)) < 14
    (rule,) = stack.control("GET", "/faults")["faults"]
    assert rule["struck"] == 1


def _deliveries(stack: Phonoscene, prompt: str) -> list[dict[str, Any]]:
    return [one for request in stack.requests(prompt) for one in request["deliveries"]]


@pytest.mark.parametrize("way", ["hangs", "drips"])
def test_an_endpoint_that_never_ends_its_answer_is_left_after_its_time_and_gets_the_event_again(
    stack: Phonoscene, way: str
) -> None:
    subscriber, name = stack.subscriber, f"odd/subscriber-{way}"
    subscriber.drip, subscriber.hangs = (1.0, False) if way == "drips" else (0.0, True)
    try:
        stack.drop(name, **SMALL)
        assert stack.take(name)["status"] == "SUCCEEDED"  # it holds up no one
        assert eventually(lambda: name in dict(subscriber.took), 30)
    finally:
        subscriber.drip, subscriber.hangs = 0.0, False

    assert next(seconds for answer, seconds in subscriber.took if answer == name) < LEFT_AFTER
    assert eventually(lambda: "SUCCEEDED" in subscriber.states(name), 30)
    assert subscriber.forged == []


@dataclass
class Lists:
    """Submissions whose answer was lost, and lists of requests that cannot be read."""

    stack: Phonoscene
    before: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    after: dict[tuple[str, str], Outcome] = field(default_factory=dict)

    def play(self) -> None:
        """Have each list asked long after its submission, and once more when it can be read."""
        with self.stack.stopped_clock():
            self._lose_answers()
            for name in LISTS:
                self._ask(name)
        for case in LIST_CASES:
            self._answer(*case)
        with quick_ticks(self.stack):
            eventually(lambda: all(map(self._is_final, LIST_CASES)), 40)
        books = Books.of(self.stack)
        self.after = {case: books.outcome(*case) for case in LIST_CASES}

    def _lose_answers(self) -> None:
        lost: Fault = ("submit", "lost_response", {})
        withheld: Fault = ("webhook", "never", {})  # the first message; another is sent by hand
        _drop_all(self.stack, dict.fromkeys(LIST_CASES, (lost, withheld)))
        for case in LIST_CASES:
            self.stack.take(drop_name(*case), until={"UNCONFIRMED"}, seconds=60)
            self.stack.ended_request(prompt_of(*case))
            self._look(case, timedelta(hours=1))
        self.stack.control("DELETE", "/faults")

    def _ask(self, name: str) -> None:
        cases = [(name, way) for way in WAYS]
        self.stack.control("POST", "/faults", {"stage": "requests", "times": None, **LISTS[name]})
        # the list is asked for up to now, where fal's request is, and the silence is just over
        long_ago = datetime.now(UTC) - SILENCE - timedelta(seconds=1)
        claimed = {case: self._redate(case, long_ago) for case in cases}
        for case in cases:
            self._look(case, -SILENCE)
        self.stack.invoke("ReconcileFunction")
        rule = self.stack.control("GET", "/faults")["faults"][-1]
        assert rule["struck"]
        self.stack.control("DELETE", "/faults")
        books = Books.of(self.stack)
        for case in cases:
            self.before[case] = books.outcome(*case)
            self._redate(case, claimed[case])
            self._look(case, timedelta(hours=1))

    def _answer(self, name: str, way: str) -> None:
        if way == WEBHOOK:
            request = self.stack.requests(prompt_of(name, way))[0]
            self.stack.control("POST", f"/requests/{request['request_id']}/deliver")
        else:
            self._look((name, way), timedelta(0))

    def _is_final(self, case: tuple[str, str]) -> bool:
        return self.stack.jobs.takes(drop_name(*case))[0]["status"] in FINAL

    def _look(self, case: tuple[str, str], after: timedelta) -> None:
        """Have a job looked at so much later than now."""
        self._set(case, "due_at", datetime.now(UTC) + after)

    def _redate(self, case: tuple[str, str], to: datetime) -> datetime:
        """Have a job claimed at another time; when it really was."""
        history = self.stack.jobs.takes(drop_name(*case))[0]["history"]
        place = max(n for n, step in enumerate(history) if step["status"] == "SUBMITTING")
        was = datetime.fromisoformat(history[place]["at"])
        self._set(case, f"history[{place}].#at", to)
        return was

    def _set(self, case: tuple[str, str], what: str, at: datetime) -> None:
        text = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        job_id = self.stack.jobs.takes(drop_name(*case))[0]["job_id"]
        self.stack.dynamodb.update_item(
            TableName=self.stack.endpoints.jobs_table,
            Key={"job_id": {"S": job_id}},
            UpdateExpression=f"SET {what} = :at",
            **({"ExpressionAttributeNames": {"#at": "at"}} if "#at" in what else {}),
            ExpressionAttributeValues={":at": {"S": text}},
        )


@pytest.fixture(scope="module")
def lists(stack: Phonoscene) -> Lists:
    """All of them, played."""
    made = Lists(stack)
    made.play()
    return made


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "way"), LIST_CASES, ids=map("-".join, LIST_CASES))
def test_a_list_that_cannot_be_read_proves_no_silence(lists: Lists, name: str, way: str) -> None:
    before, after = lists.before[name, way], lists.after[name, way]

    assert (before.status, before.posts) == ("UNCONFIRMED", 1)
    assert (after.status, after.posts, after.videos) == ("SUCCEEDED", 1, 1)
    assert after.booked >= after.billed > 0


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "way"), CASES, ids=map("-".join, CASES))
def test_an_odd_answer_ends_as_it_should(
    played: dict[tuple[str, str], Outcome], name: str, way: str
) -> None:
    row, one = ROWS[name], played[name, way]

    assert one.status in row.ends, one
    assert one.posts == row.posts, one
    assert one.videos == (one.status == "SUCCEEDED"), one
    assert one.booked >= one.billed, one
    if one.status == "SUCCEEDED":
        assert one.stored == one.made, one
    elif one.status == "FAILED" and one.billed:
        assert one.source_kept or name == "result: never with a video", one


@pytest.mark.timeout(900)
def test_no_row_is_lost_none_paid_twice_and_none_unbooked(
    stack: Phonoscene, played: dict[tuple[str, str], Outcome]
) -> None:
    wrong = Counter[str]()
    for (name, _), one in played.items():
        wrong["lost"] += one.status == "no record" or (one.status == "FAILED" and not one.errors)
        wrong["paid twice"] += one.posts > ROWS[name].posts
        wrong["unbooked"] += one.booked < one.billed

    assert not wrong.total(), f"{wrong}{table(played)}"
    assert eventually(lambda: unexplained(stack) == 0)


@pytest.mark.timeout(900)
def test_every_fault_of_the_table_was_met(played: dict[tuple[str, str], Outcome]) -> None:
    unmet = {case: one for case, one in played.items() if not one.struck}

    assert not unmet, table(unmet)


@pytest.mark.timeout(900)
def test_the_key_was_shown_to_fal_alone_over_tls(
    stack: Phonoscene, played: dict[tuple[str, str], Outcome]
) -> None:
    assert played
    books = stack.control("GET", "/requests")

    assert set(books["keys_seen"]) <= FAL_HOSTS
    assert [host for host in books["refused_hosts"] if not host.startswith("169.254.")] == []
    downloads = [read for one in books["requests"] for read in one["downloads"]]
    assert not any(read["authorization"] for read in downloads)
