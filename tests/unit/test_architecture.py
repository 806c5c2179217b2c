"""Imports point downwards, from room to room; what only computes knows only its like."""

from __future__ import annotations

import ast
import graphlib
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "layers/common/phonoscene"

#: From the bottom to the top: a room knows those before it. Modules at the door come first, but for
#: the queues, whose messages are made of what the rooms hold.
ROOMS = (
    "",
    "net",
    "videos",
    "fal",
    "drops",
    "table",
    "publishing",
    "probe",
    "editing",
    "queues",
    "sequences",
    "workflow",
)

#: Of the standard library: the world outside of a computation.
IMPURE = {
    "http",
    "os",
    "pathlib",
    "random",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}
#: A pause of random length, and nothing else.
JITTER = {"retries": {"random"}, "publishing.event_webhooks": {"random"}}
#: The same for the command line's.
CLI_ROOMS = (
    "",
    "stack",
    "ui",
    "upload",
    "follow",
    "audit",
    "deployment",
    "doctor",
    "board",
    "options",
    "commands",
    "app",
    "__main__",
)
#: Modules of one folder; but a folder of commands has as many as there are commands.
MOST_MODULES = 14
ONE_FOR_EACH_COMMAND = "commands"
#: The same for the local cloud's, and for the simulator's within it.
LOCAL_ROOMS = (
    "",
    "cloud",
    "releases",
    "drops",
    "fal_simulator",
    "commands",
    "changes",
    "adopt",
    "app",
    "__main__",
)
SIMULATOR_ROOMS = (
    "faults",
    "",
    "hosts",
    "generation",
    "simulator",
    "control",
    "__main__",
)
#: What only computes: no clock, no file, no network.
PURE = {
    "version",
    "limits",
    "spending",
    "comparison",
    "errors",
    "jobs",
    "drops.keys",
    "drops.pairing",
    "drops.metadata",
    "drops.sidecar",
    "drops.image_references",
    "drops.sidecar_files",
    "drops.validation_errors",
    "drops.pricing",
    "fal.requests",
    "fal.webhook_message",
    "fal.webhook_signature",
    "fal.results",
    "fal.answers",
    "fal.lenient_json",
    "videos.video_formats",
    "videos.tracks",
    "drops.s3_refusals",
    "drops.media_facts",
    "drops.queue_message",
    "probe.claims",
    "probe.object_reader",
    "editing.vp9",
    "sequences.plan",
    "sequences.scenes",
    "sequences.segments",
    "sequences.planning",
    "drops.contents",
    "publishing.wording",
    "drops.near_names",
    "publishing.event_webhooks",
    "publishing.manifests",
    "publishing.pointers",
    "publishing.public_job",
    "publishing.receipts",
    "publishing.s3_conditions",
    "publishing.events",
    "retries",
}

#: One outside thing, the table, in five parts; another, fal's queue, in two. And HTTPS to hosts
#: that others name is spoken in one way.
TOGETHER = {
    "table.dynamodb": {"table.items"},
    "table.job_store": {"table.dynamodb", "table.items", "table.ledger", "table.transition"},
    "table.ledger": {"table.items"},
    "table.transition": {"table.items"},
    "videos.cdn": {"net.connections", "net.public_https"},
    "net.connections": {"net.deadlines", "net.public_https"},
    "fal.client": {"net.deadlines"},
    "fal.storage": {"net.deadlines"},
    "net.public_https": {"net.deadlines"},
    "fal.signing_keys": {"net.public_https"},
    "fal.queue": {"fal.client"},
    "publishing.endpoint": {"net.deadlines", "net.public_https"},
    "probe.audio": {"probe.containers"},
    "probe.image": {"probe.containers"},
    "probe.prober": {"probe.audio", "probe.image"},
    "editing.opening": {"probe.audio", "probe.containers"},
    "editing.sound": {"editing.opening"},
    "editing.slices": {"editing.opening", "editing.sound"},
    "editing.silences": {"editing.opening", "editing.sound"},
    "editing.last_frame": {"editing.opening", "editing.pictures"},
    "editing.pictures": {"editing.opening"},
    "editing.joiner": {"editing.opening", "editing.pictures", "editing.sound"},
    "sequences.media_editor": {
        "editing.joiner",
        "editing.last_frame",
        "editing.silences",
        "editing.slices",
        "sequences.work_folder",
    },
}

