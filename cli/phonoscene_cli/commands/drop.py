"""``phonoscene drop``: examine, price, ask, upload, follow, fetch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phonoscene.comparison import is_noted
from phonoscene_cli.errors import NOT_FINE, WrongUsage
from phonoscene_cli.follow import follow
from phonoscene_cli.options import Follow, Json, Meta, Out, Set, Timeout, Yes, stack_of
from phonoscene_cli.stack.job_lookup import folder_in, key_in
from phonoscene_cli.stack.video_download import checked
from phonoscene_cli.ui import terminal
from phonoscene_cli.upload.drop_report import (
    NewJobs,
    Sum,
    refuse_if_wrong,
    take_lines,
    tell_lines,
    total_lines,
)
from phonoscene_cli.upload.repeats import sentences
from phonoscene_cli.upload.several import Candidate, errors_of, examined
from phonoscene_cli.upload.sidecars import changes_of
from phonoscene_cli.upload.upload import (
    INTERRUPTED,
    Dropped,
    Upload,
    UploadedDespiteInterrupt,
    put,
)
from phonoscene_cli.upload.upload_plan import PICTURES, DropOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from phonoscene_cli.stack.connection import Stack
    from phonoscene_cli.stack.video_download import Destination


@dataclass(frozen=True, kw_only=True)
class DropResult(NewJobs):
    """The keys of the files, and the ids of the jobs whose content this is."""

    audio: str
    sidecar: str | None
    images: Sequence[str]
    repeats: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class DropsResult(NewJobs):
    """Several files that were dropped together; the other fields are of all of them."""

    drops: Sequence[DropResult]


def drop(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="The audio files.")],
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the video shows.")
    ] = None,
    settings: Set = None,
    meta: Meta = None,
    image: Annotated[
        str | None, typer.Option(metavar="FILE|URL", help="The video's first frame.")
    ] = None,
    end_image: Annotated[
        str | None, typer.Option(metavar="FILE|URL", help="The video's last frame.")
    ] = None,
    folder: Annotated[
        str, typer.Option(metavar="FOLDER", help="The folder in the drop bucket.")
    ] = "",
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The name of the drop; default: the file's name."),
    ] = None,
    watch: Follow = False,
    out: Out = None,
    timeout: Timeout = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and price the drop without uploading it.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Drop audio files. Each is examined and priced here, before anything is uploaded.

    A sidecar is the file beside the audio (song.mp3.json or song.json), if there is one; options
    change it. Images that it names are uploaded as well.

    Example: phonoscene drop song.mp3 --prompt "Rain on a window" --out song.mp4
    """
    named = {PICTURES["image"]: image, PICTURES["end_image"]: end_image}
    pictures = {field: picture for field, picture in named.items() if picture}
    changes = _changes(changes_of(settings, meta), prompt, pictures)
    stack = stack_of(context)
    _check_places(files, name, out)
    place = _place(stack, folder, name)
    drops = _examined([DropOptions(file, *place, changes, pictures) for file in files], stack)
    result = _result(drops)
    step = "Correct the errors above, then drop again."
    refuse_if_wrong(result, "Nothing was dropped", step, as_json=as_json)
    videos = checked(out, (video for one in drops for video in one.plan.outlook.videos(one.name)))
    _tell(drops, stack)
    if dry_run:
        follow.tell_end(result, as_json=as_json)
        return
    is_one = len(drops) == 1
    question = f"Drop it as {drops[0].key}?" if is_one else f"Drop these {len(drops)} files?"
    if not terminal.agreed(question, yes=yes):
        terminal.say("Nothing was dropped.")
        raise typer.Exit(NOT_FINE)
    dropped = _upload_all(drops, stack, as_json=as_json)
    jobs = {
        job_id: pair
        for pair in zip(drops, dropped, strict=True)
        for job_id in pair[0].job_ids(pair[1])
    }
    ending = follow.Ending(
        watch,
        out,
        timeout,
        as_json,
        videos,
        frozenset(job.job_id for one in drops for job in one.repeats.values() if job.video),
        {job_id: there for job_id, (_, there) in jobs.items()},
        None if is_one else Counter(one.name for one, _ in jobs.values()),
    )
    raise typer.Exit(ending.come(stack, _result(drops, dropped)))


def _changes(
    changes: dict[str, Any], prompt: str | None, pictures: Mapping[str, str]
) -> dict[str, Any]:
    """What --set, --meta and --prompt change in the sidecar.

    Raises:
        WrongUsage: --set and an option of its own give a field.
    """
    prompts = {} if prompt is None else {"prompt": prompt}
    if twice := changes.keys() & {*prompts, *pictures}:
        raise WrongUsage(f"{min(twice)} is given by --set and by its own option. Use one of them.")
    return changes | prompts


