"""The zip files that AWS receives work on Python 3.13 for arm64: ``make target-check``."""

from __future__ import annotations

import json
import subprocess
import uuid
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from local.cloud.build import FUNCTIONS
from local.cloud.deploy import read_template
from tests.support import stack
from tests.support.local_stack import SMALL, make_audio, make_picture
from tests.target import arm64

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.local_stack import Phonoscene

# an emulated processor has a tenth of a real one's speed
pytestmark = [pytest.mark.timeout(1200)]
SECONDS = 600.0
HANDLERS = sorted(app.parent.name for app in FUNCTIONS.glob("*/app.py"))
LAYERS = ("CommonLayer", "MediaLayer")

# Imports each function's app from its own folder, and lists what was loaded, and what compiled.
IMPORT_APPS = """
import importlib, importlib.machinery, json, platform, sys
compiled, compile_source = [], importlib.machinery.SourceFileLoader.source_to_code
def noted(loader, data, path, **options):
    compiled.append(path)
    return compile_source(loader, data, path, **options)
importlib.machinery.SourceFileLoader.source_to_code = noted
for folder in sys.argv[1:]:
    sys.path.insert(0, folder)
    app = importlib.import_module("app")
    assert callable(app.handler) and app.__file__.startswith(folder), app.__file__
    del sys.modules["app"], sys.path[0]
import av, boto3, cryptography, pydantic_core
from cryptography.hazmat.backends.openssl import backend
libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
machine = [platform.python_version(), platform.machine(), *platform.libc_ver()]
print(json.dumps({
    "loaded": [getattr(module, "__file__", None) for module in sys.modules.values()],
    "compiled": compiled,
    "versions": {
        "Python": " ".join(machine),
        "OpenSSL": f"{backend.openssl_version_text()} in cryptography {cryptography.__version__}",
        "libavcodec": f"{libavcodec} in av {av.__version__}",
        "pydantic_core": pydantic_core.__version__,
        "boto3": boto3.__version__,
    },
}))
"""


