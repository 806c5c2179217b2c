"""Signs links to videos with the caller's own credentials, and computes when they end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote

from phonoscene_cli.errors import StackUnreachable
from phonoscene_cli.stack.video_download import place_of, see, video_of

if TYPE_CHECKING:
    from phonoscene.jobs import Job, Video
    from phonoscene_cli.stack.connection import Stack

#: The longest life of a link: SigV4's limit.
MAX_LIFE: Final = timedelta(days=7)

#: What ends a link: its own time, or the session whose credentials signed it, if that ends first.
#: AWS does not tell when a session of the environment ends: then it may be earlier than the time.
EndsWith = Literal["time", "session", "unknown"]


@dataclass(frozen=True)
class Link:
    """A link to a video, and when it ends."""

    url: str
    expires_at: datetime
    ends_with: EndsWith


def sign(stack: Stack, job: Job, video: Video, life: timedelta) -> Link:
    """Return a link to a job's video that is valid for ``life``, or until the session ends.

    Raises:
        VideoGone: it is no longer in the bucket.
    """
    see(stack.client("s3"), job, video)
    credentials = stack.session.get_credentials()
    if credentials is None:
        raise StackUnreachable(
            "There are no AWS credentials to sign with.",
            "Choose a profile that has them with --profile.",
        )
    is_session = credentials.get_frozen_credentials().token is not None  # refreshed, if need be
    now = datetime.now(UTC)
    file = quote("".join(video_of(job)), safe="")
    named = f"inline; filename*=UTF-8''{file}"
    url = stack.presigner.generate_presigned_url(
        "get_object",
        Params={**place_of(video), "ResponseContentDisposition": named},
        ExpiresIn=int(life.total_seconds()),
    )
    # botocore has no public name for it; credentials that it does not refresh have none at all
    session_ends: datetime | None = getattr(credentials, "_expiry_time", None)
    if is_session and session_ends and session_ends < now + life:
        return Link(url, session_ends, "session")
    is_unknown = is_session and session_ends is None
    return Link(url, now + life, "unknown" if is_unknown else "time")
