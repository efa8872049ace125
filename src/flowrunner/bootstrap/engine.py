"""The parts that advance executions, and their assembly."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from flowrunner.bootstrap.background import Background
from flowrunner.bootstrap.dispatching import Dispatch
from flowrunner.bootstrap.engine_process import limits_of
from flowrunner.bootstrap.resources import Resources
from flowrunner.bootstrap.starting_processes import engine_of
from flowrunner.bootstrap.telemetry import observe_executions
from flowrunner.broadcast import LocalBroadcast
from flowrunner.dispatch.processes.engine_processes import EngineProcesses, StartProcess
from flowrunner.domain.flow import NodeTypeSpec
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.engine.dependencies import EngineDependencies
from flowrunner.engine.held_memory import HeldMemory
from flowrunner.nodes import installed
from flowrunner.ports.dispatch import Advancing, OpenDispatcher
from flowrunner.security.approval_links import SignedApprovalLinks
from flowrunner.security.egress_imap import EgressImapClients
from flowrunner.security.egress_mail import EgressMailClients
from flowrunner.security.egress_sql import EgressSqlClients
from flowrunner.security.memory_room import FairMemory
from flowrunner.services.compiled_flows import CompiledFlowCache

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """The engine and its dispatcher.

    Attributes:
        processes: The processes that advance executions; None if the server's own process does.
        dispatch_jobs: The background jobs of the dispatcher.
    """

    deps: EngineDependencies
    broadcast: LocalBroadcast
    specs: Mapping[str, NodeTypeSpec]
    library: CompiledFlowCache
    approval_links: SignedApprovalLinks
    limits: WorkspaceLimits
    processes: EngineProcesses | None
    dispatcher: OpenDispatcher
    advancing: Advancing
    dispatch_jobs: Sequence[Background]


def assemble_engine(opened: Resources, dispatch: Dispatch, start_process: StartProcess | None) -> EngineParts:
    """Return the engine, to which links between executions and the flows that nodes call have yet to be connected."""
    settings, stored, stores, exporters = opened.settings, opened.stored, opened.stores, opened.exporters
    node_types = installed(lambda reason: logger.error("node_type.load_failed", reason=reason))
    specs = {name: node_type.spec() for name, node_type in node_types.items()}
    library, broadcast, limits = CompiledFlowCache(stores.flows, specs), LocalBroadcast(), limits_of(settings)
    approval_links = SignedApprovalLinks(stored.signing_keys, public_url=settings.public_url)
    deps = EngineDependencies(
        approval_links=approval_links,
        journal=stores.journal,
        library=library,
        vault=stored.vault,
        broadcast=broadcast,
        observer=observe_executions(opened.metrics, settings, node_types, exporters),
        traces=None if exporters is None else exporters.spans,
        sandbox=opened.sandbox,
        node_types=node_types,
        http=opened.http,
        mail=EgressMailClients(opened.http.policy, opened.http.lookups),
        imap=EgressImapClients(opened.http.policy, opened.http.lookups),
        sql=EgressSqlClients(opened.http.policy, opened.http.lookups),
        store=stores.store,
        schemas=opened.schemas,
        memory=FairMemory(),
        held=HeldMemory(settings.execution_memory),
        clock=opened.clock,
        draw=random.SystemRandom().random,
        limits=limits,
    )
    engine, processes = engine_of(
        settings, deps, vault=stored.vault, flows=stores.flows, links=approval_links, start=start_process
    )
    dispatcher, advancing, dispatch_jobs = dispatch(engine, stores.journal, limits)
    return EngineParts(
        deps=deps,
        broadcast=broadcast,
        specs=specs,
        library=library,
        approval_links=approval_links,
        limits=limits,
        processes=processes,
        dispatcher=dispatcher,
        advancing=advancing,
        dispatch_jobs=dispatch_jobs,
    )
