"""The soak: many drops at once, some under faults, handlers killed, and every id checked.

It starts a local cloud of its own and drops pairs of a short audio, of every format and mux, and a
sidecar, in both orders, some announced twice, some wrong, some cancelled. fal's simulator
misbehaves for a share of them, and every few seconds a handler's process is killed. When everything
has come to its end, each drop is looked for in the table, in the output bucket and in fal's own
books: none may be lost, none may be paid or stored twice, and no slot and no money may stay set
aside. fal may bill no more than was reserved, and where it is made to, the record and the day's
budget must know it.

Two things differ from the deployed stack, or a killed handler would cost minutes: the visibility
timeouts are 20 s (drops) and 30 s (results) instead of 180 and 360 s. They still outlast any
handler's run here, and where one does not, the message comes twice, which is a case of its own.

A job whose submitter was killed between its claim and its POST is UNCONFIRMED, and would be sent
again only after 80 minutes of proven silence. It is accounted for, and listed as waiting.

exit codes:
  0  every drop accounted for, nothing lost, doubled, paid twice or leaked
  1  a breach; the report names each
  2  out of time before everything had settled (see --minutes), or wrong usage
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
import urllib.request
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from os import kill
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from local.cloud.cloud import LocalCloud, running_cloud
from local.cloud.processes import PROC, members, start_time
from local.paths import StateDirectory
from local.progress import say
from tests.soak.books import FINAL, Audit, World
from tests.soak.plan import Drop, SoakOptions, background, plan
from tests.support.media import one_second
from tests.support.records import scanned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local.cloud.endpoints import Endpoints

PARAMETERS: Final = {
    "DailyBudgetUsd": "100000",
    "SettleSeconds": "1",
    "AudioUrlTtlSeconds": "600",
    "WebhookRatePerSecond": "1000",
}
SIMULATOR: Final = ("--concurrency", "8", "--run-seconds", "0.05", "--retry-seconds", "1")
DROPS_VISIBILITY, VERDICTS_VISIBILITY = "20", "30"
LOOK_EVERY: Final = 4.0
#: How long everything must have been still before it is believed: a late webhook, a last tick.
STILL: Final = 5.0
#: How long receipts may be behind when everything is still.
PUBLISHING: Final = 30.0
#: How long a worker may take to start on a busy machine.
STARTING: Final = 6.0
OUT_OF_TIME: Final = 2


@dataclass
class Soak:
    """One run against one cloud."""

    cloud: Endpoints
    drops: list[Drop]
    options: SoakOptions
    handlers: Handlers
    cancelled: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.s3 = self.cloud.client("s3")
        self.sqs = self.cloud.client("sqs")
        self.dynamodb = self.cloud.client("dynamodb")
        self.queues = (self.cloud.drops_queue_url, self.cloud.verdicts_queue_url)
        self.started = time.monotonic()
        self.looked = 0.0

    def run(self) -> dict[str, Any]:
        """Drop everything, wait for its end, and audit it."""
        self._prepare()
        for drop in self.drops:
            self._drop(drop)
            self._tend()
        say(f"{self._at()}  all {len(self.drops)} dropped")
        in_time = self._await_end()
        if not in_time:
            say(f"{self._at()}  out of time")
        return self._report(self._audited(in_time=in_time), in_time=in_time)

    def _prepare(self) -> None:
        for url, seconds in zip(self.queues, (DROPS_VISIBILITY, VERDICTS_VISIBILITY), strict=True):
            self.sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": seconds})
        for drop in self.drops:  # while nothing runs yet
            one_second.sound(drop.media)
        rules = [rule for drop in self.drops for rule in drop.rules()]
        self._control("POST", "/faults", rules + background(self.options))

    def _drop(self, drop: Drop) -> None:
        halves = [("audio", one_second.sound(drop.media)), ("sidecar", drop.document())]
        for half, body in halves if drop.audio_first else reversed(halves):
            key = getattr(drop, half)
            answer = self.s3.put_object(Bucket=self.cloud.drop_bucket, Key=key, Body=body)
            setattr(drop, f"{half}_version", answer["VersionId"])
        if drop.twice:
            self._announce(drop.audio)
            self._announce(drop.sidecar)

    def _announce(self, key: str) -> None:
        """S3's event once more, as EventBridge would bring it."""
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Object Created",
            "source": "aws.s3",
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "detail": {"bucket": {"name": self.cloud.drop_bucket}, "object": {"key": key}},
        }
        self._tell(event)

    def _tell(self, message: dict[str, Any]) -> None:
        self.sqs.send_message(QueueUrl=self.queues[0], MessageBody=json.dumps(message))

    def _tend(self) -> None:
        """What goes on beside the dropping and the waiting."""
        self.handlers.kill_one_in_a_while()
        if time.monotonic() - self.looked >= LOOK_EVERY:
            self.looked = time.monotonic()
            self._show(self._records())

    def _await_end(self) -> bool:
        """Whether everything came to its end before patience did."""
        still_since: float | None = None
        while time.monotonic() - self.started < self.options.patience:
            records = self._records()
            self._show(records)
            if not self._is_done(records) or Audit(self.drops, self._world()).run().unsettled:
                still_since = None
                self.handlers.kill_one_in_a_while()
            elif still_since is None:
                still_since = time.monotonic()
            elif time.monotonic() - still_since >= STILL:
                return True
            time.sleep(LOOK_EVERY / 2)
        return False

    def _is_done(self, records: list[dict[str, Any]]) -> bool:
        """Nothing waits in a queue, and no job will move within the minute."""
        asleep = FINAL | {"UNCONFIRMED"}
        return not self._queued() and all(record["status"] in asleep for record in records)

    def _show(self, records: list[dict[str, Any]]) -> None:
        counts = Counter(record["status"] for record in records)
        text = "  ".join(f"{status} {count}" for status, count in sorted(counts.items()))
        killed = self.handlers.killed.total()
        say(f"{self._at()}  {text or 'no record yet'}" + (f"  (killed {killed})" if killed else ""))
        self._cancel(records)

    def _cancel(self, records: list[dict[str, Any]]) -> None:
        """Stop the drops that are to be stopped, once each, as soon as they have a job."""
        wanted = {drop.audio for drop in self.drops if drop.cancel} - self.cancelled
        for record in records:
            key = (record.get("audio") or {}).get("key", "")
            if key in wanted and record["status"] != "WAITING":
                self.cancelled.add(key)
                self._tell({"cancel": record["job_id"]})

    def _world(self) -> World:
        queued = self._queued()
        return World(
            items=self._items(),
            outputs=self._outputs(),
            requests=self._control("GET", "/requests")["requests"],
            queued=queued,
        )

    def _records(self) -> list[dict[str, Any]]:
        return [item for item in self._items() if "status" in item]

    def _items(self) -> list[dict[str, Any]]:
        return scanned(self.dynamodb, self.cloud.jobs_table)

    def _outputs(self) -> list[tuple[str, str | None]]:
        pages = self.s3.get_paginator("list_object_versions").paginate(
            Bucket=self.cloud.output_bucket
        )
        found: list[tuple[str, str | None]] = []
        for page in pages:
            found += [(one["Key"], one["VersionId"]) for one in page.get("Versions", [])]
            found += [(one["Key"], None) for one in page.get("DeleteMarkers", [])]
        return found

    def _queued(self) -> int:
        kinds = ("", "NotVisible", "Delayed")
        return sum(
            self._attribute(url, f"ApproximateNumberOfMessages{kind}")
            for url in self.queues
            for kind in kinds
        )

    def _dead(self) -> int:
        """Messages in any other queue: dead letters."""
        urls = set(self.sqs.list_queues().get("QueueUrls", [])) - set(self.queues)
        return sum(self._attribute(url, "ApproximateNumberOfMessages") for url in urls)

    def _attribute(self, url: str, name: str) -> int:
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])
        return int(answer["Attributes"].get(name, 0))

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - loopback
            self.cloud.simulator_url + path,
            json.dumps(body).encode() if body is not None else None,
            {"Content-Type": "application/json"},
            method=method,
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=60) as answer:
            return json.load(answer)

    def _at(self) -> str:
        return f"{time.monotonic() - self.started:6.0f} s"

    def _audited(self, *, in_time: bool) -> Audit:
        """The last audit. While jobs move, what is read is no snapshot: only what stays counts."""
        audit = self._audit()
        if not in_time:
            time.sleep(STILL)
            before, audit = audit, self._audit()
            audit.breaches = [breach for breach in audit.breaches if breach in before.breaches]
        return audit

    def _audit(self) -> Audit:
        """With the receipts, which may be some seconds behind."""
        deadline = time.monotonic() + PUBLISHING
        while True:
            receipts = self._receipts()  # first: a record that moves meanwhile is looked at again
            audit = Audit(self.drops, replace(self._world(), receipts=receipts)).run()
            is_stale = any(breach.startswith("stale_receipts") for breach in audit.breaches)
            if not is_stale or time.monotonic() > deadline:
                return audit
            time.sleep(1)

    def _receipts(self) -> dict[str, Any]:
        keys = {key for key, _ in self._outputs() if key.endswith(".status.json")}
        bucket = self.cloud.output_bucket
        return {key: json.load(self.s3.get_object(Bucket=bucket, Key=key)["Body"]) for key in keys}

    def _struck(self) -> Counter[str]:
        """How often each fault struck, as the dial counts."""
        struck = Counter[str]()
        names = {drop.prompt: drop.fault.name for drop in self.drops if drop.fault}
        for rule in self._control("GET", "/faults")["faults"]:
            prompt = (rule.get("match") or {}).get("prompt_contains")
            if prompt is None:
                struck[f"{rule['stage']} {rule['action']}, at random"] += rule["struck"]
            elif prompt in names:
                struck[names[prompt]] += rule["struck"]
        return struck

    def _report(self, audit: Audit, *, in_time: bool) -> dict[str, Any]:
        return {
            "seconds": round(time.monotonic() - self.started),
            **audit.figures,
            **dict.fromkeys(MUST_BE_ZERO, 0),
            **Counter(breach.partition(":")[0] for breach in audit.breaches),
            "announced_twice": sum(drop.twice for drop in self.drops),
            "bad": sum(drop.bad is not None for drop in self.drops),
            "cancels": len(self.cancelled),
            "given_a_fault": sum(drop.fault is not None for drop in self.drops),
            "struck": dict(self._struck()),
            "killed": dict(self.handlers.killed),
            "dead_letters": self._dead(),
            "exceptions": audit.exceptions,
            "waiting": audit.waiting,
            "still_moving": audit.unsettled,
            "breaches": audit.breaches,
            "in_time": in_time,
        }


