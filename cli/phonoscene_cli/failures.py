"""Turns whatever ends a command into a sentence with the next step, and an exit code."""

from __future__ import annotations

import os
import traceback
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from phonoscene.errors import ObjectUnreadable
from phonoscene_cli.errors import NOT_FINE, UNREACHABLE, CliError

#: Set to anything, it shows the trace before the sentence.
DEBUG: Final = "PHONOSCENE_DEBUG"
#: What AWS's services call a lack of permission.
DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "AccessDeniedFault", "403"})
_SIGNED_WRONG: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_BUSY: Final = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        # S3 to a HEAD, whose answer has no other code
        "500",
        "503",
    }
)
_NO_CREDENTIALS: Final = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    SSOError,
    TokenRetrievalError,
)
_CREDENTIALS: Final = (
    "Check your credentials with `aws sts get-caller-identity`, or choose others with --profile."
)
_KMS: Final = "Check that the KMS key (EncryptionKeyArn) is enabled and that you may use it."
_PERMISSIONS: Final = (
    "`phonoscene doctor` shows what you may do; docs/command-line.md lists what each command needs."
)
_LATER: Final = "Try again in a moment."
_NETWORK: Final = "Check your network and the region, then try again."
_DOCTOR: Final = "`phonoscene doctor` shows what works."


def explained(exc: Exception) -> tuple[str, int]:
    """What happened and what to do, with the exception's notes, and the exit code."""
    sentence, code = _explained(exc)
    return " ".join([sentence, *getattr(exc, "__notes__", ())]), code


def _explained(exc: Exception) -> tuple[str, int]:
    if isinstance(exc, CliError):
        return str(exc), exc.exit_code
    if isinstance(exc, (BotoCoreError, ClientError, ResponseParserError)):
        return f"AWS: {first_line(exc)}. {advice(exc) or _DOCTOR}", UNREACHABLE
    if isinstance(exc, OSError):
        where = f"{exc.filename}: " if exc.filename else ""
        return f"{where}{exc.strerror or first_line(exc)}. Fix this, then try again.", NOT_FINE
    if isinstance(exc, ObjectUnreadable):
        return f"AWS: an object could not be read: {first_line(exc)}. {_LATER}", UNREACHABLE
    what = f"Unexpected: {type(exc).__name__}: {first_line(exc)}."
    return f"{what} {DEBUG}=1 in the environment shows the trace. Please report it.", NOT_FINE


def reason(exc: Exception) -> str:
    """Why one object of many cannot be read, in a word or a few."""
    if isinstance(exc, ClientError):
        return str(exc.response["Error"].get("Code", "")) or first_line(exc)
    return type(exc).__name__


def show_trace(exc: Exception) -> None:
    """Print the trace, if the environment asks for it."""
    if os.environ.get(DEBUG):
        traceback.print_exception(exc)


def first_line(exc: Exception) -> str:
    """What an exception says, without a full stop."""
    return str(exc).partition("\n")[0].rstrip(". ")


def advice(exc: Exception) -> str:
    """What to do about an error of AWS's, or on the way to it; empty if that is not known."""
    if isinstance(exc, ClientError):
        return _by_code(exc)
    if isinstance(exc, _NO_CREDENTIALS):
        return _CREDENTIALS
    if isinstance(exc, HTTPClientError):
        return _NETWORK
    return _LATER if isinstance(exc, ResponseParserError) else ""


def _by_code(exc: ClientError) -> str:
    code = exc.response["Error"].get("Code", "")
    if "kms" in str(exc).lower():
        return _KMS
    if code in DENIED:
        return _PERMISSIONS
    if code in _SIGNED_WRONG:
        return _CREDENTIALS
    return _LATER if code in _BUSY else ""
