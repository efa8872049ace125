"""A server's side: executions begin here, and are told things; workers advance them."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Final

import structlog

from flowrunner.dispatch.child_executions import ChildExecutions
from flowrunner.dispatch.temporal.admission import Admission
from flowrunner.dispatch.temporal.workflow_client import WorkflowClient
from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import Conflict, Unavailable
from flowrunner.domain.execution import Status
from flowrunner.domain.flow import Flow
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.ports import (
    HANDLERS_RUN,
    OUTCOME_UNKNOWN,
    Cancel,
    Clock,
    Engine,
    Fenced,
    Inbox,
    Journal,
    NewExecution,
    Signal,
)

logger = structlog.get_logger()

# How long whoever tells an execution something waits for a worker to take it.
_TAKING_SECONDS: Final = 30.0
_SHORTEST_LOOK_SECONDS: Final = 0.005
_LONGEST_LOOK_SECONDS: Final = 0.2
# What should have happened by then is looked for, and how often.
_LATE: Final = timedelta(seconds=5)
_LATE_WAIT: Final = timedelta(seconds=30)
_FORGOTTEN: Final = timedelta(minutes=5)
_LOOK_SECONDS: Final = 5.0
_LOOKS_AT_ALL: Final = 60
_PAGE: Final = 500


class TemporalDispatcher(ChildExecutions):
    """Fills `ports.Dispatcher`."""

    def __init__(
        self,
        engine: Engine,
        workflows: WorkflowClient,
        admission: Admission,
        *,
        journal: Journal,
        inbox: Inbox,
        clock: Clock,
    ) -> None:
        super().__init__(engine, journal)
        self._workflows = workflows
        self._admission = admission
        self._inbox = inbox
        self._clock = clock
        self._looking: asyncio.Task[None] | None = None
        self._queued = 0

    @property
    def is_open(self) -> bool:
        """Whether executions are accepted."""
        return self._looking is not None and not self._looking.done()

    @property
    def active(self) -> int:
        """Executions that this process advances."""
        return 0

    @property
    def queued(self) -> int:
        """Of all processes, as it was seen last."""
        return self._queued

    async def open(self) -> None:
        await self._engine.open_shared()
        self._looking = asyncio.create_task(self._keep_looking(), name="temporal")

    async def drain(self, *, seconds: float) -> None:
        """Nothing is under way here that others could not go on with."""
        self._engine.stop()

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._workflows.close()

    async def start(self, new: NewExecution, flow: Flow, input: JSON) -> None:
        if self._engine.is_stopping or not self.is_open:
            raise Unavailable("The server is stopping: try again in a moment")
        try:
            await self._engine.begin(self._admission.counted(new), flow, input, at_once=False)
        except Fenced:
            if new.started_for is not None:
                # So is the one that asks, which ends with this.
                raise
            # The server is about to notice.
            raise Unavailable("Another server is active on this database: try again in a moment") from None
        if new.slot is None or not new.slot.is_queued:
            # It is durable. If Temporal is away it begins when that is back.
            id, workspace_id = new.id, new.workspace_id
            self._workflows.keep_trying(lambda: self._begin(id, workspace_id), "temporal.not_begun", id)

    async def _begin(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        if not await self._admission.keeps_waiting(id):
            await self._workflows.begin(id, workspace_id)

    async def cancel(
        self, id: ExecutionId, *, reason: str, audit: AuditEntry | None = None, force: bool = False
    ) -> None:
        taken = await self._ask(id, Cancel(reason=reason, audit=audit, spares_handlers=not force))
        if taken:
            return
        stored = await self._journal.stored(id)
        if taken is False and not stored.status.is_final:
            raise Conflict(HANDLERS_RUN)
        if stored.status is not Status.CANCELLED:
            raise Conflict(f"The execution has already ended: it is {stored.status.value}")

    async def signal(self, id: ExecutionId, signal: Signal) -> bool:
        taken = await self._ask(id, signal)
        if taken is None:
            raise Conflict("The execution has ended")
        return taken

    async def _ask(self, id: ExecutionId, content: Signal | Cancel) -> bool | None:
        """Whether it counted; None if the execution has ended without it."""
        stored = await self._journal.stored(id)
        if stored.status.is_final:
            return None
        number = await self._workflows.send(stored, content)
        loop = asyncio.get_running_loop()
        forgotten_at = loop.time() + _FORGOTTEN.total_seconds() / 2
        async for is_last in self._looks():
            answer = await self._inbox.answer(number)
            if answer is False:
                await self._inbox.cancel(number)
                return False
            has_ended = answer is None and (await self._journal.stored(id)).status.is_final
            if answer or ((has_ended or is_last) and not await self._inbox.cancel(number)):
                # Gone means that it was taken, unless this process was stopped for so long that others have purged it.
                if loop.time() > forgotten_at:
                    raise Unavailable(OUTCOME_UNKNOWN)
                return True
            if has_ended:
                return None
        raise Unavailable("No worker takes it: none is running, or Temporal is away. Try again when they are back")

    async def _looks(self) -> AsyncIterator[bool]:
        """Moments to look again, and whether it is the last."""
        loop, seconds = asyncio.get_running_loop(), _SHORTEST_LOOK_SECONDS
        ends_at = loop.time() + _TAKING_SECONDS
        while loop.time() < ends_at:
            yield False
            await asyncio.sleep(seconds)
            seconds = min(seconds * 1.5, _LONGEST_LOOK_SECONDS)
        yield True

    # How executions reach each other

    async def _tell(self, id: ExecutionId, signal: Signal) -> None:
        await self._workflows.send_if_open(id, signal)

    async def _end(self, id: ExecutionId, *, reason: str) -> None:
        await self._workflows.send_if_open(id, Cancel(reason=reason))

    async def _let_in(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        await self._workflows.nudge(id, workspace_id)

    def _keep_trying(self, work: Callable[[], Awaitable[None]], failure: str, what: str) -> None:
        self._workflows.keep_trying(work, failure, what)

    # What may have been left undone

    async def _keep_looking(self) -> None:
        count = 0
        while True:
            try:
                await self._look(at_all=count % _LOOKS_AT_ALL == 0)
                count += 1
            except Exception as error:
                # As long as nobody looks, what was left undone stays so.
                logger.warning("temporal.look_failed", reason=str(error))
            # Servers that were started together do not look together.
            await asyncio.sleep(_LOOK_SECONDS * random.SystemRandom().uniform(0.8, 1.2))

    async def _look(self, *, at_all: bool) -> None:
        """Nudge what should have gone on by now. All of it is harmless where it has."""
        now = self._clock.now()
        self._queued = await self._admission.waiting()
        for id in await self._inbox.waiting(since=now - _LATE, limit=_PAGE):
            await self._workflows.nudge(id, (await self._journal.stored(id)).workspace_id)
        for id, workspace_id in await self._journal.due(now=now - _LATE_WAIT, limit=_PAGE):
            await self._workflows.nudge(id, workspace_id)
        for id, workspace_id in await self._journal.unowned(since=now - _LATE, limit=_PAGE):
            await self._workflows.begin(id, workspace_id)
        await self._admission.look(late=now - _LATE, limit=_PAGE)
        await self._inbox.purge(before=now - _FORGOTTEN)
        if at_all:
            await self._look_at_all()

    async def _look_at_all(self) -> None:
        """Begin whatever runs, in case that Temporal has lost it."""
        after: ExecutionId | None = None
        while True:
            page = await self._journal.unfinished(after=after, limit=_PAGE)
            for id, workspace_id in page:
                await self._workflows.begin(id, workspace_id)
            if len(page) < _PAGE:
                break
            after = page[-1][0]
        await self._admission.look_for_lost(limit=_PAGE)
        await self._reconcile_all()
