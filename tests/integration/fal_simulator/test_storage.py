"""fal's storage: tokens, uploads and their lifetimes."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from typing import TYPE_CHECKING, Any

import fal_client
import fal_client.client
import httpx
import pytest

from tests.integration.fal_simulator.simulator import KEY, Fal, a_sound, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.enable_socket

# storage


def upload(client: fal_client.SyncClient, body: bytes, seconds: int | None = 3600) -> str:
    """As fal's own client does it, to the storage that it tries first, and to no other."""
    lifecycle = fal_client.StorageSettings(expires_in=seconds) if seconds else None
    with closing_what_it_leaves_open(client):
        return client.upload(
            body, "audio/wav", "job-1.wav", lifecycle=lifecycle, fallback_repository=[]
        )


@contextlib.contextmanager
def closing_what_it_leaves_open(client: fal_client.SyncClient) -> Iterator[None]:
    with client._get_cdn_client() as cdn, pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(client), "_get_cdn_client", lambda _: cdn)
        yield


def uploads(fal: Fal) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = fal.control.get("/requests").json()["uploads"]
    return listed


def test_fals_own_client_uploads_and_a_runner_reads_the_copy(
    fal: Fal, client: fal_client.SyncClient
) -> None:
    audio = a_sound(2)

    url = upload(client, audio)
    done = fal.run(audio_url=url, image_url=None)

    assert re.fullmatch(r"https://v3b\.fal\.media/files/b/[0-9a-f]{8}/[\w-]+_job-1\.wav", url)
    assert (done["status_code"], done["result"]["video"]["num_frames"]) == (200, 48)
    (copy,) = uploads(fal)
    assert (copy["name"], copy["content_type"], copy["authorization"]) == (
        "job-1.wav",
        "audio/wav",
        "Bearer",
    )
    assert (copy["size"], copy["sha256"]) == (len(audio), hashlib.sha256(audio).hexdigest())
    assert copy["expires_at"] - copy["at"] == pytest.approx(3600, abs=1)
    assert [(read["by"], read["status_code"]) for read in copy["reads"]] == [("runner", 200)]


def test_a_copy_is_public_until_its_life_ends(fal: Fal, client: fal_client.SyncClient) -> None:
    url, forever = upload(client, b"a short one", 1), upload(client, b"a long one", None)

    before = fal.http.get(url)
    until(lambda: fal.http.get(url).status_code == 404)
    done = fal.run(audio_url=url)

    assert (before.status_code, before.content) == (200, b"a short one")
    assert done["result"]["detail"][0]["type"] == "file_download_error"
    assert fal.http.get(forever).content == b"a long one"


def test_a_copy_with_an_acl_is_not_read_by_its_address_alone(
    fal: Fal, client: fal_client.SyncClient
) -> None:
    answers = []
    for decision in ("forbid", "hide"):
        acl = fal_client.StorageACL(default=decision)
        lifecycle = fal_client.StorageSettings(expires_in=60, initial_acl=acl)
        with closing_what_it_leaves_open(client):
            url = client.upload(a_sound(1), "audio/wav", "a.wav", lifecycle=lifecycle)
        answers.append((fal.http.get(url).status_code, fal.run(audio_url=url)["status_code"]))

    assert answers == [(403, 422), (404, 422)]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": f"Key {KEY}"}, 401),
        ({"Authorization": "Bearer made-up"}, 401),
    ],
)
def test_an_upload_wants_the_token_and_not_the_key(
    fal: Fal, headers: dict[str, str], status: int
) -> None:
    answer = fal.http.post("https://v3.fal.media/files/upload", content=b"x", headers=headers)

    assert (answer.status_code, uploads(fal)) == (status, [])


def test_a_token_wants_the_key_and_the_storage_that_is_played(fal: Fal) -> None:
    url = "https://rest.fal.ai/storage/auth/token"

    strange = fal.http.post(url, params={"storage_type": "gcs"}, headers=fal.headers)
    keyless = fal.http.post(url, params={"storage_type": "fal-cdn-v3"})
    read = fal.http.get(url, headers=fal.headers)

    assert (strange.status_code, keyless.status_code, read.status_code) == (422, 401, 405)


@pytest.mark.parametrize(
    "lifecycle",
    [
        "no JSON",
        "[]",
        '{"expiration_duration_seconds": 0}',
        '{"initial_acl": {"default": "maybe"}}',
    ],
)
def test_a_lifecycle_that_means_nothing_is_refused(fal: Fal, lifecycle: str) -> None:
    sign_in = "https://rest.fal.ai/storage/auth/token?storage_type=fal-cdn-v3"
    token = fal.http.post(sign_in, headers=fal.headers).json()["token"]
    headers = {"Authorization": f"Bearer {token}", "X-Fal-Object-Lifecycle": lifecycle}

    answer = fal.http.post("https://v3.fal.media/files/upload", content=b"x", headers=headers)

    assert (answer.status_code, uploads(fal)) == (422, [])


def test_storage_fails_as_its_rules_say(fal: Fal, client: fal_client.SyncClient) -> None:
    fal.fault("storage", "status", code=401, call="token")
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        upload(client, b"x")
    fal.fault("storage", "status", code=413)
    with pytest.raises(fal_client.FalClientHTTPError):
        upload(client, b"x")
    fal.fault("storage", "drop")
    with pytest.raises(httpx.TransportError):
        upload(client, b"x")
    fal.fault("storage", "delay", seconds=0.2)
    started = time.monotonic()
    upload(client, b"late")
    assert time.monotonic() - started >= 0.2
    fal.fault("storage", "expired")
    assert fal.http.get(upload(client, b"gone")).status_code == 404
    assert [copy["size"] for copy in uploads(fal)] == [4, 4]
