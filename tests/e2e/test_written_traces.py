"""What the suite has left behind holds no secret.

It runs last where one process runs all tests; other processes' stacks are searched as they go down.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tests.support.traces import Search, fal_key, logs, records, secrets_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.local_stack import Phonoscene


def test_no_secret_is_in_any_log_record_or_output_of_the_whole_suite(
    phonoscene: Phonoscene, name: str, record_property: Callable[[str, object], None]
) -> None:
    for n in range(2):
        phonoscene.drop(f"{name}/{n}")
    phonoscene.drop(f"{name}/wrong", fps=99)
    for taken in (f"{name}/0", f"{name}/1", f"{name}/wrong"):
        assert phonoscene.take(taken)

    found, searched = secrets_in(phonoscene)

    record_property("searched_bytes", searched)
    assert sum(bool(item.get("token_hashes")) for item in records(phonoscene)) > 1
    assert searched > 10_000
    assert found == []


def test_no_prompt_and_no_address_of_a_video_is_in_a_log(phonoscene: Phonoscene) -> None:
    prompts = [
        one["arguments"]["prompt"] for one in phonoscene.control("GET", "/requests")["requests"]
    ]
    lines = b"\n".join(text for _, text in logs(phonoscene))

    assert prompts
    assert [prompt for prompt in prompts if prompt.encode() in lines] == []
    assert b"fal.media/files" not in lines


def test_what_is_searched_for_would_be_found(phonoscene: Phonoscene) -> None:
    token = "Zm9ub3NjZW5lLXRlc3QtdG9rZW4tb2YtNDMtY2hhcnM"
    search = Search(phonoscene)
    search.hashes = {hashlib.sha256(token.encode()).hexdigest()}

    for secret in (
        f"…/webhooks/fal/0/{token} …",
        f'{{"path": "/{token}"}}',
        "https://x/?X-Amz-Signature=00",
        fal_key(phonoscene).partition(":")[2],
        phonoscene.subscriber.secret,
    ):
        assert search.finds(secret.encode())
    assert not search.finds(b"Nothing that opens anything")
