"""The engine on a real database, with the clock, chance and the network made by hand."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from flowrunner.dispatch.local import LocalDispatcher
from flowrunner.domain.events import Event, NodeFailed
from flowrunner.domain.limits import UNLIMITED, WorkspaceLimits
from flowrunner.domain.status import Status
from flowrunner.domain.values import JSON, AccountId, ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.engine.dependencies import EngineDependencies
from flowrunner.engine.engine import FlowEngine
from flowrunner.fair_slots import FairSlots
from flowrunner.nodes import built_in
from flowrunner.plugin import LONG_BODY_BYTES, HttpAnswer, NodeFailure, NodeType, Params, StepContext
from flowrunner.ports.concurrency import ConcurrencyLimits
from flowrunner.ports.due_executions import DueExecutions
from flowrunner.ports.flows import SavedFlow
from flowrunner.ports.journal import Journal, NewExecution, Recorded, load_whole
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
from flowrunner.services.executions import Executions
from flowrunner.services.replays import Replays
from flowrunner.services.reruns import Reruns
from flowrunner.services.signals import Signals
from flowrunner.services.subflows import SubFlowExecutions
from flowrunner.services.usage import UsageLimits
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.children import SqlChildExecutions
from flowrunner.storage.concurrency import SqlConcurrencyLimits
from flowrunner.storage.config import SqlConfig
from flowrunner.storage.database import Database
from flowrunner.storage.due_executions import SqlDueExecutions
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.store import SqlStore
from flowrunner.storage.usage import SqlUsage
from support.databases import (
    MARA,
    NOON,
    OMAR,
    REQUESTED,
    Place,
    account,
    new_database_file,
    open_database,
    reading,
    rows_of,
)
from support.flows import flow_of

# Longer than anything here takes, shorter than a run of the tests may hang.
PATIENCE_SECONDS: Final = 60.0


class SteppingClock:
    """Moves a millisecond at each look, so that order is visible, and further by hand."""

    def __init__(self, start: datetime = NOON) -> None:
        self._now = start

    def now(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now

    def advance(self, **amount: float) -> None:
        self._now += timedelta(**amount)


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None

    @property
    def key(self) -> str:
        return self.headers["Idempotency-Key"]


Answer = HttpAnswer | NodeFailure | Callable[[Request], Awaitable[HttpAnswer]]


def answer(status: int = 200, body: str = "{}", **headers: str) -> HttpAnswer:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpAnswer(status, {"content-type": "application/json"} | names, body.encode(), "http://peer/", 0)


async def never(request: Request) -> HttpAnswer:
    """The other side does not answer."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


@dataclass(eq=False)
class FakeHttp:
    """The network. Each URL gives its answers in order, the last one again and again.

    Attributes:
        requests: All there were, over the lives of every process that shares this.
        is_cut: Nothing gets out any more.
        long_values: Slots for long answers; None for any number of them.
    """

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    is_cut: Callable[[], bool] = lambda: False
    long_values: FairSlots | None = None
    decoded: FairSlots | None = None
    seen: asyncio.Event = field(default_factory=asyncio.Event)

    def at(self, url: str, *answers: Answer) -> None:
        self.answers[url] = list(answers)

    def of(self, workspace_id: WorkspaceId) -> "FakeHttp":
        return self

    def hold_long_value(self, workspace_id: WorkspaceId) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self.long_values is None else self.long_values.hold(workspace_id)

    def hold_memory(self, workspace_id: WorkspaceId, size: int) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self.decoded is None else self.decoded.hold(workspace_id, size)

    def hold(self, *, is_long: bool = False) -> AbstractAsyncContextManager["FakeHttp"]:
        return nullcontext(self)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        max_redirects: int = 0,
        on_long: Callable[[], Awaitable[None]] | None = None,
    ) -> HttpAnswer:
        if self.is_cut():
            await asyncio.Event().wait()
        request = Request(method, url, headers, body)
        self.requests.append(request)
        self.seen.set()
        answers = self.answers.get(url, [answer()])
        chosen = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(chosen, NodeFailure):
            raise chosen
        given = chosen if isinstance(chosen, HttpAnswer) else await chosen(request)
        if on_long is not None and len(given.body) > LONG_BODY_BYTES:
            await on_long()
        return given


class _AnyParams(Params):
    value: Any = None


class Acting(NodeType[_AnyParams]):
    """A node type that does what a test says."""

    Params = _AnyParams
    errors = ("*",)

    def __init__(
        self,
        name: str,
        act: Callable[[Any, StepContext], Awaitable[Any]],
        *,
        pure: bool = False,
        starts_executions: bool = False,
        uses_store: bool = False,
    ) -> None:
        self.type = name  # type: ignore[misc] # one class stands for many types
        self.pure = pure  # type: ignore[misc]
        self.starts_executions = starts_executions  # type: ignore[misc]
        self.uses_store = uses_store  # type: ignore[misc]
        self._act = act

    async def run(self, params: _AnyParams, context: StepContext) -> Any:
        return await self._act(params.value, context)


