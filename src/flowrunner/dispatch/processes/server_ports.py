"""Ports of the engine in an engine process that lead to the server."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec

from flowrunner.dispatch.processes.channel import Channel
from flowrunner.dispatch.processes.packed import (
    PackedEvent,
    PackedRecord,
    pack_append,
    pack_signal,
    unpack_events,
    unpack_record,
    unpack_texts,
)
from flowrunner.domain.causes import ChildOf
from flowrunner.domain.store import StoreChange, StoreKey
from flowrunner.domain.values import JSON, ExecutionId, RevisionId, WorkspaceId
from flowrunner.plugin import SubFlow
from flowrunner.ports.dispatch import Signal
from flowrunner.ports.journal import Append, Recorded, StoredExecution, TakeEvents
from flowrunner.ports.memory import Loading
from flowrunner.ports.telemetry import TRACEPARENT
from flowrunner.tasks import begin


class ServerJournal:
    """The journal of the server. Implements `ports.Journal`."""

    def __init__(self, server: Channel) -> None:
        self._server = server
        self._numbers = itertools.count(1)
        self._loads: dict[int, _Load] = {}
        server.serve({"loaded": self._add_loaded})

    def append(self, append: Append) -> Awaitable[None]:
        return self._server.call("append", pack_append(append))

    async def load(self, id: ExecutionId, take: TakeEvents, loading: Loading | None = None) -> StoredExecution:
        # The server reserves the memory.
        number = next(self._numbers)
        load = self._loads[number] = _Load(take)
        try:
            stored: StoredExecution = await self._server.call("load", id, number, returns=StoredExecution)
            if load.last is not None:
                await load.last
        finally:
            del self._loads[number]
        return stored

    def _add_loaded(self, number: int, events: list[PackedEvent]) -> "asyncio.Future[None] | None":
        """Take events that the server sends before it answers `load`; it waits for each portion except the first."""
        load = self._loads.get(number)
        return None if load is None else load.add(events)

    async def stored(self, id: ExecutionId) -> StoredExecution:
        stored: StoredExecution = await self._server.call("stored", id, returns=StoredExecution)
        return stored

    async def events(self, id: ExecutionId, *, after: int, limit: int) -> Sequence[Recorded]:
        return list(map(unpack_record, await self._server.call("events", id, after, limit, returns=list[PackedRecord])))

    def announce(self, id: ExecutionId) -> None:
        self._server.notify("announce", id)

    async def claim(self) -> int:
        raise NotImplementedError("the server has claimed the journal")

    async def epoch(self) -> int:
        raise NotImplementedError("the server has claimed the journal")

    async def acquire(self, id: ExecutionId, epoch: int) -> int:
        raise NotImplementedError("the server owns all executions")


class _Load:
    """An execution that is being loaded. Attributes: last: Done when the portions that have arrived are taken."""

    def __init__(self, take: TakeEvents) -> None:
        self._take = take
        self.last: asyncio.Future[None] | None = None

    def add(self, events: list[PackedEvent]) -> "asyncio.Future[None]":
        self.last = begin(self._add(events, self.last), name="loaded events")
        return self.last

    async def _add(self, events: list[PackedEvent], before: "asyncio.Future[None] | None") -> None:
        if before is not None:
            await before
        await self._take(unpack_events(events))


class ServerBroadcast:
    """Implements `ports.Broadcast`: the server publishes what it has stored."""

    def __init__(self, server: Channel) -> None:
        self._server = server

    def publish(self, execution_id: ExecutionId, records: Sequence[Recorded]) -> None:
        """Do nothing."""

    def mark_stale(self, execution_id: ExecutionId) -> None:
        self._server.notify("mark_stale", execution_id)


class ServerLinks:
    """Implements `ports.ExecutionLinks`."""

    def __init__(self, server: Channel) -> None:
        self._server = server

    def child_ended(self, parent_id: ExecutionId, signal: Signal) -> None:
        self._server.notify("child_ended", parent_id, pack_signal(signal))

    def cancel_soon(self, id: ExecutionId, *, reason: str) -> None:
        self._server.notify("cancel_soon", id, reason)

    def reconcile_children(self, parent_id: ExecutionId) -> None:
        self._server.notify("reconcile_children", parent_id)

    def release_slot(self, key: str) -> None:
        self._server.notify("release_slot", key)


class ServerSubFlows:
    """Implements `ports.SubFlowStarter`."""

    def __init__(self, server: Channel) -> None:
        self._server = server

    async def revision(self, workspace_id: WorkspaceId, flow: str, *, version: str | int | None) -> RevisionId:
        revision: str = await self._server.call("revision", workspace_id, flow, version, returns=str)
        return RevisionId(revision)

    async def start(
        self,
        workspace_id: WorkspaceId,
        cause: ChildOf,
        flow: str,
        *,
        version: str | int | None,
        input: Mapping[str, JSON],
        dedupe: str | None = None,
    ) -> SubFlow:
        given = msgspec.json.encode(input)
        started: SubFlow = await self._server.call(
            "start", workspace_id, cause, (flow, version, dedupe), given, TRACEPARENT.get(), returns=SubFlow
        )
        return started


class ServerStore:
    """The stores of workspaces. Implements `ports.StepStore`."""

    def __init__(self, server: Channel) -> None:
        self._server = server

    async def value(self, workspace_id: WorkspaceId, at: StoreKey, *, now: datetime) -> str | None:
        value: str | None = await self._server.call("store_value", workspace_id, at, now, returns=str | None)
        return value

    async def keys(
        self, workspace_id: WorkspaceId, *, namespace: str, prefix: str, after: str, limit: int, now: datetime
    ) -> Sequence[str]:
        keys: Sequence[str] = await self._server.call(
            "store_keys", workspace_id, namespace, (prefix, after), limit, now, returns=list[str]
        )
        return keys

    async def change(self, workspace_id: WorkspaceId, change: StoreChange, *, now: datetime) -> JSON:
        result: JSON = await self._server.call("store_change", workspace_id, change, now, returns=Any)
        return result


class ServerDefinitions:
    """The documents of flows. Implements `ports.Definitions`."""

    def __init__(self, server: Channel) -> None:
        self._server = server

    async def definition(self, workspace_id: WorkspaceId, revision_id: RevisionId) -> str:
        definition: str = await self._server.call("definition", workspace_id, revision_id, returns=str)
        return definition


class ServerMemory:
    """Implements `ports.MemoryRoom`: the server reserves memory when it loads an execution.

    A new large execution leaves memory at once, so that the server loads it.
    """

    def __init__(self, server: Channel) -> None:
        self._server = server

    def loading(self) -> "_ServerLoading":
        return _ServerLoading(self._server)


class _ServerLoading:
    """Implements `ports.Loading`."""

    def __init__(self, server: Channel) -> None:
        self._server = server

    @asynccontextmanager
    async def reading(self, workspace_id: WorkspaceId) -> AsyncIterator[None]:
        yield

    async def take(self, workspace_id: WorkspaceId, size: int) -> None:
        """Do nothing."""

    def take_at_once(self, workspace_id: WorkspaceId, size: int) -> bool:
        return False

    def keep(self, id: ExecutionId, size: int) -> None:
        self._server.notify("keep_memory", id, size)

    def give_back(self) -> None:
        """Do nothing."""


class ServerSecrets:
    """The secrets of the server, for `ProcessVault`."""

    def __init__(self, server: Channel) -> None:
        self._server = server

    async def hidden(self, workspace_id: WorkspaceId) -> Sequence[str]:
        return unpack_texts(await self._server.call("hidden", workspace_id, returns=list[bytes]))

    async def reveal(self, workspace_id: WorkspaceId, names: Collection[str]) -> Mapping[str, str]:
        found: dict[str, bytes] = await self._server.call("reveal", workspace_id, list(names), returns=dict[str, bytes])
        return dict(zip(found, unpack_texts(found.values()), strict=True))
