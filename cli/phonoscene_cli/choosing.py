"""What a person means by a word: a job by its id, a drop by its name, a key by its S3 address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from phonoscene.drops import LONGEST_KEY, name_of
from phonoscene_cli.errors import CliError, WrongUsage

if TYPE_CHECKING:
    from phonoscene.jobs import Job
    from phonoscene_cli.stack import Stack

_ID = re.compile("[0-9a-f]{32}")
_ADDRESS = re.compile("s3://([^/]*)/?(.*)", re.IGNORECASE | re.DOTALL)


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
        raise WrongUsage(f"{text} is not in the drop bucket of this stack, s3://{bucket}.")
    return address[2]


def folder_in(stack: Stack, text: str) -> str:
    """A folder's prefix, ``talks/``; empty for the whole bucket."""
    folder = key_in(stack, text).strip("/")
    return f"{folder}/" if folder else ""


def name_in(stack: Stack, text: str) -> str:
    """A drop's name from what was typed: a name, the key of one of its files, or an S3 address."""
    return name_of(key_in(stack, text))


def find_job(stack: Stack, text: str) -> Job:
    """The job of that id, or the newest take of that name.

    Raises:
        CliError: there is none.
    """
    reader = stack.jobs
    job = reader.get(text) if _ID.fullmatch(text) else None
    name = name_in(stack, text)
    if job is None and name and len(name.encode(errors="replace")) <= LONGEST_KEY:
        job = next(reader.takes(name), None)
    if job is None:
        raise CliError(
            f"There is no job {text}: `phonoscene jobs` lists the recent ones. A drop has none "
            "before it has rested (SettleSeconds)."
        )
    return job
