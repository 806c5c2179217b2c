"""Event webhooks on the deployed stack: signed, to a real HTTPS server, until it takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.local_stack import eventually

if TYPE_CHECKING:
    from tests.support.local_stack import Phonoscene

WAY = ["READY", "SUBMITTING", "SUBMITTED", "GENERATED", "SUCCEEDED"]


def test_a_subscriber_hears_every_step_and_its_package_believes_each(
    phonoscene: Phonoscene, name: str
) -> None:
    phonoscene.drop(name)
    phonoscene.take(name)

    assert eventually(lambda: phonoscene.subscriber.states(name) == WAY)
    told = [told for _, told in phonoscene.subscriber.heard if told["data"]["name"] == name]
    assert {one["type"] for one in told} == {"job.status_changed"}
    assert all(one["timestamp"] == one["data"]["at"] for one in told)


@pytest.mark.parametrize("status", [503, 302])
def test_a_subscriber_that_is_down_for_a_while_hears_it_when_it_is_back(
    phonoscene: Phonoscene, name: str, status: int
) -> None:
    subscriber = phonoscene.subscriber
    subscriber.status = status
    try:
        phonoscene.drop(name)
        assert phonoscene.take(name)["status"] == "SUCCEEDED"  # it holds up nobody
        assert eventually(lambda: phonoscene.is_told(name))
        assert eventually(lambda: subscriber.states(name) == WAY)
    finally:
        subscriber.status = 204
    turned_away = len(subscriber.heard)

    assert eventually(lambda: _again(phonoscene, name, turned_away) == sorted(WAY))
    assert len({one for one, told in subscriber.heard if told["data"]["name"] == name}) == len(WAY)


def _again(phonoscene: Phonoscene, name: str, since: int) -> list[str]:
    heard = [told["data"] for _, told in phonoscene.subscriber.heard[since:]]
    return sorted({str(event["status"]) for event in heard if event["name"] == name})


def test_nothing_that_any_subscriber_was_sent_was_signed_wrongly(phonoscene: Phonoscene) -> None:
    assert phonoscene.subscriber.heard
    assert phonoscene.subscriber.forged == []
