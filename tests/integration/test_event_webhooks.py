"""Events to an endpoint over real HTTPS, through the function notify and its queue."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from phonoscene.errors import SubscriberUnreachable
from phonoscene.net.public_https import Timeout
from phonoscene.publishing.endpoint import Endpoint
from tests.integration.loopback import Loopback, answer, stall, vanish
from tests.support.stack import event, sqs, webhook_secret

if TYPE_CHECKING:
    import io
    from collections.abc import Callable
    from types import ModuleType

    from tests.integration.conftest import Context
    from tests.integration.loopback import Play, Seen
    from tests.integration.moto_stack import Cloud

HOST = "subscriber.example.com"
SECRET = webhook_secret()
PARAMETER = "/phonoscene/event-webhook-secret"


@dataclass
class Line:
    """The notifications queue and the function at its end, with a clock that jumps.

    SQS by its rules: what is not deleted comes back when its visibility says so.
    """

    notify: Any
    context: Context
    now: datetime = datetime(2026, 11, 24, tzinfo=UTC)
    #: Body, when it is visible, and how often it was received.
    messages: list[dict[str, Any]] = field(default_factory=list)
    dead: list[dict[str, Any]] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    def send(self, body: Any) -> None:
        self.messages.append({"body": body, "at": self.now, "tries": 0})

    def hide(self, seconds: int) -> None:
        """What the function asks of SQS for the message in its hands."""
        self.asked.append(seconds)
        self.messages[0]["at"] = self.now + timedelta(seconds=seconds)

    def run(self, until: Callable[[], object] = lambda: False) -> None:
        """Until nothing is left, or something is so."""
        while self.messages and not until():
            self.messages.sort(key=lambda message: message["at"])
            message = self.messages[0]
            self.now = max(self.now, message["at"])
            if message["tries"] == 12:  # SQS moves it when it should be received again
                self.messages.remove(message)
                self.dead.append(message)
                continue
            message["tries"] += 1
            message["at"] = self.now + timedelta(seconds=90)
            batch = sqs(message["body"])
            batch["Records"][0]["attributes"]["ApproximateReceiveCount"] = str(message["tries"])
            failed = self.notify.handler(batch, self.context)["batchItemFailures"]
            if not failed:
                self.messages.remove(message)


@pytest.fixture
def line(
    function: Callable[..., ModuleType],
    cloud: Cloud,
    internet: Loopback,  # noqa: ARG001 - in the internet's place
    environment: pytest.MonkeyPatch,
    context: Context,
) -> Line:
    cloud.ssm.put_parameter(Name=PARAMETER, Value=SECRET, Type="SecureString", Overwrite=True)
    module: Any = function(
        "notify",
        EVENT_WEBHOOK_URL=f"https://{HOST}/hooks/7",
        EVENT_WEBHOOK_SECRET_PARAMETER=PARAMETER,
        NOTIFICATIONS_QUEUE_URL=cloud.verdicts_url,
    )
    made = Line(module, context)
    environment.setattr(module.build().queue.__class__, "hold_back", lambda _, __, s: made.hide(s))
    return made


@pytest.fixture
def sample() -> dict[str, Any]:
    found: dict[str, Any] = event("job-status-changed")
    return found


def believed(seen: Seen) -> Any:
    """What the reference package reads of a POST that it believes."""
    return Webhook(SECRET).verify(seen.body, seen.headers)


def test_an_event_is_posted_once_and_the_reference_package_believes_it(
    line: Line, internet: Loopback, sample: dict[str, Any]
) -> None:
    internet.plays[HOST] = answer(status=204)
    line.send(sample)

    line.run()

    (seen,) = internet.requests(HOST, "POST")
    assert believed(seen)["data"] == sample["detail"]
    assert seen.target == "/hooks/7"
    assert seen.headers["content-type"] == "application/json"
    assert (line.messages, line.dead) == ([], [])


#: httpcore forgets the sockets of tunnels that were cut before TLS began.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_an_endpoint_that_is_down_for_a_while_gets_it_when_it_is_back(
    line: Line, internet: Loopback, sample: dict[str, Any]
) -> None:
    internet.dead.add(HOST)
    line.send(sample)
    line.run(until=lambda: len(line.asked) == 4)
    down_for = line.now
    internet.dead.clear()
    internet.plays[HOST] = answer(status=200)

    line.run()

    (seen,) = internet.requests(HOST, "POST")
    assert believed(seen)["data"]["id"] == sample["detail"]["id"]
    assert (
        timedelta(minutes=30) < down_for - datetime(2026, 11, 24, tzinfo=UTC) < timedelta(hours=3)
    )
    assert line.dead == []


def test_each_attempt_is_signed_anew_under_the_same_id(
    line: Line, internet: Loopback, sample: dict[str, Any]
) -> None:
    internet.plays[HOST] = answer(status=503)
    line.send(sample)
    line.run(until=lambda: len(line.asked) == 3)

    seen = internet.requests(HOST, "POST")

    assert len({one.headers["webhook-id"] for one in seen}) == 1
    assert len({one.body for one in seen}) == 1
    assert all(believed(one) for one in seen)


@pytest.mark.parametrize(
    ("headers", "least", "most"), [({}, 68, 86), ({"Retry-After": "99999"}, 131, 132)]
)
def test_an_endpoint_that_never_takes_it_is_given_up_at_once_after_the_last_try(
    line: Line,
    internet: Loopback,
    sample: dict[str, Any],
    headers: dict[str, str],
    least: int,
    most: int,
) -> None:
    internet.plays[HOST] = answer(status=500, headers=headers)
    line.send(sample)

    line.run()

    took = line.now - datetime(2026, 11, 24, tzinfo=UTC)
    assert len(internet.requests(HOST, "POST")) == 12
    assert timedelta(hours=least) < took < timedelta(hours=most)
    assert line.asked[-1] == 0
    assert [json.loads(json.dumps(one["body"])) for one in line.dead] == [sample]


REFUSALS: dict[str, Play] = {
    "a redirect": answer(status=302, headers={"Location": "https://evil.example.com/"}),
    "a permanent one": answer(status=308, headers={"Location": "https://evil.example.com/"}),
    "a bad request": answer(status=400),
    "nobody here": answer(status=404),
    "slow down": answer(status=429),
    "an outage": answer(status=502),
    "a connection that is reset": vanish,
}


@pytest.mark.parametrize("play", REFUSALS.values(), ids=REFUSALS)
def test_anything_but_a_2xx_is_tried_again(
    line: Line, internet: Loopback, sample: dict[str, Any], play: Play
) -> None:
    internet.plays[HOST] = play
    line.send(sample)
    line.run(until=lambda: line.asked)
    internet.plays[HOST] = answer(status=202)

    line.run()

    assert 4 <= line.asked[0] <= 6
    assert (line.messages, line.dead) == ([], [])
    assert internet.requests("evil.example.com", "POST") == []
    assert internet.requests("evil.example.com", "GET") == []


@pytest.mark.parametrize(
    ("play", "reason"),
    [(answer(status=503), "the subscriber answered 503"), (vanish, "RemoteDisconnected")],
)
def test_the_log_has_the_answer_of_an_endpoint_that_does_not_take_it(
    line: Line,
    internet: Loopback,
    sample: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    play: Play,
    reason: str,
) -> None:
    internet.plays[HOST] = play
    line.send(sample)

    line.run(until=lambda: line.asked)

    [failed] = [one for one in caplog.records if one.message == "notification.failed"]
    assert failed.__dict__["reason"] == reason


def test_an_endpoint_that_is_slow_is_given_up_for_this_time(
    line: Line, internet: Loopback, sample: dict[str, Any], environment: pytest.MonkeyPatch
) -> None:
    environment.setattr("phonoscene.publishing.endpoint.TIMEOUT", Timeout(0.3, 0.3))
    internet.plays[HOST] = stall
    line.send(sample)

    line.run(until=lambda: line.asked)

    assert len(line.asked) == 1


def test_an_endpoint_may_ask_to_be_left_alone_for_longer(
    line: Line, internet: Loopback, sample: dict[str, Any]
) -> None:
    internet.plays[HOST] = answer(status=503, headers={"Retry-After": "600"})
    line.send(sample)

    line.run(until=lambda: line.asked)

    assert line.asked == [600]


@pytest.mark.parametrize("odd", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "1e9", "9" * 99, "٣"])
def test_a_retry_after_that_is_no_number_of_seconds_is_passed_over(
    line: Line, internet: Loopback, sample: dict[str, Any], odd: str
) -> None:
    async def play(_: Seen, __: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": odd})

    internet.plays[HOST] = play
    line.send(sample)

    line.run(until=lambda: line.asked)

    assert 4 <= line.asked[0] <= 6


def test_an_endpoint_that_wants_no_more_is_not_asked_again_and_that_is_reported(
    line: Line, internet: Loopback, sample: dict[str, Any], log: io.StringIO
) -> None:
    internet.plays[HOST] = answer(status=410)
    line.send(sample)

    line.run()

    assert len(internet.requests(HOST, "POST")) == 1
    assert (line.asked, line.dead) == ([], [])
    assert "notification.unwanted" in log.getvalue()


@pytest.mark.parametrize("secret", ["", "not a secret", "whsec_c2hvcnQ="])
def test_with_a_secret_that_is_none_nothing_is_sent_until_there_is_one(
    line: Line,
    internet: Loopback,
    cloud: Cloud,
    sample: dict[str, Any],
    log: io.StringIO,
    secret: str,
) -> None:
    internet.plays[HOST] = answer(status=200)
    if secret:
        cloud.ssm.put_parameter(Name=PARAMETER, Value=secret, Type="SecureString", Overwrite=True)
    else:
        cloud.ssm.delete_parameter(Name=PARAMETER)
    line.send(sample)

    line.run(until=lambda: line.asked)

    assert internet.seen == []
    assert not secret or secret not in log.getvalue()


@pytest.mark.parametrize("poison", ["", "{", "{}", '{"detail": {"id": "../x", "at": ""}}'])
def test_what_is_no_event_ends_with_a_person_and_is_never_sent(
    line: Line, internet: Loopback, poison: str
) -> None:
    internet.plays[HOST] = answer(status=200)
    line.send(poison)

    line.run()

    assert internet.seen == []
    assert len(line.dead) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://10.0.0.7/",
        "https://localhost/",
        "https://[::ffff:169.254.169.254]/",
        "https://2130706433/",
    ],
)
def test_an_inner_address_is_never_dialled(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.delenv("HTTPS_PROXY", raising=False)

    with pytest.raises(SubscriberUnreachable):
        Endpoint(url).post({}, "{}")


def test_nothing_of_the_answer_but_its_status_is_read(
    line: Line, internet: Loopback, sample: dict[str, Any], log: io.StringIO
) -> None:
    async def play(_: Seen, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=200)
        await response.prepare(request)
        for _piece in range(200):
            await response.write(b"ECHO" * 2**18)
        return response

    internet.plays[HOST] = play
    line.send(sample)

    line.run()

    assert (line.asked, line.dead) == ([], [])
    assert "ECHO" not in log.getvalue()


def test_neither_the_url_nor_the_secret_nor_the_event_is_logged(
    line: Line, internet: Loopback, sample: dict[str, Any], log: io.StringIO
) -> None:
    internet.plays[HOST] = answer(status=500)
    line.send(sample)
    line.run(until=lambda: line.asked)
    internet.plays[HOST] = answer(status=200)
    line.run()

    said = log.getvalue()

    for kept in (HOST, SECRET, "hooks/7", sample["detail"]["name"]):
        assert kept not in said
    assert sample["detail"]["id"] in said


def test_a_message_is_hidden_in_its_own_queue(
    function: Callable[..., ModuleType], cloud: Cloud
) -> None:
    module: Any = function(
        "notify",
        EVENT_WEBHOOK_URL=f"https://{HOST}/",
        EVENT_WEBHOOK_SECRET_PARAMETER=PARAMETER,
        NOTIFICATIONS_QUEUE_URL=cloud.verdicts_url,
    )
    cloud.sqs.send_message(QueueUrl=cloud.verdicts_url, MessageBody="{}")
    (message,) = cloud.sqs.receive_message(QueueUrl=cloud.verdicts_url, VisibilityTimeout=0)[
        "Messages"
    ]

    module.build().queue.hold_back(message["ReceiptHandle"], 43_000)

    assert cloud.verdicts() == []
