"""Drops, retries and cancellations from the pages: once, at the price that was shown, or not."""

from __future__ import annotations

import asyncio
import re
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from phonoscene.jobs import JobStatus
from phonoscene.table.job_store import JobStore
from phonoscene_cli.board.forms import staging
from phonoscene_cli.board.forms.preview import Preview
from phonoscene_cli.board.forms.staging import MAX_STAGED, SIDECAR, StagedDrop, Staging
from phonoscene_cli.board.pages import drop as drop_page
from phonoscene_cli.board.pages import jobs as jobs_page
from phonoscene_cli.errors import StackUnreachable, WrongUsage
from tests.integration import moto_stack
from tests.support.media.samples import png, silence
from tests.support.stack import JOBS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from phonoscene_cli.board.context import Board
    from tests.integration.board.browser import Answer, Browser
    from tests.integration.board.conftest import Finder
    from tests.integration.desk import Desk
    from tests.integration.moto_stack import Cloud

ID = "a" * 32
FORM = {"prompt": "A stage", "video_size": "64x64", "key": "talks/intro"}


def button(answer: Answer) -> dict[str, str]:
    """What the page's button sends beside the form: its dollars, and what was examined."""
    found = re.findall(r'name="(approved|examined)" value="([^"]*)"', answer.text)
    assert len(found) == 2, answer.text
    return dict(found)


def approved(answer: Answer) -> str:
    """The dollars that the page's button stands for."""
    return button(answer)["approved"]


def stage(browser: Browser, audio: bytes = silence(1), name: str = "x.wav", drop: str = ID) -> int:
    return browser.put(f"/drop/{drop}/files/{name}", audio).status


def look(browser: Browser, drop: str = ID, **form: str) -> Answer:
    return browser.post(f"/drop/{drop}/preview", **FORM | form)


def fill(browser: Browser, drop: str = ID, **form: str) -> str:
    """The form's fields after a JSON file has come."""
    return unescape(browser.post(f"/drop/{drop}/fields", **form).text)


def press(browser: Browser, shown: dict[str, str], drop: str = ID, **form: str) -> Answer:
    return browser.post(f"/drop/{drop}", **FORM | shown | form)


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
def an_upload_on_its_way(browser: Browser, shown: dict[str, str]) -> Iterator[threading.Event]:
    """The button was pressed, and nothing is put before the event is set."""
    begun, goes_on = threading.Event(), threading.Event()

    def wait(**_: Any) -> None:
        begun.set()
        assert goes_on.wait(20)

    with uploads(wait):
        press(browser, shown)
        assert begun.wait(20)
        yield goes_on


def test_what_was_priced_is_what_is_dropped_and_its_files_go(
    board: Board, browser: Browser, desk: Desk
) -> None:
    assert stage(browser) == 200
    shown = button(look(browser))

    assert press(browser, shown).status == 200
    drop_of(board).wait()
    leads = browser.get(f"/drop/{ID}/progress").headers["hx-redirect"]
    desk.announce("talks/intro.json")

    [item] = desk.cloud.items()
    assert leads == f"/jobs/{item['job_id']}"
    assert item["status"] == "SUBMITTED"
    assert item["arguments"]["prompt"] == "A stage"
    assert str(item["estimate"]["upper_usd"]) == shown["approved"]
    assert not drop_of(board).folder.exists()


def test_a_button_that_is_pressed_many_times_at_once_drops_once(
    board: Board, browser: Browser, cloud: Cloud
) -> None:
    stage(browser)
    shown = button(look(browser))

    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(press, browser, shown) for _ in range(6)]
    drop_of(board).wait()
    late = press(browser, shown)

    assert {answer.result().status for answer in answers} == {200}
    assert "hx-redirect" in late.headers
    assert versions(cloud) == ["talks/intro.json", "talks/intro.wav"]


def test_a_file_that_comes_while_the_drop_is_on_its_way_changes_nothing(
    board: Board, browser: Browser, cloud: Cloud
) -> None:
    stage(browser)

    with an_upload_on_its_way(browser, button(look(browser))) as goes_on:
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

    with pytest.raises(WrongUsage, match="already sent"):
        staged.accept(part, "x.wav")

    assert [file.read_bytes() for file in staged.audio] == [silence(1)]


