"""One simulator process for each module, reset for each test."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import fal_client
import fal_client.client
import pytest

from tests.integration.fal_simulator.simulator import KEY, Emulator, Fal, Papers, a_sound

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    made = Papers(tmp_path_factory.mktemp("fal"))
    made.issue()
    return made


@pytest.fixture(scope="module")
def emulator(papers: Papers) -> Iterator[Emulator]:
    made, ready = Emulator(), threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    serving = made.serve(papers, ready, stop)
    thread = threading.Thread(target=loop.run_until_complete, args=(serving,))
    thread.start()
    assert ready.wait(5)
    yield made
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def process(papers: Papers, emulator: Emulator) -> Iterator[Fal]:
    running = Fal(papers, emulator, "--run-seconds", "0", "--retry-seconds", "0.02", "--seed", "7")
    yield running
    running.close()


@pytest.fixture
def fal(process: Fal, emulator: Emulator) -> Fal:
    process.control.delete("/faults")
    process.control.post("/reset")
    emulator.files = {"a.wav": a_sound(1)}
    for seen in (emulator.answers, emulator.webhooks, emulator.reads):
        seen.clear()
    return process


@pytest.fixture
def client(
    fal: Fal, papers: Papers, monkeypatch: pytest.MonkeyPatch
) -> Iterator[fal_client.SyncClient]:
    monkeypatch.setenv("HTTPS_PROXY", fal.proxy)
    monkeypatch.setenv("SSL_CERT_FILE", str(papers.folder / "ca.pem"))
    monkeypatch.setattr(fal_client.client, "MAX_ATTEMPTS", 1)
    made = fal_client.SyncClient(key=KEY)
    yield made
    made._client.close()
