"""How many executions a second does the engine run by itself: real journal, real dispatcher, no HTTP?

python -m bench.engine DIRECTORY NODE_TYPE NODES SECONDS
"""

import asyncio
import contextlib
import json
import random
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.processes import BenchFailed
from flowrunner.bootstrap.interpreter import frozen_gc
from flowrunner.clock import SystemClock
from flowrunner.dispatch.local import LocalDispatcher
from flowrunner.domain.account import Account
from flowrunner.domain.causes import Requested
from flowrunner.domain.flow import Flow
from flowrunner.domain.limits import UNLIMITED, WorkspaceLimits
from flowrunner.domain.values import JSON, AccountId, ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.engine.dependencies import EngineDependencies
from flowrunner.engine.engine import FlowEngine
from flowrunner.ids import new_id
from flowrunner.language import read_flow
from flowrunner.logs import configure_logging
from flowrunner.metrics.executions import ExecutionMetrics
from flowrunner.metrics.flow_series import FlowRanking
from flowrunner.nodes import built_in
from flowrunner.plugin import NodeType, Params, StepContext
from flowrunner.ports.flows import SavedFlow
from flowrunner.ports.journal import Journal, NewExecution, Recorded
from flowrunner.sandbox.pool import JailedSandbox
from flowrunner.schemas import RustSchemas
from flowrunner.security.egress import EgressClients
from flowrunner.security.egress_imap import EgressImapClients
from flowrunner.security.egress_mail import EgressMailClients
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.security.egress_sql import EgressSqlClients
from flowrunner.security.vault import AesVault, MasterKeys
from flowrunner.services.compiled_flows import CompiledFlowCache
from flowrunner.services.executions import Executions
from flowrunner.services.subflows import SubFlowExecutions
from flowrunner.services.usage import UsageLimits
from flowrunner.settings import load_settings
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.appends import AppendOp, append_together
from flowrunner.storage.children import SqlChildExecutions
from flowrunner.storage.concurrency import SqlConcurrencyLimits
from flowrunner.storage.config import SqlConfig
from flowrunner.storage.due_executions import SqlDueExecutions
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.sqlite.database import SqliteDatabase
from flowrunner.storage.sqlite.migrations import migrate_sqlite
from flowrunner.storage.store import SqlStore
from flowrunner.storage.transaction import one_row
from flowrunner.storage.usage import SqlUsage

IN_FLIGHT: Final = 100
_WARM_UP_SECONDS: Final = 0.5
_MOST_ACTIVE: Final = 1000
_ACCOUNT: Final = WorkspaceId("account-bench")
_FLOW: Final = FlowId("flow-bench")
_REVISION: Final = RevisionId("rev-bench")
_CAUSE: Final = Requested(by=AccountId(_ACCOUNT))


class Nothing(Params):
    pass


class NoOp(NodeType[Nothing]):
    """Does nothing, but says that it might: each of its starts is durable before it runs."""

    type = "bench.noop"
    Params = Nothing
    pure = False
    # As of the built-in nodes.
    keeps_params = True

    async def run(self, params: Nothing, context: StepContext) -> JSON:
        return None


def definition(node_type: str, nodes: int) -> str:
    """A flow of so many nodes in a row."""
    lines = [f'metadata: {{name: "{nodes} of {node_type}", version: "1.0.0"}}', "nodes:"]
    params = "{value: {n: 1}}" if node_type == "transform" else "{}"
    for number in range(1, nodes + 1):
        following = f", next: {{default: n{number + 1}}}" if number < nodes else ""
        lines.append(f"  n{number}: {{type: {node_type}, params: {params}{following}}}")
    return "\n".join(lines) + "\n"


class Ends:
    """Tells whoever waits for an execution that its end is durable. Fills `ports.Broadcast`."""

    def __init__(self) -> None:
        self.waiting: dict[ExecutionId, asyncio.Future[None]] = {}

    def publish(self, execution_id: ExecutionId, records: Sequence[Recorded]) -> None:
        if records[-1].event.type.startswith("execution.completed"):
            self.waiting.pop(execution_id).set_result(None)

    def mark_stale(self, execution_id: ExecutionId) -> None:
        """The database does not go away."""


@dataclass(slots=True)
class Engine:
    dispatcher: LocalDispatcher
    database: SqliteDatabase
    ends: Ends
    flow: Flow
    clock: SystemClock

    async def run_one(self) -> ExecutionId:
        """An execution from its acceptance to its durable end."""
        now = self.clock.now()
        id = ExecutionId(new_id("exec", now))
        ended = self.ends.waiting[id] = asyncio.get_running_loop().create_future()
        new = NewExecution(
            id=id, workspace_id=_ACCOUNT, flow_id=_FLOW, revision_id=_REVISION, started_at=now, cause=_CAUSE
        )
        await self.dispatcher.start(new, self.flow, {})
        await ended
        return id


