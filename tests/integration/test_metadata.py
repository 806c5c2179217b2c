"""A drop's metadata, from the sidecar or the command line to wherever a job is read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import EndpointConnectionError

from phonoscene.drops.keys import half_id
from phonoscene.jobs import JobStatus
from phonoscene.publishing.receipts import Receipt
from phonoscene.table.job_store import JobStore
from tests.integration.moto_stack import client
from tests.integration.workspace import WAY, Workspace, an_id
from tests.support.media.samples import silence
from tests.support.stack import DROPS, JOBS, sqs

if TYPE_CHECKING:
    import io
    from pathlib import Path

    from phonoscene.jobs import Job
    from tests.integration.desk import Answer, Desk
    from tests.integration.fal_queue import FakeFalQueue
    from tests.integration.moto_stack import Cloud

AUDIO, TEXT = "talks/intro.wav", "talks/intro.json"
SIDECAR = {"prompt": "A stage", "video_size": {"width": 64, "height": 64}}
ORDER = {"order": "A-17"}
ODD = {"order": 'a "b"\n\\ {}\u202e\u65e5', "__proto__": "x", "level": "CRITICAL"}
_S = JobStatus


@pytest.fixture
def store(cloud: Cloud) -> JobStore:  # noqa: ARG001 - its table
    return JobStore(client("dynamodb"), JOBS)


def drop(desk: Desk, metadata: Any, **fields: Any) -> None:
    """Drop both halves, and let ``submit`` look at them."""
    desk.cloud.drop(AUDIO, silence(1))
    desk.cloud.drop(TEXT, json.dumps(SIDECAR | {"metadata": metadata} | fields))
    desk.announce(TEXT)


def taken(store: JobStore, job_id: str, status: JobStatus) -> None:
    """Bring a submitted job to one of its ends."""
    job = store.get(job_id)
    assert job
    for step in WAY[status][WAY[status].index(_S.SUBMITTED) + 1 :]:
        job = store.move(job, step)


# Drops


def test_fal_and_the_log_get_none_of_it_and_the_job_has_all_of_it(
    desk: Desk, fal: FakeFalQueue, log: io.StringIO
) -> None:
    drop(desk, ODD)

    assert desk.cloud.only_item()["metadata"] == ODD
    [post] = fal.posts
    assert "metadata" not in post.arguments
    assert not [text for text in ODD.values() if len(text) > 1 and text in str(post)]
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert lines
    assert not any({*ODD} & {*line} - {"level"} or line["level"] == "CRITICAL" for line in lines)


def test_the_defaults_of_the_folders_are_merged_key_by_key(desk: Desk) -> None:
    desk.cloud.drop("_defaults.json", json.dumps({"metadata": {"a": "1", "b": "1", "c": "1"}}))
    desk.cloud.drop("talks/_defaults.json", json.dumps({"metadata": {"b": "2", "c": "2"}}))

    drop(desk, {"c": "3"})

    assert desk.cloud.only_item()["metadata"] == {"a": "1", "b": "2", "c": "3"}


def test_takes_that_differ_in_their_metadata_alone_are_two_jobs_each_with_its_own(
    desk: Desk, fal: FakeFalQueue
) -> None:
    desk.cloud.drop(AUDIO, silence(1))
    takes = [SIDECAR | {"metadata": {"take": f"{n}"}} for n in range(2)]
    desk.cloud.drop(TEXT, json.dumps(takes))

    desk.announce(TEXT)

    assert sorted(item["metadata"]["take"] for item in desk.cloud.items()) == ["0", "1"]
    assert len(fal.posts) == 2


def test_a_rejected_job_has_its_metadata_without_what_is_wrong_with_it(
    desk: Desk, fal: FakeFalQueue
) -> None:
    drop(desk, ORDER, fps=61)
    assert (desk.cloud.only_item()["status"], desk.cloud.only_item()["metadata"]) == (
        "REJECTED",
        ORDER,
    )
    desk.cloud.empty()

    drop(desk, ORDER | {"n": 1}, fps=61)

    assert (desk.cloud.only_item()["status"], desk.cloud.only_item()["metadata"]) == (
        "REJECTED",
        ORDER,
    )
    assert {error["field"] for error in desk.cloud.only_item()["errors"]} == {"fps", "metadata.n"}
    assert fal.posts == []


def end_wait(desk: Desk, key: str) -> dict[str, Any]:
    """The job of a half whose grace is over."""
    desk.announce(key)
    assert desk.cloud.only_item()["status"] == "WAITING"
    assert desk.submit
    desk.submit.handler(sqs(json.dumps({"job_id": half_id(DROPS, key)})), desk.context)
    return desk.cloud.only_item()


def rejected_for(desk: Desk, code: str) -> dict[str, Any]:
    """The metadata of the one job, which was rejected for one thing."""
    assert [error["code"] for error in desk.cloud.only_item()["errors"]] == [code]
    found: dict[str, Any] = desk.cloud.only_item().get("metadata", {})
    return found


@pytest.mark.usefixtures("no_grace")
def test_a_sidecar_whose_audio_never_comes_is_rejected_with_its_metadata_and_found_by_it(
    desk: Desk,
) -> None:
    desk.cloud.drop("_defaults.json", json.dumps({"metadata": {"customer": "acme", "order": "?"}}))
    desk.cloud.drop(TEXT, json.dumps(SIDECAR | {"metadata": ORDER}))

    end_wait(desk, TEXT)

    assert rejected_for(desk, "missing_audio") == {"customer": "acme"} | ORDER
    [found] = desk.says("jobs", "--json", "--meta", "order=A-17").data
    assert found["job_id"] == desk.cloud.only_item()["job_id"]


@pytest.mark.usefixtures("no_grace")
def test_of_several_takes_that_are_rejected_together_the_job_has_the_metadata_of_all(
    desk: Desk,
) -> None:
    takes = [SIDECAR | {"metadata": ORDER | {"take": f"{n}"}} for n in range(2)]
    desk.cloud.drop(TEXT, json.dumps(takes))

    end_wait(desk, TEXT)

    assert rejected_for(desk, "missing_audio") == ORDER


@pytest.mark.usefixtures("no_grace")
def test_audio_whose_sidecar_never_comes_has_the_metadata_of_its_defaults(desk: Desk) -> None:
    desk.cloud.drop("talks/_defaults.json", json.dumps({"metadata": ORDER}))
    desk.cloud.drop(AUDIO, silence(1))

    end_wait(desk, AUDIO)

    assert rejected_for(desk, "missing_sidecar") == ORDER


@pytest.mark.parametrize("order", [["talks/intro.mp4", TEXT], [TEXT, "talks/intro.mp4"]])
def test_a_sidecar_of_a_film_is_rejected_with_its_metadata(desk: Desk, order: list[str]) -> None:
    for key in order:
        desk.cloud.drop(key, json.dumps(SIDECAR | {"metadata": ORDER}))
        desk.announce(key)

    assert rejected_for(desk, "unsupported_format") == ORDER


def test_a_second_film_of_one_sidecar_is_rejected_with_its_metadata(desk: Desk) -> None:
    for key in (TEXT, "talks/intro.mp4", "talks/intro.aiff"):
        desk.cloud.drop(key, json.dumps(SIDECAR | {"metadata": ORDER}))
        desk.announce(key)
        if key.endswith("mp4"):
            desk.cloud.s3.delete_object(Bucket=DROPS, Key=key)

    assert [item["metadata"] for item in desk.cloud.items()] == [ORDER, ORDER]


def test_a_film_alone_has_the_metadata_of_the_defaults_that_need_no_sidecar(desk: Desk) -> None:
    defaults = SIDECAR | {"wait_for_sidecar": False, "metadata": ORDER}
    desk.cloud.drop("talks/_defaults.json", json.dumps(defaults))
    desk.cloud.drop("talks/intro.mp4", b"\0")

    desk.announce("talks/intro.mp4")

    assert rejected_for(desk, "unsupported_format") == ORDER


def test_a_drop_whose_audio_s3_does_not_give_is_rejected_with_its_metadata(desk: Desk) -> None:
    desk.cloud.s3.put_object(Bucket=DROPS, Key=AUDIO, Body=b"\0", StorageClass="GLACIER")
    desk.cloud.drop("_defaults.json", json.dumps({"wait_for_sidecar": True}))
    desk.cloud.drop(TEXT, json.dumps(SIDECAR | {"metadata": ORDER}))

    desk.announce(TEXT)

    assert rejected_for(desk, "archived_object") == ORDER


def test_a_drop_whose_sidecar_cannot_be_read_has_the_metadata_of_its_defaults(desk: Desk) -> None:
    desk.cloud.drop("_defaults.json", json.dumps({"metadata": ORDER}))
    desk.cloud.drop(AUDIO, silence(1))
    desk.cloud.drop(TEXT, "{")

    desk.announce(TEXT)

    assert rejected_for(desk, "not_json") == ORDER


@pytest.mark.parametrize("sidecar", ["{", json.dumps({"metadata": 5}), None, "down"])
@pytest.mark.usefixtures("no_grace")
def test_a_half_is_rejected_although_its_metadata_cannot_be_read(
    desk: Desk, sidecar: str | None
) -> None:
    desk.cloud.drop(TEXT, sidecar or "{}")
    desk.announce(TEXT)
    if sidecar is None:
        desk.cloud.s3.delete_object(Bucket=DROPS, Key=TEXT)
    elif sidecar == "down":
        s3 = client("s3")
        get = s3.get_object

        def get_others(**request: Any) -> Any:
            if request["Key"] == TEXT:
                raise EndpointConnectionError(endpoint_url="https://s3.example")
            return get(**request)

        desk.patch.setattr(s3, "get_object", get_others)

    assert desk.submit
    desk.submit.handler(sqs(json.dumps({"job_id": half_id(DROPS, TEXT)})), desk.context)

    assert rejected_for(desk, "missing_audio") == {}


@pytest.mark.parametrize("defaults", [{"customer": 5}, 7, {"or der": "B"}, {"order": 5}])
def test_wrong_metadata_of_the_defaults_leaves_the_sidecars_own(desk: Desk, defaults: Any) -> None:
    desk.cloud.drop("_defaults.json", json.dumps({"metadata": defaults}))

    drop(desk, ORDER, fps=61)

    assert (desk.cloud.only_item()["status"], desk.cloud.only_item()["metadata"]) == (
        "REJECTED",
        ORDER,
    )


def test_wrong_metadata_is_rejected_although_a_job_has_the_same_content(
    desk: Desk, fal: FakeFalQueue
) -> None:
    drop(desk, ORDER)

    drop(desk, {"order": 17})

    assert sorted(item["status"] for item in desk.cloud.items()) == ["REJECTED", "SUBMITTED"]
    assert len(fal.posts) == 1


# The same content


def read(store: JobStore, desk: Desk) -> Job:
    job = store.get(desk.cloud.only_item()["job_id"])
    assert job
    return job


@pytest.mark.parametrize("status", [_S.SUBMITTED, _S.GENERATED, _S.SUCCEEDED])
def test_other_metadata_alone_is_not_paid_again_and_the_receipt_says_so(
    desk: Desk, fal: FakeFalQueue, store: JobStore, status: JobStatus
) -> None:
    drop(desk, ORDER)
    taken(store, desk.cloud.only_item()["job_id"], status)

    for other in ({"order": "A-18"}, {}, ORDER | {"more": ""}, ORDER):
        drop(desk, other)
        desk.announce(TEXT)  # an event may come again

    job = read(store, desk)
    assert len(fal.posts) == 1
    assert (job.status, job.metadata, job.repeats, job.unused_metadata) == (status, ORDER, 4, 3)
    notes = Receipt.of(job, None).notes
    assert [note for note in notes if "other metadata" in note and "retry" in note]


def test_after_a_failure_other_metadata_starts_a_new_job_that_has_it(
    desk: Desk, fal: FakeFalQueue, store: JobStore
) -> None:
    drop(desk, ORDER)
    taken(store, desk.cloud.only_item()["job_id"], _S.FAILED)

    drop(desk, {"order": "A-18"})

    found = {item["status"]: item["metadata"] for item in desk.cloud.items()}
    assert found == {"FAILED": ORDER, "SUBMITTED": {"order": "A-18"}}
    assert len(fal.posts) == 2


# The command line


@pytest.fixture
def song(tmp_path: Path, environment: pytest.MonkeyPatch) -> Path:
    """A song in the folder where the person is."""
    environment.chdir(tmp_path)
    file = tmp_path / "intro.wav"
    file.write_bytes(silence(1))
    return file


def dropped(desk: Desk, *words: str) -> Answer:
    """``phonoscene drop intro.wav`` into ``talks``, with the sidecar beside it."""
    told = desk.says("drop", "intro.wav", "--folder", "talks", "--yes", "--json", *words)
    desk.announce(TEXT)
    return told


def test_drop_sets_single_keys_of_the_sidecars_metadata_as_text(desk: Desk, song: Path) -> None:
    beside = SIDECAR | {"metadata": {"order": "A-1", "customer": "acme"}}
    song.with_suffix(".json").write_text(json.dumps(beside))

    told = dropped(desk, "--meta", "order=17", "--meta", "a.b=x=y", "--meta", "empty=")

    assert told.code == 0
    wanted = {"order": "17", "customer": "acme", "a.b": "x=y", "empty": ""}
    assert desk.cloud.only_item()["metadata"] == wanted


@pytest.mark.parametrize("sidecar", [None, [SIDECAR, SIDECAR | {"seed": 1}]])
def test_drop_gives_metadata_to_every_take_and_to_a_drop_without_a_sidecar(
    desk: Desk, song: Path, sidecar: Any
) -> None:
    if sidecar:
        song.with_suffix(".json").write_text(json.dumps(sidecar))

    dropped(desk, "--prompt", "A stage", "--meta", "order=A-17")

    assert [item["metadata"] for item in desk.cloud.items()] == [ORDER] * len(sidecar or [1])


def test_drop_names_every_wrong_entry_and_uploads_nothing(desk: Desk, song: Path) -> None:  # noqa: ARG001 - it is there
    words = ("--prompt", "A stage", "--meta", "or der=1", "--meta", f"long={'x' * 501}")

    told = desk.says("drop", "intro.wav", *words, "--yes")

    assert told.code == 1
    assert "metadata has the key" in told.err
    assert "metadata.long" in told.err
    assert desk.cloud.s3.list_object_versions(Bucket="drops").get("Versions", []) == []


@pytest.mark.parametrize(
    "words",
    [
        ("drop", "intro.wav", "--meta", "order"),
        ("drop", "intro.wav", "--meta", "=A-17"),
        ("jobs", "--meta", "order"),
        ("cost", "--by", "meta."),
        ("cost", "--by", "customer"),
        ("cost", "--by", "Meta.customer"),
    ],
)
def test_what_is_no_pair_and_no_key_is_wrong_usage(
    desk: Desk,
    song: Path,  # noqa: ARG001 - it is there
    words: tuple[str, ...],
) -> None:
    told = desk.says(*words)

    assert told.code == 2
    assert "Example: --" in told.err


@pytest.mark.parametrize(("entry", "is_other"), [("order=A-17", False), ("order=A-18", True)])
def test_drop_says_that_a_job_of_the_same_content_keeps_its_metadata(
    desk: Desk, fal: FakeFalQueue, song: Path, entry: str, *, is_other: bool
) -> None:
    song.with_suffix(".json").write_text(json.dumps(SIDECAR))
    dropped(desk, "--meta", "order=A-17")

    told = dropped(desk, "--meta", entry)

    assert told.data["repeats"] == [desk.cloud.only_item()["job_id"]]
    assert ("keeps its own" in told.err) == is_other
    assert (len(fal.posts), desk.cloud.only_item()["metadata"]) == (1, ORDER)


@pytest.mark.parametrize(
    ("words", "metadata"),
    [
        ((), {"order": "A-17", "customer": "acme"}),
        (("--set", "fps=12"), {"order": "A-17", "customer": "acme"}),
        (("--meta", "order=A-18"), {"order": "A-18", "customer": "acme"}),
        (("--set", 'metadata={"x": "y"}', "--meta", "order=A-18"), {"order": "A-18", "x": "y"}),
    ],
)
def test_retry_keeps_the_metadata_and_changes_what_it_is_told(
    desk: Desk, store: JobStore, words: tuple[str, ...], metadata: dict[str, str]
) -> None:
    drop(desk, {"order": "A-17", "customer": "acme"})
    drop(desk, {"order": "unused"})
    first = desk.cloud.only_item()["job_id"]
    taken(store, first, _S.SUCCEEDED)

    told = desk.says("retry", first, "--yes", "--json", *words)
    desk.announce(TEXT)

    assert told.code == 0
    assert desk.cloud.item(told.data["job_ids"][0])["metadata"] == metadata


def test_jobs_and_show_have_the_metadata_and_jobs_finds_by_all_of_it(
    desk: Desk, cloud: Cloud
) -> None:
    scene = Workspace.on_moto(cloud)
    scene.clock.now = JobStore(client("dynamodb"), JOBS).clock()
    for n in range(30):
        more = ODD if n == 29 else {"order": f"A-{n % 3}", "half": f"{n % 2}"}
        scene.admit(n, name=f"talks/{n}", metadata=more)

    def found(*options: str) -> list[str]:
        return sorted(job["job_id"] for job in desk.says("jobs", "--json", *options).data)

    wanted = [an_id(n) for n in range(29) if n % 3 == 1]
    assert found("--meta", "order=A-1") == wanted
    both = [an_id(n) for n in range(29) if n % 6 == 1]
    assert found("--meta", "order=A-1", "--meta", "half=1") == both
    assert len(found("--meta", "order=A-1", "--limit", "2")) == 2
    assert found("--meta", "order=A-1", "--name", "talks/4") == [an_id(4)]
    assert found("--meta", "order=A-1", "--name", "talks/5") == []
    assert found("--meta", "order=A-1", "--meta", "order=A-2") == []
    assert found("--meta", f"order={ODD['order']}") == [an_id(29)]
    assert desk.says("show", an_id(29), "--json").data["metadata"] == ODD
    shown = desk.says("show", an_id(29)).out
    assert '  metadata    order=a "b"\\n\\ {}\\u202e\u65e5\n' in shown


def test_costs_are_grouped_by_a_key_of_the_metadata_and_jobs_without_it_apart(
    desk: Desk, cloud: Cloud
) -> None:
    scene = Workspace.on_moto(cloud)
    scene.clock.now = JobStore(client("dynamodb"), JOBS).clock()
    for n, metadata in enumerate(
        [{"customer": "acme"}, {"customer": "acme"}, {"customer": ""}, {}]
    ):
        scene.bring(_S.SUCCEEDED, n, metadata=metadata)

    told = desk.says("cost", "--by", "meta.customer", "--json").data

    groups = [(one["group"], one["jobs"], one["upper_usd"]) for one in told["groups"]]
    assert groups == [("", 1, 0.5), ("acme", 2, 1.0), (None, 1, 0.5)]
    assert "(no customer)" in desk.says("cost", "--by", "meta.customer").out
