"""What a log line says of its job."""

from __future__ import annotations

import io
import json

from phonoscene.observability import announce, logger
from tests.support.jobs import a_job


def test_an_announced_job_is_named_on_its_own_line_and_on_no_later_one() -> None:
    out, handler = io.StringIO(), logger.registered_handler
    before = handler.setStream(out)  # type: ignore[attr-defined]  # a StreamHandler
    try:
        announce(a_job())
        logger.append_keys(job_id="another")
        logger.info("later")
    finally:
        logger.remove_keys(["job_id"])
        handler.setStream(before)  # type: ignore[attr-defined]

    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["job_id"] for line in lines] == [a_job().job_id, "another"]
