"""uv.lock holds every package with its hashes, and the layers' lists agree with it."""

from __future__ import annotations

import re
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGES: list[dict[str, Any]] = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
(PROJECT,) = (one for one in PACKAGES if one["name"] == "phonoscene")
LOCKED = [one for one in PACKAGES if one is not PROJECT]
LAYERS = {
    # what uv's markers call the dependencies of the project, and of a group
    "common": ("project-10-phonoscene", PROJECT["dependencies"]),
    "media": ("group-10-phonoscene-media", PROJECT["dev-dependencies"]["media"]),
}
#: Pythons that a layer's list serves: Lambda's, and those of local clouds.
PYTHONS = [
    {
        "platform_python_implementation": "CPython",
        "python_full_version": f"{version}.9",
        "python_version": version,
        "sys_platform": platform,
    }
    for version, platform in product(("3.11", "3.12", "3.13", "3.14"), ("linux", "darwin"))
]

Pins = dict[tuple[str, str], set[str]]


def hashes(package: dict[str, Any]) -> set[str]:
    files = [*package.get("wheels", ()), *filter(None, [package.get("sdist")])]
    return {file["hash"] for file in files}


def is_needed(dependency: dict[str, Any], choice: str) -> bool:
    marker = Marker(dependency.get("marker", "python_version > '3'"))
    return any(marker.evaluate(python | {"extra": choice}) for python in PYTHONS)


def pins_of_lock(layer: str) -> Pins:
    """The packages of a layer in uv.lock, and all that they depend on."""
    choice, left = LAYERS[layer]
    left = list(left)
    pins: Pins = {}
    while left:
        dependency = left.pop()
        if not is_needed(dependency, choice):
            continue
        (package,) = (
            one
            for one in LOCKED
            if one["name"] == dependency["name"]
            and one["version"] == dependency.get("version", one["version"])
        )
        pin = package["name"], package["version"]
        if pin not in pins:
            pins[pin] = hashes(package)
            left += package.get("dependencies", ())
    return pins


def pins_of_list(layer: str) -> Pins:
    text = (ROOT / "layers" / layer / "requirements.txt").read_text()
    pins: Pins = {}
    for entry in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]:
        requirement = Requirement(entry.splitlines()[0].rstrip(" \\"))
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        pins[requirement.name, specifier.version] = set(re.findall(r"sha256:[0-9a-f]{64}", entry))
    return pins


@pytest.mark.parametrize("layer", sorted(LAYERS))
def test_the_list_of_a_layer_is_that_of_the_lock(layer: str) -> None:
    assert pins_of_list(layer) == pins_of_lock(layer)


def test_every_package_is_locked_with_hashes() -> None:
    assert LOCKED
    assert [one["name"] for one in LOCKED if not hashes(one)] == []


def test_the_lock_names_no_mirror() -> None:
    files = [file for one in LOCKED for file in (*one.get("wheels", ()), one.get("sdist"))]

    assert {str(one["source"]) for one in LOCKED} == {"{'registry': 'https://pypi.org/simple'}"}
    assert {file["url"].split("/packages/")[0] for file in files if file} == {
        "https://files.pythonhosted.org"
    }
