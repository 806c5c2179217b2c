"""What commands print as JSON: its keys are the fields of the subclasses of ``Result``.

docs/command-line.md lists them; the keys of a job are in ``ui/job_json.py``.
"""

from __future__ import annotations


class Result:
    """A part of a command's JSON; each subclass is a dataclass, and its fields are the keys."""
