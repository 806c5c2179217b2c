"""Several files that are dropped together: each is a drop of its own, with keys of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from phonoscene.drops.keys import composed
from phonoscene_cli.errors import CliError, WrongUsage
from phonoscene_cli.upload.dry_run import md5_of
from phonoscene_cli.upload.upload_plan import plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mypy_boto3_s3 import S3Client

    from phonoscene_cli.stack.parameters import StackParameters
    from phonoscene_cli.upload.upload import FileUpload
    from phonoscene_cli.upload.upload_plan import DropOptions, Plan

T = TypeVar("T")


def plan_all(
    files: Sequence[DropOptions],
    s3: S3Client,
    bucket: str,
    parameters: StackParameters,
    on_planned: Callable[[int], None] = lambda _: None,
) -> list[Plan]:
    """Everything that can be known before the upload; ``on_planned`` gets how many are examined.

    Raises:
        WrongUsage, CliError: a file is no drop, or has no sidecar, or two have one key. All files
            of which that is true are named.
    """
    keys = _of_each(files, lambda one: one.key)
    _check_keys(files, keys)
    plans: list[Plan] = []

    def planned(one: DropOptions) -> None:
        plans.append(plan(one, s3, bucket, parameters, keys))
        on_planned(len(plans))

    _of_each(files, planned)
    return _with_each_image_once(plans)


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
