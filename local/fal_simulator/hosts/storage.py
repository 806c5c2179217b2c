"""fal's storage: a token for the key, uploads for the token, and copies that end when they should.

Played as fal_client 1.0.3 uses it for what it sends in one request; uploads in parts are not.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from local.fal_simulator.faults.answers import detail, obey
from local.fal_simulator.media import FetchError

if TYPE_CHECKING:
    from pathlib import Path

    from local.fal_simulator.config import Config
    from local.fal_simulator.faults.fault_dial import FaultDial

log = logging.getLogger(__name__)

TOKEN_PATH = "/storage/auth/token"  # noqa: S105 - an address
UPLOAD_PATH = "/files/upload"
STORAGE_TYPE = "fal-cdn-v3"
HOSTS = ("v3.fal.media", "v3b.fal.media")
TOKEN_LIFE = timedelta(hours=1)  # fal's is not published
#: fal_client sends more than this in parts; whether fal would take it whole is not known.
MAX_UPLOAD = 100 * 2**20
REFUSED_BY_ACL = {"forbid": 403, "hide": 404}


@dataclass(slots=True, kw_only=True)
class Upload:
    """One copy: what came with it, where it lies, and who has read it. Times are Unix."""

    path: str
    file: Path
    name: str
    content_type: str
    size: int
    sha256: str
    authorization: str
    acl: str
    at: float = field(default_factory=time.time)
    expires_at: float | None = None
    reads: list[dict[str, Any]] = field(default_factory=list)

    def refusal(self) -> int | None:
        """The status for requests without credentials, if not 200."""
        if self.expires_at is not None and time.time() >= self.expires_at:
            return 404
        return REFUSED_BY_ACL.get(self.acl)

    def describe(self) -> dict[str, Any]:
        """Show it to a person."""
        shown = (
            "name",
            "content_type",
            "size",
            "sha256",
            "authorization",
            "acl",
            "at",
            "expires_at",
            "reads",
        )
        return {name: getattr(self, name) for name in shown} | {"url": self.url}

    @property
    def url(self) -> str:
        """Its public address."""
        return f"https://{HOSTS[1]}{self.path}"


class Storage:
    """Tokens and copies; copies can be read by anyone who knows their address, while they exist."""

    def __init__(self, config: Config, faults: FaultDial, folder: Path) -> None:
        self._key = config.fal_key
        self._faults = faults
        self._folder = folder
        self._tokens: dict[str, datetime] = {}
        self._uploads: dict[str, Upload] = {}
        self.sign_ins = 0

    def clear(self) -> None:
        """Forget every token and every copy."""
        for upload in self._uploads.values():
            upload.file.unlink(missing_ok=True)
        self._uploads.clear()
        self._tokens.clear()
        self.sign_ins = 0

    def describe(self) -> list[dict[str, Any]]:
        """Every upload, in order."""
        return [upload.describe() for upload in self._uploads.values()]

    # what is asked of rest.fal.ai

    async def sign_in(self, request: web.Request) -> web.Response:
        """Give a token for the key."""
        self.sign_ins += 1
        if data := await obey(self._faults.take("storage", call="token"), request):
            return data
        if request.method != hdrs.METH_POST:
            return detail(405, "Method Not Allowed")
        if not _is(request, f"Key {self._key}"):
            return detail(401, "invalid key credentials")
        if request.query.get("storage_type") != STORAGE_TYPE:
            return detail(422, "The simulator plays the storage fal-cdn-v3 only")
        token = secrets.token_urlsafe(32)
        self._tokens[token] = datetime.now(UTC) + TOKEN_LIFE
        told_token = {
            "token": token,
            "token_type": "Bearer",
            "base_url": f"https://{HOSTS[0]}",
            "expires_at": self._tokens[token].isoformat(),
        }
        return web.json_response(told_token)

    # what is asked of the CDN

    def holds(self, request: web.Request) -> bool:
        """Whether a request to the CDN is about an upload."""
        return request.path == UPLOAD_PATH or request.path in self._uploads

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Take an upload, or give one back."""
        if request.path == UPLOAD_PATH:
            return await self._take(request)
        upload = self._uploads[request.path]
        code = upload.refusal()
        _note(upload, "the internet", code or 200)
        if code:
            return detail(code, "Not Found" if code == 404 else "Forbidden")  # noqa: PLR2004 - HTTP's
        return web.FileResponse(upload.file, headers={hdrs.CONTENT_TYPE: upload.content_type})

    async def _take(self, request: web.Request) -> web.Response:
        if request.method != hdrs.METH_POST:
            return detail(405, "Method Not Allowed")
        if not self._is_signed_in(request):
            return detail(401, "invalid token")
        try:
            lifecycle = _lifecycle(request)
        except ValueError as error:
            return detail(422, str(error))
        file = self._folder / f"upload-{secrets.token_hex(8)}"
        size, digest = await _save(request, file)
        fault = self._faults.take("storage", call="upload")
        data = await obey(fault, request)
        if data or size > MAX_UPLOAD:
            file.unlink()
            return data or detail(413, "Payload Too Large")
        life = 0 if fault and fault.action == "expired" else lifecycle["expiration"]
        upload = Upload(
            path=_path(request.headers.get("X-Fal-File-Name", "")),
            file=file,
            name=request.headers.get("X-Fal-File-Name", ""),
            content_type=request.content_type,
            size=size,
            sha256=digest,
            authorization=request.headers[hdrs.AUTHORIZATION].partition(" ")[0],
            acl=lifecycle["acl"],
            expires_at=None if life is None else time.time() + life,
        )
        self._uploads[upload.path] = upload
        log.info("storage.uploaded bytes=%d life=%s", size, life)
        return web.json_response({"access_url": upload.url})

    def _is_signed_in(self, request: web.Request) -> bool:
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        return scheme == "Bearer" and datetime.now(UTC) < self._tokens.get(token, _LONG_AGO)

    # what a runner asks

    def owns(self, url: str) -> bool:
        """Whether an address is one of the CDN's."""
        return urlsplit(url).hostname in HOSTS

    def fetch(self, url: str, to: Path, limit: int) -> None:
        """Read a copy as a runner does, by its address alone; raises `FetchError`."""
        upload = self._uploads.get(urlsplit(url).path)
        code = 404 if upload is None else upload.refusal()
        if upload is not None:
            _note(upload, "runner", code or 200)
        if upload is None or code:
            raise FetchError(f"status {code}")
        if upload.size > limit:
            raise FetchError(f"more than {limit} bytes")
        to.write_bytes(upload.file.read_bytes())


