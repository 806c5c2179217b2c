"""The ground on which copies are run: both servers, their certificate, and the names of things."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import trustme

from benchmarks import lambdas
from benchmarks.transfer.wire import LOOPBACK, Network
from local.paths import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST: Final = "v3.fal.media"
WAYS: Final = Path(__file__).with_name("ways.py")
#: Seconds after which a copy is given up.
PATIENCE: Final = 300


@dataclass(frozen=True)
class Copy:
    """What one copy took: seconds, seconds of CPU, most bytes of memory, and those before it."""

    wall: float
    cpu: float
    peak: int
    before: int


@dataclass(frozen=True)
class Ground:
    """Two servers, and the certificate authority that both are known by."""

    source: int
    sink: int
    authority: Path

    def copy(self, way: str, size: int, name: str) -> Copy:
        """Copy a video of ``size`` bytes one way, and see that it arrived whole.

        Raises:
            CopyFailedError: it did not.
        """
        url, key = f"https://{HOST}/files/{size}.mp4", f"{name}/{way}.mp4"
        command, environment = self._process(way)
        done = subprocess.run(  # noqa: S603 - our own words
            [*command, str(WAYS), way, url, key],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode:
            raise CopyFailedError(f"{way}, {size} bytes: {done.stderr.strip()[-1500:]}")
        if (arrived := self._length(key)) != size:
            raise CopyFailedError(f"{way}: {arrived} of {size} bytes arrived")
        data: dict[str, Any] = json.loads(done.stdout)
        return Copy(**data)

    def _process(self, way: str) -> tuple[list[str], dict[str, str]]:
        """Ours as it is deployed, the others in this virtual environment."""
        if way == "ours":
            command, environment = lambdas.bare("store")
        else:
            command, environment = [sys.executable], {"PATH": os.defpath, "LANG": "C.UTF-8"}
        bundle = str(self.authority)
        return command, environment | {
            "HTTPS_PROXY": f"http://{LOOPBACK}:{self.source}",
            "NO_PROXY": LOOPBACK,
            "SSL_CERT_FILE": bundle,
            "REQUESTS_CA_BUNDLE": bundle,
            "AWS_CA_BUNDLE": bundle,
            "AWS_ENDPOINT_URL": f"https://{LOOPBACK}:{self.sink}",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _length(self, key: str) -> int | None:
        """How long the object is that the sink put together from verified parts."""
        context = ssl.create_default_context(cafile=str(self.authority))
        connection = http.client.HTTPSConnection(LOOPBACK, self.sink, context=context)
        connection.request("HEAD", f"/outputs/{key}")
        answer = connection.getresponse()
        connection.close()
        return int(answer.headers["Content-Length"]) if answer.status == http.client.OK else None


class CopyFailedError(Exception):
    """A copy ended with an error, or with other bytes than the video's."""


@contextmanager
def ground(network: Network) -> Iterator[Ground]:
    """Both servers, as near or far as ``network`` says, for the body's time."""
    with TemporaryDirectory(prefix="ground-") as folder:
        certificate, authority = issue(Path(folder), HOST)
        with (
            _server("source", certificate, network) as source,
            _server("sink", certificate, network) as sink,
        ):
            yield Ground(source, sink, authority)


def issue(folder: Path, *hosts: str) -> tuple[Path, Path]:
    """A certificate for some hosts and loopback, and the authority that signed it."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    papers = authority.issue_cert(*hosts, LOOPBACK, key_type=trustme.KeyType.ECDSA)
    both, bundle = folder / "certificate.pem", folder / "ca.pem"
    papers.private_key_and_cert_chain_pem.write_to_path(both)
    authority.cert_pem.write_to_path(bundle)
    return both, bundle


@contextmanager
def _server(name: str, certificate: Path, network: Network) -> Iterator[int]:
    """A server's port; it ends when its standard input does, so also when this process dies."""
    command = [sys.executable, "-m", f"benchmarks.transfer.{name}", "--certificate"]
    command.append(str(certificate))
    if network.rate:
        command += ["--rate", str(network.rate)]
    command += ["--latency", str(network.latency)]
    with subprocess.Popen(  # noqa: S603 - our own words
        command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdin
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(10)
