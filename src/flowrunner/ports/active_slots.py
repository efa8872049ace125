"""Slots of executions in memory, which processes share."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.values import ExecutionId, WorkspaceId


class SlotEntry(NamedTuple):
    """Outcome of `ActiveSlots.enter`.

    Attributes:
        is_active: The execution has a slot; otherwise it is queued.
        queued_at: When it began to queue, if it still queues or did until this entry. No process had it in memory with
            a slot since then.
    """

    is_active: bool
    queued_at: int | None = None


class WaitingExecutions(NamedTuple):
    """Executions that wait for an active slot or, when they are new, for a process that loads them.

    Attributes:
        since: When the longest wait of them began. Those with a concurrency limit do not count here while they are new:
            when they got their concurrency slot is not stored.
    """

    number: int
    since: datetime | None


class ActiveSlots(Protocol):
    """Slots of executions in the memory of processes that share a journal, limited per workspace.

    A slot belongs to an execution from admission until it leaves memory or ends, independently of which process has it
    in memory and whether that process is alive.
    """

    async def enter(self, id: ExecutionId, *, most: int | None, at: datetime) -> SlotEntry:
        """Take an active slot, or queue for one.

        Args:
            most: Limit of active slots of the workspace; None for no limit.
        """
        ...

    async def leave(self, id: ExecutionId, fencing_token: int) -> None:
        """Free the slot of an unfinished execution. Ignored if another process owns it: see `Journal.acquire`."""
        ...

    async def is_waiting(self, id: ExecutionId) -> bool: ...

    async def has_waiting(self) -> bool:
        """Return whether executions of some workspace are queued."""
        ...

    async def check_queue(self, workspace_id: WorkspaceId, limits: WorkspaceLimits) -> None:
        """Reject a new execution if it could be neither active nor queued now; only its append decides.

        Raises: TooManyRequests.
        """
        ...

    async def admit_next(self, workspace_id: WorkspaceId, *, most: int | None) -> ExecutionId | None:
        """Give a free slot to the workspace's execution that has waited longest; return it, or None."""
        ...

    async def workspaces_waiting(self) -> Sequence[WorkspaceId]:
        """Return the workspaces with queued executions."""
        ...

    async def waiting(self) -> WaitingExecutions:
        """Return how many executions wait for a slot, or are new and not loaded by any process yet, and since when."""
        ...

    async def expected(self, *, since: datetime, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        """Return executions that were admitted, have waited since ``since`` or longer, and are not loaded yet."""
        ...

    async def idle(self, *, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        """Return executions that hold a slot while they wait: they are about to leave memory, or were forgotten."""
        ...

    async def unnotified(self, *, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        """Return executions that got a concurrency slot after they left memory, and are not loaded again yet."""
        ...
