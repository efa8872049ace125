"""A server's side: executions begin here, and are told things; workers advance them."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Final

import structlog

from flowrunner.dispatch.family import Family
from flowrunner.dispatch.temporal.courier import Courier
from flowrunner.dispatch.temporal.door import Door
from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import Conflict, Unavailable
from flowrunner.domain.execution import Status
from flowrunner.domain.flow import Flow
from flowrunner.domain.values import JSON, AccountId, ExecutionId
from flowrunner.ports import (
    HANDLERS_RUN,
    NOBODY_KNOWS,
    Cancel,
    Clock,
    Engine,
    Fenced,
    Journal,
    Letters,
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


class TemporalDispatcher(Family):
    """Fills `ports.Dispatcher`."""

    def __init__(
        self, engine: Engine, courier: Courier, door: Door, *, journal: Journal, letters: Letters, clock: Clock
    ) -> None:
        super().__init__(engine, journal)
        self._courier = courier
        self._door = door
        self._letters = letters
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
        await self._engine.join()
        self._looking = asyncio.create_task(self._keep_looking(), name="temporal")

    async def drain(self, *, seconds: float) -> None:
        """Nothing is under way here that others could not go on with."""
        self._engine.stop()

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._courier.close()

    async def start(self, new: NewExecution, flow: Flow, input: JSON) -> None:
        if self._engine.is_stopping or not self.is_open:
            raise Unavailable("The server is stopping: try again in a moment")
        try:
            await self._engine.begin(self._door.counted(new), flow, input, at_once=False)
        except Fenced:
            if new.started_for is not None:
                # So is the one that asks, which ends with this.
                raise
            # The server is about to notice.
            raise Unavailable("Another server is active on this database: try again in a moment") from None
        if new.turn is None or not new.turn.is_queued:
            # It is durable. If Temporal is away it begins when that is back.
            id, account_id = new.id, new.account_id
            self._courier.keep_trying(lambda: self._begin(id, account_id), "temporal.not_begun", id)

    async def _begin(self, id: ExecutionId, account_id: AccountId) -> None:
        if not await self._door.keeps_waiting(id):
            await self._courier.begin(id, account_id)

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
        number = await self._courier.post(stored, content)
        loop = asyncio.get_running_loop()
        forgotten_at = loop.time() + _FORGOTTEN.total_seconds() / 2
        async for is_last in self._looks():
            answer = await self._letters.answer(number)
            if answer is False:
                await self._letters.withdraw(number)
                return False
            has_ended = answer is None and (await self._journal.stored(id)).status.is_final
            if answer or ((has_ended or is_last) and not await self._letters.withdraw(number)):
                # Gone means that it was taken, unless this process was stopped for so long that others have purged it.
                if loop.time() > forgotten_at:
                    raise Unavailable(NOBODY_KNOWS)
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
        await self._courier.send(id, signal)

    async def _end(self, id: ExecutionId, *, reason: str) -> None:
        await self._courier.send(id, Cancel(reason=reason))

    async def _let_in(self, id: ExecutionId, account_id: AccountId) -> None:
        await self._courier.nudge(id, account_id)

    def _keep_trying(self, work: Callable[[], Awaitable[None]], failure: str, what: str) -> None:
        self._courier.keep_trying(work, failure, what)

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
        self._queued = await self._door.waiting()
        for id in await self._letters.waiting(since=now - _LATE, limit=_PAGE):
            await self._courier.nudge(id, (await self._journal.stored(id)).account_id)
        for id, account_id in await self._journal.due(now=now - _LATE_WAIT, limit=_PAGE):
            await self._courier.nudge(id, account_id)
        for id, account_id in await self._journal.unowned(since=now - _LATE, limit=_PAGE):
            await self._courier.begin(id, account_id)
        await self._door.look(late=now - _LATE, limit=_PAGE)
        await self._letters.purge(before=now - _FORGOTTEN)
        if at_all:
            await self._look_at_all()

    async def _look_at_all(self) -> None:
        """Begin whatever runs, in case that Temporal has lost it."""
        after: ExecutionId | None = None
        while True:
            page = await self._journal.unfinished(after=after, limit=_PAGE)
            for id, account_id in page:
                await self._courier.begin(id, account_id)
            if len(page) < _PAGE:
                break
            after = page[-1][0]
        await self._door.look_for_lost(limit=_PAGE)
        await self._settle_all()
