"""Sends no faster than is wished, and holds back while a queue is deep."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from phonoscene_cli.errors import WrongUsage

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_sqs import SQSClient

#: Messages that may wait: more of them would keep fresh drops waiting behind.
DEEP: Final = 500
#: Between two looks at a queue that is too deep, in seconds.
HOLD: Final = 2.0


def rate_of(text: str) -> float:
    """``10`` or ``10/s``; ``0.5/s`` is one in two seconds.

    Raises:
        WrongUsage: it is no rate above zero.
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)(?:/s)?", text.strip())
    if not found or not float(found[1]):
        raise WrongUsage(f"{text!r} is not a rate. Use 10/s or 0.5/s.")
    return float(found[1])


@dataclass
class Pace:
    """So many a second on average; what was missed by a pause is not caught up with."""

    per_second: float
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _free_at: float = field(default=0.0)

    @property
    def together(self) -> int:
        """As many at once as half a second allows, and SQS takes."""
        return max(1, min(10, int(self.per_second / 2)))

    def wait(self, count: int) -> None:
        """Wait until ``count`` more may go."""
        now = self.clock()
        if now < self._free_at:
            self.sleep(self._free_at - now)
        self._free_at = max(now, self._free_at) + count / self.per_second


def hold_while_deep(
    sqs: SQSClient,
    url: str,
    sleep: Callable[[float], None] = time.sleep,
    on_deep: Callable[[], None] = lambda: None,
) -> None:
    """Wait until no more than ``DEEP`` messages are in a queue; ``on_deep``: before each pause."""
    while True:
        found = sqs.get_queue_attributes(
            QueueUrl=url,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"],
        )["Attributes"]
        now = int(found.get("ApproximateNumberOfMessages", 0))
        if now + int(found.get("ApproximateNumberOfMessagesDelayed", 0)) <= DEEP:
            return
        on_deep()
        sleep(HOLD)
