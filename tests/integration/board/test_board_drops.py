"""Drops, retries and cancellations from the pages: once, at the price that was shown, or not."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import EndpointConnectionError

from phonoscene_cli.board.forms import staging
from phonoscene_cli.board.forms.staging import MAX_STAGED, SIDECAR, StagedDrop, Staging
from phonoscene_cli.errors import WrongUsage
from tests.integration import moto_stack
from tests.support.media.samples import png, silence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from phonoscene_cli.board.context import Board
    from tests.integration.board.browser import Answer, Browser
    from tests.integration.desk import Desk
    from tests.integration.moto_stack import Cloud

ID = "a" * 32
FORM = {"prompt": "A stage", "video_size": "64x64", "key": "talks/intro"}


def approved(answer: Answer) -> str:
    """The dollars that the page's button stands for."""
    found = re.search(r'name="approved" value="([^"]*)"', answer.text)
    assert found, answer.text
    return found[1]


def stage(browser: Browser, audio: bytes = silence(1), name: str = "x.wav", drop: str = ID) -> int:
    return browser.put(f"/drop/{drop}/files/{name}", audio).status


def look(browser: Browser, drop: str = ID, **form: str) -> Answer:
    return browser.post(f"/drop/{drop}/preview", **FORM | form)


def press(browser: Browser, price: str, drop: str = ID, **form: str) -> Answer:
    return browser.post(f"/drop/{drop}", **FORM | {"approved": price} | form)


def versions(cloud: Cloud) -> list[str]:
    """The keys of all versions and delete markers in the drop bucket."""
    found: Any = cloud.s3.list_object_versions(Bucket="drops")
    return sorted(one["Key"] for one in found.get("Versions", []))


def drop_of(board: Board, drop: str = ID) -> StagedDrop:
    return board.staging.of(drop)


@contextmanager
def uploads(before: Callable[..., None]) -> Iterator[None]:
    """``before`` runs before each object is put."""
    events = moto_stack.client("s3").meta.events
    events.register("before-call.s3.PutObject", before)
    try:
        yield
    finally:
        events.unregister("before-call.s3.PutObject", before)


@contextmanager
def an_upload_on_its_way(browser: Browser, price: str) -> Iterator[threading.Event]:
    """The button was pressed, and nothing is put before the event is set."""
    begun, goes_on = threading.Event(), threading.Event()

    def wait(**_: Any) -> None:
        begun.set()
        assert goes_on.wait(20)

    with uploads(wait):
        press(browser, price)
        assert begun.wait(20)
        yield goes_on


def test_what_was_priced_is_what_is_dropped_and_its_files_go(
    board: Board, browser: Browser, desk: Desk
) -> None:
    assert stage(browser) == 200
    price = approved(look(browser))

    assert press(browser, price).status == 200
    drop_of(board).wait()
    leads = browser.get(f"/drop/{ID}/progress").headers["hx-redirect"]
    desk.announce("talks/intro.json")

    [item] = desk.cloud.items()
    assert leads == f"/jobs/{item['job_id']}"
    assert item["status"] == "SUBMITTED"
    assert item["arguments"]["prompt"] == "A stage"
    assert str(item["estimate"]["upper_usd"]) == price
    assert not drop_of(board).folder.exists()


def test_a_button_that_is_pressed_many_times_at_once_drops_once(
    board: Board, browser: Browser, cloud: Cloud
) -> None:
    stage(browser)
    price = approved(look(browser))

    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(press, browser, price) for _ in range(6)]
    drop_of(board).wait()
    late = press(browser, price)

    assert {answer.result().status for answer in answers} == {200}
    assert "hx-redirect" in late.headers
    assert versions(cloud) == ["talks/intro.json", "talks/intro.wav"]


def test_a_file_that_comes_while_the_drop_is_on_its_way_changes_nothing(
    board: Board, browser: Browser, cloud: Cloud
) -> None:
    stage(browser)

    with an_upload_on_its_way(browser, approved(look(browser))) as goes_on:
        late = [stage(browser, silence(9)), stage(browser, silence(9), "y.wav")]
        shown = look(browser).text
        goes_on.set()
        drop_of(board).wait()

    assert late == [409, 409]
    assert "Uploading" in shown
    stored = cloud.s3.get_object(Bucket="drops", Key="talks/intro.wav")["Body"].read()
    assert stored == silence(1)


