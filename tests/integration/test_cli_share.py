"""``share``: a link to the newest video, and the truth about how long it works."""

from __future__ import annotations

import webbrowser
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.credentials import RefreshableCredentials

from phonoscene.jobs import Job, JobStatus, Video
from phonoscene_cli.stack.jobs_reader import PAGE
from tests.integration.workspace import Clock, Workspace, an_id
from tests.support.jobs import a_job
from tests.support.stack import OUTPUT

if TYPE_CHECKING:
    from tests.integration.desk import Answer, Desk
    from tests.integration.moto_stack import Cloud

_S = JobStatus
NOW = datetime.now(UTC)
WEEK = timedelta(days=7)
NAME = "talks/öffnung"


@pytest.fixture
def scene(cloud: Cloud) -> Workspace:
    return Workspace.on_moto(cloud, clock=Clock(NOW))


@pytest.fixture
def session(desk: Desk, environment: pytest.MonkeyPatch) -> Any:
    """Have the caller's credentials be a session's that ends at a time, or at one unknown."""
    plain = desk.stack

    def set_session(ends_at: datetime | None) -> None:
        def made() -> Any:
            stack = plain()
            signing = boto3.Session("AKID", "secret", "token", region_name="us-east-1")
            if ends_at:
                held = RefreshableCredentials("AKID", "secret", "token", ends_at, dict, "sts")
                signing._session._credentials = held  # type: ignore[attr-defined]  # botocore's own
            object.__setattr__(stack, "session", signing)
            return stack

        environment.setattr(desk, "stack", made)

    return set_session


def with_video(scene: Workspace, cloud: Cloud, n: int = 1, body: bytes = b"film") -> Job:
    key = f"{NAME}/{an_id(n)}.mp4"
    stored = cloud.s3.put_object(Bucket=OUTPUT, Key=key, Body=body)
    video = Video(
        bucket=OUTPUT,
        key=key,
        version_id=stored["VersionId"],
        bytes=len(body),
        sha256="0" * 64,
        content_type="video/mp4",
    )
    job = scene.bring(_S.GENERATED, n, name=NAME)
    return scene.step(job, _S.SUCCEEDED, video=video)


def query(told: Answer) -> dict[str, str]:
    return {name: value for name, [value] in parse_qs(urlsplit(told.data["url"]).query).items()}


