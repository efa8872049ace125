"""Builds what runs one flow for real, in memory."""

import contextlib
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from flowrunner.clock import SystemClock
from flowrunner.dispatch.local import LocalDispatcher
from flowrunner.domain.values import ExecutionId
from flowrunner.engine.engine import FlowEngine
from flowrunner.engine.world import World
from flowrunner.rehearsal.alone import Alone, Answers, Watch, Watcher
from flowrunner.rehearsal.memory import GivenFlows, MemoryJournal, MemoryVault
from flowrunner.rehearsal.rehearse import Kit
from flowrunner.rehearsal.subflows import GivenSubFlows
from flowrunner.security.egress import EgressClients
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.services.admission import InputForms
from flowrunner.services.ids import new_id

_MOST_ACTIVE: Final = 1000


@contextlib.asynccontextmanager
async def open_alone(
    kit: Kit,
    flows: GivenFlows,
    secrets: Mapping[str, str],
    *,
    answers: Answers,
    egress_allow: Sequence[Any],
    watch: Watch,
) -> AsyncIterator[Alone]:
    """What runs flows for real: node types that reach outside as far as the guard lets them, and the real clock."""
    journal, clock, watcher = MemoryJournal(), SystemClock(), Watcher(watch)
    http = EgressClients(EgressPolicy(egress_allow))
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
        yield Alone(
            journal=journal,
            dispatcher=dispatcher,
            watcher=watcher,
            forms=forms,
            schemas=kit.schemas,
            clock=clock,
            answers=answers,
        )
    finally:
        await dispatcher.close()
        await http.close()
