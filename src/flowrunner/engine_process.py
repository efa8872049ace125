"""The program of an engine process: `python -m flowrunner.engine_process SOCKET`, started by the server alone."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final

import uvloop

from flowrunner.bootstrap.engine_process import served_engine
from flowrunner.bootstrap.interpreter import frozen_gc, unmap_large_blocks
from flowrunner.bootstrap.telemetry import open_exporters
from flowrunner.logs import configure_logging, forward_events
from flowrunner.settings import Settings

if TYPE_CHECKING:
    from flowrunner.bootstrap.telemetry import Exporters

# From <linux/prctl.h>.
_PR_SET_PDEATHSIG: Final = 1
_EXIT_SECONDS: Final = 4.0


def main() -> None:
    # A supervisor or terminal signals the whole group; only the server decides when this process ends.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    _die_with_the_server()
    unmap_large_blocks()
    uvloop.run(_run(int(sys.argv[1])))


def _die_with_the_server() -> None:
    """Have Linux kill this process when the server ends; elsewhere its closed socket is noticed a little later."""
    server = os.getppid()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)


def _configure(settings: Settings) -> "Exporters | None":
    configure_logging(settings)
    exporters = open_exporters(settings)
    if exporters is not None and exporters.has_logs:
        forward_events(exporters.log)
    return exporters


async def _run(descriptor: int) -> None:
    async with served_engine(descriptor, _configure) as server:
        with frozen_gc():
            await server
        # Whatever still runs here: nothing of it counts any more.
        timer = threading.Timer(_EXIT_SECONDS, os._exit, (1,))
        timer.daemon = True
        timer.start()


if __name__ == "__main__":
    main()
