"""Measures cold starts: a bare process imports a built function and handles its first event."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import subprocess
import sys
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from benchmarks import lambdas
from benchmarks.cold.server import first_events
from benchmarks.figures import Row, Sample, Section, Table, paragraphs, seconds
from benchmarks.transfer.ground import issue
from benchmarks.transfer.wire import LOOPBACK
from local.paths import PROJECT
from tests.support.fakes.world import FUNCTIONS, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROUNDS: Final = 9
START: Final = Path(__file__).parent / "cold" / "start.py"
PLAIN: Final = "plain"
SDK: Final = "boto3"
MOST: Final = {"webhook": 1.35, "store": 1.5, "publish": 1.5, "submit": 2.1, "reconcile": 2.1}
HOSTS: Final = ("v3.fal.media", "queue.fal.run", "rest.fal.ai", "api.fal.ai")
#: How many packages of an import tree are listed.
LISTED: Final = 6
_IMPORTED: Final = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)")


@dataclass(frozen=True)
class Started:
    """CPU seconds of the import and of the first event."""

    init: float
    event: float


@dataclass(frozen=True)
class Ground:
    """Where the stand-ins for AWS and fal listen, and the authority that they are known by."""

    aws: int
    fal: int
    authority: Path
    events: Path

    def start(self, name: str) -> Started:
        """One cold start."""
        self._reset()
        done = self._run(name, [])
        data = json.loads(done.stderr.splitlines()[-1])
        if name != SDK and not is_fine(data["answer"]):
            raise RuntimeError(f"{name} answered {data['answer']}:\n{done.stdout}")
        return Started(data["init"], data["event"])

    def tree(self, name: str) -> Counter[str]:
        """Microseconds of each package's own modules, as they are imported."""
        spent: Counter[str] = Counter()
        for took, module in _IMPORTED.findall(self._run(name, ["-X", "importtime"]).stderr):
            spent[module.partition(".")[0]] += int(took)
        return spent

    def _run(self, name: str, options: list[str]) -> subprocess.CompletedProcess[str]:
        folder = "" if name in (SDK, PLAIN) else name
        more = [START.parent] if name == PLAIN else []
        command, bare = lambdas.bare(folder, *more)
        event = [] if name == SDK else [str(self.events / f"{name}.json")]
        module = name if name in (SDK, PLAIN) else "app"
        return subprocess.run(  # noqa: S603 - our own words
            [*command, *options, str(START), module, *event],
            env=bare | self._environment(name),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

    def _environment(self, name: str) -> dict[str, str]:
        bundle = str(self.authority)
        own = environment(name) if name in FUNCTIONS else {"QUEUE_URL": "verdicts"}
        return own | {
            "HTTPS_PROXY": f"http://{LOOPBACK}:{self.fal}",
            "NO_PROXY": LOOPBACK,
            "SSL_CERT_FILE": bundle,
            "AWS_CA_BUNDLE": bundle,
            "AWS_ENDPOINT_URL": f"https://{LOOPBACK}:{self.aws}",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_LAMBDA_FUNCTION_NAME": "a-function",
        }

    def _reset(self) -> None:
        """Put the stand-ins back to their first state."""
        context = ssl.create_default_context(cafile=str(self.authority))
        connection = http.client.HTTPSConnection(LOOPBACK, self.aws, context=context)
        connection.request("POST", "/reset")
        connection.getresponse().read()
        connection.close()


def is_fine(answer: Any) -> bool:
    """Whether a handler did what it should: measured, accepted, or no message failed."""
    if isinstance(answer, dict) and "errors" in answer:
        return False
    if isinstance(answer, dict) and "statusCode" in answer:
        return int(answer["statusCode"]) == HTTPStatus.ACCEPTED
    return isinstance(answer, dict) and not answer.get("batchItemFailures")


@contextmanager
def ground() -> Iterator[Ground]:
    """The stand-ins in a process of their own, for the body's time."""
    with TemporaryDirectory(prefix="starting-") as folder:
        here = Path(folder)
        certificate, authority = issue(here, *HOSTS)
        for name, event in first_events().items():
            (here / f"{name}.json").write_text(json.dumps(event))
        command = [sys.executable, "-m", "benchmarks.cold.server", str(certificate)]
        with subprocess.Popen(  # noqa: S603 - our own words
            command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout
            assert process.stdin
            try:
                fal, aws = (int(process.stdout.readline()) for _ in range(2))
                yield Ground(aws, fal, authority, here)
            finally:
                process.stdin.close()
                process.wait(10)


def measure() -> Section:
    """Everybody in turn, round after round."""
    names = (SDK, PLAIN, *FUNCTIONS)
    starts: dict[str, list[Started]] = defaultdict(list)
    with ground() as servers:
        for _ in range(ROUNDS):
            for name in names:
                starts[name].append(servers.start(name))
        trees = {name: servers.tree(name) for name in FUNCTIONS}
    section = Section("Cold start")
    section.rows += [_row(name, starts) for name in (*FUNCTIONS, PLAIN)]
    section.tables.append(("Import, first event, and both:", _times(starts)))
    title = "The largest packages of each import, by the time of their own modules, profiled:"
    section.tables.append((title, _trees(trees)))
    section.notes += paragraphs(NOTES)
    return section


def _row(name: str, starts: Mapping[str, list[Started]]) -> Row:
    ours, theirs = (Sample.of(one.init for one in starts[each]) for each in (name, SDK))
    shown = (ours.median, ours.formatted(seconds)), (theirs.median, theirs.formatted(seconds))
    what = "a handler with everything at the top" if name == PLAIN else name
    return Row.at_most(f"{what}: import, to `import boto3`", *shown, MOST.get(name))


def _times(starts: Mapping[str, list[Started]]) -> Table:
    lines = []
    for name, measured in starts.items():
        init, event = (
            Sample.of(values)
            for values in zip(*((one.init, one.event) for one in measured), strict=True)
        )
        both = Sample.of(one.init + one.event for one in measured)
        lines.append((name, *(one.formatted(seconds) for one in (init, event, both))))
    return Table(("process", "import", "first event", "both"), tuple(lines))


def _trees(trees: Mapping[str, Counter[str]]) -> Table:
    lines = tuple(
        (
            name,
            ", ".join(f"{package} {took / 1000:.0f}" for package, took in tree.most_common(LISTED)),
        )
        for name, tree in trees.items()
    )
    return Table(("function", "packages, in ms"), lines)


NOTES: Final = """\
Fresh processes with `-S` and `-B` that see the function's folder, the built layer and a folder
with Lambda's own packages (compiled), nothing else. Times are the process's own CPU
time. Stand-ins for AWS and fal run in another
process. The kernel's page cache is warm, which a real cold start's is not.

Where a function falls short: pydantic, which takes 50 ms before there is a model, and the models,
which would be built at the first event if not at the import; in submit fal_client. The layer's
bytecode took half of each import away; what is left delays only the next step of a
job that takes fal half a minute.

The handler with everything at the top also makes its clients there; the others make theirs at the
first event.
"""
