"""One local cloud: what runs, and how it is brought up and down.

Tests use `running_cloud`, with a folder and ports of their own, beside a developer's `make up`.
"""

import dataclasses
import fcntl
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from local.cloud import certificates, deploy, emulator, parameters, real_fal
from local.cloud.emulator import SIMULATOR, TICKER, Fal
from local.cloud.endpoints import Endpoints
from local.cloud.ports import LOOPBACK, Listeners
from local.cloud.processes import Process
from local.cloud.run_state import Options, Run
from local.errors import CloudUnreachable, LocalCloudError
from local.paths import StateDirectory
from local.progress import say, step


class LocalCloud:
    """The cloud whose state lies in one folder."""

    def __init__(self, state: StateDirectory) -> None:
        self.state = state

    def recorded(self) -> Run | None:
        """What was started and not ended by `down`, whether it runs or not."""
        return Run.load(self.state.run_file)

    def run(self) -> Run | None:
        """What is up, parts of it perhaps dead; None where nothing is.

        Raises:
            CloudUnreachable: the emulator ended, and with it all that it held: this is not mended.
        """
        run = self.recorded()
        if run is None or run.is_stale:
            return None
        if not run.has_emulator:
            raise CloudUnreachable(lost(run))
        return run

    def endpoints(self) -> Endpoints:
        """The running cloud's endpoints."""
        if self.run() is None or not self.state.endpoints_file.is_file():
            raise CloudUnreachable(self.not_running)
        return Endpoints.load(self.state.endpoints_file)

    @property
    def not_running(self) -> str:
        """What is said where no cloud is up."""
        return f"No local cloud is running in {self.state.root}: start it with `make up`."

    def up(self, options: Options) -> Endpoints:
        """Start what does not run, and deploy what is not deployed. Nothing that runs is ended."""
        with self._turn():
            run = self.run()
            if run is None:
                self._clear_stale()
                return self._start(options)
            return self._refresh(run, options)

    def down(self) -> bool:
        """End every process and remove the state; whether there was anything to end."""
        with self._turn():
            was_up = self.recorded() is not None
            self._remove()
        return was_up

    def _start(self, options: Options) -> Endpoints:
        template = deploy.read_template()
        fal = Fal("", "") if options.real else Fal.simulated()
        values = {**parameters.usual(fal.user_id or None), **options.parameters}
        parameters.check(template, values)
        if options.real:
            real_fal.check_parameters(values)
        with Listeners.of_a_new_cloud(options.port) as listeners:
            with step("building the layer and the functions"):
                package = deploy.package(template, options.target)
            run = Run(
                [],
                listeners.ports,
                fal,
                values,
                real=options.real is not None,
                simulator=list(options.simulator),
                ticker=options.ticker,
            )
            try:
                run = self._start_processes(run, options, listeners)
                self._put_fal_key(run, options.real)
                endpoints = self._deploy(run, package)
                self._mend_ticker()
            except BaseException:
                self._remove()
                raise
        return endpoints

    def _refresh(self, run: Run, options: Options) -> Endpoints:
        """The cloud is up: start what died, and deploy again if anything changed since."""
        self._check_options(run, options)
        values = {**run.parameters, **options.parameters}
        template = deploy.read_template()
        parameters.check(template, values)
        if run.real:
            real_fal.check_parameters(values)
        run = dataclasses.replace(run, parameters=values)
        if SIMULATOR in run.dead:
            run = self._mend_simulator(run, options.simulator)
        if options.real or not run.real:
            self._put_fal_key(run, options.real)
        package = deploy.package(template, options.target)
        if package.fingerprint(values) == run.fingerprint:
            say("The local cloud is already running, and up to date.")
            endpoints = self.endpoints()
        else:
            say("The local cloud is already running; its sources or parameters changed.")
            endpoints = self._deploy(run, package)
        self._mend_ticker()
        return endpoints

    def _check_options(self, run: Run, options: Options) -> None:
        """Refuse what would need another start."""
        if options.port not in (None, run.ports.aws):
            raise LocalCloudError(
                f"The local cloud already runs, on port {run.ports.aws}: `make down` first."
            )
        if options.real and not run.real:
            raise LocalCloudError("The local cloud runs with the simulator: `make down` first.")
        if options.simulator and run.real:
            raise LocalCloudError(
                "--fal sets how the fal simulator starts, and this cloud has the real fal: "
                "`make down` first."
            )
        is_changed = options.simulator and list(options.simulator) != run.simulator
        if is_changed and SIMULATOR not in run.dead:
            raise LocalCloudError(
                "--fal sets how the fal simulator starts, and it already runs: these options "
                f"cannot change while it runs ({' '.join(run.simulator) or 'it has none'}). "
                "Use `make down` first. Its faults can be set while it runs "
                "(docs/fal-simulator.md)."
            )

    def _mend_simulator(self, run: Run, options: Sequence[str]) -> Run:
        """Start it again where it listened; it has forgotten its requests."""
        say("The fal simulator has ended, and forgot its requests. Everything else is untouched.")
        options = list(options) or run.simulator
        tls_files = certificates.TlsFiles.within(self.state.tls)
        with step("starting the fal simulator again"):
            self._end_rest_of(SIMULATOR)
            with Listeners.of_a_simulator(run.ports) as listeners:
                simulator = emulator.start_simulator(
                    self.state, tls_files, listeners, run.fal, options
                )
            run = run.replacing(simulator)
            run.save(self.state.run_file)
            emulator.await_simulator(simulator, run.ports, self.state.logs / "simulator.log")
        run = dataclasses.replace(run, simulator=list(options))
        run.save(self.state.run_file)
        return run

    def _mend_ticker(self) -> None:
        """Start it if it does not run and should."""
        run = self.recorded()
        if run and TICKER in run.dead:
            run.replacing(emulator.start_ticker(self.state)).save(self.state.run_file)

    def _end_rest_of(self, part: str) -> None:
        """End what a dead part has left of its process group."""
        run = self.recorded()
        for process in run.processes if run else []:
            if process.name == part:
                process.stop()

    def _start_processes(self, run: Run, options: Options, listeners: Listeners) -> Run:
        """All at once; the listeners are theirs then."""
        tls_files = certificates.issue(self.state.tls)
        (self.state.temporary / "fal").mkdir(parents=True, exist_ok=True)
        logs = self.state.logs
        with step(f"starting the AWS emulator{'' if options.real else ' and the fal simulator'}"):
            if not options.real:
                simulator = emulator.start_simulator(
                    self.state, tls_files, listeners, run.fal, options.simulator
                )
                self._add(run, simulator)
            aws = emulator.start_emulator(
                self.state,
                tls_files,
                listeners,
                options.real,
                options.access_log,
                options.lambda_python,
            )
            self._add(run, aws)
            listeners.close()
            if not options.real:
                emulator.await_simulator(simulator, run.ports, logs / "simulator.log")
            emulator.await_emulator(aws, tls_files, run.ports, logs / "emulator.log")
        return run

    def _add(self, run: Run, process: Process) -> None:
        """Record a process as soon as it exists, so that `down` finds it."""
        run.processes.append(process)
        run.save(self.state.run_file)

    def _put_fal_key(self, run: Run, real: real_fal.RealFal | None) -> None:
        """As its operator does on AWS: by hand, before the stack."""
        name = deploy.parameter(deploy.read_template(), run.parameters, "FalKeyParameterName")
        key = real.key if real else run.fal.key
        ssm = _root_endpoints(run, self.state).client("ssm")
        ssm.put_parameter(Name=name, Value=key, Type="SecureString", Overwrite=True)

    def _deploy(self, run: Run, package: deploy.Package) -> Endpoints:
        root = _root_endpoints(run, self.state)
        with step("deploying template.yaml"):
            outputs = deploy.Stack(root, self.state.layers).deploy(package, run.parameters)
        endpoints = _with_outputs(root, outputs)
        endpoints.save(self.state.endpoints_file)
        fingerprint = package.fingerprint(run.parameters)
        dataclasses.replace(run, fingerprint=fingerprint).save(self.state.run_file)
        return endpoints

    def _clear_stale(self) -> None:
        if self.recorded() is not None:
            say("An earlier run had ended without `down`: cleared away.")
        self._remove()

    def _remove(self) -> None:
        run = self.recorded()
        for process in run.processes if run else []:
            process.stop()
        for folder in (self.state.tls, self.state.temporary):
            shutil.rmtree(folder, ignore_errors=True)
        self.state.endpoints_file.unlink(missing_ok=True)
        self.state.run_file.unlink(missing_ok=True)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        self.state.root.mkdir(parents=True, exist_ok=True)
        with self.state.lock_file.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def lost(run: Run) -> str:
    """What is said of a cloud whose emulator ended."""
    at_fal = (
        " fal keeps what it made for a day: https://fal.ai/dashboard shows it." if run.real else ""
    )
    return (
        "The AWS emulator of this local cloud has ended. Its jobs and videos were in its memory, "
        f"and are gone.{at_fal} `make down` removes the rest; then `make up` starts a new cloud."
    )


