"""What CloudFormation's status of a stack says about its parts, and what to do."""

from __future__ import annotations

from typing import Final

NEW: Final = "REVIEW_IN_PROGRESS"  # only change sets, and no resource yet
CANNOT_UPDATE: Final = {
    "ROLLBACK_COMPLETE": "Its creation failed. Delete it, then deploy again",
    "ROLLBACK_FAILED": "Its creation failed. Delete it, then deploy again",
    "DELETE_FAILED": "It could not be deleted. Delete it again, then deploy",
    "UPDATE_ROLLBACK_FAILED": "Continue its rollback in the CloudFormation console, then deploy",
}
DEPLOY: Final = "`phonoscene deploy`, or `make deploy` in a clone"


def is_whole(status: str) -> bool:
    """Whether every part is there, of this version or of the one before."""
    return status.endswith("_COMPLETE") and status not in CANNOT_UPDATE


def next_step(stack: str, status: str) -> str:
    """What to do about a status; empty if its last change succeeded."""
    if status == NEW:
        return f"Deploy it: {DEPLOY}."
    if status.endswith("_IN_PROGRESS"):
        return "Wait until it has finished."
    if "FAILED" in status or "ROLLBACK" in status:
        why = f"`aws cloudformation describe-stack-events --stack-name {stack}` says why."
        return f"{why} {CANNOT_UPDATE[status]}." if status in CANNOT_UPDATE else why
    return ""
