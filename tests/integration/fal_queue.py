"""A stand-in for ``FalQueue`` below the workflow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from phonoscene.fal.requests import Accepted, Pending
from phonoscene.jobs import Request

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from phonoscene.fal.requests import Ended, Lost, Submission, SubmitOutcome, Unclear


@dataclass
class FakeFalQueue:
    """Keeps what it is sent and asked, and answers as a test has set."""

    posts: list[Submission] = field(default_factory=list)
    cancelled: list[Request] = field(default_factory=list)
    answer: SubmitOutcome | None = None
    #: Called while the POST is under way.
    on_post: Callable[[Submission], None] = lambda _: None
    #: How a request is, by its id; an error is raised.
    standing: dict[str, Pending | Unclear | Ended | Lost | Exception] = field(default_factory=dict)
    #: What the list of requests shows, by marker.
    listed: dict[str, Request] = field(default_factory=dict)
    #: Raised instead of the list.
    unlisted: Exception | None = None
    polled: list[str] = field(default_factory=list)
    #: Whether each question was asked for long.
    overdue: list[bool] = field(default_factory=list)
    searched: list[tuple[str, datetime, datetime]] = field(default_factory=list)
    #: Called while a question is under way.
    on_question: Callable[[], object] = lambda: None

    def cancel(self, request: Request) -> None:
        self.cancelled.append(request)

    def ready(self) -> Self:
        """The key is fine."""
        return self

    def submit(self, submission: Submission) -> SubmitOutcome:
        self.posts.append(submission)
        self.on_post(submission)
        request_id = f"request-{len(self.posts)}"
        url = f"https://queue.fal.run/fal-ai/ltx-2.3-22b/requests/{request_id}"
        return self.answer or Accepted(
            Request(
                request_id=request_id,
                status_url=url + "/status",
                response_url=url,
                cancel_url=url + "/cancel",
            )
        )

    def poll(
        self, request: Request, *, is_overdue: bool = False
    ) -> Pending | Unclear | Ended | Lost:
        self.overdue.append(is_overdue)
        self.polled.append(request.request_id)
        self.on_question()
        state = self.standing.get(request.request_id, Pending())
        if isinstance(state, Exception):
            raise state
        return state

    def find(self, marker: str, since: datetime, until: datetime) -> Request | None:
        self.searched.append((marker, since, until))
        self.on_question()
        if self.unlisted:
            raise self.unlisted
        return self.listed.get(marker)
