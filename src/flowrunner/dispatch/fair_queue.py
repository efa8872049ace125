"""The order and the limits in which executions are loaded into memory: round-robin over workspaces."""

import time
from collections import Counter, OrderedDict
from collections.abc import Iterable

from flowrunner.domain.values import ExecutionId, WorkspaceId


class FairQueue:
    """Executions that wait to be loaded into memory, the oldest of each workspace first.

    Round-robin over workspaces: a long backlog delays only the workspace that owns it.
    """

    def __init__(self) -> None:
        # The workspace that is next comes first.
        self._waiting: OrderedDict[WorkspaceId, OrderedDict[ExecutionId, float]] = OrderedDict()
        self._workspaces: dict[ExecutionId, WorkspaceId] = {}

    def __len__(self) -> int:
        return len(self._workspaces)

    def __contains__(self, id: ExecutionId) -> bool:
        return id in self._workspaces

    def add(self, id: ExecutionId, workspace_id: WorkspaceId, *, since: float | None = None) -> None:
        """Add an execution, as the last one of its workspace.

        Args:
            since: As `remove` has returned it: the execution comes before those that were added later.
        """
        self._workspaces[id] = workspace_id
        waiting = self._waiting.setdefault(workspace_id, OrderedDict())
        waiting[id] = time.monotonic() if since is None else since
        if since is not None:
            for later in [other for other, at in waiting.items() if at > since]:
                waiting.move_to_end(later)

    def remove(self, id: ExecutionId) -> float | None:
        """Remove an execution; return since when it has waited, or None if it does not."""
        workspace_id = self._workspaces.pop(id, None)
        return None if workspace_id is None else self._drop(workspace_id, id)

    @property
    def oldest_seconds(self) -> float:
        """Return how long the execution that was added first has waited; 0 if none waits."""
        first = [next(iter(waiting.values())) for waiting in self._waiting.values()]
        return time.monotonic() - min(first) if first else 0.0

    def count(self, workspace_id: WorkspaceId) -> int:
        """Return the number of the workspace's queued executions."""
        return len(self._waiting.get(workspace_id, ()))

    def take(self, *, unless: Iterable[WorkspaceId] = ()) -> tuple[ExecutionId, WorkspaceId] | None:
        """Remove and return the next execution, leaving out the workspaces in ``unless``; None if there is none."""
        skipped = frozenset(unless)
        workspace_id = next((workspace for workspace in self._waiting if workspace not in skipped), None)
        if workspace_id is None:
            return None
        id = next(iter(self._waiting[workspace_id]))
        del self._workspaces[id]
        self._waiting.move_to_end(workspace_id)
        self._drop(workspace_id, id)
        return id, workspace_id

    def clear(self) -> None:
        self._waiting.clear()
        self._workspaces.clear()

    def _drop(self, workspace_id: WorkspaceId, id: ExecutionId) -> float:
        waiting = self._waiting[workspace_id]
        since = waiting.pop(id)
        if not waiting:
            del self._waiting[workspace_id]
        return since


class ActiveLimit:
    """The count of executions in memory, and their limits.

    Args:
        most: Limit for all workspaces together.
        sure: Number that each workspace may have even beyond ``most``, so that no workspace can starve the others.
        most_of_one: Limit for one workspace below ``most``.
    """

    def __init__(self, most: int, sure: int, *, most_of_one: int | None = None) -> None:
        self._most = most
        self._most_of_one = most if most_of_one is None else min(most_of_one, most)
        self._sure = min(sure, self._most_of_one)
        self._total = 0
        self._by_workspace: Counter[WorkspaceId] = Counter()

    def has_free_slot(self, workspace_id: WorkspaceId) -> bool:
        return self._by_workspace[workspace_id] < self._most_of_each

    def full_workspaces(self) -> Iterable[WorkspaceId]:
        """Return the workspaces that have reached their limit."""
        return [workspace for workspace, count in self._by_workspace.items() if count >= self._most_of_each]

    @property
    def _most_of_each(self) -> int:
        return self._most_of_one if self._total < self._most else self._sure

    def enter(self, workspace_id: WorkspaceId | None) -> None:
        self._total += 1
        if workspace_id is not None:
            self.count(workspace_id)

    def count(self, workspace_id: WorkspaceId) -> None:
        """Count an execution for its workspace, if it entered before its workspace was known."""
        self._by_workspace[workspace_id] += 1

    def leave(self, workspace_id: WorkspaceId | None) -> None:
        self._total -= 1
        if workspace_id is not None:
            self._by_workspace[workspace_id] -= 1
            if self._by_workspace[workspace_id] <= 0:
                del self._by_workspace[workspace_id]
