"""Backend on Temporal and PostgreSQL, with one server and one worker for each life.

README.md lists the differences from one process.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from temporalio.service import RPCError, RPCStatusCode

from dispatch.cluster import Cluster, Side, UntimedEngine
from flowrunner.dispatch.temporal.address import TemporalAddress
from flowrunner.dispatch.temporal.worker import TemporalWorker
from flowrunner.domain.values import ExecutionId
from flowrunner.nodes import built_in
from flowrunner.plugin import NodeType
from flowrunner.ports.executions import ExecutionFilter, ExecutionView
from flowrunner.ports.page import Page
from flowrunner.ports.sandbox import Sandbox
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.config import SqlConfig
from language.backend import NO_SHORT_WAIT, Backend, Process, Services, all_in, flows_on
from services.callers import caller_of
from support.databases import MARA, MARA_ACCOUNT, OMAR, account
from support.dependencies import FakeHttp, SteppingClock

_AT_ONCE: Final = Page(limit=200, offset=0)


@dataclass
class DistributedProcess(Process):
    services: Services
    server: Side
    worker: TemporalWorker
    clock: SteppingClock
    place: str
    # Workflows that have ended.
    _over: set[ExecutionId] = field(default_factory=set)
    _seen: dict[ExecutionId, int] = field(default_factory=dict)

    @property
    def in_memory(self) -> int:
        return self.worker.active

    async def is_busy(self) -> bool:
        """Return False if two checks in a row have found everything idle and unchanged."""
        if self.server.workflows._pending or self.worker._workflows._pending:
            return True
        executions = await self._executions()
        # No worker reads a message to an execution that has ended.
        if await self.server.inbox.unread([e.id for e in executions if not e.status.is_final]):
            return True
        seen = {}
        for id in [e.id for e in executions]:
            if id not in self._over:
                events = await self._events_at_rest(id)
                if events is None:
                    return True
                seen[id] = events
        is_new, self._seen = seen != self._seen, seen
        return is_new

    async def _events_at_rest(self, id: ExecutionId) -> int | None:
        """Return the number of events of an execution's workflow, or None if work is pending for it."""
        try:
            described = (await self.server.client.get_workflow_handle(id).describe()).raw_description
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            slot = (await self.server.journal.stored(id)).slot
            return 0 if slot is not None and slot.is_queued else None
        if described.workflow_execution_info.HasField("close_time"):
            self._over.add(id)
        is_under_way = described.HasField("pending_workflow_task") or described.pending_activities
        # Work of a loaded execution is checked in memory.
        if is_under_way and id not in self.worker._loaded:
            return None
        return int(described.workflow_execution_info.history_length)

    async def look_at_clock(self) -> None:
        for id, workspace_id in await self.server.due.due(now=self.clock.now(), limit=_AT_ONCE.limit):
            await self.server.workflows.nudge(id, workspace_id)
        for loaded in self.worker._loaded.values():
            loaded.execution.nudge()

    async def stored(self) -> bytes:
        ids = [execution.id for execution in await self._executions()]
        histories = [await self.server.client.get_workflow_handle(id).fetch_history() for id in ids]
        histories_text = b"".join(event.SerializeToString() for history in histories for event in history.events)
        return histories_text + await asyncio.to_thread(all_in, self.place)

    async def _executions(self) -> Sequence[ExecutionView]:
        caller = caller_of(MARA_ACCOUNT, role="admin")
        return (await self.services.executions.page(caller, ExecutionFilter(), _AT_ONCE)).items


def distributed(place: str, url: str) -> Backend:
    """Return the backend of a server and a worker that do not know each other."""

    @asynccontextmanager
    async def opened(
        *, clock: SteppingClock, http: FakeHttp, types: Sequence[NodeType[Any]], sandbox: Sandbox
    ) -> AsyncIterator[Process]:
        known = {**built_in(), **{node_type.type: node_type for node_type in types}}
        machines = Cluster(
            TemporalAddress.read(url), place, http, known, sandbox,
            clock=clock, short_wait=NO_SHORT_WAIT, engine=UntimedEngine,
        )  # fmt: skip
        async with machines.life() as (side, worker):
            accounts = SqlAccounts(side.database)
            if not await accounts.any():
                await accounts.create(account(MARA), password_hash="x")
                await accounts.create(account(OMAR, role="user"), password_hash="x")
            services = Services(
                flows=flows_on(side.database, known, sandbox, clock),
                executions=side.executions,
                signals=side.signals,
                reruns=side.reruns,
                vault=side.vault,
                config=SqlConfig(side.database),
                journal=side.journal,
                library=side.library,
                published=machines.broadcast.published,
            )
            yield DistributedProcess(services, side, worker, clock, place)

    return opened
