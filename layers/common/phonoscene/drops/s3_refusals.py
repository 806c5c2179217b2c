"""Why S3 will not give an object's bytes, in words that a dropper can act on."""

from __future__ import annotations

from typing import Final

from phonoscene.jobs import ErrorDetail

DENIED: Final = frozenset({"AccessDenied", "403"})


def refusal(key: str, code: str, message: str) -> ErrorDetail | None:
    """The error for S3's ``code`` of a GET; None where trying again may help.

    Codes by S3's API reference, "Error responses". S3 passes on those of KMS with a prefix of
    ``KMS.``, and says of an object under a customer's key (SSE-C) only that the request is invalid.
    """
    if code == "InvalidObjectState":
        what = "is archived, so it cannot be read. Restore it, then drop it again"
        return _error("archived_object", key, what)
    if code == "InvalidRequest" and "ncrypt" in message:
        what = "is encrypted with a key that you supplied (SSE-C). Upload it without one"
        return _error("customer_key", key, what)
    if code.startswith("KMS."):
        what = (
            f"is encrypted with a KMS key that cannot be used ({code}). Enable it, then drop again"
        )
        return _error("unusable_key", key, what)
    if code in DENIED:
        what = (
            "cannot be read: access is denied. Allow Phonoscene's functions to use its KMS "
            "key and, in the bucket's policy, to read it, or upload it without a key; then drop it "
            "again"
        )
        return _error("access_denied", key, what)
    return None


def _error(code: str, key: str, what: str) -> ErrorDetail:
    return ErrorDetail(code=code, message=f"{key} {what}.", source=key)
