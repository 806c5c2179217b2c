"""One stack as CloudFormation has it: its parameters, a change set, and its execution."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from phonoscene_cli.errors import CliError
from phonoscene_cli.stack.stack_status import CANNOT_UPDATE, NEW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

#: Roles without names of their own, and no others. A change set applies the SAM transform without
#: CAPABILITY_AUTO_EXPAND.
CAPABILITIES: Final = ("CAPABILITY_IAM",)
PAUSE_SECONDS: Final = 2.0
#: A deployment takes minutes. CloudFormation ends it itself, if a resource hangs.
MAX_SECONDS: Final = 3 * 3600.0
_NO_CHANGES: Final = ("didn't contain changes", "No updates are to be performed")
_DONE: Final = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE"})
_FAILED: Final = frozenset(
    {
        "ROLLBACK_COMPLETE",
        "ROLLBACK_FAILED",
        "UPDATE_ROLLBACK_COMPLETE",
        "UPDATE_ROLLBACK_FAILED",
    }
)


@dataclass(frozen=True)
class Event:
    """One event of a stack: a resource that has reached a status."""

    id: str
    resource: str
    type: str
    status: str
    reason: str
    is_stack: bool


@dataclass(frozen=True)
class CloudFormation:
    """One stack, which may not exist yet."""

    client: Any
    stack: str

    def describe(self) -> dict[str, Any] | None:
        """The stack, or None if it does not exist."""
        try:
            found: dict[str, Any] = self.client.describe_stacks(StackName=self.stack)["Stacks"][0]
        except ClientError as exc:
            if "does not exist" in str(exc):
                return None
            raise
        return found

    def parameters(self) -> dict[str, str] | None:
        """The deployed parameters, or None for a stack without resources.

        Raises:
            CliError: the stack cannot be updated now.
        """
        found = self.describe()
        status = found["StackStatus"] if found else NEW
        if found is None or status == NEW:
            return None
        if status in CANNOT_UPDATE:
            raise CliError(f"Stack {self.stack} is {status}. {CANNOT_UPDATE[status]}.")
        if status.endswith("_IN_PROGRESS"):
            raise CliError(f"Stack {self.stack} is {status}. Wait for its end, then deploy again.")
        return {one["ParameterKey"]: one["ParameterValue"] for one in found.get("Parameters", ())}

    def create_change_set(
        self, name: str, template_url: str, parameters: Sequence[Any], *, is_new: bool
    ) -> list[dict[str, Any]]:
        """Create a change set, wait for it, and return its changes.

        CloudFormation fails a change set without changes; here it is one with an empty list.

        Raises:
            CliError: CloudFormation cannot make it. It is deleted.
        """
        self.client.create_change_set(
            StackName=self.stack,
            ChangeSetName=name,
            ChangeSetType="CREATE" if is_new else "UPDATE",
            TemplateURL=template_url,
            Parameters=list(parameters),
            Capabilities=list(CAPABILITIES),
        )
        for _ in self._looks():
            found = self.client.describe_change_set(StackName=self.stack, ChangeSetName=name)
            if found["Status"] == "FAILED":
                reason = found.get("StatusReason", "unknown reason").rstrip(". ")
                if any(words in reason for words in _NO_CHANGES):
                    return []
                self.delete_change_set(name)
                raise CliError(f"CloudFormation refuses the change set: {reason}.")
            if found["Status"].endswith("_COMPLETE"):
                return self._changes(name, found)
        raise CliError(f"Change set {name} was not computed in time. Deploy again.")

    def _changes(self, name: str, first: dict[str, Any]) -> list[dict[str, Any]]:
        found, page = list(first.get("Changes", ())), first
        while token := page.get("NextToken"):
            page = self.client.describe_change_set(
                StackName=self.stack, ChangeSetName=name, NextToken=token
            )
            found += page.get("Changes", ())
        return found

    def delete_change_set(self, name: str) -> None:
        """Delete a change set that is not executed."""
        self.client.delete_change_set(StackName=self.stack, ChangeSetName=name)

    def execute(self, name: str, show: Callable[[Event], None]) -> dict[str, str]:
        """Execute a change set, show each event, and return the stack's outputs.

        Raises:
            CliError: the deployment failed, with the reasons.
        """
        seen = {event.id for event in self._events()[:1]}
        self.client.execute_change_set(StackName=self.stack, ChangeSetName=name)
        failures: list[str] = []
        for _ in self._looks():
            for event in self._since(seen):
                seen.add(event.id)
                show(event)
                if event.status.endswith("_FAILED") and not event.is_stack:
                    failures.append(f"{event.resource}: {event.reason or event.status}")
                if event.is_stack and event.status in _DONE:
                    return self._outputs()
                if event.is_stack and self._is_failure(event.status):
                    why = "; ".join(failures or self._validation_errors()).rstrip(".")
                    raise CliError(
                        f"Stack {self.stack} is {event.status}. {why or event.reason}. "
                        "Correct the cause, then deploy again."
                    )
        raise CliError(f"Stack {self.stack} is still changing. See its events in CloudFormation.")

    def _is_failure(self, status: str) -> bool:
        """Whether a deployment ends with this status. A rollback may follow the first two."""
        if status in {"CREATE_FAILED", "UPDATE_FAILED"}:
            return (self.describe() or {}).get("StackStatus") == status
        return status in _FAILED

    def _validation_errors(self) -> list[str]:
        """What CloudFormation found wrong before any change; only DescribeEvents has it."""
        try:
            found = self.client.describe_events(
                StackName=self.stack, Filters={"FailedEvents": True}
            )["OperationEvents"]
        except (AttributeError, ClientError):  # an older SDK, or no permission: see the console
            return []
        wrong = [(one.get("LogicalResourceId"), one.get("ValidationStatusReason")) for one in found]
        return [f"{resource}: {reason}" for resource, reason in wrong if reason]

    def _outputs(self) -> dict[str, str]:
        found = self.describe() or {}
        return {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", ())}

    def _since(self, seen: set[str]) -> list[Event]:
        """The events after those that were seen, oldest first."""
        found: list[Event] = []
        token: str | None = None
        while True:
            page, token = self._page(token)
            new = list(takewhile(lambda event: event.id not in seen, page))
            found += new
            if token is None or len(new) < len(page):
                return found[::-1]

    def _events(self) -> list[Event]:
        """The newest events, newest first."""
        return self._page(None)[0]

    def _page(self, token: str | None) -> tuple[list[Event], str | None]:
        """Events, newest first, and where the next page begins."""
        more = {"NextToken": token} if token else {}
        found = self.client.describe_stack_events(StackName=self.stack, **more)
        return [_event(one) for one in found["StackEvents"]], found.get("NextToken")

    def _looks(self) -> Iterator[None]:
        """Yield at once, and after each pause, until it has taken too long."""
        began = time.monotonic()
        while time.monotonic() - began < MAX_SECONDS:
            yield
            time.sleep(PAUSE_SECONDS)


def _event(found: Mapping[str, str]) -> Event:
    return Event(
        found["EventId"],
        found.get("LogicalResourceId", ""),
        found.get("ResourceType", ""),
        found.get("ResourceStatus", ""),
        found.get("ResourceStatusReason", ""),
        found.get("PhysicalResourceId") == found["StackId"],
    )
