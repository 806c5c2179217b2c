"""A certificate authority that lives as long as one cloud, and the one certificate it signs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import trustme

REGION = "us-east-1"

# A system of the person's own, which may run on this machine: it stands for one on the internet.
SUBSCRIBER = "subscriber.example.com"

# fal's own, and its storage's.
FAL_HOSTS = (
    "queue.fal.run",
    "queue.falrun.com",
    "rest.fal.ai",
    "rest.alpha.fal.ai",
    "api.fal.ai",
    "v3.fal.media",
    "v3b.fal.media",
    "storage.googleapis.com",
)

# Every host that product code reaches through the simulator's proxy, and the emulator's own names.
HOSTS = (
    "localhost",
    "127.0.0.1",
    "*.execute-api.localhost",
    *FAL_HOSTS,
    SUBSCRIBER,
    f"*.execute-api.{REGION}.amazonaws.com",
    f"*.s3.{REGION}.amazonaws.com",
)


@dataclass(frozen=True)
class TlsFiles:
    """PEM files. `ca_bundle` holds the local authority only: the real fal cannot be reached."""

    ca_bundle: Path
    certificate: Path
    private_key: Path

    @classmethod
    def within(cls, folder: Path) -> Self:
        """Those of a folder that ``issue`` fills."""
        return cls(folder / "ca.pem", folder / "certificate.pem", folder / "private-key.pem")


def issue(folder: Path) -> TlsFiles:
    """Make a new authority and its certificate in `folder`; the authority's own key is dropped."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA(organization_name="phonoscene local cloud")
    server = authority.issue_cert(*HOSTS)
    tls_files = TlsFiles.within(folder)
    authority.cert_pem.write_to_path(tls_files.ca_bundle)
    tls_files.certificate.write_bytes(b"".join(pem.bytes() for pem in server.cert_chain_pems))
    tls_files.private_key.touch(mode=0o600)
    server.private_key_pem.write_to_path(tls_files.private_key)
    return tls_files
