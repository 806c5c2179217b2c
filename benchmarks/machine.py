"""Where the figures come from: processor, memory, system, versions, and how busy it was."""

from __future__ import annotations

import os
import platform
import ssl
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

PACKAGES: Final = (
    "boto3",
    "botocore",
    "aws-lambda-powertools",
    "pydantic",
    "cryptography",
    "fal-client",
    "httpx",
    "smart-open",
    "requests",
    "ministack",
)


def load() -> float:
    """How many processes wanted a core, over the last minute."""
    return os.getloadavg()[0]


def described() -> list[str]:
    """Sentences for the report."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"{os.cpu_count()} cores of {_processor()}, {_memory()} of memory, {platform.platform()}",
        f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}",
        packages,
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return "an unknown amount"
    return f"{size / 2**30:.0f} GiB"
