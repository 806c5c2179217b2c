"""Makes what a release consists of, in `dist/`: the wheel, the archive for AWS, and their hashes.

`phonoscene deploy` reads the archive. Equal sources, pip and Python give equal bytes.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.cloud import build, sbom
from local.cloud.build import Target
from local.cloud.deploy import SOURCES, read_template
from local.errors import LocalCloudError
from local.paths import PROJECT
from phonoscene_cli.deployment.release_archive import SERVERLESS_REPO, SUMS, TEMPLATE

DIST = PROJECT / "dist"
#: What the wheel is made of. It is built in a copy: setuptools writes beside what it reads.
WHEEL_SOURCES = ("layers/common/phonoscene", "cli/phonoscene_cli")
WHEEL_FILES = ("pyproject.toml", "README.md", "LICENSE")
LEGAL = ("LICENSE", "README.md")  # the template's SAR metadata names both
NOTICE = """\
This archive contains the packages that sbom.cdx.json lists.
The licence of each is in its .dist-info folder, in CommonLayer.zip or MediaLayer.zip.

MediaLayer.zip contains PyAV's wheel as PyPI distributes it, with FFmpeg, x264 and x265.
x264 and x265 are under the GNU General Public License, version 2 or later.
Their sources, and how they were built: https://github.com/PyAV-Org/pyav-ffmpeg
"""


def make(target: Target, folder: Path = DIST) -> list[Path]:
    """Build the wheel and the archive; return their paths and the path of their hashes."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [wheel(folder), archive(target, folder)]
    sums = folder / SUMS
    sums.write_text(listing({file.name: file.read_bytes() for file in made}))
    return [*made, sums]


def archive(target: Target, folder: Path) -> Path:
    """The template, the zip files that it names, and the bill of materials, as one zip file."""
    built = build.build_all(target)
    layers = [build.build_layer(target, layer) for layer in build.ALL_LAYERS]
    template = release_template()
    contents = {
        TEMPLATE: json.dumps(template, indent=1).encode() + b"\n",
        "NOTICE": NOTICE.encode(),
        **{name: (PROJECT / name).read_bytes() for name in LEGAL},
        **{file.name: file.read_bytes() for file in [*built, sbom.write(layers)]},
    }
    contents[SUMS] = listing(contents).encode()
    version = template["Metadata"][SERVERLESS_REPO]["SemanticVersion"]
    file = folder / f"phonoscene-{version}-{target}.zip"
    pack(file, contents)
    return file


def pack(file: Path, contents: Mapping[str, bytes]) -> None:
    """Write a zip file whose bytes depend on nothing but its contents. Zips in it do not shrink."""
    with zipfile.ZipFile(file, "w") as output:
        for name, content in contents.items():
            output.writestr(zipfile.ZipInfo(name, build.ZIP_EPOCH), content)


def release_template() -> dict[str, Any]:
    """template.yaml without YAML's aliases, with the name of a zip file for each folder of sources.

    The names are relative, so that `aws cloudformation package` and `sam package` upload them, too.
    """
    template = json.loads(json.dumps(read_template()))
    template["Metadata"].pop("cfn-lint", None)
    for name, resource in template["Resources"].items():
        if source := SOURCES.get(resource["Type"]):
            folder = name if source == "ContentUri" else Path(resource["Properties"][source]).name
            resource["Properties"][source] = f"{folder}.zip"
            resource.pop("Metadata", None)  # how `sam build` makes it
    made: dict[str, Any] = template
    return made


def wheel(folder: Path) -> Path:
    """The package with its command line, for `pip install`."""
    with tempfile.TemporaryDirectory() as temporary:
        copy, made = Path(temporary) / "sources", Path(temporary) / "wheel"
        for name in WHEEL_SOURCES:
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(PROJECT / name, copy / name, ignore=ignored)
        for name in WHEEL_FILES:
            shutil.copyfile(PROJECT / name, copy / name)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
        done = subprocess.run(  # noqa: S603 - our own command line
            [*command, "--no-build-isolation", "--wheel-dir", str(made), str(copy)],
            env=os.environ | {"SOURCE_DATE_EPOCH": "315532800"},  # 1980, as in the other zips
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LocalCloudError(f"The wheel could not be built:\n{done.stdout}{done.stderr}")
        [file] = made.glob("*.whl")
        return Path(shutil.copyfile(file, folder / file.name))


def listing(contents: Mapping[str, bytes]) -> str:
    """The hashes as `sha256sum --check` reads them."""
    rows = sorted(contents.items())
    return "".join(f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in rows)
