"""One job: its page, its files, and what can be done about it."""

from __future__ import annotations

import secrets
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from phonoscene.drops.keys import suffix_of
from phonoscene.drops.sidecar import chosen
from phonoscene.errors import DropRefused, EditingFailed, TooMuchRead
from phonoscene.probe.object_reader import ObjectReader
from phonoscene_cli.board.context import Board, board_of, form_of
from phonoscene_cli.board.forms.fields import EMPTY, NAMES, OTHER, texts
from phonoscene_cli.board.forms.preview import Preview, preview_retry
from phonoscene_cli.board.media.streaming import S3Object, answer, read
from phonoscene_cli.board.media.waveform import Waveform, waveform
from phonoscene_cli.errors import CliError
from phonoscene_cli.follow.cancellation import cancel as cancel_jobs
from phonoscene_cli.stack.job_lookup import is_id
from phonoscene_cli.stack.video_download import video_of
from phonoscene_cli.upload.retry_plan import own_sidecar
from phonoscene_cli.upload.sidecars import takes_of_sidecar
from phonoscene_cli.upload.upload import FileUpload

if TYPE_CHECKING:
    from starlette.requests import Request

    from phonoscene.jobs import Audio, Job

#: What is waited for after a request to cancel.
CANCELLING: Final = timedelta(seconds=20)
NO_JOB: Final = "There is no such job. Check the address, or look for it on the Jobs page."


def job_page(request: Request) -> Response:
    """Everything about a job; a drop that has just come has no record yet."""
    board = board_of(request)
    job_id = request.path_params["job_id"]
    if not is_id(job_id):
        raise HTTPException(404, NO_JOB)
    found = board.stack.jobs.get(job_id)
    return board.page(request, "job.html" if found else "new_drop.html", job_id=job_id, job=found)


def video(request: Request) -> Response:
    """The stored video, from S3."""
    board = board_of(request)
    job = _job(board, request)
    if job.video is None:
        raise HTTPException(404, "This job has no video.")
    name = "".join(video_of(job))
    stored = job.video
    found = S3Object(
        stored.bucket, stored.key, stored.version_id, stored.bytes, stored.content_type, name
    )
    return _streamed(board, request, found)


def audio(request: Request) -> Response:
    """The audio that the job was made of, from the drop bucket."""
    board = board_of(request)
    job = _job(board, request)
    if job.audio is None:
        raise HTTPException(404, "This job has no audio.")
    return _streamed(board, request, _audio_of(job, job.audio))


def _audio_of(job: Job, half: Audio) -> S3Object:
    kind = (half.format or FileUpload(half.key, b"").content_type).partition(";")[0]
    name = half.key.rpartition("/")[2]
    return S3Object(job.bucket, half.key, half.version_id, half.bytes, kind, name)


def _streamed(board: Board, request: Request, found: S3Object) -> Response:
    is_download = "download" in request.query_params
    return answer(
        board.stack.client("s3"), found, request.headers.get("range"), is_download=is_download
    )


def drawing(request: Request) -> Response:
    """The waveform of a job's audio, with its segments."""
    board = board_of(request)
    job = _job(board, request)
    drawn, problem = None, ""
    try:
        drawn = _waveform(board, job)
    except (DropRefused, EditingFailed, TooMuchRead) as exc:
        problem = f"The waveform cannot be drawn: {exc or 'the file is too large'}"
    return board.page(request, "waveform.html", waveform=drawn, problem=problem, job=job)


def _waveform(board: Board, job: Job) -> Waveform | None:
    """The drawing, made once; None where the audio is gone from the bucket."""
    half = job.audio
    if half is None:
        return None
    found = _audio_of(job, half)
    s3 = board.stack.client("s3")
    reader = ObjectReader(lambda first, last: b"".join(read(s3, found, first, last)), found.size)
    key = (found.bucket, found.key, found.version_id)
    return board.waveform(key, lambda: waveform(reader, suffix_of(half.key)))


