"""The schemas of what other systems are sent or read, as published and as the code has them.

python -m tests.support.schemas            writes events/schemas/ anew
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from jsonschema.validators import validator_for
from pydantic.json_schema import GenerateJsonSchema

from phonoscene.publishing.events import StatusChanged
from phonoscene.publishing.manifests import Manifest
from phonoscene.publishing.receipts import Receipt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from phonoscene.jobs import FrozenModel

EVENTS: Final = Path(__file__).parents[2] / "events"
EVENT, RECEIPT, MANIFEST = "job-status-changed.v1", "receipt.v1", "manifest.v1"
#: By its file's name each model, with the schema's title and description.
SCHEMAS: Final[Mapping[str, tuple[type[FrozenModel], str, str]]] = MappingProxyType(
    {
        EVENT: (
            StatusChanged,
            "Job Status Changed, version 1",
            "The detail of an event: a job has taken a step. More fields may be added.",
        ),
        RECEIPT: (
            Receipt,
            "Receipt, version 1",
            "How the newest job of a name stands. More fields may be added.",
        ),
        MANIFEST: (
            Manifest,
            "Manifest, version 1",
            "What a video was made from, and what it is. More fields may be added.",
        ),
    }
)


class _Schema(GenerateJsonSchema):
    """Without null, for what is absent is left out; without titles that repeat a field's name."""

    def field_title_should_be_set(self, _: Any) -> bool:
        return False

    def nullable_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])


def generated(name: str) -> dict[str, Any]:
    """A schema as its model says."""
    model, title, description = SCHEMAS[name]
    made = model.model_json_schema(schema_generator=_Schema)
    fields = {"$schema": _Schema.schema_dialect, "title": title, "description": description}
    return fields | {name: value for name, value in made.items() if name not in fields}


def _file(name: str) -> Path:
    return EVENTS / "schemas" / f"{name}.json"


def published(name: str) -> dict[str, Any]:
    """The same as the repository has it."""
    found: dict[str, Any] = json.loads(_file(name).read_text())
    return found


def closed(schema: Any) -> Any:
    """A schema that allows nothing which it does not name."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items()}
    return inner | ({"additionalProperties": False} if "properties" in schema else {})


@cache
def _validator(name: str) -> Any:
    """The validator of the closed schema; to check the schema itself takes 20 ms."""
    schema = closed(published(name))
    kind = validator_for(schema)
    kind.check_schema(schema)
    return kind(schema)


def check(data: Any, name: str = EVENT) -> None:
    """Raise an error unless an event's detail, or another file, is as published and no more."""
    _validator(name).validate(data)


if __name__ == "__main__":
    for each in SCHEMAS:
        _file(each).write_text(json.dumps(generated(each), indent=2, ensure_ascii=False) + "\n")
