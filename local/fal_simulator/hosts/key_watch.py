"""Where the fal key was seen: it belongs in https to fal's own API hosts, and nowhere else."""

from __future__ import annotations

from collections import Counter


class KeyWatch:
    """Counts the requests that carried the key, by scheme and host."""

    def __init__(self, key: str) -> None:
        self._key = key
        self.seen: Counter[str] = Counter()

    def look(self, origin: str, *texts: str) -> None:
        """Count a request of this origin, `https://host`, if the key stands in one of its texts."""
        if any(self._key in text for text in texts):
            self.seen[origin] += 1

    def clear(self) -> None:
        """Forget what was seen."""
        self.seen.clear()
