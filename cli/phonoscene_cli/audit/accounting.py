"""Whether each drop of the bucket has a record: looked up by the ids that it must have.

A job's id follows from the versions it is made of, so nothing has to be searched, and the table is
never scanned. Only what is not found so is looked for among the takes of its name: its other half
may have been replaced or removed since.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from phonoscene.drops.keys import half_id, job_id, unsafe
from phonoscene.drops.sidecar_files import MAX_SIDECAR_BYTES, read_takes
from phonoscene.errors import DropRefused
from phonoscene.workflow.finding import is_in_ignored_folder, is_own_result
from phonoscene_cli.failures import reason
from phonoscene_cli.stack.connection import THREADS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from phonoscene.drops.drop_bucket import DropBucket, Found
    from phonoscene_cli.audit.bucket_listing import BucketDrop
    from phonoscene_cli.stack.jobs_reader import Reader

#: Drops that are looked up together.
TOGETHER: Final = 100

Item = dict[str, Any]


@dataclass(frozen=True)
class Account:
    """A drop, and the state of its record; None: there is none, and perhaps should be none.

    ``problem``: why S3 does not let it be looked at; then nothing is known of its record.
    """

    drop: BucketDrop
    status: str | None
    problem: str | None = None
    is_ignored: bool = False


@dataclass(frozen=True)
class Accountant:
    """Looks drops of one bucket up in the jobs table."""

    reader: Reader
    bucket: DropBucket

    def accounts(self, drops: Iterable[BucketDrop]) -> Iterator[Account]:
        """One for each drop, in their order; a hundred at a time are in memory."""
        rest = iter(drops)
        with ThreadPoolExecutor(THREADS) as pool:
            while some := list(islice(rest, TOGETHER)):
                records = self._by_id(some)
                unknown = [drop for drop in some if drop not in records]
                data = dict(zip(unknown, pool.map(self._by_name, unknown), strict=True))
                for drop in some:
                    yield self._account(drop, records.get(drop) or data.get(drop))

    def _account(self, drop: BucketDrop, record: Item | None) -> Account:
        """One drop's. An object that cannot be read is not the end of the others."""
        try:
            is_there = record is not None and self._is_whole(drop, record)
            is_ignored = not is_there and self._is_ignored(drop)
        except (BotoCoreError, ClientError) as exc:
            return Account(drop, None, reason(exc))
        status = str(record["status"]) if record and is_there else None
        return Account(drop, status, is_ignored=is_ignored)

    def _is_ignored(self, drop: BucketDrop) -> bool:
        """Whether nothing is made of it: see ``NoDrop.IGNORED``."""
        is_ours = is_own_result(self.bucket, drop.pairing)
        return is_ours or is_in_ignored_folder(self.bucket.read, drop.halves[0].key)

    def _by_id(self, drops: list[BucketDrop]) -> dict[BucketDrop, Item]:
        """The record of each that has one of the ids that follow from what lies there."""
        ids = {drop: self._candidates(drop) for drop in drops}
        records = self.reader.versions(one for some in ids.values() for one in some)
        found: dict[BucketDrop, Item] = {}
        for drop, some in ids.items():
            for one in some:
                if one in records and _is_about(records[one], drop):
                    found.setdefault(drop, records[one] | {"job_id": one})
        return found

    def _candidates(self, drop: BucketDrop) -> list[str]:
        """A pair is a job, or several takes; a half waits, unless it may start by itself."""
        half = half_id(self.bucket.name, drop.halves[0].key)
        if drop.audio is None or unsafe(drop.audio.key):
            return [half]
        return [self._job(drop), self._job(drop, 0) if drop.sidecar else half]

    def _job(self, drop: BucketDrop, take: int | None = None) -> str:
        audio, sidecar = (
            (half.key, half.version_id) if half else ("", "") for half in (drop.audio, drop.sidecar)
        )
        return job_id(self.bucket.name, audio, sidecar if drop.sidecar else None, take)

    def _is_whole(self, drop: BucketDrop, record: Item) -> bool:
        """Whether all takes are there, where the record is the first of several."""
        if drop.sidecar is None or record["job_id"] != self._job(drop, 0):
            return True
        read = self.bucket.read(drop.sidecar.key, MAX_SIDECAR_BYTES + 1)
        try:
            takes = len(read_takes(drop.sidecar.key, read[1])) if read else 0
        except DropRefused:
            return True
        others = [self._job(drop, take) for take in range(1, takes)]
        return len(self.reader.versions(others)) == len(others)

    def _by_name(self, drop: BucketDrop) -> Item | None:
        """A record of that name that was made of what lies there, if each half has one."""
        missing, first = set(drop.halves), None
        for record in self.reader.versions_of(drop.name):
            known = {half for half in missing if _mentions(record, half)}
            if known:
                first = first or record
                missing -= known
            if not missing:
                return first
        return None


def _mentions(record: Item, half: Found) -> bool:
    """Whether a record was made of this version of this object."""
    parts = (record.get("audio"), record.get("sidecar"))
    here = (half.key, half.version_id)
    return any(part and (part["key"], part["version_id"]) == here for part in parts)


def _is_about(record: Item, drop: BucketDrop) -> bool:
    """Whether a record of one of the drop's ids is about what lies there now.

    A half's id knows its key only: of a pair it is nothing, but for a key that was refused, whose
    record names no object. A repeat is by its id about these versions, though its job has others.
    """
    if record.get("same_as"):
        return True
    is_refused_key = not record.get("audio") and not record.get("sidecar")
    return is_refused_key or all(_mentions(record, half) for half in drop.halves)
