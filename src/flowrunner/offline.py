"""Builds what works without a server: reading flows, running their tests, running one flow.

Only this and `bootstrap` see the adapters. It leaves out the API and the database, and so starts in half
the time.
"""

import contextlib
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from flowrunner.clock import SystemClock
from flowrunner.dispatch.local import LocalDispatcher
from flowrunner.domain.json_schema import SchemaEngine
from flowrunner.domain.values import ExecutionId
from flowrunner.engine.engine import FlowEngine
from flowrunner.engine.world import World
from flowrunner.nodes import built_in
from flowrunner.plugin import NodeType
from flowrunner.ports import Redactor, Sandbox
from flowrunner.rehearsal.alone import Alone, Watch, Watcher
from flowrunner.rehearsal.memory import GivenFlows, MemoryJournal, MemoryVault
from flowrunner.rehearsal.rehearse import Kit
from flowrunner.rehearsal.subflows import GivenSubFlows
from flowrunner.sandbox.pool import JailedSandbox
from flowrunner.schemas import RustSchemas
from flowrunner.security.egress import EgressClient, EgressPolicy
from flowrunner.security.redaction import SecretRedactor
from flowrunner.services.admission import InputForms
from flowrunner.services.ids import new_id
from flowrunner.services.language import Language

_MOST_ACTIVE = 1000


@contextlib.asynccontextmanager
async def open_kit(*, script_workers: int = 1) -> AsyncIterator[tuple[Language, Kit]]:
    """What reads flows and runs their tests. No process starts before the first JavaScript."""
    node_types, schemas = built_in(), RustSchemas()
    sandbox = JailedSandbox(script_workers)
    try:
        yield (
            _language(node_types, schemas, sandbox),
            Kit(node_types=node_types, sandbox=sandbox, schemas=schemas, make_redactor=_redactor),
        )
    finally:
        await sandbox.close()


@contextlib.asynccontextmanager
async def open_alone(
    kit: Kit, flows: GivenFlows, secrets: Mapping[str, str], *, egress_allow: Sequence[Any], watch: Watch
) -> AsyncIterator[Alone]:
    """What runs flows for real: node types that reach outside as far as the guard lets them, and the real clock."""
    journal, clock, watcher = MemoryJournal(), SystemClock(), Watcher(watch)
    http = EgressClient(EgressPolicy(egress_allow))
    world = World(
        journal=journal,
        library=flows,
        vault=MemoryVault(secrets, kit.make_redactor),
        broadcast=watcher,
        sandbox=kit.sandbox,
        node_types=kit.node_types,
        http=http,
        clock=clock,
        draw=random.SystemRandom().random,
    )
    dispatcher = LocalDispatcher(FlowEngine(world), journal, clock, most_active=_MOST_ACTIVE)
    forms = InputForms(kit.schemas)
    world.connect(
        relatives=dispatcher,
        flows=GivenSubFlows(
            flows=flows,
            dispatcher=dispatcher,
            forms=forms,
            clock=clock,
            next_id=lambda: ExecutionId(new_id("exec", clock.now())),
        ),
    )
    try:
        await dispatcher.open()
        yield Alone(journal=journal, dispatcher=dispatcher, watcher=watcher, forms=forms, clock=clock)
    finally:
        await dispatcher.close()
        await http.close()


def _language(node_types: Mapping[str, NodeType[Any]], schemas: SchemaEngine, sandbox: Sandbox) -> Language:
    return Language({name: node_type.spec() for name, node_type in node_types.items()}, schemas, sandbox)


def _redactor(values: Iterable[str]) -> Redactor:
    redactor = SecretRedactor()
    redactor.add(values)
    return redactor
