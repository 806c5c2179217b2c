"""Writes to S3 that require an object to be unchanged, and what S3 answers to them."""

from __future__ import annotations

from typing import Any, Final

MISSING: Final = frozenset({"NoSuchKey", "404"})
#: Without ListBucket, S3 answers 403 for a missing object.
HIDDEN: Final = frozenset({"AccessDenied", "403"})
#: Another write came first: 412 before this one, 409 at the same time.
OVERTAKEN: Final = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})


def unchanged(etag: str | None) -> Any:
    """The condition of a write: the object still has this ETag; None: it is still absent."""
    return {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
