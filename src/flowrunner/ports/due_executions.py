"""Executions that have to continue."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from flowrunner.domain.values import ExecutionId, WorkspaceId


class DueExecutions(Protocol):
    """The executions that a process has to advance, because they run or their wait is over."""

    async def unowned(self, *, since: datetime, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        """Return executions that are runnable or due since ``since`` and were never owned, with their workspaces."""
        ...

    async def unfinished(self, *, after: ExecutionId | None, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        """Return running executions after the id ``after``, with their workspaces; `due` returns the waiting ones."""
        ...

    async def due(self, *, now: datetime, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        """Return the waiting executions that are due, with their workspaces."""
        ...

    async def next_wake(self, *, after: datetime) -> datetime | None:
        """Return the first time after ``after`` at which a waiting execution is due."""
        ...

    async def settle(self) -> None:
        """Return once no start of this process that has failed can become durable any more.

        Raises:
            Unavailable: If that is not known yet.
        """
        ...
