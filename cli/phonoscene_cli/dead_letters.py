"""Brings messages back from a dead-letter queue: received, sent on, and only then deleted.

SQS has an operation for that, but not for the queue of what EventBridge could not deliver, and not
in every place where the stack runs. A message that is cut off between the two is there twice, which
does no harm: everything of ours takes a message twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from phonoscene_cli.errors import CliError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mypy_boto3_sqs import SQSClient


class Letters(StrEnum):
    """The dead-letter queues, by what lies in them."""

    DROPS = "drops"
    UNDELIVERED = "undelivered"
    VERDICTS = "verdicts"
    NOTIFICATIONS = "notifications"


#: Each one's output of the stack, and that of the queue its messages belong in.
QUEUES: Final = {
    Letters.DROPS: ("DropsDeadLetterQueueUrl", "DropsQueueUrl"),
    Letters.UNDELIVERED: ("UndeliveredDropsQueueUrl", "DropsQueueUrl"),
    Letters.VERDICTS: ("VerdictsDeadLetterQueueUrl", "VerdictsQueueUrl"),
    Letters.NOTIFICATIONS: ("NotificationsDeadLetterQueueUrl", "NotificationsQueueUrl"),
}
#: What SQS hands out and takes at once.
BATCH: Final = 10
#: SQS may hand out nothing although something is there; so often in a row it means the end.
EMPTY_ANSWERS: Final = 3
#: Seconds for which a received message is hidden from other readers, until it is deleted.
HIDDEN_FOR: Final = 60


def of_stack(outputs: Mapping[str, str]) -> list[Letters]:
    """Those that a stack with these outputs has: notifications are an option."""
    return [letters for letters, (source, _) in QUEUES.items() if source in outputs]


@dataclass(frozen=True)
class DeadLetters:
    """One dead-letter queue and where its messages belong."""

    source: str
    target: str

    @classmethod
    def of(cls, outputs: Mapping[str, str], letters: Letters) -> DeadLetters:
        """The queues of a stack, by the names of its outputs."""
        source, target = QUEUES[letters]
        if source not in outputs:
            raise CliError(f"This stack has no {letters}: deploy it with EventWebhookUrl.")
        return cls(outputs[source], outputs[target])

    def count(self, sqs: SQSClient) -> int:
        """About how many messages lie there; those that somebody looks at are counted too."""
        found = sqs.get_queue_attributes(
            QueueUrl=self.source,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )["Attributes"]
        free = int(found.get("ApproximateNumberOfMessages", 0))
        return free + int(found.get("ApproximateNumberOfMessagesNotVisible", 0))

    def redrive(self, sqs: SQSClient, most: int) -> Iterator[int]:
        """Move at most ``most`` messages; yields how many were moved at each step."""
        empty = moved = 0
        while empty < EMPTY_ANSWERS and moved < most:
            got = sqs.receive_message(
                QueueUrl=self.source,
                MaxNumberOfMessages=min(BATCH, most - moved),
                VisibilityTimeout=HIDDEN_FOR,
                WaitTimeSeconds=1,
            ).get("Messages", [])
            empty = 0 if got else empty + 1
            for message in got:
                sqs.send_message(QueueUrl=self.target, MessageBody=message["Body"], DelaySeconds=0)
                sqs.delete_message(QueueUrl=self.source, ReceiptHandle=message["ReceiptHandle"])
            moved += len(got)
            yield len(got)
