"""The stack that is deployed: its account, its region, its bucket for code, its file of answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from phonoscene_cli.deployment import answers
from phonoscene_cli.deployment.artefact_bucket import ArtefactBucket, usual_name
from phonoscene_cli.deployment.cloudformation import CloudFormation
from phonoscene_cli.deployment.deployment import Deployment
from phonoscene_cli.deployment.fal_key import FalKey
from phonoscene_cli.deployment.template_parameters import FAL_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from phonoscene_cli.deployment.answers import Answers
    from phonoscene_cli.deployment.release_archive import Release
    from phonoscene_cli.stack.connection import Stack


@dataclass(frozen=True)
class Target:
    """One stack of one account and region, which may not exist yet."""

    stack: Stack
    account: str

    @classmethod
    def of(cls, stack: Stack) -> Self:
        """The stack in the account of the credentials."""
        return cls(stack, str(stack.client("sts").get_caller_identity()["Account"]))

    @property
    def region(self) -> str:
        """The stack's region; a session without one is refused before."""
        return str(self.stack.session.region_name)

    @property
    def file(self) -> Path:
        """The file of answers."""
        return answers.path_of(self.stack.name, self.account, self.region)

    def deployment(self, release: Release, kept: Answers) -> Deployment:
        """A deployment of the release with these answers."""
        formation = CloudFormation(self.stack.client("cloudformation"), self.stack.name)
        name = kept.bucket or usual_name(self.account, self.region)
        is_ours = kept.bucket is None
        bucket = ArtefactBucket(self.stack.client("s3"), name, self.account, self.region, is_ours)
        return Deployment(release, formation, bucket, formation.parameters(), kept.parameters)

    def fal_key(self, deployment: Deployment) -> FalKey:
        """The parameter with the fal key that the deployed stack will read."""
        return FalKey(self.stack.client("ssm"), deployment.after[FAL_KEY])
