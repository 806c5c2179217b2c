"""What ``make`` hands to a command is what was typed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOW = 'show: ; @printf \'%s\\n%s\' "$$FILE" "$$PROMPT"'
PROMPTS = [
    "rain on a window",
    "costs $5 and $$6 and ${HOME} and $(HOME)",
    "\"quoted\" 'and' `quoted` \\ back \\\\",
    "100 % # not a comment",
    "a = b := c",
    "ü\N{EN DASH}\N{SNOWMAN}",
    "",
]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("is_variable", [True, False])
def test_a_prompt_may_hold_anything(prompt: str, *, is_variable: bool) -> None:
    fields = {"FILE": f"{prompt}.mp3", "PROMPT": prompt}
    given = [] if is_variable else [f"{name}={value}" for name, value in fields.items()]
    command = ["make", "--no-print-directory", f"--eval={SHOW}", "show", *given]

    environment = os.environ | (fields if is_variable else {})
    made = subprocess.run(  # noqa: S603 - what a test says
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )

    assert made.stdout == f"{prompt}.mp3\n{prompt}"


@pytest.mark.parametrize(
    ("shim", "taken"),
    [
        ("exit 0", "python3.13"),
        ("echo 'python3.13: command not found' >&2; exit 127", "python3"),
    ],
)
def test_lambdas_python_is_taken_where_it_works(tmp_path: Path, shim: str, taken: str) -> None:
    program = tmp_path / "python3.13"
    program.write_text(f"#!/bin/sh\n{shim}\n")
    program.chmod(0o755)
    command = ["make", "--no-print-directory", "--eval=show: ; @echo $(PYTHON)", "show"]

    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    made = subprocess.run(  # noqa: S603 - our own words only
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )

    assert made.stdout == f"{taken}\n"
