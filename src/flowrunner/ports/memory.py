"""Room in memory for executions and for the bodies of requests."""

from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from flowrunner.domain.values import WorkspaceId

# An execution whose events have more bytes waits for room in memory when it is loaded.
LARGE_BYTES: Final = 64 * 1024


class Loading(Protocol):
    """The room that one large execution takes, from its loading or its start on."""

    def reading(self, workspace_id: WorkspaceId) -> AbstractAsyncContextManager[None]:
        """Hold one of the account's turns to read large executions."""
        ...

    async def take(self, workspace_id: WorkspaceId, size: int) -> None:
        """Wait for so many bytes of room, which `give_back` ends."""
        ...

    def take_at_once(self, workspace_id: WorkspaceId, size: int) -> bool:
        """Take so many bytes of room, if there are and none of the account's executions waits for some."""
        ...

    def give_back(self) -> None:
        """Give back what was taken; nothing if it was before."""
        ...


class MemoryRoom(Protocol):
    """The room in memory for executions, of which each account has a share."""

    def loading(self) -> Loading: ...


class BodyRoom(Protocol):
    """The room in memory for long bodies of requests, of which each account has a share."""

    def hold(self, workspace_id: WorkspaceId, size: int) -> AbstractAsyncContextManager[None]:
        """Hold so many bytes of room, after waiting for them."""
        ...
