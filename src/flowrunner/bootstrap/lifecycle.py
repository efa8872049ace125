"""The lifecycle of the program, without its network side."""

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from flowrunner.bootstrap.data import open_data
from flowrunner.bootstrap.dispatching import dispatch_of
from flowrunner.bootstrap.engine_process import ProcessSettings, limits_of
from flowrunner.bootstrap.housekeeping import run_jobs, session_jobs
from flowrunner.bootstrap.location import own_servers
from flowrunner.bootstrap.notifications import watch_other_processes
from flowrunner.bootstrap.ownership import is_shared
from flowrunner.bootstrap.program import Program, assemble
from flowrunner.bootstrap.starting_processes import starting
from flowrunner.bootstrap.telemetry import exporting_metrics, request_tracer
from flowrunner.clock import SystemClock
from flowrunner.dispatch.processes.engine_processes import StartProcess
from flowrunner.domain.errors import Unavailable
from flowrunner.metrics import Metrics
from flowrunner.sandbox.pool import JailedSandbox
from flowrunner.security.credentials import Argon2Hasher
from flowrunner.security.egress import EgressClients
from flowrunner.security.egress_policy import EgressPolicy
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
    clock, metrics = SystemClock(), Metrics()
    async with open_data(settings, clock=clock, metrics=metrics, is_standby=is_standby) as stored:
        hasher = Argon2Hasher()
        servers = own_servers(settings) | (exporters.servers if exporters is not None else frozenset())
        http = EgressClients(
            EgressPolicy(settings.egress_allow, own_ports, servers),
            request_tracer(exporters, stored.vault),
        )
        # An operator names the providers, and may have them in networks that are closed to flows.
        sign_on_http = EgressClients(
            EgressPolicy(
                settings.sign_on_allow,
                own_ports,
                own_servers(settings),
                who="Single sign-on",
                opened_by="FLOWRUNNER_SIGN_ON_ALLOW",
            )
        )
        sandbox = JailedSandbox(settings.script_workers)
        try:
            program = assemble(
                settings=settings,
                stored=stored,
                clock=clock,
                metrics=metrics,
                hasher=hasher,
                http=http,
                sign_on_http=sign_on_http,
                sandbox=sandbox,
                dispatch=await dispatch_of(settings, stored, clock, is_worker=is_worker),
                exporters=exporters,
                start_process=_start_process(settings, own_ports, servers),
            )
            async with (
                exporting_metrics(exporters, metrics),
                # Commands such as `account reset-password` end sessions while servers run.
                watch_other_processes(program)
                if is_standby or is_shared(settings)
                else run_jobs(session_jobs(program), program),
            ):
                if is_standby:
                    program.readiness.is_standby = True
                    try:
                        yield program
                    finally:
                        await program.streams.close()
                    return
                await program.dispatcher.open()
                try:
                    if program.advancing is not program.dispatcher:
                        await program.advancing.open()
                    yield program
                finally:
                    # However it ends: nothing more would reach a subscriber of this program.
                    await program.streams.close()
                    await program.services.executions.close()
                    if program.advancing is not program.dispatcher:
                        await program.advancing.close()
                    await program.dispatcher.close()
                    if program.processes is not None:
                        await program.processes.close()
                    # A server that has lost its leadership can no longer write.
                    with contextlib.suppress(Unavailable):
                        await program.token_uses.write()
                        await program.services.sessions.session_uses.write()
                        await program.vault.write_uses()
                        await program.services.audit.write_rejection_counts(at_once=True)
        finally:
            await sandbox.close()
            await http.close()
            await sign_on_http.close()
            hasher.close()


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