@contextmanager
def running_cloud(  # noqa: PLR0913 - each is one option of the cloud
    directory: Path,
    parameters: Mapping[str, str] | None = None,
    simulator: Sequence[str] = (),
    *,
    real: real_fal.RealFal | None = None,
    ticker: bool = False,
    access_log: Path | None = None,
    lambda_python: Path | None = None,
) -> Iterator[Endpoints]:
    """A cloud with its state in `directory`, on ports of its own, for the body's time."""
    cloud = LocalCloud(StateDirectory(directory))
    options = Options(0, parameters or {}, simulator, real, ticker, access_log, lambda_python)
    try:
        yield cloud.up(options)
    finally:
        cloud.down()


def _root_endpoints(run: Run, state: StateDirectory) -> Endpoints:
    return Endpoints(
        aws_endpoint_url=f"https://localhost:{run.ports.aws}",
        ca_bundle=str(state.tls / "ca.pem"),
        region=certificates.REGION,
        aws_access_key_id="test",  # the emulator's root
        aws_secret_access_key="test",  # noqa: S106 - no secret: the emulator listens on loopback
        webhook_connect=f"{LOOPBACK}:{run.ports.aws}",
        simulator_url="" if run.real else f"http://{LOOPBACK}:{run.ports.control}",
    )


def _with_outputs(endpoints: Endpoints, outputs: Mapping[str, str]) -> Endpoints:
    return dataclasses.replace(
        endpoints,
        drop_bucket=outputs["DropBucketName"],
        output_bucket=outputs["OutputBucketName"],
        jobs_table=outputs["JobsTableName"],
        drops_queue_url=outputs["DropsQueueUrl"],
        verdicts_queue_url=outputs["VerdictsQueueUrl"],
        webhook_base_url=outputs["WebhookBaseUrl"],
    )
