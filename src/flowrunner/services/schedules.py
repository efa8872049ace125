"""Starts of executions by schedules."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from flowrunner.bounded_json import decode_json
from flowrunner.domain.account import Caller
from flowrunner.domain.causes import Scheduled, StartCause
from flowrunner.domain.errors import (
    FlowDisabled,
    FlowRunnerError,
    NotFound,
    StartsPaused,
    Unavailable,
    invalid,
)
from flowrunner.domain.flow import OnLimit
from flowrunner.domain.request_keys import stored_form
from flowrunner.domain.schedules import DueStep, next_start, step_at
from flowrunner.domain.triggers import Overlap, Schedule, TriggerId
from flowrunner.domain.values import JSON, rfc3339, rfc3339_or_none
from flowrunner.fair_slots import FairSlots
from flowrunner.ports.clock import Clock
from flowrunner.ports.executions import ExecutionDetail, ExecutionReader
from flowrunner.ports.journal import JournalReader
from flowrunner.ports.triggers import ScheduleStore, TriggerFire, TriggerHasMoved, TriggerView
from flowrunner.services.chain_depth import cause_of
from flowrunner.services.executions import Executions, StartedExecution, StartRequest
from flowrunner.services.fair_batches import handle_fairly
from flowrunner.services.request_keys import digest_of_request
from flowrunner.services.trigger_requests import UNREADABLE, TriggerRequests
from flowrunner.services.trigger_values import MOST_CHARACTERS
from flowrunner.threads import on_thread_if

logger = structlog.get_logger()

_AT_A_TIME: Final = 500
# As many starts share transactions.
_CONCURRENT: Final = 64
_CONCURRENT_OF_A_WORKSPACE: Final = 48
_LONG: Final = timedelta(hours=1)
# The latest executions of a schedule among which one that has completed is looked for, which takes as long as a start.
_MOST_LOOKED_AT: Final = 1_000
_TRIES: Final = 3
_ON_LIMIT: Final[dict[Overlap, OnLimit]] = {"queue": "queue", "replace": "replace"}


class Schedules:
    """Starts each due time once, even if several processes do so."""

    def __init__(
        self,
        store: ScheduleStore,
        executions: Executions,
        requests: TriggerRequests,
        clock: Clock,
        *,
        reader: ExecutionReader,
        journal: JournalReader,
        changed: asyncio.Event,
        on_outcome: Callable[[str, int], None],
    ) -> None:
        """
        Args:
            changed: Set when a schedule may have become due earlier.
            on_outcome: Called with `started`, `failed`, `skipped` or `missed`, and the number of due times.
        """
        self._store = store
        self._executions = executions
        self._requests = requests
        self._reader = reader
        self._journal = journal
        self._clock = clock
        self._count = on_outcome
        self._slots = FairSlots(total=_CONCURRENT, share=_CONCURRENT_OF_A_WORKSPACE, sure=2)
        self.changed = changed

    async def next_due(self) -> datetime | None:
        """Return when `start_due` has something to do."""
        return await self._store.earliest()

    async def start_due(self) -> None:
        """Start everything that is due. Raises: Unavailable."""
        await handle_fairly(
            lambda outside: self._store.due(at=self._clock.now(), limit=_AT_A_TIME, outside=outside),
            self._handle,
            key=lambda trigger: (trigger.id, trigger.due_at),
            workspace=lambda trigger: trigger.workspace_id,
            slots=self._slots,
        )

    async def _handle(self, trigger: TriggerView) -> None:
        """Start a due time, or leave it out. Raises: Unavailable."""
        try:
            if isinstance(trigger.spec, Schedule):
                await self._step(trigger, trigger.spec)
            else:
                logger.warning("trigger.failed", trigger=trigger.id, flow_id=trigger.flow_id, reason=UNREADABLE)
                await self._fail(trigger, UNREADABLE)
        except Unavailable:
            raise
        except Exception as error:
            # A trigger that always fails must not stop the others.
            logger.error("trigger.crashed", trigger=trigger.id, exc_info=error)
            await self._fail(trigger, "An internal error: see the log of the server")

    async def _fail(self, trigger: TriggerView, reason: str) -> None:
        assert trigger.due_at is not None, "an armed schedule has a due time"
        next = None
        if isinstance(trigger.spec, Schedule):
            # Such as of a time zone that the machine no longer knows: it then rests until it is resumed or saved again.
            with contextlib.suppress(ValueError):
                next = next_start(trigger.id, trigger.spec, max(trigger.due_at, self._clock.now()))
        await self._store.fail(trigger.workspace_id, trigger.id, due_at=trigger.due_at, next=next, error=reason)

    async def _step(self, trigger: TriggerView, schedule: Schedule) -> None:
        now, pending = self._clock.now(), trigger.due_at
        assert pending is not None, "an armed schedule has a due time"
        if now - pending > _LONG:
            # On a thread: after an outage it counts many due times.
            step = await asyncio.to_thread(step_at, trigger.id, schedule, pending, now)
        else:
            step = step_at(trigger.id, schedule, pending, now)
        if step.due_at is None:
            if await self._store.advance(trigger.id, due_at=pending, next=step.next, missed=step.missed):
                self._report_missed(trigger, step.missed)
        elif schedule.overlap == "skip" and trigger.has_open_execution:
            if await self._store.advance(trigger.id, due_at=pending, next=step.next, missed=step.missed, skipped=1):
                self._report_missed(trigger, step.missed)
                self._count("skipped", 1)
        else:
            await self._start(trigger, schedule, pending, step, now)

    async def _start(
        self, trigger: TriggerView, schedule: Schedule, pending: datetime, step: DueStep, now: datetime
    ) -> None:
        assert step.due_at is not None, "there is something to start"
        fire = TriggerFire(trigger_id=trigger.id, at=now, due_at=pending, next=step.next, missed=step.missed)
        try:
            request = await self._request(trigger, step.due_at, now, fire)
            overlap = _ON_LIMIT.get(schedule.overlap)
            started = await self._executions.accept(replace(request, overlap=overlap))
        except (TriggerHasMoved, FlowDisabled, StartsPaused):
            # Another process has started it, or a change of the flow has disarmed it, or it waits for the end of a
            # pause.
            return
        except Unavailable:
            raise
        except FlowRunnerError as error:
            failures = await self._store.fail(
                trigger.workspace_id,
                trigger.id,
                due_at=pending,
                next=step.next,
                missed=step.missed,
                error=str(error),
            )
            if failures:
                self._report_missed(trigger, step.missed)
                self._count("failed", 1)
                facts = {"trigger": trigger.id, "flow_id": trigger.flow_id, "failures": failures}
                logger.warning("trigger.failed", reason=str(error), **facts)
            return
        if started.is_repeat:
            # It was started before the flow was saved again, or before the clock was set back.
            await self._store.advance(trigger.id, due_at=pending, next=step.next, missed=step.missed)
        else:
            self._report_missed(trigger, step.missed)
            self._count("started", 1)

    def _report_missed(self, trigger: TriggerView, count: int) -> None:
        if count:
            self._count("missed", count)
            logger.warning("trigger.missed", trigger=trigger.id, flow_id=trigger.flow_id, count=count)

    async def start_now(self, caller: Caller, trigger: TriggerView, *, idempotency_key: str | None) -> StartedExecution:
        """Start the execution of a schedule beside its due times. Raises: as `Executions.accept`."""
        now = self._clock.now()
        request = await self._request(trigger, now, now, TriggerFire(trigger_id=trigger.id, at=now))
        cause = Scheduled(trigger=trigger.id, name=trigger.name, due_at=now, by=caller.account_id)
        request = replace(request, caller=caller, cause=cause, idempotency_key=None)
        if idempotency_key is not None:
            key, digest = stored_form(idempotency_key), digest_of_request([trigger.id])
            request = replace(request, idempotency_key=key, sent_key=idempotency_key, digest=digest)
        return await self._executions.accept(request)

    async def start_late(self, caller: Caller, trigger: TriggerView, due_at: datetime) -> StartedExecution:
        """Start a due time that is over, unless it was started; the trigger stays as it is.

        Raises: as `Executions.accept`.
        """
        request = await self._request(trigger, due_at, self._clock.now(), None, is_in_turn=False)
        cause = Scheduled(trigger=trigger.id, name=trigger.name, due_at=due_at, by=caller.account_id)
        return await self._executions.accept(replace(request, caller=caller, cause=cause))

    async def _request(
        self,
        trigger: TriggerView,
        due_at: datetime,
        now: datetime,
        fire: TriggerFire | None,
        *,
        is_in_turn: bool = True,
    ) -> StartRequest:
        """Return the request to start a due time.

        Args:
            is_in_turn: It follows the executions that the schedule has started before, as those of a backfill do not.

        Raises: NotFound, InvalidFlow, InvalidInput, Unavailable.
        """
        values: dict[str, JSON] = {"at": rfc3339(now), "due_at": rfc3339(due_at)}
        if await self._requests.reads_last(trigger):
            values["last"] = await self._last(trigger) if is_in_turn else None
        return await self._requests.make(
            trigger,
            values,
            cause=Scheduled(trigger=trigger.id, name=trigger.name, due_at=due_at),
            idempotency_key=key_of(trigger.id, due_at),
            fire=fire,
        )

    async def _last(self, trigger: TriggerView) -> JSON:
        """Return the value of `trigger.last`. Raises: InvalidInput if it is too large; Unavailable."""
        for _ in range(_TRIES):
            found = await self._store.last_completed(trigger.workspace_id, trigger.id, most=_MOST_LOOKED_AT)
            if found is None:
                return None
            if found.size > MOST_CHARACTERS:
                message = f"The result of {found.completed} is too large: trigger.last may have {MOST_CHARACTERS} bytes"
                hint = "let the outputs of the flow be what the next execution needs, and delete that execution"
                raise invalid("trigger.last", message, code="too_large", hint=hint)
            # Retention may have just deleted it.
            with contextlib.suppress(NotFound):
                cause = await cause_of(self._journal, found.id)
                ended = await self._reader.get(trigger.workspace_id, found.completed)
                return await on_thread_if(found.size, _value_of, ended, cause)
        raise Unavailable("The last executions of the schedule are just being deleted")


def _value_of(ended: ExecutionDetail, cause: StartCause | None) -> JSON:
    return {
        "id": ended.id,
        "due_at": rfc3339(cause.due_at) if isinstance(cause, Scheduled) else None,
        "started_at": rfc3339(ended.started_at),
        "completed_at": rfc3339_or_none(ended.completed_at),
        "result": None if ended.result is None else decode_json(ended.result),
    }


def key_of(id: TriggerId, due_at: datetime) -> str:
    """Return the idempotency key of a due time. The blank separates it from the keys of clients."""
    return f"{id} {rfc3339(due_at)}"
