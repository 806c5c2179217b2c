"""Whatever AWS answers, a command ends with a sentence and a documented code, never a trace."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
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

from phonoscene.jobs import JobStatus
from phonoscene_cli import app
from phonoscene_cli.errors import NOT_FINE, UNREACHABLE, CliError, WrongUsage
from phonoscene_cli.failures import explained
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


def test_every_command_is_tried() -> None:
    assert set(COMMANDS) == {
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


@pytest.mark.parametrize("words", [["--help"], ["jobs", "--help"], ["--show-completion"]])
def test_a_reader_that_leaves_is_no_error_of_ours(words: list[str]) -> None:
    command = [sys.executable, "-m", "phonoscene_cli", *words]
    with subprocess.Popen(  # noqa: S603 - our own words
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as made:
        assert made.stdout
        assert made.stderr
        made.stdout.close()
        found = made.stderr.read()
        code = made.wait(60)

    assert found == ""
    assert code in {0, 1, 141}


def test_a_command_whose_reader_leaves_ends_as_a_shell_counts_it() -> None:
    script = (
        "import os, sys\n"
        "from phonoscene_cli import app\n"
        "from phonoscene_cli.ui import terminal\n"
        "def many():\n"
        "    for n in range(100_000): terminal.line(f'line {n}')\n"
        "def few(): terminal.print_json({'one': 1})\n"
        "app.app.command()(many); app.app.command()(few)\n"
        "app.main()\n"
    )
    for name in ("many", "few"):
        reader, writer = os.pipe()
        os.close(reader)
        made = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, "-c", script, name], stdout=writer, stderr=subprocess.PIPE, check=False
        )
        os.close(writer)

        assert (made.returncode, made.stderr) == (141, b"")
