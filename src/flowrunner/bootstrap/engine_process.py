"""Assembly of an engine process, which advances executions for the server that started it."""

import asyncio
import contextlib
import random
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from flowrunner.bootstrap.telemetry import request_tracer
from flowrunner.clock import SystemClock
from flowrunner.dispatch.processes.channel import Channel
from flowrunner.dispatch.processes.engine_processes import ProcessReport
from flowrunner.dispatch.processes.packed import unpack_texts
from flowrunner.dispatch.processes.served_engine import ServedEngine
from flowrunner.dispatch.processes.server_ports import (
    ServerBroadcast,
    ServerDefinitions,
    ServerJournal,
    ServerLinks,
    ServerMemory,
    ServerSecrets,
    ServerStore,
    ServerSubFlows,
)
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.values import WorkspaceId
from flowrunner.engine.dependencies import EngineDependencies
from flowrunner.engine.engine import FlowEngine
from flowrunner.engine.held_memory import HeldMemory
from flowrunner.nodes import installed
from flowrunner.sandbox.pool import JailedSandbox
from flowrunner.schemas import RustSchemas
from flowrunner.security.approval_links import LinkSigner
from flowrunner.security.egress import EgressClients
from flowrunner.security.egress_imap import EgressImapClients
from flowrunner.security.egress_mail import EgressMailClients
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.security.egress_sql import EgressSqlClients
from flowrunner.security.process_vault import ProcessVault
from flowrunner.services.compiled_flows import CompiledFlowCache
from flowrunner.settings import Settings
from flowrunner.tasks import begin

if TYPE_CHECKING:
    # The packages need not be installed.
    from flowrunner.otel.export import Exporters

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """The start message of an engine process, which has only the settings that it needs.

    Attributes:
        own_ports, own_servers: See `EgressPolicy`.
        count: The number of engine processes.
        limits: The limits of each workspace.
    """

    own_ports: frozenset[int]
    own_servers: frozenset[tuple[str, int]]
    count: int
    limits: WorkspaceLimits
    execution_memory: int | None
    egress_allow: tuple[str, ...]
    public_url: str | None
    script_workers: int
    otel: str
    log_level: str
    log_format: str

    @property
    def settings(self) -> Settings:
        """The settings of the log and of the exporters."""
        return Settings(otel=self.otel, log_level=self.log_level, log_format=self.log_format)


def limits_of(settings: Settings) -> WorkspaceLimits:
    """Return the limits of each workspace."""
    return WorkspaceLimits(
        active=settings.workspace_active,
        queued=settings.workspace_queued,
        flows=settings.workspace_flows,
        stored=settings.workspace_stored,
    )


@contextlib.asynccontextmanager
async def served_engine(
    descriptor: int, configure: Callable[[Settings], "Exporters | None"]
) -> AsyncIterator[Awaitable[None]]:
    """Serve an engine to the server at the other end of a socket; yield a future, done once the server closes it.

    The engine is open by then, unless the server has ended before.

    Args:
        configure: Called with the settings, which the server sends first.
    """
    server, configured = Channel(), asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:

        async def assemble(given: ProcessSettings) -> None:
            exporters = configure(given.settings)
            if exporters is not None:
                stack.callback(exporters.close)
            await stack.enter_async_context(_open_engine(server, given, exporters))
            configured.set()

        server.serve({"configure": assemble})
        await asyncio.get_running_loop().create_unix_connection(lambda: server, sock=socket.socket(fileno=descriptor))
        await asyncio.wait((server.lost, begin(configured.wait())), return_when=asyncio.FIRST_COMPLETED)
        yield server.lost


@contextlib.asynccontextmanager
async def _open_engine(server: Channel, given: ProcessSettings, exporters: "Exporters | None") -> AsyncIterator[None]:
    """Open the engine, and serve it until the end of the context."""
    clock, secrets = SystemClock(), ServerSecrets(server)
    node_types = installed(lambda reason: logger.error("node_type.load_failed", reason=reason))
    vault = ProcessVault(hidden=secrets.hidden, reveal=secrets.reveal, clock=clock)
    policy = EgressPolicy(tuple(map(ip_network, given.egress_allow)), given.own_ports, given.own_servers)
    http = EgressClients(
        policy,
        request_tracer(exporters, vault),
        processes=given.count,
    )
    sandbox = JailedSandbox(max(given.script_workers // given.count, 1))
    library = CompiledFlowCache(
        ServerDefinitions(server), {name: node_type.spec() for name, node_type in node_types.items()}
    )
    signer = LinkSigner(b"", public_url=given.public_url)
    deps = EngineDependencies(
        approval_links=signer,
        journal=ServerJournal(server),
        library=library,
        vault=vault,
        broadcast=ServerBroadcast(server),
        traces=None if exporters is None else exporters.spans,
        sandbox=sandbox,
        node_types=node_types,
        http=http,
        mail=EgressMailClients(policy, http.lookups, processes=given.count),
        imap=EgressImapClients(policy, http.lookups, processes=given.count),
        sql=EgressSqlClients(policy, http.lookups, processes=given.count),
        store=ServerStore(server),
        schemas=RustSchemas(),
        memory=ServerMemory(server),
        held=HeldMemory(given.execution_memory),
        clock=clock,
        draw=random.SystemRandom().random,
        limits=given.limits,
    )
    deps.connect(links=ServerLinks(server), flows=ServerSubFlows(server))

    def open(epoch: int, link_key: bytes) -> None:
        deps.epoch, signer.key = epoch, link_key

    def report(link_key: bytes) -> ProcessReport:
        signer.key = link_key
        return _report_of(sandbox)

    async def hide(workspace_id: WorkspaceId, values: list[bytes]) -> None:
        await vault.hide(workspace_id, unpack_texts(values))

    server.serve(ServedEngine(FlowEngine(deps), library).handlers)
    server.serve({"open": open, "report": report, "hide": hide, "forget": vault.forget})
    async with contextlib.AsyncExitStack() as closing:
        closing.push_async_callback(http.close)
        closing.push_async_callback(sandbox.close)
        yield


def _report_of(sandbox: JailedSandbox) -> ProcessReport:
    used = resource.getrusage(resource.RUSAGE_SELF)
    memory = used.ru_maxrss * 1024
    with contextlib.suppress(OSError, ValueError):
        memory = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return ProcessReport(
        cpu_seconds=used.ru_utime + used.ru_stime,
        memory=memory,
        busy_scripts=sandbox.busy,
        waiting_scripts=sandbox.waiting,
    )
