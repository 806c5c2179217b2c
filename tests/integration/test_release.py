"""A release: everything is in the wheel, and only a whole archive is deployed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from local.cloud.deploy import SOURCES, read_template
from local.paths import PROJECT
from local.releases import release
from phonoscene.version import VERSION
from phonoscene_cli.deployment import release_archive
from phonoscene_cli.deployment.release_archive import SERVERLESS_REPO, SUMS
from phonoscene_cli.errors import CliError, WrongUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FOLDERS = {"phonoscene": "layers/common/phonoscene", "phonoscene_cli": "cli/phonoscene_cli"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release.wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
        return archive.read(name).decode()


def test_every_file_of_both_packages_is_in_the_wheel(wheel: Path) -> None:
    wanted = {
        f"{package}/{file.relative_to(PROJECT / folder)}"
        for package, folder in FOLDERS.items()
        for file in (PROJECT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }

    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert held == wanted


def test_the_wheel_needs_ranges_of_versions_and_no_exact_ones(metadata: str) -> None:
    lines = re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE)
    operators = {one.operator for line in lines for one in Requirement(line).specifier}

    assert len(lines) > 8
    assert not operators & {"==", "==="}


def test_the_wheel_asks_for_all_that_the_command_line_imports(metadata: str) -> None:
    needed = {
        Requirement(line).name
        for line in re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE)
        if (marker := Requirement(line).marker) is None or marker.evaluate({"extra": "cli"})
    }

    assert {"av", "boto3", "rich", "typer", "pydantic", "cryptography"} <= needed


def test_the_command_line_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "phonoscene_cli", "deploy", "--help"],
        env={"PATH": os.defpath, "PYTHONPATH": str(wheel), "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "Example: phonoscene deploy" in done.stdout


def test_one_version_is_in_the_wheel_the_template_and_the_project(
    wheel: Path, metadata: str
) -> None:
    template = release.release_template()

    assert f"\nVersion: {VERSION}\n" in metadata
    assert f"-{VERSION}-" in wheel.name
    assert template["Metadata"][SERVERLESS_REPO]["SemanticVersion"] == VERSION


def test_equal_sources_make_an_equal_wheel(wheel: Path, tmp_path: Path) -> None:
    assert release.wheel(tmp_path).read_bytes() == wheel.read_bytes()


def test_the_template_of_a_release_differs_only_in_where_the_code_is() -> None:
    ours, theirs = read_template(), release.release_template()
    named = set(release_archive.code_names(theirs))

    assert named == {"CommonLayer.zip", "MediaLayer.zip"} | {
        f"{app.parent.name}.zip" for app in (PROJECT / "functions").glob("*/app.py")
    }
    for template in (ours, theirs):
        template["Metadata"].pop("cfn-lint", None)
        for resource in template["Resources"].values():
            if source := SOURCES.get(resource["Type"]):
                resource["Properties"].pop(source)
                resource.pop("Metadata", None)
    assert ours == theirs


def test_the_files_that_the_repositorys_metadata_names_are_in_the_archive() -> None:
    named = release.release_template()["Metadata"][SERVERLESS_REPO]

    assert {named["LicenseUrl"], named["ReadmeUrl"]} <= set(release.LEGAL)


# The archive, as somebody may find it -----------------------------------------------------------


def contents() -> dict[str, bytes]:
    """A small release: the real template, and code that is none."""
    template = release.release_template()
    return {
        "template.json": json.dumps(template).encode(),
        **{name: name.encode() for name in release_archive.code_names(template)},
    }


def archive_of(files: Mapping[str, bytes], file: Path, sums: str | None = None) -> Path:
    release.pack(file, {**files, SUMS: (sums or release.listing(files)).encode()})
    return file


def test_an_archive_is_read_with_its_version_and_the_hashes_of_its_code(tmp_path: Path) -> None:
    found = release_archive.read(archive_of(contents(), tmp_path / "a.zip"))

    assert found.version == VERSION
    assert set(found.codes) == set(release_archive.code_names(found.template))
    assert found.code("submit.zip") == b"submit.zip"


def changed(files: dict[str, bytes]) -> tuple[dict[str, bytes], str]:
    return files | {"submit.zip": b"other"}, release.listing(files)


def added(files: dict[str, bytes]) -> tuple[dict[str, bytes], str]:
    return files | {"more.zip": b""}, release.listing(files)


def removed(files: dict[str, bytes]) -> tuple[dict[str, bytes], str]:
    rest = {name: body for name, body in files.items() if name != "submit.zip"}
    return rest, release.listing(files)


def removed_with_its_sum(files: dict[str, bytes]) -> tuple[dict[str, bytes], str]:
    rest = {name: body for name, body in files.items() if name != "submit.zip"}
    return rest, release.listing(rest)


def not_a_listing(files: dict[str, bytes]) -> tuple[dict[str, bytes], str]:
    return files, "no sums at all\n"


def outside(files: dict[str, bytes]) -> tuple[dict[str, bytes], str]:
    more = files | {"../evil": b""}
    return more, release.listing(more)


def another_template(files: dict[str, bytes]) -> tuple[dict[str, bytes], str]:
    more = files | {"template.json": b'{"Resources": {}}'}
    return more, release.listing(more)


@pytest.mark.parametrize(
    "damage",
    [changed, added, removed, removed_with_its_sum, not_a_listing, outside, another_template],
)
def test_an_archive_that_is_not_whole_is_refused(
    damage: Callable[[dict[str, bytes]], tuple[dict[str, bytes], str]], tmp_path: Path
) -> None:
    files, sums = damage(contents())

    with pytest.raises(CliError, match=r"cannot be deployed: .+ Download it again"):
        release_archive.read(archive_of(files, tmp_path / "a.zip", sums))


def test_an_archive_with_one_other_bit_is_refused(tmp_path: Path) -> None:
    file = archive_of(contents(), tmp_path / "a.zip")
    whole, before = file.read_bytes(), release_archive.read(file)
    template = whole.index(b'"Resources"')

    for place in (template, whole.index(b"submit.zip", template), len(whole) // 2):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(CliError):
            release_archive.read(file)
    file.write_bytes(whole)
    assert release_archive.read(file) == before


@pytest.mark.parametrize("size", [0, 1, 100, 10_000])
def test_a_part_of_an_archive_is_refused(size: int, tmp_path: Path) -> None:
    file = archive_of(contents(), tmp_path / "a.zip")
    file.write_bytes(file.read_bytes()[:size])

    with pytest.raises(CliError, match="Download it again"):
        release_archive.read(file)


def test_an_archive_that_unpacks_to_more_than_any_release_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = archive_of(contents(), tmp_path / "a.zip")
    monkeypatch.setattr(release_archive, "MAX_BYTES", file.stat().st_size // 2)

    with pytest.raises(CliError, match="unpacks to more than"):
        release_archive.read(file)


def test_code_that_changes_after_the_archive_was_verified_is_not_uploaded(tmp_path: Path) -> None:
    found = release_archive.read(archive_of(contents(), tmp_path / "a.zip"))
    archive_of(contents() | {"submit.zip": b"other"}, tmp_path / "a.zip")

    with pytest.raises(CliError, match="does not match its checksum"):
        found.code("submit.zip")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_an_archive_nearby_is_found_if_there_is_only_one(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dist").mkdir()
    for number in range(count):
        (tmp_path / "dist" / f"phonoscene-0.{number}.0-aws.zip").touch()

    if count == 1:
        assert release_archive.find(None) == Path("dist/phonoscene-0.0.0-aws.zip")
    else:
        with pytest.raises(WrongUsage, match="--archive"):
            release_archive.find(None)


def test_the_sums_are_as_sha256sum_reads_them(tmp_path: Path) -> None:
    files = contents()
    for name, body in files.items():
        (tmp_path / name).write_bytes(body)

    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet"],  # noqa: S607 - wherever it is
        input=release.listing(files),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (checked.returncode, checked.stdout) == (0, "")
