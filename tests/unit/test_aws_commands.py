"""The AWS commands of the pages exist, and their reader may run them."""

from __future__ import annotations

import re
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
    "s3 rm": "nobody: the page says that it does not help",
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
        options = set(re.findall(r"(?<=\s--)[a-z-]+", re.sub(r"'[^']*'", "", rest)))
        assert options - GLOBAL <= operation(service, command)[1], f"{service} {command}"


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
