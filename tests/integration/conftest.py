"""Handlers and edges on moto, with every HTTP peer on 127.0.0.1."""

from __future__ import annotations

import gc
import json
import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest
from aws_lambda_powertools.utilities import parameters
from moto import mock_aws
from moto.core.base_backend import BaseBackend
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.serialize import ResponseSerializer

from phonoscene.observability import logger
from tests.integration import moto_stack
from tests.integration.desk import Desk
from tests.integration.fal_queue import FakeFalQueue
from tests.integration.loopback import Loopback
from tests.integration.workspace import MOTO
from tests.support import stack
from tests.support.functions import load_function

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from botocore.config import Config

    from tests.integration.moto_stack import Cloud


#: The functions that ``submit`` invokes.
WAITED_FOR = ("probe", "edit")


@dataclass(frozen=True)
class Context:
    """What Powertools reads of Lambda's context."""

    function_name: str = "a-function"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:a-function"
    aws_request_id: str = "52fdfc07-2182-454f-963f-5f0f9a621d72"

    def get_remaining_time_in_millis(self) -> int:
        return 120_000


@pytest.fixture(scope="module")
def _lambda() -> Iterator[None]:
    """Nothing of this machine's AWS and proxies; instead, a Lambda that does not exist."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "POWERTOOLS_", "FAL_")) or name.lower().endswith("_proxy"):
                patch.delenv(name)
        for name, value in {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "POWERTOOLS_SERVICE_NAME": "phonoscene",
            "POWERTOOLS_METRICS_NAMESPACE": "Phonoscene",
        }.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(autouse=True)
def _no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test of what opens a browser puts its own function there."""

    def opened(url: str, *_: object, **__: object) -> None:
        pytest.fail(f"a test opens a browser, at {url}; patch webbrowser.open there")

    monkeypatch.setattr("webbrowser.open", opened)


