"""The CDN and the output bucket of a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from phonoscene.videos.output_bucket import OutputBucket
from tests.integration.copying.copier import LARGE, SMALL, Copier
from tests.integration.loopback import FileServer, Loopback
from tests.support.stack import OUTPUT

if TYPE_CHECKING:
    from tests.integration.moto_stack import Cloud


@pytest.fixture
def output(cloud: Cloud) -> OutputBucket:
    return OutputBucket(cloud.s3, OUTPUT)


@pytest.fixture
def copier(output: OutputBucket) -> Copier:
    return Copier(output)


@pytest.fixture
def cdn(internet: Loopback) -> FileServer:
    """Serves the small video."""
    server = FileServer(SMALL)
    internet.plays["v3.fal.media"] = server
    return server


@pytest.fixture
def large(cdn: FileServer) -> FileServer:
    cdn.body = LARGE
    return cdn
