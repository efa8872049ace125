"""Workflow tasks whose worker has died, found before Temporal gives them to another worker."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from temporalio.api.enums.v1 import PendingWorkflowTaskState
from temporalio.api.workflow.v1 import PendingWorkflowTaskInfo
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import ExecutionId, WorkspaceId

# Temporal gives the workers of the first attempts `TASK_TIMEOUT` each, and the worker of each later attempt about twice
# as long as the one before, up to ten minutes.
_SLOW_FROM_ATTEMPT: Final = 4
# A live worker has answered by then: it extends a task long before, and a local activity takes no longer.
_LOST_AFTER_SECONDS: Final = 30.0
_MOST_SUSPECTS: Final = 500
_RPC: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class _Suspect:
    """A task that a worker has begun. Its age is counted here, because Temporal's clock may differ.

    Attributes:
        task: The run, the attempt and the moment of the begin.
        seen_at: When this process saw it first, by the clock of the event loop.
    """

    workspace_id: WorkspaceId
    task: tuple[str, int, int]
    seen_at: float


class LostTasks:
    """The tasks of late executions, as this process has seen them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._suspects: dict[ExecutionId, _Suspect] = {}

    @property
    def suspects(self) -> dict[ExecutionId, WorkspaceId]:
        """Return the executions that have to be checked again."""
        return {id: suspect.workspace_id for id, suspect in self._suspects.items()}

    def forget(self, id: ExecutionId) -> None:
        """Forget an execution that has ended."""
        self._suspects.pop(id, None)

    async def has_to_start(self, id: ExecutionId, workspace_id: WorkspaceId) -> bool:
        """Return whether no workflow of the execution is running, or the worker of its task has died.

        Raises: Unavailable.
        """
        try:
            found = await self._client.get_workflow_handle(id).describe(rpc_timeout=_RPC)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                self.forget(id)
                return True
            raise Unavailable(f"Temporal does not answer: {error.status.name.lower()}") from None
        if found.status is not WorkflowExecutionStatus.RUNNING:
            self.forget(id)
            return True
        return self._is_lost(id, workspace_id, found.run_id, found.raw_description.pending_workflow_task)

    def _is_lost(self, id: ExecutionId, workspace_id: WorkspaceId, run_id: str, task: PendingWorkflowTaskInfo) -> bool:
        before = self._suspects.pop(id, None)
        is_begun = task.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
        if not is_begun or task.attempt < _SLOW_FROM_ATTEMPT:
            return False
        now, same = asyncio.get_running_loop().time(), (run_id, task.attempt, task.started_time.ToNanoseconds())
        if before is not None and before.task == same:
            seen_at = before.seen_at
            if now - seen_at >= _LOST_AFTER_SECONDS:
                return True
        else:
            seen_at = now
        if len(self._suspects) < _MOST_SUSPECTS:
            self._suspects[id] = _Suspect(workspace_id, same, seen_at)
        return False