def test_a_file_that_arrives_whole_after_the_start_is_refused(
    board: Board, browser: Browser, tmp_path: Path
) -> None:
    stage(browser)
    staged = drop_of(board)
    part = tmp_path / "part"
    part.write_bytes(silence(9))
    staged.is_started = True

    with pytest.raises(WrongUsage, match="on its way"):
        staged.accept(part, "x.wav")

    assert staged.audio
    assert staged.audio.read_bytes() == silence(1)


@pytest.mark.parametrize("piece", ["talks/intro.wav", "talks/intro.json"])
def test_an_upload_that_fails_leaves_nothing_and_can_be_tried_again(
    board: Board, browser: Browser, cloud: Cloud, piece: str
) -> None:
    stage(browser)
    price = approved(look(browser))

    def fail(params: Any, **_: Any) -> None:
        if piece in params["url_path"]:
            raise EndpointConnectionError(endpoint_url="https://s3")

    with uploads(fail):
        press(browser, price)
        drop_of(board).wait()
    shown = browser.get(f"/drop/{ID}/progress").text
    left = versions(cloud)
    again = press(browser, approved(look(browser)))
    drop_of(board).wait()

    assert "Nothing was dropped." in shown
    assert left == []
    assert again.status == 200
    assert versions(cloud) == ["talks/intro.json", "talks/intro.wav"]


@pytest.mark.parametrize("price", ["", "0", "0.001", "NaN", "-1", "99"])
def test_a_price_that_was_not_shown_drops_nothing(
    board: Board, browser: Browser, cloud: Cloud, price: str
) -> None:
    stage(browser)

    answer = press(browser, price)

    assert "The price has changed." in answer.text
    assert approved(answer) not in ("", price)
    assert (versions(cloud), drop_of(board).is_started) == ([], False)


def test_a_file_or_a_field_that_changed_since_asks_again(browser: Browser, cloud: Cloud) -> None:
    stage(browser)
    price = approved(look(browser, video_size="512x512"))
    larger = press(browser, price, video_size="1024x1024")
    stage(browser, silence(5))
    longer = press(browser, price, video_size="512x512")

    assert approved(larger) != price != approved(longer)
    assert all("The price has changed." in one.text for one in (larger, longer))
    assert versions(cloud) == []


@pytest.mark.parametrize(
    "form", [{"prompt": ""}, {"fps": "900"}, {"metadata": "x"}, {"key": "../x"}, {"key": "_x/y"}]
)
def test_a_form_with_an_error_has_no_button_and_drops_nothing(
    browser: Browser, cloud: Cloud, form: dict[str, str]
) -> None:
    stage(browser)

    answers = [look(browser, **form), press(browser, "0.01", **form)]

    assert all(answer.status == 200 for answer in answers)
    assert all('name="approved"' not in answer.text for answer in answers)
    assert versions(cloud) == []


def test_content_that_has_its_video_is_dropped_for_nothing(
    board: Board, browser: Browser, desk: Desk
) -> None:
    for drop in (ID, "b" * 32):
        stage(browser, drop=drop)
        shown = look(browser, drop)
        press(browser, approved(shown), drop)
        drop_of(board, drop).wait()
        desk.announce("talks/intro.json")

    assert approved(shown) == "0"
    assert "Nothing more is paid" in shown.text