def cancel(request: Request) -> Response:
    """Ask for the end of a job, and say what became of it."""
    board = board_of(request)
    job, stack = _job(board, request), board.stack
    [outcome] = cancel_jobs([job], stack.drops, stack.jobs.many, CANCELLING)
    return board.page(request, "note.html", note=f"{outcome.before.name}: {outcome.sentence}.")


def retry_form(request: Request) -> Response:
    """The form, filled with what the job was made of."""
    board = board_of(request)
    job = _job(board, request)
    before, problem = _values(board, job)
    return _retry_page(board, request, job, texts(before), problem)


async def retry_form_again(request: Request) -> Response:
    """The same with what was typed into the form of an older take."""
    board, form = board_of(request), await form_of(request)
    typed = {name: form[name] for name in (*NAMES, OTHER) if form.get(name)}
    job = await run_in_threadpool(_job, board, request)
    return _retry_page(board, request, job, typed)


def _retry_page(
    board: Board, request: Request, job: Job, values: dict[str, str], problem: str = ""
) -> Response:
    context = {**EMPTY, "values": values, "problem": problem}
    return board.page(request, "retry.html", job=job, attempt=secrets.token_hex(16), **context)


async def retry_preview(request: Request) -> Response:
    """What a new take would be, and cost."""
    board, form = board_of(request), await form_of(request)
    show = partial(_show, board, request, form)
    return await board.examinations.of(request, form.get("attempt", ""), show)


def _show(board: Board, request: Request, form: dict[str, str]) -> Response:
    found = _preview(board, request, form)
    return board.page(request, "preview.html", preview=found, verb="Make a new take", change="")


async def retry(request: Request) -> Response:
    """Make a new take, if it still costs what the button said; pressed twice it makes one."""
    board, form = board_of(request), await form_of(request)
    return await run_in_threadpool(_retry, board, request, form)


def _retry(board: Board, request: Request, form: dict[str, str]) -> Response:
    found = _preview(board, request, form)
    verb = "Make a new take"
    change = found.change_since(form)
    if found.planned is None or change:
        return board.page(request, "preview.html", preview=found, verb=verb, change=change)
    attempt = form.get("attempt", "")
    if not board.once(attempt):
        note = (
            "This take was already sent. Look at the takes of the job before you make another one."
        )
        return board.page(request, "note.html", note=note)
    try:
        dropped = found.planned.put(board.stack.client("s3"))
    except Exception:
        board.again(attempt)  # what was put all the same is found by the next examination
        raise
    [new, *_] = dropped.job_ids(len(found.planned.outlook.takes))
    board.observer.dropped[new] = dropped
    return Response(headers={"HX-Redirect": f"/jobs/{new}"})


def _preview(board: Board, request: Request, form: dict[str, str]) -> Preview[Any]:
    job = _job(board, request)
    before, problem = _values(board, job)
    if problem:
        return Preview(step=problem)
    return preview_retry(job, before, form, board.stack)


def _values(board: Board, job: Job) -> tuple[dict[str, Any], str]:
    """The fields of the sidecar that a job was made of, or why they cannot be had."""
    if job.sidecar is None:
        return chosen(job.arguments), ""
    if job.audio is None:
        return {}, "This drop has no audio. Drop both files again."
    try:
        raw = own_sidecar(job, job.audio, job.sidecar, board.stack.client("s3"))
        [only, *_] = takes_of_sidecar(job.sidecar.key, raw)
    except (CliError, DropRefused) as exc:
        return {}, f"Its sidecar cannot be changed here. Drop corrected files. {exc}"
    return only, ""


def _job(board: Board, request: Request) -> Job:
    """The job of the address.

    Raises:
        HTTPException: there is none.
    """
    job = board.stack.jobs.get(request.path_params["job_id"])
    if job is None:
        raise HTTPException(404, NO_JOB)
    return job