@pytest.mark.parametrize("piece", ["talks/intro.wav", "talks/intro.json"])
def test_an_upload_that_fails_leaves_nothing_and_can_be_tried_again(
    board: Board, browser: Browser, cloud: Cloud, piece: str
) -> None:
    stage(browser)
    priced = button(look(browser))

    def fail(params: Any, **_: Any) -> None:
        if piece in params["url_path"]:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")

    with uploads(fail):
        press(browser, priced)
        drop_of(board).wait()
    shown = browser.get(f"/drop/{ID}/progress").text
    left = versions(cloud)
    examined = look(browser)
    again = press(browser, button(examined))
    drop_of(board).wait()

    assert "Nothing was dropped." in shown
    assert "<code>phonoscene doctor</code>" in shown
    assert "<code>phonoscene doctor</code>" in examined.text
    assert left == []
    assert again.status == 200
    assert versions(cloud) == ["talks/intro.json", "talks/intro.wav"]


def test_what_may_have_been_dropped_is_not_called_nothing(board: Board, browser: Browser) -> None:
    stage(browser)
    priced = button(look(browser))

    def fail(params: Any, **_: Any) -> None:
        if "intro.json" in params["url_path"]:
            raise ReadTimeoutError(endpoint_url="https://s3")

    with uploads(fail):
        press(browser, priced)
        drop_of(board).wait()
    shown = browser.get(f"/drop/{ID}/progress").text

    assert "talks/intro.json may be in the drop bucket anyway" in shown
    assert "Nothing was dropped." not in shown


@pytest.mark.parametrize("price", ["", "0", "0.001", "NaN", "-1", "99"])
def test_a_price_that_was_not_shown_drops_nothing(
    board: Board, browser: Browser, cloud: Cloud, price: str
) -> None:
    stage(browser)

    answer = press(browser, button(look(browser)) | {"approved": price})

    assert "The price has changed." in answer.text
    assert approved(answer) not in ("", price)
    assert (versions(cloud), drop_of(board).is_started) == ([], False)


def test_a_file_or_a_field_that_changed_since_asks_again(browser: Browser, cloud: Cloud) -> None:
    stage(browser)
    shown = button(look(browser, video_size="512x512"))
    larger = press(browser, shown, video_size="1024x1024")
    stage(browser, silence(5))
    longer = press(browser, shown, video_size="512x512")

    assert approved(larger) != shown["approved"] != approved(longer)
    assert all("The price has changed." in one.text for one in (larger, longer))
    assert versions(cloud) == []


@pytest.mark.parametrize(
    "form", [{"prompt": ""}, {"fps": "900"}, {"metadata": "x"}, {"key": "../x"}, {"key": "_x/y"}]
)
def test_a_form_with_an_error_has_no_button_and_drops_nothing(
    browser: Browser, cloud: Cloud, form: dict[str, str]
) -> None:
    stage(browser)

    answers = [look(browser, **form), press(browser, {"approved": "0.01", "examined": "x"}, **form)]

    assert all(answer.status == 200 for answer in answers)
    assert all('name="approved"' not in answer.text for answer in answers)
    assert versions(cloud) == []


def test_a_text_that_changed_since_asks_again_even_at_the_same_price(
    browser: Browser, cloud: Cloud
) -> None:
    stage(browser)
    shown = button(look(browser))
    asked = press(browser, shown, prompt="Another stage")
    moved = press(browser, shown, key="talks/other")
    cloud.drop("talks/_defaults.json", '{"seed": 7}')
    elsewhere = press(browser, shown)

    answers = [asked, moved, elsewhere]
    assert all("has changed since it was examined" in one.text for one in answers)
    assert {approved(one) for one in answers} == {shown["approved"]}
    assert versions(cloud) == ["talks/_defaults.json"]


def test_takes_of_a_json_file_that_came_after_the_price_are_looked_at_first(
    browser: Browser, cloud: Cloud
) -> None:
    stage(browser)
    stage(browser, b'[{"seed": 1}, {"seed": 2}]', "takes.json")
    shown = button(look(browser))
    stage(browser, b'[{"seed": 1}, {"seed": 3}]', "takes.json")

    assert "has changed since it was examined" in press(browser, shown).text
    assert versions(cloud) == []


