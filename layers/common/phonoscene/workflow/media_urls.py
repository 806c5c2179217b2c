"""How fal gets to read a job's files: through URLs of our bucket, or as copies in its storage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from phonoscene.drops.keys import CONTENT_TYPES, suffix_of
from phonoscene.fal.requests import Medium

if TYPE_CHECKING:
    from phonoscene.drops.drop_bucket import DropBucket
    from phonoscene.fal.storage import FalStorage, Uploads
    from phonoscene.jobs import DropObject, Job


class MediaUrls(Protocol):
    """Gives a job's next attempt the URLs of its files. They open them: never stored or logged.

    ``takes``: how long that may take; where it takes no time, there is nothing to prepare.
    """

    @property
    def takes(self) -> timedelta:
        """Return how long ``of`` takes at most; zero if nothing has to be prepared."""
        ...

    def of(self, job: Job) -> dict[str, str]:
        """The URLs by the argument that they are for; the audio's carries the attempt's marker."""
        ...


@dataclass(frozen=True)
class Presigned:
    """Each file at its version, in our bucket, for ``life`` seconds."""

    bucket: DropBucket
    life: int

    @property
    def takes(self) -> timedelta:
        """Return zero: a URL is signed at once."""
        return timedelta(0)

    def of(self, job: Job) -> dict[str, str]:
        """A presigned URL for each file of the job, by field.

        Raises:
            DropRefused: one of the files is gone. fal would only say that it cannot be read, and
                that may pass, so it would be sent again.
        """
        self.bucket.require(job.media)
        return {
            field: self.bucket.presign(pinned, self.life, job.next_marker)
            for field, pinned in job.media.items()
        }


@dataclass(frozen=True)
class Uploaded:
    """A copy of each file in fal's storage, which fal deletes ``life`` seconds later.

    A copy that no request comes to use is not billed, and ends by itself.
    """

    bucket: DropBucket
    storage: FalStorage
    life: int
    takes: timedelta

    def of(self, job: Job) -> dict[str, str]:
        """Upload, and the copies' URLs.

        Raises:
            DropRefused: one of the files is gone, or fal never takes it.
            UploadFailed: fal's storage did not take them this time.
        """
        with self.storage.open(self.life) as uploads:
            return {
                field: self._upload(uploads, field, pinned, job.next_marker)
                for field, pinned in job.media.items()
            }

    def _upload(self, uploads: Uploads, field: str, pinned: DropObject, marker: str) -> str:
        """The name is the marker's: a dropper's file name is not sent to fal."""
        suffix = suffix_of(pinned.key)
        with self.bucket.open(pinned, field) as (size, chunks):
            url = uploads.upload(
                Medium(pinned.key, marker + suffix, CONTENT_TYPES[suffix], size, chunks)
            )
        # fal keeps a name within a file's address, as far as is known. Should it not, the marker
        # goes where no HTTP client sends it, and fal's list of requests shows it all the same.
        return url if marker in url else f"{url}#{marker}"