#: What comes from outside the standard library, module by module: an edge has one outside thing.
OUTSIDE = {
    "jobs": {"pydantic"},
    "drops.sidecar": {"pydantic", "pydantic_core", "annotated_types"},
    "drops.image_references": {"pydantic", "pydantic_core", "annotated_types"},
    "drops.sidecar_files": {"pydantic"},
    "fal.results": {"pydantic"},
    "fal.answers": {"pydantic"},
    "publishing.public_job": {"pydantic"},
    "publishing.pointers": {"pydantic"},
    "publishing.receipts": {"pydantic"},
    "publishing.event_webhooks": {"standardwebhooks"},
    "fal.webhook_signature": {"cryptography"},
    "table.items": {"boto3", "pydantic"},  # DynamoDB's types, no call
    "table.dynamodb": {"botocore"},
    "drops.drop_bucket": {"botocore"},
    "probe.audio": {"av"},
    "probe.containers": {"av"},
    "probe.image": {"av"},
    "editing.opening": {"av"},
    "editing.sound": {"av"},
    "editing.silences": {"av"},
    "editing.last_frame": {"av"},
    "editing.joiner": {"av"},
    "sequences.scenes": {"pydantic"},
    "sequences.work_files": {"botocore"},
    "sequences.remote_editor": {"botocore"},
    "videos.output_bucket": {"botocore"},
    "publishing.receipt_bucket": {"botocore"},
    "publishing.stable_videos": {"botocore"},
    "fal.client": {"fal_client", "httpx"},  # fal_client raises httpx's errors
    "fal.api_key": {"aws_lambda_powertools"},
    "fal.storage": {"httpx"},  # fal_client's uploads are whole, in memory and without a time limit
    "observability": {"aws_lambda_powertools"},
}


#: What tests and benchmarks may import of the repository beside their own folder.
SHARED = "tests.support"


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {module_of(file): ast.parse(file.read_text("utf-8")) for file in PACKAGE.rglob("*.py")}
EDGES = (
    set(MODULES)
    - PURE
    - {"__init__", "batch", *ROOMS}
    - {name for name in MODULES if name.startswith("workflow")}
)
CLI = ROOT / "cli/phonoscene_cli"
LOCAL = ROOT / "local"
COMMAND_LINE, LOCAL_CLOUD = (
    {
        ".".join(file.relative_to(folder).with_suffix("").parts): ast.parse(file.read_text("utf-8"))
        for file in folder.rglob("*.py")
    }
    for folder in (CLI, LOCAL)
)
TESTS = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts): ast.parse(file.read_text("utf-8"))
    for folder in ("tests", "benchmarks")
    for file in (ROOT / folder).rglob("*.py")
}
APPS = {
    file.parent.name: ast.parse(file.read_text("utf-8")) for file in ROOT.glob("functions/*/app.py")
}


def imports(tree: ast.AST, *, at_runtime: bool = True) -> Iterator[str]:
    """The dotted names that are imported; under TYPE_CHECKING they are for the types."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and at_runtime and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imports(node, at_runtime=at_runtime)


def own(tree: ast.AST, *, at_runtime: bool = True) -> set[str]:
    """The modules of the package that a module imports."""
    named = [
        name.removeprefix("phonoscene.")
        for name in imports(tree, at_runtime=at_runtime)
        if name.startswith("phonoscene.")
    ]
    return {
        max((m for m in MODULES if name == m or name.startswith(m + ".")), key=len, default=name)
        for name in named
    }


def of_tests(name: str, *, at_runtime: bool = True) -> set[str]:
    """The modules of tests and benchmarks that one of them imports."""
    named = [
        found
        for found in imports(TESTS[name], at_runtime=at_runtime)
        if found.startswith(("tests.", "benchmarks."))
    ]
    return {
        max((m for m in TESTS if found == m or found.startswith(m + ".")), key=len, default=found)
        for found in named
    }


def folder_of(module: str) -> str:
    """A suite of the tests, or the benchmarks."""
    parts = module.split(".")
    return parts[0] if parts[0] == "benchmarks" else ".".join(parts[:2])


def room_of(module: str) -> str:
    """A module's room; "" is the door."""
    return module.partition(".")[0] if "." in module or module in ROOMS else ""


def outside(tree: ast.AST) -> set[str]:
    """The packages that it imports of those that Python does not bring."""
    roots = {name.partition(".")[0] for name in imports(tree)}
    return roots - set(sys.stdlib_module_names) - {"phonoscene"}


