"""The parameters of a release's template: what a value must be, and which values to send."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from phonoscene_cli.ui.assignments import Assignment, assigned

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What a new stack's deployer is asked, unless --guided asks for all.
ASKED_FIRST: Final = (
    "AlarmEmail",
    "FalKeyParameterName",
    "MaxInFlight",
    "MaxJobCostUsd",
    "DailyBudgetUsd",
)
FAL_KEY: Final = "FalKeyParameterName"


def assignment(text: str) -> Assignment:
    """``NAME=VALUE``; the value may be empty.

    Raises:
        WrongUsage: it is no such pair.
    """
    return assigned(text, "NAME=VALUE. Example: --parameter MaxInFlight=4")


@dataclass(frozen=True)
class Declared:
    """One parameter as the template declares it."""

    name: str
    default: str | None
    description: str
    rules: Mapping[str, Any]

    def refusal(self, value: str) -> str | None:
        """What is wrong with a value, or None."""
        allowed = [str(one) for one in self.rules.get("AllowedValues", ())]
        if allowed and value not in allowed:
            return f"{self.name} must be one of {', '.join(allowed)}; {value!r} is not"
        pattern = self.rules.get("AllowedPattern")
        if pattern and not re.fullmatch(pattern, value):
            return f"{self.name} must match {pattern}; {value!r} does not"
        longest = self.rules.get("MaxLength")
        if longest is not None and len(value) > int(longest):
            return f"{self.name} must have at most {longest} characters; this has {len(value)}"
        return self._number_refusal(value) if self.rules.get("Type") == "Number" else None

    def _number_refusal(self, value: str) -> str | None:
        try:
            number = Decimal(value)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite():
            return f"{self.name} must be a number; {value!r} is not"
        least, most = self.rules.get("MinValue"), self.rules.get("MaxValue")
        if least is not None and number < Decimal(str(least)):
            return f"{self.name} must be at least {least}; {value} is less"
        if most is not None and number > Decimal(str(most)):
            return f"{self.name} must be at most {most}; {value} is more"
        return None


def declared(template: Mapping[str, Any]) -> dict[str, Declared]:
    """Every parameter of a template, in the order of its groups, then of its own."""
    found: Mapping[str, Any] = template.get("Parameters", {})
    interface = template.get("Metadata", {}).get("AWS::CloudFormation::Interface", {})
    grouped = [
        name for group in interface.get("ParameterGroups", ()) for name in group["Parameters"]
    ]
    return {name: _declared(name, found[name]) for name in dict.fromkeys([*grouped, *found])}


def _declared(name: str, rules: Mapping[str, Any]) -> Declared:
    default = rules.get("Default")
    text = None if default is None else str(default)
    return Declared(name, text, rules.get("Description", ""), rules)


def refusals(known: Mapping[str, Declared], values: Mapping[str, str]) -> list[str]:
    """What is wrong with the values, each in a phrase."""
    unknown = [f"The template has no parameter {name}" for name in values if name not in known]
    wrong = [known[name].refusal(value) for name, value in values.items() if name in known]
    return [*unknown, *filter(None, wrong)]


def effective(
    known: Mapping[str, Declared], stack: Mapping[str, str] | None, values: Mapping[str, str]
) -> dict[str, str]:
    """The value that each parameter has after the deployment: given, kept, or the default."""
    defaults = {name: one.default for name, one in known.items() if one.default is not None}
    kept = {name: value for name, value in (stack or {}).items() if name in known}
    return defaults | kept | dict(values)


def request(
    known: Mapping[str, Declared], stack: Mapping[str, str] | None, values: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The parameters of a change set: those that are given, and those that the stack keeps."""
    given = [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]
    kept = [
        {"ParameterKey": name, "UsePreviousValue": True}
        for name in stack or ()
        if name in known and name not in values
    ]
    return [*given, *kept]