@dataclass
class Handlers:
    """The Lambda workers of one emulator, killed one at a time; no other process is touched."""

    emulator: int
    every: float
    seed: int
    killed: Counter[str] = field(default_factory=Counter)
    #: When each worker was first noticed.
    seen: dict[tuple[int, str], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 - repeatable, no secret
        self.next = time.monotonic() + self.every

    def kill_one_in_a_while(self) -> None:
        """Kill one, when its time has come; 0 seconds is never."""
        if not self.every:
            return
        workers = self._started()
        if time.monotonic() < self.next or not workers:
            return
        self.next = time.monotonic() + self.every * self.chance.uniform(0.5, 1.5)
        pid, began = self.chance.choice(workers)
        name = _function(pid)
        with suppress(ProcessLookupError):
            if start_time(pid) == began:
                kill(pid, signal.SIGKILL)
                self.killed[name] += 1

    def _started(self) -> list[tuple[int, str]]:
        """The workers that have been there for a while, by pid and start.

        A worker killed while it starts takes its neighbours' code folder with it: the emulator's
        doing, not a handler's death.
        """
        now = time.monotonic()
        found = [(pid, start_time(pid)) for pid in members(self.emulator) if pid != self.emulator]
        alive = [(pid, began) for pid, began in found if began is not None]
        self.seen = {worker: self.seen.get(worker, now) for worker in alive}
        return sorted(worker for worker, since in self.seen.items() if now - since >= STARTING)


def _function(pid: int) -> str:
    """Which function a worker is for, where the system tells."""
    try:
        environment = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return "handler"
    found = (one for one in environment if one.startswith(b"AWS_LAMBDA_FUNCTION_NAME="))
    name = next(found, b"=handler").partition(b"=")[2].decode()
    known = ("Submit", "Store", "Webhook", "Reconcile", "Publish")
    return next((one.lower() for one in known if one.lower() in name.lower()), name)


def soak(options: SoakOptions, folder: Path) -> dict[str, Any]:
    """Run one, in a cloud whose state is in ``folder``; the figures, breaches among them."""
    simulator = (*SIMULATOR, "--seed", str(options.seed))
    parameters = {**PARAMETERS, "MaxInFlight": str(options.in_flight)}
    with running_cloud(folder, parameters, simulator) as cloud:
        run = LocalCloud(StateDirectory(folder)).run()
        emulator = next(one.pid for one in (run.processes if run else []) if one.name == "emulator")
        handlers = Handlers(emulator, options.kill_every, options.seed)
        return Soak(cloud, plan(options), options, handlers).run()


#: What must be 0, and what it is called in the table.
MUST_BE_ZERO: Final = {
    "lost": "lost: no record",
    "lost_videos": "lost: succeeded without its video",
    "unexpected_ends": "ended otherwise than the drop explains",
    "ends_without_reason": "failed or rejected without a reason",
    "double_jobs": "drops with two jobs",
    "strange_records": "records that no drop explains",
    "double_videos": "videos with two versions",
    "lost_copies": "stable keys without a copy",
    "orphan_videos": "videos that no job tells of",
    "paid_twice": "jobs paid twice",
    "paid_though_bad": "bad drops paid",
    "unexplained_requests": "repeated requests without a reason",
    "strange_requests": "requests that no drop explains",
    "stale_receipts": "receipts that are behind their records",
    "leaked_slots": "leaked slots",
    "leaked_reservations": "ended jobs that hold money",
    "leaked_usd": "days with leaked reservations",
    "miscounted_usd": "budgets that are not what the records say",
    "billed_above_reserved": "bills above what was reserved, undialled",
    "billed_above_recorded": "bills above what the record says",
}


def table(figures: dict[str, Any]) -> str:
    """The figures for a person."""
    rows: list[tuple[str, Any]] = [
        ("dropped", figures["dropped"]),
        ("accounted", figures["accounted"]),
        *((f"  {status}", count) for status, count in sorted(figures["statuses"].items())),
        ("announced twice / bad / cancels", "{announced_twice} / {bad} / {cancels}"),
        ("given a fault", figures["given_a_fault"]),
        *((f"  {name}", count) for name, count in sorted(figures["struck"].items())),
        ("handlers killed", sum(figures["killed"].values())),
        *((f"  {name}", count) for name, count in sorted(figures["killed"].items())),
        ("accepted by fal / paid / videos", "{accepted} / {paid} / {videos}"),
        ("billed by fal / committed, USD", "{billed_usd} / {committed_usd}"),
        ("waiting for proven silence", figures["waiting_for_proven_silence"]),
        ("still moving", figures["unsettled"]),
        ("dead letters", figures["dead_letters"]),
        ("seconds from fal's end to the bucket, p50", "{home_p50}"),
        ("seconds from fal's end to the bucket, most", "{home_most}"),
        *((text, figures.get(name, 0)) for name, text in MUST_BE_ZERO.items()),
        ("seconds", figures["seconds"]),
    ]
    lines = [f"{name:<44} {str(value).format(**figures):>16}" for name, value in rows]
    for title in ("exceptions", "waiting", "still_moving", "breaches"):
        if figures[title]:
            lines += ["", title.replace("_", " ") + ":", *(f"  {one}" for one in figures[title])]
    return "\n".join(lines) + "\n"


def exit_code(figures: dict[str, Any]) -> int:
    """The exit code."""
    if figures["breaches"]:
        return 1
    return 0 if figures["in_time"] else OUT_OF_TIME


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    asked = _parser().parse_args(arguments)
    minutes = asked.minutes or 8 + asked.drops / 60
    options = SoakOptions(
        drops=asked.drops,
        faults=asked.faults,
        seed=asked.seed,
        quick=asked.quick,
        kill_every=asked.kill_every,
        patience=minutes * 60,
        webhooks=not asked.no_webhooks,
        in_flight=asked.in_flight,
        media=asked.media,
    )
    with tempfile.TemporaryDirectory(prefix="phonoscene-soak-", ignore_cleanup_errors=True) as made:
        folder = asked.folder or Path(made)
        figures = soak(options, folder.absolute())  # handlers run elsewhere
    shown = json.dumps(figures, indent=2) + "\n" if asked.json else table(figures)
    sys.stdout.write(shown)
    return exit_code(figures)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--drops", type=_count, default=100, help="pairs to drop (100)")
    add("--faults", type=_share, default=0.2, help="share of them that meets a fault, 0-1 (0.2)")
    add("--seed", type=int, default=7, help="the same seed drops the same (7)")
    add("--kill-every", type=float, default=5.0, help="seconds between kills; 0: none (5)")
    add("--quick", action="store_true", help="only faults whose way out takes seconds")
    add("--no-webhooks", action="store_true", help="fal sends none: reconciling must do it all")
    add("--in-flight", type=_count, default=40, help="MaxInFlight (40)")
    add(
        "--media",
        choices=one_second.CHOICES,
        default=one_second.ALL,
        help="formats and muxes (all)",
    )
    add("--minutes", type=float, help="give up after so many (8, and 1 more per 60 drops)")
    add("--folder", type=Path, help="keep the cloud's logs here")
    add("--json", action="store_true", help="the figures as JSON")
    return parser


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _share(text: str) -> float:
    if not 0 <= (share := float(text)) <= 1:
        raise argparse.ArgumentTypeError("from 0 to 1")
    return share


if __name__ == "__main__":
    sys.exit(main())