@pytest.mark.parametrize("path", [f"/drop/{ID}/preview", "/jobs/{job_id}/retry/preview"])
def test_a_text_that_was_typed_over_while_it_waited_is_not_examined(
    browser: Browser, desk: Desk, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    stage(browser)
    address = path.format(job_id=rejected(desk))
    begun, goes_on = threading.Event(), threading.Event()
    examined: list[str] = []

    def examine(*given: Any) -> Preview[Any]:
        *_, form, _ = given
        examined.append(form["prompt"])
        begun.set()
        assert goes_on.wait(20)
        return Preview()

    monkeypatch.setattr(drop_page, "preview_drop", examine)
    monkeypatch.setattr(jobs_page, "preview_retry", examine)

    async def type_on() -> list[int]:
        """A letter and another; each but the last closes the connection of the one before."""
        first = asyncio.create_task(browser.asked(address, prompt="R"))
        assert await asyncio.to_thread(begun.wait, 20)
        closed = [browser.asked(address, is_closed=True, prompt=one) for one in ("Ra", "Rai")]
        waiting = [
            asyncio.create_task(one) for one in (*closed, browser.asked(address, prompt="Rain"))
        ]
        await asyncio.sleep(0.1)
        seen = len(examined)
        goes_on.set()
        answers = [answer.status for answer in await asyncio.gather(first, *waiting)]
        return [seen, *answers]

    assert asyncio.run(type_on()) == [1, 200, 204, 204, 200]
    assert examined == ["R", "Rain"]


def test_a_file_that_is_removed_is_not_dropped_and_takes_back_what_it_filled_in(
    browser: Browser, board: Board
) -> None:
    files = {"x.wav": silence(1), "a.png": png(64, 64), "k.json": b'{"fps": 12}'}
    for name, body in files.items():
        stage(browser, body, name)
    form = fill(browser)
    filled = {name: value_of(form, name) for name in ("image_url", "fps")}

    answers = [browser.post(f"/drop/{ID}/files/{name}/remove") for name in (*files, *files)]
    form = fill(browser, **filled)

    assert filled == {"image_url": "a.png", "fps": "12"}
    assert {answer.status for answer in answers} == {200}
    assert [value_of(form, name) for name in filled] == ["", ""]
    assert list(drop_of(board).folder.iterdir()) == []
    assert "Choose an audio file first" in look(browser).text


def test_a_drop_on_its_way_keeps_its_files(board: Board, browser: Browser, cloud: Cloud) -> None:
    stage(browser)

    with an_upload_on_its_way(browser, button(look(browser))) as goes_on:
        answer = browser.post(f"/drop/{ID}/files/x.wav/remove")
        goes_on.set()
        drop_of(board).wait()

    assert answer.status == 400
    assert versions(cloud) == ["talks/intro.json", "talks/intro.wav"]


@pytest.mark.parametrize(
    ("listed", "is_lost"),
    [
        ("x.wav", False),
        ("x.wav/a.png", False),
        ("", False),
        ("x.wav/sidecar", True),
        ("x.wav/b.png", True),
    ],
)
def test_a_page_that_lists_files_which_the_board_has_lost_is_told_so(
    browser: Browser, listed: str, is_lost: bool
) -> None:
    stage(browser)
    stage(browser, png(64, 64), "a.png")

    shown = look(browser, listed=listed).text

    assert ("Choose the files again" in shown) is is_lost
    assert ("data-lost" in shown) is is_lost
    assert ('name="approved"' in shown) is not is_lost


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")], ids=str)
def test_an_image_is_found_however_its_names_accents_are_spelled(
    board: Board, browser: Browser, desk: Desk, forms: tuple[Any, Any]
) -> None:
    file, named = (unicodedata.normalize(form, "Größe ü.png") for form in forms)
    stage(browser)
    browser.put(f"/drop/{ID}/files/{quote(file)}", png(64, 64))
    shown = look(browser, image_url=named)

    press(browser, button(shown), image_url=named)
    drop_of(board).wait()
    desk.announce("talks/intro.json")

    assert "is not used" not in shown.text
    [item] = desk.cloud.items()
    assert item["status"] == "SUBMITTED"
    assert item["images"]["image_url"]["key"] == f"talks/{named}"


def test_content_that_has_its_video_is_dropped_for_nothing(
    board: Board, browser: Browser, desk: Desk
) -> None:
    for drop in (ID, "b" * 32):
        stage(browser, drop=drop)
        shown = look(browser, drop)
        press(browser, button(shown), drop)
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

    form = fill(browser)
    filled = {"image_url": "a.png", "seed": "7", "metadata": "order=A-17"}
    press(browser, button(look(browser, **filled)), **filled)
    drop_of(board).wait()

    assert all(text in form for text in ("A stage", "a.png", "order=A-17"))
    assert versions(cloud) == ["talks/a.png", "talks/intro.json", "talks/intro.wav"]


def value_of(form: str, name: str) -> str:
    """What a field of the form holds."""
    found = re.search(rf'name="{name}"[^>]*?(?: value="([^"]*)"|>([^<]*)</textarea>)', form)
    assert found, form
    return found[1] or found[2] or ""


def test_what_was_typed_stays_when_a_json_file_fills_the_form(browser: Browser) -> None:
    typed = {"prompt": "My own", "seed": "5"}
    stage(browser, b'{"prompt": "Of the file", "seed": 5, "fps": 12, "promt": 1}', "a.json")
    form = fill(browser, **typed)

    assert {name: value_of(form, name) for name in typed} == typed
    assert value_of(form, "fps") == "12"
    assert '"promt": 1' in form
    assert "Kept as you typed it, not as in a.json: <span>Prompt</span>." in form


def test_another_json_file_replaces_what_the_one_before_filled_in(browser: Browser) -> None:
    stage(browser, b'{"prompt": "First", "seed": 5, "fps": 12}', "a.json")
    fill(browser)
    stage(browser, b'{"prompt": "Second", "seed": 6}', "b.json")
    form = fill(browser, prompt="First", seed="7", fps="12")

    assert [value_of(form, name) for name in ("prompt", "seed", "fps")] == ["Second", "7", ""]
    assert "not as in b.json: <span>Seed</span>." in form


def test_the_only_image_fills_an_image_field_that_is_empty(browser: Browser) -> None:
    first = browser.put(f"/drop/{ID}/files/a.png", png(64, 64))
    stage(browser, b'{"prompt": "A"}', "a.json")
    kept = fill(browser, image_url="a.png")
    second = browser.put(f"/drop/{ID}/files/b.png", png(64, 64))
    stage(browser, b'{"prompt": "A", "image_url": "b.png"}', "b.json")
    named = fill(browser, image_url="a.png")

    assert (first.text, second.text) == ("a.png", "")
    assert [value_of(form, "image_url") for form in (kept, named)] == ["a.png", "b.png"]
    assert 'id="kept" hidden' in named


def test_takes_name_their_own_images(browser: Browser) -> None:
    stage(browser, b'[{"image_url": "a.png"}, {"image_url": "b.png"}]', "two.json")
    answer = browser.put(f"/drop/{ID}/files/a.png", png(64, 64))
    form = fill(browser)

    assert answer.text == ""
    assert value_of(form, "image_url") == ""
    assert "two.json lists 2 takes. What you fill in here is set in each of them." in form


def test_an_image_that_no_field_names_is_said_beside_the_price(browser: Browser) -> None:
    for name, body in (("x.wav", silence(1)), ("a.png", png(64, 64)), ("b.png", png(64, 64))):
        stage(browser, body, name)

    shown = [look(browser).text, look(browser, image_url="a.png").text]

    assert ["a.png is not used" in one for one in shown] == [True, False]
    assert ["b.png is not used" in one for one in shown] == [True, True]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"prompt": "A sea", }', "is not JSON"),
        (b"{'a': 1}", "is not JSON"),
        ('{"prompt": "Ä"}'.encode("latin-1"), "is not UTF-8 text"),
        (b'{"seed": 1, "seed": 2}', "has the key"),
        (b"5", "must hold one JSON object"),
        (b"[]", "lists 0 takes"),
        (b"", "has no bytes"),
    ],
)
def test_a_json_file_that_cannot_be_read_is_refused_and_the_one_before_stays(
    browser: Browser, board: Board, body: bytes, why: str
) -> None:
    stage(browser, b'{"prompt": "A"}', "good.json")

    answer = browser.put(f"/drop/{ID}/files/bad.json", body)

    assert answer.status == 400
    assert "bad.json" in answer.text
    assert why in unescape(answer.text)
    assert "add it" in answer.text
    assert drop_of(board).sidecar == b'{"prompt": "A"}'


