"""``phonoscene deploy``: create or update a stack from a release archive."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phonoscene_cli.deployment import answers, release_archive
from phonoscene_cli.deployment.answers import Answers
from phonoscene_cli.deployment.change_set import Effect, losses, summary
from phonoscene_cli.deployment.fal_key import VARIABLE
from phonoscene_cli.deployment.target import Target
from phonoscene_cli.deployment.template_parameters import ASKED_FIRST, assignment
from phonoscene_cli.errors import NOT_FINE, CliError, WrongUsage
from phonoscene_cli.options import Json, Yes, stack_of
from phonoscene_cli.results import Result
from phonoscene_cli.ui import terminal
from phonoscene_cli.ui.assignments import Assignment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from phonoscene_cli.deployment.change_set import Change
    from phonoscene_cli.deployment.cloudformation import Event
    from phonoscene_cli.deployment.deployment import Deployment, Proposal
    from phonoscene_cli.deployment.fal_key import FalKey


class Outcome(StrEnum):
    """What became of a deployment."""

    UPLOADED = "uploaded"
    PLANNED = "planned"
    UNCHANGED = "unchanged"
    CREATED = "created"
    UPDATED = "updated"


@dataclass(frozen=True)
class ResourceChange(Result):
    """One resource that the change set changes."""

    name: str
    type: str
    effect: str
    loses: str | None


@dataclass(frozen=True)
class ParameterChange(Result):
    """One parameter with a new value."""

    name: str
    before: str | None
    after: str


@dataclass(frozen=True)
class DeployResult(Result):
    """What was deployed, and where."""

    outcome: Outcome
    stack: str
    region: str
    account: str
    version: str
    template_url: str
    parameters: list[ParameterChange] = field(default_factory=list)
    changes: list[ResourceChange] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)


def deploy(
    context: typer.Context,
    archive: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The release archive; default: the only phonoscene-*-aws.zip here or in dist/.",
        ),
    ] = None,
    parameter: Annotated[
        list[Assignment] | None,
        typer.Option(
            parser=assignment,
            metavar="NAME=VALUE",
            help="A parameter of the stack, which is kept for the next time; can be repeated.",
        ),
    ] = None,
    guided: Annotated[bool, typer.Option("--guided", help="Ask for every parameter.")] = False,
    bucket: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Upload to this bucket of yours; default: Phonoscene makes one."
        ),
    ] = None,
    accept_loss: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Replace or delete this resource, although it has data; can be repeated.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Upload, show the changes, and change no stack.")
    ] = False,
    upload_only: Annotated[
        bool, typer.Option("--upload-only", help="Upload, and print the template's address.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Deploy a release archive with your AWS credentials: no clone, no SAM CLI, no Docker.

    Verifies the archive, uploads it, shows what would change, and asks. Stores the fal key in SSM
    if it is missing there. Keeps your answers in ~/.config/phonoscene/.

    Example: phonoscene deploy --parameter AlarmEmail=you@example.com
    """
    asks = not (yes or dry_run or upload_only)
    if asks or guided:
        terminal.must_be_able_to_ask()
    target = _target(context)
    kept = answers.read(target.file)
    kept = Answers(bucket or kept.bucket, dict(kept.parameters) | dict(parameter or ()))
    deployment = _deployment(target, archive, kept)
    if guided or (asks and deployment.is_new):
        deployment = _ask(deployment, None if guided else ASKED_FIRST)
    is_changing = not (dry_run or upload_only)
    store_key = _missing_key(target.fal_key(deployment)) if is_changing else None
    result = _uploaded(target, deployment)
    if not upload_only:
        with _proposed(deployment, result.template_url) as proposal:
            result = replace(result, outcome=Outcome.PLANNED, changes=_rows(proposal.changes))
            _show_changes(result, proposal.changes)
            _refuse_losses(proposal.changes, accept_loss or ())
            if store_key:
                _agree(proposal, yes=yes)
                answers.write(target.file, Answers(kept.bucket, deployment.given))
                store_key()
                result = _executed(deployment, proposal, result)
    terminal.tell(result, lambda: _show(result), as_json=as_json)


def _deployment(target: Target, archive: Path | None, kept: Answers) -> Deployment:
    """The deployment of the verified archive, which the person is shown with its target.

    Raises:
        WrongUsage: the release does not have a parameter, or does not allow its value.
    """
    with terminal.working("verifying the archive"):
        release = release_archive.read(release_archive.find(archive))
    terminal.say(f"Phonoscene {release.version} ({release.file}, SHA-256 {release.sha256})")
    terminal.say(f"stack {target.stack.name} in {target.region}, account {target.account}")
    deployment = target.deployment(release, kept)
    if wrong := deployment.refusals():
        raise WrongUsage(f"{'. '.join(wrong)}. Correct --parameter, or {target.file}.")
    return deployment


def _target(context: typer.Context) -> Target:
    """The stack that the options name, on AWS.

    Raises:
        WrongUsage: it is that of a local cloud.
    """
    stack = stack_of(context)
    if stack.endpoints:
        raise WrongUsage("`make up` deploys the local cloud. Omit --local and --endpoints.")
    return Target.of(stack)


