"""Starts of executions by the ends of others."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from flowrunner.bounded_json import decode_json
from flowrunner.domain.causes import Chained, ChildOf, depth_of
from flowrunner.domain.errors import FlowRunnerError, NotFound, TooManyRequests, Unavailable
from flowrunner.domain.triggers import Chain, TriggerId
from flowrunner.domain.values import WorkspaceId, rfc3339, rfc3339_or_none
from flowrunner.fair_slots import FairSlots
from flowrunner.ports.clock import Clock
from flowrunner.ports.executions import ExecutionDetail, ExecutionReader
from flowrunner.ports.journal import JournalReader
from flowrunner.ports.triggers import EndedExecution, EndStore, TriggerFire, TriggerHasMoved, TriggerView
from flowrunner.services.chain_depth import MAX_DEPTH, TOO_DEEP, cause_of
from flowrunner.services.executions import Executions, StartRequest
from flowrunner.services.fair_batches import handle_fairly
from flowrunner.services.trigger_requests import UNREADABLE, TriggerRequests
from flowrunner.threads import on_thread_if

logger = structlog.get_logger()

_AT_A_TIME: Final = 100
_CONCURRENT: Final = 20
_CONCURRENT_OF_A_WORKSPACE: Final = 15
# Ends for triggers that are gone belong to none.
_NO_WORKSPACE: Final = WorkspaceId("")
# How soon an end is found while there is a trigger that waits for one.
_LOOK: Final = timedelta(seconds=1)
# The rests of a trigger whose workspace has a full queue: each is twice as long as the one before.
_FIRST_REST: Final = timedelta(seconds=1)
_LONGEST_REST: Final = timedelta(minutes=1)


class Chains:
    """Starts one execution for each end that a trigger waits for, even if several processes do so."""

    def __init__(
        self,
        store: EndStore,
        executions: Executions,
        requests: TriggerRequests,
        *,
        reader: ExecutionReader,
        journal: JournalReader,
        clock: Clock,
        changed: asyncio.Event,
    ) -> None:
        """
        Args:
            changed: Set when the first trigger may have begun to wait for ends.
        """
        self._store = store
        self._executions = executions
        self._requests = requests
        self._reader = reader
        self._journal = journal
        self._clock = clock
        self._slots = FairSlots(total=_CONCURRENT, share=_CONCURRENT_OF_A_WORKSPACE, sure=2)
        self.changed = changed
        self._rests: dict[TriggerId, _Rest] = {}
        # The time of the next look while a trigger rests.
        self._look_at: datetime | None = None

    async def next_due(self) -> datetime | None:
        """Return when `start_all` may have something to do; None while no trigger waits for an end."""
        has_ends, has_listeners = await self._store.state()
        now = self._clock.now()
        if has_ends:
            # The clock may have been set back.
            return now if self._look_at is None else min(self._look_at, now + _LOOK)
        return now + _LOOK if has_listeners else None

    async def start_all(self) -> None:
        """Start an execution for each end, except while the queue of its workspace is full. Raises: Unavailable."""
        began = self._clock.now()
        await handle_fairly(
            self._ends,
            self._handle,
            key=lambda end: (end.trigger_id, end.execution_id),
            workspace=lambda end: _NO_WORKSPACE if end.trigger is None else end.trigger.workspace_id,
            slots=self._slots,
        )
        # What rested before and has not begun to rest again has no ends left.
        self._rests = {id: rest for id, rest in self._rests.items() if rest.until > began}
        self._look_at = self._clock.now() + _LOOK if self._rests else None

    async def _ends(self, outside: Collection[WorkspaceId]) -> Sequence[EndedExecution]:
        return await self._store.ends(limit=_AT_A_TIME, outside=outside, resting=self._resting())

    def _resting(self) -> Collection[TriggerId]:
        now = self._clock.now()
        return [id for id, rest in self._rests.items() if rest.lasts(now)]

    def _rest(self, id: TriggerId, reason: str) -> None:
        """Leave the ends of a trigger for some time, unless another one of them has had this effect."""
        now, rest = self._clock.now(), self._rests.get(id)
        if rest is None:
            logger.warning("trigger.waits", trigger=id, reason=reason)
            self._rests[id] = _Rest(now + _FIRST_REST, _FIRST_REST)
        elif not rest.lasts(now):
            length = min(2 * rest.length, _LONGEST_REST)
            self._rests[id] = _Rest(now + length, length)

    async def _handle(self, end: EndedExecution) -> None:
        """Start what an end starts, or note why it does not. Raises: Unavailable."""
        rest = self._rests.get(end.trigger_id)
        if rest is not None and rest.lasts(self._clock.now()):
            return
        try:
            await self._start(end)
            self._rests.pop(end.trigger_id, None)
        except Unavailable:
            raise
        except TooManyRequests as full:
            self._rest(end.trigger_id, str(full))
        except FlowRunnerError as error:
            logger.warning("trigger.failed", trigger=end.trigger_id, reason=str(error))
            await self._store.fail(end, error=str(error))
        except Exception as error:
            # An end that always fails must not stop the others.
            logger.error("trigger.crashed", trigger=end.trigger_id, exc_info=error)
            await self._store.fail(end, error="An internal error: see the log of the server")

    async def _start(self, end: EndedExecution) -> None:
        """Raises: Unavailable, TooManyRequests; another FlowRunnerError if the flow cannot be started."""
        trigger = end.trigger
        if trigger is not None and trigger.spec is None and trigger.type == "execution":
            raise TriggerUnreadable(UNREADABLE)
        if trigger is None or not trigger.is_armed or not isinstance(trigger.spec, Chain):
            await self._store.discard(end)
            return
        try:
            ended = await self._reader.get(trigger.workspace_id, end.execution_id)
            cause = await cause_of(self._journal, end.execution_id)
        except NotFound:
            # It was deleted or moved since.
            await self._store.discard(end)
            return
        if isinstance(cause, ChildOf) and not trigger.spec.children:
            await self._store.discard(end)
            return
        depth = depth_of(cause) + 1
        if depth > MAX_DEPTH:
            raise ChainTooLong(TOO_DEEP)
        try:
            started = await self._executions.accept(await self._request(trigger, ended, depth))
        except TriggerHasMoved:
            # Another process has started it.
            return
        if started.is_repeat:
            await self._store.discard(end)

    async def _request(self, trigger: TriggerView, ended: ExecutionDetail, depth: int) -> StartRequest:
        """Raises: NotFound, InvalidFlow, InvalidInput, Unavailable."""
        now = self._clock.now()
        return await self._requests.make(
            trigger,
            {"at": rfc3339(now), "execution": await on_thread_if(len(ended.result or b""), _value_of, ended)},
            cause=Chained(trigger=trigger.id, name=trigger.name, of=ended.id, depth=depth),
            # The blank separates it from the keys of clients.
            idempotency_key=f"{trigger.id} {ended.id}",
            fire=TriggerFire(trigger_id=trigger.id, at=now, ended=ended.id),
        )


class _Rest(NamedTuple):
    until: datetime
    length: timedelta

    def lasts(self, now: datetime) -> bool:
        # The clock may have been set back.
        return self.until - self.length <= now < self.until


class TriggerUnreadable(FlowRunnerError):
    """A trigger whose stored form cannot be read."""


class ChainTooLong(FlowRunnerError):
    """The end of an execution starts no other, because too many ends have led to it."""


def _value_of(ended: ExecutionDetail) -> Mapping[str, Any]:
    return {
        "id": ended.id,
        "flow_id": ended.flow_id,
        "flow_name": ended.flow_name,
        "status": ended.status.value,
        "result": None if ended.result is None else decode_json(ended.result),
        "error": ended.error,
        "labels": {} if ended.labels is None else msgspec.json.decode(ended.labels),
        "started_at": rfc3339(ended.started_at),
        "completed_at": rfc3339_or_none(ended.completed_at),
    }
