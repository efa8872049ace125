"""Assembly of the runner of one flow in memory."""

import contextlib
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from flowrunner.clock import SystemClock
from flowrunner.dispatch.local import LocalDispatcher
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.engine.dependencies import EngineDependencies
from flowrunner.engine.engine import FlowEngine
from flowrunner.flowtest.local_runner import Answers, LocalRunner, Watch, Watcher
from flowrunner.flowtest.memory import (
    GivenFlows,
    MemoryJournal,
    MemorySecrets,
    MemoryStore,
    NoConcurrencyLimits,
    NoUnreconciledChildren,
)
from flowrunner.flowtest.run_test import Runtime
from flowrunner.flowtest.subflows import GivenSubFlows
from flowrunner.ids import new_id
from flowrunner.security.egress import EgressClients
from flowrunner.security.egress_imap import EgressImapClients
from flowrunner.security.egress_mail import EgressMailClients
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.security.egress_sql import EgressSqlClients
from flowrunner.services.admission import InputForms

_MOST_ACTIVE: Final = 1000


@contextlib.asynccontextmanager
async def open_local_runner(
    runtime: Runtime,
    flows: GivenFlows,
    secrets: Mapping[str, str],
    config: Mapping[str, JSON],
    *,
    answers: Answers,
    egress_allow: Sequence[Any],
    watch: Watch,
) -> AsyncIterator[LocalRunner]:
    """Open a runner with the real clock and real node types, which connect only where the egress policy allows."""
    journal, clock, watcher = MemoryJournal(), SystemClock(), Watcher(watch)
    http = EgressClients(EgressPolicy(egress_allow))
    deps = EngineDependencies(
        journal=journal,
        library=flows,
        vault=MemorySecrets(secrets, runtime.make_redactor),
        broadcast=watcher,
        sandbox=runtime.sandbox,
        node_types=runtime.node_types,
        http=http,
        mail=EgressMailClients(http.policy, http.lookups),
        imap=EgressImapClients(http.policy, http.lookups),
        sql=EgressSqlClients(http.policy, http.lookups),
        store=MemoryStore(),
        schemas=runtime.schemas,
        clock=clock,
        draw=random.SystemRandom().random,
    )
    dispatcher = LocalDispatcher(
        FlowEngine(deps),
        clock,
        journal=journal,
        due=journal,
        concurrency=NoConcurrencyLimits(),
        children=NoUnreconciledChildren(),
        most_active=_MOST_ACTIVE,
    )
    forms = InputForms(runtime.schemas)
    deps.connect(
        links=dispatcher,
        flows=GivenSubFlows(
            flows=flows,
            dispatcher=dispatcher,
            forms=forms,
            clock=clock,
            next_id=lambda: ExecutionId(new_id("exec", clock.now())),
            config=config,
        ),
    )
    try:
        await dispatcher.open()
        yield LocalRunner(
            journal=journal,
            dispatcher=dispatcher,
            watcher=watcher,
            forms=forms,
            schemas=runtime.schemas,
            clock=clock,
            answers=answers,
            config=config,
        )
    finally:
        await dispatcher.close()
        await http.close()
