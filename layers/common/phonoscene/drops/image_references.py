"""References to images: https URLs of public hosts, or names of images beside a sidecar."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import unquote, urlsplit

from annotated_types import MaxLen, MinLen
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from phonoscene.drops.keys import IMAGE_SUFFIXES, illegible
from phonoscene.fal.requests import MAX_URL_LENGTH

#: The type of the error that pydantic carries when a reference is refused; its context has
#: ``problem``.
REFUSED = "image_reference"


#: What begins like a URL, however it goes on: no name of a file beside a sidecar.
_URL = re.compile(r"\s*((https?|data):|[a-z][a-z0-9+.-]+:[/\\]|[/\\]{2})", re.IGNORECASE)
_DRIVE = re.compile(r"\s*[a-z]:[/\\]", re.IGNORECASE)


def _image_reference(text: str) -> str:
    """An https URL of a public host, or the name of an image beside the file that mentions it."""
    is_url = any(map(_seems_url, (text, unquote(text), unquote(unquote(text)))))
    problem = _url_problem(text) if is_url else _image_name_problem(text)
    if problem:
        raise PydanticCustomError(REFUSED, "{problem}", {"problem": problem})
    return text


def _seems_url(text: str) -> bool:
    is_absolute = "://" in text or _URL.match(text) is not None
    return is_absolute or _has_query(text) or _has_user(text)


def _has_query(text: str) -> bool:
    return "=" in text.partition("?")[2]


def _has_user(text: str) -> bool:
    user, _, _ = text.rpartition("@")  # a password may have an @, too
    return ":" in user


def _url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "it is not a URL"
    checks = (
        (parts.scheme != "https", "its scheme is not https"),
        (len(url) > MAX_URL_LENGTH, f"it is longer than {MAX_URL_LENGTH} characters"),
        (
            not url.isascii() or not url.isprintable() or " " in url,
            "it holds a space or a character a URL must escape",
        ),
        (parts.username is not None, "it carries a user name"),
        (port not in (None, 443), "it names a port"),
        (not _is_public_host(host.removesuffix(".")), "its host is not a public name"),
    )
    return next((problem for is_wrong, problem in checks if is_wrong), None)


#: Labels of letters, digits and hyphens; the last begins with a letter, which no notation of an
#: address does.
_HOST = re.compile(r"([a-z0-9_]([a-z0-9_-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?")
_PRIVATE = (".localhost", ".local", ".internal", ".lan", ".home.arpa")


def _is_public_host(host: str) -> bool:
    """A dotted name and no address: an address says nothing about who answers there tomorrow."""
    return bool(_HOST.fullmatch(host)) and not host.endswith(_PRIVATE)


def _image_name_problem(name: str) -> str | None:
    if _DRIVE.match(name):
        return "it is a path on a computer: upload the image beside the sidecar, and name that"
    if name.startswith("/") or {"", ".", ".."} & set(name.split("/")):
        return "it must be a name beside the sidecar, without leading / and without . or .. folders"
    if not name.lower().endswith(IMAGE_SUFFIXES):
        suffixes = " ".join(IMAGE_SUFFIXES)
        return f"its name must end in one of {suffixes}: convert other formats to PNG or JPEG"
    return illegible(name)


ImageReference = Annotated[str, MinLen(1), MaxLen(MAX_URL_LENGTH), AfterValidator(_image_reference)]

#: What a URL has, also a mistyped or an encoded one, and hardly any other text.
_HINT = re.compile(r":|[/\\]{2}|%3[af]|%2[3f]", re.IGNORECASE)
#: What may begin a query or a fragment.
_QUERY = re.compile(r"[?#&]|%3f|%23", re.IGNORECASE)
_AT = re.compile("@|%40")
_SCHEME = re.compile(r"\s*([a-z][a-z0-9+.-]*:)?[/\\]*", re.IGNORECASE)


#: How often a text is decoded to see what it is.
_LEVELS = 4


def _is_hidden_url(text: str) -> bool:
    """Whether a text is a URL, or too much for us to tell, only after it is decoded twice."""
    once = text
    for level in range(_LEVELS):
        decoded = unquote(once)
        if decoded == once:
            return False
        if level and (_HINT.search(decoded) or _has_query(decoded)):
            return True
        once = decoded
    return True


def without_secrets(text: str) -> str:
    """A text without what may open something, if it can be a URL: its user, query and fragment.

    Browsers and libraries read odd URLs in several ways. So more is left out rather than less.
    """
    if _is_hidden_url(text):
        return "…"
    if not _HINT.search(text) and not _has_query(text):
        return text
    url = _QUERY.split(text, maxsplit=1)[0]
    rest = text[len(url) :]
    place = _SCHEME.sub("", url, count=1)
    scheme = url[: len(url) - len(place)]
    ends = [at.end() for at in _AT.finditer(place)]
    if _AT.search(rest):  # a password may have such a mark
        place = ""
    elif ends:
        place = f"…@{place[ends[-1] :]}"
    return f"{scheme}{place}{rest[:1]}{'…' if rest else ''}"
