"""The AWS commands of the pages exist, their JSON is JSON, and their reader may run them."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.aws_commands import actions, commands, commands_of, operation
from tests.support.policies import granted, is_like
from tests.support.template import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGES: Final = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")})
DEPLOYER: Final = ("phonoscene-deploy-data", "phonoscene-deploy-code")
OPERATOR: Final = ("phonoscene-operator",)
#: Whose policies the reader of a page has.
READERS: Final = {
    "operations.md": OPERATOR,
    "deploy.md": DEPLOYER,
    "security.md": (*DEPLOYER, *OPERATOR),
}
#: Commands of those pages for somebody else.
OTHERS: Final = {
    "acm request-certificate": "an administrator, as the page says",
    "acm describe-certificate": "an administrator, as the page says",
    "apigatewayv2 create-domain-name": "an administrator, as the page says",
    "apigatewayv2 create-api-mapping": "an administrator, as the page says",
    "s3api delete-objects": "an administrator, as the page says: it deletes videos",
    "s3api list-object-versions": "an administrator, as the page says: for delete-objects",
    "s3 rm": "no one: the page says that it does not help",
    "s3 sync": "who may read the other bucket, and drop files",
}
#: Commands and options that no model of a service has.
CUSTOM: Final = r"s3 \w+|logs tail|cloudformation (wait|package|deploy)"
GLOBAL: Final = {
    "ca-bundle",
    "cli-input-json",
    "endpoint-url",
    "max-items",
    "output",
    "query",
    "region",
}
_SHELL: Final = """
aws() { for one in "$@"; do printf '%s\\0' "$one" >&3; done; echo arn:aws:events:::rule/a/b; }
exec 3>&1 >/dev/null 2>&1
"""


PAGE: Final = """Run aws no command, and `aws first get-it` instead:

```console
$ A=$(aws s3api list-buckets --query \\
    a)
$ aws second put-it --c '{"d":
    "e"}'
shown
```
"""


def test_commands_are_found_in_sentences_in_blocks_and_in_other_commands() -> None:
    assert commands(PAGE) == [
        ("first", "get-it", ""),
        ("s3api", "list-buckets", " --query \\\n    a)"),
        ("second", "put-it", """ --c '{"d":\n    "e"}'"""),
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_aws_command_of_a_page_exists_with_its_options(page: Path) -> None:
    for service, command, rest in commands(page.read_text()):
        if re.fullmatch(CUSTOM, f"{service} {command}"):
            continue
        options = set(re.findall(r"(?<=\s--)(?:no-)?([a-z-]+)", re.sub(r"'[^']*'", "", rest)))
        assert options - GLOBAL <= operation(service, command)[1], f"{service} {command}"


@pytest.mark.parametrize("page", ["reference.md", "cookbook.md"])
def test_json_in_an_aws_command_is_json_for_aws(page: str) -> None:
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    typed = "\n".join(re.findall(r"^(?:\$| ) (.*)$", "\n".join(blocks), re.MULTILINE))

    done = subprocess.run(  # noqa: S603 - a shell that knows `aws` alone
        ["/bin/bash", "-c", _SHELL + typed], env={"PATH": ""}, capture_output=True, check=False
    )

    words = done.stdout.decode().split("\0")
    texts = [re.sub(r"^Policy='(.*)'$", r"\1", one, flags=re.DOTALL) for one in words]
    found = [json.loads(one) for one in texts if one.startswith("{")]
    assert len(found) > 1
    assert {one["Version"] for one in found if "Statement" in one} == {"2012-10-17"}


@pytest.mark.parametrize("page", READERS)
def test_who_reads_a_page_may_run_its_aws_commands(page: str) -> None:
    wanted = {
        action
        for service, command in commands_of(page)
        if f"{service} {command}" not in OTHERS
        for action in actions(service, command)
    }

    allowed = granted(*READERS[page])
    assert {one for one in wanted if not is_like(one, allowed)} == set(), (
        f"docs/{page} needs them, so docs/permissions.md does, too"
    )
    assert wanted


def test_every_command_for_somebody_else_is_in_a_page() -> None:
    assert set(OTHERS) <= {" ".join(one) for page in READERS for one in commands_of(page)}
