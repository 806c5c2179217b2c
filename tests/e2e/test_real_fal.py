"""The local cloud with the real fal, as a person at a terminal has it.

There is no real fal here: the simulator plays it behind a proxy, as the internet lies behind a
company's. The cloud knows nothing of that. It is started with a key, a proxy and an authority from
the environment, under fal's real host names, and has no simulator of its own.
"""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.app import main
from local.cloud import certificates, deploy, emulator
from local.cloud.cloud import LocalCloud
from local.cloud.emulator import Fal
from local.cloud.ports import Listeners, Ports
from local.paths import PROJECT, StateDirectory
from tests.support.local_stack import Phonoscene, eventually, make_audio, make_picture

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = PROJECT / ".build" / "e2e-real"
KEY = "real-key-id:real-key-secret-that-must-not-be-on-disk"
SMALL = ["--set", "video_size=square", "--set", "match_audio_length=false", "--set", "num_frames=9"]


@dataclass
class Internet:
    """fal.ai on the other side of a proxy; whose account has `KEY`."""

    ports: Ports
    authorities: Path

    def environment(self) -> dict[str, str]:
        return {
            "FAL_KEY": KEY,
            "HTTPS_PROXY": f"http://127.0.0.1:{self.ports.proxy}",
            "SSL_CERT_FILE": str(self.authorities),
        }


@pytest.fixture(scope="module")
def internet() -> Iterator[Internet]:
    state = StateDirectory(FOLDER / "internet")
    tls_files = certificates.issue(state.tls)
    state.temporary.mkdir(parents=True, exist_ok=True)
    with Listeners.of_a_new_cloud(0) as listeners:  # it reaches no AWS, and needs none
        ports = listeners.ports
        process = emulator.start_simulator(state, tls_files, listeners, Fal(KEY, "github|1"), [])
    try:
        emulator.await_simulator(process, ports, state.logs / "simulator.log")
        yield Internet(ports, tls_files.ca_bundle)
    finally:
        process.stop()


@pytest.fixture(scope="module")
def state() -> StateDirectory:
    return StateDirectory(FOLDER / "cloud")


@pytest.fixture(scope="module")
def _environment(internet: Internet, state: StateDirectory) -> Iterator[None]:
    deploy.package(deploy.read_template())  # pip must not meet our authority
    with pytest.MonkeyPatch.context() as patch:
        for name, value in internet.environment().items():
            patch.setenv(name, value)
        yield
        LocalCloud(state).down()


@pytest.fixture(scope="module")
def up(_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cloud, which the first drop has started; a file of its owner's."""
    song = tmp_path_factory.mktemp("music") / "song.wav"
    song.write_bytes(make_audio("wav"))
    song.with_name("cover.png").write_bytes(make_picture())
    return song


@pytest.fixture(scope="module")
def first_drop(up: Path) -> str:
    """What a person sees of `make drop FILE=… PROMPT=…` with FAL_KEY set, and nothing running."""
    words = ["drop", "--start", str(up), "--prompt", "a quiet harbour", *SMALL]
    code, told = at_a_terminal(words, answer="y")
    assert code == 0, told
    return told


def at_a_terminal(words: list[str], answer: str) -> tuple[int, str]:
    """Run a command where somebody answers its question; the exit code, and what was shown."""
    leader, follower = pty.openpty()
    script = (
        "import sys; from pathlib import Path; from local.app import main; "
        "from local.paths import StateDirectory; "
        f"sys.exit(main(sys.argv[1:], StateDirectory(Path({str(FOLDER / 'cloud')!r}))))"
    )
    child = subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", script, *words],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=PROJECT,
    )
    os.close(follower)
    shown, has_answered = b"", False
    while child.poll() is None or select.select([leader], [], [], 0)[0]:
        if not select.select([leader], [], [], 0.2)[0]:
            continue
        try:
            shown += os.read(leader, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if b"[y/N]" in shown and not has_answered:
            os.write(leader, f"{answer}\n".encode())
            has_answered = True
    os.close(leader)
    return child.wait(60), shown.decode(errors="replace")


def control(internet: Internet, path: str = "/requests", body: Any = None) -> Any:
    url = f"http://127.0.0.1:{internet.ports.control}{path}"
    data = json.dumps(body).encode() if body is not None else None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, data)) as answer:
        return json.load(answer)


def test_who_says_no_starts_nothing_and_spends_nothing(
    up: Path, internet: Internet, state: StateDirectory
) -> None:
    code, told = at_a_terminal(["drop", "--start", str(up), "--prompt", "x"], answer="n")

    assert code == 1
    assert "Real money" in told
    assert "nothing is spent" in told
    assert LocalCloud(state).run() is None
    assert control(internet)["posts"] == []


def test_one_line_makes_a_video_on_fals_real_host_names(
    first_drop: str, internet: Internet, state: StateDirectory
) -> None:
    assert "1 video (512x512, 9 frames) for $0.0028 to $0.0037" in first_drop
    assert "fal charges $0.0036 to $0.0037 for it" in first_drop
    assert "the simulator" not in first_drop
    assert (state.videos / "song.mp4").stat().st_size > 1000
    (request,) = control(internet)["requests"]
    assert request["webhook_url"] is None  # it could reach nobody here
    assert request["status_code"] == 200
    (copy,) = control(internet)["uploads"]
    assert copy["url"] == request["arguments"]["audio_url"]


