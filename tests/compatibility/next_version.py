"""What a version after this one may write: fields and statuses that this one does not know."""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any, Final

from tests.support import stack

if TYPE_CHECKING:
    from tests.compatibility.moments import Moment

#: A field of the next version, in every object that it writes.
FIELD: Final = "of_the_next_version"
VALUE: Final = "kept"
#: A status of the next version.
STATUS: Final = "RESTING"
#: Objects whose keys are data: fal's arguments, people's texts, files by their argument.
OPEN: Final = {"arguments", "metadata", "reported", "images", "files"}


def with_fields(moment: Moment) -> Moment:
    """The moment as a version would have written it that has one field more in everything."""
    return moment | {
        "items": [_item(item) for item in moment["items"]],
        "changes": [[_item(before), _item(after)] for before, after in moment["changes"]],
        "queues": {
            name: [[_message(body), *rest] for body, *rest in messages]
            for name, messages in moment["queues"].items()
        },
        "objects": [
            [bucket, key, [_version(bucket, key, one) for one in versions]]
            for bucket, key, versions in moment["objects"]
        ],
    }


def _item(item: dict[str, Any]) -> dict[str, Any]:
    """An item in DynamoDB's types."""
    return {name: _attribute(name, value) for name, value in item.items()} | (
        {FIELD: {"S": VALUE}} if item else {}
    )


def _attribute(name: str, value: dict[str, Any]) -> dict[str, Any]:
    if "L" in value:
        return {"L": [_attribute(name, one) for one in value["L"]]}
    if "M" not in value:
        return value
    inner = {key: _attribute(key, one) for key, one in value["M"].items()}
    return {"M": inner | ({} if name in OPEN else {FIELD: {"S": VALUE}})}


def _json(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_json(name, one) for one in value]
    if not isinstance(value, dict):
        return value
    inner = {key: _json(key, one) for key, one in value.items()}
    return inner | ({} if name in OPEN else {FIELD: VALUE})


def _message(body: str) -> str:
    """A message of a queue; what fal signed is a text in it, and stays."""
    return json.dumps(_json("", json.loads(body)))


def _version(bucket: str, key: str, version: list[Any]) -> list[Any]:
    """A receipt, manifest or pointer; ETags of the files that people drop must stay."""
    version_id, body, *rest = version
    if bucket != stack.OUTPUT or not key.endswith(".json"):
        return version
    found = json.loads(zlib.decompress(base64.b64decode(body)))
    text = json.dumps(_json("", found)).encode()
    return [version_id, base64.b64encode(zlib.compress(text)).decode(), *rest]