@pytest.mark.parametrize("name", ["empty.mp3", "empty.png"])
def test_a_file_without_bytes_is_refused_by_its_name(
    browser: Browser, board: Board, name: str
) -> None:
    stage(browser)

    answer = browser.put(f"/drop/{ID}/files/{name}", b"")

    assert (answer.status, f"{name} has no bytes" in answer.text) == (400, True)
    assert [file.name for file in drop_of(board).folder.iterdir()] == ["x.wav"]


@pytest.mark.parametrize("path", ["", "/preview"])
def test_what_could_not_be_examined_can_be_examined_again(
    board: Board, browser: Browser, find: Finder, path: str
) -> None:
    stage(browser)
    shown = button(look(browser))
    page = browser.sending(("hx-request", "true"), ("hx-target", "div#outcome"))
    find.error = StackUnreachable("AWS: nothing answers. Try again in a moment.")
    board.observer.forget()
    answer = page.post(f"/drop/{ID}{path}", **FORM | shown)

    assert answer.status == 502
    assert "nothing answers" in answer.text
    assert f'hx-post="/drop/{ID}/preview"' in answer.text


@pytest.mark.parametrize("path", ["", "/preview"])
def test_a_stack_that_goes_away_during_an_examination_can_be_examined_again(
    browser: Browser, desk: Desk, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = f"/jobs/{rejected(desk)}/retry"
    stage(browser)
    page = browser.sending(("hx-request", "true"), ("hx-target", "div#outcome"))

    def gone(*_: object) -> None:
        raise StackUnreachable("AWS: nothing answers.", "Try again in a moment.")

    for name in ("examined", "retake"):
        monkeypatch.setattr(f"phonoscene_cli.board.forms.preview.{name}", gone)

    for form in (f"/drop/{ID}", job):
        answer = page.post(f"{form}{path}", **FORM)
        assert "nothing answers" in answer.text
        assert f'hx-post="{form}/preview"' in answer.text


def test_audio_of_a_name_replaces_the_one_before(board: Board, browser: Browser) -> None:
    for seconds, name in enumerate(("x.wav", "y.wav", "x.wav"), 1):
        assert stage(browser, silence(seconds), name) == 200

    staged = drop_of(board)
    assert staged.audio == [staged.folder / "x.wav", staged.folder / "y.wav"]
    assert staged.audio[0].read_bytes() == silence(3)


def test_a_page_has_a_limited_number_of_audio_files(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "MAX_AUDIO", 2)

    answers = [stage(browser, name=name) for name in ("x.wav", "y.wav", "z.wav", "x.wav")]

    assert answers == [200, 200, 400, 200]


def test_several_files_are_dropped_at_the_price_of_all_under_their_own_names(
    board: Board, browser: Browser, desk: Desk
) -> None:
    for seconds, name in enumerate(("x.wav", "y.wav"), 1):
        stage(browser, silence(seconds), name)
    stage(browser, png(64, 64), "a.png")
    form = {"key": "talks/", "image_url": "a.png"}
    shown = look(browser, **form)

    press(browser, button(shown), **form)
    drop_of(board).wait()
    leads = browser.get(f"/drop/{ID}/progress").headers["hx-redirect"]
    desk.announce("talks/a.png", "talks/x.json", "talks/y.json")

    items = {item["name"]: item for item in desk.cloud.items()}
    prices = [item["estimate"]["upper_usd"] for item in items.values()]
    assert ("Drop 2 files for" in shown.text, leads) == (True, "/")
    assert all(f"talks/{name}: up to" in shown.text for name in ("x.wav", "y.wav"))
    assert (set(items), str(sum(prices))) == ({"talks/x", "talks/y"}, approved(shown))
    assert {item["status"] for item in items.values()} == {"SUBMITTED"}
    assert versions(desk.cloud).count("talks/a.png") == 1
    assert set(board.observer.dropped) == {item["job_id"] for item in items.values()}
    assert not drop_of(board).folder.exists()


def test_several_files_share_a_field_that_is_wrong_and_its_error_is_shown_once(
    browser: Browser, cloud: Cloud
) -> None:
    for name in ("x.wav", "y.wav"):
        stage(browser, name=name)

    wrong = look(browser, key="", fps="900")
    without = look(browser, key="", prompt="")

    assert "1 error: nothing would be made" in wrong.text
    assert "1 error: nothing would be made" in without.text
    assert 'href="#field-prompt"' in without.text
    assert versions(cloud) == []


def test_of_two_files_whose_names_differ_in_unicode_only_one_is_to_be_removed(
    browser: Browser,
) -> None:
    for seconds, name in enumerate(("caf\u00e9.wav", "cafe\u0301.wav"), 1):
        stage(browser, silence(seconds), name)

    shown = look(browser, key="talks/").text

    assert "Two files are named caf\u00e9.wav, with accents spelled in two ways." in shown
    assert 'name="approved"' not in shown


def test_of_several_files_those_that_cost_too_much_are_named(browser: Browser) -> None:
    for name, seconds in (("x.wav", 1), ("y.wav", 6), ("z.wav", 6)):
        stage(browser, silence(seconds), name)

    shown = look(browser, key="talks/", video_size="4096x4096").text

    assert "2 errors: nothing would be made" in shown
    names = [f"talks/{name}: 4096 x 4096 x " in shown for name in ("x.wav", "y.wav", "z.wav")]
    assert names == [False, True, True]


@pytest.mark.parametrize("names", [["y.wav"], ["x.wav", "y.wav"]])
def test_of_several_takes_the_file_that_costs_too_much_is_named_where_there_are_others(
    browser: Browser, names: list[str]
) -> None:
    for name in names:
        stage(browser, silence(1 if name == "x.wav" else 6), name)
    stage(browser, b'[{"seed": 1}, {"seed": 2}]', "takes.json")

    shown = look(browser, key="talks/", video_size="4096x4096").text

    assert "1 error: nothing would be made" in shown
    assert ("talks/y.wav: 4096 x 4096 x " in shown) == (len(names) > 1)


@pytest.mark.parametrize("key", ["talks/intro", "intro"])
def test_one_name_for_several_files_is_asked_about(browser: Browser, key: str) -> None:
    for name in ("x.wav", "y.wav"):
        stage(browser, name=name)

    shown = look(browser, key=key).text

    assert f"Name only a folder, with a slash at its end: {key}/" in shown
    assert 'name="approved"' not in shown


@pytest.mark.parametrize("name", ["y.json", "y.wav.json", "X.JSON"])
def test_a_sidecar_of_one_of_several_files_is_not_used_for_all(browser: Browser, name: str) -> None:
    for audio in ("X.wav", "y.wav"):
        stage(browser, name=audio)
    stage(browser, b'{"fps": 12}', name)

    alone = look(browser, key="").text
    browser.post(f"/drop/{ID}/files/{name}/remove")

    assert f"{name} is the sidecar of {'X' if name[0] == 'X' else 'y'}.wav alone" in alone
    assert 'name="approved"' not in alone
    assert 'name="approved"' in look(browser, key="").text


def test_a_json_file_of_several_takes_is_for_each_of_several_files(
    board: Board, browser: Browser, desk: Desk
) -> None:
    for name in ("x.wav", "y.wav"):
        stage(browser, name=name)
    stage(browser, b'[{"seed": 1}, {"seed": 2}]', "takes.json")
    shown = look(browser, key="")

    press(browser, button(shown), key="")
    drop_of(board).wait()
    desk.announce("x.wav", "y.wav")

    takes = sorted((item["name"], item["arguments"]["seed"]) for item in desk.cloud.items())
    assert takes == [("x", 1), ("x", 2), ("y", 1), ("y", 2)]


def test_what_was_dropped_before_another_file_failed_is_not_dropped_again(
    board: Board, browser: Browser, cloud: Cloud
) -> None:
    names = ("x.wav", "y.wav", "z.wav")
    for name in names:
        stage(browser, name=name)
    form = {"key": "", "listed": "/".join(names)}
    shown = button(look(browser, **form))

    def fail(params: Any, **_: Any) -> None:
        if "y.wav" in params["url_path"]:
            raise EndpointConnectionError(endpoint_url="https://s3")

    with uploads(fail):
        press(browser, shown, **form)
        drop_of(board).wait()
    failed = browser.get(f"/drop/{ID}/progress").text
    first = versions(cloud)
    again = look(browser, **form)
    press(browser, button(again), **form)
    drop_of(board).wait()

    assert "1 of 3 files were dropped, and are not dropped again." in failed
    assert first == ["x.json", "x.wav"]
    assert "Drop 2 files for" in again.text
    assert versions(cloud) == sorted([*names, "x.json", "y.json", "z.json"])
    assert browser.get(f"/drop/{ID}/progress").headers["hx-redirect"] == "/"
    assert len(board.observer.dropped) == 3


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("x.wav", "x.wav"),
        ("Ä ö.MP3", "Ä ö.MP3"),
        ("at 1.04.09\u202fPM.m4a", "at 1.04.09\u202fPM.m4a"),
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


@pytest.mark.parametrize("name", ["memo.webm", "IMG_2041.HEIC"])
def test_a_file_in_another_format_is_refused_with_the_advice_to_convert_it(
    tmp_path: Path, name: str
) -> None:
    advice = f"{name} has a format that is not supported. Convert audio to MP3, WAV or FLAC, and "
    with pytest.raises(WrongUsage, match=advice + "images to PNG or JPEG"):
        StagedDrop(tmp_path).place_for(name)


def test_a_sidecar_may_not_be_larger_than_the_product_takes(browser: Browser, board: Board) -> None:
    large, fits = b" " * (64 * 1024 * 4 + 1), b'{"prompt": "A"}'

    assert [stage(browser, one, "x.json") for one in (large, fits)] == [400, 200]
    assert drop_of(board).sidecar == fits


def test_a_drop_has_a_limited_number_of_images(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "MAX_IMAGES", 3)

    answers = [stage(browser, b"x", f"{number}.png") for number in (*range(4), 0)]
    browser.post(f"/drop/{ID}/files/1.png/remove")

    assert answers == [200, 200, 200, 400, 200]
    assert stage(browser, b"x", "3.png") == 200


def test_of_drops_that_were_begun_the_newest_stay_and_those_on_their_way() -> None:
    staged = Staging()
    ids = [f"{number:032x}" for number in range(2 * MAX_STAGED)]
    staged.of(ids[0]).is_started = True
    staged.of(ids[1]).is_started = True
    staged.of(ids[1]).is_done = True
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
    said: list[str] = []

    with an_upload_on_its_way(browser, button(look(browser))) as goes_on:
        end = threading.Thread(target=lambda: said.extend(board.staging.close()))
        end.start()
        end.join(0.2)
        was_waiting = end.is_alive()
        goes_on.set()
        end.join(20)

    assert was_waiting
    assert versions(cloud) == ["talks/intro.json", "talks/intro.wav"]
    assert not board.staging._root.exists()
    assert said == ["dropped s3://drops/talks/intro.wav"]


def test_the_end_of_the_board_says_what_was_not_dropped(board: Board, browser: Browser) -> None:
    several = {"key": "talks/"}
    stage(browser, silence(1), "a.wav")
    stage(browser, silence(2), "b.wav")
    shown = button(look(browser, **several))
    stops = threading.Event()

    def fail(params: Any, **_: Any) -> None:
        if "b.wav" in params["url_path"]:
            assert stops.wait(20)
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")

    with uploads(fail):
        press(browser, shown, **several)
        threading.Timer(0.5, stops.set).start()
        dropped, left = board.staging.close()

    assert dropped == "dropped s3://drops/talks/a.wav"
    assert left.startswith("This upload failed: b.wav. 1 of 2 files were dropped")
    assert "AccessDenied" in left


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


def retry(browser: Browser, job_id: str, shown: dict[str, str], **form: str) -> Answer:
    return browser.post(f"/jobs/{job_id}/retry", **RIGHT | shown | {"attempt": "1"} | form)


def test_a_rejected_drop_is_mended_from_its_page(browser: Browser, desk: Desk) -> None:
    job_id = rejected(desk)
    form = unescape(browser.get(f"/jobs/{job_id}/retry").text)
    wrong = browser.post(f"/jobs/{job_id}/retry/preview", prompt="A stage", fps="900")
    shown = button(browser.post(f"/jobs/{job_id}/retry/preview", **RIGHT))

    answer = retry(browser, job_id, shown)
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
    shown = button(browser.post(f"/jobs/{job_id}/retry/preview", **RIGHT))
    before = versions(desk.cloud)

    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(retry, browser, job_id, shown) for _ in range(6)]

    made = [one.result() for one in answers if "hx-redirect" in one.result().headers]
    assert len(made) == 1
    assert len(versions(desk.cloud)) == len(before) + 1


