"""Reads template.yaml for the tests, and compares two templates as SAM expands them.

What a change of the template does to the stack, descriptions apart:

    python -m tests.support.template <(git show HEAD:template.yaml) template.yaml
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
import yaml
from samtranslator.parser.parser import Parser  # type: ignore[import-untyped]  # ships none
from samtranslator.translator.translator import (  # type: ignore[import-untyped]
    Translator,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
FILE: Final = ROOT / "template.yaml"
DESCRIPTIONS: Final = {"Description", "AlarmDescription"}
SOURCES: Final = {"CodeUri", "ContentUri"}


class _Loader(yaml.SafeLoader):
    """YAML in which ``!Ref x`` is ``{"Ref": "x"}`` and ``!Sub x`` is ``{"Fn::Sub": "x"}``."""


def _long_form(loader: Any, suffix: str, node: Any) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _long_form)


def parse(text: str) -> dict[str, Any]:
    """A template's text, with every alias written out: no two places share an object."""
    template: dict[str, Any] = json.loads(json.dumps(yaml.load(text, _Loader)))  # noqa: S506 - a safe loader, with tags
    return template


def mappings(text: str) -> Iterator[yaml.MappingNode]:
    """Every mapping of a text as it is written, before its merges are resolved."""
    to_visit = [yaml.compose(text, _Loader)]
    while to_visit:
        node = to_visit.pop()
        if isinstance(node, yaml.MappingNode):
            yield node
            to_visit += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            to_visit += node.value


def replaced_by_a_merge(node: yaml.MappingNode) -> set[str]:
    """The keys that a mapping has of its own and from a merge, or from two merges."""
    keys = list(_keys(node))
    return {key for key in keys if keys.count(key) > 1}


def _keys(node: yaml.MappingNode) -> Iterator[str]:
    for key, value in node.value:
        if key.value != "<<":
            yield key.value
            continue
        for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            yield from _keys(merged)


def expand(template: dict[str, Any]) -> dict[str, Any]:
    """The CloudFormation template that SAM makes of a template."""
    copy = json.loads(json.dumps(template))
    for resource in copy["Resources"].values():
        properties = resource.get("Properties", {})
        properties |= dict.fromkeys(SOURCES & set(properties), "s3://bucket/archive.zip")
    region = boto3.session.Session("none", "none", region_name="us-east-1")
    translator = Translator({}, Parser(), boto_session=region)
    expanded: dict[str, Any] = translator.translate(copy, {}, feature_toggle=None)
    return expanded


@cache
def read() -> dict[str, Any]:
    """template.yaml; do not change what this returns."""
    return parse(FILE.read_text(encoding="utf-8"))


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    """The properties of each resource of a type, by logical id."""
    return {
        name: resource["Properties"]
        for name, resource in read()["Resources"].items()
        if resource["Type"] == kind
    }


def mentioned(value: Any) -> set[str]:
    """The logical ids that a value refers to with Ref, Fn::GetAtt or Fn::Sub."""
    if isinstance(value, dict):
        found = {name for inner in value.values() for name in mentioned(inner)}
        if "Ref" in value:
            found.add(value["Ref"])
        if isinstance(at := value.get("Fn::GetAtt"), str):
            found.add(at.partition(".")[0])
        if isinstance(text := value.get("Fn::Sub"), str):
            found |= {name.partition(".")[0] for name in re.findall(r"\$\{([\w.]+)", text)}
        return found
    return (
        {name for inner in value for name in mentioned(inner)} if isinstance(value, list) else set()
    )


def differences(before: str, after: str) -> list[str]:
    """A diff of two templates' texts after expansion; descriptions and metadata left out."""
    old, new = (
        json.dumps(expand(_without_descriptions(parse(text))), indent=1, sort_keys=True)
        for text in (before, after)
    )
    return list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm=""))


def _without_descriptions(template: dict[str, Any]) -> dict[str, Any]:
    stripped: dict[str, Any] = _strip(
        {name: section for name, section in template.items() if name != "Metadata"}
    )
    return stripped


def _strip(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strip(inner) for key, inner in value.items() if key not in DESCRIPTIONS}
    return [_strip(inner) for inner in value] if isinstance(value, list) else value


if __name__ == "__main__":
    found = differences(*(Path(name).read_text(encoding="utf-8") for name in sys.argv[1:3]))
    print("\n".join(found) or "The expanded templates are the same.")  # noqa: T201 - a command
    sys.exit(bool(found))
