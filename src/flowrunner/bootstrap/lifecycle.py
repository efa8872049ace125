"""The lifecycle of the program, without its network side."""

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from flowrunner.bootstrap.dispatching import dispatch_of
from flowrunner.bootstrap.engine_process import ProcessSettings, limits_of
from flowrunner.bootstrap.housekeeping import run_jobs, session_jobs
from flowrunner.bootstrap.notifications import watch_other_processes
from flowrunner.bootstrap.ownership import is_shared
from flowrunner.bootstrap.program import Program, assemble
from flowrunner.bootstrap.resources import open_resources, servers_of
from flowrunner.bootstrap.starting_processes import starting
from flowrunner.bootstrap.telemetry import exporting_metrics
from flowrunner.dispatch.processes.engine_processes import StartProcess
from flowrunner.domain.errors import Unavailable
from flowrunner.settings import Settings

if TYPE_CHECKING:
    # The packages need not be installed.
    from flowrunner.otel.export import Exporters


@contextlib.asynccontextmanager
async def open_program(
    settings: Settings,
    *,
    own_ports: frozenset[int] = frozenset(),
    is_standby: bool = False,
    is_worker: bool = False,
    exporters: "Exporters | None" = None,
) -> AsyncIterator[Program]:
    """Open the program without its network side, and resume all unfinished executions.

    Args:
        is_standby: Another server is active: no execution is advanced, and nothing is written.
        is_worker: This process advances executions that Temporal assigns to it.
        exporters: The exporters of the process, if there are any.

    Raises:
        FlowRunnerError: If the data directory, the keys or the database are unusable.
    """
    async with open_resources(settings, own_ports=own_ports, is_standby=is_standby, exporters=exporters) as opened:
        program = assemble(
            opened,
            await dispatch_of(opened, is_worker=is_worker),
            _start_process(settings, own_ports, servers_of(settings, exporters)),
        )
        async with (
            exporting_metrics(exporters, opened.metrics),
            # Commands such as `account reset-password` end sessions while servers run.
            watch_other_processes(program)
            if is_standby or is_shared(settings)
            else run_jobs(session_jobs(program), program),
        ):
            if not is_standby:
                async with _advancing(program):
                    yield program
                return
            program.readiness.is_standby = True
            try:
                yield program
            finally:
                await program.streams.close()


@contextlib.asynccontextmanager
async def _advancing(program: Program) -> AsyncIterator[None]:
    """Resume all unfinished executions, and accept others until the end of the context."""
    engine = program.engine
    # However it ends, also if something does not open: an error of one ending keeps no other from its turn.
    async with contextlib.AsyncExitStack() as endings:
        endings.push_async_callback(_write_the_rest, program)
        if engine.processes is not None:
            endings.push_async_callback(engine.processes.close)
        endings.push_async_callback(engine.dispatcher.close)
        await engine.dispatcher.open()
        if engine.advancing is not engine.dispatcher:
            endings.push_async_callback(engine.advancing.close)
            await engine.advancing.open()
        endings.push_async_callback(program.services.executions.close)
        # Nothing more would reach a subscriber of this program.
        endings.push_async_callback(program.streams.close)
        yield


async def _write_the_rest(program: Program) -> None:
    """Write what waits to be written, as far as this process can."""
    # A server that has lost its leadership can no longer write.
    with contextlib.suppress(Unavailable):
        # Who has asked for a link was told that it comes.
        await program.services.password_resets.settle()
        await program.token_uses.write()
        await program.services.sessions.session_uses.write()
        await program.vault.uses.write()
        await program.services.refused_hooks.write()
        await program.services.audit.write_rejection_counts(at_once=True)


def _start_process(
    settings: Settings, own_ports: frozenset[int], own_servers: frozenset[tuple[str, int]]
) -> StartProcess | None:
    """Return the function that starts an engine process; None if the server's own process advances executions."""
    if settings.processes == 1:
        return None
    return starting(
        ProcessSettings(
            own_ports=own_ports,
            own_servers=own_servers,
            count=settings.processes - 1,
            limits=limits_of(settings),
            execution_memory=settings.execution_memory,
            egress_allow=tuple(map(str, settings.egress_allow)),
            public_url=settings.public_url,
            script_workers=settings.script_workers,
            otel=settings.otel,
            log_level=settings.log_level,
            log_format=settings.log_format,
        )
    )