def test_a_retry_that_failed_can_be_pressed_again(browser: Browser, desk: Desk) -> None:
    job_id = rejected(desk)
    shown = button(browser.post(f"/jobs/{job_id}/retry/preview", **RIGHT))

    def fail(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")

    with uploads(fail):
        failed = retry(browser, job_id, shown)
    again = retry(browser, job_id, shown)

    assert "AccessDenied" in failed.text
    assert "hx-redirect" in again.headers


def test_a_retry_that_may_have_been_made_says_so(browser: Browser, desk: Desk) -> None:
    job_id = rejected(desk)
    shown = button(browser.post(f"/jobs/{job_id}/retry/preview", **RIGHT))

    def fail(**_: Any) -> None:
        raise ReadTimeoutError(endpoint_url="https://s3")

    with uploads(fail):
        failed = retry(browser, job_id, shown)

    assert "talks/intro.json may be in the drop bucket anyway" in failed.text
    assert "Look for a new take before you try again" in failed.text


@pytest.mark.parametrize("price", ["", "0", "99"])
def test_a_retry_at_a_price_that_was_not_shown_makes_nothing(
    browser: Browser, desk: Desk, price: str
) -> None:
    job_id = rejected(desk)
    before = versions(desk.cloud)

    shown = button(browser.post(f"/jobs/{job_id}/retry/preview", **RIGHT))
    answer = retry(browser, job_id, shown | {"approved": price})

    assert "The price has changed." in answer.text
    assert versions(desk.cloud) == before


def test_a_retry_of_a_text_that_was_not_examined_makes_nothing(
    browser: Browser, desk: Desk
) -> None:
    job_id = rejected(desk)
    shown = button(browser.post(f"/jobs/{job_id}/retry/preview", **RIGHT))
    before = versions(desk.cloud)

    answer = retry(browser, job_id, shown, prompt="Another stage")

    assert "has changed since it was examined" in answer.text
    assert versions(desk.cloud) == before


def test_a_retry_of_replaced_files_goes_on_with_the_newest_take_and_what_was_typed(
    browser: Browser, desk: Desk
) -> None:
    job_id = rejected(desk)
    shown = button(browser.post(f"/jobs/{job_id}/retry/preview", **RIGHT))
    answer = retry(browser, job_id, shown)
    early = browser.post(f"/jobs/{job_id}/retry/preview", **RIGHT).text
    desk.announce("talks/intro.json")
    newest = answer.headers["hx-redirect"].rpartition("/")[2]
    moving = browser.post(f"/jobs/{job_id}/retry/preview", **RIGHT).text
    own = browser.post(f"/jobs/{newest}/retry/preview", **RIGHT).text
    found = desk.stack().jobs.get(newest)
    assert found
    JobStore(moto_stack.client("dynamodb"), JOBS).end(found, JobStatus.FAILED)
    after = browser.post(f"/jobs/{job_id}/retry/preview", **RIGHT).text
    form = browser.post(f"/jobs/{newest}/retry/form", **RIGHT | {"prompt": "Two windows"}).text

    assert "in another version" in early
    assert 'href="/jobs?name=talks/intro"' in early
    for page in (moving, own):
        assert f'href="/jobs/{newest}"' in page
        assert "phonoscene" not in page
    assert f'hx-post="/jobs/{newest}/retry/form"' in after
    assert [value_of(form, name) for name in ("prompt", "fps")] == ["Two windows", "12"]
    assert f'hx-post="/jobs/{newest}/retry/preview"' in form


def test_a_retry_says_that_its_audio_stays_the_same(browser: Browser, desk: Desk) -> None:
    page = browser.get(f"/jobs/{rejected(desk)}/retry").text

    assert "A new take uses the same audio." in page
    assert '<a href="/drop">Drop another audio file</a>' in page


def test_a_retry_without_its_pages_attempt_makes_nothing(browser: Browser, desk: Desk) -> None:
    job_id = rejected(desk)
    shown = button(browser.post(f"/jobs/{job_id}/retry/preview", **RIGHT))
    before = versions(desk.cloud)

    assert "hx-redirect" not in retry(browser, job_id, shown, attempt="").headers
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