def test_the_rules_name_modules_that_are_there() -> None:
    assert set(MODULES) >= PURE | set(OUTSIDE) | set(TOGETHER)
    assert {room_of(name) for name in MODULES} == set(ROOMS)
    assert {"table.job_store", "drops.drop_bucket", "videos.cdn", "fal.queue"} <= EDGES


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_knows_its_own_room_and_those_below(name: str) -> None:
    known = {room_of(other) for other in own(MODULES[name], at_runtime=False)}

    assert not [room for room in known if ROOMS.index(room) > ROOMS.index(room_of(name))]


@pytest.mark.parametrize("name", sorted(COMMAND_LINE))
def test_a_module_of_the_command_line_knows_its_own_room_and_those_below(name: str) -> None:
    assert rooms_above(name, COMMAND_LINE[name], "phonoscene_cli", CLI_ROOMS) == set()


def test_a_folder_has_few_enough_modules_to_find_one_at_a_glance() -> None:
    folders = Counter(
        str(file.parent.relative_to(ROOT))
        for package in (PACKAGE, CLI, LOCAL)
        for file in package.rglob("*.py")
        if file.name != "__init__.py" and file.parent.name != ONE_FOR_EACH_COMMAND
    )
    crowded = {folder: count for folder, count in folders.items() if count > MOST_MODULES}

    assert not crowded, (
        f"a folder has at most {MOST_MODULES} modules beside __init__.py; there are more in "
        f"{crowded}: give what belongs together a folder of its own"
    )


@pytest.mark.parametrize("name", sorted(LOCAL_CLOUD))
def test_a_module_of_the_local_cloud_knows_its_own_room_and_those_below(name: str) -> None:
    tree = LOCAL_CLOUD[name]

    assert rooms_above(name, tree, "local", LOCAL_ROOMS) == set()
    if name.startswith("fal_simulator."):
        inside = name.removeprefix("fal_simulator.")
        assert rooms_above(inside, tree, "local.fal_simulator", SIMULATOR_ROOMS) == set()


def rooms_above(name: str, tree: ast.AST, package: str, rooms: tuple[str, ...]) -> set[str]:
    """The rooms that a module of a package knows and should not, as they are above its own."""

    def room(module: str) -> str:
        first = module.partition(".")[0]
        return first if first in rooms else ""

    named = imports(tree, at_runtime=False)
    mine = rooms.index(room(name))
    known = {
        room(found.removeprefix(f"{package}."))
        for found in named
        if found.startswith(f"{package}.")
    }
    return {other for other in known if rooms.index(other) > mine}


def test_no_module_is_reached_from_itself() -> None:
    arrows = {name: own(tree) - {name} for name, tree in MODULES.items()}

    list(graphlib.TopologicalSorter(arrows).static_order())


def test_no_module_of_the_local_cloud_is_reached_from_itself_not_even_for_its_types() -> None:
    arrows = {
        name: {
            max(
                (m for m in LOCAL_CLOUD if f"{found}.".startswith(f"local.{m}.")),
                key=len,
                default=found,
            )
            for found in imports(tree, at_runtime=False)
            if found.startswith("local.")
        }
        for name, tree in LOCAL_CLOUD.items()
    }

    list(graphlib.TopologicalSorter(arrows).static_order())


@pytest.mark.parametrize("name", sorted(PURE))
def test_what_only_computes_knows_only_its_like(name: str) -> None:
    assert own(MODULES[name], at_runtime=False) <= PURE
    assert not outside(MODULES[name]) & {"boto3", "botocore", "httpx", "av"}
    roots = {found.partition(".")[0] for found in imports(MODULES[name])}
    assert roots & IMPURE == JITTER.get(name, set())


@pytest.mark.parametrize("name", sorted(EDGES))
def test_an_edge_knows_no_other_but_for_what_is_one_thing(name: str) -> None:
    assert own(MODULES[name]) & EDGES == TOGETHER.get(name, set())


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.startswith("workflow.")))
def test_a_workflow_knows_of_edges_only_the_types(name: str) -> None:
    assert not own(MODULES[name]) & EDGES
    assert not outside(MODULES[name])


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_uses_the_outside_things_that_are_its_own(name: str) -> None:
    assert outside(MODULES[name]) == OUTSIDE.get(name, set())


