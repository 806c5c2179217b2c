"""Prints the change set that imports what a deleted stack left behind into a new stack.

    python -m local.adopt DROP-BUCKET OUTPUT-BUCKET JOBS-TABLE >adopt.json
    aws cloudformation create-change-set --cli-input-json file://adopt.json

The new stack has these three only; the next deployment adds the rest of template.yaml.
"""

import argparse
import json
from collections.abc import Mapping
from typing import Any, Final

from local.cloud.deploy import STACK, read_template
from phonoscene_cli.doctor import samconfig

CHANGE_SET: Final = "adopt"
#: What stays when a stack is deleted, with the property by which CloudFormation imports it.
RETAINED: Final = {
    "DropBucket": "BucketName",
    "OutputBucket": "BucketName",
    "JobsTable": "TableName",
}
KEY: Final = "EncryptionKeyArn"


def change_set(stack: str, names: Mapping[str, str], key: str) -> dict[str, Any]:
    """The request. ``names``: AWS's names by the template's; ``key``: the KMS key, or empty."""
    whole = read_template()
    # an import takes a template of nothing but what it imports
    resources = {one: whole["Resources"][one] | {"DeletionPolicy": "Retain"} for one in RETAINED}
    template = {
        "Parameters": {KEY: whole["Parameters"][KEY]},
        "Conditions": {"HasKey": whole["Conditions"]["HasKey"]},
        "Resources": resources,
    }
    return {
        "StackName": stack,
        "ChangeSetName": CHANGE_SET,
        "ChangeSetType": "IMPORT",
        "TemplateBody": json.dumps(template),
        "Parameters": [{"ParameterKey": KEY, "ParameterValue": key}],
        "ResourcesToImport": [
            {
                "ResourceType": resources[one]["Type"],
                "LogicalResourceId": one,
                "ResourceIdentifier": {identifier: names[one]},
            }
            for one, identifier in RETAINED.items()
        ],
    }


def main() -> None:
    """Print the request for the stack of samconfig.toml."""
    parser = argparse.ArgumentParser(prog="python -m local.adopt")
    for one in RETAINED:
        parser.add_argument(one)
    names = vars(parser.parse_args())
    file = samconfig.nearest()
    found = samconfig.read(file).get("default") if file else None
    stack = (found and found.stack) or STACK
    key = found.parameters.get(KEY, "") if found else ""
    print(json.dumps(change_set(stack, names, key), indent=2))


if __name__ == "__main__":
    main()