def test_a_sidecar_that_was_sent_along_fills_the_form_and_its_images_go_along(
    board: Board, browser: Browser, cloud: Cloud
) -> None:
    sidecar = (
        b'{"prompt": "A stage", "image_url": "a.png", "seed": 7, "metadata": {"order": "A-17"}}'
    )
    for name, body in (("x.wav", silence(1)), ("x.json", sidecar), ("a.png", png(64, 64))):
        stage(browser, body, name)

    form = unescape(browser.get(f"/drop/{ID}/fields").text)
    filled = {"image_url": "a.png", "seed": "7", "metadata": "order=A-17"}
    price = approved(look(browser, **filled))
    press(browser, price, **filled)
    drop_of(board).wait()

    assert all(text in form for text in ("A stage", "a.png", "order=A-17"))
    assert versions(cloud) == ["talks/a.png", "talks/intro.json", "talks/intro.wav"]


def test_a_new_audio_replaces_the_one_before(board: Board, browser: Browser) -> None:
    for name in ("x.wav", "y.wav", "Y.WAV", "z.mp3"):
        assert stage(browser, name=name) == 200

    staged = drop_of(board)
    assert staged.audio == staged.folder / "z.mp3"
    assert [file.name for file in staged.folder.iterdir()] == ["z.mp3"]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("x.wav", "x.wav"),
        ("Ä ö.MP3", "Ä ö.MP3"),
        ("a.png", "a.png"),
        ("x.json", SIDECAR),
        ("x.mp3.JSON", SIDECAR),
        ("../x.json", SIDECAR),
        ("..json", SIDECAR),
        ("a/b.wav", None),
        ("a\\b.wav", None),
        ("..wav", None),
        (".wav", None),
        ("x\n.wav", None),
        ("x\u202e.wav", None),
        ("x" * 197 + ".wav", None),
        ("x" * 196 + ".wav", "x" * 196 + ".wav"),
        ("x.exe", None),
        ("x", None),
        ("", None),
        ("wav", None),
    ],
)
def test_a_files_name_has_its_place_or_is_refused(
    tmp_path: Path, name: str, place: str | None
) -> None:
    staged = StagedDrop(tmp_path)
    if place is None:
        with pytest.raises(WrongUsage):
            staged.place_for(name)
    else:
        assert staged.place_for(name) == tmp_path / place


def test_a_sidecar_may_not_be_larger_than_the_product_takes(browser: Browser, board: Board) -> None:
    large, fits = b" " * (64 * 1024 * 4 + 1), b'{"prompt": "A"}'

    assert [stage(browser, one, "x.json") for one in (large, fits)] == [400, 200]
    assert drop_of(board).sidecar == fits


def test_a_drop_has_a_limited_number_of_images(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "MAX_IMAGES", 3)

    answers = [stage(browser, b"x", f"{number}.png") for number in range(4)]

    assert answers == [200, 200, 200, 400]


def test_of_drops_that_were_begun_the_newest_stay_and_those_on_their_way() -> None:
    staged = Staging()
    ids = [f"{number:032x}" for number in range(2 * MAX_STAGED)]
    staged.of(ids[0]).is_started = True
    staged.of(ids[1]).is_started = True
    staged.of(ids[1]).job_ids = ["done"]
    for drop_id in ids[2:]:
        staged.of(drop_id)
        staged.of(ids[2])  # a page that is open asks again
    kept = {folder.name for folder in staged._root.iterdir()}
    staged.of(ids[0]).is_started = False
    staged.close()

    assert len(kept) == MAX_STAGED
    assert {ids[0], ids[2], *ids[-MAX_STAGED + 2 :]} == kept
    assert not staged._root.exists()


@pytest.mark.parametrize("drop_id", ["", "a", "A" * 32, "a" * 31 + "/", "../" + "a" * 29, "a" * 33])
def test_a_drops_id_is_of_the_pages_making(drop_id: str) -> None:
    staged = Staging()
    with pytest.raises(WrongUsage):
        staged.of(drop_id)
    staged.close()


def test_the_end_of_the_board_waits_for_an_upload(
    board: Board, browser: Browser, cloud: Cloud
) -> None:
    stage(browser)

    with an_upload_on_its_way(browser, approved(look(browser))) as goes_on:
        end = threading.Thread(target=board.staging.close)
        end.start()
        end.join(0.2)
        was_waiting = end.is_alive()
        goes_on.set()
        end.join(20)

    assert was_waiting
    assert versions(cloud) == ["talks/intro.json", "talks/intro.wav"]
    assert not board.staging._root.exists()