def test_a_link_opens_the_newest_video_in_its_version_under_the_drops_own_name(
    desk: Desk, scene: Workspace, cloud: Cloud
) -> None:
    job = with_video(scene, cloud)
    assert job.video

    told = desk.says("share", NAME, "--json")

    assert urlsplit(told.data["url"]).hostname == f"{OUTPUT}.s3.amazonaws.com"
    found = query(told)
    assert found["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    assert found["versionId"] == job.video.version_id
    assert found["response-content-disposition"] == "inline; filename*=UTF-8''%C3%B6ffnung.mp4"
    assert told.data["job_id"] == job.job_id
    assert desk.says("share", NAME).out.startswith("https://")


def test_links_last_a_week_or_as_long_as_asked(desk: Desk, scene: Workspace, cloud: Cloud) -> None:
    with_video(scene, cloud)

    for option, seconds in (((), 604_800), (("--for", "2h"), 7200), (("--for", "7d"), 604_800)):
        told = desk.says("share", NAME, "--json", *option)
        ends = datetime.fromisoformat(told.data["expires_at"]) - datetime.now(UTC)
        assert query(told)["X-Amz-Expires"] == str(seconds)
        assert abs(ends - timedelta(seconds=seconds)) < timedelta(minutes=2)
        assert told.data["ends_with"] == "time"


@pytest.mark.parametrize("life", ["0s", "8d", "2w"])
def test_a_life_that_s3_does_not_allow_is_refused(desk: Desk, life: str) -> None:
    told = desk.says("share", NAME, "--for", life)

    assert (told.code, told.out) == (2, "")
    assert "Choose another --for" in told.err


def test_a_link_ends_with_the_session_that_signed_it(
    desk: Desk, scene: Workspace, cloud: Cloud, session: Any
) -> None:
    with_video(scene, cloud)
    ends_at = datetime.now(UTC) + timedelta(hours=5)
    session(ends_at)

    week, hour = (desk.says("share", NAME, "--json", "--for", life) for life in ("7d", "1h"))

    assert (week.data["ends_with"], hour.data["ends_with"]) == ("session", "time")
    assert datetime.fromisoformat(week.data["expires_at"]) == ends_at
    assert "with the session of your credentials" in week.err
    assert "session" not in hour.err


def test_a_session_whose_end_is_unknown_is_named_as_a_possible_end(
    desk: Desk, scene: Workspace, cloud: Cloud, session: Any
) -> None:
    with_video(scene, cloud)
    session(None)

    told = desk.says("share", NAME, "--json")

    assert told.data["ends_with"] == "unknown"
    assert "if that is earlier" in told.err


def test_the_newest_video_is_shared_while_a_newer_take_has_none(
    desk: Desk, scene: Workspace, cloud: Cloud
) -> None:
    scene.clock.now = NOW - timedelta(hours=2)
    with_video(scene, cloud, 1)
    scene.clock.now = NOW - timedelta(hours=1)
    second = with_video(scene, cloud, 2)
    scene.clock.now = NOW
    scene.bring(_S.FAILED, 3, name=NAME)

    told = desk.says("share", NAME, "--json")

    assert told.data["job_id"] == second.job_id
    assert f"This is the video of job {second.job_id}: the newest take is FAILED." in told.err
    assert desk.says("share", an_id(1), "--json").data["job_id"] == an_id(1)


@pytest.mark.parametrize("newer", [PAGE - 2, PAGE - 1, PAGE, PAGE + 1])
def test_a_video_is_found_behind_however_many_takes_without_one(
    desk: Desk, scene: Workspace, cloud: Cloud, newer: int
) -> None:
    job = with_video(scene, cloud, newer)
    later = NOW + timedelta(seconds=1)
    cloud.put_jobs(a_job(_S.FAILED, later, job_id=an_id(n), name=NAME) for n in range(newer))

    assert desk.says("share", NAME, "--json").data["job_id"] == job.job_id


@pytest.mark.parametrize("status", [one for one in JobStatus if one is not _S.SUCCEEDED])
def test_a_drop_without_a_video_is_an_error_with_a_next_step(
    desk: Desk, scene: Workspace, status: JobStatus
) -> None:
    name = scene.bring(status).name

    told = desk.says("share", name)

    assert (told.code, told.out) == (1, "")
    assert f"{name} has no video: " in told.err
    assert any(word in told.err for word in ("`phonoscene", "Nothing to do", "Fix "))


def test_a_name_that_is_unknown_is_an_error_with_a_next_step(desk: Desk) -> None:
    told = desk.says("share", "talks/nothing")

    assert (told.code, told.out) == (1, "")
    assert "`phonoscene jobs` lists" in told.err


def test_a_video_that_was_deleted_is_an_error_with_a_next_step(
    desk: Desk, scene: Workspace, cloud: Cloud
) -> None:
    job = with_video(scene, cloud)
    assert job.video
    at: Any = {"Bucket": OUTPUT, "Key": job.video.key, "VersionId": job.video.version_id}
    cloud.s3.delete_object(**at)

    told = desk.says("share", NAME)

    assert (told.code, told.out) == (1, "")
    assert "has been deleted" in told.err
    assert "`phonoscene retry" in told.err


@pytest.mark.parametrize("opens", [True, False])
def test_open_hands_the_link_to_the_browser(
    desk: Desk, scene: Workspace, cloud: Cloud, environment: pytest.MonkeyPatch, *, opens: bool
) -> None:
    with_video(scene, cloud)
    opened: list[str] = []

    def open_(url: str) -> bool:
        opened.append(url)
        return opens

    environment.setattr("webbrowser.open", open_)

    told = desk.says("share", NAME, "--open")

    assert told.out.split() == opened
    assert told.code == (0 if opens else 1)
    assert ("Open the link yourself" in told.err) is not opens


def test_no_test_opens_a_real_browser() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"opens a browser, at https://example\.com"):
        webbrowser.open("https://example.com")
