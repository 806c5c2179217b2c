"""What a person means by a word: a job by its id, a drop by its name, a key by its S3 address."""

from __future__ import annotations

import heapq
import re
from typing import TYPE_CHECKING

from phonoscene.drops.keys import Kind, drop_name, fits, kind_of, name_of, name_of_one
from phonoscene_cli.errors import CliError, WrongUsage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phonoscene.jobs import Job
    from phonoscene_cli.stack.connection import Stack

_ID = re.compile("[0-9a-f]{32}")
_ADDRESS = re.compile("s3://([^/]*)/?(.*)", re.IGNORECASE | re.DOTALL)


def is_id(text: str) -> bool:
    """Whether a job could have this id."""
    return bool(_ID.fullmatch(text))


def key_in(stack: Stack, text: str) -> str:
    """A folder, prefix, name or key as it was typed; of an S3 address what follows the bucket.

    Raises:
        WrongUsage: the address names another bucket than the stack's drop bucket.
    """
    address = _ADDRESS.fullmatch(text)
    if address is None:
        return text
    bucket = stack.outputs["DropBucketName"]
    if address[1] != bucket:
        raise WrongUsage(f"{text} is not in this stack's drop bucket, s3://{bucket}.")
    return address[2]


def folder_in(stack: Stack, text: str) -> str:
    """A folder's prefix, ``talks/``; empty for the whole bucket."""
    folder = key_in(stack, text).strip("/")
    return f"{folder}/" if folder else ""


def name_in(stack: Stack, text: str) -> str:
    """A drop's name from what was typed: a name, the key of one of its files, or an S3 address."""
    return name_of(key_in(stack, text))


def takes_of(stack: Stack, text: str) -> Iterator[Job]:
    """The takes of a drop, the newest first; of an audio file also those that have its own name.

    A file whose sidecar could be another's is rejected under the name of its whole key.
    """
    key = key_in(stack, text)
    own = [name_of_one(key)] if kind_of(key) is Kind.AUDIO else []
    found = (stack.jobs.takes(name) for name in (name_of(key), *own) if name and fits(name))
    return heapq.merge(*found, key=lambda job: job.created_at, reverse=True)


def find_whole(stack: Stack, text: str, command: str) -> Job:
    """The job that ``find_job`` finds, for a command that concerns whole jobs and no segments.

    Raises:
        CliError: there is none, or it is a segment's job.
    """
    job = find_job(stack, text)
    if job.part_of:
        part = f"segment {(job.part or 0) + 1} of {drop_name(job.name)}"
        raise CliError(
            f"{job.job_id} is {part}. Use `phonoscene {command} {job.part_of}` for the whole."
        )
    return job


def find_job(stack: Stack, text: str) -> Job:
    """The job of that id, or the newest take of that name.

    Raises:
        CliError: there is none.
    """
    reader = stack.jobs
    job = reader.get(text) if is_id(text) else None
    job = job or next(takes_of(stack, text), None)
    if job is None and reader.unreadable:
        raise CliError(
            f"The record of {text} cannot be read: `phonoscene show {min(reader.unreadable)}` "
            "says why."
        )
    if job is None:
        raise CliError(
            f"There is no job {text}: `phonoscene jobs` lists the recent ones. A new drop may get "
            "its job only after SettleSeconds."
        )
    return job
