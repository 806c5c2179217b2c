"""The board in a browser, on the stack of this folder: a person's whole way, and every screen.

The tests share one browser and one board. Screenshots are kept in ``.build/board``.
"""

from __future__ import annotations

import gzip
import json
import re
import time
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest
from axe_playwright_python.sync_playwright import Axe

from local.drops import sample
from local.paths import PROJECT
from phonoscene_cli.board import views
from tests.support.browser import RunningBoard, Tab, new_tab, running_browser, tab_of
from tests.support.forwarding import forwarded
from tests.support.local_stack import (
    FOLDER,
    SMALL,
    full_window,
    make_audio,
    make_picture,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Dialog, FilePayload, Route

    from tests.support.local_stack import Phonoscene

SHOTS: Final = PROJECT / ".build" / "board"
TINY: Final = "64x64"
#: Pixels of a window on a desk, and of the narrowest phone.
WIDE, NARROW = 1280, 320
#: axe-core, and what it looks for: everything, or what another colour scheme changes.
AXE: Final = Axe().axe_script
ALL: Final = {"resultTypes": ["violations"]}
COLOURS: Final = {**ALL, "runOnly": ["color-contrast"]}
FIRST_PAINT: Final = (
    """() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime"""
)
#: Seconds from the start of the command to the first paint. An idle machine takes 1.5; here several
#: stacks start side by side.
LOADED: Final = 30.0
SCRIPT: Final = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def board(browser: Browser, phonoscene: Phonoscene) -> Iterator[RunningBoard]:  # noqa: ARG001 - both must be there
    with RunningBoard(FOLDER / "endpoints.json") as board:
        yield board


@pytest.fixture(scope="module")
def person(browser: Browser, board: RunningBoard) -> Iterator[BrowserContext]:
    """The browser of somebody who has opened the board's link."""
    with tab_of(browser, board) as tab:
        tab.page.close()
        yield tab.page.context


@pytest.fixture
def tab(person: BrowserContext, board: RunningBoard) -> Iterator[Tab]:
    with new_tab(person, board) as tab:
        yield tab


def fill(tab: Tab, **fields: str) -> None:
    """Type into the form's fields."""
    for name, text in fields.items():
        field = tab.page.locator(f"#field-{name}")
        if field.evaluate("one => !one.checkVisibility()"):
            tab.page.click("summary")
        if field.evaluate("one => one.tagName") == "SELECT":
            field.select_option(text)
        else:
            field.fill(text)


def priced(tab: Tab) -> str:
    """The text of the button that drops, once there is one."""
    price = """() => document.querySelector("#outcome button.primary:enabled")?.innerText"""
    return str(tab.until(price))


def press(tab: Tab) -> str:
    """Drop it; the job's id."""
    tab.page.click("#outcome button.primary")
    tab.page.wait_for_url("**/jobs/*")
    return tab.page.url.rpartition("/")[2]


def await_state(tab: Tab, *states: str) -> None:
    """Wait until the job's page says one of these states."""
    tab.shows("#head .state", *states)


def is_played(tab: Tab) -> dict[str, Any]:
    """Play the page's video for a moment; how far it came, and how much of its sound."""
    found: dict[str, Any] = tab.page.evaluate(
        """async () => {
            const video = document.querySelector("main video");
            await video.play();
            for (let n = 0; n < 100 && video.currentTime < 0.3; n++)
                await new Promise(done => setTimeout(done, 50));
            video.pause();
            return {at: video.currentTime, sound: video.webkitAudioDecodedByteCount,
                    width: video.videoWidth, error: video.error?.message ?? null};
        }"""
    )
    return found


#: What is dropped at once, so that each test finds its own finished.
GOOD: Final = ("again/one", "away/one", "keys/one")
#: What has no place to break a line, and is wider than a narrow window.
WORD: Final = "unbroken" * 20
MADE, MISTYPED = f"screens/{WORD}", f"screens/wrong-{WORD}"
HOSTILE: Final = f"odd/{SCRIPT.replace('/', '')}"
WRONG: Final = {
    MISTYPED: {"fps": WORD, WORD: WORD, "metadata": {WORD: WORD}},
    HOSTILE: {
        "prompt": SCRIPT,
        "fps": SCRIPT,
        SCRIPT: SCRIPT,
        "metadata": {"note": SCRIPT},
    },
}


@pytest.fixture(scope="module")
def dropped(phonoscene: Phonoscene) -> Phonoscene:
    """The stack, to which everything of ``GOOD`` and ``WRONG`` was dropped."""
    for name in GOOD:
        phonoscene.drop(name, metadata={"order": "A-17"})
    phonoscene.drop(MADE, prompt=f"{WORD} {uuid.uuid4()}", metadata={"order": WORD})
    for name, sidecar in WRONG.items():
        phonoscene.put(f"{name}.json", json.dumps(sidecar).encode())
        phonoscene.put(f"{name}.wav", make_audio("wav", 1.0))
    phonoscene.drop(
        "odd/fails",
        ("render", "error", {"type": "content_policy_violation", "message": SCRIPT}),
    )
    return phonoscene


def test_a_board_is_painted_soon_and_without_a_drop_it_says_what_to_do_first(
    browser: Browser, board: RunningBoard, record_property: Any
) -> None:
    with tab_of(browser, board) as tab:
        tab.page.wait_for_selector(".welcome")
        painted = tab.page.evaluate("performance.timeOrigin") / 1000 - board.started
        painted += tab.page.evaluate(FIRST_PAINT) / 1000
        record_property("seconds from the command to the first paint", round(painted, 2))
        assert painted < LOADED
        assert "Drop audio files" in tab.text(".welcome")
        SHOTS.mkdir(parents=True, exist_ok=True)
        tab.page.screenshot(path=SHOTS / "empty.png")


def test_a_newcomer_drags_a_file_in_corrects_a_field_drops_it_and_plays_the_video(
    tab: Tab, phonoscene: Phonoscene
) -> None:
    prompt = f"rain {uuid.uuid4()}"
    phonoscene.fault(prompt, "render", "delay", seconds=2.5)
    tab.follow("nav >> text=Drop", "**/drop")
    tab.drag("first song.wav", make_audio("wav", 2.0))
    tab.shows("#error-prompt", "Write what the video shows")

    fill(tab, prompt=prompt, video_size=TINY, fps="many")
    tab.shows("#error-fps", "a number from 1 to 60")
    assert tab.page.get_attribute("#field-fps", "aria-invalid") == "true"
    assert tab.page.locator("#outcome button.primary").count() == 0
    fill(tab, fps="24")
    assert re.fullmatch(r"Drop it for \$0\.\d+( to \$0\.\d+)?", priced(tab))
    assert tab.text("#error-fps") == ""

    job_id = press(tab)
    await_state(tab, "SUBMITTED")
    assert "accepted the request" in tab.text("#head")
    await_state(tab, "SUCCEEDED")
    steps = tab.page.locator("#steps .state").all_inner_texts()
    assert [step.split()[-1] for step in steps] == [
        "READY",
        "SUBMITTING",
        "SUBMITTED",
        "GENERATED",
        "SUCCEEDED",
    ]
    played = is_played(tab)
    assert played["error"] is None
    assert played["at"] >= 0.3
    assert played["sound"] > 0
    assert played["width"] == SMALL["width"]
    assert len(phonoscene.requests(prompt)) == 1
    assert phonoscene.take("first song")["job_id"] == job_id


def test_a_button_that_is_pressed_twice_pays_once(tab: Tab, phonoscene: Phonoscene) -> None:
    prompt = f"twice {uuid.uuid4()}"
    tab.go("/drop")
    tab.drag("twice.wav", make_audio("wav", 1.0))
    fill(tab, prompt=prompt, video_size=TINY)
    priced(tab)
    tab.page.dblclick("#outcome button.primary")
    tab.page.wait_for_url("**/jobs/*")
    await_state(tab, "SUCCEEDED")

    assert len(phonoscene.requests(prompt)) == 1
    assert len(phonoscene.jobs.takes("twice")) == 1


def test_a_rejected_drop_is_corrected_on_its_page(tab: Tab, phonoscene: Phonoscene) -> None:
    name, prompt = "mend/typo", f"typo {uuid.uuid4()}"
    wrong = {"promt": prompt, "video_size": SMALL, "fps": 99}
    phonoscene.put(f"{name}.json", json.dumps(wrong).encode())
    phonoscene.put(f"{name}.wav", make_audio("wav", 1.0))
    tab.shows("#rejected", name)
    tab.page.click(f"#rejected >> text={name}")
    await_state(tab, "REJECTED")
    assert "promt" in tab.text("#trouble")
    tab.follow("text=Correct it and try again", "**/retry")
    tab.page.wait_for_selector("#error-fps:not(:empty)")
    assert json.loads(tab.page.input_value("#field-other")) == {"promt": prompt}

    fill(tab, other="", prompt=prompt, fps="")
    assert priced(tab).startswith("Make a new take for $")
    press(tab)
    await_state(tab, "SUCCEEDED")
    assert len(phonoscene.requests(prompt)) == 1


def test_long_audio_shows_its_scenes_as_segments_before_and_after_it_is_dropped(
    tab: Tab, phonoscene: Phonoscene
) -> None:
    prompts = [f"scene {n} {uuid.uuid4()}" for n in range(3)]
    scenes = "\n".join(f"0:{5 * n:02} {prompt}" for n, prompt in enumerate(prompts))
    tab.go("/drop")
    tab.drag("scenes.mp3", make_audio("mp3", 15.0), "audio/mpeg")
    fill(tab, scenes=scenes, video_size=TINY, fps="12", metadata="order=A-17")
    assert priced(tab).startswith("Drop it for $")
    assert tab.page.locator("#outcome .waveform rect.segment").count() == 3
    assert tab.page.locator("#outcome tbody tr").count() == 3

    press(tab)
    await_state(tab, "SUCCEEDED")
    assert "3 of 3 have their videos" in tab.text("#segments")
    tab.until("""() => document.querySelectorAll(".waveform rect.segment").length === 3""")
    third = tab.page.locator(".waveform rect.segment").nth(2).get_attribute("x")
    assert float(third or 0) == pytest.approx(240 * 10 / 15, abs=5)  # the grid's nearest frame
    tab.page.locator(".seek").nth(2).click()
    tab.until("""() => document.querySelector("main video").currentTime >= 10""")
    assert "order=A-17" in tab.text("#facts")
    assert [len(phonoscene.requests(one)) for one in prompts] == [1, 1, 1]
    tab.page.get_by_role("link", name="its job, of segment 2").click()
    tab.shows("#head", "Segment 2 of the whole")
    tab.page.wait_for_selector("#facts dl")


def test_a_job_that_waits_is_cancelled_and_costs_nothing(tab: Tab, phonoscene: Phonoscene) -> None:
    with full_window(phonoscene):
        prompt = phonoscene.drop("stopped/one")
        job = phonoscene.take("stopped/one", until={"READY"})
        tab.go(f"/jobs/{job['job_id']}")
        tab.shows("#head", "slots are in use")
        tab.page.on("dialog", lambda dialog: dialog.accept())
        tab.page.focus("#actions button")
        tab.page.keyboard.press("Enter")
        await_state(tab, "CANCELLED")
        assert tab.page.evaluate("document.activeElement.id") == "note"
        tab.shows("#note", "nothing was spent")

    assert phonoscene.requests(prompt) == []


def test_a_page_of_a_half_says_that_the_other_half_has_come(
    tab: Tab, phonoscene: Phonoscene
) -> None:
    phonoscene.put("halves/one.wav", make_audio("wav", 1.0))
    half = phonoscene.take("halves/one", until={"WAITING"})
    tab.go(f"/jobs/{half['job_id']}")
    await_state(tab, "WAITING")
    phonoscene.sidecar("halves/one.json")
    tab.shows("#head", "Its other half has arrived")
    assert "WAITING" not in tab.text("#head")
    tab.page.click("#head a")
    await_state(tab, "SUCCEEDED")


def test_another_take_has_another_seed_and_stands_beside_the_first(
    tab: Tab, dropped: Phonoscene
) -> None:
    first = dropped.take("again/one")
    tab.go(f"/jobs/{first['job_id']}")
    tab.follow("text=Make another take", "**/retry")
    assert tab.page.input_value("#field-metadata") == "order=A-17"
    fill(tab, seed="4711")
    priced(tab)
    second = press(tab)
    await_state(tab, "SUCCEEDED")

    assert second != first["job_id"]
    tab.page.reload()
    tab.shows("main", "seed 4711")
    links = tab.page.locator(".gallery a").all_inner_texts()
    assert links == [second[:8], first["job_id"][:8]]
    [take, before] = dropped.jobs.takes("again/one")
    assert (int(take["seed"]), take["metadata"]) == (4711, before["metadata"])


def test_two_tabs_show_a_drop_of_the_command_line_without_being_reloaded(
    person: BrowserContext,
    board: RunningBoard,
    tab: Tab,
    phonoscene: Phonoscene,
    record_property: Any,
) -> None:
    with new_tab(person, board) as other:
        for one in (tab, other):
            one.page.wait_for_selector("#strip dl")
        prompt = f"seen {uuid.uuid4()}"
        phonoscene.fault(prompt, "render", "delay", seconds=2.5)
        phonoscene.drop("seen/by-both", prompt=prompt)
        phonoscene.take("seen/by-both", until={"SUBMITTED"})
        began = time.monotonic()
        for one in (tab, other):
            one.until(
                """() => [...document.querySelectorAll("#moving .item")].some(one =>
                    ["seen/by-both", "SUBMITTED"].every(text => one.innerText.includes(text)))"""
            )
        seconds = time.monotonic() - began
        record_property("seconds from a record to both screens", round(seconds, 2))
        assert seconds < 10  # an idle machine takes 1.3 s; here several stacks run side by side
        for one in (tab, other):
            one.shows("#gallery", "seen/by-both")


def test_what_others_have_written_is_text_and_never_markup(tab: Tab, dropped: Phonoscene) -> None:
    job, failed = dropped.take(HOSTILE), dropped.take("odd/fails")
    assert (job["status"], failed["status"]) == ("REJECTED", "FAILED")

    for path in ("/", "/jobs", f"/jobs/{job['job_id']}", f"/jobs/{failed['job_id']}"):
        tab.go(path)
        tab.shows("main", "<img" if "jobs/" in path else "odd")
        tab.page.wait_for_timeout(100)
        assert tab.page.locator("img[src=x]").count() == 0
        assert tab.page.title() != "1"
    assert "<img src=x" in tab.text("#trouble")


def test_a_stack_that_goes_away_is_said_and_comes_back_on_another_port(
    browser: Browser, dropped: Phonoscene, tmp_path: Path
) -> None:
    data = json.loads((FOLDER / "endpoints.json").read_text())
    address, file = data["aws_endpoint_url"], tmp_path / "endpoints.json"

    def lead_to(port: int) -> None:
        file.write_text(json.dumps(data | {"aws_endpoint_url": f"https://localhost:{port}"}))

    dropped.take("away/one")
    with ExitStack() as near, ExitStack() as after:
        lead_to(near.enter_context(forwarded(address)))
        board = after.enter_context(RunningBoard(file))
        tab = after.enter_context(tab_of(browser, board))
        tab.shows("#gallery", "away/one")
        near.close()
        tab.shows("#problem", "The page shows what it read last")
        assert "away/one" in tab.text("#gallery")
        lead_to(after.enter_context(forwarded(address)))
        tab.until("""() => !!document.querySelector("#problem:empty")""")
        dropped.drop("away/two")
        tab.shows("#gallery", "away/two")


def test_a_tab_whose_board_has_ended_says_so_and_counts_no_longer(
    browser: Browser, phonoscene: Phonoscene
) -> None:
    prompt = f"left {uuid.uuid4()}"
    phonoscene.fault(prompt, "render", "delay", seconds=30)
    phonoscene.drop("left/one", prompt=prompt)
    with ExitStack() as near, ExitStack() as after:
        board = near.enter_context(RunningBoard(FOLDER / "endpoints.json"))
        tab = after.enter_context(tab_of(browser, board))
        tab.shows("#moving", "left/one")
        near.close()
        tab.until("""() => !document.querySelector("#silent").hidden""")
        shown = tab.text("#moving")
        tab.page.wait_for_timeout(1500)
        assert tab.text("#moving") == shown
        tab.errors.clear()  # htmx logs what it cannot reach


def test_a_tab_that_is_hidden_has_no_stream_before_it_is_seen(tab: Tab) -> None:
    streams: list[str] = []
    tab.page.add_init_script(
        """let isHidden = true;
        Object.defineProperty(document, "hidden", {get: () => isHidden});
        window.show = () => {
            isHidden = false;
            document.dispatchEvent(new Event("visibilitychange"));
        };"""
    )
    tab.page.on("request", lambda request: streams.append(request.url))
    tab.go("/")
    tab.page.wait_for_timeout(500)
    assert not any(url.endswith("/live") for url in streams)

    tab.page.evaluate("show()")
    tab.page.wait_for_selector("#strip dl")


def screens(dropped: Phonoscene) -> dict[str, str]:
    """Every screen, by the name of its screenshot."""
    made, wrong = dropped.take(MADE), dropped.take(MISTYPED)
    assert (made["status"], wrong["status"]) == ("SUCCEEDED", "REJECTED")
    return {
        "board": "/",
        "drop": "/drop",
        "jobs": "/jobs",
        "cost": "/cost?by=folder",
        "checks": "/checks",
        "job": f"/jobs/{made['job_id']}",
        "rejected": f"/jobs/{wrong['job_id']}",
        "retry": f"/jobs/{wrong['job_id']}/retry",
        "no such page": "/nothing/here",
    }


def settle(tab: Tab) -> None:
    """Wait until the parts of a page have come."""
    come = """() => !document.querySelector(".loading, .htmx-request")
        && (!document.querySelector("#steps") || !!document.querySelector("#steps li"))"""
    tab.until(come)


def test_every_screen_is_accessible_in_both_schemes_and_fits_a_narrow_window(
    tab: Tab, dropped: Phonoscene
) -> None:
    found, page = {}, tab.page
    for name, path in screens(dropped).items():
        page.set_viewport_size({"width": WIDE, "height": 800})
        tab.go(path)
        settle(tab)
        if name == "drop":
            tab.drag(f"{WORD}.wav", make_audio("wav", 1.0))
            fill(tab, prompt="Rain", fps="many")
            page.wait_for_selector("#error-fps:not(:empty)")
        page.evaluate(AXE)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            rules = page.evaluate("rules => axe.run(rules)", ALL if scheme == "light" else COLOURS)
            if rules["violations"]:
                found[name, scheme] = rules["violations"]
            for width in (WIDE, NARROW):
                page.set_viewport_size({"width": width, "height": 800})
                needed = page.evaluate("document.documentElement.scrollWidth")
                assert needed <= width, (name, width, needed)
                page.screenshot(path=SHOTS / f"{name} {scheme} {width}.png", full_page=True)
    assert found == {}


def test_keys_lead_to_each_page(tab: Tab, dropped: Phonoscene) -> None:
    dropped.take("keys/one")
    page = tab.go("/")
    tab.shows("#gallery", "keys/one")
    page.keyboard.press("?")
    assert page.locator("dialog[open]").count() == 1
    page.keyboard.press("Escape")
    page.locator("dialog:not([open])").wait_for(state="attached")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("keys/one")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs?name=*")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    page.keyboard.press("d")
    page.wait_for_url("**/drop")


def test_a_drop_is_made_by_keyboard(tab: Tab) -> None:
    page = tab.go("/drop")
    tab.drag("keys.wav", make_audio("wav", 1.0))
    page.focus("#field-prompt")
    page.keyboard.type(f"by keyboard {uuid.uuid4()}")
    fill(tab, video_size=TINY)
    priced(tab)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('button.primary')"):
            break
    # it is examined once more, and the button that has come instead is the one that has the focus
    page.evaluate(
        """() => { document.activeElement.dataset.old = 1;
            htmx.trigger(document.querySelector("#outcome"), "staged"); }"""
    )
    tab.until("""() => document.activeElement.matches("button.primary:enabled:not([data-old])")""")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    await_state(tab, "SUCCEEDED")


def test_a_picture_that_is_dragged_in_is_the_first_frame(tab: Tab, phonoscene: Phonoscene) -> None:
    tab.go("/drop")
    tab.drag("pictured.wav", make_audio("wav", 1.0))
    tab.drag("portrait.png", make_picture(), "image/png")
    tab.until("""() => document.querySelector("#field-image_url").value === "portrait.png" """)
    prompt = f"pictured {uuid.uuid4()}"
    fill(tab, prompt=prompt)
    sidecar = {"prompt": "of the file", "fps": 12}
    tab.drag("broken.json", b'{"prompt": "A sea", }', "application/json")
    tab.shows("#uploads", "broken.json is not JSON")
    tab.drag("params.json", json.dumps(sidecar).encode(), "application/json")
    tab.shows("#fields", "Kept as you typed it, not as in params.json: Prompt.")
    assert tab.page.input_value("#field-fps") == "12"
    fill(tab, video_size=TINY)
    priced(tab)
    press(tab)
    await_state(tab, "SUCCEEDED")

    [take] = phonoscene.jobs.takes("pictured")
    assert take["images"]["image_url"]["key"] == "portrait.png"
    assert len(phonoscene.requests(prompt)) == 1


def test_a_folder_that_is_dragged_in_stands_for_the_files_in_it(tab: Tab, tmp_path: Path) -> None:
    (tmp_path / "album" / "disc 1").mkdir(parents=True)
    for name in ("one.wav", "two.wav", ".hidden.wav"):
        (tmp_path / "album" / "disc 1" / name).write_bytes(make_audio("wav", 1.0))
    tab.go("/drop")

    tab.drag_folder(tmp_path / "album")
    tab.shows("#uploads", "There are no files in this folder itself.")
    tab.drag_folder(tmp_path / "album" / "disc 1")
    tab.shows("#uploads", "two.wav")

    tab.until("""() => document.querySelectorAll("#uploads li[data-place]").length === 2""")
    assert "hidden" not in tab.text("#uploads")


def test_files_that_come_together_are_examined_when_the_last_has_come(tab: Tab) -> None:
    page = tab.go("/drop")
    sidecar = {"prompt": "Rain", "video_size": SMALL}
    files: list[FilePayload] = [
        {"name": "movie.mp4", "mimeType": "video/mp4", "buffer": b"x"},
        {"name": "a.wav", "mimeType": "audio/wav", "buffer": make_audio("wav", 1.0)},
        {"name": "b.json", "mimeType": "application/json", "buffer": json.dumps(sidecar).encode()},
    ]
    page.set_input_files("#files", files)
    assert priced(tab)
    page.set_input_files("#files", [files[1] | {"name": "c.wav"}, files[2] | {"name": "d.json"}])
    tab.shows("#uploads", "d.json ✓ Remove")
    lines = page.locator("#uploads li").all_inner_texts()
    assert lines[1:] == ["a.wav ✓ Remove", "c.wav ✓ Remove", "d.json ✓ Remove"]
    assert "movie.mp4 has a format that is not supported" in lines[0]


def test_what_is_typed_while_a_json_file_fills_the_form_stays_with_its_caret(tab: Tab) -> None:
    page = tab.go("/drop")

    def type_meanwhile(route: Route) -> None:
        """The answer comes when more was typed than the request has."""
        answer = route.fetch()
        page.keyboard.type(" the rain")
        page.keyboard.press("Home")
        fill_unseen = "document.querySelector('#field-seed').value = '7'"
        page.evaluate(fill_unseen)
        route.fulfill(response=answer)

    page.route("**/fields", type_meanwhile)
    page.click("#field-prompt")
    page.keyboard.type("in")
    page.click("summary")
    page.focus("#field-prompt")
    page.keyboard.press("End")
    sidecar = {"prompt": "of the file", "seed": 5, "fps": 12}
    tab.drag("k.json", json.dumps(sidecar).encode(), "application/json")
    tab.shows("#fields", "Kept as you typed it, not as in k.json: Prompt, Seed.")
    page.keyboard.type("out ")

    values = [page.input_value(f"#field-{name}") for name in ("prompt", "seed", "fps")]
    assert values == ["out in the rain", "7", "12"]
    assert page.locator("details[open]").count() == 1


def test_a_file_is_removed_by_keyboard_with_what_it_has_filled_in(tab: Tab) -> None:
    page = tab.go("/drop")
    files: list[FilePayload] = [
        {"name": "a.png", "mimeType": "image/png", "buffer": make_picture()},
        {"name": "k.json", "mimeType": "application/json", "buffer": b'{"fps": 12}'},
        {"name": "x.txt", "mimeType": "text/plain", "buffer": b"x"},
    ]
    page.set_input_files("#files", files)
    tab.until("""() => document.querySelector("#field-fps").value === "12" """)
    focused = "document.activeElement.ariaLabel ?? document.activeElement.id"
    page.focus("[aria-label='Remove a.png']")
    for left in ("Remove k.json", "Remove x.txt", "files"):
        page.keyboard.press("Enter")
        tab.until(f"() => ({focused}) === '{left}'")

    names = ("image_url", "fps")
    tab.until("""() => document.querySelector("#field-fps").value === "" """)
    assert [page.input_value(f"#field-{name}") for name in names] == ["", ""]
    assert page.locator("#uploads li").count() == 0


def test_a_page_says_what_is_examined_and_empties_its_list_when_the_board_lost_it(
    tab: Tab,
) -> None:
    page, said = tab.go("/drop"), list[str]()
    tab.drag("long.wav", make_audio("wav", 1.0))
    tab.shows("#outcome", "The prompt is missing")

    def wait(route: Route) -> None:
        said.append(tab.text("#outcome"))
        route.continue_()

    page.route("**/preview", wait)
    fill(tab, prompt="Rain")
    priced(tab)
    assert "Examining long.wav …" in said[0]
    # as after a restart: the id of the page has no files
    page.evaluate(
        """() => { for (const one of document.querySelectorAll("[hx-post]"))
            one.setAttribute("hx-post", `/drop/${"0".repeat(32)}/preview`); }"""
    )
    fill(tab, prompt="More rain")
    tab.shows("#outcome", "Choose the files again")
    assert page.locator("#uploads li").count() == 0


def test_a_form_is_not_lost_without_a_question_and_a_file_beside_it_opens_nothing(tab: Tab) -> None:
    page, asked = tab.go("/drop"), list[str]()

    def leave(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    fill(tab, prompt="Rain")
    page.once("dialog", leave)
    tab.follow("nav >> text=Jobs", "**/jobs")
    assert asked == ["beforeunload"]
    is_kept = page.evaluate(
        """() => ["dragover", "drop"].every(kind => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File(["x"], "x.wav"));
            const event = new DragEvent(kind, {dataTransfer, bubbles: true, cancelable: true});
            return !document.body.dispatchEvent(event);
        })"""
    )
    assert is_kept


def test_several_audio_files_are_dropped_at_once_and_appear_among_the_jobs(
    tab: Tab, phonoscene: Phonoscene
) -> None:
    page = tab.go("/drop")
    files: list[FilePayload] = [
        {"name": f"{name}.wav", "mimeType": "audio/wav", "buffer": make_audio("wav", seconds)}
        for seconds, name in enumerate(("one", "two", "three"), 1)
    ]
    files.append({"name": "a.pdf", "mimeType": "application/pdf", "buffer": b"%PDF"})
    page.set_input_files("#files", files)
    page.fill("#key", "together/")
    fill(tab, prompt=f"Rain {uuid.uuid4()}", video_size=TINY)
    assert priced(tab).startswith("Drop 3 files for $")
    assert "a.pdf has a format" in tab.text("#uploads")
    page.click("[aria-label='Remove two.wav']")
    tab.until("""() => document.querySelector("#confirm:enabled")?.innerText.includes(" 2 ")""")
    page.click("#confirm")
    page.wait_for_url(f"{tab.address}/")
    for name in ("together/one", "together/three"):
        tab.shows("main", name)
        assert phonoscene.take(name)["status"] == "SUCCEEDED"
    assert phonoscene.jobs.takes("together/two") == []


def test_of_two_files_of_one_name_the_second_does_not_replace_the_first(tab: Tab) -> None:
    page = tab.go("/drop")
    files: list[FilePayload] = [
        {"name": "01.wav", "mimeType": "audio/wav", "buffer": make_audio("wav", seconds)}
        for seconds in (1.0, 2.0)
    ]
    page.set_input_files("#files", files)
    fill(tab, prompt="Rain", video_size=TINY)

    assert priced(tab).startswith("Drop it for $")
    lines = page.locator("#uploads li").all_inner_texts()
    assert lines[0] == "01.wav ✓ Remove"
    assert "Another file of this name came with it" in lines[1]
    tab.shows("#outcome", "up to 25 frames")


def test_nothing_is_dropped_before_all_files_have_come(tab: Tab) -> None:
    page, held = tab.go("/drop"), list[Any]()

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/files/two.wav", hold)
    files: list[FilePayload] = [
        {"name": name, "mimeType": "audio/wav", "buffer": make_audio("wav", 1.0)}
        for name in ("one.wav", "two.wav")
    ]
    page.set_input_files("#files", files)
    tab.shows("#uploads", "one.wav ✓ Remove")
    fill(tab, prompt="Rain")
    tab.shows("#outcome", "Drop it for $")
    assert page.locator("#confirm:enabled").count() == 0
    held[0].continue_()
    assert priced(tab).startswith("Drop 2 files for $")


@pytest.mark.parametrize("name", ["empty.wav", "notes.pdf", "text.mp3"])
def test_a_file_that_is_no_audio_is_refused_with_a_sentence(tab: Tab, name: str) -> None:
    tab.go("/drop")
    fill(tab, prompt="Rain")
    tab.drag(name, b"" if name == "empty.wav" else b"Only words.")
    tab.shows("form.drop", "empty.wav has no bytes", "is not supported", "is not a readable MP3")
    assert tab.page.locator("button.primary").count() == 0


def test_the_scripts_of_all_pages_are_small() -> None:
    scripts = [file.read_bytes() for file in (views.HERE / "static").glob("*.js")]
    assert sum(len(gzip.compress(one)) for one in scripts) <= 60_000


def test_checks_show_what_doctor_and_audit_find(tab: Tab) -> None:
    tab.go("/checks")
    tab.page.click("text=Check the stack")
    tab.shows("#doctor", "may see queues")
    tab.page.click("button:has-text('Compare')")
    tab.shows("#audit", "accounted")


def test_a_used_link_says_how_to_get_another(browser: Browser, board: RunningBoard) -> None:
    link = board.link()
    context = browser.new_context()
    page = context.new_page()
    page.goto(link)
    page.wait_for_url(f"{board.address}/")
    again = browser.new_context().new_page()
    again.goto(link)
    assert "Press Enter in the terminal" in again.inner_text("body")
    again.goto(f"{board.address}/")
    assert "has not opened the board" in again.inner_text("body")


def test_the_newest_videos_stand_on_the_first_screen(
    browser: Browser, board: RunningBoard, phonoscene: Phonoscene
) -> None:
    names = ("talks/intro", "music/tide", "music/embers")
    later = f"later {uuid.uuid4()}"
    phonoscene.fault(later, "render", "delay", seconds=60)
    phonoscene.drop("talks/outro", prompt=later)
    sound, size = sample.make(), {"width": 192, "height": 108}
    for name in names:
        phonoscene.sidecar(f"{name}.json", prompt=f"{name} {uuid.uuid4()}", video_size=size)
        phonoscene.put(f"{name}.wav", sound)
    with tab_of(browser, board, viewport={"width": 1000, "height": 560}) as tab:
        tab.shows("#moving", "SUBMITTED")
        for name in names:
            tab.shows("#gallery", name)
        ready = "() => [...document.querySelectorAll('video')].every(one => one.readyState > 1)"
        tab.until(ready)
        tab.page.screenshot(path=SHOTS / "picture.png")  # docs/board.png is one of these
        began = tab.page.evaluate(
            "async () => { const one = document.querySelector('video'); await one.play();"
            " return one.currentTime; }"
        )
        assert began < 1
        goes_on = tab.page.evaluate(
            """async () => {
                const one = document.querySelector("video");
                one.pause();
                one.currentTime = 1;
                one.dataset.still = ""; // as the gallery has it when another video comes
                await one.play();
                return one.currentTime;
            }"""
        )
        assert goes_on >= 1
