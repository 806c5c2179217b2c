"""The program: the script ``phonoscene``, or ``python -m phonoscene_cli``."""

import signal
import sys
from typing import NoReturn


def main() -> None:
    """Run one command; ^C ends it without a trace, even while it is still loading.

    So do a request to end and a terminal that is closed: what is half uploaded is taken back.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has one of them
        if number and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores the other
            signal.signal(number, _interrupt)
    try:
        from phonoscene_cli.app import main as run  # noqa: PLC0415 - what takes long is inside

        run()
    except KeyboardInterrupt:
        sys.exit(130)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
