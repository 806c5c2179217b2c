"""Options are read before anything is done, and they win over the environment."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import typer.main
from botocore.config import Config

from local.cloud.ports import listen
from phonoscene.jobs import JobStatus
from phonoscene_cli import app
from phonoscene_cli.errors import StackUnreachable
from phonoscene_cli.stack.connection import Chosen, Stack
from tests.integration.workspace import Workspace, an_id
from tests.support.media.samples import silence

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.desk import Desk
    from tests.integration.moto_stack import Cloud

GROUP: Any = typer.main.get_command(app.app)
#: What each kind of value is not, by the metavar of its options.
BAD = {
    "SPAN": "5",
    "TIME": "soon",
    "DAY": "tomorrow's",
    "N/s": "0/s",
    "FIELD=VALUE": "fps",
    "FILE|FOLDER/": "/nonexistent/video.mp4",
}
#: Texts of which any is a fair one; what they name is looked for before anything is done.
FREE = {"TEXT", "FILE|URL", "FOLDER", "NAME", "FILE"}
WORDS = {
    "drop": ["song.wav", "--prompt", "x", "--yes"],
    "retry": [an_id(1), "--yes"],
    "cancel": [an_id(1)],
    "show": [an_id(1)],
    "watch": [an_id(1)],
    "backfill": ["", "--yes"],
}


def options() -> list[tuple[str, str, str]]:
    """Every option that takes a value: its command, its name, and a value that it cannot have."""
    found = []
    for command, one in GROUP.commands.items():
        for parameter in one.params:
            if parameter.param_type_name != "option" or parameter.is_flag:
                continue
            if parameter.metavar not in FREE:
                option = max(parameter.opts, key=len)
                found.append((command, option, BAD.get(parameter.metavar, "none of these")))
    return found


@pytest.fixture
def asked(desk: Desk) -> list[str]:
    """Each call of AWS's that a command makes."""
    calls: list[str] = []
    stack = desk.stack

    def listened() -> Any:
        made = stack()
        for service in ("s3", "dynamodb", "sqs", "ssm"):
            events = made.client(service).meta.events
            events.register("before-call", lambda model, **_: calls.append(model.name))
        return made

    desk.patch.setattr(desk, "stack", listened)
    return calls


@pytest.mark.parametrize(("command", "option", "value"), options())
def test_a_wrong_option_is_refused_before_aws_is_asked_anything(  # noqa: PLR0913, PLR0917 - fixtures
    desk: Desk,
    asked: list[str],
    tmp_path: Path,
    environment: pytest.MonkeyPatch,
    command: str,
    option: str,
    value: str,
) -> None:
    environment.chdir(tmp_path)
    (tmp_path / "song.wav").write_bytes(silence(1))

    result = desk.says(command, *WORDS.get(command, []), option, value)

    assert (result.code, result.out) == (2, "")
    assert value in result.err or option in result.err
    assert asked == []


GLOBAL = [
    (max(one.opts, key=len), [] if one.is_flag else ["x"])
    for one in GROUP.params
    if one.name not in {"help", "install_completion", "show_completion"}
]


@pytest.mark.parametrize("command", GROUP.commands)
@pytest.mark.parametrize(("option", "value"), GLOBAL)
def test_an_option_that_goes_before_the_command_says_so_after_it(
    desk: Desk, asked: list[str], command: str, option: str, value: list[str]
) -> None:
    result = desk.says(command, *WORDS.get(command, []), option, *value)

    typed = " ".join([option, *(["VALUE"] if value else [])])
    assert result.code == 2
    assert f"`phonoscene {typed} {command} …`" in result.err
    assert "Possible options" not in result.err
    assert asked == []


@pytest.mark.parametrize(
    ("option", "typed"), [("--json", "--json"), ("-y", "-y"), ("--limit", "--limit VALUE")]
)
def test_an_option_that_goes_after_the_command_says_so_before_it(
    desk: Desk, option: str, typed: str
) -> None:
    result = desk.says(option, "jobs")

    assert result.code == 2
    assert f"`phonoscene COMMAND … {typed}`" in result.err


