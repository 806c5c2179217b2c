"""How many odd answers are drawn for each test of them.

``ODD_ANSWERS`` is that number; ``make security`` draws more than ``make test``, and other ones each
time.
"""

from __future__ import annotations

import os
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

RUNS: Final = int(os.environ.get("ODD_ANSWERS", "50"))

drawn = settings(
    max_examples=RUNS,
    deadline=None,
    derandomize="ODD_ANSWERS" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)

#: Answers of megabytes cannot be shown; they are seldom.
MARKS: Final = [
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),
    pytest.mark.timeout(3600),
]
