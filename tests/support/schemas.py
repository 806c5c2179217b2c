"""The schemas of what other systems are sent, as published and as the code has them.

python -m tests.support.schemas            writes events/schemas/ anew
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from jsonschema.validators import validator_for
from pydantic.json_schema import GenerateJsonSchema

from phonoscene.publishing.events import StatusChanged

EVENTS: Final = Path(__file__).parents[2] / "events"
FILE: Final = EVENTS / "schemas" / "job-status-changed.v1.json"


class _Schema(GenerateJsonSchema):
    """Without null, for what is absent is left out; without titles that repeat a field's name."""

    def field_title_should_be_set(self, _: Any) -> bool:
        return False

    def nullable_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])


def generated() -> dict[str, Any]:
    """The detail of ``Job Status Changed`` as its model says."""
    made = StatusChanged.model_json_schema(schema_generator=_Schema)
    fields = {
        "$schema": _Schema.schema_dialect,
        "title": "Job Status Changed, version 1",
        "description": "The detail of an event: a job has taken a step. More fields may be added.",
    }
    return fields | {name: value for name, value in made.items() if name not in fields}


def published() -> dict[str, Any]:
    """The same as the repository has it."""
    found: dict[str, Any] = json.loads(FILE.read_text())
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
def _validator() -> Any:
    """The validator of the closed schema; to check the schema itself takes 20 ms."""
    schema = closed(published())
    kind = validator_for(schema)
    kind.check_schema(schema)
    return kind(schema)


def check(detail: Any) -> None:
    """Raise an error unless an event's detail is as published, and has nothing else."""
    _validator().validate(detail)


if __name__ == "__main__":
    FILE.write_text(json.dumps(generated(), indent=2, ensure_ascii=False) + "\n")
