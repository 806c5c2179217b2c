"""A stack in use goes back to the released version and forward again; and is made anew.

The tests share one cloud, in this order. Before a version has its tag, the code of HEAD stands for
it, under another version.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from local import adopt
from local.cloud.cloud import running_cloud
from local.cloud.deploy import STACK
from local.paths import BUILD, PROJECT, StateDirectory
from phonoscene.version import VERSION
from tests.compatibility import released
from tests.support.local_stack import (
    FEW_PROCESSES,
    NO_WEBHOOK,
    SIMULATOR,
    Phonoscene,
    eventually,
    looks,
    make_audio,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.timeout(400)]

STATE: Final = StateDirectory(BUILD / "e2e-upgrade")
PARAMETERS: Final = {**FEW_PROCESSES, "MaxInFlight": "10", "AskFalSeconds": "3"}
#: Of HEAD's code where it stands for a released version.
STAND_IN: Final = "0.0.9"
DEPLOY: Final = """
import json, sys
from pathlib import Path
from local.cloud import deploy
from local.cloud.endpoints import Endpoints
stack = deploy.Stack(Endpoints.load(Path(sys.argv[1])), Path(sys.argv[2]))
template, given = deploy.read_template(), json.loads(sys.argv[3])
known = {name: value for name, value in given.items() if name in template["Parameters"]}
print(json.dumps(stack.deploy(deploy.package(template), known)))
"""


@dataclass(frozen=True)
class Code:
    """A version's working copy, which deploys itself."""

    folder: Path

    def deploy(self) -> dict[str, str]:
        """Create or update the stack; its outputs."""
        paths = os.pathsep.join((".", "layers/common", "cli"))
        arguments = (str(STATE.endpoints_file), str(STATE.layers), json.dumps(PARAMETERS))
        done = subprocess.run(  # noqa: S603 - this Python, and our own program
            (sys.executable, "-c", DEPLOY, *arguments),
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            check=True,
            timeout=200,
        )
        found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
        return found


@pytest.fixture(scope="module")
def stack() -> Iterator[Phonoscene]:
    with running_cloud(STATE.root, PARAMETERS, SIMULATOR) as endpoints:
        yield Phonoscene(endpoints)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Code:
    """The released version's code; dependencies of layers that are equal are built already."""
    commit = released.commit(VERSION)
    if commit is None:
        pytest.skip("no git history here, and so no released code")
    folder = tmp_path_factory.mktemp("released") / "code"
    released.unpack(commit, folder)
    (folder / ".build").mkdir()
    shutil.copytree(BUILD / "host", folder / ".build" / "host", copy_function=os.link)
    if f'"{VERSION}"' in (folder / "layers/common/phonoscene/version.py").read_text():
        command = ("make", "-s", "version", f"VERSION={STAND_IN}")
        subprocess.run(command, cwd=folder, check=True)  # noqa: S603 - our own command line
    return Code(folder)


def reconcile(stack: Phonoscene) -> None:
    """What the schedule does once a minute."""
    function = stack.function_name("ReconcileFunction")
    answer = stack.endpoints.client("lambda").invoke(FunctionName=function, Payload=b"{}")
    assert "FunctionError" not in answer


def finished(stack: Phonoscene, name: str) -> dict[str, Any]:
    """A name's job once it has its video, although no webhook comes."""
    for _ in looks(90):
        reconcile(stack)
        takes = stack.jobs.takes(name)
        if takes and takes[0]["status"] == "SUCCEEDED":
            return takes[0]
    raise AssertionError(f"{name}: {takes}")


def test_a_stack_goes_back_and_forward_with_jobs_in_progress(
    stack: Phonoscene, older: Code
) -> None:
    prompts = {name: stack.drop(name, NO_WEBHOOK) for name in ("lost/0", "lost/1")}
    prompts["done"] = stack.drop("done")
    stack.take("done")
    stack.put("half.wav", make_audio("wav"))
    for name in ("lost/0", "lost/1"):
        stack.take(name, until={"SUBMITTED"})
    before = stack.receipts("done")

    back = older.deploy()
    prompts["half"] = stack.sidecar("half.json")
    by_older = [finished(stack, name) for name in ("half", "lost/0")]
    prompts["late"] = stack.drop("late", NO_WEBHOOK)
    stack.take("late", until={"SUBMITTED"})
    forward = Code(PROJECT).deploy()
    late = finished(stack, "late")
    finished(stack, "lost/1")

    assert back["Version"] != forward["Version"] == VERSION
    assert {job["phonoscene_version"] for job in by_older} == {back["Version"]}
    assert late["phonoscene_version"] == VERSION
    for name, prompt in prompts.items():
        assert len(stack.requests(prompt)) == 1, name
        assert len(stack.versions(f"{name}/")) == 2, name  # a video and its manifest
        assert eventually(lambda name=name: stack.is_told(name)), name  # type: ignore[misc]  # a default binds it
    assert stack.receipts("done") == before


def test_a_new_stack_adopts_what_a_deleted_one_has_left(stack: Phonoscene) -> None:
    """The emulator names a new stack's table as the deleted one's: it is imported, not replaced."""
    formation = stack.endpoints.client("cloudformation")
    prompt = stack.drop("adopted", NO_WEBHOOK)
    stack.take("adopted", until={"SUBMITTED"})
    left = {one: stack.outputs[f"{one}Name"] for one in adopt.RETAINED}

    formation.delete_stack(StackName=STACK)
    formation.get_waiter("stack_delete_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1})
    formation.create_change_set(**adopt.change_set(STACK, left, ""))
    named = {"StackName": STACK, "ChangeSetName": adopt.CHANGE_SET}
    formation.get_waiter("change_set_create_complete").wait(**named, WaiterConfig={"Delay": 1})
    formation.execute_change_set(**named)
    formation.get_waiter("stack_import_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1})
    outputs = Code(PROJECT).deploy()

    assert {one: outputs[f"{one}Name"] for one in adopt.RETAINED} == left
    anew = Phonoscene(stack.endpoints)
    assert finished(anew, "adopted")["status"] == "SUCCEEDED"
    assert len(anew.requests(prompt)) == 1
    anew.drop("anew")
    assert anew.take("anew")["status"] == "SUCCEEDED"
