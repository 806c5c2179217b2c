"""Bodies and addresses that are not what fal documents, made from those that are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: What `malformed` makes of an output, in a webhook or in the result call.
PAYLOADS = ("video_list", "videos", "url_text", "empty", "surrogate", "nan", "bom")
#: What `odd_url` makes of a video's address; the file can be had at each of them.
URLS = ("escaped_slash", "non_ascii", "leading_space")
BOM = b"\xef\xbb\xbf"


def payload(output: Any, form: str | None) -> Any:
    """An output in a form that the endpoint does not document; what failed stays as it is."""
    if not isinstance(output, dict) or "video" not in output:
        return output
    changed: dict[str, Callable[[], dict[str, Any]]] = {
        "video_list": lambda: output | {"video": [output["video"]]},
        "videos": lambda: {**_rest(output), "videos": [output["video"]]},
        "url_text": lambda: output | {"video": output["video"]["url"]},
        "empty": dict,
        "surrogate": lambda: output | {"prompt": f"{output['prompt']} \ud83c"},
        "nan": lambda: output | {"video": output["video"] | {"fps": float("nan")}},
    }
    return changed[form]() if form in changed else output


def _rest(output: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in output.items() if name != "video"}


def encoded(body: Any, form: str | None, *, sort: bool = False) -> bytes:
    """JSON text; `nan` is no JSON, and `bom` begins with a byte order mark."""
    text = json.dumps(body, sort_keys=sort).encode()
    return BOM + text if form == "bom" else text


def file_name(name: str, form: str | None) -> str:
    """The last part of a video's path, as its address writes it."""
    return {"escaped_slash": f"a%2F{name}", "non_ascii": f"vidéo-{name}"}.get(form or "", name)


def address(url: str, form: str | None) -> str:
    """A video's whole address."""
    return f" {url}" if form == "leading_space" else url
