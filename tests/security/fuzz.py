"""Coverage-guided fuzzing of the doors: what changes the code's path is changed further.

    python -m tests.security.fuzz --seconds 60

Finds of earlier runs lie in ``tests/security/corpus/<door>/`` and are tried again by the tests.
It needs atheris, which ``make fuzz`` installs in a folder of its own.

exit codes:
  0  nothing found in that time
  1  a breach; its input is written to the corpus
  2  atheris is not installed, or wrong usage
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import io
import json
import logging
import os
import random
import subprocess
import sys
import time
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CORPUS: Final = Path(__file__).parent / "corpus"


@cache
def _webhook() -> Callable[[bytes], object]:
    from tests.security.doors import WebhookDoor  # noqa: PLC0415 - after atheris has seen imports
    from tests.security.forgeries import forgery  # noqa: PLC0415

    door = WebhookDoor()

    def knock(raw: bytes) -> object:
        """The bytes are a body, headers and a path; or they choose a forgery."""
        if raw[:1] == b"\0":
            return door.knock(forgery(random.Random(raw), door))  # noqa: S311 - repeatable
        parts = raw.split(b"\n", 6)
        texts = [part.decode("latin-1") for part in parts] + [""] * 7
        names = ("request-id", "user-id", "timestamp", "signature")
        headers = {f"x-fal-webhook-{name}": texts[n] for n, name in enumerate(names)}
        path = {"job_id": texts[4], "token": texts[5]}
        with contextlib.redirect_stdout(io.StringIO()):
            return door.knock({"headers": headers, "pathParameters": path, "body": texts[6]})

    return knock


def _door(name: str) -> Callable[[bytes], object]:
    from tests.security import doors  # noqa: PLC0415 - after atheris has seen imports

    if name == "webhook":
        return _webhook()
    if name == "drop":
        return _drop
    return doors.sidecar_door if name == "sidecar" else partial(doors.file_door, name)


def _drop(raw: bytes) -> object:
    """The bytes are a key, a sidecar and a message, by lines."""
    from tests.security.doors import drop_door  # noqa: PLC0415
    from tests.support.scenarios import SOUND  # noqa: PLC0415 - after atheris has seen imports

    key, sidecar, message = [*raw.split(b"\n", 2), b"", b""][:3]
    name = key.decode(errors="ignore")[:200] or "song"
    objects = {f"{name}.wav": SOUND, f"{name}.json": sidecar}
    return drop_door(objects, [message.decode(errors="ignore")] if message else [])


DOORS: Final = {
    name: lambda raw, name=name: _door(name)(raw)
    for name in ("webhook", "sidecar", "audio", "image", "drop")
}


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one door in this process, which ends with it: libFuzzer's way."""
    import atheris  # noqa: PLC0415 - only here, and only where it is installed

    logging.disable(logging.CRITICAL)
    with atheris.instrument_imports(include=["phonoscene"]):
        door = _door(name)

    def one(raw: bytes) -> None:
        try:
            door(raw)
        except BaseException:
            keep(name, raw)
            raise

    seeds = CORPUS / name
    seeds.mkdir(parents=True, exist_ok=True)
    found = Path(os.environ["FUZZ_FOLDER"]) / name
    found.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", "-max_len=4096", "-rss_limit_mb=2048", "-timeout=20"]
    atheris.Setup([sys.argv[0], *options, str(found), str(seeds)], one)
    atheris.Fuzz()


def keep(name: str, raw: bytes) -> Path:
    """Write what broke a door to the corpus."""
    file = CORPUS / name / f"{hashlib.sha256(raw).hexdigest()[:16]}.bin"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(raw)
    return file


def main(given: Sequence[str] | None = None) -> int:
    """Fuzz each door for its share of the time; 1 where one broke."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.security.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=int, default=60, help="for all doors together (60)")
    parser.add_argument("--door", choices=DOORS, help="this one alone, in this process")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    asked = parser.parse_args(given)
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed here: `make fuzz` does it.", file=sys.stderr)  # noqa: T201
        return 2
    if asked.door:
        fuzz(asked.door, asked.seconds)
        return 0
    share = max(5, asked.seconds // len(DOORS))
    figures = {name: _run(name, share) for name in DOORS}
    lines = [
        f"{name:<10}{one['runs']:>12,} runs  {one['breaches']} breaches"
        for name, one in figures.items()
    ]
    print(json.dumps(figures) if asked.json else "\n".join(lines))  # noqa: T201 - for a person
    return int(any(one["breaches"] for one in figures.values()))


def _run(name: str, seconds: int) -> dict[str, int]:
    """One door in a process of its own: libFuzzer ends its process."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.security.fuzz", "--door", name]
    began = time.monotonic()
    ended = subprocess.run(  # noqa: S603 - ourselves
        [*command, "--seconds", str(seconds)],
        capture_output=True,
        text=True,
        timeout=seconds * 3 + 120,
        check=False,
    )
    shown = [line for line in ended.stderr.splitlines() if line.startswith("Done ")]
    runs = int(shown[-1].split()[1]) if shown else 0
    if ended.returncode:
        print(ended.stderr[-3000:], file=sys.stderr)  # noqa: T201 - what libFuzzer says
    return {
        "runs": runs,
        "breaches": int(ended.returncode != 0),
        "seconds": round(time.monotonic() - began),
    }


if __name__ == "__main__":
    sys.exit(main())
