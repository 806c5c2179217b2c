"""The core has no outside: every socket is closed, and there is no AWS to sign in to."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings
from pytest_socket import disable_socket, enable_socket

settings.register_profile("unit", deadline=None, max_examples=100)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("AWS_", "FAL_"))]:
        monkeypatch.delenv(name)
    disable_socket(allow_unix_socket=False)
    yield
    enable_socket()