@pytest.mark.parametrize(
    ("command", "option"), [("jobs", "--limit"), ("backfill", "--limit"), ("redrive", "--most")]
)
def test_a_number_beyond_all_counting_is_refused(
    desk: Desk, asked: list[str], command: str, option: str
) -> None:
    result = desk.says(command, *WORDS.get(command, []), option, "9" * 20)

    assert (result.code, asked) == (2, [])
    assert option in result.err


def test_all_global_options_are_tried() -> None:
    named = {"--stack", "--local", "--endpoints", "--profile", "--region", "--version"}

    assert {option for option, _ in GLOBAL} == named


@pytest.mark.parametrize(
    ("setting", "option"),
    [
        ("prompt=y", ()),
        ("image_url=a.png", ("--image", "b.png")),
        ("end_image_url=a.png", ("--end-image", "b.png")),
    ],
)
def test_a_field_with_two_values_is_refused_before_aws_is_asked_anything(
    desk: Desk, asked: list[str], setting: str, option: tuple[str, ...]
) -> None:
    words = ("drop", "song.wav", "--prompt", "x", "--yes")

    result = desk.says(*words, "--set", setting, *option)

    assert result.code == 2
    assert {setting.partition("=")[0], "--set"} <= set(result.err.split())
    assert asked == []


def test_the_options_with_a_form_of_their_own_are_all_tried() -> None:
    assert {value for _, _, value in options()} == {*BAD.values(), "none of these"}
    assert ("drop", "--timeout", "5") in options()


def test_an_out_of_another_format_is_refused_before_anything_is_dropped(
    desk: Desk, cloud: Cloud, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.chdir(tmp_path)
    (tmp_path / "song.wav").write_bytes(silence(1))
    words = ("drop", "song.wav", "--prompt", "x", "--set", "video_output_type=PRORES4444 (.mov)")

    result = desk.says(*words, "--out", "wrong.mp4", "--yes")

    assert result.code == 2
    assert "wrong.mov" in result.err
    assert "Versions" not in cloud.s3.list_object_versions(Bucket="drops")


def test_a_watch_refuses_an_out_of_another_format_before_it_watches(
    desk: Desk, cloud: Cloud, tmp_path: Path
) -> None:
    arguments = {"prompt": "x", "video_output_type": "GIF (.gif)"}
    job = Workspace.on_moto(cloud).bring(JobStatus.SUBMITTED, arguments=arguments)

    result = desk.says("watch", job.job_id, "--out", str(tmp_path / "a.mp4"))

    assert result.code == 2
    assert "a.gif" in result.err


@pytest.mark.parametrize("cursor", ["{tmp}/folder", "{tmp}/file/cursor"])
def test_a_cursor_that_cannot_be_written_is_refused_before_anything_is_sent(
    desk: Desk, tmp_path: Path, cursor: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    desk.cloud.drop("a.wav", silence(1))
    words = ("backfill", "", "--older-than", "0s", "--yes", "--cursor")

    result = desk.says(*words, cursor.format(tmp=tmp_path))

    assert result.code == 2
    assert "--cursor" in result.err
    assert desk.messages("DropsQueueUrl") == []


def test_a_cursor_survives_a_restart_that_is_not_agreed_to(desk: Desk, tmp_path: Path) -> None:
    desk.cloud.drop("a.wav", silence(1))
    desk.cloud.drop("b.wav", silence(1))
    cursor = tmp_path / "cursor.json"
    words = ("backfill", "", "--older-than", "0s", "--cursor", str(cursor))
    desk.says(*words, "--limit", "1", "--yes")
    before = cursor.read_text()

    result = desk.says(*words, "--restart")

    assert result.code == 2
    assert cursor.read_text() == before


# which stack --------------------------------------------------------------------------------------


def chosen(environment: pytest.MonkeyPatch, *words: str, **variables: str) -> Chosen | int:
    """What a command line and an environment choose; or the exit code that refuses it."""
    seen: list[Chosen] = []
    environment.setattr(app, "Chosen", Spy(seen))
    environment.setattr("sys.argv", ["phonoscene", *words, "jobs"])
    for name in ("PHONOSCENE_STACK", "PHONOSCENE_ENDPOINTS"):
        environment.delenv(name, raising=False)
    for name, value in variables.items():
        environment.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        app.main()
    return seen[0] if seen else int(str(ended.value.code))


class Spy:
    """Remembers the choice, and reaches no stack."""

    def __init__(self, seen: list[Chosen]) -> None:
        self.seen = seen

    def of(self, *answer: Any) -> Any:
        self.seen.append(Chosen.of(*answer))
        return self


HERE = {"PHONOSCENE_ENDPOINTS": "/other/endpoints.json"}
THERE = {"PHONOSCENE_STACK": "other"}


@pytest.mark.parametrize(
    ("words", "variables", "is_here", "which"),
    [
        ((), {}, False, "phonoscene"),
        ((), THERE, False, "other"),
        ((), HERE, True, "/other/endpoints.json"),
        (("--stack", "mine"), HERE, False, "mine"),
        (("--stack", "mine"), THERE, False, "mine"),
        (("--profile", "work"), HERE, False, "phonoscene"),
        (("--region", "eu-west-1"), HERE, False, "phonoscene"),
        (("--profile", "work"), HERE | THERE, False, "other"),
        (("--local",), HERE, True, "None"),
        (("--local",), HERE | THERE, True, "None"),
        (("--local",), THERE, True, "None"),
        (("--endpoints", "mine.json"), HERE | THERE, True, "mine.json"),
        (("--local", "--endpoints", "mine.json"), HERE, True, "mine.json"),
    ],
)
def test_an_option_wins_over_the_environment(
    environment: pytest.MonkeyPatch,
    words: tuple[str, ...],
    variables: dict[str, str],
    which: str,
    *,
    is_here: bool,
) -> None:
    found = chosen(environment, *words, **variables)

    assert isinstance(found, Chosen)
    assert (found.is_local or found.endpoints is not None) == is_here
    assert (str(found.endpoints) if is_here else found.name) == which


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        (("--local", "--stack", "mine"), {}),
        (("--local", "--profile", "work"), {}),
        (("--endpoints", "mine.json", "--region", "eu-west-1"), {}),
        (("--local", "--stack", "phonoscene"), {}),
        ((), HERE | THERE),
    ],
)
def test_two_stacks_at_once_are_refused(
    environment: pytest.MonkeyPatch, words: tuple[str, ...], variables: dict[str, str]
) -> None:
    assert chosen(environment, *words, **variables) == 2


