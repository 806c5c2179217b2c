"""``phonoscene drop``: examine, price, ask, upload, follow, fetch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phonoscene.comparison import is_noted
from phonoscene.drops.keys import name_of
from phonoscene_cli.errors import NOT_FINE, WrongUsage
from phonoscene_cli.follow import follow
from phonoscene_cli.options import Follow, Json, Meta, Out, Set, Timeout, Yes, stack_of
from phonoscene_cli.stack.job_lookup import folder_in, key_in
from phonoscene_cli.ui import terminal
from phonoscene_cli.upload.drop_report import NewJobs, Sum, refuse_if_wrong, tell_price
from phonoscene_cli.upload.repeats import new_takes, repeats_of, sentences
from phonoscene_cli.upload.sidecars import changes_of
from phonoscene_cli.upload.upload import Drop, Dropped, Upload, UploadedDespiteInterrupt, put
from phonoscene_cli.upload.upload_plan import PICTURES, DropOptions, Plan, plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from phonoscene.jobs import Job
    from phonoscene_cli.stack.connection import Stack


@dataclass(frozen=True, kw_only=True)
class DropResult(NewJobs):
    """The keys of the files, and the ids of the jobs whose content this is."""

    audio: str
    sidecar: str | None
    images: Sequence[str]
    repeats: Sequence[str]


def drop(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The audio file.")],
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
    """Drop an audio file: it is examined and priced here, before it is uploaded.

    The sidecar is the file beside it (song.mp3.json or song.json), if there is one, with what the
    options change. Images that it names are uploaded as well.

    Example: phonoscene drop song.mp3 --prompt "Rain on a window" --out song.mp4
    """
    named = {PICTURES["image"]: image, PICTURES["end_image"]: end_image}
    pictures = {field: picture for field, picture in named.items() if picture}
    changes = _changes(changes_of(settings, meta), prompt, pictures)
    stack = stack_of(context)
    drop_options = DropOptions(file, *_place(stack, folder, name), changes, pictures)
    planned = plan(
        drop_options, stack.client("s3"), stack.outputs["DropBucketName"], stack.parameters
    )
    repeats = repeats_of(planned, stack)
    result = _result(planned, repeats)
    step = "Correct what is named above, then drop again."
    refuse_if_wrong(result, "Nothing was dropped", step, as_json=as_json)
    if out:
        out.check(planned.outlook.videos(name_of(planned.drop.audio.key)))
    _tell(planned, repeats, stack)
    if dry_run:
        follow.tell_end(result, as_json=as_json)
        return
    if not terminal.agreed(f"Drop it as {planned.drop.audio.key}?", yes=yes):
        terminal.say("Nothing was dropped.")
        raise typer.Exit(NOT_FINE)
    dropped = _upload(planned, repeats, stack)
    result = replace(result, job_ids=dropped.job_ids(len(planned.outlook.takes)))
    done_before = frozenset(job.job_id for job in repeats.values() if job.video)
    ending = follow.Ending(watch, out, timeout, as_json, done_before, dropped)
    raise typer.Exit(ending.come(stack, result))


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


def _result(planned: Plan, repeats: dict[int, Job]) -> DropResult:
    """The result, as far as it is known before the upload."""
    drop = planned.drop
    return DropResult(
        audio=drop.audio.key,
        sidecar=drop.sidecar.key if drop.sidecar else planned.pairing.sidecar,
        images=[image.key for image in drop.images],
        estimate=Sum.of(new_takes(planned, repeats).estimates),
        segments=new_takes(planned, repeats).segments,
        repeats=[job.job_id for job in repeats.values()],
        errors=planned.outlook.errors,
    )


def _tell(planned: Plan, repeats: dict[int, Job], stack: Stack) -> None:
    """What it is, and its price."""
    audio = planned.outlook.takes[0].fields["audio"]
    form = str(audio.format).partition(";")[0]
    terminal.say(f"{planned.drop.audio.key}: {audio.seconds:.2f} s of {form}")
    padding = planned.outlook.takes[0].fields.get("padding")
    if is_noted(padding):
        terminal.say(
            f"The last {padding:.2f} s will not be in the video, which is as long as one request "
            "can be."
        )
    tell_price(new_takes(planned, repeats), stack)
    for sentence in sentences(planned, repeats, stack.client("s3")):
        terminal.say(sentence)


def _upload(planned: Plan, repeats: dict[int, Job], stack: Stack) -> Dropped:
    """Upload everything, or nothing."""
    drop: Drop = planned.drop
    bucket = stack.outputs["DropBucketName"]
    try:
        with terminal.advancing("uploading", drop.audio.bytes, in_bytes=True) as advance:
            dropped = put(Upload(stack.client("s3"), bucket, drop, advance))
    except UploadedDespiteInterrupt as exc:
        ids = enumerate(exc.dropped.job_ids(len(planned.outlook.takes)))
        follow.too_late([job_id for number, job_id in ids if number not in repeats])
        raise
    except KeyboardInterrupt:
        terminal.say("Interrupted: nothing was dropped.")
        raise
    terminal.say(f"dropped s3://{bucket}/{drop.audio.key}")
    return dropped
