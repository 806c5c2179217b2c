"""The emulator and the fal simulator with nothing deployed, for a shell that means AWS by them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from local.cloud import certificates, emulator
from local.cloud.endpoints import Endpoints
from local.cloud.ports import LOOPBACK, Listeners
from local.cloud.real_fal import RealFal
from local.paths import StateDirectory
from tests.deployment.gateway import gateway
from tests.support.deploy_page import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HERE: Final = certificates.REGION
THERE: Final = "eu-west-1"


def client_in(endpoints: Endpoints, service: str, region: str) -> Any:
    return Endpoints(**{**vars(endpoints), "region": region}).client(service)


def settle(endpoints: Endpoints, warm: set[str]) -> None:
    """What the emulator needs after a deployment, and AWS does not.

    Limits are made numbers, as in local/cloud/deploy.py. A function's first start unpacks the
    layer, which takes longer here than fal, or the doctor, waits.
    """
    for region in (HERE, THERE):
        client = client_in(endpoints, "lambda", region)
        for mapping in client.list_event_source_mappings()["EventSourceMappings"]:
            limit = mapping.get("ScalingConfig", {}).get("MaximumConcurrency")
            if limit is not None:
                client.update_event_source_mapping(
                    UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": int(limit)}
                )
        for function in client.list_functions()["Functions"]:
            name = function["FunctionName"]
            if "WebhookFunction" in name and name not in warm:
                client.invoke(FunctionName=name, Payload=b"{}")
                warm.add(name)


@contextmanager
def running(folder: Path) -> Iterator[tuple[Endpoints, dict[str, str]]]:
    """The emulator and the simulator, with nothing deployed; what a shell needs to mean them."""
    state = StateDirectory(folder)
    tls_files = certificates.issue(state.tls)
    fal = emulator.Fal.simulated()
    (state.temporary / "fal").mkdir(parents=True)
    options = ("--run-seconds", "0.5")
    with Listeners.of_a_new_cloud(0) as listeners:
        ports = listeners.ports
        simulator = emulator.start_simulator(state, tls_files, listeners, fal, options)
        aws = emulator.start_emulator(state, tls_files, listeners)
    try:
        emulator.await_simulator(simulator, ports, state.logs / "simulator.log")
        emulator.await_emulator(aws, tls_files, ports, state.logs / "emulator.log")
        endpoints = Endpoints(
            aws_endpoint_url=f"https://localhost:{ports.aws}",
            ca_bundle=str(tls_files.ca_bundle),
            region=HERE,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        own = RealFal.from_env({**os.environ, "FAL_KEY": fal.key})
        bundle = str(own.trust(tls_files.ca_bundle, folder / "everybody.pem"))
        with gateway(tls_files, ports.aws) as proxy:
            yield (
                endpoints,
                {
                    **{
                        name: value for name, value in os.environ.items() if name.startswith("PIP_")
                    },
                    **({"PIP_PROXY": own.https_proxy} if own.https_proxy else {}),
                    "PATH": f"{ROOT / '.venv-aws' / 'bin'}:{os.environ['PATH']}",
                    "HOME": str(state.temporary),
                    "AWS_ENDPOINT_URL": endpoints.aws_endpoint_url,
                    "AWS_ACCESS_KEY_ID": "test",
                    "AWS_SECRET_ACCESS_KEY": "test",
                    "AWS_CA_BUNDLE": bundle,
                    "REQUESTS_CA_BUNDLE": bundle,
                    "SSL_CERT_FILE": bundle,
                    "AWS_PAGER": "",
                    "HTTPS_PROXY": f"http://{LOOPBACK}:{proxy}",
                    "NO_PROXY": f"localhost,{LOOPBACK}",
                    "SAM_CLI_TELEMETRY": "0",
                    "SAM_CLI_POLL_DELAY": "0.5",
                    "LAYER_TARGET": "host",  # the functions run on this machine
                    "FAL_KEY": fal.key,
                },
            )
    finally:
        aws.stop()
        simulator.stop()
