"""The view of a step's attempt that its node type gets."""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime

from flowrunner.domain.causes import ChildOf, calling_flows, depth_of
from flowrunner.domain.errors import InvalidFlow, InvalidInput, NotFound
from flowrunner.domain.events import Logged
from flowrunner.domain.flow import Node
from flowrunner.domain.log_levels import LogLevel
from flowrunner.domain.status import StepStatus
from flowrunner.domain.step_state import StepState
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.engine.dependencies import EngineDependencies, LoadedExecution
from flowrunner.engine.log_lines import level_of
from flowrunner.engine.step_store import AttemptStore
from flowrunner.language.inputs import Form, input_schema
from flowrunner.language.json_schema import SchemaEngine
from flowrunner.language.schema_budget import SchemaBudget
from flowrunner.plugin import DescribedFlow, HttpClient, ImapClient, MailClient, NodeFailure, SqlClient, SubFlow
from flowrunner.ports.http import HttpClients


class LongValueSlot:
    """The slot that one step takes before it holds long values: one, however often its node type asks.

    So is the memory for decoded values: it is that of the first one.
    """

    __slots__ = ("_has_left", "_held", "_http", "_lock", "_memory", "_workspace_id")

    def __init__(self, http: HttpClients, workspace_id: WorkspaceId) -> None:
        self._http = http
        self._workspace_id = workspace_id
        # Made when it is needed: most steps hold no long value.
        self._lock: asyncio.Lock | None = None
        self._held: AsyncExitStack | None = None
        self._memory = 0
        self._has_left = False

    @property
    def is_held(self) -> bool:
        return self._held is not None

    async def take(self, memory: int = 0) -> None:
        """Wait for the slot and the bytes of memory, unless the step has them or has ended."""
        if self._lock is None:
            self._lock = asyncio.Lock()
        async with self._lock:
            await self._take(memory)
            if self._has_left:
                await self._release()

    async def _take(self, memory: int) -> None:
        if self._held is None and not self._has_left:
            await self._hold(self._http.hold_long_value(self._workspace_id))
        # Once: steps that hold some and wait for more would wait for each other.
        if memory and not self._memory and not self._has_left:
            await self._hold(self._http.hold_memory(self._workspace_id, memory))
            self._memory = memory

    async def _hold(self, what: AbstractAsyncContextManager[None]) -> None:
        held = self._held or AsyncExitStack()
        await held.enter_async_context(what)
        self._held = held

    async def leave(self) -> None:
        """Give the slot back; the step takes none any more."""
        self._has_left = True
        if self._held is not None:
            await self._release()

    async def _release(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            await held.aclose()


@dataclass(slots=True)
class StepAttempt:
    """The current attempt of a step.

    Attributes:
        numbers: Numbers of its changes of the store, from 1.
    """

    loaded: LoadedExecution
    current: StepState
    declared: Node
    report: Callable[[Logged], None]
    slot: LongValueSlot | None
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def log(self, level: LogLevel, message: str, data: JSON = None) -> None:
        self.report(
            Logged(
                level=level_of(level),
                message=str(message),
                node=self.declared.name,
                node_type=self.declared.type,
                data=data,
                scope=self.current.step.scope,
                iteration=self.current.step.iteration,
                attempt=self.current.attempts,
            )
        )

    def on_console(self, level: str, text: str) -> None:
        self.log(level_of(level), text)


@dataclass(frozen=True, slots=True)
class _Flows:
    """The executions that one step starts. Implements `plugin.SubFlows`."""

    _deps: EngineDependencies
    _workspace_id: WorkspaceId
    _step: ChildOf

    async def describe(self, flow: str, *, version: str | int | None) -> DescribedFlow:
        revision_id = await self._deps.retry_until_available(
            lambda: self._deps.flows.revision(self._workspace_id, flow, version=version)
        )
        try:
            read = await self._deps.retry_until_available(
                lambda: self._deps.library.get(self._workspace_id, revision_id)
            )
        except NotFound:
            raise NodeFailure("flow.not_found", f"There is no flow '{flow}'") from None
        except InvalidFlow as error:
            raise NodeFailure("flow.invalid", f"The flow '{flow}' can no longer be read: {error}") from None
        return DescribedFlow(read.name, read.description, input_schema(read.inputs))

    async def start(
        self,
        flow: str,
        *,
        version: str | int | None,
        input: Mapping[str, JSON],
        wait: bool,
        dedupe: str | None = None,
    ) -> SubFlow:
        # A repeat finds the execution if the first call started it.
        cause = replace(self._step, is_awaited=wait)
        return await self._deps.retry_until_available(
            lambda: self._deps.flows.start(self._workspace_id, cause, flow, version=version, input=input, dedupe=dedupe)
        )


class NodeContext:
    """The context of a running node. Implements `plugin.StepContext`.

    It has no public attributes besides those of the contract, because they would lead to the ports: node types may be
    third-party code, and the vault opens the secrets of every workspace.
    """

    __slots__ = ("_attempt",)

    def __init__(self, attempt: StepAttempt) -> None:
        self._attempt = attempt

    @property
    def execution_id(self) -> str:
        return self._attempt.loaded.execution.execution_id

    @property
    def node(self) -> str:
        return self._attempt.declared.name

    @property
    def iteration(self) -> int:
        return self._attempt.current.step.iteration

    @property
    def attempt(self) -> int:
        return self._attempt.current.attempts

    @property
    def step(self) -> str:
        return str(self._attempt.current.step)

    @property
    def failures(self) -> int:
        return self._attempt.current.failures

    @property
    def timeout_seconds(self) -> float | None:
        return self._attempt.declared.timeout_seconds

    @property
    def branches(self) -> Sequence[str]:
        return [key for key in self._attempt.declared.child_scopes if key]

    @property
    def collects(self) -> bool:
        return self._attempt.declared.collect is not None

    @property
    def idempotency_key(self) -> str:
        return f"{self._attempt.loaded.execution.keys_of}.{self._attempt.current.step}"

    @property
    def depth(self) -> int:
        return depth_of(self._attempt.loaded.state.cause)

    @property
    def input(self) -> JSON:
        return self._attempt.current.input

    @property
    def http(self) -> HttpClient:
        return self._attempt.loaded.deps.http.of(self._attempt.loaded.execution.workspace_id)

    @property
    def mail(self) -> MailClient:
        return self._attempt.loaded.deps.mail.of(self._attempt.loaded.execution.workspace_id)

    @property
    def imap(self) -> ImapClient:
        return self._attempt.loaded.deps.imap.of(self._attempt.loaded.execution.workspace_id)

    @property
    def sql(self) -> SqlClient:
        return self._attempt.loaded.deps.sql.of(self._attempt.loaded.execution.workspace_id)

    @property
    def flows(self) -> _Flows:
        type = self._attempt.declared.type
        if not self._attempt.loaded.deps.node_types[type].starts_executions:
            raise RuntimeError(f"The node type {type} uses context.flows: it has to set starts_executions = True")
        execution, cause = self._attempt.loaded.execution, self._attempt.loaded.state.cause
        assert cause is not None, "an execution with a running step has started"
        step = ChildOf(
            execution_id=execution.execution_id,
            step=self.step,
            failures=self.failures,
            flows=(*calling_flows(cause), execution.flow_id),
            depth=self.depth,
        )
        return _Flows(self._attempt.loaded.deps, execution.workspace_id, step)

    @property
    def store(self) -> AttemptStore:
        type = self._attempt.declared.type
        if not self._attempt.loaded.deps.node_types[type].uses_store:
            raise RuntimeError(f"The node type {type} uses context.store: it has to set uses_store = True")
        if self._attempt.current.status is not StepStatus.RUNNING:
            # A repetition could not be told from what `run` has changed.
            raise RuntimeError(f"The node type {type} uses context.store after a wait: only its `run` may")
        return AttemptStore(self._attempt.loaded, self.step, self._attempt.numbers)

    async def hold_long_value(self, memory: int = 0) -> None:
        if self._attempt.slot is not None:
            await self._attempt.slot.take(memory)

    async def check(self, value: JSON, schema: JSON) -> Sequence[str]:
        # On a thread: compiling a schema takes long.
        return await asyncio.to_thread(faults_of, value, schema, self._attempt.loaded.deps.schemas)

    def now(self) -> datetime:
        return self._attempt.loaded.deps.clock.now()

    def log(self, level: LogLevel, message: str, data: JSON = None) -> None:
        self._attempt.log(level, message, data)


def faults_of(value: JSON, schema: JSON, engine: SchemaEngine) -> Sequence[str]:
    """Return the faults of a value in words. Raises: ValueError as `StepContext.check`."""
    budget = SchemaBudget(engine)
    form = Form(schema, budget)
    try:
        form.check(value, budget, ())
    except InvalidInput as error:
        return [f"{fault.path}: {fault.message}" if fault.path else fault.message for fault in error.faults]
    return ()
