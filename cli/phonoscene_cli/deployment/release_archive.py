"""Opens a release archive, after each of its files has been compared with its checksum."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from phonoscene_cli.errors import CliError, WrongUsage

if TYPE_CHECKING:
    from collections.abc import Mapping

SUMS: Final = "SHA256SUMS"
TEMPLATE: Final = "template.json"
#: The part of a template's metadata with the version.
SERVERLESS_REPO: Final = "AWS::ServerlessRepo::Application"
PATTERN: Final = "phonoscene-*-aws.zip"
#: Where an archive is looked for that is not named: here, and where `make release` writes it.
PLACES: Final = (Path(), Path("dist"))
#: More than ten times what a release has; a zip file may unpack to any size.
MAX_BYTES: Final = 2_000_000_000
#: The property that names the zip file of a resource.
SOURCES: Final = ("CodeUri", "ContentUri")
_SUM: Final = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9._-]+)")


@dataclass(frozen=True)
class Release:
    """A verified archive. ``codes`` holds the SHA-256 of each zip file that the template names."""

    file: Path
    sha256: str
    version: str
    template: dict[str, Any]
    codes: Mapping[str, str]

    def code(self, name: str) -> bytes:
        """The bytes of one zip file of the archive.

        Raises:
            CliError: they have changed since the archive was opened.
        """
        with zipfile.ZipFile(self.file) as archive:
            body = archive.read(name)
        if hashlib.sha256(body).hexdigest() != self.codes[name]:
            raise _corrupt(self.file, f"{name} does not match its checksum in {SUMS}")
        return body


def find(named: Path | None) -> Path:
    """The path of the archive: the one that is named, or the only one nearby.

    Raises:
        WrongUsage: there is none, or more than one.
    """
    if named is not None:
        if not named.is_file():
            raise WrongUsage(f"Archive {named} does not exist. Correct --archive.")
        return named
    found = sorted(file for place in PLACES for file in place.glob(PATTERN))
    if len(found) == 1:
        return found[0]
    if not found:
        raise WrongUsage(
            f"No release archive ({PATTERN}) is in this folder or in dist/. Download the one of "
            "the release, or choose a file with --archive."
        )
    raise WrongUsage(
        f"Found several archives: {', '.join(map(str, found))}. Choose one: --archive."
    )


def read(file: Path) -> Release:
    """Open an archive and verify all of it.

    Raises:
        CliError: it is no release, or a file differs from its checksum.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            sums = _verified(file, archive)
            template = json.loads(archive.read(TEMPLATE))
        version = str(template["Metadata"][SERVERLESS_REPO]["SemanticVersion"])
        named = set(code_names(template))
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, EOFError) as exc:
        raise _corrupt(file, f"it is not a release of Phonoscene ({exc})") from exc
    missing = named - set(sums)
    if missing:
        raise _corrupt(file, f"{', '.join(sorted(missing))} is missing")
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return Release(file, digest, version, template, {name: sums[name] for name in named})


def code_names(template: Mapping[str, Any]) -> list[str]:
    """The name of the zip file of each function and layer of a release's template."""
    properties = [one.get("Properties", {}) for one in template["Resources"].values()]
    return [one[source] for one in properties for source in SOURCES if source in one]


def with_codes(template: Mapping[str, Any], addresses: Mapping[str, str]) -> dict[str, Any]:
    """The template with the address in S3 of each zip file instead of its name."""
    copy: dict[str, Any] = json.loads(json.dumps(template))
    for resource in copy["Resources"].values():
        properties = resource.get("Properties", {})
        properties |= {one: addresses[properties[one]] for one in SOURCES if one in properties}
    return copy


def _verified(file: Path, archive: zipfile.ZipFile) -> dict[str, str]:
    """The checksum of each file, all of which agree."""
    names = archive.namelist()
    if sum(one.file_size for one in archive.infolist()) > MAX_BYTES:
        raise _corrupt(file, f"it unpacks to more than {MAX_BYTES:,} bytes")
    lines = archive.read(SUMS).decode().splitlines()
    rows = [_SUM.fullmatch(line) for line in lines]
    sums = {row[2]: row[1] for row in rows if row}
    if not all(rows) or sorted(names) != sorted([*sums, SUMS]):
        raise _corrupt(file, f"{SUMS} does not list its files")
    for name, expected in sums.items():
        with archive.open(name) as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != expected:  # type: ignore[arg-type]  # a file that only reads
                raise _corrupt(file, f"{name} does not match its checksum in {SUMS}")
    return sums


def _corrupt(file: Path, why: str) -> CliError:
    return CliError(f"{file} cannot be deployed: {why}. Download it again.")
