"""The board as an ASGI application: its addresses, and what becomes of an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from phonoscene_cli.board import views
from phonoscene_cli.board.access import ENTRANCE, Guard, Refusal
from phonoscene_cli.board.context import board_of
from phonoscene_cli.board.pages import drop, jobs, stack
from phonoscene_cli.errors import CliError, WrongUsage
from phonoscene_cli.failures import explained

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from phonoscene_cli.board.context import Board

JOB = "/jobs/{job_id:str}"
DROP = "/drop/{drop_id:str}"
ROUTES = (
    Route(ENTRANCE, stack.enter),
    Route("/", stack.overview),
    Route("/live", stack.live),
    Route("/jobs", stack.jobs),
    Route("/cost", stack.cost),
    Route("/checks", stack.checks),
    Route("/checks/doctor", stack.doctor),
    Route("/checks/audit", stack.audit),
    Route(JOB, jobs.job_page),
    Route(f"{JOB}/video", jobs.video),
    Route(f"{JOB}/audio", jobs.audio),
    Route(f"{JOB}/waveform", jobs.drawing),
    Route(f"{JOB}/cancel", jobs.cancel, methods=["POST"]),
    Route(f"{JOB}/retry", jobs.retry_form),
    Route(f"{JOB}/retry", jobs.retry, methods=["POST"]),
    Route(f"{JOB}/retry/form", jobs.retry_form_again, methods=["POST"]),
    Route(f"{JOB}/retry/preview", jobs.retry_preview, methods=["POST"]),
    Route("/drop", drop.drop_page),
    Route(DROP, drop.drop, methods=["POST"]),
    Route(f"{DROP}/files/{{name:str}}", drop.stage, methods=["PUT"]),
    Route(f"{DROP}/files/{{name:str}}/remove", drop.unstage, methods=["POST"]),
    Route(f"{DROP}/fields", drop.fields, methods=["POST"]),
    Route(f"{DROP}/preview", drop.preview, methods=["POST"]),
    Route(f"{DROP}/progress", drop.progress),
    Mount("/static", StaticFiles(directory=views.HERE / "static")),
)


def application(board: Board) -> Guard:
    """The application of one board, guarded."""
    # of any other exception Starlette has the server print the trace, too
    known = (CliError, BotoCoreError, ClientError, ResponseParserError, Exception)
    handlers: dict[Any, Any] = {HTTPException: _refused, Refusal: _refused}
    handlers |= dict.fromkeys(known, _failed)
    app = Starlette(routes=ROUTES, exception_handlers=handlers)
    app.state.board = board
    return Guard(app, board.access)


def _refused(request: Request, exc: Exception) -> Response:
    """A request that cannot be answered: no such page, a used link, a file that is too large."""
    if isinstance(exc, Refusal):  # as the guard's own: a page would name the stack
        return PlainTextResponse(f"{exc.sentence}\n", exc.status)
    assert isinstance(exc, HTTPException)  # noqa: S101 - there is no other
    return _problem(request, exc.detail, exc.status_code)


def _failed(request: Request, exc: Exception) -> Response:
    """Anything else: the sentence that the command line would end with.

    The stack is found anew for the next request: it may have moved.
    """
    if not isinstance(exc, WrongUsage):
        board_of(request).observer.forget()
    return _problem(request, explained(exc)[0], 400 if isinstance(exc, WrongUsage) else 502)


def _problem(request: Request, sentence: str, status: int) -> Response:
    """The sentence: as a page, or as a part of one where htmx asks."""
    template = "problem.html"
    if request.headers.get("hx-target", "").endswith("#outcome"):
        template = "unexamined.html"
    elif "hx-request" in request.headers or request.method == "PUT":
        template = "note.html"
    return board_of(request).page(request, template, status, note=sentence)
