"""README, CONTRIBUTING and the architecture page say what is there; every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from phonoscene.jobs import TRANSITIONS, JobStatus
from tests.support.state_diagram import state_diagram, with_diagram

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
FOLDERS = ("", "docs/", "examples/", "benchmarks/", "tests/media/cases/")
PAGES = sorted(page for folder in FOLDERS for page in ROOT.glob(f"{folder}*.md"))


@pytest.mark.parametrize("status", [status for status in JobStatus if TRANSITIONS[status]])
def test_the_architecture_page_names_a_states_followers(status: JobStatus) -> None:
    (row,) = re.findall(rf"^\| `{status}` \|.*\| (.*) \|$", ARCHITECTURE, re.MULTILINE)

    assert set(re.findall(r"`([A-Z]+)`", row)) == set(TRANSITIONS[status]), (
        f"docs/architecture.md lists what {status} may become under “States”"
    )


def test_the_diagram_of_states_is_the_one_that_the_transitions_generate() -> None:
    assert with_diagram(README) == README, "python -m tests.support.state_diagram updates README.md"
    assert state_diagram() in README


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 130


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()

    pages = {page.name for page in ROOT.glob("docs/*.md")} - {"README.md"}
    assert set(re.findall(r"^- \[(\w[\w-]*\.md)\]\(\1\)", index, re.MULTILINE)) == pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)\s]*)\)", page.read_text())

    assert [link for link in links if not _exists(page, link)] == []


def test_the_files_that_a_common_change_needs_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.partition("\n## Common changes")[2].partition("\n## ")[0]
    files = re.findall(r"`(\w+/[\w./-]+)`", section)
    modules = [f"{name.replace('.', '/')}.py" for name in re.findall(r"`python -m (.+?)`", section)]

    assert [path for path in [*files, *modules] if not (ROOT / path).exists()] == []
    assert len(files) > 10


def _exists(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path) if path else page
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub links to them: lower case, hyphens, no punctuation."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
