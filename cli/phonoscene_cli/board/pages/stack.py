"""The first screen, the list of jobs, what they cost, and the checks."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, Response, StreamingResponse

from phonoscene.jobs import JobStatus
from phonoscene_cli.audit.audit import Audit, MissingDrop, settled_at
from phonoscene_cli.board import views
from phonoscene_cli.board.context import board_of
from phonoscene_cli.board.live import events
from phonoscene_cli.doctor.checks import examine_all
from phonoscene_cli.errors import WrongUsage
from phonoscene_cli.stack.cost_report import cost_report, grouping
from phonoscene_cli.stack.job_listing import Filter, recent_ids, takes
from phonoscene_cli.stack.job_lookup import folder_in, key_in, takes_of
from phonoscene_cli.stack.period import Period
from phonoscene_cli.ui.time_arguments import since

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

    from phonoscene.jobs import Job
    from phonoscene_cli.stack.connection import Stack

T = TypeVar("T")
#: Jobs of one page, and missing drops of one audit.
MAX_LISTED: Final = 100
#: What the pages offer to look back.
PERIODS: Final = {"1d": "a day", "7d": "a week", "30d": "30 days", "90d": "90 days"}
USUAL: Final = "7d"
#: What a query may say; other words are passed over.
NOTHING: Final = {
    "status": "",
    "folder": "",
    "name": "",
    "since": USUAL,
    "by": "day",
    "page": "1",
}
PAGE: Final = re.compile("[1-9][0-9]{0,3}")
GROUPINGS: Final = ("day", "folder", "name")


async def enter(request: Request) -> Response:
    """Let the browser in that opens a link for the first time."""
    board = board_of(request)
    secret = board.access.enter(request.query_params.get("token", ""))
    # not a redirect: after a link in another program's page, a browser would not send the cookie
    answer = HTMLResponse(
        '<!doctype html><html lang="en"><meta http-equiv="refresh" content="0;url=/">'
        '<title>Phonoscene</title><a href="/">Open the board</a></html>'
    )
    answer.set_cookie(board.access.cookie, secret, httponly=True, samesite="strict")
    return answer


async def overview(request: Request) -> Response:
    """The first screen; its parts come with the first event."""
    board = board_of(request)
    return board.page(request, "board.html")


async def live(request: Request) -> Response:
    """The events of a page: of a job, of a drop that has no record yet, or of the first screen."""
    board, query = board_of(request), request.query_params
    if job_id := query.get("job"):
        stream = events(board.poller, (job_id,), views.JobParts(board.env, job_id))
    elif job_id := query.get("drop"):
        stream = events(board.poller, (job_id,), views.NewDropParts(board.env, job_id))
    else:
        stream = events(board.poller, (), partial(views.parts_of_board, board.env))
    return StreamingResponse(stream, media_type="text/event-stream")


def jobs(request: Request) -> Response:
    """The jobs of a time, a folder, a name or a state, newest first; the takes of a name are live.

    A page that asks again does not look for a part of a name: that reads the index of each day.
    """
    board, query = board_of(request), NOTHING | dict(request.query_params)
    problem, found, has_more, is_live = "", [], False, False
    try:
        wanted = _wanted(board.stack, query)
        of_name, has_more = _takes(board.stack, query, wanted)
        found = of_name
        if not of_name and "hx-request" not in request.headers:
            by_part = replace(wanted, part=query["name"].strip())
            found, has_more = _recent(board.stack, query, by_part)
        has_ended = bool(of_name) and all(job.is_final for job in of_name)
        is_live = bool(query["name"].strip()) and found == of_name and not has_ended
    except WrongUsage as exc:
        problem = str(exc)
    older = urlencode(query | {"page": _page(query) + 1}) if has_more else ""
    context = {"query": query, "periods": PERIODS, "jobs": found, "problem": problem}
    return board.page(request, "jobs.html", older=older, is_live=is_live, **context)


def _wanted(stack: Stack, query: dict[str, str]) -> Filter:
    statuses = [JobStatus(query["status"])] if query["status"] in set(JobStatus) else []
    return Filter(frozenset(statuses), folder_in(stack, query["folder"].strip()))


def _takes(stack: Stack, query: dict[str, str], wanted: Filter) -> tuple[list[Job], bool]:
    """Those of a whole name on one page, and whether there is a next page."""
    name = query["name"].strip()
    found = takes(takes_of(stack, name), None, wanted) if name else iter(())
    shown = _on_page(found, query)
    return shown, next(found, None) is not None


def _recent(stack: Stack, query: dict[str, str], wanted: Filter) -> tuple[list[Job], bool]:
    """The same of a time; one that cannot be read has its place, too."""
    ids = recent_ids(stack.jobs, _period(query), wanted)
    shown = _on_page(ids, query)
    return list(stack.jobs.whole(shown)), next(ids, None) is not None


def _on_page(found: Iterator[T], query: dict[str, str]) -> list[T]:
    """Those of the page; the iterator has the others."""
    skipped = MAX_LISTED * (_page(query) - 1)
    return list(islice(found, skipped, skipped + MAX_LISTED))


def _page(query: dict[str, str]) -> int:
    return int(query["page"]) if PAGE.fullmatch(query["page"]) else 1


def _period(query: dict[str, str]) -> Period:
    return Period.of(None, since(query["since"] if query["since"] in PERIODS else USUAL))


def cost(request: Request) -> Response:
    """What the jobs of a time have cost, by day, folder or name."""
    board, query = board_of(request), NOTHING | dict(request.query_params)
    by = grouping(query["by"] if query["by"] in GROUPINGS else "day")
    report = cost_report(board.stack, _period(query), by)
    return board.page(
        request,
        "cost.html",
        query=query,
        periods=PERIODS,
        groupings=GROUPINGS,
        by=by,
        report=report,
        budget=board.stack.parameters.daily_budget_usd,
    )


def checks(request: Request) -> Response:
    """The page from which doctor and audit are started."""
    return board_of(request).page(request, "checks.html")


def doctor(request: Request) -> Response:
    """Every check of ``phonoscene doctor``."""
    board = board_of(request)
    return board.page(request, "doctor.html", checks=list(examine_all(board.stack)))


def audit(request: Request) -> Response:
    """Drops that have no record, as ``phonoscene audit`` finds them."""
    board = board_of(request)
    prefix = key_in(board.stack, request.query_params.get("prefix", "").strip())
    this = Audit(board.stack, prefix, settled_at(board.stack, None))
    missing: list[Any] = []
    for drop in this.missing():
        if len(missing) < MAX_LISTED:
            missing.append(MissingDrop.of(drop))
    return board.page(request, "audit.html", missing=missing, result=this.result())