def rejected(desk: Desk) -> str:
    """The id of a job whose sidecar is wrong."""
    desk.cloud.drop("talks/intro.wav", silence(1))
    desk.cloud.drop(
        "talks/intro.json",
        '{"prompt": "A stage", "video_size": {"width": 64, "height": 64}, "fps": 900, "promt": 1}',
    )
    desk.announce("talks/intro.json")
    [item] = desk.cloud.items()
    assert item["status"] == "REJECTED"
    return str(item["job_id"])


RIGHT = {"prompt": "A stage", "video_size": "64x64", "fps": "12"}


def retry(browser: Browser, job_id: str, price: str, attempt: str = "1") -> Answer:
    form = RIGHT | {"approved": price, "attempt": attempt}
    return browser.post(f"/jobs/{job_id}/retry", **form)


def test_a_rejected_drop_is_mended_from_its_page(browser: Browser, desk: Desk) -> None:
    job_id = rejected(desk)
    form = unescape(browser.get(f"/jobs/{job_id}/retry").text)
    wrong = browser.post(f"/jobs/{job_id}/retry/preview", prompt="A stage", fps="900")
    price = approved(browser.post(f"/jobs/{job_id}/retry/preview", **RIGHT))

    answer = retry(browser, job_id, price)
    desk.announce("talks/intro.json")

    assert 'value="900"' in form
    assert '"promt": 1' in form
    assert 'name="approved"' not in wrong.text
    new = answer.headers["hx-redirect"].rpartition("/")[2]
    assert desk.cloud.item(new)["status"] == "SUBMITTED"
    assert desk.cloud.item(new)["arguments"]["fps"] == 12
    assert desk.cloud.item(job_id)["status"] == "REJECTED"


def test_a_retry_that_is_pressed_many_times_at_once_makes_one_take(
    browser: Browser, desk: Desk
) -> None:
    job_id = rejected(desk)
    price = approved(browser.post(f"/jobs/{job_id}/retry/preview", **RIGHT))
    before = versions(desk.cloud)

    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(retry, browser, job_id, price) for _ in range(6)]

    made = [one.result() for one in answers if "hx-redirect" in one.result().headers]
    assert len(made) == 1
    assert len(versions(desk.cloud)) == len(before) + 1


@pytest.mark.parametrize("price", ["", "0", "99"])
def test_a_retry_at_a_price_that_was_not_shown_makes_nothing(
    browser: Browser, desk: Desk, price: str
) -> None:
    job_id = rejected(desk)
    before = versions(desk.cloud)

    answer = retry(browser, job_id, price)

    assert "The price has changed." in answer.text
    assert versions(desk.cloud) == before


def test_a_retry_without_its_pages_attempt_makes_nothing(browser: Browser, desk: Desk) -> None:
    job_id = rejected(desk)
    price = approved(browser.post(f"/jobs/{job_id}/retry/preview", **RIGHT))
    before = versions(desk.cloud)

    assert "hx-redirect" not in retry(browser, job_id, price, "").headers
    assert versions(desk.cloud) == before


def test_a_job_is_cancelled_from_its_page(
    browser: Browser, desk: Desk, environment: pytest.MonkeyPatch
) -> None:
    desk.cloud.drop("talks/intro.wav", silence(1))
    desk.announce("talks/intro.wav")
    [item] = desk.cloud.items()
    environment.setattr("time.sleep", desk.work)

    first, second = (browser.post(f"/jobs/{item['job_id']}/cancel") for _ in range(2))

    assert item["status"] == "WAITING"
    assert "CANCELLED; nothing was spent" in first.text
    assert "had already ended" in second.text
    assert desk.cloud.item(str(item["job_id"]))["status"] == "CANCELLED"


@pytest.mark.parametrize("path", ["cancel", "retry", "retry/preview"])
def test_a_job_that_does_not_exist_is_404(browser: Browser, path: str) -> None:
    assert browser.post(f"/jobs/{ID}/{path}", attempt="1").status == 404
