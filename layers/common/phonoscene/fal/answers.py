"""fal's answers about a request, and its list of requests, each read into a model or refused.

What is not understood is never taken for an answer: a job is only sent again where a list that was
understood whole does not show it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, WrapValidator

from phonoscene.errors import AnswerMalformed
from phonoscene.fal.results import Text, or_none

#: A UUID, as far as is known; it becomes part of an address.
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,200}$")]

QUEUED: Final = frozenset({"IN_QUEUE", "IN_PROGRESS"})
COMPLETED: Final = "COMPLETED"


class Status(BaseModel):
    """A request's status. ``status`` is None where it is not even text."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: Text = None
    error: Text = None
    error_type: Text = None

    @property
    def has_failed(self) -> bool:
        """Whether the run failed: there is no status for that, a completed one carries an error."""
        return bool(self.error or self.error_type)


def read_status(body: Any) -> Status:
    """The status in an answer; one without any where it is no object."""
    return Status.model_validate(body if isinstance(body, dict) else {})


class _Input(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    audio_url: str = Field(min_length=1)


class Listed(BaseModel):
    """One request of the list; ``audio_url`` is None where its input cannot be read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    request_id: Annotated[Id | None, WrapValidator(or_none)] = None
    json_input: Annotated[_Input | None, WrapValidator(or_none)] = None

    @property
    def audio_url(self) -> str | None:
        """Whose it is: our own marker is in it."""
        return self.json_input.audio_url if self.json_input else None


class Page(BaseModel):
    """A page of the list. ``next_cursor`` is None on the last one."""

    model_config = ConfigDict(frozen=True)

    items: tuple[Listed, ...]
    next_cursor: str | None
    #: Whether everything on it, and whether there is more, was understood.
    is_whole: bool

    def find(self, marker: str) -> str | None:
        """The id of the request whose audio URL carries the marker."""
        for item in self.items:
            if item.request_id and marker in (item.audio_url or ""):
                return item.request_id
        return None


#: What else may announce that a list continues.
_MORE: Final = re.compile(r"next|more|page|cursor|offset|total|count", re.IGNORECASE)
_DOCUMENTED: Final = frozenset({"items", "has_more", "next_cursor"})


def read_page(body: Any) -> Page:
    """A page of the list of requests (fal documents ``items``, ``has_more`` and ``next_cursor``).

    Raises:
        AnswerMalformed: it is no list of requests.
    """
    found = body.get("items") if isinstance(body, dict) else None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise AnswerMalformed("fal's list of requests is not as documented")
    items = tuple(Listed.model_validate(item) for item in found)
    has_more, cursor = body.get("has_more"), body.get("next_cursor")
    goes_on = has_more is True and isinstance(cursor, str) and cursor != ""
    ends = has_more is False and not cursor
    hints = any(body[name] for name in body.keys() - _DOCUMENTED if _MORE.search(str(name)))
    are_read = all(item.request_id and item.audio_url for item in items)
    return Page(
        items=items,
        next_cursor=cursor if goes_on else None,
        is_whole=are_read and (goes_on or ends) and not hints,
    )


def accepted_id(body: Any) -> str | None:
    """The id in fal's answer to a submission, whatever else is missing there."""
    return Listed.model_validate(body).request_id if isinstance(body, dict) else None
