"""Executions: started, watched, cancelled, and forgotten in time."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Conflict, InvalidFlow, NotFound
from flowrunner.domain.execution import Status
from flowrunner.domain.values import JSON, AccountId, ExecutionId, FlowId
from flowrunner.ports import (
    Clock,
    Dispatcher,
    DuplicateRequest,
    ExecutionDetail,
    ExecutionReader,
    ExecutionView,
    FlowLibrary,
    FlowStore,
    LogLine,
    NewExecution,
    Page,
)
from flowrunner.services.ids import new_id

_PURGE_BATCH: Final = 200
_PURGE_PAUSE_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An execution that now exists. ``is_repeat``: it did before, by the same idempotency key."""

    id: ExecutionId
    status: Status
    created_at: datetime
    is_repeat: bool = False


class Executions:
    def __init__(
        self,
        reader: ExecutionReader,
        flows: FlowStore,
        library: FlowLibrary,
        dispatcher: Dispatcher,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._flows = flows
        self._library = library
        self._dispatcher = dispatcher
        self._clock = clock

    async def run(
        self, caller: Caller, flow_id: FlowId, input: JSON, *, idempotency_key: str | None = None
    ) -> Accepted:
        """Start an execution; it exists for good when this returns.

        Raises: NotFound; Conflict if the key was used for another request; Unavailable.
        """
        digest = None
        if idempotency_key is not None:
            asked = msgspec.json.encode([flow_id, input], order="deterministic")
            digest = hashlib.sha256(asked).hexdigest()
        try:
            revision_id = await self._flows.revision_of(caller.account_id, flow_id)
            flow = await self._library.get(caller.account_id, revision_id)
        except (NotFound, InvalidFlow):
            # A request that was accepted keeps its answer, whatever has become of the flow.
            before = None
            if idempotency_key is not None:
                before = await self._reader.request(caller.account_id, idempotency_key)
            if before is None:
                raise
            return await self._repeat(caller, *before, asked=digest)
        now = self._clock.now()
        new = NewExecution(
            id=ExecutionId(new_id("exec", now)),
            account_id=caller.account_id,
            flow_id=flow_id,
            revision_id=revision_id,
            started_at=now,
            idempotency_key=idempotency_key,
            request_digest=digest,
        )
        try:
            await self._dispatcher.start(new, flow, input)
        except DuplicateRequest as repeat:
            return await self._repeat(caller, repeat.execution_id, repeat.request_digest, asked=digest)
        return Accepted(id=new.id, status=Status.RUNNING, created_at=now)

    async def _repeat(self, caller: Caller, id: ExecutionId, digest: str | None, *, asked: str | None) -> Accepted:
        if digest != asked:
            raise Conflict("This Idempotency-Key was used before, with another request")
        before = await self._reader.get(caller.account_id, id)
        return Accepted(id=before.id, status=before.status, created_at=before.started_at, is_repeat=True)

    async def get(self, caller: Caller, id: ExecutionId) -> ExecutionDetail:
        """Raises: NotFound."""
        return await self._reader.get(caller.account_id, id)

    async def page(
        self, caller: Caller, *, flow_id: FlowId | None, statuses: Sequence[Status], page: Page
    ) -> tuple[Sequence[ExecutionView], int]:
        return await self._reader.page(caller.account_id, flow_id=flow_id, statuses=statuses, page=page)

    async def logs(
        self, caller: Caller, id: ExecutionId, *, level: str | None, page: Page
    ) -> tuple[Sequence[LogLine], int]:
        """Raises: NotFound."""
        return await self._reader.logs(caller.account_id, id, level=level, page=page)

    async def cancel(self, caller: Caller, id: ExecutionId) -> None:
        """Done when it has ended. Raises: NotFound; Conflict if it had ended before."""
        found = await self._reader.get(caller.account_id, id)
        if found.status.is_final:
            raise Conflict(f"The execution has already ended: it is {found.status.value}")
        await self._dispatcher.cancel(id, reason="cancelled by a user")

    async def cancel_all(self, account_id: AccountId) -> None:
        """Cancel whatever the account has under way."""
        page = Page(limit=_PURGE_BATCH, offset=0)
        while True:
            open_ones, _ = await self._reader.page(
                account_id, flow_id=None, statuses=(Status.RUNNING, Status.WAITING), page=page
            )
            if not open_ones:
                return
            for execution in open_ones:
                try:
                    await self._dispatcher.cancel(execution.id, reason="the account was deleted")
                except Conflict:
                    continue

    async def purge(self, *, older_than: timedelta) -> int:
        """Delete what ended longer ago than that, a little at a time; gives how many were."""
        before = self._clock.now() - older_than
        total, has_more = 0, True
        while has_more:
            purged, has_more = await self._reader.purge(ended_before=before, limit=_PURGE_BATCH)
            total += purged
            # Executions under way go first.
            await asyncio.sleep(_PURGE_PAUSE_SECONDS)
        has_more = True
        while has_more:
            has_more = await self._reader.give_space_back()
            await asyncio.sleep(_PURGE_PAUSE_SECONDS)
        return total
