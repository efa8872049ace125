"""Memory budgets of executions and request bodies."""

from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from flowrunner.domain.values import ExecutionId, WorkspaceId

# An execution with more bytes of events reserves memory when it is loaded.
LARGE_BYTES: Final = 64 * 1024


class Loading(Protocol):
    """The memory reservation of one large execution, from its load or start on."""

    def reading(self, workspace_id: WorkspaceId) -> AbstractAsyncContextManager[None]:
        """Hold one of the workspace's slots for reading large executions."""
        ...

    async def take(self, workspace_id: WorkspaceId, size: int) -> None:
        """Wait for the bytes and reserve them until `give_back`."""
        ...

    def take_at_once(self, workspace_id: WorkspaceId, size: int) -> bool:
        """Reserve the bytes if they are free and no other execution of the workspace waits; return whether it did."""
        ...

    def keep(self, id: ExecutionId, size: int) -> None:
        """Reduce the reservation of a loaded execution to the bytes that it holds, which may be few of its events."""
        ...

    def give_back(self) -> None:
        """Release the reservation, if there is one."""
        ...


class MemoryRoom(Protocol):
    """The memory budget of executions, shared fairly between workspaces."""

    def loading(self) -> Loading: ...


class BodyRoom(Protocol):
    """The memory budget of long request bodies, shared fairly between workspaces."""

    def hold(self, workspace_id: WorkspaceId, size: int) -> AbstractAsyncContextManager[None]:
        """Wait for the bytes and hold them."""
        ...
