"""Several files that are dropped together: each is a drop of its own, with keys of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from phonoscene.drops.keys import composed, is_defaults, name_of
from phonoscene_cli.errors import CliError, WrongUsage
from phonoscene_cli.upload.dry_run import Forecast, md5_of
from phonoscene_cli.upload.repeats import repeats_of
from phonoscene_cli.upload.upload_plan import plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from phonoscene.jobs import ErrorDetail, Job
    from phonoscene_cli.stack.connection import Stack
    from phonoscene_cli.upload.upload import Dropped, FileUpload
    from phonoscene_cli.upload.upload_plan import DropOptions, Plan

T = TypeVar("T")


@dataclass(frozen=True)
class Candidate:
    """A file before it is dropped; ``repeats``: the jobs that its takes would repeat."""

    plan: Plan
    repeats: dict[int, Job]

    @property
    def new(self) -> Forecast:
        """What would become of the takes that are no repeats."""
        takes = enumerate(self.plan.outlook.takes)
        return Forecast(tuple(take for number, take in takes if number not in self.repeats))

    @property
    def key(self) -> str:
        """The key of the audio."""
        return self.plan.drop.audio.key

    @property
    def name(self) -> str:
        """The name of the drop."""
        return name_of(self.key)

    @property
    def errors(self) -> list[ErrorDetail]:
        """What is wrong; an error that names no file is in the audio."""
        return [
            error if error.source else error.model_copy(update={"source": self.key})
            for error in self.plan.outlook.errors
        ]

    def job_ids(self, dropped: Dropped) -> list[str]:
        """The ids of its jobs, those of takes that repeat a job included."""
        return dropped.job_ids(len(self.plan.outlook.takes))


def errors_of(drops: Sequence[Candidate], *, with_source: bool = False) -> list[ErrorDetail]:
    """What is wrong with the files; an error that not all of them have names its file.

    ``with_source``: so does the source that is shown, but for defaults, which they share.
    """
    having = Counter(
        each for one in drops for each in {(error.field, error.message) for error in one.errors}
    )
    return [
        error
        if having[error.field, error.message] == len(drops)
        or one.key.rpartition("/")[2] in error.message
        or (with_source and not is_defaults(str(error.source)))
        else error.model_copy(update={"message": f"{one.key}: {error.message}"})
        for one in drops
        for error in one.errors
    ]


def examined(
    files: Sequence[DropOptions],
    stack: Stack,
    on_examined: Callable[[int], None] = lambda _: None,
) -> list[Candidate]:
    """Everything that can be known before the upload; ``on_examined`` gets how many are done.

    Raises:
        WrongUsage, CliError: a file is no drop, or has no sidecar, or two have one key. All files
            of which that is true are named.
    """
    keys = _of_each(files, lambda one: one.key)
    _check_keys(files, keys)
    s3, bucket = stack.client("s3"), stack.outputs["DropBucketName"]
    plans: list[Plan] = []

    def examine(one: DropOptions) -> None:
        plans.append(plan(one, s3, bucket, stack.parameters, keys))
        on_examined(len(plans))

    _of_each(files, examine)
    return [Candidate(one, repeats_of(one, stack)) for one in _with_each_image_once(plans)]


def _of_each(files: Sequence[DropOptions], work: Callable[[DropOptions], T]) -> list[T]:
    """What ``work`` returns for each file; or the errors of all files in one."""
    results: list[T] = []
    errors: list[CliError] = []
    for one in files:
        try:
            results.append(work(one))
        except CliError as exc:
            errors.append(exc)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        kinds = {*map(type, errors)}
        raise (kinds.pop() if len(kinds) == 1 else CliError)(" ".join(map(str, errors)))
    return results


def _check_keys(files: Sequence[DropOptions], keys: Sequence[str]) -> None:
    seen: dict[str, DropOptions] = {}
    for one, key in zip(files, map(composed, keys), strict=True):
        first = seen.setdefault(key, one)
        if first is not one:
            raise WrongUsage(
                f"{first.file} and {one.file} would both be dropped as {key}. Name each file once, "
                "or drop them one by one, with another --name or --folder."
            )


def _with_each_image_once(plans: Sequence[Plan]) -> list[Plan]:
    """The plans, each image in the first drop that names it.

    Raises:
        WrongUsage: two images of one key differ, so that one drop would get the other's.
    """
    seen: dict[str, FileUpload] = {}
    for image in (image for one in plans for image in one.images):
        first = seen.setdefault(image.key, image)
        if md5_of(first.source) != md5_of(image.source):
            raise WrongUsage(
                f"Two images that differ would both be {image.key}. Rename one of them, or drop "
                "the files one by one, with another --folder."
            )
    uploads: set[str] = set()
    once: list[Plan] = []
    for one in plans:
        images = tuple(image for image in one.drop.images if image.key not in uploads)
        uploads |= {image.key for image in images}
        once.append(replace(one, drop=replace(one.drop, images=images)))
    return once
