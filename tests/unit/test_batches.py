"""Which records of a batch come back."""

from __future__ import annotations

from typing import Any

import pytest

from phonoscene.batch import Message, each, in_order


def queue(*bodies: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "messageId": f"m{n}",
                "receiptHandle": f"r{n}",
                "body": body,
                "attributes": {"ApproximateReceiveCount": "3"},
            }
            for n, body in enumerate(bodies)
        ]
    }


def stream(*numbers: int) -> dict[str, Any]:
    return {"Records": [{"dynamodb": {"SequenceNumber": f"{n:021}"}} for n in numbers]}


def failed(answer: dict[str, Any]) -> list[str]:
    return [one["itemIdentifier"].lstrip("0") for one in answer["batchItemFailures"]]


def test_a_message_is_handed_over_with_its_receipt_and_its_tries() -> None:
    seen: list[Message] = []

    answer = each(queue('{"a": 1}'), seen.append)

    assert seen == [Message('{"a": 1}', "r0", 3)]
    assert seen[0].json() == {"a": 1}
    assert answer == {"batchItemFailures": []}


def test_messages_that_fail_come_back_and_their_neighbours_do_not() -> None:
    seen: list[str] = []

    def handle(message: Message) -> None:
        seen.append(message.body)
        message.json()

    answer = each(queue("1", "no JSON", "2", ""), handle)

    assert seen == ["1", "no JSON", "2", ""]
    assert failed(answer) == ["m1", "m3"]


def test_a_queue_whose_messages_all_fail_fails_message_by_message() -> None:
    assert failed(each(queue("x", "y"), Message.json)) == ["m0", "m1"]


def test_what_is_no_message_comes_back_alone() -> None:
    event = queue("1", "2")
    del event["Records"][0]["attributes"]
    seen: list[Message] = []

    answer = each(event, seen.append)

    assert failed(answer) == ["m0"]
    assert [message.body for message in seen] == ["2"]


def test_a_death_of_the_process_is_no_failure_of_a_message() -> None:
    def die(_: Message) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        each(queue("1"), die)


@pytest.mark.parametrize("handler", [each, in_order])
def test_an_empty_batch_has_no_failures(handler: Any) -> None:
    assert handler({"Records": []}, pytest.fail) == {"batchItemFailures": []}


@pytest.mark.parametrize("handler", [each, in_order])
def test_what_is_no_batch_is_an_error(handler: Any) -> None:
    with pytest.raises(KeyError):
        handler({}, pytest.fail)


@pytest.mark.parametrize("at", [2, 3, 4])
def test_after_a_record_that_failed_none_of_the_stream_is_looked_at(at: int) -> None:
    seen: list[int] = []

    def handle(record: dict[str, Any]) -> None:
        seen.append(int(record["dynamodb"]["SequenceNumber"]))
        if seen[-1] == at:
            raise ValueError

    answer = in_order(stream(1, 2, 3, 4), handle)

    assert seen == list(range(1, at + 1))
    assert failed(answer) == [str(n) for n in range(at, 5)]


def test_a_stream_whose_first_record_fails_fails_as_a_whole() -> None:
    with pytest.raises(ZeroDivisionError):
        in_order(stream(1, 2), lambda _: 1 / 0)


def test_a_stream_that_goes_through_has_no_failures() -> None:
    seen: list[Any] = []

    assert in_order(stream(1, 2), seen.append) == {"batchItemFailures": []}
    assert len(seen) == 2
