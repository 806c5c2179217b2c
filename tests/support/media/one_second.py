"""The audio files that a soak drops: a second of every format and mux, or one plain file each."""

from __future__ import annotations

from functools import cache
from typing import Final

from tests.support.media.recipes import GROUPS, Recipe, table_of

SECONDS: Final = 1.0
ALL, PLAIN = "all", "plain"
MUXES: Final = "muxes"
#: A format and what is special about the file.
Kind = tuple[str, str]

#: FFmpeg needs the suffix to know what these are, and fal's simulator has none.
_UNREAD: Final = ("APE after", "ten joined, ID3 each")
#: A thousand of these would be gigabytes.
_LARGE: Final = ("2 MB", "2000000", "1 MiB", "of padding")


@cache
def _recipes() -> dict[Kind, Recipe]:
    """What lasts a second, by its kind."""
    forms = [form for form, what in GROUPS if what == MUXES]
    recipes = [recipe for form in forms for recipe in table_of(form, MUXES, SECONDS)]
    return {(recipe.form, recipe.mux): recipe for recipe in recipes}


def _is_dropped(kind: Kind) -> bool:
    return not any(word in kind[1] for word in (*_UNREAD, *_LARGE))


CHOICES: Final[dict[str, tuple[Kind, ...]]] = {
    ALL: tuple(
        kind for kind, recipe in _recipes().items() if _is_dropped(kind) and not recipe.refused
    ),
    PLAIN: (
        ("wav", "plain"),
        ("mp3", "CBR"),
        ("flac", "plain"),
        ("m4a", "moov last"),
        ("aac", "ADTS"),
        ("ogg", "opus"),
    ),
}
#: Refused by what is in them, and named by what is wrong.
REFUSED: Final[tuple[Kind, ...]] = (
    ("wav", "cut off"),
    ("mp3", "cut off, VBRI"),
    ("flac", "cut off"),
    ("m4a", "cut off, moov last"),
)


def suffixes(kind: Kind) -> tuple[str, ...]:
    """What its name may end in."""
    form, mux = kind
    return ("ogg", "opus") if form == "ogg" and mux.startswith("opus") else (form,)


@cache
def sound(kind: Kind) -> bytes:
    """The file, made once."""
    return _recipes()[kind].make()
