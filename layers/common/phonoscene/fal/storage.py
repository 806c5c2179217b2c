"""fal's storage: the only module that uploads what fal is to read of a job.

In the words of fal_client 1.0.3, but not through it: that one wants a file whole in memory, sets no
limit to an upload's time, and falls back to another storage, whose files it gives another life.
"""

from __future__ import annotations

import json
import logging
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx

from phonoscene.errors import DropRefused, UploadFailed
from phonoscene.fal.lenient_json import read_json
from phonoscene.fal.requests import MAX_URL_LENGTH, REFUSED_ACCOUNT, check_size
from phonoscene.jobs import ErrorDetail
from phonoscene.net.deadlines import Deadline
from phonoscene.version import USER_AGENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phonoscene.fal.requests import Medium

logger = logging.getLogger(__name__)

#: The key goes to the first only, its token to the second only.
SIGN_IN_URL: Final = "https://rest.fal.ai/storage/auth/token?storage_type=fal-cdn-v3"
UPLOAD_URL: Final = "https://v3.fal.media/files/upload"
#: For a token and all files of one job: what the function's time leaves before the claim.
MAX_SECONDS: Final = 40
TIMEOUT: Final = httpx.Timeout(15.0, connect=5.0)

#: These are about this file; all else may be about the hour.
_NEVER: Final = frozenset({413, 415, 422})
_ADDRESS: Final = re.compile(r"([a-z0-9-]+\.)+fal\.media")


class FalStorage:
    """Hands files to fal. ``key`` is asked at each use, so a rotated key needs no deployment."""

    def __init__(self, key: Callable[..., str]) -> None:
        self._key = key

    @contextmanager
    def open(self, life: int) -> Iterator[Uploads]:
        """Begin the uploads of one job, whose copies fal deletes after ``life`` seconds.

        A token of its own for each job: none is kept that could be stale, or another key's.

        Raises:
            UploadFailed: fal gives none now, or refuses the account.
        """
        ends_at = time.monotonic() + MAX_SECONDS
        with (
            Deadline(MAX_SECONDS) as deadline,
            httpx.Client(
                timeout=TIMEOUT,
                follow_redirects=False,
                headers={"User-Agent": USER_AGENT},
                event_hooks={"request": [deadline.watch_request]},
            ) as client,
        ):
            yield Uploads(client, self._token(client), life, ends_at)

    def _token(self, client: httpx.Client) -> str:
        """The header that the CDN wants; good for uploads and some minutes."""
        answer = _sign_in(client, self._key())
        if answer.status_code == httpx.codes.UNAUTHORIZED:  # the key may have been rotated
            answer = _sign_in(client, self._key(fresh=True))
        if answer.status_code in REFUSED_ACCOUNT:
            raise UploadFailed(f"fal answered {answer.status_code} for the token", "account")
        data = _content(answer)
        scheme, token = data.get("token_type"), data.get("token")
        if not (isinstance(scheme, str) and isinstance(token, str) and scheme and token):
            raise UploadFailed("fal's storage returned no token")
        return f"{scheme} {token}"


def _sign_in(client: httpx.Client, key: str) -> httpx.Response:
    headers = {"Authorization": f"Key {key.strip()}", "Accept": "application/json"}
    with _failures():
        return client.post(SIGN_IN_URL, headers=headers, json={})


class Uploads:
    """The uploads of one job, one after the other, which have until ``ends_at`` together."""

    def __init__(self, client: httpx.Client, authorization: str, life: int, ends_at: float) -> None:
        self._client = client
        self._authorization = authorization
        self._lifecycle = json.dumps({"expiration_duration_seconds": life})
        self._ends_at = ends_at

    def upload(self, medium: Medium) -> str:
        """Send one file; returns its public address.

        Raises:
            DropRefused: fal never takes it.
            UploadFailed: it did not this time.
        """
        check_size(medium.key, medium.size)
        headers = self._headers(medium)
        with _failures():
            answer = self._client.post(UPLOAD_URL, headers=headers, content=self._timed(medium))
        if answer.status_code in _NEVER:
            raise DropRefused(_refused(medium.key, answer.status_code))
        return _address(_content(answer))

    def _headers(self, medium: Medium) -> dict[str, str]:
        return {
            "Authorization": self._authorization,
            "Accept": "application/json",
            "Content-Type": medium.content_type,
            "Content-Length": str(medium.size),  # else httpx would send it in chunks
            "X-Fal-File-Name": medium.name,
            # fal_client sends both: the CDN reads the first, other storage the second
            "X-Fal-Object-Lifecycle": self._lifecycle,
            "X-Fal-Object-Lifecycle-Preference": self._lifecycle,
        }

    def _timed(self, medium: Medium) -> Iterator[bytes]:
        for chunk in medium.chunks:
            if time.monotonic() > self._ends_at:
                raise UploadFailed(f"the uploads take longer than {MAX_SECONDS} s")
            yield chunk


@contextmanager
def _failures() -> Iterator[None]:
    """Without the library's own words, which may show headers."""
    try:
        yield
    except (httpx.HTTPError, UnicodeError) as exc:
        raise UploadFailed(f"fal's storage cannot be reached ({type(exc).__name__})") from exc


def _content(answer: httpx.Response) -> dict[str, Any]:
    """Return the JSON of a successful answer."""
    if not answer.is_success:
        raise UploadFailed(f"fal's storage answered {answer.status_code}")
    try:
        data = read_json(answer.text)
    except (ValueError, RecursionError) as exc:
        raise UploadFailed("fal's storage did not answer with JSON") from exc
    return data if isinstance(data, dict) else {}


def _address(data: dict[str, Any]) -> str:
    """The copy's address: fal is sent nowhere else."""
    url = str(data.get("access_url"))
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    is_plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= MAX_URL_LENGTH
    if parts.scheme != "https" or not _ADDRESS.fullmatch(host) or not is_plain:
        raise UploadFailed("fal's storage returned no address of fal's CDN")
    return url


def _refused(key: str, status: int) -> ErrorDetail:
    return ErrorDetail(
        code="refused_by_storage",
        message=f"fal's storage refuses {key} (status {status}). Drop it in another format.",
        source=key,
    )
