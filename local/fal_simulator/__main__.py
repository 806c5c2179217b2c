"""Run the simulator until it is stopped: `python -m local.fal_simulator --help`."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from contextlib import closing

from local.fal_simulator.config import Config, parse
from local.fal_simulator.control import Control
from local.fal_simulator.faults.fault_dial import FaultDial
from local.fal_simulator.listeners import PortInUseError, listen, serving
from local.fal_simulator.simulator import Simulator


def main() -> int:
    """Run from the command line; 1 means it could not start."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="fal %(message)s")
    config = parse(sys.argv[1:])
    try:
        asyncio.run(_serve(config))
    except PortInUseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _serve(config: Config) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    faults = FaultDial(config.seed)
    with closing(listen(config.control_port)) as listener:
        async with (
            Simulator(config, faults) as simulator,
            serving(Control(simulator, faults).application(), listener),
        ):
            control_port = listener.getsockname()[1]
            ports = {"proxy_port": simulator.proxy_port, "control_port": control_port}
            print(json.dumps(ports), flush=True)
            await stopped.wait()


sys.exit(main())
