"""The limit of a workspace's executions in the memory of all workers together."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from functools import partial

from flowrunner.dispatch.attempts import attempt_all, raise_first
from flowrunner.dispatch.temporal.workflow_client import WorkflowClient
from flowrunner.domain.errors import TooManyRequests
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.active_slots import ActiveSlots, SlotEntry, WaitingExecutions
from flowrunner.ports.clock import Clock
from flowrunner.ports.dispatch import ActiveExecution
from flowrunner.ports.journal import NewExecution


class Admission:
    """The admission of executions to active slots, in the order of their requests.

    An execution without a slot waits as a row, and as a workflow that is nudged once the execution is admitted. The
    process that frees a slot admits the next execution; the sweep repeats admissions and nudges that were lost.
    """

    def __init__(self, slots: ActiveSlots, workflows: WorkflowClient, clock: Clock, *, limits: WorkspaceLimits) -> None:
        self._slots = slots
        self._workflows = workflows
        self._clock = clock
        self._limits = limits
        # Workspaces whose last start was rejected.
        self._full: set[WorkspaceId] = set()

    @contextlib.asynccontextmanager
    async def counted(self, new: NewExecution) -> AsyncIterator[NewExecution]:
        """Add its workspace's limits to a new execution, so that the append gives it a slot, queues or rejects it.

        Rejected starts are often repeated. For these, a read finds out first whether the queue is still full: a commit
        that fails for that reason is repeated for all operations that share it.

        Raises: TooManyRequests.
        """
        if new.workspace_id in self._full:
            await self._slots.check_queue(new.workspace_id, self._limits)
            self._full.discard(new.workspace_id)
        try:
            yield replace(new, limits=self._limits)
        except TooManyRequests:
            self._full.add(new.workspace_id)
            raise

    async def keeps_waiting(self, id: ExecutionId) -> bool:
        """Return whether a new execution is queued."""
        return self._limits.active is not None and await self._slots.is_waiting(id)

    async def waiting(self) -> WaitingExecutions:
        """Return how many executions of all workspaces wait for a slot or for a worker, and since when."""
        return await self._slots.waiting()

    async def others_wait(self) -> bool:
        """Return whether executions of some workspace wait for a slot."""
        return self._limits.active is not None and await self._slots.has_waiting()

    async def enter(self, id: ExecutionId) -> SlotEntry:
        """Take a slot. An execution that is queued is nudged once it is admitted."""
        return await self._slots.enter(id, most=self._limits.active, at=self._clock.now())

    async def leave(self, execution: ActiveExecution, id: ExecutionId) -> None:
        """Free the slot of a waiting execution that has left memory."""
        if self._limits.active is not None:
            await self._slots.leave(id, execution.fencing_token)
            self.slot_freed(execution.workspace_id)

    def slot_freed(self, workspace_id: WorkspaceId) -> None:
        """Admit queued executions of the workspace after one has left or ended. Without a limit none is queued."""
        if self._limits.active is not None:
            self._workflows.keep_trying(lambda: self._admit_queued(workspace_id), "admission.failed", workspace_id)

    async def sweep(self, *, late: datetime, limit: int) -> None:
        """Admit queued executions while there are free slots, and repeat nudges that seem lost.

        Raises:
            Exception: The first error, after everything was attempted.
        """
        workspaces = await self._slots.workspaces_waiting()
        errors = list(await attempt_all(partial(self._admit_queued, id) for id in workspaces))
        expected = await self._slots.expected(since=late, limit=limit)
        errors += await attempt_all(partial(self._workflows.nudge, *pair) for pair in expected)
        raise_first(errors)

    async def sweep_lost(self, *, limit: int) -> None:
        """Have workers check executions that should have left memory or been loaded, in case they were forgotten.

        Raises: as `sweep`.
        """
        idle = await self._slots.idle(limit=limit)
        errors = list(await attempt_all(partial(self._workflows.begin, *pair) for pair in idle))
        unnotified = await self._slots.unnotified(limit=limit)
        errors += await attempt_all(partial(self._workflows.nudge, *pair) for pair in unnotified)
        raise_first(errors)

    async def _admit_queued(self, workspace_id: WorkspaceId) -> None:
        while (id := await self._slots.admit_next(workspace_id, most=self._limits.active)) is not None:
            await self._workflows.nudge(id, workspace_id)
