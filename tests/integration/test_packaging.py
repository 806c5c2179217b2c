"""What is built is whole: a function starts on its folder, the layer and Lambda's own packages.

The local cloud cannot show this: its handlers run in a Python that has everything installed.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from local.cloud import build, sbom
from local.cloud.build import ALL_LAYERS, FUNCTIONS, LAYERS, MEDIA, Layer, build_layer
from local.cloud.deploy import read_template
from tests.support import elf
from tests.support.lambda_runtime import link_packages

HANDLERS = sorted(app.parent.name for app in FUNCTIONS.glob("*/app.py"))

# Lambda, in the environment markers of a lock file.
LAMBDA = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "aarch64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.13.0",
    "python_version": "3.13",
    "sys_platform": "linux",
}

# Lambda sets no HOME, and who it runs as may be in no list of users.
IMPORT_APP = """
import pwd
def nobody(*_):
    raise KeyError
pwd.getpwuid = nobody
import app, json, sys
assert callable(app.handler)
files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
print(json.dumps({name: file for name, file in files.items() if file}))
"""

UNCHECKED_HASH = 0b01  # the flags of PEP 552


@pytest.fixture(scope="module")
def host_layer() -> Path:
    return build_layer("host") / "python"


@pytest.fixture(scope="module")
def media_layer() -> Path:
    return build_layer("host", MEDIA) / "python"


@pytest.fixture(scope="module", params=ALL_LAYERS, ids=lambda layer: layer.name)
def layer(request: pytest.FixtureRequest) -> Layer:
    chosen: Layer = request.param
    return chosen


@pytest.fixture(scope="module")
def aws_layer(layer: Layer) -> Path:
    return build_layer("aws", layer) / "python"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Lambda's own packages and nothing else of this virtual environment."""
    folder = tmp_path_factory.mktemp("lambda-runtime")
    link_packages(folder)
    return folder


def imported_by(function: str, *path: Path) -> dict[str, Path]:
    """Import the function's app in a bare Python; every module that it loaded, and from where."""
    places = [str(FUNCTIONS / function), *map(str, path)]
    variables = read_template()["Globals"]["Function"]["Environment"]["Variables"]
    given = {name: value for name, value in variables.items() if isinstance(value, str)}
    environment = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(places), **given}
    done = subprocess.run(  # noqa: S603 - our own words only
        [sys.executable, "-S", "-B", "-c", IMPORT_APP],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: Path(file) for name, file in json.loads(done.stdout).items()}


def is_standard(file: Path) -> bool:
    """Whether it is of Python's own library, in whose folder site-packages also is."""
    return file.is_relative_to(Path(os.__file__).parent) and "site-packages" not in file.parts


@pytest.mark.parametrize("function", HANDLERS)
def test_a_function_imports_nothing_but_itself_the_layer_and_lambdas_own(
    function: str, host_layer: Path, media_layer: Path, runtime: Path
) -> None:
    layers = (host_layer, media_layer) if function in ("probe", "edit") else (host_layer,)
    allowed = (FUNCTIONS / function, *layers, runtime)

    modules = imported_by(function, *layers, runtime)

    strangers = {
        name: file
        for name, file in modules.items()
        if not is_standard(file) and not any(file.is_relative_to(place) for place in allowed)
    }
    assert not strangers


@pytest.mark.parametrize(
    ("function", "heavy"),
    [
        ("webhook", {"fal_client", "httpx", "pydantic"}),
        ("store", {"fal_client", "httpx", "cryptography"}),
        ("reconcile", {"fal_client", "httpx", "cryptography"}),
        ("publish", {"fal_client", "httpx", "cryptography"}),
        ("submit", {"cryptography", "av"}),
        ("probe", {"fal_client", "httpx", "cryptography"}),
        ("edit", {"fal_client", "httpx", "cryptography"}),
    ],
)
def test_a_function_starts_without_what_its_first_event_does_not_need(
    function: str, heavy: set[str], host_layer: Path, media_layer: Path, runtime: Path
) -> None:
    assert not heavy & set(imported_by(function, host_layer, media_layer, runtime))


def locked(layer: Layer) -> Iterator[Requirement]:
    for line in layer.requirements.read_text().splitlines():
        if line[:1].isalnum():
            yield Requirement(line.rstrip(" \\"))


@pytest.mark.timeout(300)  # downloads 10 MB when the lock file changed
def test_the_layer_for_aws_holds_every_locked_package_that_lambda_needs(
    layer: Layer, aws_layer: Path
) -> None:
    wanted = {
        f"{canonicalize_name(package.name)}{package.specifier}"
        for package in locked(layer)
        if package.marker is None or package.marker.evaluate(LAMBDA)
    }

    folders = [folder.name.removesuffix(".dist-info") for folder in aws_layer.glob("*.dist-info")]
    held = {f"{canonicalize_name(name)}=={version}" for name, _, version in map(split, folders)}

    assert wanted <= held


def split(folder: str) -> tuple[str, str, str]:
    return folder.partition("-")


@pytest.mark.timeout(300)
def test_every_compiled_module_of_the_layer_for_aws_is_for_arm64(aws_layer: Path) -> None:
    bodies = elf.libraries(aws_layer)

    assert {elf.machine(body) for body in bodies.values()} == {elf.AARCH64}
    for module in aws_layer.rglob("*.so"):
        is_of_python = "cpython-313-aarch64" in module.name or ".abi3." in module.name
        assert is_of_python or module.parent.name.endswith(".libs")


