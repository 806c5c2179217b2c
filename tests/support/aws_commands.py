"""The AWS commands in the code of the pages, and the IAM actions that they need."""

from __future__ import annotations

import re
from typing import Final

from botocore import xform_name
from botocore.session import Session

from tests.support.template import ROOT

#: What the command line does on its own, or what has another name in IAM.
ACTIONS: Final[dict[str, set[str]]] = {
    "cloudformation wait": {"cloudformation:DescribeChangeSet", "cloudformation:DescribeStacks"},
    "logs tail": {"logs:FilterLogEvents"},
    "sts get-caller-identity": set(),  # AWS asks for no permission
}
_CODE: Final = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
_COMMAND: Final = re.compile(r"""\baws ([a-z0-9]+) ([a-z][a-z0-9-]+)((?:'[^']*'|\\\n|[^'\n])*)""")


def commands(page: str) -> list[tuple[str, str, str]]:
    """Service, command and the rest of each AWS command in the code of a page."""
    code = "\n".join("".join(found) for found in _CODE.findall(page))
    parts = re.split(r"(?=\baws [a-z])", code)
    found = [_COMMAND.match(part) for part in parts]
    return [(one[1], one[2], one[3]) for one in found if one]


def commands_of(name: str) -> set[tuple[str, str]]:
    """Service and command of each AWS command of a page in docs/."""
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    return {(service, command) for service, command, _ in commands(page)}


def operation(service: str, command: str) -> tuple[str, set[str]]:
    """The API's name of a command, and the options that it has."""
    model = Session().get_service_model(service.removesuffix("api"))
    names = {xform_name(name, "-"): name for name in model.operation_names}
    shape = model.operation_model(names[command]).input_shape
    return names[command], {xform_name(one, "-") for one in shape.members} if shape else set()


def actions(service: str, command: str) -> set[str]:
    """The IAM actions that a command needs."""
    usual = f"{service} {command}"
    return ACTIONS[usual] if usual in ACTIONS else {f"{service}:{operation(service, command)[0]}"}
