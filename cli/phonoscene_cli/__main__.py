"""The program: the script ``phonoscene``, or ``python -m phonoscene_cli``."""

import sys


def main() -> None:
    """Run one command; ^C ends it without a trace, even while it is still loading."""
    try:
        from phonoscene_cli.app import main as run  # noqa: PLC0415 - what takes long is inside

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
