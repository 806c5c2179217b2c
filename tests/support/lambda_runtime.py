"""The packages that Lambda's python3.13 has beside the standard library."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

#: The AWS SDK, and what it needs.
PACKAGES = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six")


def link_packages(folder: Path) -> None:
    """Link them from this virtual environment into a folder that has nothing else of it."""
    for name in PACKAGES:
        spec = find_spec(name)
        assert spec
        assert spec.origin
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (folder / source.name).symlink_to(source)
