"""The program of an engine process: `python -m flowrunner.engine_process SOCKET PID`, started by the server alone.

Most of its modules are imported when it is certain to end with the server, because that takes most of its start.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flowrunner.bootstrap.telemetry import Exporters
    from flowrunner.settings import Settings

# From <linux/prctl.h>.
_PR_SET_PDEATHSIG: Final = 1
_EXIT_SECONDS: Final = 4.0


def main() -> None:
    # A supervisor or terminal signals the whole group; only the server decides when this process ends.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    descriptor, server = map(int, sys.argv[1:])
    _die_with(server)
    import uvloop

    from flowrunner.bootstrap.interpreter import unmap_large_blocks

    unmap_large_blocks()
    uvloop.run(_run(descriptor))


def _die_with(server: int) -> None:
    """Have Linux kill this process when the server ends; elsewhere its closed socket is noticed a little later."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)


def _configure(settings: "Settings") -> "Exporters | None":
    from flowrunner.bootstrap.telemetry import open_exporters
    from flowrunner.logs import configure_logging, forward_events

    configure_logging(settings)
    exporters = open_exporters(settings)
    if exporters is not None and exporters.has_logs:
        forward_events(exporters.log)
    return exporters


async def _run(descriptor: int) -> None:
    from flowrunner.bootstrap.engine_process import served_engine
    from flowrunner.bootstrap.interpreter import frozen_gc
    from flowrunner.threads import start_threads

    await start_threads()
    async with served_engine(descriptor, _configure) as server:
        with frozen_gc():
            await server
        # Whatever still runs here: nothing of it counts any more.
        timer = threading.Timer(_EXIT_SECONDS, os._exit, (1,))
        timer.daemon = True
        timer.start()


if __name__ == "__main__":
    main()