def _ask(deployment: Deployment, names: Collection[str] | None) -> Deployment:
    """The deployment with the person's answers; None asks for every parameter."""
    given = dict(deployment.given)
    for name, one in deployment.known.items():
        if names is not None and name not in names:
            continue
        terminal.say(f"\n{one.description}")
        now = deployment.after.get(name, "")
        while why := one.refusal(value := terminal.asked(name, now)):
            terminal.say(f"{why}.")
        if value != now:
            given[name] = value
    return replace(deployment, given=given)


def _uploaded(target: Target, deployment: Deployment) -> DeployResult:
    """Upload the release; return the result, as far as it is known before the change set."""
    with terminal.working("uploading") as show:
        url = deployment.upload(lambda name: show(f"uploading {name}"))
    changed = deployment.changed_parameters.items()
    return DeployResult(
        outcome=Outcome.UPLOADED,
        stack=target.stack.name,
        region=target.region,
        account=target.account,
        version=deployment.release.version,
        template_url=url,
        parameters=[ParameterChange(name, old, new) for name, (old, new) in changed],
    )


@contextmanager
def _proposed(deployment: Deployment, url: str) -> Iterator[Proposal]:
    """The change set, which is deleted unless it is executed."""
    with terminal.working("computing the changes"):
        proposal = deployment.propose(url)
    try:
        yield proposal
    finally:
        proposal.discard()


def _rows(changes: Iterable[Change]) -> list[ResourceChange]:
    return [ResourceChange(one.name, one.type, one.effect, one.loses) for one in changes]


def _show_changes(result: DeployResult, changes: Collection[Change]) -> None:
    """Show the person every parameter that changes, and what does not only add."""
    for one in result.parameters:
        old = "(no value)" if one.before is None else repr(one.before)
        terminal.say(f"parameter {one.name}: {old} becomes {one.after!r}")
    terminal.say(f"resources: {summary(changes)}")
    table = terminal.grid("effect", "resource", "type")
    for change in changes:
        if change.effect is not Effect.CREATE:
            terminal.row(table, change.effect, change.name, change.type)
    if table.row_count:
        terminal.show(table, terminal.people)


def _refuse_losses(changes: Collection[Change], accepted: Collection[str]) -> None:
    """Stop before data is lost that the person has not named.

    Raises:
        CliError: with the option for each resource.
    """
    if lost := losses(changes, accepted):
        what = ". ".join(f"{one.effect} {one.name}: loses {one.loses}" for one in lost)
        options = " ".join(f"--accept-loss {one.name}" for one in lost)
        raise CliError(f"Nothing was deployed. {what}. If you want that, add {options}.")


def _missing_key(parameter: FalKey) -> Callable[[], None]:
    """A function that stores the fal key once the person has agreed, if it is not stored yet.

    Raises:
        CliError: it is missing, and cannot be asked for.
    """
    if parameter.exists():
        return lambda: None
    key = os.environ.get(VARIABLE, "").strip()
    if not key and terminal.can_ask():
        key = terminal.asked_secretly(f"fal key, to be stored as {parameter.name} (not shown)")
    if not key:
        raise CliError(
            f"Nothing was deployed. SSM parameter {parameter.name} does not exist. Store the fal "
            f"key there, or set {VARIABLE} in the environment for the first deployment."
        )
    return lambda: parameter.store(key)


def _agree(proposal: Proposal, *, yes: bool) -> None:
    """Ask, unless there is nothing to change."""
    if proposal.changes and not terminal.agreed("Deploy this?", yes=yes):
        terminal.say("Nothing was deployed.")
        raise typer.Exit(NOT_FINE)


def _executed(deployment: Deployment, proposal: Proposal, result: DeployResult) -> DeployResult:
    """The result of executing the change set, if it changes anything."""
    if not proposal.changes:
        return replace(result, outcome=Outcome.UNCHANGED)
    outcome = Outcome.CREATED if deployment.is_new else Outcome.UPDATED
    try:
        with terminal.working("deploying") as show:
            outputs = proposal.execute(lambda event: _show_event(event, show))
    except KeyboardInterrupt:
        terminal.say("Interrupted. CloudFormation continues; its console shows the stack's events.")
        raise
    return replace(result, outcome=outcome, outputs=outputs)


def _show_event(event: Event, show: Callable[[str], None]) -> None:
    """A failure as a line that stays, anything else as the line that turns."""
    text = f"{event.status} {event.resource} {event.reason}".rstrip()
    show(text)
    if event.status.endswith("_FAILED"):
        terminal.say(text, "red")


def _show(result: DeployResult) -> None:
    """Print what became of it, and the next step."""
    if result.outcome is Outcome.UPLOADED:
        terminal.line(result.template_url)
        return
    terminal.line(f"{result.stack}: {result.outcome}, Phonoscene {result.version}")
    for name, value in result.outputs.items():
        terminal.line(f"  {name}  {value}")
    if result.outcome is Outcome.CREATED:
        terminal.say("Wait 15 minutes before you drop a file: S3 may not store versions yet.")
    if result.outcome is not Outcome.PLANNED:
        terminal.say("Check it with `phonoscene doctor`.")