@pytest.mark.parametrize(
    ("option", "variables", "region"),
    [
        (None, {"AWS_REGION": "eu-west-1"}, "eu-west-1"),
        (None, {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
        (None, {"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ("eu-west-3", {"AWS_REGION": "eu-west-1"}, "eu-west-3"),
    ],
)
def test_the_region_is_the_one_that_the_aws_command_line_would_take(
    environment: pytest.MonkeyPatch, option: str | None, variables: dict[str, str], region: str
) -> None:
    environment.delenv("AWS_DEFAULT_REGION", raising=False)
    for name, value in variables.items():
        environment.setenv(name, value)

    assert Stack.on_aws("phonoscene", None, option).session.region_name == region


def test_an_impossible_setting_for_aws_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_ENDPOINT_URL", "foo")

    with pytest.raises(StackUnreachable, match="Invalid endpoint: foo") as raised:
        _ = Stack.on_aws("phonoscene", None, "eu-west-1").description

    assert "AWS_ENDPOINT_URL" in raised.value.next_step


def test_an_advised_command_reaches_the_same_stack(desk: Desk) -> None:
    here = desk.says("--local", "show", "talks/intro").err
    there = desk.says("--stack", "mine", "--profile", "my work", "show", "talks/intro").err

    assert "`phonoscene --local jobs`" in here
    assert "`phonoscene --profile 'my work' --stack mine jobs`" in there
    assert "`phonoscene jobs`" in desk.says("show", "talks/intro").err


def test_a_folder_without_a_local_cloud_is_named(
    desk: Desk, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr(app, "Chosen", Chosen)
    environment.chdir(tmp_path)
    environment.setattr("sys.argv", ["phonoscene", "--local", "jobs"])

    with pytest.raises(SystemExit) as ended:
        app.main()

    assert ended.value.code == 3
    output = desk.screen.readouterr().err
    assert f"No local cloud is running in {tmp_path} or a folder above" in output
    assert "--endpoints" in output


def test_a_local_cloud_that_does_not_answer_is_named_by_its_folder(tmp_path: Path) -> None:
    file = tmp_path / ".local" / "endpoints.json"
    file.parent.mkdir()
    with listen() as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    names = ("aws_access_key_id", "aws_secret_access_key", "region", "ca_bundle")
    file.write_text(json.dumps(dict.fromkeys(names, "x") | {"aws_endpoint_url": url}))
    stack = Stack.on_this_machine(file)
    once = Config(proxies={}, retries={"total_max_attempts": 1})
    stack = dataclasses.replace(stack, options={**stack.options, "config": once})

    with pytest.raises(StackUnreachable) as raised:
        _ = stack.description

    assert f"the local cloud of {file.parent} with `make status`" in str(raised.value)


# addresses ----------------------------------------------------------------------------------------

ADDRESSED = {
    "show": ["{address}a.wav"],
    "watch": ["{address}a.wav"],
    "watch a folder": ["{address}"],
    "retry": ["{address}a.wav", "--yes"],
    "cancel": ["{address}a.wav"],
    "jobs --name": ["--name", "{address}a.wav"],
    "jobs --folder": ["--folder", "{address}"],
    "audit": ["{address}"],
    "backfill": ["{address}", "--yes"],
    "drop --folder": ["song.wav", "--prompt", "x", "--yes", "--folder", "{address}"],
    "drop --name": ["song.wav", "--prompt", "x", "--yes", "--name", "{address}a.wav"],
}


@pytest.mark.parametrize("case", ADDRESSED)
def test_an_address_in_another_bucket_is_refused_wherever_one_may_be_given(
    desk: Desk, cloud: Cloud, tmp_path: Path, environment: pytest.MonkeyPatch, case: str
) -> None:
    environment.chdir(tmp_path)
    (tmp_path / "song.wav").write_bytes(silence(1))
    words = [word.format(address="s3://videos/talks/") for word in ADDRESSED[case]]

    result = desk.says(case.partition(" ")[0], *words)

    assert result.code == 2
    assert "s3://drops" in result.err
    assert "Versions" not in cloud.s3.list_object_versions(Bucket="drops")


@pytest.mark.parametrize("words", [("--folder", "s3://drops/t4"), ("--name", "s3://drops/t4/song")])
def test_a_drop_goes_to_the_address_that_is_given(
    desk: Desk,
    cloud: Cloud,
    tmp_path: Path,
    environment: pytest.MonkeyPatch,
    words: tuple[str, str],
) -> None:
    environment.chdir(tmp_path)
    (tmp_path / "song.wav").write_bytes(silence(1))

    desk.says("drop", "song.wav", "--prompt", "x", "--yes", *words)

    versions = cloud.s3.list_object_versions(Bucket="drops")["Versions"]
    assert sorted(one["Key"] for one in versions) == ["t4/song.json", "t4/song.wav"]


def test_an_address_is_understood_by_audit_backfill_jobs_and_watch(
    desk: Desk, cloud: Cloud
) -> None:
    cloud.drop("talks/a.wav", silence(1))
    cloud.drop("other/b.wav", silence(1))
    workspace = Workspace.on_moto(cloud)
    workspace.clock.now = datetime.now(UTC)  # as the command line's
    workspace.bring(JobStatus.SUCCEEDED, 1, name="talks/done")
    address, now = "s3://drops/talks/", ("--older-than", "0s")

    assert desk.says("audit", address, *now, "--json").data["prefix"] == "talks/"
    assert desk.says("audit", address, *now, "--json").data["dropped"] == 1
    assert desk.says("backfill", address, *now, "--dry-run", "--json").data["drops"] == 1
    assert desk.says("jobs", "--folder", address, "--json").data[0]["name"] == "talks/done"
    assert "No jobs are in progress" in desk.says("watch", address).err
    assert desk.says("backfill", address, *now, "--yes", "--json").data["sent"] == 1
