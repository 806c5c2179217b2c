"""What holds for all tests."""

import gc
import signal
import sys

# jsonschema would compile 38 grammars of URIs and IRIs for 2 s, in every process of the tests; no
# schema here has one checked.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # "cannot be imported"


def pytest_sessionstart() -> None:
    """^C is what some tests are about; a shell has what it runs in the background ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Nothing imported is garbage: looking for some in it took an eighth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
