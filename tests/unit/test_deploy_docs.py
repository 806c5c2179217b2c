"""docs/deploy.md can be typed: `make deploy-check` does what each of its sections says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.deploy_page import PAGE, ROOT, Command, Lines, steps, titles, write
from tests.support.template import read

if TYPE_CHECKING:
    from pathlib import Path

CHECK = ROOT / "tests" / "deployment" / "test_deploy_page.py"
EXAMPLE = """# Page

## One

Some text, `make no-command`.

```console
$ first
shown, not typed
$ second \\
    --more
```

```toml
[a.b]
X = 1
```

## Two
"""


def test_a_page_is_read_as_what_a_person_types_and_writes() -> None:
    assert steps("One", EXAMPLE) == [
        Command("first"),
        Command("second \\\n    --more"),
        Lines("[a.b]\nX = 1\n"),
    ]
    assert steps("Two", EXAMPLE) == []


def test_lines_go_below_their_tables_header_or_to_the_end(tmp_path: Path) -> None:
    file = tmp_path / "samconfig.toml"
    file.write_text("version = 0.1\n\n[a.b]\n# X = 0\n")

    write(file, Lines("[a.b]\nX = 1\n"))
    write(file, Lines("[a.c]\nY = 2\n\n[a.c.d]\nZ = 3\n"))

    assert file.read_text() == (
        "version = 0.1\n\n[a.b]\nX = 1\n# X = 0\n\n[a.c]\nY = 2\n\n[a.c.d]\nZ = 3\n"
    )


def test_the_check_follows_every_section_that_says_what_to_do_in_the_pages_order() -> None:
    wanted = [title for title in titles() if steps(title)]

    assert wanted == re.findall(r'\.follow\("(.+)"\)', CHECK.read_text(encoding="utf-8"))
    assert len(wanted) > 5


@pytest.mark.parametrize("command", ["aws ", "make deploy", "export ", "git "])
def test_what_is_to_be_typed_is_in_a_block_and_not_in_a_list(command: str) -> None:
    """Where the check does not find it; a mention in a sentence is none."""
    rest = re.sub(r"```.*?```", "", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)

    assert re.findall(rf"^(?:\d+\.|-) .*`{command}\S+ .*--", rest, re.MULTILINE) == []


def test_the_defaults_that_the_page_names_are_the_templates() -> None:
    defaults = {name: str(one["Default"]) for name, one in read()["Parameters"].items()}
    table = PAGE.read_text(encoding="utf-8").partition("| parameter | default |")[2]
    rows = re.findall(r"^\| (`.+?`) \| (.+?) \| .+ \|$", table.partition("\n\n")[0], re.MULTILINE)
    named = {
        name.strip("`"): value.strip("`").replace("\N{EN DASH}", "")
        for names, values in rows
        for name, value in zip(names.split(", "), values.split(", "), strict=True)
    }

    assert named == {name: defaults[name] for name in named}
    assert "AlarmEmail" in named
