"""The drop form: files are sent to this machine, examined and priced, and then dropped."""

from __future__ import annotations

import secrets
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from phonoscene.drops.keys import name_of
from phonoscene.errors import EditingFailed
from phonoscene_cli.board.context import Board, board_of, form_of
from phonoscene_cli.board.forms.fields import EMPTY, refilled, texts
from phonoscene_cli.board.forms.preview import Preview, preview_drop
from phonoscene_cli.board.forms.staging import MAX_BYTES, StagedDrop
from phonoscene_cli.board.media.waveform import Waveform, waveform

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

#: Space that is left on the disk.
SPARE: Final = 512 * 1024**2


async def drop_page(request: Request) -> Response:
    """An empty form; its id names the files that will be sent with it."""
    board = board_of(request)
    return board.page(request, "drop.html", drop_id=secrets.token_hex(16), **EMPTY)


async def stage(request: Request) -> Response:
    """Take one file, which the page sends as the body; an image may fill the empty image field."""
    staged = board_of(request).staging.of(request.path_params["drop_id"])
    name = request.path_params["name"]
    staged.place_for(name)  # a name that is refused is not read
    if staged.is_started:
        raise HTTPException(409, "This drop was already sent. Open the drop page again.")
    length = int(request.headers.get("content-length") or 0)
    if length > MAX_BYTES or length > shutil.disk_usage(staged.folder).free - SPARE:
        raise HTTPException(413, f"{name} is too large for this machine.")
    part = staged.folder / f".part-{secrets.token_hex(8)}"
    try:
        await _receive(request, part, name)
        await run_in_threadpool(staged.accept, part, name)
    finally:
        part.unlink(missing_ok=True)
    return PlainTextResponse(name if name == staged.only_image else "")


def unstage(request: Request) -> Response:
    """Take a file back that was sent."""
    board_of(request).staging.of(request.path_params["drop_id"]).remove(request.path_params["name"])
    return PlainTextResponse("")


async def _receive(request: Request, part: Path, name: str) -> None:
    received = 0
    with part.open("wb") as file:
        async for piece in request.stream():
            received += len(piece)
            if received > MAX_BYTES:
                raise HTTPException(413, f"{name} is larger than {MAX_BYTES // 1024**3} GiB.")
            file.write(piece)


async def fields(request: Request) -> Response:
    """The form's fields as the JSON file fills them; what was typed stays."""
    board, form = board_of(request), await form_of(request)
    return await run_in_threadpool(_fill, board, request, form)


def _fill(board: Board, request: Request, form: dict[str, str]) -> Response:
    staged = board.staging.of(request.path_params["drop_id"])
    # without the lock, which an examination of long audio holds for seconds
    takes, name = staged.takes, staged.sidecar_name
    new = {"image_url": staged.only_image} if staged.only_image else {}
    new |= texts(takes[0]) if len(takes) == 1 else {}
    values, kept = refilled(form, staged.filled, new)
    staged.filled = new
    images = [file.name for file in staged.images]
    several = f"{name} lists {len(takes)} takes. What you fill in here is set in each of them."
    context = {"values": values, "images": images, "file": name, "kept": kept}
    problem = several if len(takes) > 1 else ""
    return board.page(request, "fields.html", problem=problem, **context)


async def preview(request: Request) -> Response:
    """What the form would make, its price, and every error beside its field."""
    board, form = board_of(request), await form_of(request)
    show = partial(_show, board, request, form)
    return await board.examinations.of(request, request.path_params["drop_id"], show)


def _show(board: Board, request: Request, form: dict[str, str], change: str = "") -> Response:
    staged = board.staging.of(request.path_params["drop_id"])
    with staged.lock:
        if staged.is_started:
            return progress(request)
        found = preview_drop(staged, form, board.stack)
        drawn = _drawn(board, staged)
        count = len(staged.audio)
    context: dict[str, Any] = {"preview": found, "waveform": drawn, "staged": staged}
    verb = "Drop it" if count == 1 else f"Drop {count} files"
    return board.page(request, "drop_preview.html", verb=verb, change=change, **context)


def _drawn(board: Board, staged: StagedDrop) -> Waveform | None:
    """The waveform of the only audio; what cannot be decoded is the examination's to say."""
    if len(staged.audio) != 1:
        return None
    [file] = staged.audio
    try:
        with file.open("rb") as opened:
            key = (str(file), str(file.stat().st_mtime_ns))
            return board.waveform(key, lambda: waveform(opened, file.suffix))
    except EditingFailed:
        return None


async def drop(request: Request) -> Response:
    """Put the drops in the bucket, at the price that the button said; pressed twice, once."""
    board, form = board_of(request), await form_of(request)
    return await run_in_threadpool(_drop, board, request, form)


def _drop(board: Board, request: Request, form: dict[str, str]) -> Response:
    staged = board.staging.of(request.path_params["drop_id"])
    stack = board.stack
    with staged.lock:  # no file changes between its price and its start
        if staged.is_started:
            return progress(request)
        found: Preview[Any] = preview_drop(staged, form, stack)
        change = found.change_since(form)
        if found.planned is None or change:
            return _show(board, request, form, change)
        staged.start(found.planned, stack.client("s3"), stack.outputs["DropBucketName"])
    return progress(request)


def progress(request: Request) -> Response:
    """How far the upload is; at its end the browser goes to the job, or to where the jobs are."""
    board = board_of(request)
    staged = board.staging.of(request.path_params["drop_id"])
    if staged.is_done:
        board.observer.dropped.update({ids[0]: dropped for dropped, ids in staged.dropped})
        return Response(headers={"HX-Redirect": _target(staged)})
    return board.page(request, "progress.html", staged=staged)


def _target(staged: StagedDrop) -> str:
    """The page of the only job, the takes of the only drop, or what is in progress."""
    if len(staged.dropped) > 1:
        return "/"
    [(dropped, job_ids)] = staged.dropped
    name = quote(name_of(dropped.audio.key), safe="")
    return f"/jobs?name={name}" if len(job_ids) > 1 else f"/jobs/{job_ids[0]}"
