"""The program: the script ``phonoscene``, or ``python -m phonoscene_cli``."""

import os
import signal
import sys
from typing import NoReturn


def main() -> None:
    """Run one command; ^C ends it without a trace, even while it is still loading.

    So do a request to end and a terminal that is closed: what is half uploaded is taken back.
    """
    for number in _requests_to_end():
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, _interrupt)
    try:
        from phonoscene_cli.app import main as run  # noqa: PLC0415 - what takes long is inside

        run()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        for number in (signal.SIGINT, *_requests_to_end()):  # threads may wait for AWS
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _end_at_once)


def _requests_to_end() -> list[signal.Signals]:
    """Those but ^C; Windows has one of them."""
    return [one for one in signal.Signals if one.name in {"SIGTERM", "SIGHUP"}]


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _end_at_once(*_: object) -> NoReturn:
    os._exit(130)


if __name__ == "__main__":
    main()