@contextlib.asynccontextmanager
async def open_engine(
    path: Path,
    text: str,
    *,
    wrap: Callable[[Journal], Journal] = lambda journal: journal,
    on_commit: Callable[[int], None] = lambda size: None,
) -> AsyncIterator[Engine]:
    """The engine as the server has it, on a new database, with one flow."""
    migrate_sqlite(path)
    node_types: dict[str, NodeType[Any]] = {**built_in(), NoOp.type: NoOp()}
    specs = {name: node_type.spec() for name, node_type in node_types.items()}
    database = SqliteDatabase(path, bulk={AppendOp: append_together}, on_commit=on_commit)
    sandbox = JailedSandbox()
    http, clock, ends = EgressClients(EgressPolicy((), frozenset())), SystemClock(), Ends()
    deps = EngineDependencies(
        journal=wrap(SqlJournal(database)),
        library=CompiledFlowCache(SqlFlows(database), specs),
        vault=AesVault(SqlSecrets(database), MasterKeys(secrets.token_bytes(32)), clock),
        broadcast=ends,
        observer=ExecutionMetrics(node_types, FlowRanking(20)),
        sandbox=sandbox,
        node_types=node_types,
        http=http,
        mail=EgressMailClients(http.policy, http.lookups),
        imap=EgressImapClients(http.policy, http.lookups),
        sql=EgressSqlClients(http.policy, http.lookups),
        store=SqlStore(database),
        schemas=RustSchemas(),
        clock=clock,
        draw=random.SystemRandom().random,
        limits=WorkspaceLimits(stored=10 * 2**30),
    )
    concurrency = SqlConcurrencyLimits(database)
    dispatcher = LocalDispatcher(
        FlowEngine(deps),
        clock,
        journal=deps.journal,
        due=SqlDueExecutions(database),
        concurrency=concurrency,
        children=SqlChildExecutions(database),
        most_active=_MOST_ACTIVE,
    )
    flows, schemas = SqlFlows(database), RustSchemas()
    executions = Executions(
        SqlExecutions(database), flows, deps.library, dispatcher, concurrency=concurrency,
        usage=UsageLimits(SqlUsage(database), UNLIMITED, clock), sandbox=sandbox, schemas=schemas, clock=clock,
        config=SqlConfig(database),
    )  # fmt: skip
    deps.connect(links=dispatcher, flows=SubFlowExecutions(executions, flows))
    try:
        await save_flow(database, text, clock)
        await dispatcher.open()
        yield Engine(dispatcher, database, ends, read_flow(text, specs), clock)
    finally:
        await dispatcher.close()
        await sandbox.close()
        await http.close()
        await database.close()


async def save_flow(database: SqliteDatabase, text: str, clock: SystemClock) -> None:
    """The account and the flow that every execution belongs to; the journal takes no others."""
    now = clock.now()
    account = Account(
        id=AccountId(_ACCOUNT), name="bench", email="bench@example.com", role="user", created_at=now, updated_at=now
    )
    await SqlAccounts(database).create(account, password_hash="")
    flow = SavedFlow(
        id=_FLOW,
        name="bench",
        description="",
        version="1",
        tags=(),
        created_at=now,
        updated_at=now,
        definition=text,
        revision_id=_REVISION,
        saved_by=AccountId(_ACCOUNT),
    )
    await SqlFlows(database).create(_ACCOUNT, flow)


async def measure(path: Path, text: str, seconds: float) -> dict[str, Any]:
    commits: list[int] = []
    async with open_engine(path, text, on_commit=commits.append) as engine:
        with frozen_gc():
            done = 0
            stopping = False

            async def keep_one_in_flight() -> None:
                nonlocal done
                while not stopping:
                    await engine.run_one()
                    done += 1

            async with asyncio.TaskGroup() as tasks:
                for _ in range(IN_FLIGHT):
                    tasks.create_task(keep_one_in_flight())
                await asyncio.sleep(_WARM_UP_SECONDS)
                begun, done_before, commits_before = time.perf_counter(), done, len(commits)
                cpu_begun = time.process_time()
                await asyncio.sleep(seconds)
                elapsed, counted, measured = time.perf_counter() - begun, done - done_before, commits[commits_before:]
                cpu = time.process_time() - cpu_begun
                stopping = True
            await _check(engine, done)
    return {
        "per_second": counted / elapsed,
        "commits_per_second": len(measured) / elapsed,
        "appends_per_commit": sum(measured) / max(len(measured), 1),
        "cpu_ms": cpu / max(counted * len(engine.flow.nodes), 1) * 1000,
    }


COUNTS: Final = """
SELECT (SELECT count(*) FROM executions WHERE status = 'completed'),
       (SELECT count(*) FROM readable_events WHERE type = 'node.completed')
"""


async def _check(engine: Engine, done: int) -> None:
    """Every execution is there, and ended, with an end and all steps among its events."""
    nodes = len(engine.flow.nodes)
    completed, steps = await engine.database.read(lambda tx: one_row(tx, COUNTS))
    if (completed, steps) != (done, done * nodes):
        raise BenchFailed(f"{done} executions were run; {completed} are completed, with {steps} steps")


def main() -> None:
    # As a server does it: few ends of executions a minute are written, and the events of steps are not even built.
    configure_logging(load_settings({}, {}))
    directory, node_type, nodes, seconds = sys.argv[1:]
    report = uvloop.run(measure(Path(directory) / "engine.db", definition(node_type, int(nodes)), float(seconds)))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
