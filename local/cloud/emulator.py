"""Starts the background processes: the AWS emulator (ministack), the fal simulator, the ticker."""

import http.client
import os
import secrets
import ssl
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from local.cloud.certificates import REGION, TlsFiles
from local.cloud.ports import LOOPBACK, Listeners, Ports
from local.cloud.processes import Process, start
from local.cloud.real_fal import RealFal
from local.errors import LocalCloudError
from local.paths import StateDirectory

ACCOUNT = "123456789012"
EMULATOR = "emulator"
SIMULATOR = "simulator"
TICKER = "ticker"
START_SECONDS = 30  # it takes 0.5 s; a loaded CI machine may need ten times that


@dataclass(frozen=True)
class Fal:
    """The account that the simulator plays: its key, and the user id its webhooks carry."""

    key: str
    user_id: str

    @classmethod
    def simulated(cls) -> Self:
        """Make one for a new cloud."""
        return cls(f"{uuid.uuid4()}:{secrets.token_hex(16)}", f"local|{uuid.uuid4().hex}")


# Where this package is missing, jsonschema does not compile 38 grammars of URIs for 2.4 s when
# it is imported. The emulator imports it for the SAM transform, whose schema has none checked.
# ministack starts the functions with its own sys.executable.
HYPERCORN = (
    "import os, sys; sys.modules['rfc3987_syntax'] = None\n"
    "sys.executable = os.environ.get('LAMBDA_PYTHON', sys.executable)\n"
    "from hypercorn.__main__ import main; sys.exit(main())"
)

#: What a request was for, and whose; tabs between.
ACCESS_LOG = "%(m)s\t%(Uq)s\t%({x-amz-target}i)s\t%({authorization}i)s"


def start_emulator(
    state: StateDirectory,
    tls_files: TlsFiles,
    listeners: Listeners,
    real: RealFal | None = None,
    access_log: Path | None = None,
    lambda_python: Path | None = None,
) -> Process:
    """Start ministack. hypercorn is run directly: ministack's own `main` also takes 443."""
    ports = listeners.ports
    socket = listeners.fd(ports.aws)
    listen = ["--bind", f"fd://{socket}", "--keep-alive", "75", "--workers", "0"]
    tls = ["--certfile", str(tls_files.certificate), "--keyfile", str(tls_files.private_key)]
    data = ["--access-logfile", str(access_log), "--access-logformat", ACCESS_LOG]
    logs = data if access_log else []
    command = [sys.executable, "-c", HYPERCORN, "ministack.app:app", *listen, *tls, *logs]
    environment = emulator_environment(state, tls_files, ports, real)
    if lambda_python:
        environment["LAMBDA_PYTHON"] = str(lambda_python)
    return start(EMULATOR, command, environment, state.logs / "emulator.log", [socket])


def start_simulator(
    state: StateDirectory,
    tls_files: TlsFiles,
    listeners: Listeners,
    fal: Fal,
    options: Sequence[str],
) -> Process:
    """Start the proxy that plays fal."""
    command = [sys.executable, "-m", "local.fal_simulator"]
    ports = listeners.ports
    proxy, control = listeners.fd(ports.proxy), listeners.fd(ports.control)
    settings = {
        "--proxy-port": f"fd://{proxy}",
        "--control-port": f"fd://{control}",
        "--certificate": tls_files.certificate,
        "--private-key": tls_files.private_key,
        "--ca-bundle": tls_files.ca_bundle,
        "--emulator-port": ports.aws,
        "--fal-key": fal.key,
        "--user-id": fal.user_id,
        "--files": state.temporary / "fal",
    }
    arguments = [str(word) for pair in settings.items() for word in pair]
    environment = {**minimal_environment(state), "SSL_CERT_FILE": str(tls_files.ca_bundle)}
    command += [*arguments, *options]
    return start(SIMULATOR, command, environment, state.logs / "simulator.log", [proxy, control])