_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def _is(request: web.Request, expected: str) -> bool:
    sent = request.headers.get(hdrs.AUTHORIZATION, "").encode(errors="surrogateescape")
    return hmac.compare_digest(sent, expected.encode())


def _note(upload: Upload, by: str, status_code: int) -> None:
    upload.reads.append({"at": time.time(), "by": by, "status_code": status_code})


def _lifecycle(request: web.Request) -> dict[str, Any]:
    """The life in seconds, null for ever, and the ACL's default, as the upload's header says."""
    try:
        data = json.loads(request.headers.get("X-Fal-Object-Lifecycle", "{}"))
        life = data.get("expiration_duration_seconds")
        acl = data.get("initial_acl", {}).get("default", "allow")
    except (ValueError, AttributeError) as error:
        raise ValueError("X-Fal-Object-Lifecycle is not what is documented") from error
    if life is not None and not (isinstance(life, int) and life > 0):
        raise ValueError("expiration_duration_seconds must be a whole number above 0")
    if acl not in {"allow", *REFUSED_BY_ACL}:
        raise ValueError("initial_acl.default must be allow, forbid or hide")
    return {"expiration": life, "acl": acl}


async def _save(request: web.Request, file: Path) -> tuple[int, str]:
    """Write the body to disk as it comes; its length and SHA-256."""
    digest, size = hashlib.sha256(), 0
    with file.open("wb") as out:
        async for piece in request.content.iter_chunked(256 * 1024):
            digest.update(piece)
            size += len(piece)
            if size <= MAX_UPLOAD:
                out.write(piece)
    return size, digest.hexdigest()


def _path(name: str) -> str:
    """An address that cannot be guessed; it ends with the file's name, as fal's do."""
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)
    return f"/files/b/{secrets.token_hex(4)}/{secrets.token_urlsafe(16)}_{safe or 'upload.bin'}"
