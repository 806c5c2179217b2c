"""The real fal from this machine: whose key, and which way to the internet."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import certifi

from local.cloud.ports import LOOPBACK
from local.errors import LocalCloudError

# Files cannot be signed for fal here, and its webhooks cannot arrive here: fal gets copies, and is
# polled. Five seconds are no burden to fal, whose own client asks ten times a second.
PARAMETERS = {"AudioDelivery": "fal-storage", "ResultsBy": "polling", "AskFalSeconds": "5"}

# Where the systems that Python runs on keep their authorities, as Go's crypto/x509 has it.
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, Alpine, FreeBSD
)


@dataclass(frozen=True)
class RealFal:
    """An account that pays, and how its fal is reached. The key is never written to a file."""

    key: str = field(repr=False)
    https_proxy: str | None = None
    no_proxy: str | None = None
    authorities: Path | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """FAL_KEY, and the proxy and the authorities that this person's other programs use."""
        key = environ.get("FAL_KEY", "").strip()
        if not key:
            raise LocalCloudError(
                "The real fal needs your key: FAL_KEY=… in the environment "
                "(https://fal.ai/dashboard/keys)."
            )
        if " " in key or not (key.isascii() and key.isprintable()):
            raise LocalCloudError("FAL_KEY is not one line of plain text, as fal's keys are.")
        own = environ.get("SSL_CERT_FILE")
        return cls(
            key,
            https_proxy=environ.get("HTTPS_PROXY") or environ.get("https_proxy"),
            no_proxy=environ.get("NO_PROXY") or environ.get("no_proxy"),
            authorities=Path(own) if own else None,
        )

    def environment(self) -> dict[str, str]:
        """What a handler needs to reach the internet; the emulator is reached directly."""
        here = f"localhost,{LOOPBACK}"
        no_proxy = f"{here},{self.no_proxy}" if self.no_proxy else here
        way = {"HTTPS_PROXY": self.https_proxy} if self.https_proxy else {}
        return {**way, "NO_PROXY": no_proxy}

    def trust(self, local_authority: Path, to: Path) -> Path:
        """Write a bundle of the local authority and of everybody else's."""
        to.write_bytes(local_authority.read_bytes() + b"\n" + self._everybody().read_bytes())
        return to

    def _everybody(self) -> Path:
        data = ssl.get_default_verify_paths().cafile
        places = [self.authorities, data and Path(data), *map(Path, BUNDLES)]
        found = (place for place in places if place and place.is_file())
        return next(found, Path(certifi.where()))


def check_parameters(values: Mapping[str, str]) -> None:
    """Refuse what would have fal read from this machine, or call it."""
    for name in ("AudioDelivery", "ResultsBy"):
        if values[name] != PARAMETERS[name]:
            raise LocalCloudError(
                f"With the real fal {name} is {PARAMETERS[name]}: it cannot reach this machine."
            )


def key_is_set() -> bool:
    """Whether this person's environment holds a fal key."""
    return bool(os.environ.get("FAL_KEY", "").strip())
