"""Before a deployment: which parameters of the stack it would change, and whether it should.

    python -m local.changes [what `sam deploy` is given]

SAM shows which resources change, and not which parameters: one that was set by hand would be reset
without a word. So this shows them, and asks where they come from the file. CHANGES=yes answers.

exit codes:
  0  go on
  1  do not deploy; the last line says why
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from local.cloud.deploy import check_parameters, read_template
from local.errors import LocalCloudError
from phonoscene_cli.doctor import samconfig
from phonoscene_cli.errors import CliError


@dataclass(frozen=True)
class Plan:
    """A deployment: of which stack, and the parameters that it gives a value."""

    stack: str
    region: str
    #: From the file, and from the command line, which is taken instead of it.
    file: Mapping[str, str]
    typed: Mapping[str, str] | None
    is_guided: bool

    @property
    def parameters(self) -> Mapping[str, str]:
        """What is given a value; all others keep the stack's."""
        return self.file if self.typed is None else self.typed


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Those of `sam deploy` that say which stack and which parameters."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-env", default="default")
    parser.add_argument("--config-file", type=Path, default=Path(samconfig.FILE))
    parser.add_argument("--stack-name")
    parser.add_argument("--region")
    parser.add_argument("--profile")
    parser.add_argument("--parameter-overrides", nargs="*")
    parser.add_argument("--guided", "-g", action="store_true")
    return parser.parse_known_args(words)[0]


def plan(asked: argparse.Namespace, session: boto3.Session) -> Plan:
    """The parameters that a deployment would have."""
    found = samconfig.read(asked.config_file)
    if asked.config_env not in found:
        raise LocalCloudError(
            f"{asked.config_file} has no environment {asked.config_env}; it has {', '.join(found)}."
        )
    here = found[asked.config_env]
    region, stack = (
        asked.region or here.region or session.region_name,
        asked.stack_name or here.stack,
    )
    if not region:
        raise LocalCloudError("No region is set: `export AWS_DEFAULT_REGION=…`.")
    if not stack:
        raise LocalCloudError(f'{asked.config_file} names no stack: add `stack_name = "…"`.')
    typed = asked.parameter_overrides
    return Plan(
        stack,
        region,
        here.parameters,
        None if typed is None else samconfig.overrides(typed),
        asked.guided,
    )


def deployed(session: boto3.Session, here: Plan) -> dict[str, str] | None:
    """The stack's parameters, or None where there is no such stack."""
    formation = session.client("cloudformation", region_name=here.region)
    try:
        [found] = formation.describe_stacks(StackName=here.stack)["Stacks"]
    except ClientError as exc:
        if "does not exist" in str(exc):
            return None
        raise
    return {one["ParameterKey"]: one["ParameterValue"] for one in found.get("Parameters", [])}


def review(here: Plan, there: Mapping[str, str] | None, template: Mapping[str, Any]) -> bool:
    """Show what would change; whether the file changes anything, which somebody must confirm."""
    check_parameters(template, here.parameters)
    where = f"{here.stack} in {here.region}"
    if there is None:
        values = ", ".join(f"{name}={value}" for name, value in here.parameters.items())
        print(f"{where} is new. Parameters: {values or 'all have their defaults'}.")
        return False
    if here.is_guided:
        usual = {name: str(one["Default"]) for name, one in template["Parameters"].items()}
        _show(f"--guided offers other values than {where} has", usual | dict(here.file), there)
        return False
    is_changed = _show(f"This changes parameters of {where}", here.parameters, there)
    if here.typed is None:
        return is_changed
    forgotten = samconfig.changes(here.file, dict(there) | dict(here.typed))
    for name, (typed, kept) in forgotten.items():
        print(
            f"{samconfig.FILE} has {name}={kept!r}, not {typed!r}: change it there, or the next "
            "deployment will set it back."
        )
    return False


def _show(title: str, wanted: Mapping[str, str], there: Mapping[str, str]) -> bool:
    found = samconfig.changes(wanted, there)
    if found:
        print(f"{title}:")
    for name, (now, new) in found.items():
        print(f"  {name}: {now!r} becomes {new!r}")
    return bool(found)


def confirm() -> None:
    """Ask for confirmation, or take it from the environment in a script."""
    if os.environ.get("CHANGES") == "yes":
        return
    if not sys.stdin.isatty():
        raise LocalCloudError(
            "Nothing was deployed: cannot ask without a terminal. Correct samconfig.toml, or "
            "accept the changes with `make deploy CHANGES=yes`."
        )
    if input("Change them? [y/N] ").strip().lower() not in {"y", "yes"}:
        raise LocalCloudError("Nothing was deployed. Correct samconfig.toml, then deploy again.")


def main() -> None:
    """Show, ask, and end with the exit code."""
    asked = arguments(sys.argv[1:])
    try:
        session = boto3.Session(profile_name=asked.profile)
        here = plan(asked, session)
        if review(here, deployed(session, here), read_template()):
            confirm()
    except (CliError, ValueError) as exc:
        sys.exit(str(exc))
    except (BotoCoreError, ClientError) as exc:
        sys.exit(f"AWS cannot be queried: {exc}. `aws sts get-caller-identity` shows who you are.")


if __name__ == "__main__":
    main()
