"""The requests of engine processes to the server: for events, secrets, flows, and links of executions."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from flowrunner.bounded_json import BoundedDecoder
from flowrunner.dispatch.processes.channel import Channel, Handlers
from flowrunner.dispatch.processes.packed import (
    PackedAppend,
    PackedRecord,
    PackedSignal,
    pack_events,
    pack_record,
    pack_texts,
    unpack_append,
    unpack_signal,
)
from flowrunner.domain.causes import ChildOf
from flowrunner.domain.errors import InvalidFlow, NotFound
from flowrunner.domain.events import Event, Started
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.status import Status
from flowrunner.domain.store import StoreChange, StoreKey
from flowrunner.domain.values import JSON, ExecutionId, RevisionId, WorkspaceId
from flowrunner.plugin import SubFlow
from flowrunner.ports.dispatch import ExecutionLinks, SubFlowStarter
from flowrunner.ports.flows import CompiledFlows, Definitions
from flowrunner.ports.journal import Fenced, Journal, NewExecution, StoredExecution
from flowrunner.ports.live import Broadcast
from flowrunner.ports.memory import Loading, MemoryRoom
from flowrunner.ports.secrets import SecretReader
from flowrunner.ports.store import StepStore
from flowrunner.ports.telemetry import TRACEPARENT, ExecutionObserver, ObservedExecution

_decode_input: Final = BoundedDecoder[dict[str, Any]](dict[str, Any]).decode


class ServerDependencies(Protocol):
    """The ports of the server's own engine."""

    @property
    def journal(self) -> Journal: ...
    @property
    def library(self) -> CompiledFlows: ...
    @property
    def broadcast(self) -> Broadcast: ...
    @property
    def observer(self) -> ExecutionObserver: ...
    @property
    def vault(self) -> SecretReader: ...
    @property
    def store(self) -> StepStore: ...
    @property
    def memory(self) -> MemoryRoom | None: ...
    @property
    def links(self) -> ExecutionLinks: ...
    @property
    def flows(self) -> SubFlowStarter: ...
    @property
    def limits(self) -> WorkspaceLimits: ...
    @property
    def epoch(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerParts:
    """The parts of the server that requests of engine processes need.

    Attributes:
        definitions: The stored documents of flows.
        hidden: Returns all values that are redacted for a workspace.
        link_key: Returns the key that signs links to approvals.
    """

    deps: ServerDependencies
    definitions: Definitions
    hidden: Callable[[WorkspaceId], Awaitable[Collection[str]]]
    link_key: Callable[[], bytes]


@dataclass(slots=True)
class HeldExecution:
    """An execution in the memory of an engine process, or about to be.

    Attributes:
        number: The name of this stay in memory between the two processes.
        status: The durable status.
        observed: Its identity for observers; None until it is known.
        loading: The reservation of memory for its events.
        new: The execution that the process is to begin; None if it loads one.
        refusal: The error of its last append, if that failed.
        creating: Done when the append that creates it is stored or rejected; None before that append has arrived.
        writing: The requests of the process for it that may still make something durable.
    """

    id: ExecutionId
    number: int
    status: Status = Status.RUNNING
    observed: ObservedExecution | None = None
    loading: Loading | None = None
    new: NewExecution | None = None
    refusal: Exception | None = None
    creating: "asyncio.Future[None] | None" = None
    writing: "set[asyncio.Task[Any]]" = field(default_factory=set)

    @contextlib.contextmanager
    def is_writing(self) -> Iterator[None]:
        """Count the current task among those that may make something durable."""
        task = asyncio.current_task()
        assert task is not None, "requests are tasks"
        self.writing.add(task)
        try:
            yield
        finally:
            self.writing.discard(task)

    async def settle(self) -> None:
        """Wait until nothing that a process which has ended asked for can become durable any more."""
        if self.writing:
            await asyncio.wait(self.writing)


class ProcessRequests:
    """The requests of one engine process.

    Attributes:
        channel: The way to the process.
        executions: The executions that the process has in memory, by id.
        workspaces: The workspaces whose secrets the process redacts.
    """

    def __init__(self, parts: ServerParts, channel: Channel) -> None:
        self._parts = parts
        self._deps = parts.deps
        self.channel = channel
        self._numbers = itertools.count(1)
        self.executions: dict[ExecutionId, HeldExecution] = {}
        self.workspaces: set[WorkspaceId] = set()

    @property
    def handlers(self) -> Handlers:
        links = self._deps.links
        return {
            "append": self._append,
            "load": self._load,
            "keep_memory": self._keep_memory,
            "stored": self._stored,
            "events": self._events,
            "announce": self._deps.journal.announce,
            "mark_stale": self._deps.broadcast.mark_stale,
            "definition": self._parts.definitions.definition,
            "hidden": self._hidden,
            "reveal": self._reveal,
            "revision": self._revision,
            "start": self._start,
            "store_value": self._store_value,
            "store_keys": self._store_keys,
            "store_change": self._store_change,
            "child_ended": self._child_ended,
            "cancel_soon": self._cancel_soon,
            "reconcile_children": links.reconcile_children,
            "release_slot": links.release_slot,
        }

    def hold(
        self, id: ExecutionId, observed: ObservedExecution | None, new: NewExecution | None = None
    ) -> HeldExecution:
        """Note that the process is about to have an execution in memory."""
        held = self.executions[id] = HeldExecution(id, next(self._numbers), observed=observed, new=new)
        return held

    def leave(self, held: HeldExecution) -> None:
        """Note that an execution has left the memory of the process."""
        if self.executions.get(held.id) is held:
            del self.executions[held.id]
        if held.loading is not None:
            held.loading.give_back()

    async def _append(self, packed: PackedAppend) -> None:
        # Kept here, because the process may have lost it when the append is durable.
        held = self.executions.get(packed.execution_id)
        if held is None or held.observed is None:
            raise Fenced("the process does not have the execution")
        append = unpack_append(
            packed,
            create=held.new if packed.creates else None,
            workspace_id=held.observed.workspace_id,
            limits=self._deps.limits,
        )
        creating = held.creating = asyncio.get_running_loop().create_future() if packed.creates else held.creating
        try:
            with held.is_writing():
                await self._deps.journal.append(append)
        except Exception as error:
            held.refusal = error
            raise
        finally:
            if packed.creates and creating is not None:
                creating.set_result(None)
        held.status = append.summary.status
        self._deps.broadcast.publish(append.execution_id, append.records)
        self._deps.observer.observe(held.observed, append.records)

    async def _stored(self, id: ExecutionId) -> StoredExecution:
        stored = await self._deps.journal.stored(id)
        held = self.executions.get(id)
        if held is not None and held.observed is None:
            # Its events cannot be read.
            held.observed = ObservedExecution(execution_id=id, workspace_id=stored.workspace_id, flow_id=stored.flow_id)
        return stored

    async def _events(self, id: ExecutionId, after: int, limit: int) -> list[PackedRecord]:
        return [pack_record(record) for record in await self._deps.journal.events(id, after=after, limit=limit)]

    async def _load(self, id: ExecutionId, number: int) -> StoredExecution:
        """Send the events of an execution, and then return the execution. Its memory is reserved until it leaves."""
        held, memory = self.executions.get(id), self._deps.memory
        loading = None
        if held is not None and held.loading is None and memory is not None:
            loading = held.loading = memory.loading()
        started: Event | None = None

        async def send(events: Sequence[tuple[Event, datetime]]) -> None:
            nonlocal started
            if started is None:
                # Most executions have no other portion: the answer need not wait until the process has taken it.
                started = events[0][0]
                self.channel.notify("loaded", number, pack_events(events))
            else:
                await self.channel.call("loaded", number, pack_events(events))

        stored = await self._deps.journal.load(id, send, loading)
        if held is not None and isinstance(started, Started):
            held.observed = await self._observed(stored, started)
        return stored

    def _keep_memory(self, id: ExecutionId, size: int) -> None:
        held = self.executions.get(id)
        if held is not None and held.loading is not None:
            held.loading.keep(id, size)

    async def _observed(self, stored: StoredExecution, started: Started) -> ObservedExecution:
        name = started.flow_name
        if not name and not stored.status.is_final:
            # An unreadable flow ends the execution.
            with contextlib.suppress(InvalidFlow, NotFound):
                name = (await self._deps.library.get(stored.workspace_id, stored.revision_id)).name
        return ObservedExecution(
            execution_id=stored.id,
            workspace_id=stored.workspace_id,
            flow_id=stored.flow_id,
            flow_name=name,
            cause=started.cause,
            traceparent=started.traceparent,
        )

    async def _hidden(self, workspace_id: WorkspaceId) -> list[bytes]:
        # First, so that no change is missed meanwhile.
        self.workspaces.add(workspace_id)
        return pack_texts(await self._parts.hidden(workspace_id))

    async def _reveal(self, workspace_id: WorkspaceId, names: list[str]) -> dict[str, bytes]:
        found = await self._deps.vault.reveal(workspace_id, names)
        return dict(zip(found, pack_texts(found.values()), strict=True))

    async def _revision(self, workspace_id: WorkspaceId, flow: str, version: str | int | None) -> RevisionId:
        return await self._deps.flows.revision(workspace_id, flow, version=version)

    async def _start(
        self,
        workspace_id: WorkspaceId,
        cause: ChildOf,
        called: tuple[str, str | int | None, str | None],
        input: bytes,
        traceparent: str,
    ) -> SubFlow:
        # The trace context of the step that starts it. It lasts as long as this call.
        TRACEPARENT.set(traceparent)
        given = _decode_input(input)
        flow, version, dedupe = called
        held = self.executions.get(cause.execution_id)
        with contextlib.nullcontext() if held is None else held.is_writing():
            return await self._deps.flows.start(workspace_id, cause, flow, version=version, input=given, dedupe=dedupe)

    async def _store_value(self, workspace_id: WorkspaceId, at: StoreKey, now: datetime) -> str | None:
        return await self._deps.store.value(workspace_id, at, now=now)

    async def _store_keys(
        self, workspace_id: WorkspaceId, namespace: str, between: tuple[str, str], limit: int, now: datetime
    ) -> Sequence[str]:
        prefix, after = between
        return await self._deps.store.keys(
            workspace_id, namespace=namespace, prefix=prefix, after=after, limit=limit, now=now
        )

    async def _store_change(self, workspace_id: WorkspaceId, change: StoreChange, now: datetime) -> JSON:
        return await self._deps.store.change(workspace_id, change, now=now)

    def _child_ended(self, parent_id: ExecutionId, signal: PackedSignal) -> None:
        self._deps.links.child_ended(parent_id, unpack_signal(signal))

    def _cancel_soon(self, id: ExecutionId, reason: str) -> None:
        self._deps.links.cancel_soon(id, reason=reason)