def test_fal_client_is_imported_in_one_place() -> None:
    users = {
        name
        for name, tree in {**MODULES, **APPS}.items()
        if any(found.startswith("fal_client") for found in imports(tree, at_runtime=False))
    }

    assert users == {"fal.client"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_the_package_knows_no_function_no_tool_and_no_test(name: str) -> None:
    roots = {found.partition(".")[0] for found in imports(MODULES[name], at_runtime=False)}

    assert not roots & {"functions", "local", "cli", "tests", "benchmarks"}


@pytest.mark.parametrize("name", sorted(APPS))
def test_a_function_knows_no_other_function(name: str) -> None:
    roots = {found.partition(".")[0] for found in imports(APPS[name], at_runtime=False)}

    assert not roots & {"app", "functions", "local", "cli", "tests"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_clients_of_aws_are_made_where_functions_are_put_together(name: str) -> None:
    calls = {
        ast.unparse(node.func) for node in ast.walk(MODULES[name]) if isinstance(node, ast.Call)
    }

    assert not calls & {"boto3.client", "boto3.resource", "boto3.Session", "boto3.session.Session"}


@pytest.mark.parametrize("name", sorted(APPS))
def test_a_function_does_nothing_when_it_is_imported(name: str) -> None:
    calls = {
        ast.unparse(node.value.func)
        for node in APPS[name].body
        if isinstance(node, ast.Assign | ast.Expr) and isinstance(node.value, ast.Call)
    }

    assert calls <= {"Config", "timedelta"}  # values, not clients


@pytest.mark.parametrize("name", sorted(COMMAND_LINE))
def test_the_command_line_knows_the_package_and_of_its_workflow_only_finding_and_examining(
    name: str,
) -> None:
    roots = {found.partition(".")[0] for found in imports(COMMAND_LINE[name], at_runtime=False)}
    workflow = {m for m in own(COMMAND_LINE[name], at_runtime=False) if m.startswith("workflow")}

    assert not roots & {"functions", "local", "cli", "tests", "benchmarks", "fal_client"}
    assert workflow <= {"workflow.finding", "workflow.examination"}
    assert "table.job_store" not in own(COMMAND_LINE[name], at_runtime=False)  # it writes


@pytest.mark.parametrize("name", sorted(COMMAND_LINE))
def test_the_command_line_makes_sessions_and_clients_in_one_module(name: str) -> None:
    roots = {found.partition(".")[0] for found in imports(COMMAND_LINE[name])}

    assert ("boto3" in roots) == (name == "stack.connection")


@pytest.mark.parametrize("name", sorted(COMMAND_LINE))
def test_only_commands_know_the_options_and_only_the_terminal_and_they_know_tables(
    name: str,
) -> None:
    roots = {found.partition(".")[0] for found in imports(COMMAND_LINE[name])}
    is_command = name in {"app", "options"} or name.startswith("commands.")

    assert is_command or "typer" not in roots
    assert is_command or name in {"ui.terminal", "follow.follow"} or "rich" not in roots


@pytest.mark.parametrize("name", sorted(LOCAL_CLOUD))
def test_of_the_local_cloud_only_commands_know_the_options_and_progress_is_shown_in_one_way(
    name: str,
) -> None:
    roots = {found.partition(".")[0] for found in imports(LOCAL_CLOUD[name], at_runtime=False)}
    is_command = name == "app" or name.startswith("commands.")

    assert not roots & {"functions", "cli", "tests", "benchmarks", "fal_client"}
    assert is_command or "typer" not in roots
    assert name == "progress" or "rich" not in roots


@pytest.mark.parametrize("name", sorted(TESTS))
def test_a_test_knows_its_own_suite_and_the_shared_support(name: str) -> None:
    known = of_tests(name, at_runtime=False)
    subject = {"benchmarks"} if name == "tests.integration.test_benchmarks" else set()

    assert {folder_of(other) for other in known} <= {folder_of(name), SHARED} | subject
    assert not [other for other in known if other.rpartition(".")[2].startswith("test_")]


def test_no_module_of_the_tests_is_reached_from_itself() -> None:
    arrows = {name: of_tests(name) - {name} for name in TESTS}

    list(graphlib.TopologicalSorter(arrows).static_order())


def test_nothing_imports_by_relative_path() -> None:
    relative = [
        name
        for name, tree in [
            *MODULES.items(),
            *APPS.items(),
            *COMMAND_LINE.items(),
            *LOCAL_CLOUD.items(),
            *TESTS.items(),
        ]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]

    assert not relative
