"""Asks the function ``probe``, which decodes in a process of its own that may only read drops."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

from phonoscene.drops.media_facts import AudioFacts, ImageFacts
from phonoscene.errors import DropRefused, DropUnsettled, ProbeFailed
from phonoscene.jobs import ErrorDetail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_lambda import LambdaClient

    from phonoscene.drops.media_facts import StoredObject

F = TypeVar("F", AudioFacts, ImageFacts)
#: How Lambda calls the end of a process: a crash, or too much memory; and in words, too much time.
_ENDED: Final = ("Runtime.ExitError", "Runtime.OutOfMemory")
_TIMED_OUT: Final = "Task timed out"
#: The decoder's process may have crashed for a reason of its own; twice, it is the file.
_TRIES: Final = 2


@dataclass(frozen=True)
class RemoteProber:
    """Invokes the function and waits for its answer."""

    client: LambdaClient
    function: str

    def audio(self, stored: StoredObject) -> AudioFacts:
        """Measure an audio file; the errors are those of ``Prober``."""
        return _read(AudioFacts, self._ask("audio", stored))

    def image(self, stored: StoredObject) -> ImageFacts:
        """Measure an image; the errors are those of ``Prober``."""
        return _read(ImageFacts, self._ask("image", stored))

    def _ask(self, kind: str, stored: StoredObject) -> dict[str, Any]:
        request = {"kind": kind, "key": stored.key, "etag": stored.etag, "bytes": stored.bytes}
        for _ in range(_TRIES):
            answer = self._invoke(request)
            if _is_out_of_time(answer):
                break  # submit has no time for another such try
            if answer.get("errorType") not in _ENDED:
                return _facts(answer)
        what = f"{stored.key} cannot be decoded: FFmpeg stopped while reading the file. Convert it."
        raise DropRefused(
            ErrorDetail(code="could_not_be_examined", field=kind, source=stored.key, message=what)
        )

    def _invoke(self, request: dict[str, Any]) -> dict[str, Any]:
        answer = self.client.invoke(
            FunctionName=self.function, Payload=json.dumps(request).encode()
        )
        payload: dict[str, Any] = json.loads(answer["Payload"].read())
        return payload


def _read(kind: type[F], facts: Mapping[str, Any]) -> F:
    """Return what was measured; while a stack is updated, another release may have measured it."""
    try:
        return kind(**{one.name: facts[one.name] for one in fields(kind)})
    except KeyError as exc:
        raise ProbeFailed(f"the answer lacks {exc}") from exc


def _is_out_of_time(answer: dict[str, Any]) -> bool:
    """Whether the function was ended because it took too long."""
    is_named = answer.get("errorType") == "Sandbox.Timedout"
    return is_named or _TIMED_OUT in str(answer.get("errorMessage"))


def _facts(answer: dict[str, Any]) -> dict[str, Any]:
    match answer:
        case {"facts": dict(facts)}:
            return facts
        case {"errors": list(errors)}:
            raise DropRefused(*(ErrorDetail.model_validate(error) for error in errors))
        case {"unsettled": True}:
            raise DropUnsettled
    raise ProbeFailed(str(answer.get("errorType")))
