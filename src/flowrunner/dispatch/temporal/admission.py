"""How many executions of an account workers have in memory at once, all of them together."""

from dataclasses import replace
from datetime import datetime

from flowrunner.dispatch.temporal.workflow_client import WorkflowClient
from flowrunner.domain.limits import Limits
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports import ActiveExecution, ActiveSlots, Clock, NewExecution


class Admission:
    """Lets executions in, in the order in which they have asked.

    One that finds no room waits as a row, and as a workflow that is nudged when there is some. Whoever makes room lets
    the next one in; what is left undone by that is done by whoever looks.
    """

    def __init__(self, slots: ActiveSlots, workflows: WorkflowClient, clock: Clock, *, limits: Limits) -> None:
        self._slots = slots
        self._workflows = workflows
        self._clock = clock
        self._limits = limits

    def counted(self, new: NewExecution) -> NewExecution:
        """One that begins with room, or waits for it, or is refused because too many do."""
        return replace(new, limits=self._limits)

    async def keeps_waiting(self, id: ExecutionId) -> bool:
        """Whether an execution that has just begun is without room."""
        return self._limits.active is not None and await self._slots.is_waiting(id)

    async def waiting(self) -> int:
        """How many executions of all accounts wait for room or for a worker that begins them."""
        return await self._slots.waiting()

    async def enter(self, id: ExecutionId) -> bool:
        """Whether the execution may be in memory; otherwise it is nudged when it may."""
        return await self._slots.enter(id, most=self._limits.active, at=self._clock.now())

    async def leave(self, run: ActiveExecution, id: ExecutionId) -> None:
        """It waits for something, and has left memory."""
        if self._limits.active is not None:
            await self._slots.leave(id, run.fencing_token)
            self.slot_freed(run.workspace_id)

    def slot_freed(self, workspace_id: WorkspaceId) -> None:
        """Let in who waits, as one of the account has left or ended. Where there is room for all, nobody does."""
        if self._limits.active is not None:
            self._workflows.keep_trying(lambda: self._let_in(workspace_id), "execution.not_let_in", workspace_id)

    async def look(self, *, late: datetime, limit: int) -> None:
        """Let in who waits while there is room, and tell again those that should have come by now."""
        for workspace_id in await self._slots.accounts_waiting():
            await self._let_in(workspace_id)
        for id, workspace_id in await self._slots.expected(since=late, limit=limit):
            await self._workflows.nudge(id, workspace_id)

    async def look_for_lost(self, *, limit: int) -> None:
        """Have a worker look at those that should have left or come, in case that nobody knows of them any more."""
        for id, workspace_id in await self._slots.idle(limit=limit):
            await self._workflows.begin(id, workspace_id)
        for id, workspace_id in await self._slots.unnotified(limit=limit):
            await self._workflows.nudge(id, workspace_id)

    async def _let_in(self, workspace_id: WorkspaceId) -> None:
        while (id := await self._slots.admit_next(workspace_id, most=self._limits.active)) is not None:
            await self._workflows.nudge(id, workspace_id)
