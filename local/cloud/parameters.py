"""Checks parameters of template.yaml as CloudFormation does, before anything is started."""

import re
from collections.abc import Mapping
from typing import Any

from local.cloud import deploy
from local.errors import LocalCloudError


def check(template: Mapping[str, Any], values: Mapping[str, str]) -> None:
    """Refuse what the template would refuse: an unknown name, or a value that it does not allow.

    Raises:
        LocalCloudError: with the parameter, its value, and what is allowed.
    """
    deploy.check_parameters(template, values)
    for name, value in values.items():
        allowed = _refusal(template["Parameters"][name], value)
        if allowed:
            raise LocalCloudError(f"--parameter {name}={value}: {name} must be {allowed}.")


def _refusal(declared: Mapping[str, Any], value: str) -> str | None:
    """What is allowed instead of a value; None where it may be."""
    if "AllowedValues" in declared:
        choices = [str(choice) for choice in declared["AllowedValues"]]
        return None if value in choices else f"one of {', '.join(choices)}"
    pattern = declared.get("AllowedPattern")
    if pattern and not re.fullmatch(pattern, value):
        return str(declared.get("ConstraintDescription", f"as {pattern}"))
    return _out_of_range(declared, value) if declared["Type"] == "Number" else None


def _out_of_range(declared: Mapping[str, Any], value: str) -> str | None:
    least, most = declared.get("MinValue", float("-inf")), declared.get("MaxValue", float("inf"))
    if re.fullmatch(r"-?\d+(\.\d+)?", value) and least <= float(value) <= most:
        return None
    known = [f"from {least}"] if "MinValue" in declared else []
    known += [f"to {most}"] if "MaxValue" in declared else []
    return " ".join(["a number", *known])
