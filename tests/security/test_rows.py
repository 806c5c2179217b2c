"""The table of threats is whole, true, and the same in the documents."""

from __future__ import annotations

import ast
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.security.advisories import UNKNOWN, judge, look, read
from tests.security.rows import ROWS, Row

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
PROOFS = sorted({proof for row in ROWS for proof in row.proofs})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.threat)
def test_the_page_has_every_threat_with_its_control_and_its_tests(row: Row) -> None:
    files = {Path(proof.partition("::")[0]).stem.removeprefix("test_") for proof in row.proofs}

    line = f"| {row.threat} | {row.control} | {', '.join(f'`{file}`' for file in sorted(files))} |"
    assert line in PAGE


def test_the_page_has_no_other_threats() -> None:
    table = PAGE.partition("| threat |")[2].partition("\n\n")[0]

    assert len(table.splitlines()) - 2 == len(ROWS)


@pytest.mark.parametrize("file", sorted({proof.partition("::")[0] for proof in PROOFS}))
def test_every_test_that_a_row_names_exists(file: str) -> None:
    named = {test for path, _, test in (proof.partition("::") for proof in PROOFS) if path == file}

    written = {
        node.name
        for node in ast.parse((ROOT / file).read_text()).body
        if isinstance(node, ast.FunctionDef)
    }

    assert named - written == set()


def test_a_package_that_was_skipped_is_not_a_package_without_fault() -> None:
    whole: dict[str, Any] = {"name": "httpx", "version": "0.28.1", "vulns": []}
    skipped = {"name": "h11", "version": "0.16.0", "skip_reason": "not found"}
    faulty = {**whole, "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["0.29"]}]}

    codes = [judge(report)[0] for report in ([whole], [whole, skipped], [skipped, faulty])]

    assert codes == [0, UNKNOWN, 1]


def test_an_audit_that_did_not_happen_is_no_audit_without_findings() -> None:
    errors = (
        "HTTPSConnectionPool: Max retries exceeded with url: /pypi/h11",
        "unhashed requirement",
    )

    codes = [read("", error)[0] for error in errors]

    assert codes == [UNKNOWN, 1]
    assert judge([])[0] == 1


@pytest.mark.parametrize(
    ("backlog", "said"), [(None, "Max retries"), (8, "does not answer within 2")]
)
def test_a_network_that_refuses_or_says_nothing_is_known_within_seconds(
    monkeypatch: pytest.MonkeyPatch, backlog: int | None, said: str
) -> None:
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        if backlog:
            proxy.listen(backlog)  # it takes connections, and never answers
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")

        code, lines = look(Path(sys.executable), patience=2)

    assert code == UNKNOWN
    assert said in lines[1]
