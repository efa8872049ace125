"""Servers and workers on one PostgreSQL database and one Temporal server: each with connections of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from temporalio.client import Client

from flowrunner.bootstrap.background import running
from flowrunner.bootstrap.dispatching import temporal_jobs
from flowrunner.clock import SystemClock
from flowrunner.dispatch.temporal.address import TemporalAddress
from flowrunner.dispatch.temporal.admission import Admission
from flowrunner.dispatch.temporal.connection import connect
from flowrunner.dispatch.temporal.dispatcher import TemporalDispatcher
from flowrunner.dispatch.temporal.worker import TemporalWorker
from flowrunner.dispatch.temporal.workflow_client import WorkflowClient
from flowrunner.domain.account import Account, Caller
from flowrunner.domain.causes import Requested
from flowrunner.domain.events import Event, NodeWaiting
from flowrunner.domain.limits import UNLIMITED, WorkspaceLimits
from flowrunner.domain.status import Status
from flowrunner.domain.values import JSON, AccountId, ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.engine.actor import ExecutionActor
from flowrunner.engine.dependencies import SHORT_WAIT_SECONDS, EngineDependencies
from flowrunner.engine.engine import FlowEngine
from flowrunner.nodes import built_in
from flowrunner.plugin import NodeType
from flowrunner.ports.clock import Clock
from flowrunner.ports.concurrency import ConcurrencyLimits
from flowrunner.ports.due_executions import DueExecutions
from flowrunner.ports.flows import CompiledFlows, SavedFlow
from flowrunner.ports.journal import Journal, load_whole
from flowrunner.ports.sandbox import Sandbox
from flowrunner.sandbox.pool import JailedSandbox
from flowrunner.schemas import RustSchemas
from flowrunner.security.egress_imap import EgressImapClients
from flowrunner.security.egress_mail import EgressMailClients
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.security.egress_sql import EgressSqlClients
from flowrunner.security.memory_room import FairMemory
from flowrunner.security.name_lookups import lookup_slots
from flowrunner.security.vault import AesVault, MasterKeys
from flowrunner.services.compiled_flows import CompiledFlowCache
from flowrunner.services.executions import Executions, StartRequest
from flowrunner.services.replays import Replays
from flowrunner.services.reruns import Reruns
from flowrunner.services.signals import Signals
from flowrunner.services.subflows import SubFlowExecutions
from flowrunner.services.usage import UsageLimits
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.active_slots import SqlActiveSlots
from flowrunner.storage.background import SqlJobClaims
from flowrunner.storage.children import SqlChildExecutions
from flowrunner.storage.concurrency import SqlConcurrencyLimits
from flowrunner.storage.config import SqlConfig
from flowrunner.storage.database import Database
from flowrunner.storage.due_executions import SqlDueExecutions
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.inbox import SqlInbox
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.store import SqlStore
from flowrunner.storage.usage import SqlUsage
from services.callers import caller_of
from support.databases import MARA, MARA_ACCOUNT, NOON, account, open_database
from support.dependencies import FakeHttp, RecordingBroadcast
from support.waiting import eventually

# Temporal gives a task whose worker was too busy to another one only after some time, and then after a longer one.
PATIENCE_SECONDS: Final = 120.0


@dataclass
class Cluster:
    """Opened by `cluster`."""

    url: TemporalAddress
    place: str
    http: FakeHttp
    types: dict[str, NodeType[Any]]
    sandbox: Sandbox
    limits: WorkspaceLimits = UNLIMITED
    clock: Clock = field(default_factory=SystemClock)
    short_wait: float = SHORT_WAIT_SECONDS
    engine: Callable[[EngineDependencies], FlowEngine] = FlowEngine
    wrap: Callable[[Journal, Database], Journal] = lambda journal, database: journal
    wrap_concurrency: Callable[[ConcurrencyLimits], ConcurrencyLimits] = lambda concurrency: concurrency
    broadcast: RecordingBroadcast = field(default_factory=RecordingBroadcast)

    def __post_init__(self) -> None:
        self._specs = {name: node_type.spec() for name, node_type in self.types.items()}

    async def add_account(self, added: Account) -> None:
        database = open_database(self.place)
        try:
            await SqlAccounts(database).create(added, password_hash="x")
        finally:
            await database.close()

    def add_type(self, node_type: NodeType[Any]) -> None:
        self.types[node_type.type] = node_type
        self._specs[node_type.type] = node_type.spec()

    @contextlib.asynccontextmanager
    async def server(self) -> AsyncIterator["Front"]:
        async with self._side() as side:
            yield Front(side)

    @contextlib.asynccontextmanager
    async def worker(self, *, most_active: int = 50) -> AsyncIterator[TemporalWorker]:
        async with self._worker(most_active) as worker:
            yield worker
            await worker.drain(seconds=5)

    @contextlib.asynccontextmanager
    async def life(self) -> AsyncIterator[tuple["Side", TemporalWorker]]:
        """A server and a worker, both of which are cut off at the end."""
        async with self._side() as server, self._worker(50) as worker:
            try:
                yield server, worker
            finally:
                worker._engine.stop()
                for task in worker._advancing.values():
                    task.cancel()

    @contextlib.asynccontextmanager
    async def _worker(self, most_active: int) -> AsyncIterator[TemporalWorker]:
        async with self._side() as side:
            worker = TemporalWorker(
                side.engine,
                side.workflows,
                side.inbox,
                side.admission,
                self.clock,
                client=side.client,
                queue=self.url.queue,
                most_active=most_active,
            )
            await worker.open()
            try:
                yield worker
            finally:
                await worker.close()

    @contextlib.asynccontextmanager
    async def _side(self) -> AsyncIterator["Side"]:
        """What servers and workers have in common."""
        # As a server does, which waits for a Temporal that is too busy to answer in time.
        client = await eventually(lambda: connect(self.url, api_key=None))
        database = open_database(self.place)
        journal, inbox, flows = self.wrap(SqlJournal(database), database), SqlInbox(database), SqlFlows(database)
        vault = AesVault(SqlSecrets(database), MasterKeys(bytes(range(32))), self.clock)
        deps = EngineDependencies(
            journal=journal,
            library=CompiledFlowCache(flows, self._specs),
            vault=vault,
            broadcast=self.broadcast,
            sandbox=self.sandbox,
            node_types=self.types,
            http=self.http,
            mail=EgressMailClients(EgressPolicy(), lookup_slots()),
            imap=EgressImapClients(EgressPolicy(), lookup_slots()),
            sql=EgressSqlClients(EgressPolicy(), lookup_slots()),
            store=SqlStore(database, self.limits),
            schemas=RustSchemas(),
            clock=self.clock,
            draw=lambda: 0.0,
            short_wait=self.short_wait,
            limits=self.limits,
        )
        workflows = WorkflowClient(client, self.url.queue, journal=journal, inbox=inbox, vault=vault, clock=self.clock)
        engine = self.engine(deps)
        slots = SqlActiveSlots(database)
        admission = Admission(slots, workflows, self.clock, limits=self.limits)
        due, concurrency = SqlDueExecutions(database), self.wrap_concurrency(SqlConcurrencyLimits(database))
        dispatcher = TemporalDispatcher(
            engine,
            workflows,
            admission,
            journal=journal,
            due=due,
            concurrency=concurrency,
            children=SqlChildExecutions(database),
            inbox=inbox,
            clock=self.clock,
        )
        reader, schemas = SqlExecutions(database), RustSchemas()
        replays = Replays(journal, FairMemory())
        executions = Executions(
            reader, flows, deps.library, dispatcher, concurrency=concurrency,
            usage=UsageLimits(SqlUsage(database), self.limits, self.clock), sandbox=self.sandbox, schemas=schemas,
            clock=self.clock, config=SqlConfig(database),
        )  # fmt: skip
        deps.connect(links=dispatcher, flows=SubFlowExecutions(executions, flows))
        await dispatcher.open()
        jobs, claims = temporal_jobs(dispatcher), SqlJobClaims(database)
        try:
            async with running(jobs, clock=SystemClock(), claims=claims):
                yield Side(
                    client=client,
                    deps=deps,
                    engine=engine,
                    journal=journal,
                    due=due,
                    concurrency=concurrency,
                    inbox=inbox,
                    flows=flows,
                    vault=vault,
                    workflows=workflows,
                    slots=slots,
                    admission=admission,
                    dispatcher=dispatcher,
                    executions=executions,
                    signals=Signals(
                        reader,
                        replays,
                        dispatcher,
                        accounts=SqlAccounts(database),
                        vault=vault,
                        schemas=schemas,
                        clock=self.clock,
                    ),
                    reruns=Reruns(executions, reader, journal, flows, deps.library, replays=replays, clock=deps.clock),
                    library=deps.library,
                    database=database,
                )
        finally:
            await dispatcher.close()
            await database.close()


@dataclass(kw_only=True)
class Side:
    """One process of the cluster."""

    client: Client
    deps: EngineDependencies
    engine: FlowEngine
    journal: Journal
    due: DueExecutions
    concurrency: ConcurrencyLimits
    inbox: SqlInbox
    flows: SqlFlows
    vault: AesVault
    workflows: WorkflowClient
    slots: SqlActiveSlots
    admission: Admission
    dispatcher: TemporalDispatcher
    executions: Executions
    signals: Signals
    reruns: Reruns
    library: CompiledFlows
    database: Database


class UntimedEngine(FlowEngine):
    """For a clock that does not go by itself: what its executions wait for never comes by itself either."""

    async def load(self, id: ExecutionId) -> Any:
        run = await super().load(id)
        return None if run is None else UntimedRun(run, self._deps.clock)


class UntimedRun:
    """Fills `ports.ActiveExecution`."""

    def __init__(self, run: ExecutionActor, clock: Clock) -> None:
        self._run = run
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    async def advance(self) -> datetime | None:
        due_at = await self._run.advance()
        return None if due_at is None else self._clock.now() + timedelta(days=1)


class Front:
    """A server, as whoever calls it sees it."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.client = side.client
        self.dispatcher = side.dispatcher
        self.signals = side.signals
        self.caller: Caller = caller_of(MARA_ACCOUNT)

    async def save(self, definition: str, id: str = "flow-1", *, workspace_id: WorkspaceId = MARA) -> None:
        saved = SavedFlow(
            id=FlowId(id),
            name=id,
            description="",
            version="1",
            tags=[],
            created_at=NOON,
            updated_at=NOON,
            definition=definition,
            revision_id=RevisionId(f"rev-{id}"),
            saved_by=AccountId(workspace_id),
        )
        await self.side.flows.create(workspace_id, saved)

    async def start(
        self, flow: str = "flow-1", input: Mapping[str, JSON] | None = None, *, workspace_id: WorkspaceId = MARA
    ) -> ExecutionId:
        asked = StartRequest(
            workspace_id=workspace_id,
            flow_id=FlowId(flow),
            input=input or {},
            cause=Requested(by=AccountId(workspace_id)),
        )
        return (await self.side.executions.accept(asked)).id

    async def status(self, id: ExecutionId) -> Status:
        return (await self.side.journal.stored(id)).status

    async def events(self, id: ExecutionId) -> Sequence[Event]:
        _, events = await load_whole(self.side.journal, id)
        return [event for event, _ in events]

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await holds():  # noqa: ASYNC110 # others do it, in their own time
                await asyncio.sleep(0.01)

    async def until_ended(self, *ids: ExecutionId) -> list[Status]:
        async def have_ended() -> bool:
            return all([(await self.status(id)).is_final for id in ids])

        await self.until(have_ended)
        return [await self.status(id) for id in ids]

    async def until_waiting(self, id: ExecutionId) -> None:
        async def is_waiting() -> bool:
            query = "SELECT is_idle FROM executions WHERE id = :id"
            row = await self.side.database.read(lambda tx: tx.row(query, {"id": id}))
            return row is not None and bool(row[0])

        await self.until(is_waiting)

    async def until_waiting_for(self, id: ExecutionId, node: str) -> None:
        async def is_waiting() -> bool:
            events = await self.events(id)
            return any(isinstance(event, NodeWaiting) and event.node == node for event in events)

        await self.until(is_waiting)


@contextlib.asynccontextmanager
async def cluster(place: str, url: str) -> AsyncIterator[Cluster]:
    """A cluster without a process yet, on an empty database."""
    database, sandbox = open_database(place), JailedSandbox(1)
    try:
        await SqlAccounts(database).create(account(MARA), password_hash="x")
        yield Cluster(TemporalAddress.read(url), place, FakeHttp(), dict(built_in()), sandbox)
    finally:
        await sandbox.close()
        await database.close()
