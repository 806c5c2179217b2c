"""Whatever AWS answers, a command ends with a sentence and a documented code, never a trace."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError
from rich.console import Console

from phonoscene.jobs import JobStatus
from phonoscene_cli import app
from phonoscene_cli.errors import NOT_FINE, UNREACHABLE, CliError, WrongUsage
from phonoscene_cli.failures import explained
from phonoscene_cli.ui import terminal
from tests.integration.moto_stack import client, over_http
from tests.integration.workspace import Workspace, an_id
from tests.support.documented import PAGE
from tests.support.media.samples import silence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.desk import Desk
    from tests.integration.moto_stack import Cloud

COMMANDS = {
    "drop": ["song.wav", "--prompt", "x", "--yes", "--timeout", "0s"],
    "jobs": [],
    "show": [an_id(1)],
    "watch": [an_id(1), "--timeout", "0s"],
    "retry": [an_id(1), "--yes"],
    "cancel": [an_id(2), "--timeout", "0s"],
    "doctor": [],
    "audit": ["--older-than", "0s"],
    "backfill": ["", "--older-than", "0s", "--yes"],
    "cost": [],
    "redrive": [],
    "share": [an_id(1)],
}
SERVICES = ("s3", "dynamodb", "sqs", "ssm")
#: Each command with the services that it calls, found by its first test: another's failure is none.
CALLED: dict[str, set[str]] = {}


class Raw(io.BytesIO):
    """A body as urllib3 hands it out."""

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.read()


def answer(status: int, body: bytes) -> Callable[..., Any]:
    def send(request: Any, **_: Any) -> AWSResponse:
        headers: Any = {"content-length": str(len(body))}
        return AWSResponse(request.url, status, headers, Raw(body))

    return send


def breaks_off(error: Exception) -> Callable[..., Any]:
    def send(**_: Any) -> Any:
        raise error

    return send


def refuses(status: int, code: str) -> Callable[..., Any]:
    """In the form of the service that is asked."""
    xml = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    text = f'{{"__type": "x#{code}", "message": "no"}}'.encode()

    def send(request: Any, **_: Any) -> AWSResponse:
        body = xml if ".s3." in request.url or "s3.amazonaws" in request.url else text
        sent: AWSResponse = answer(status, b"" if request.method == "HEAD" else body)(request)
        return sent

    return send


FAILURES = {
    "denied": refuses(403, "AccessDeniedException"),
    "kms": refuses(400, "KMS.DisabledException"),
    "throttled": refuses(400, "ThrottlingException"),
    "expired": refuses(400, "ExpiredTokenException"),
    "timeout": breaks_off(ReadTimeoutError(endpoint_url="https://aws")),
    "unreachable": breaks_off(EndpointConnectionError(endpoint_url="https://aws")),
    "no credentials": breaks_off(NoCredentialsError()),
    "broken": answer(200, b"<<<{"),
    "empty": answer(200, b""),
    "a page": answer(502, b"<html>Bad Gateway</html>"),
}


@pytest.fixture
def busy(desk: Desk, cloud: Cloud, tmp_path: Path, environment: pytest.MonkeyPatch) -> Desk:
    """There is something for every command to do."""
    environment.chdir(tmp_path)
    environment.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    environment.setattr(time, "sleep", lambda _: None)
    (tmp_path / "song.wav").write_bytes(silence(1))
    cloud.drop("a.wav", silence(1))
    scene = Workspace.on_moto(cloud)
    scene.clock.now = datetime.now(UTC)  # as the command line's
    scene.bring(JobStatus.FAILED, 1, name="failed")
    scene.bring(JobStatus.SUBMITTED, 2, name="moving")
    cloud.sqs.send_message(QueueUrl=desk.urls["DropsDeadLetterQueueUrl"], MessageBody="{}")
    return desk


@pytest.fixture
def calls() -> Iterator[set[str]]:
    """The services that are called in a test."""
    found: set[str] = set()
    notes = {service: partial(note, found, service) for service in SERVICES}
    for service, noted in notes.items():
        client(service).meta.events.register_first(f"before-send.{service}", noted)
    yield found
    for service, noted in notes.items():
        client(service).meta.events.unregister(f"before-send.{service}", noted)


def note(found: set[str], service: str, **_: Any) -> None:
    found.add(service)


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_failure_of_aws_shows_a_trace(
    busy: Desk, command: str, failure: str, calls: set[str]
) -> None:
    for service in sorted(CALLED.get(command, SERVICES)):
        events, name = client(service).meta.events, f"before-send.{service}"
        events.register_first(name, FAILURES[failure])
        try:
            with over_http(client("dynamodb")):
                result = busy.says(command, *COMMANDS[command])
        finally:
            events.unregister(name, FAILURES[failure])

        assert "Traceback" not in result.err
        assert result.code in {0, NOT_FINE, UNREACHABLE}
        if result.code and command != "doctor":
            assert result.err.splitlines()[-1].startswith("error: ")
        if failure not in {"broken", "empty"}:
            assert "Unexpected" not in result.err
    CALLED.setdefault(command, calls)


#: What goes wrong there is a sentence on a page, or has tests in tests/e2e/test_deploy.py.
ELSEWHERE = {"board", "deploy"}


def test_every_command_is_tried() -> None:
    assert set(COMMANDS) | ELSEWHERE == {
        one.callback.__name__ for one in app.app.registered_commands if one.callback
    }


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (CliError("It is so. Do that."), 1, "It is so. Do that."),
        (WrongUsage("It is so. Do that."), 2, "It is so. Do that."),
        (
            ClientError({"Error": {"Code": "AccessDenied", "Message": "x"}}, "GetObject"),
            3,
            "doctor",
        ),
        (ClientError({"Error": {"Code": "KMS.DisabledException"}}, "GetObject"), 3, "KMS key"),
        (ClientError({"Error": {"Code": "ExpiredToken"}}, "GetItem"), 3, "credentials"),
        (ClientError({"Error": {"Code": "SlowDown"}}, "GetObject"), 3, "again"),
        (ClientError({"Error": {"Code": "503"}}, "HeadObject"), 3, "again"),
        (ClientError({"Error": {"Code": "RequestThrottled"}}, "SendMessage"), 3, "again"),
        (ClientError({"Error": {"Code": "NoSuchBucket"}}, "GetObject"), 3, "doctor"),
        (ClientError({"Error": {}}, "GetObject"), 3, "doctor"),
        (NoCredentialsError(), 3, "credentials"),
        (ReadTimeoutError(endpoint_url="https://aws"), 3, "network"),
        (ResponseParserError("Unable to parse response\nand more"), 3, "again"),
        (PermissionError(13, "Permission denied", "song.mp3"), 1, "song.mp3: Permission denied"),
        (OSError("no strerror"), 1, "no strerror"),
        (KeyError("Responses"), 1, "PHONOSCENE_DEBUG"),
        (RecursionError(), 1, "PHONOSCENE_DEBUG"),
    ],
    ids=repr,
)
def test_every_failure_has_its_sentence_and_its_code(
    error: Exception, code: int, said: str
) -> None:
    sentence, ends_with = explained(error)

    assert ends_with == code
    assert said in sentence
    assert "\n" not in sentence
    assert sentence.endswith((".", "?"))


def test_the_trace_is_shown_where_it_is_asked_for(
    busy: Desk, environment: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("Responses")

    environment.setattr("phonoscene_cli.stack.jobs_reader.Reader.get", fail)
    without = busy.says("show", an_id(1))
    environment.setenv("PHONOSCENE_DEBUG", "1")
    shown = busy.says("show", an_id(1))

    assert "Traceback" not in without.err
    assert "PHONOSCENE_DEBUG=1" in without.err
    assert "Traceback" in shown.err
    assert without.code == shown.code == NOT_FINE
    assert "`PHONOSCENE_DEBUG=1`" in PAGE


def test_a_drop_that_cannot_be_followed_is_named_all_the_same(
    busy: Desk, environment: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://aws")

    environment.setattr("phonoscene_cli.follow.follow.FollowedJobs.run", fail)

    result = busy.says("drop", "song.wav", "--prompt", "x", "--yes", "--watch")
    program = busy.says("drop", "song.wav", "--prompt", "x", "--yes", "--watch", "--json")

    assert result.code == UNREACHABLE
    assert result.out.startswith("job: ")
    assert len(program.data["job_ids"]) == 1


# pipes --------------------------------------------------------------------------------------------

#: What is written without a command, or beside one.
WORDS = {
    "version": ["--version"],
    "help": ["--help"],
    "help of a command": ["jobs", "--help"],
    "completion": ["--show-completion"],
}


class Broken(io.RawIOBase):
    """A stream that takes nothing, for one of the reasons that there are."""

    def __init__(self, number: int) -> None:
        self.number = number

    def writable(self) -> bool:
        return True

    def write(self, _: Any, /) -> int:
        raise OSError(self.number, os.strerror(self.number))


def broken(number: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(Broken(number)), "utf-8")


#: For them there is nothing, so they have no result.
WITHOUT_RESULT = {"retry", "share"}


@pytest.mark.parametrize("case", [*sorted(COMMANDS.keys() - WITHOUT_RESULT), *WORDS])
def test_a_result_that_cannot_be_written_is_no_success(busy: Desk, case: str) -> None:
    busy.patch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))
    busy.patch.setattr(terminal, "results", Console())  # which keeps what it could not write
    words = WORDS.get(case) or [case, *COMMANDS[case]]
    busy.patch.setattr(sys, "stdout", broken(errno.EPIPE))
    left = busy.says(*words)
    busy.patch.setattr(sys, "stdout", broken(errno.ENOSPC))
    full = busy.says(*words)

    assert left.code == 141
    assert "error:" not in left.err
    assert full.code == NOT_FINE
    sentence = "error: The result cannot be written to stdout: No space left on device."
    assert full.err.splitlines()[-1].startswith(sentence)


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["jobs"], 0),
        (["drop", "song.wav", "--prompt", "x", "--yes"], 0),
        (["show", "nope"], 1),
        (["jobs", "--nope"], 2),
        (["drop", "song.wav", "--prompt", "x"], 2),
    ],
)
def test_messages_that_cannot_be_written_decide_nothing(
    busy: Desk, words: list[str], code: int, number: int
) -> None:
    busy.patch.setattr(sys, "stderr", broken(number))

    result = busy.says(*words)

    assert result.code == code
    assert bool(result.out) == (code == 0)


@pytest.mark.parametrize(
    ("words", "streams", "code"),
    [
        (["--version"], "2>&1 | true", 141),
        (["jobs", "--help"], ">/dev/full", 1),
        (["nope"], "2>&1 | true", 2),
        (["nope"], "2>/dev/full", 2),
        (["nope"], "<&- >&- 2>&-", 2),
        (["--version"], ">&-", 1),
    ],
)
def test_the_interpreter_adds_nothing_to_what_could_not_be_written(
    words: list[str], streams: str, code: int
) -> None:
    script = f'"$@" {streams}; exit "${{PIPESTATUS[0]}}"'
    program = [sys.executable, "-m", "phonoscene_cli", *words]
    ended = subprocess.run(  # noqa: S603 - our own words
        ["bash", "-c", script, "bash", *program],  # noqa: S607 - the shell of the tests
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert ended.returncode == code
    assert len(ended.stderr.splitlines()) == (code == 1)
