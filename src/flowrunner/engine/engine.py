"""Brings executions into memory: new ones, and ones that are stored."""

from typing import Final

import structlog

from flowrunner.domain.errors import InvalidFlow, NotFound
from flowrunner.domain.execution import Cancelled, Completed, Failed, Failure
from flowrunner.domain.flow import Flow
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.engine.run import Run, end_signal
from flowrunner.engine.world import World
from flowrunner.ports import NewExecution, Signal

logger = structlog.get_logger()


class FlowEngine:
    """Fills `ports.Engine`."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def is_stopping(self) -> bool:
        return self._world.is_stopping

    async def open(self) -> None:
        self._world.epoch = await self._world.journal.claim()

    def stop(self) -> None:
        self._world.is_stopping = True

    async def begin(self, new: NewExecution, flow: Flow, input: JSON, *, at_once: bool) -> Run:
        return await Run.begin(self._world, new, flow, input, at_once=at_once)

    async def load(self, id: ExecutionId) -> Run | None:
        stored, events = await self._world.journal.load(id)
        if stored.status.is_final:
            return None
        if stored.account_is_gone:
            run = await Run.resume(self._world, stored, events, _NO_FLOW)
            run.cancel("the account was deleted")
            return run
        try:
            flow = await self._world.library.get(stored.account_id, stored.revision_id)
        except (InvalidFlow, NotFound) as error:
            message = f"The flow can no longer be read: {error}"
            await self._fail(id, Failure(type="flow.invalid", message=message[:2000]))
            return None
        return await Run.resume(self._world, stored, events, flow)

    async def end_of(self, id: ExecutionId) -> Signal | None:
        _, events = await self._world.journal.load(id)
        last = events[-1][0]
        return end_signal(id, last) if isinstance(last, Completed | Failed | Cancelled) else None

    async def give_up(self, id: ExecutionId) -> None:
        message = "An internal error ended this execution: see the server's log"
        await self._fail(id, Failure(type="internal", message=message))

    async def _fail(self, id: ExecutionId, failure: Failure) -> None:
        stored, events = await self._world.journal.load(id)
        if not stored.status.is_final:
            run = await Run.resume(self._world, stored, events, _NO_FLOW)
            await run.fail(failure)


_NO_FLOW: Final = Flow(name="", description="", version="", tags=(), start="", nodes={}, vars={})
