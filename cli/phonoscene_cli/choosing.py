"""Which job a person means: by its id, or by the name of its drop."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from phonoscene.drops import LONGEST_KEY, name_of
from phonoscene_cli.errors import CliError

if TYPE_CHECKING:
    from phonoscene.jobs import Job
    from phonoscene_cli.reading import Reader

_ID = re.compile("[0-9a-f]{32}")


def named(text: str) -> str:
    """A drop's name from what was typed: a name, the key of one of its files, or an S3 address."""
    key = text.split("/", 3)[3] if re.match("s3://[^/]+/.", text) else text
    return name_of(key)


def find_job(reader: Reader, text: str) -> Job:
    """The job of that id, or the newest take of that name.

    Raises:
        CliError: there is none.
    """
    job = reader.get(text) if _ID.fullmatch(text) else None
    name = named(text)
    if job is None and name and len(name.encode(errors="replace")) <= LONGEST_KEY:
        job = next(reader.takes(name), None)
    if job is None:
        raise CliError(
            f"There is no job {text}: `phonoscene jobs` lists the recent ones. A drop has none "
            "before it has rested (SettleSeconds)."
        )
    return job
