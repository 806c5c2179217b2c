"""The fal key: the only module that reads it. It lies in SSM, and nowhere else."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING, Final

from aws_lambda_powertools.utilities.parameters import SSMProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_ssm import SSMClient

logger = logging.getLogger(__name__)

#: How long a key is kept, in seconds: a key that was rotated works on for so long at the most.
KEPT_FOR: Final = 300


class FalKey:
    """The key in one SSM parameter, as it was put there; asked at each call, read now and then.

    ``client`` makes SSM's, at the first call: most events of some functions need no key. It is not
    left to Powertools, whose session of its own would read the SDK's endpoints again, for 50 ms.
    """

    def __init__(self, parameter: str, client: Callable[[], SSMClient]) -> None:
        self._parameter = parameter
        self._client = client

    @cached_property
    def _provider(self) -> SSMProvider:
        return SSMProvider(boto3_client=self._client())

    def __call__(self, *, fresh: bool = False) -> str:
        """The key; ``fresh`` where fal has refused the one that is known, perhaps rightly.

        Raises:
            GetParameterError: there is none, or SSM cannot be asked; never for a ``fresh`` one.
        """
        if fresh:
            try:
                return self._read(force_fetch=True)
            except GetParameterError as exc:  # fal's refusal is news enough
                logger.warning("fal_key.unreadable", extra={"error": type(exc).__name__})
        return self._read(force_fetch=False)

    def _read(self, *, force_fetch: bool) -> str:
        read = self._provider.get(
            self._parameter, decrypt=True, max_age=KEPT_FOR, force_fetch=force_fetch
        )
        return str(read)
