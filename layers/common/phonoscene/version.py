"""The release of this code: the functions run from a layer, which has no package metadata."""

from typing import Final

#: template.yaml has the same: ``make version VERSION=…`` sets both.
VERSION: Final = "0.1.0"
#: What Phonoscene calls itself in the requests that it sends.
USER_AGENT: Final = f"Phonoscene/{VERSION}"
