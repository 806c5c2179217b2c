"""``python -m phonoscene_cli``, where the script ``phonoscene`` is not on the path."""

from phonoscene_cli.app import main

main()