def _place(stack: Stack, folder: str, name: str | None) -> tuple[str, str | None]:
    """The folder and the name in the drop bucket; a name that is an S3 address has its folder.

    Raises:
        WrongUsage: it has, and another is given, too; or it names no object.
    """
    if name == "":
        raise WrongUsage("--name is empty. Name the drop, or omit the option.")
    key = None if name is None else key_in(stack, name)
    if key == name:
        return folder_in(stack, folder), name
    if folder or not key:
        raise WrongUsage(f"--name {name} is a full S3 address. Omit --folder.")
    return "", key


def _check_places(files: Sequence[Path], name: str | None, out: Destination | None) -> None:
    """Of several files, none can have the one name, or the one file for its video."""
    if len(files) == 1:
        return
    if name is not None:
        raise WrongUsage("--name is for one file. Omit it, or drop the files one by one.")
    if out and not out.is_folder:
        example = f": {out.path}/" if not out.path.exists() else "."
        raise WrongUsage(
            f"--out {out.path} is one file, for several videos. Name a folder{example}"
        )


def _examined(files: Sequence[DropOptions], stack: Stack) -> list[Candidate]:
    try:
        with terminal.advancing("examining", len(files)) as advance:
            return examined(files, stack, advance)
    except KeyboardInterrupt:
        terminal.say(INTERRUPTED)
        raise


def _result(
    drops: Sequence[Candidate], dropped: Sequence[Dropped] = ()
) -> DropResult | DropsResult:
    """The result, with the jobs of as many files as were dropped."""
    results = [_result_of(one, there) for one, there in zip_longest(drops, dropped)]
    if len(results) == 1:
        return results[0]
    return DropsResult(
        drops=results,
        estimate=Sum.of(estimate for one in drops for estimate in one.new.estimates),
        errors=list(dict.fromkeys(errors_of(drops, with_source=True))),
        job_ids=[job_id for one in results for job_id in one.job_ids],
    )


def _result_of(one: Candidate, dropped: Dropped | None) -> DropResult:
    planned = one.plan.drop
    return DropResult(
        audio=one.key,
        sidecar=planned.sidecar.key if planned.sidecar else one.plan.pairing.sidecar,
        images=[image.key for image in planned.images],
        estimate=Sum.of(one.new.estimates),
        segments=one.new.segments,
        repeats=[job.job_id for job in one.repeats.values()],
        errors=one.errors,
        job_ids=one.job_ids(dropped) if dropped else (),
    )


def _tell(drops: Sequence[Candidate], stack: Stack) -> None:
    """What each file is and costs, and the price of all."""
    for one in drops:
        fields = one.plan.outlook.takes[0].fields
        form = str(fields["audio"].format).partition(";")[0]
        terminal.say(f"{one.key}: {fields['audio'].seconds:.2f} s of {form}")
        padding = fields.get("padding")
        if is_noted(padding):
            terminal.say(
                f"The last {padding:.2f} s will not be in the video, which is as long as one "
                "request can be."
            )
        tell_lines(take_lines(one.new, stack), in_full=len(drops) == 1)
        for sentence in sentences(one.plan, one.repeats, stack.client("s3")):
            terminal.say(sentence)
    tell_lines(total_lines([take for one in drops for take in one.new.priced], stack))


def _upload_all(drops: Sequence[Candidate], stack: Stack, *, as_json: bool) -> list[Dropped]:
    """Upload one file after another, each with all that belongs to it, or nothing of it."""
    dropped: list[Dropped] = []
    try:
        for one in drops:
            _upload(one, stack, dropped)
    except BaseException as exc:  # ^C, too: what was dropped becomes jobs
        if isinstance(exc, KeyboardInterrupt):
            nothing = [] if dropped else [INTERRUPTED]
            for line in getattr(exc, "__notes__", nothing):
                terminal.say(line)
        if len(drops) > 1 and dropped:
            done = f"{len(dropped)} of {len(drops)} files were dropped"
            rest = [one.key for one in drops[len(dropped) :]]
            terminal.say(f"{done}; {rest[0]} and those after it were not." if rest else f"{done}.")
            follow.tell_end(_result(drops, dropped), as_json=as_json)
        raise
    return dropped


def _upload(one: Candidate, stack: Stack, dropped: list[Dropped]) -> None:
    """Upload everything of one file, or nothing; ``dropped`` gets what was uploaded."""
    planned = one.plan.drop
    bucket = stack.outputs["DropBucketName"]
    try:
        with terminal.advancing("uploading", planned.audio.bytes, in_bytes=True) as advance:
            dropped.append(put(Upload(stack.client("s3"), bucket, planned, advance)))
    except UploadedDespiteInterrupt as exc:
        dropped.append(exc.dropped)
        ids = enumerate(one.job_ids(exc.dropped))
        follow.too_late([job_id for number, job_id in ids if number not in one.repeats])
        raise
    terminal.say(f"dropped s3://{bucket}/{one.key}")