def start_ticker(state: StateDirectory) -> Process:
    """Start what looks after jobs more often than the schedule; the stack must be deployed."""
    command = [sys.executable, "-m", "local.cloud.reconcile_ticker", str(state.endpoints_file)]
    return start(TICKER, command, minimal_environment(state), state.logs / "ticker.log")


def minimal_environment(state: StateDirectory) -> dict[str, str]:
    """Nothing of the person's own: no AWS profile, no fal key, no proxy, no home."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(state.temporary),
        "TMPDIR": str(state.temporary),
        "PYTHONUNBUFFERED": "1",
    }


def way_to_fal(tls_files: TlsFiles, ports: Ports, real: RealFal | None) -> dict[str, str]:
    """How handlers reach fal: through the simulator's proxy only, or the real one as anybody does.

    The real one's certificate is signed by an authority of the world's.
    """
    if real is None:
        proxy = f"http://{LOOPBACK}:{ports.proxy}"
        # the second, so that what is sent in the clear is seen there
        own = {"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "NO_PROXY": f"localhost,{LOOPBACK}"}
        return own | {"SSL_CERT_FILE": str(tls_files.ca_bundle)}
    everybody = real.trust(tls_files.ca_bundle, tls_files.ca_bundle.with_name("everybody.pem"))
    return real.environment() | {"SSL_CERT_FILE": str(everybody)}


def emulator_environment(
    state: StateDirectory, tls_files: TlsFiles, ports: Ports, real: RealFal | None
) -> dict[str, str]:
    """The emulator's settings, and what every handler inherits from it. No key is among them."""
    bundle = str(tls_files.ca_bundle)
    return {
        **minimal_environment(state),
        # handlers
        **way_to_fal(tls_files, ports, real),
        "AWS_CA_BUNDLE": bundle,
        "REQUESTS_CA_BUNDLE": bundle,
        "AWS_ENDPOINT_URL": f"https://localhost:{ports.aws}",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        # ministack
        "GATEWAY_PORT": str(ports.aws),
        "USE_SSL": "1",
        "MINISTACK_SSL_CERT": str(tls_files.certificate),
        "MINISTACK_SSL_KEY": str(tls_files.private_key),
        "AUTH": "true",
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_REGION": REGION,
        "LAMBDA_EXECUTOR": "local",
        # What is throttled, a queue brings back after its visibility timeout; a worker is 80 MB.
        "LAMBDA_ACCOUNT_CONCURRENCY": "20",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": "unix:///nonexistent",  # it would tidy containers of other ministacks
        "PERSIST_STATE": "0",  # what SSM holds stays in memory
        "STATE_DIR": str(state.temporary / "state"),
        "S3_DATA_DIR": str(state.temporary / "s3"),
    }


def await_emulator(process: Process, tls_files: TlsFiles, ports: Ports, log: Path) -> None:
    """Return when the emulator answers."""
    context = ssl.create_default_context(cafile=tls_files.ca_bundle)
    _await(process, log, _Probe(ports.aws, "/_ministack/health", context))


def await_simulator(process: Process, ports: Ports, log: Path) -> None:
    """Return when the simulator answers."""
    _await(process, log, _Probe(ports.control, "/health", None))


@dataclass(frozen=True)
class _Probe:
    """A health check. http.client takes no notice of the environment's proxies."""

    port: int
    path: str
    context: ssl.SSLContext | None

    def answers(self) -> bool:
        connection = self._connect()
        try:
            connection.request("GET", self.path)
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self.context is None:
            return http.client.HTTPConnection(LOOPBACK, self.port, timeout=5)
        return http.client.HTTPSConnection(LOOPBACK, self.port, timeout=5, context=self.context)


def _await(process: Process, log: Path, probe: _Probe) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not probe.answers():
        if not process.alive:
            raise LocalCloudError(_ended(process.name, log))
        if time.monotonic() > deadline:
            raise LocalCloudError(
                f"The {process.name} did not answer within {START_SECONDS} s: read {log}."
            )
        time.sleep(0.05)


def _ended(name: str, log: Path) -> str:
    last = log.read_text(errors="replace").strip().splitlines()[-5:]
    return "\n".join([f"The {name} ended at its start ({log}):", *last])
