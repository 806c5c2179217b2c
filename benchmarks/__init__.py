"""Phonoscene beside what people write instead, measured in one run: `python -m benchmarks`."""
