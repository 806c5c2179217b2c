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
