"""The SSM parameter with the fal key; the key itself is never read back, printed or kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from phonoscene_cli.errors import CliError

VARIABLE: Final = "FAL_KEY"
_SECURE: Final = "SecureString"


@dataclass(frozen=True)
class FalKey:
    """The parameter of this name in the stack's region."""

    ssm: Any
    name: str

    def exists(self) -> bool:
        """Whether there is such a parameter.

        Raises:
            CliError: it is one that anyone with access to the account's parameters can read.
        """
        try:
            kind = self.ssm.get_parameter(Name=self.name)["Parameter"]["Type"]  # not decrypted
        except ClientError as exc:
            if exc.response["Error"].get("Code") == "ParameterNotFound":
                return False
            raise
        if kind != _SECURE:
            raise CliError(
                f"SSM parameter {self.name} is a {kind}, which is not encrypted. "
                "Delete it, revoke its key at fal, and store a new key as a SecureString."
            )
        return True

    def store(self, key: str) -> None:
        """Store a new parameter, encrypted with the aws/ssm key; SSM refuses to replace one."""
        self.ssm.put_parameter(Name=self.name, Value=key, Type=_SECURE)
