"""Signs links to videos with the caller's own credentials, and computes when they end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote

from botocore.exceptions import ClientError

from phonoscene_cli.errors import CliError, StackUnreachable
from phonoscene_cli.stack.video_download import video_of

if TYPE_CHECKING:
    from phonoscene.jobs import Job, Video
    from phonoscene_cli.stack.connection import Stack

#: The longest life of a link: SigV4's limit.
MAX_LIFE: Final = timedelta(days=7)
_GONE: Final = {"404", "NoSuchKey", "NoSuchVersion"}

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
        CliError: the video is no longer in the bucket.
    """
    at: Any = {"Bucket": video.bucket, "Key": video.key, "VersionId": video.version_id}
    try:
        stack.client("s3").head_object(**at)
    except ClientError as exc:
        if exc.response["Error"]["Code"] not in _GONE:
            raise
        raise CliError(
            f"s3://{video.bucket}/{video.key} has been deleted. Restore the object, or make "
            f"another video with `phonoscene retry {job.job_id}`."
        ) from exc
    credentials = stack.session.get_credentials()
    if credentials is None:
        raise StackUnreachable(
            "There are no AWS credentials to sign with. Choose some with --profile."
        )
    is_session = credentials.get_frozen_credentials().token is not None  # refreshed, if need be
    now = datetime.now(UTC)
    file = quote("".join(video_of(job)), safe="")
    url = stack.presigner.generate_presigned_url(
        "get_object",
        Params={**at, "ResponseContentDisposition": f"inline; filename*=UTF-8''{file}"},
        ExpiresIn=int(life.total_seconds()),
    )
    # botocore has no public name for it; credentials that it does not refresh have none at all
    session_ends: datetime | None = getattr(credentials, "_expiry_time", None)
    if is_session and session_ends and session_ends < now + life:
        return Link(url, session_ends, "session")
    is_unknown = is_session and session_ends is None
    return Link(url, now + life, "unknown" if is_unknown else "time")
