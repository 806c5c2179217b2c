"""From an event in its queue to the subscriber, as often as it takes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from phonoscene.errors import NotDelivered, PhonosceneError
from phonoscene.publishing.event_webhooks import Notification, pause_after

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from phonoscene.batch import Message
    from phonoscene.publishing.endpoint import DeliveryResponse, Endpoint
    from phonoscene.queues import NotificationsQueue

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Notifier:
    """Posts events, signed; ``secrets`` is asked each time, so that they can be replaced."""

    subscriber: Endpoint
    queue: NotificationsQueue
    secrets: Callable[[], str]
    clock: Callable[[], datetime]

    def notify(self, message: Message) -> DeliveryResponse:
        """The subscriber's answer: it has taken the event, or wants none any more.

        Raises:
            NotDelivered: it answered something else. Whatever fails, and be it the secret, the
            message comes back when the schedule says so.
        """
        try:
            return self._post(message)
        except Exception as exc:
            retry_after = exc.retry_after if isinstance(exc, NotDelivered) else 0
            pause = pause_after(message.tries, retry_after)
            # the words of any other error may be about the secret
            reason = str(exc) if isinstance(exc, PhonosceneError) else type(exc).__name__
            data = {"tries": message.tries, "pause": pause, "reason": reason}
            logger.warning("notification.failed", extra=data)
            self.queue.hold_back(message.receipt_handle, pause)
            raise

    def _post(self, message: Message) -> DeliveryResponse:
        notification = Notification.of(message.body)
        headers = notification.headers(self.secrets(), self.clock())
        answer = self.subscriber.post(headers, notification.body)
        data = {"event": notification.id, "status": answer.status}
        if answer.is_gone:
            logger.error("notification.unwanted", extra=data)
        elif answer.is_taken:
            logger.info("notification.delivered", extra=data)
        else:
            raise NotDelivered(answer.status, answer.retry_after)
        return answer
