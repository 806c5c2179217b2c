"""The stack's event bus: the only module that puts events on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from phonoscene.errors import EventRefused

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

    from phonoscene.publishing.events import StatusChanged

SOURCE: Final = "phonoscene"
STATUS_CHANGED: Final = "Job Status Changed"


class EventBus:
    """The stack's event bus, as a place to send events to."""

    def __init__(self, client: EventBridgeClient, name: str) -> None:
        self._client = client
        self._name = name

    def send(self, event: StatusChanged) -> None:
        """Put an event on the bus.

        Raises:
            EventRefused: the call went well and the event did not get through.
        """
        answer = self._client.put_events(
            Entries=[
                {
                    "EventBusName": self._name,
                    "Source": SOURCE,
                    "DetailType": STATUS_CHANGED,
                    "Time": event.at,
                    "Detail": event.to_json(),
                }
            ]
        )
        if answer["FailedEntryCount"]:
            raise EventRefused(answer["Entries"][0].get("ErrorCode", ""))
