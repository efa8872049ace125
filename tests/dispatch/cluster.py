"""Servers and workers on one database and one Temporal server, all in this process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client

from flowrunner.clock import SystemClock
from flowrunner.dispatch.temporal.connection import TemporalUrl, connect
from flowrunner.dispatch.temporal.courier import Courier
from flowrunner.dispatch.temporal.dispatcher import TemporalDispatcher
from flowrunner.dispatch.temporal.worker import TemporalWorker
from flowrunner.domain.account import Caller
from flowrunner.domain.execution import Event, Status
from flowrunner.domain.values import JSON, ExecutionId, FlowId, RevisionId
from flowrunner.engine.engine import FlowEngine
from flowrunner.engine.world import World
from flowrunner.nodes import built_in
from flowrunner.plugin import NodeType
from flowrunner.ports import SavedFlow
from flowrunner.sandbox.pool import JailedSandbox
from flowrunner.schemas import RustSchemas
from flowrunner.security.vault import AesVault, MasterKeys
from flowrunner.services.executions import Executions, Origin
from flowrunner.services.flows import ReadyFlows
from flowrunner.services.signals import Signals
from flowrunner.services.subflows import SubFlowExecutions
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.letters import SqlLetters
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.sqlite.database import Database
from services.callers import caller_of
from support.databases import MARA, NOON, account, new_database_file, open_database
from support.world import FakeHttp, RecordingBroadcast

PATIENCE_SECONDS: Final = 30.0


@dataclass
class Cluster:
    """Opened by `cluster`."""

    url: TemporalUrl
    database: Database
    http: FakeHttp
    types: dict[str, NodeType[Any]]
    sandbox: JailedSandbox
    clock: SystemClock = field(default_factory=SystemClock)
    broadcast: RecordingBroadcast = field(default_factory=RecordingBroadcast)

    def __post_init__(self) -> None:
        self.journal = SqlJournal(self.database)
        self.letters = SqlLetters(self.database)
        self.vault = AesVault(SqlSecrets(self.database), MasterKeys(bytes(range(32))))
        self._specs = {name: node_type.spec() for name, node_type in self.types.items()}
        self.flows = SqlFlows(self.database)

    def add_type(self, node_type: NodeType[Any]) -> None:
        self.types[node_type.type] = node_type
        self._specs[node_type.type] = node_type.spec()

    @contextlib.asynccontextmanager
    async def server(self) -> AsyncIterator["Front"]:
        client = await connect(self.url, api_key=None)
        world, courier = self._world(client)
        dispatcher = TemporalDispatcher(FlowEngine(world), courier, self.journal, self.letters, self.clock)
        executions = self._executions(world, dispatcher)
        world.connect(relatives=dispatcher, flows=SubFlowExecutions(executions, self.flows))
        reader = SqlExecutions(self.database)
        signals = Signals(reader, self.journal, dispatcher, RustSchemas(), self.clock)
        await dispatcher.open()
        try:
            yield Front(self, client, dispatcher, executions, signals)
        finally:
            await dispatcher.close()

    @contextlib.asynccontextmanager
    async def worker(self, *, most_active: int = 50) -> AsyncIterator[TemporalWorker]:
        client = await connect(self.url, api_key=None)
        world, courier = self._world(client)
        engine = FlowEngine(world)
        worker = TemporalWorker(
            engine, courier, self.journal, self.letters, client=client, queue=self.url.queue, most_active=most_active
        )
        # It starts executions of its own, for nodes that run other flows.
        dispatcher = TemporalDispatcher(engine, courier, self.journal, self.letters, self.clock)
        world.connect(relatives=dispatcher, flows=SubFlowExecutions(self._executions(world, dispatcher), self.flows))
        await dispatcher.open()
        await worker.open()
        try:
            yield worker
        finally:
            await worker.drain(seconds=5)
            await worker.close()
            await dispatcher.close()

    def _world(self, client: Client) -> tuple[World, Courier]:
        world = World(
            journal=self.journal,
            library=ReadyFlows(self.flows, self._specs),
            vault=self.vault,
            broadcast=self.broadcast,
            sandbox=self.sandbox,
            node_types=self.types,
            http=self.http,
            clock=self.clock,
            draw=lambda: 0.0,
        )
        courier = Courier(
            client, self.url.queue, journal=self.journal, letters=self.letters, vault=self.vault, clock=self.clock
        )
        return world, courier

    def _executions(self, world: World, dispatcher: TemporalDispatcher) -> Executions:
        reader = SqlExecutions(self.database)
        return Executions(
            reader,
            self.flows,
            world.library,
            dispatcher,
            sandbox=self.sandbox,
            schemas=RustSchemas(),
            clock=self.clock,
        )


@dataclass
class Front:
    """One server, as whoever calls it sees it."""

    cluster: Cluster
    client: Client
    dispatcher: TemporalDispatcher
    executions: Executions
    signals: Signals
    caller: Caller = field(default_factory=lambda: caller_of(MARA))

    async def save(self, definition: str, id: str = "flow-1") -> None:
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
        )
        await self.cluster.flows.create(MARA, saved)

    async def start(self, flow: str = "flow-1", input: JSON = None) -> ExecutionId:
        return (await self.executions.accept(Origin(account_id=MARA), FlowId(flow), input or {})).id

    async def status(self, id: ExecutionId) -> Status:
        return (await self.cluster.journal.stored(id)).status

    async def events(self, id: ExecutionId) -> Sequence[Event]:
        _, events = await self.cluster.journal.load(id)
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
            return await self.status(id) is Status.WAITING

        await self.until(is_waiting)


@contextlib.asynccontextmanager
async def cluster(path: Path, url: str) -> AsyncIterator[Cluster]:
    new_database_file(path)
    database, sandbox = open_database(path), JailedSandbox(1)
    try:
        await SqlAccounts(database).create(account(MARA), password_hash="x")
        yield Cluster(TemporalUrl.read(url), database, FakeHttp(), dict(built_in()), sandbox)
    finally:
        await sandbox.close()
        await database.close()