@dataclass
class RecordingBroadcast:
    """The messages to live subscribers.

    Attributes:
        stale: Executions whose subscribers were sent to the journal.
    """

    published: dict[ExecutionId, list[Recorded]] = field(default_factory=lambda: defaultdict(list))
    stale: set[ExecutionId] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def publish(self, execution_id: ExecutionId, records: Sequence[Recorded]) -> None:
        self.published[execution_id].extend(records)
        self.changed.set()

    def mark_stale(self, execution_id: ExecutionId) -> None:
        self.stale.add(execution_id)
        self.changed.set()


@dataclass
class Machine:
    """One process: an engine over a database. Opened by `machine`."""

    path: Place
    database: Database
    journal: Journal
    deps: EngineDependencies
    dispatcher: LocalDispatcher
    clock: SteppingClock
    http: FakeHttp
    broadcast: RecordingBroadcast
    vault: AesVault
    library: CompiledFlowCache
    types: Mapping[str, NodeType[Any]]
    executions: Executions
    signals: Signals
    reruns: Reruns

    async def save(self, definition: str, id: str = "flow-1", *, workspace_id: WorkspaceId = MARA) -> FlowId:
        specs = {name: node_type.spec() for name, node_type in self.types.items()}
        flow_of(definition, specs)
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
        await SqlFlows(self.database).create(workspace_id, saved)
        return saved.id

    async def start(
        self, flow_id: str = "flow-1", input: JSON = None, *, id: str = "exec-1", key: str | None = None
    ) -> ExecutionId:
        revision_id = RevisionId(f"rev-{flow_id}")
        new = NewExecution(
            id=ExecutionId(id),
            workspace_id=MARA,
            flow_id=FlowId(flow_id),
            revision_id=revision_id,
            started_at=self.clock.now(),
            cause=REQUESTED,
            idempotency_key=key,
        )
        await self.dispatcher.start(new, await self.library.get(MARA, revision_id), input)
        return new.id

    async def run(self, definition: str, input: JSON = None, *, id: str = "exec-1") -> list[Event]:
        """Save a flow, run it to its end, and give its events."""
        await self.save(definition, f"flow-of-{id}")
        await self.start(f"flow-of-{id}", input, id=id)
        await self.until_ended(id)
        return await self.events(id)

    async def events(self, id: str = "exec-1") -> list[Event]:
        _, events = await load_whole(self.journal, ExecutionId(id))
        return [event for event, _ in events]

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return await self.database.read(lambda tx: tx.rows(statement))

    async def status(self, id: str = "exec-1") -> Status:
        return (await self.journal.stored(ExecutionId(id))).status

    async def is_idle(self, id: str = "exec-1") -> bool:
        """Return whether the execution does nothing by itself before it is due."""
        # Reads through the database let the engine go on meanwhile.
        await self.status(id)
        return bool(rows_of(self.path, "SELECT is_idle FROM executions WHERE id = ?", id)[0][0])

    async def until(self, holds: Callable[[], Awaitable[bool]], *, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until something holds; looks after whatever was recorded."""
        async with asyncio.timeout(seconds):
            while not await holds():
                self.broadcast.changed.clear()
                try:
                    async with asyncio.timeout(0.02):
                        await self.broadcast.changed.wait()
                except TimeoutError:
                    continue

    async def until_ended(self, id: str = "exec-1", *, seconds: float = PATIENCE_SECONDS) -> Status:
        """Wait until it has ended and left memory."""
        # What a worker of Temporal has in memory is not seen here.
        slots = self.dispatcher._slots if isinstance(self.dispatcher, LocalDispatcher) else ()

        async def has_ended() -> bool:
            return (await self.status(id)).is_final and ExecutionId(id) not in slots

        await self.until(has_ended, seconds=seconds)
        return await self.status(id)

    @property
    def in_memory(self) -> int:
        return self.dispatcher.active

    async def until_parked(self, id: str = "exec-1") -> None:
        async def is_parked() -> bool:
            return await self.is_idle(id) and self.in_memory == 0

        await self.until(is_parked)

    async def until_failed(self, id: str = "exec-1") -> None:
        """Until an attempt of one of its steps has failed."""

        async def has_failed() -> bool:
            return any(isinstance(event, NodeFailed) for event in await self.events(id))

        await self.until(has_failed)

    async def until_requested(self, url: str, times: int = 1) -> None:
        async def was_requested() -> bool:
            return [r.url for r in self.http.requests].count(url) >= times

        await self.until(was_requested)

    def look_at_timers(self) -> None:
        """What a dispatcher does by itself within a minute; a clock that is set by hand cannot be waited for."""
        self.dispatcher._timers.expect(datetime.min.replace(tzinfo=UTC))

    async def until_timers_have_looked(self) -> None:
        """Whatever is due now is in memory afterwards, or has been there already."""
        timers = self.dispatcher._timers
        self.look_at_timers()
        async with asyncio.timeout(PATIENCE_SECONDS):
            # `_next_check_at` is set when a check has ended.
            while timers._is_earlier.is_set() or timers._next_check_at == datetime.max.replace(tzinfo=UTC):  # noqa: ASYNC110
                await asyncio.sleep(0.001)


@asynccontextmanager
async def machine(
    path: Place,
    *,
    clock: SteppingClock | None = None,
    http: FakeHttp | None = None,
    types: Sequence[NodeType[Any]] = (),
    wrap: Callable[[Journal, Database], Journal] = lambda journal, database: journal,
    wrap_due: Callable[[DueExecutions], DueExecutions] = lambda due: due,
    wrap_concurrency: Callable[[ConcurrencyLimits], ConcurrencyLimits] = lambda concurrency: concurrency,
    sandbox: Sandbox | None = None,
    most_active: int = 100,
    limits: WorkspaceLimits = UNLIMITED,
    draw: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[Machine]:
    """A process that starts on a database, of which a file is made if need be, and is cut off at the end."""
    if isinstance(path, Path) and not path.exists():  # nothing else runs yet
        new_database_file(path)
    database = open_database(path)
    looking = ExitStack()
    if isinstance(path, Path):
        # What a test looks up past the process: each connection reads the whole schema before its first query.
        looking.enter_context(reading(path))
    try:
        accounts = SqlAccounts(database)
        if not await accounts.any():
            await accounts.create(account(MARA), password_hash="x")
            await accounts.create(account(OMAR, role="user"), password_hash="x")
        known = {**built_in(), **{node_type.type: node_type for node_type in types}}
        journal = wrap(SqlJournal(database), database)
        library = CompiledFlowCache(SqlFlows(database), {name: t.spec() for name, t in known.items()})
        broadcast = RecordingBroadcast()
        clock, http = clock or SteppingClock(), http or FakeHttp()
        vault = AesVault(SqlSecrets(database), MasterKeys(bytes(range(32))), clock)
        own = JailedSandbox(1) if sandbox is None else None
        scripts = sandbox or own
        assert scripts is not None
        deps = EngineDependencies(
            journal=journal,
            library=library,
            vault=vault,
            broadcast=broadcast,
            sandbox=scripts,
            node_types=known,
            http=http,
            mail=EgressMailClients(EgressPolicy(), lookup_slots()),
            imap=EgressImapClients(EgressPolicy(), lookup_slots()),
            sql=EgressSqlClients(EgressPolicy(), lookup_slots()),
            store=SqlStore(database, limits),
            schemas=RustSchemas(),
            clock=clock,
            draw=draw,
            limits=limits,
        )
        concurrency = wrap_concurrency(SqlConcurrencyLimits(database))
        dispatcher = LocalDispatcher(
            FlowEngine(deps),
            clock,
            journal=journal,
            due=wrap_due(SqlDueExecutions(database)),
            concurrency=concurrency,
            children=SqlChildExecutions(database),
            most_active=most_active,
            limits=limits,
        )
        flows, reader, schemas = SqlFlows(database), SqlExecutions(database), RustSchemas()
        executions = Executions(
            reader, flows, library, dispatcher, concurrency=concurrency,
            usage=UsageLimits(SqlUsage(database), UNLIMITED, clock), sandbox=scripts, schemas=schemas, clock=clock,
            config=SqlConfig(database),
        )  # fmt: skip
        deps.connect(links=dispatcher, flows=SubFlowExecutions(executions, flows))
        replays = Replays(journal, FairMemory())
        try:
            await dispatcher.open()
            yield Machine(
                path,
                database,
                journal,
                deps,
                dispatcher,
                clock,
                http,
                broadcast,
                vault,
                library,
                known,
                executions,
                Signals(
                    reader,
                    replays,
                    dispatcher,
                    accounts=SqlAccounts(database),
                    vault=vault,
                    schemas=schemas,
                    clock=clock,
                ),
                Reruns(executions, reader, journal, flows, library, replays=replays, clock=clock),
            )
        finally:
            await dispatcher.close()
            if own is not None:
                await own.close()
    finally:
        with looking:
            await database.close()


async def secret(machine: Machine, key: str, value: str) -> None:
    await machine.vault.set(WorkspaceId(MARA), key, value, at=machine.clock.now())


async def detail_of(machine: Machine, id: str = "exec-1") -> Any:
    return await SqlExecutions(machine.database).get(MARA, ExecutionId(id))
