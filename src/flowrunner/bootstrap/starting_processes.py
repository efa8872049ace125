"""Start of the engine processes of a server."""

import asyncio
import contextlib
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping

from flowrunner.bootstrap.engine_process import ProcessSettings
from flowrunner.dispatch.processes.channel import Channel
from flowrunner.dispatch.processes.engine_processes import EngineProcesses, StartProcess
from flowrunner.dispatch.processes.requests import ServerParts
from flowrunner.engine.dependencies import EngineDependencies
from flowrunner.engine.engine import FlowEngine
from flowrunner.ports.dispatch import Engine
from flowrunner.ports.flows import Definitions
from flowrunner.security.approval_links import SignedApprovalLinks
from flowrunner.security.vault import AesVault
from flowrunner.settings import Settings


class EngineProcess:
    """An engine process and the socket to it. Implements `StartedProcess`."""

    def __init__(self, process: Process, channel: Channel) -> None:
        self._process = process
        self.channel = channel

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        return await self._process.wait()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


def engine_of(
    settings: Settings,
    deps: EngineDependencies,
    *,
    vault: AesVault,
    flows: Definitions,
    links: SignedApprovalLinks,
    start: StartProcess | None,
) -> tuple[Engine, EngineProcesses | None]:
    """Return the engine of the server, and the processes that advance executions, if it is not its own."""
    engine = FlowEngine(deps)
    if start is None:
        return engine, None

    parts = ServerParts(deps=deps, definitions=flows, hidden=vault.hidden, link_key=lambda: links.key)
    processes = EngineProcesses(engine, parts, start, count=settings.processes - 1)
    vault.watcher = processes
    return processes, processes


def starting(given: ProcessSettings) -> StartProcess:
    """Return the function that starts an engine process with these settings."""

    async def start() -> EngineProcess:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # With -P: -m alone would import modules from the directory that the server was started in.
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-P", "-m", "flowrunner.engine_process", str(theirs.fileno()), str(os.getpid()),
                    stdin=DEVNULL, pass_fds=(theirs.fileno(),), env=_environment(),
                )  # fmt: skip
            except BaseException:
                ours.close()
                raise
        channel = Channel()
        started = EngineProcess(process, channel)
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: channel, sock=ours)
            await channel.call("configure", given)
        except BaseException:
            started.kill()
            await started.wait()
            raise
        return started

    return start


def _environment() -> Mapping[str, str]:
    """Return the environment without the variables of settings, which hold passwords and addresses of the server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FLOWRUNNER_")}
