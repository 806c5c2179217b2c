"""A browser that is installed, and the board in it."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Error, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page, Playwright, Request

#: The first is Chromium without a window's frame: it takes half the CPU time of the others.
NAMES: Final = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
HOW: Final = (
    "No Chromium was found, so the board was not tested in a browser. Install one: "
    "`apt-get install chromium-headless-shell`, or `.venv/bin/playwright install chromium`."
)
#: What asks its maker's servers is switched off; as root Chromium has no sandbox of its own.
SWITCHES: Final = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--autoplay-policy=no-user-gesture-required",
)
#: Milliseconds until a step counts as failed; it is never waited for where all is well.
PATIENCE: Final = 90_000
#: Milliseconds between two looks at a page that is waited for.
LOOK_AGAIN: Final = 50
LOOPBACK: Final = "127.0.0.1"


def find_browser(play: Playwright) -> str:
    """The path of a Chromium; without one the tests are skipped, and fail where ``CI`` is set."""
    own = Path(play.chromium.executable_path)
    found = next(filter(None, map(shutil.which, NAMES)), str(own) if own.is_file() else "")
    if not found:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(HOW)
    return found


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=find_browser(play), args=[*SWITCHES, *root])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class RunningBoard:
    """``phonoscene board`` as a person starts it, and the links that it prints."""

    endpoints: Path
    links: Queue[str] = field(default_factory=Queue)
    started: float = 0.0

    def __enter__(self) -> Self:
        words = (sys.executable, "-m", "phonoscene_cli", "--endpoints", str(self.endpoints))
        self.started = time.time()
        self._program = subprocess.Popen(  # noqa: S603 - our own command
            [*words, "board", "--no-open"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.first = self.links.get(timeout=60)
        self.address = self.first.partition("/enter")[0]
        return self

    def __exit__(self, *_: object) -> None:
        self._program.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._program.wait(10)
        self._program.kill()
        self._program.wait()
        for pipe in (self._program.stdin, self._program.stdout):
            if pipe:
                pipe.close()

    def _read(self) -> None:
        for line in self._program.stdout or ():
            if found := re.search(r"http://\S+", line):
                self.links.put(found[0])

    def link(self) -> str:
        """One that was not used yet: Enter is pressed for it."""
        if self.first:
            link, self.first = self.first, ""
            return link
        assert self._program.stdin
        self._program.stdin.write("\n")
        try:
            return self.links.get(timeout=10)
        except Empty:
            raise AssertionError("the board printed no link") from None


@dataclass
class Tab:
    """A page of the board, and what went wrong in it."""

    page: Page
    address: str
    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("request", self._see)

    def _hear(self, message: Any) -> None:
        is_network = "Failed to load resource" in message.text  # a test that cuts it knows
        if message.type == "error" and not is_network:
            self.errors.append(message.text)

    def _see(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname != LOOPBACK:
            self.elsewhere.append(request.url)

    def go(self, path: str) -> Page:
        """Open an address of the board."""
        self.page.goto(self.address + path)
        return self.page

    def follow(self, link: str, address: str) -> None:
        """Click a link, and wait for the page and its scripts, which hear what is done next."""
        self.page.click(link)
        self.page.wait_for_url(address)

    def text(self, selector: str) -> str:
        """What a person reads there."""
        return self.page.inner_text(selector)

    def until(self, script: str, argument: Any = None) -> Any:
        """What a function of JavaScript returns, once that is true.

        It is asked much more often than one of Playwright's own assertions, which soon look only
        twice a second.
        """
        return self.page.wait_for_function(script, arg=argument, polling=LOOK_AGAIN).json_value()

    def shows(self, selector: str, *texts: str) -> None:
        """Wait until an element there shows one of these texts."""
        self.until(
            """([selector, texts]) => [...document.querySelectorAll(selector)].some(
                one => texts.some(text => one.innerText.includes(text)))""",
            [selector, texts],
        )

    def drag(self, name: str, body: bytes, kind: str = "audio/wav") -> None:
        """Drag a file onto the page, as from a folder."""
        transfer = self.page.evaluate_handle(
            """([name, bytes, kind]) => {
                const transfer = new DataTransfer();
                const data = Uint8Array.from(atob(bytes), one => one.charCodeAt(0));
                transfer.items.add(new File([data], name, {type: kind}));
                return transfer;
            }""",
            [name, base64.b64encode(body).decode(), kind],
        )
        self.page.dispatch_event("#zone", "drop", {"dataTransfer": transfer})

    def drag_folder(self, folder: Path) -> None:
        """Drag a folder of the disk onto the page, which only the browser itself can do."""
        box = self.page.locator("#zone").bounding_box()
        assert box
        where = {"x": box["x"] + 20, "y": box["y"] + 20}
        data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
        session = self.page.context.new_cdp_session(self.page)
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, "data": data, **where})
        session.detach()


@contextmanager
def tab_of(browser: Browser, board: RunningBoard, **options: Any) -> Iterator[Tab]:
    """A browser of its own that has opened the board's link; it is clean at its end."""
    context: BrowserContext = browser.new_context(**options)
    try:
        with _clean(Tab(context.new_page(), board.address)) as tab:
            tab.page.goto(board.link())
            tab.page.wait_for_url(f"{board.address}/")
            yield tab
    finally:
        with suppress(Error):
            context.close()


@contextmanager
def new_tab(context: BrowserContext, board: RunningBoard) -> Iterator[Tab]:
    """Another tab of a browser that has opened the link, on the first screen."""
    with _clean(Tab(context.new_page(), board.address)) as tab:
        tab.go("/")
        yield tab


@contextmanager
def _clean(tab: Tab) -> Iterator[Tab]:
    """The tab; when it is closed, nothing may have gone wrong in it."""
    try:
        yield tab
        assert tab.errors == []
        assert tab.elsewhere == []
    finally:
        with suppress(Error):
            tab.page.close()
