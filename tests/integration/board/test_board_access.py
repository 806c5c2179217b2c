"""Who may use the board: a browser that opened its link, from the board's own pages."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from phonoscene.fal.requests import Refused
from phonoscene_cli.board import access, views
from phonoscene_cli.board.access import ENTRANCE, HEADERS, MAX_LINKS, Access, Guard
from phonoscene_cli.board.application import ROUTES, application
from tests.integration.board.browser import HOST, PORT, Browser
from tests.support.media.samples import silence

if TYPE_CHECKING:
    from pathlib import Path

    from phonoscene_cli.board.context import Board
    from tests.integration.board.conftest import Finder
    from tests.integration.desk import Desk
    from tests.integration.fal_queue import FakeFalQueue
    from tests.integration.moto_stack import Cloud

FEW = settings(deadline=None, max_examples=50)
DROP_ID = "0" * 32
HOSTILE: dict[str, tuple[tuple[tuple[str, str | None], ...], int]] = {
    "no cookie": ((("cookie", None),), 403),
    "another value in the cookie": ((("cookie", f"phonoscene-board-{PORT}=x"),), 403),
    "a name that leads here": ((("host", f"evil.example:{PORT}"),), 421),
    "another port": ((("host", f"127.0.0.1:{PORT + 1}"),), 421),
    "no port": ((("host", "127.0.0.1"),), 421),
    "another spelling": ((("host", f"LOCALHOST:{PORT}"),), 421),
    "a path in its host": ((("host", f"{HOST}/enter?"),), 421),
    "two hosts": ((("host", HOST), ("host", HOST)), 421),
    "two hosts, one of them foreign": ((("host", HOST), ("host", "evil.example")), 421),
    "no host": ((("host", None),), 421),
    "another page": ((("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")), 403),
    "another page, whose browser says its origin alone": (
        (("origin", "https://evil.example"), ("sec-fetch-site", None)),
        403,
    ),
    "another page, whose browser says its site alone": (
        (("origin", None), ("sec-fetch-site", "cross-site")),
        403,
    ),
    "a page of another port": (
        (("origin", f"http://127.0.0.1:{PORT + 1}"), ("sec-fetch-site", "same-site")),
        403,
    ),
    "a page in a sandbox": ((("origin", "null"), ("sec-fetch-site", "cross-site")), 403),
    "the board's page over https": ((("origin", f"https://{HOST}"),), 403),
}


def requests() -> list[tuple[str, str]]:
    """A method and a path of every route."""
    found = []
    for route in ROUTES:
        if isinstance(route, Mount):
            found.append(("GET", f"{route.path}/board.css"))
            continue
        assert isinstance(route, Route)
        path = route.path_format.format(**dict.fromkeys(route.param_convertors, DROP_ID))
        methods = set(route.methods or ()) - {"HEAD"}
        found += [(method, path) for method in methods]
    return sorted(found)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_address_answers_a_request_that_is_not_its_own(
    board: Board, browser: Browser, find: Finder, cloud: Cloud, hostile: str
) -> None:
    headers, status = HOSTILE[hostile]
    stranger = browser.sending(*headers)
    staged: Path = board.staging._root

    for method, path in requests():
        if (path, status) == (ENTRANCE, 403) and "cookie" in hostile:
            continue  # it is what gives the cookie
        answer = stranger.ask(method, path, [silence(0.1)])
        assert (answer.status, method, path) == (status, method, path)

    assert list(staged.iterdir()) == []
    assert cloud.s3.list_objects_v2(Bucket="drops")["KeyCount"] == 0
    assert find.found == []


def test_every_address_answers_a_page_of_its_own(browser: Browser) -> None:
    answers = {
        (method, path): browser.ask(method, path).status
        for method, path in requests()
        if path not in (ENTRANCE, "/live")  # which takes a link, and which does not end
    }

    assert set(answers.values()) <= {200, 400, 404, 502}
    assert list(answers.values()).count(200) >= 10


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "DELETE", "PATCH", "CONNECT", "X"])
def test_no_address_answers_another_method(browser: Browser, find: Finder, method: str) -> None:
    answers = {browser.ask(method, path).status for _, path in requests()}

    assert answers == {405}
    assert find.found == []


@pytest.mark.parametrize("site", [None, "none", "cross-site", "same-site"])
def test_a_write_must_say_that_a_page_of_the_board_sends_it(
    browser: Browser, site: str | None
) -> None:
    silent = browser.sending(("origin", None), ("sec-fetch-site", site))
    answers = {
        silent.ask(method, path).status for method, path in requests() if method in access.WRITING
    }

    assert answers == {403}


@pytest.mark.parametrize(
    "path",
    [
        "/enter?x",
        "/enter%3Fx",
        "/enter%23",
        "/en%0Ater",
        "/enter/",
        "//enter",
        "/enter%00",
        "/ENTER",
    ],
)
def test_only_the_entrance_itself_needs_no_cookie(
    browser: Browser, find: Finder, path: str
) -> None:
    answer = browser.sending(("cookie", None)).get(path)

    assert answer.status == 403
    assert "stack" not in answer.text
    assert "us-east-1" not in answer.text
    assert find.found == []


METHODS = ("GET", "POST", "PUT", "HEAD", "DELETE")
HOSTS = (HOST, f"localhost:{PORT}", f"evil.example:{PORT}", None)
ORIGINS = (None, f"http://{HOST}", "https://evil.example", "null")
SITES = (None, "none", "same-origin", "same-site", "cross-site")


def may(method: str, host: Any, origin: Any, site: Any, has_cookie: bool, path: str) -> bool:
    """The rules, written once more: which requests reach the application."""
    is_here = host in (HOST, f"localhost:{PORT}")
    is_own_page = origin in (None, f"http://{HOST}") and site in (None, "none", "same-origin")
    if path == ENTRANCE:
        is_followed = origin is None
        return is_here and method == "GET" and (is_own_page or is_followed)
    is_said = origin is not None or site is not None
    if method in ("POST", "PUT"):
        is_own_page = is_own_page and is_said and site != "none"
    return is_here and is_own_page and has_cookie and method in ("GET", "POST", "PUT")


def test_the_guard_lets_pass_what_the_rules_allow_and_nothing_else() -> None:
    rules = Access.on_port(PORT)
    guard = Guard(PlainTextResponse("in"), rules)
    secret = Browser.of_page(guard, rules).headers

    for method, host, origin, site, has_cookie, path in itertools.product(
        METHODS, HOSTS, ORIGINS, SITES, (True, False), ("/", ENTRANCE)
    ):
        if path == ENTRANCE and method in ("POST", "PUT"):
            continue  # that route takes GET alone
        browser = Browser(guard, secret).sending(
            ("host", host), ("origin", origin), ("sec-fetch-site", site)
        )
        asked = browser if has_cookie else browser.sending(("cookie", None))
        is_in = asked.ask(method, path).body == b"in"
        case = (method, host, origin, site, has_cookie, path)
        assert (is_in, case) == (may(*case), case)


HEADER = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)


@FEW
@given(
    st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "TRACE"]) | st.text(max_size=5),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30).map(lambda text: f"/{text}"),
    st.lists(
        st.tuples(st.sampled_from(["host", "origin", "sec-fetch-site", "cookie", "range"]), HEADER),
        max_size=4,
    ),
    st.booleans(),
)
def test_whatever_is_sent_without_the_secret_reaches_nothing(
    method: str, path: str, headers: list[tuple[str, str]], has_host: bool
) -> None:
    guard = Guard(PlainTextResponse("in"), Access.on_port(PORT))
    browser = Browser(guard, (("host", HOST),) if has_host else ())
    scope = browser.scope(method, "/", headers) | {"path": path}

    answer = browser.answer(scope)

    if path != ENTRANCE:
        assert answer.status in (403, 405, 421)
        assert answer.body != b"in"


def test_a_link_lets_one_browser_in_once(board: Board) -> None:
    app = application(board)
    link = board.access.new_link()

    first, second = Browser(app).get(link), Browser(app).get(link)

    cookie = first.headers["set-cookie"]
    assert (first.status, second.status) == (200, 403)
    assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
    assert cookie.startswith(f"phonoscene-board-{PORT}=")
    assert "set-cookie" not in second.headers
    assert Browser(app).sending(("cookie", cookie.partition(";")[0])).get("/").status == 200


@pytest.mark.parametrize("token", ["", "x", "?token=", "%00", "%ff", "💥"])
def test_a_made_up_link_lets_nothing_in(board: Board, find: Finder, token: str) -> None:
    board.access.new_link()
    answer = Browser(application(board)).get(f"{ENTRANCE}?token={token}")

    assert answer.status == 403
    assert "set-cookie" not in answer.headers
    assert find.found == []


def test_a_preview_of_a_link_does_not_use_it_up(board: Board) -> None:
    app, link = application(board), board.access.new_link()

    preview = Browser(app).ask("HEAD", link)

    assert (preview.status, Browser(app).get(link).status) == (405, 200)


def test_a_link_works_where_another_programs_page_shows_it(board: Board) -> None:
    link = board.access.new_link()
    browser = Browser(application(board)).sending(("sec-fetch-site", "cross-site"))

    assert browser.get(link).status == 200


def test_of_links_that_were_not_used_the_newest_work(board: Board) -> None:
    links = [board.access.new_link() for _ in range(MAX_LINKS + 1)]
    app = application(board)

    assert [Browser(app).get(link).status for link in links] == [403] + MAX_LINKS * [200]


def test_boards_of_two_ports_have_their_own_cookies_and_secrets() -> None:
    one, other = Access.on_port(PORT), Access.on_port(PORT + 1)
    there = dict(Browser.of_page(Guard(PlainTextResponse("in"), other), other).headers)["cookie"]
    here = Browser.of_page(Guard(PlainTextResponse("in"), one), one)
    renamed = there.replace(str(PORT + 1), str(PORT))

    answers = [
        here.sending(("cookie", f"{dict(here.headers)['cookie']}; {there}")).get("/").status,
        here.sending(("cookie", there)).get("/").status,
        here.sending(("cookie", renamed)).get("/").status,
    ]

    assert answers == [200, 403, 403]


HEADERS_LOWER = {name.lower(): value for name, value in HEADERS.items()}


@pytest.mark.parametrize(
    "path", ["/", "/drop", "/nothing", "/static/board.css", "/jobs/x", "/cost"]
)
@pytest.mark.parametrize("error", [None, RuntimeError("a fault of the board")])
def test_every_answer_is_kept_from_frames_caches_and_scripts(
    browser: Browser, find: Finder, path: str, error: Exception | None
) -> None:
    find.error = error
    answers = [browser.get(path), browser.sending(("cookie", None)).get(path)]

    for answer in answers:
        assert HEADERS_LOWER.items() <= dict(answer.headers).items()
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


def test_a_policy_allows_the_pages_own_scripts_and_no_others(browser: Browser) -> None:
    pages = [browser.get("/"), browser.get("/")]
    nonces = [page.headers["content-security-policy"].split("'nonce-")[1][:22] for page in pages]

    assert nonces[0] != nonces[1]
    for page, nonce in zip(pages, nonces, strict=True):
        scripts = page.text.split("<script")[1:]
        assert scripts
        assert all(f'nonce="{nonce}"' in script.partition(">")[0] for script in scripts)
        assert "unsafe" not in page.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/static/../access.py",
        "/static/..%2Faccess.py",
        "/static/%2e%2e/access.py",
        "/static//etc/passwd",
        "/static/..%5Caccess.py",
        f"/drop/{DROP_ID}/files/..%2Fx.wav",
        "/drop/../x/files/x.wav",
        "/drop/%2e%2e/files/x.wav",
        f"/drop/{DROP_ID}/files/..",
        f"/drop/{DROP_ID}/files/.hidden.wav",
        f"/drop/{DROP_ID}/files/..%5Cx.wav",
        f"/drop/{DROP_ID}/files/x%00.wav",
        f"/drop/{DROP_ID}/files/x%0A.wav",
        f"/drop/{DROP_ID}/files/{'x' * 300}.wav",
        f"/drop/{DROP_ID}/files/x.html",
        "/jobs/..%2F..%2Fetc/video",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_no_address_and_no_files_name_leads_out_of_its_folder(
    board: Board, browser: Browser, method: str, path: str
) -> None:
    answer = browser.ask(method, path, [b"x"])

    assert answer.status in (400, 404, 405)
    assert b"root:" not in answer.body
    files = [file for file in board.staging._root.rglob("*") if file.is_file()]
    assert files == []


def test_a_file_that_says_it_is_too_large_is_not_read(
    board: Board, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonoscene_cli.board.pages.drop.MAX_BYTES", 1000)
    path = f"/drop/{DROP_ID}/files/x.wav"

    def never() -> Any:
        pytest.fail("the body is read")
        yield b""

    said = browser.ask("PUT", path, never(), [("content-length", "1001")])
    streamed = browser.ask("PUT", path, itertools.repeat(b"x" * 400))
    fits = browser.put(path, b"x" * 1000)

    assert [said.status, streamed.status, fits.status] == [413, 413, 200]
    assert [file.stat().st_size for file in board.staging._root.rglob("*.*")] == [1000]


def test_a_form_that_never_ends_is_given_up(browser: Browser) -> None:
    kind = [("content-type", "application/x-www-form-urlencoded")]
    endless = browser.ask(
        "POST", f"/drop/{DROP_ID}/preview", itertools.repeat(b"prompt=" + b"x" * 65536), kind
    )
    many = browser.ask("POST", f"/drop/{DROP_ID}/preview", [b"a=1&" * 300], kind)
    bytes_ = browser.ask("POST", f"/drop/{DROP_ID}/preview", [b"\xff\xfe"], kind)

    assert [endless.status, many.status, bytes_.status] == [413, 400, 400]


SCRIPT = "<script>alert(1)</script>"


def test_a_script_in_a_key_a_prompt_or_metadata_is_text(
    board: Board, browser: Browser, desk: Desk
) -> None:
    name = f"talks/{SCRIPT.replace('/', '')}"
    metadata = {SCRIPT: '"><img src=x onerror=alert(1)>'}
    wrong = {"prompt": SCRIPT, "metadata": metadata, "fps": SCRIPT}
    desk.cloud.drop(f"{name}.wav", silence(1))
    desk.cloud.drop(f"{name}.json", json.dumps(wrong))
    desk.announce(f"{name}.json")
    [item] = desk.cloud.items()
    job_id = str(item["job_id"])
    shows_no_script(board, browser, job_id)


def test_a_script_in_fals_error_is_text(
    board: Board, browser: Browser, desk: Desk, fal: FakeFalQueue
) -> None:
    fal.answer = Refused("fal_refused", f"{SCRIPT} `{SCRIPT}`", retryable=False)
    desk.cloud.drop("talks/intro.wav", silence(1))
    desk.cloud.drop("talks/intro.json", json.dumps({"prompt": SCRIPT}))
    desk.announce("talks/intro.json")
    [item] = desk.cloud.items()

    assert item["status"] == "FAILED"
    shows_no_script(board, browser, str(item["job_id"]))


def shows_no_script(board: Board, browser: Browser, job_id: str) -> None:
    """Look at every page about a job."""
    snapshot = board.observer.look(0.0, [job_id])
    shown = [
        browser.get("/jobs").text,
        browser.get(f"/jobs/{job_id}").text,
        browser.get(f"/jobs/{job_id}/retry").text,
        browser.get("/cost?by=name").text,
        browser.get(f"/jobs?name={SCRIPT}&folder={SCRIPT}").text,
        *views.parts_of_board(board.env, snapshot).values(),
        *views.JobParts(board.env, job_id)(snapshot).values(),
    ]

    assert any("&lt;script&gt;" in text for text in shown)
    for text in shown:
        assert "<script>alert" not in text
        assert "<img src=x" not in text


def test_a_websocket_is_refused(board: Board) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        pytest.fail("nothing is read")

    scope = Browser(application(board)).scope("GET", "/live") | {"type": "websocket"}
    asyncio.run(application(board)(scope, receive, send))

    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(
    "job_id", ["window", "budget%232026-11-27", "x" * 3000, "%00", "💥", "a%2Fb", "..", "{{7*7}}"]
)
def test_an_id_that_is_no_jobs_is_answered_with_a_sentence(
    browser: Browser, desk: Desk, job_id: str
) -> None:
    desk.cloud.drop("talks/intro.wav", silence(1))
    desk.announce("talks/intro.wav")

    for part in ("", "/video", "/audio", "/waveform", "/retry"):
        answer = browser.get(f"/jobs/{job_id}{part}")
        assert answer.status in (200, 404, 502)
        assert "Traceback" not in answer.text
        assert "49" not in answer.text.partition("<main")[2].partition("</main")[0]


def test_on_the_usual_port_the_host_has_none() -> None:
    guard = Guard(PlainTextResponse("in"), rules := Access.on_port(80, "192.0.2.1"))
    browser = Browser.of_page(guard, rules)

    for host, status in (("127.0.0.1", 200), ("192.0.2.1", 200), ("127.0.0.1:80", 421)):
        named = browser.sending(("host", host), ("origin", f"http://{host}"))
        assert named.get("/").status == status
