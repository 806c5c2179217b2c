"""Checks parameters of template.yaml as CloudFormation does, before anything is started."""

import re
from collections.abc import Mapping
from typing import Any

from local.cloud import deploy, real_fal
from local.errors import LocalCloudError

# A person at a terminal waits for the first; on AWS its default gives uploads time to arrive. The
# others leave the webhook its share of the emulator's ten workers: what it throttles, its queues
# bring back only after their visibility timeout.
QUICK = {"SettleSeconds": "1", "SubmitConcurrency": "3", "StoreConcurrency": "3"}


def usual(fal_user_id: str | None) -> dict[str, str]:
    """What differs from the template's defaults; ``None`` is the real fal's account."""
    if fal_user_id is None:
        return {**QUICK, **real_fal.PARAMETERS}
    return {**QUICK, "FalUserId": fal_user_id}


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
