"""What holds for all tests."""

import gc


def pytest_collection_finish() -> None:
    """Nothing imported is garbage: looking for some in it took an eighth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