@pytest.fixture(scope="session")
def unpacked(archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each archive's files in a folder of its own."""
    folder = tmp_path_factory.mktemp("opt")
    for name in (*LAYERS, *HANDLERS):
        with zipfile.ZipFile(archives[name]) as archive:
            archive.extractall(folder / name)  # our own archives
    return folder


def test_each_function_imports_the_layers_from_their_bytecode(
    lambda_python: Path, unpacked: Path, archives: dict[str, Path], facts: dict[str, str]
) -> None:
    variables = read_template()["Globals"]["Function"]["Environment"]["Variables"]
    given = {name: value for name, value in variables.items() if isinstance(value, str)}
    layers = [str(unpacked / name / "python") for name in LAYERS]
    apps = [str(unpacked / name) for name in HANDLERS]

    done = subprocess.run(  # noqa: S603 - our own words only
        [str(lambda_python), "-B", "-W", "error", "-c", IMPORT_APPS, *apps],
        env={**given, "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(layers)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    found = json.loads(done.stdout)
    loaded = [file for file in found["loaded"] if file and file.startswith(tuple(layers))]
    native = [file for file in loaded if file.endswith(".so")]
    compiled = [file for file in found["compiled"] if file.startswith(tuple(layers))]
    assert native
    assert not compiled, "The layers have no bytecode. Install python3.13, and run this again."
    size = sum(archives[name].stat().st_size for name in (*LAYERS, *HANDLERS))
    facts |= {
        "qemu": f"{arm64.version()}, {arm64.CPU}",
        **found["versions"],
        "archives": f"{len(LAYERS)} layers and {len(HANDLERS)} functions, {size / 1e6:.1f} MB",
        "modules": f"{len(loaded) - len(native)} from bytecode, {len(native)} from .so files",
    }


def test_a_drop_of_audio_and_image_becomes_a_video(phonoscene: Phonoscene) -> None:
    name = f"target/{uuid.uuid4().hex}"
    phonoscene.put(f"{name}.png", make_picture())
    phonoscene.drop(name, suffix="mp3", image_url=f"{name.rpartition('/')[2]}.png")

    job = phonoscene.take(name, seconds=SECONDS)

    assert job["status"] == "SUCCEEDED", job
    assert phonoscene.video(job)[4:8] == b"ftyp"


def test_a_song_of_two_scenes_is_cut_and_joined(phonoscene: Phonoscene) -> None:
    name = f"target/{uuid.uuid4().hex}"
    scenes = [{"start": start, "prompt": f"a test {uuid.uuid4()}"} for start in (0, 5)]
    sidecar = {"video_size": SMALL, "fps": 12, "scenes": scenes}
    phonoscene.put(f"{name}.json", json.dumps(sidecar).encode())
    phonoscene.put(f"{name}.wav", make_audio("wav", 10.0))

    job = phonoscene.take(name, seconds=SECONDS)

    assert job["status"] == "SUCCEEDED", job
    assert len(job["sequence"]["segments"]) == len(scenes)
    assert phonoscene.video(job)[4:8] == b"ftyp"


def answer(phonoscene: Phonoscene, function: str, event: dict[str, Any]) -> Any:
    """What a function returns for an event; fails where it raised."""
    name = phonoscene.function_name(f"{function.capitalize()}Function")
    invoked = phonoscene.endpoints.client("lambda").invoke(
        FunctionName=name, Payload=json.dumps(event).encode()
    )
    payload = json.load(invoked["Payload"])
    assert "FunctionError" not in invoked, payload
    return payload


def stored_audio(phonoscene: Phonoscene) -> dict[str, Any]:
    """An object of the drop bucket as submit names it to the functions of the media layer."""
    key, body = f"target/{uuid.uuid4().hex}.wav", make_audio("wav")
    bucket = phonoscene.endpoints.drop_bucket
    tag = phonoscene.s3.put_object(Bucket=bucket, Key=key, Body=body)["ETag"].strip('"')
    return {"key": key, "etag": tag, "bytes": len(body)}


def test_submit_returns_to_the_queue_what_is_not_of_its_bucket(phonoscene: Phonoscene) -> None:
    event = stack.event("sqs-drops")
    ids = [record["messageId"] for record in event["Records"]]

    failed = answer(phonoscene, "submit", event)["batchItemFailures"]

    assert [one["itemIdentifier"] for one in failed] == ids


def test_probe_measures_audio(phonoscene: Phonoscene) -> None:
    facts = answer(phonoscene, "probe", {"kind": "audio", **stored_audio(phonoscene)})["facts"]

    assert facts["seconds"] == pytest.approx(1.0)


def test_edit_looks_for_silences(phonoscene: Phonoscene) -> None:
    assert answer(phonoscene, "edit", {"do": "silences", **stored_audio(phonoscene)}) == {
        "done": []
    }


def test_webhook_refuses_a_forged_signature(phonoscene: Phonoscene) -> None:
    assert answer(phonoscene, "webhook", stack.event("http-webhook"))["statusCode"] == 401


def test_store_drops_a_result_of_no_job(phonoscene: Phonoscene) -> None:
    event = stack.event("sqs-webhook-message")

    assert answer(phonoscene, "store", event) == {"batchItemFailures": []}


def test_reconcile_finds_nothing_overdue(phonoscene: Phonoscene) -> None:
    assert isinstance(answer(phonoscene, "reconcile", {}), dict)


def test_publish_publishes_a_transition(phonoscene: Phonoscene) -> None:
    event = stack.event("dynamodb-job-changed")

    assert answer(phonoscene, "publish", event) == {"batchItemFailures": []}


def test_notify_sends_an_event_that_its_receiver_can_verify(phonoscene: Phonoscene) -> None:
    event = stack.event("job-status-changed")
    event["detail"]["name"] = name = f"target/{uuid.uuid4().hex}"

    assert answer(phonoscene, "notify", stack.sqs(event)) == {"batchItemFailures": []}

    heard = [one["data"]["name"] for _, one in phonoscene.subscriber.heard]
    assert name in heard
    assert not phonoscene.subscriber.forged
