"""Which job a person means: by its id, or by the name of its drop."""

from __future__ import annotations

import heapq
import re
from typing import TYPE_CHECKING

from phonoscene.drops import Kind, fits, kind_of, name_of, name_of_one
from phonoscene_cli.errors import CliError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phonoscene.jobs import Job
    from phonoscene_cli.reading import Reader

_ID = re.compile("[0-9a-f]{32}")


def named(text: str) -> str:
    """A drop's name from what was typed: a name, the key of one of its files, or an S3 address."""
    return name_of(_key(text))


def takes_of(reader: Reader, text: str) -> Iterator[Job]:
    """The takes of a drop, the newest first; of an audio file also those that have its own name.

    A file whose sidecar could be another's is rejected under the name of its whole key.
    """
    key = _key(text)
    own = [name_of_one(key)] if kind_of(key) is Kind.AUDIO else []
    found = (reader.takes(name) for name in (name_of(key), *own) if name and fits(name))
    return heapq.merge(*found, key=lambda job: job.created_at, reverse=True)


def _key(text: str) -> str:
    return text.split("/", 3)[3] if re.match("s3://[^/]+/.", text) else text


def find_job(reader: Reader, text: str) -> Job:
    """The job of that id, or the newest take of that name.

    Raises:
        CliError: there is none.
    """
    job = reader.get(text) if _ID.fullmatch(text) else None
    job = job or next(takes_of(reader, text), None)
    if job is None:
        raise CliError(
            f"There is no job {text}: `phonoscene jobs` lists the recent ones. A drop has none "
            "before it has rested (SettleSeconds)."
        )
    return job
