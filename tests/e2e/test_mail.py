"""Mails on the deployed stack: its own rule and topic say in words how each job ended."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.local_stack import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.local_stack import Phonoscene


@contextmanager
def mailbox(phonoscene: Phonoscene, name: str) -> Iterator[Callable[[], list[str]]]:
    """What the mail topic has sent about a name so far; a queue stands for the mail program."""
    sns, sqs = phonoscene.endpoints.client("sns"), phonoscene.sqs
    [topic] = [one["TopicArn"] for one in sns.list_topics()["Topics"] if "Mail" in one["TopicArn"]]
    url = sqs.create_queue(QueueName=f"mailbox-{name.rpartition('/')[2]}")["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    allowed = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}}
    allowed |= {"Action": "sqs:SendMessage", "Resource": found["QueueArn"]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    at = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=found["QueueArn"])
    mails: list[str] = []

    def received() -> list[str]:
        got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in got:
            mails.append(json.loads(message["Body"])["Message"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [mail for mail in mails if name in mail]

    try:
        yield received
    finally:
        sns.unsubscribe(SubscriptionArn=at["SubscriptionArn"])
        sqs.delete_queue(QueueUrl=url)


def test_each_finished_job_is_one_mail_in_the_receipts_words(
    phonoscene: Phonoscene, name: str
) -> None:
    wrong, refused = f"{name}-wrong", f"{name}-refused"
    violation = {"type": "content_policy_violation", "message": "Unsafe. See https://fal.ai/x"}
    with mailbox(phonoscene, name) as received:
        phonoscene.drop(name)
        phonoscene.drop(wrong, fps=61)
        phonoscene.drop(refused, ("render", "error", violation))
        for one in (name, wrong, refused):
            phonoscene.take(one)
        assert eventually(lambda: len(received()) == 3, 20)
        mails = {text.partition(":")[0].strip('"'): text for text in received()}

    video = phonoscene.receipt(name)["video"]
    assert "the video is in the output bucket" in mails[name]
    assert f"Video: s3://{video['bucket']}/{video['key']}" in mails[name]
    assert "spent" in mails[name]
    for one in (wrong, refused):
        [error] = phonoscene.receipt(one)["errors"]
        mail = mails[one].replace("'", '"')
        assert error["message"].replace("'", '"') in mail
        assert error["fix"].replace("'", '"') in mail
        assert "Video: -" in mail
    assert "https://" not in mails[refused]
    assert "Cost: nothing" in mails[refused]
    assert "Change" in mails[refused]
