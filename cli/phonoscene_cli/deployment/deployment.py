"""One deployment: what it would change, and the steps that change it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from phonoscene_cli.deployment.change_set import Change, changes_of
from phonoscene_cli.deployment.release_archive import with_codes
from phonoscene_cli.deployment.template_parameters import (
    Declared,
    declared,
    effective,
    refusals,
    request,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from phonoscene_cli.deployment.artefact_bucket import ArtefactBucket
    from phonoscene_cli.deployment.cloudformation import CloudFormation, Event
    from phonoscene_cli.deployment.release_archive import Release


@dataclass(frozen=True)
class Deployment:
    """A release for one stack. ``before`` holds the stack's parameters; a new stack has none."""

    release: Release
    stack: CloudFormation
    bucket: ArtefactBucket
    before: Mapping[str, str] | None
    given: Mapping[str, str]

    @property
    def is_new(self) -> bool:
        """Whether the stack is created."""
        return self.before is None

    @property
    def known(self) -> dict[str, Declared]:
        """The parameters that the release has."""
        return declared(self.release.template)

    @property
    def after(self) -> dict[str, str]:
        """Every parameter after the deployment."""
        return effective(self.known, self.before, self.given)

    @property
    def changed_parameters(self) -> dict[str, tuple[str | None, str]]:
        """The parameters with another value than in the stack, or than the default in a new one."""
        defaults = {name: one.default for name, one in self.known.items()}
        old = defaults if self.before is None else defaults | dict(self.before)
        return {name: (old[name], new) for name, new in self.after.items() if old[name] != new}

    def refusals(self) -> list[str]:
        """The parameters that the template does not have or does not allow, each in a phrase."""
        return refusals(self.known, self.given)

    def upload(self, show: Callable[[str], None]) -> str:
        """Upload what the bucket does not have; return the address of the template."""
        self.bucket.prepare()
        addresses = {}
        for name, sha256 in sorted(self.release.codes.items()):
            show(name)
            key = self._key(name, sha256)
            if not self.bucket.has(key, sha256):
                self.bucket.put(key, self.release.code(name), sha256)
            addresses[name] = f"s3://{self.bucket.name}/{key}"
        template = with_codes(self.release.template, addresses)
        body = json.dumps(template, separators=(",", ":")).encode()
        sha256 = hashlib.sha256(body).hexdigest()
        key = self._key("template.json", sha256)
        self.bucket.put(key, body, sha256)
        return self.bucket.template_url(key)

    def _key(self, name: str, sha256: str) -> str:
        """A key that no other content has; the version is for people who look at the bucket."""
        stem, _, suffix = name.rpartition(".")
        return f"phonoscene/{self.release.version}/{stem}-{sha256[:32]}.{suffix}"

    def propose(self, template_url: str) -> Proposal:
        """Create the change set."""
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        name = f"phonoscene-{self.release.version}-{moment}".replace(".", "-")
        parameters = request(self.known, self.before, self.given)
        entries = self.stack.create_change_set(name, template_url, parameters, is_new=self.is_new)
        return Proposal(self.stack, name, changes_of(entries))


@dataclass
class Proposal:
    """A change set that waits for its execution."""

    stack: CloudFormation
    name: str
    changes: list[Change]
    is_executed: bool = False

    def execute(self, show: Callable[[Event], None]) -> dict[str, str]:
        """Change the stack, and return its outputs."""
        self.is_executed = True
        return self.stack.execute(self.name, show)

    def discard(self) -> None:
        """Delete the change set, unless it is executed."""
        if not self.is_executed:
            self.stack.delete_change_set(self.name)