@pytest.mark.usefixtures("first_drop")
def test_the_key_is_in_no_file_and_in_no_process_but_the_emulators_memory(
    state: StateDirectory,
) -> None:
    secret = KEY.partition(":")[2].encode()
    run = json.loads(state.run_file.read_text())

    holding = [
        file for file in state.root.rglob("*") if file.is_file() and secret in file.read_bytes()
    ]

    assert holding == []
    assert run["real"] is True
    assert [process["name"] for process in run["processes"]] == ["emulator", "ticker"]
    for process in run["processes"]:
        about = Path("/proc") / str(process["pid"])
        assert secret not in (about / "environ").read_bytes()
        assert secret not in (about / "cmdline").read_bytes()


@pytest.mark.usefixtures("first_drop")
def test_the_status_says_that_it_is_real(
    state: StateDirectory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["status"], state) == 0
    assert "the real one, paid by the account of FAL_KEY" in capsys.readouterr().out


@pytest.mark.usefixtures("first_drop")
def test_the_demonstration_does_not_spend_anything(
    internet: Internet,
    state: StateDirectory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = len(control(internet)["posts"])

    assert main(["demo"], state) == 1

    assert "make down" in capsys.readouterr().err
    assert len(control(internet)["posts"]) == before


@pytest.mark.usefixtures("first_drop")
def test_a_second_drop_asks_again_and_yes_answers_beforehand(
    up: Path,
    internet: Internet,
    state: StateDirectory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["drop", str(up), "--prompt", "x", "--image", str(up.with_name("cover.png")), *SMALL]
    assert main(words, state) == 2
    asked = capsys.readouterr().err

    code = main([*words, "--yes"], state)

    assert "Use --yes" in asked
    assert code == 0
    newest = control(internet)["requests"][-1]
    assert newest["arguments"]["image_url"].endswith(".png")


@pytest.mark.usefixtures("first_drop")
def test_what_would_be_rejected_is_told_before_it_is_dropped(
    up: Path,
    state: StateDirectory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = len(Phonoscene(LocalCloud(state).endpoints()).jobs.all())

    code = main(["drop", str(up), "--prompt", "x", "--set", "fps=99", "--yes"], state)

    assert code == 1
    assert "fps" in capsys.readouterr().err
    assert len(Phonoscene(LocalCloud(state).endpoints()).jobs.all()) == before


@pytest.mark.usefixtures("first_drop")
def test_a_new_key_is_used_without_a_new_cloud(
    state: StateDirectory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack = Phonoscene(LocalCloud(state).endpoints())
    monkeypatch.setenv("FAL_KEY", "another-id:another-secret")

    assert main(["up", "--real-fal"], state) == 0
    other = stack.endpoints.client("ssm").get_parameter(
        Name="/phonoscene/fal-key", WithDecryption=True
    )
    monkeypatch.setenv("FAL_KEY", KEY)
    assert main(["up", "--real-fal"], state) == 0

    assert other["Parameter"]["Value"] == "another-id:another-secret"


@pytest.mark.usefixtures("first_drop")
def test_a_ticker_that_was_killed_is_started_again_beside_the_paid_videos(
    state: StateDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    run = LocalCloud(state).recorded()
    assert run
    [ticker] = [one for one in run.processes if one.name == emulator.TICKER]
    before = len(Phonoscene(LocalCloud(state).endpoints()).jobs.all())

    os.kill(ticker.pid, signal.SIGKILL)
    assert eventually(lambda: not ticker.alive)
    assert main(["up"], state) == 0
    capsys.readouterr()
    assert main(["status"], state) == 0

    assert "ended" not in capsys.readouterr().out
    assert len(Phonoscene(LocalCloud(state).endpoints()).jobs.all()) == before


@pytest.mark.usefixtures("first_drop")
def test_what_is_paid_and_not_home_keeps_the_cloud_up(
    up: Path,
    internet: Internet,
    state: StateDirectory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stack = Phonoscene(LocalCloud(state).endpoints())
    rule = {"stage": "render", "action": "delay", "seconds": 6}
    control(internet, "/faults", rule)
    song = up.with_name("slow.wav")
    song.write_bytes(make_audio("wav"))
    assert main(["drop", str(song), "--prompt", "x", "--no-watch", "--yes", *SMALL], state) == 0
    stack.take("slow", until={"SUBMITTED"})

    refused = main(["down"], state)
    told = capsys.readouterr().err
    job = stack.take("slow")
    ended = main(["down"], state)

    assert refused == 1
    assert "fal has 1 of this cloud's jobs" in told
    assert job["status"] == "SUCCEEDED"
    assert ended == 0
    assert (state.videos / job["job_id"] / "slow.mp4").is_file()
    assert LocalCloud(state).run() is None


@pytest.mark.usefixtures("first_drop")
def test_without_a_key_the_simulator_answers_and_says_so(
    up: Path,
    state: StateDirectory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    LocalCloud(state).down()
    for name in ("FAL_KEY", "HTTPS_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name)

    code = main(["drop", "--start", str(up), "--prompt", "x", *SMALL], state)
    told = capsys.readouterr().err
    monkeypatch.setenv("FAL_KEY", KEY)
    refused = main(["up", "--real-fal", "--yes"], state)

    assert code == 0
    assert "The fal simulator answers: nothing is paid" in told
    assert refused == 1
    assert "make down" in capsys.readouterr().err