@pytest.mark.timeout(300)
def test_the_layer_for_aws_holds_nothing_of_the_machine_that_built_it(aws_layer: Path) -> None:
    traces = ("bin", "direct_url.json", "INSTALLER", "RECORD", "REQUESTED")

    assert not [path for name in traces for path in aws_layer.rglob(name)]


#: Libraries of Amazon Linux 2023, as Lambda has it: glibc's, GCC's and zlib. Its package manager is
#: written in C++, so that its smallest image has libstdc++, too.
LAMBDAS_LIBRARIES = {
    *("libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1"),
    *("ld-linux-aarch64.so.1", "libgcc_s.so.1", "libstdc++.so.6", "libz.so.1"),
}
#: The newest symbols that they have: glibc 2.34, and GCC 11.
LAMBDAS_SYMBOLS = {"GLIBC": (2, 34), "GLIBCXX": (3, 4, 29), "CXXABI": (1, 3, 13), "GCC": (11, 0, 0)}


@pytest.mark.timeout(300)
def test_compiled_modules_of_the_layer_for_aws_need_no_more_than_amazon_linux_has(
    aws_layer: Path,
) -> None:
    bodies = elf.libraries(aws_layer)

    loaded = {name for body in bodies.values() for name in elf.needed(body)} - set(bodies)
    newest = {
        symbols: max(elf.newest(body, symbols) for body in bodies.values())
        for symbols in LAMBDAS_SYMBOLS
    }

    assert "libc.so.6" in loaded
    assert loaded <= LAMBDAS_LIBRARIES
    assert newest["GLIBC"]
    assert all(newest[symbols] <= has for symbols, has in LAMBDAS_SYMBOLS.items()), newest


def compiler(python: str, path: str) -> str:
    """Which Python the layer's Makefile takes to make Lambda's bytecode."""
    made = subprocess.run(  # noqa: S603 - our own words only
        ["make", "--silent", "-C", str(LAYERS), "compiler", f"PYTHON={python}"],  # noqa: S607
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout.strip()


@pytest.mark.timeout(300)
def test_bytecode_in_the_layer_for_aws_is_lambdas_and_complete_where_it_can_be_made(
    aws_layer: Path,
) -> None:
    compiled = [file.name for file in aws_layer.rglob("*.pyc")]

    assert all(name.endswith(".cpython-313.pyc") for name in compiled)
    if compiler(sys.executable, os.environ["PATH"]):
        assert len(compiled) == len(list(aws_layer.rglob("*.py")))
    else:
        assert not compiled


def interpreter(folder: Path, name: str, version: tuple[int, int]) -> Path:
    """A program that takes part in a build as a Python of that version would."""
    file = folder / name
    file.write_text(
        "#!/bin/sh\n"
        f"exec {sys.executable} -c \"import sys; sys.version_info = {(*version, 0)}; exec('$2')\"\n"
    )
    file.chmod(0o755)
    return file


def test_lambdas_bytecode_is_made_by_a_python_of_lambdas_version_whatever_its_name(
    tmp_path: Path,
) -> None:
    other, lambdas = (interpreter(tmp_path, f"mine-{n}", (3, n)) for n in (11, 13))

    assert compiler(str(other), os.defpath) in {"", "python3.13"}  # the system may have one
    assert compiler(str(lambdas), os.defpath) in {str(lambdas), "python3.13"}


def test_a_shim_that_leads_nowhere_makes_no_bytecode(tmp_path: Path) -> None:
    shim = tmp_path / "python3.13"
    shim.write_text("#!/bin/sh\necho python3.13: command not found >&2\nexit 127\n")
    shim.chmod(0o755)
    path = f"{tmp_path}:{os.defpath}"

    assert compiler(str(interpreter(tmp_path, "mine", (3, 11))), path) == ""


@pytest.mark.parametrize(("held", "is_said"), [("a.py", True), ("__pycache__/a.pyc", False)])
def test_a_layer_without_bytecode_is_not_built_in_silence(
    held: str,
    is_said: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "CommonLayer" / held
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setattr(build, "BUILD", tmp_path)
    monkeypatch.setattr(build, "build_layer", lambda *_: tmp_path / "CommonLayer")

    build.build_all("aws")

    assert ("no bytecode" in capsys.readouterr().err) == is_said


def test_bytecode_is_never_compared_with_its_source_nor_names_this_machine(
    host_layer: Path,
) -> None:
    compiled = [file.read_bytes() for file in (host_layer / "phonoscene").rglob("*.pyc")]

    assert len(compiled) == len(list((host_layer / "phonoscene").rglob("*.py")))
    assert {body[4] for body in compiled} == {UNCHECKED_HASH}
    assert not [body for body in compiled if str(host_layer).encode() in body]


@pytest.mark.timeout(300)
def test_the_layers_for_aws_leave_room_below_lambdas_limit() -> None:
    folders = [build_layer("aws", layer) for layer in ALL_LAYERS]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]

    assert sum(file.stat().st_size for file in files) < 200_000_000  # of 250 MB, unzipped


@pytest.mark.timeout(300)
def test_the_bill_of_materials_names_every_package_of_the_layers_with_its_hashes() -> None:
    folders = [build_layer("aws", layer) for layer in ALL_LAYERS]
    bill = json.loads(sbom.write(folders).read_text())

    named = {one["purl"]: one["externalReferences"][0]["hashes"] for one in bill["components"]}
    paths = [str(folder / "python") for folder in folders]
    held = list(importlib.metadata.distributions(path=paths))
    assert set(named) == {f"pkg:pypi/{canonicalize_name(d.name)}@{d.version}" for d in held}
    assert all(one["alg"] == "SHA-256" for hashes in named.values() for one in hashes)
    assert all(named.values())
    assert bill["bomFormat"] == "CycloneDX"