@pytest.fixture
def environment(_lambda: None, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch


@pytest.fixture(scope="module")
def _stack(_lambda: None) -> Iterator[Cloud]:
    """Made once a module: moto takes 5 ms a call."""
    answer = BotocoreStubber.process_request

    def in_turn(self: BotocoreStubber, request: Any) -> Any:
        with MOTO:
            return answer(self, request)

    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(BotocoreStubber, "process_request", in_turn)
        get_value = moto_stack.plain_value(ResponseSerializer.get_value)
        patch.setattr(ResponseSerializer, "get_value", get_value)
        # moto puts the same table of addresses together for each request
        urls: Any = BaseBackend.__dict__["urls"]
        patch.setattr(BaseBackend, "urls", property(cache(urls.fget)))
        yield moto_stack.Cloud.make()


@pytest.fixture
def cloud(_stack: Cloud, environment: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """An empty stack; whatever asks boto3 for a client gets one that was made before."""

    def known_client(service: str, config: Config | None = None) -> Any:
        if service == "lambda":
            return _functions().client
        signature = getattr(config, "signature_version", None)
        return moto_stack.client(service, signature) if signature else moto_stack.client(service)

    environment.setattr(boto3, "client", known_client)
    environment.setenv("DROP_BUCKET", stack.DROPS)
    environment.setenv("OUTPUT_BUCKET", stack.OUTPUT)
    for name in WAITED_FOR:
        _function(name).build.cache_clear()
    _forget_parameters()
    _stack.empty()
    yield _stack
    _forget_parameters()


@cache
def _functions() -> moto_stack.Functions:
    handlers = {name: _function(name).handler for name in WAITED_FOR}
    return moto_stack.Functions(handlers, Context())


def _forget_parameters() -> None:
    parameters.clear_caches()  # type: ignore[no-untyped-call]  # Powertools' own omission


@cache
def _function(name: str) -> ModuleType:
    """functions/<name>/app.py, as Lambda loads it, under a name of its own."""
    return load_function(name, f"phonoscene_{name}_app")


@pytest.fixture
def function(environment: pytest.MonkeyPatch) -> Iterator[Callable[..., ModuleType]]:
    """Load a function with these environment variables; it builds itself anew in each test."""
    loaded: list[Any] = []

    def load(name: str, **variables: str) -> ModuleType:
        for variable, value in variables.items():
            environment.setenv(variable, value)
        loaded.append(_function(name))
        loaded[-1].build.cache_clear()
        return _function(name)

    yield load
    for module in loaded:
        module.build.cache_clear()


@pytest.fixture
def submit(function: Callable[..., ModuleType], cloud: Cloud) -> ModuleType:
    return function(
        "submit",
        DROP_BUCKET=stack.DROPS,
        JOBS_TABLE=stack.JOBS,
        FAL_KEY_PARAMETER=stack.KEY_PARAMETER,
        WEBHOOK_BASE_URL=stack.WEBHOOKS,
        AUDIO_DELIVERY="presigned",
        ASK_FAL_SECONDS="45",
        AUDIO_URL_TTL_SECONDS="3600",
        OUTPUT_LIFETIME_SECONDS="86400",
        DROPS_QUEUE_URL=cloud.drops_url,
        SETTLE_SECONDS="0",
        PAIR_GRACE_MINUTES="60",
        SAME_CONTENT="skip",
        MAX_FRAMES="481",
        PRICE_PER_MEGAPIXEL_USD="0.001205",
        MAX_JOB_COST_USD="2",
        MAX_IN_FLIGHT="40",
        DAILY_BUDGET_USD="25",
        PROBE_FUNCTION="probe",
        EDIT_FUNCTION="edit",
        OUTPUT_BUCKET=stack.OUTPUT,
        LONG_AUDIO="split",
        MAX_SEQUENCE_SECONDS="600",
        STABLE_KEY="true",
    )


@pytest.fixture
def fal(submit: ModuleType, environment: pytest.MonkeyPatch) -> FakeFalQueue:
    """In fal's place, for the function ``submit``."""
    queue = FakeFalQueue()
    environment.setattr(submit, "FalQueue", lambda _: queue)
    return queue


@pytest.fixture
def context() -> Context:
    return Context()


@pytest.fixture
def send(submit: ModuleType, fal: FakeFalQueue, context: Context) -> Callable[..., list[str]]:  # noqa: ARG001 - in its place
    """Hand the function S3's events of these keys, or messages; the ids of those that failed."""

    def deliver(*found: Any) -> list[str]:
        messages = (
            stack.created(one) if isinstance(one, str) else json.dumps(one) for one in found
        )
        answer = submit.handler(stack.sqs(*messages), context)
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    return deliver


@pytest.fixture
def load_event() -> Callable[[str], Any]:
    """A payload of ``events/``, by its name without suffix."""
    return stack.event


@pytest.fixture
def log(environment: pytest.MonkeyPatch) -> io.StringIO:
    """What the functions log, as text."""
    import io  # noqa: PLC0415 - its type is all that is needed above

    lines = io.StringIO()
    environment.setattr(logger.registered_handler, "stream", lines)
    return lines


@pytest.fixture(scope="session")
def _internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    authority = tmp_path_factory.mktemp("authority") / "ca.pem"
    with Loopback(ca_file=authority).running() as running:
        yield running


@pytest.fixture
def internet(
    _internet: Loopback,
    environment: pytest.MonkeyPatch,
) -> Iterator[Loopback]:
    """fal's hosts, and nobody else's; clients that product code leaves open are closed at last."""
    made: list[httpx.Client] = []
    make = httpx.Client.__init__

    def remember(self: httpx.Client, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        made.append(self)

    _internet.reset()
    environment.setenv("HTTPS_PROXY", _internet.proxy)
    environment.setenv("SSL_CERT_FILE", str(_internet.ca_file))
    environment.setattr(httpx.Client, "__init__", remember)
    yield _internet
    for client in made:
        client.close()
    if _internet.cuts:  # httpcore forgets sockets then; let the test that did it tell of them
        gc.collect()


@pytest.fixture
def no_grace(environment: pytest.MonkeyPatch, submit: ModuleType) -> None:  # noqa: ARG001 - after it
    """A half's wait is over as soon as it is looked at again."""
    environment.setenv("PAIR_GRACE_MINUTES", "0")


@pytest.fixture
def desk(
    cloud: Cloud,
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    submit: ModuleType,
    fal: FakeFalQueue,  # noqa: ARG001 - in its place
    context: Context,
) -> Desk:
    """The command line on this stack."""
    return Desk(cloud, environment, capsys, submit, context)
