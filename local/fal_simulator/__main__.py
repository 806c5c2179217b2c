"""Run the simulator until it is stopped: `python -m local.fal_simulator --help`."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys

from local.fal_simulator.config import Config, parse
from local.fal_simulator.simulator import PortInUseError, Simulator


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
    async with Simulator(config) as simulator:
        ports = {"proxy_port": simulator.proxy_port, "control_port": simulator.control_port}
        print(json.dumps(ports), flush=True)
        await stopped.wait()


sys.exit(main())
