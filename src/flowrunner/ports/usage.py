"""The storage and the queue that a workspace uses."""

from typing import Final, Protocol

from flowrunner.domain.values import WorkspaceId

# An open execution counts in whole blocks, so an append may add this many bytes to its own.
BLOCK: Final = 4096


class UsageReader(Protocol):
    """The usage of a workspace that only the store knows."""

    async def stored(self, workspace_id: WorkspaceId) -> int:
        """Return the bytes of its executions' events, its flows with all definitions, and its sealed secrets."""
        ...

    async def queued(self, workspace_id: WorkspaceId) -> int:
        """Return the number of its executions that wait for a concurrency slot of their flow."""
        ...
