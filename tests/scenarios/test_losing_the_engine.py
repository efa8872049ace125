"""A server whose engine has ended is of no use: it ends too, so that a supervisor starts another."""

from pathlib import Path
from typing import Final

from support.server import Server

# The task that advances executions dies a while after the start.
DYING: Final = """
import asyncio
from flowrunner.cli.main import main
from flowrunner.dispatch.timers import Timers

async def watch(self):
    await asyncio.sleep(1)
    raise RuntimeError("planted")

Timers.watch = watch
main()
"""


def test_a_server_without_its_engine_says_so_and_fails(tmp_path: Path) -> None:
    server = Server(tmp_path, {"DRAIN_TIME": "5s"}, program=("-c", DYING))
    try:
        server.start()
        code = server.wait()
    finally:
        server.stop()

    assert code not in (0, None)
    assert "engine.ended" in server.log
    assert "server.stopped" in server.log, "in good order"
