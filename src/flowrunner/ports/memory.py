"""How much of executions is in memory."""

from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from flowrunner.domain.values import AccountId

# An execution whose events have more bytes waits for room in memory when it is loaded.
LARGE_BYTES: Final = 64 * 1024


class Loading(Protocol):
    """The room that one large execution takes, from its loading on."""

    def reading(self, account_id: AccountId) -> AbstractAsyncContextManager[None]:
        """Hold one of the account's turns to read large executions."""
        ...

    async def take(self, account_id: AccountId, size: int) -> None:
        """Wait for so many bytes of room, which `give_back` ends."""
        ...

    def give_back(self) -> None:
        """Give back what was taken; nothing if it was before."""
        ...


class MemoryRoom(Protocol):
    """The room in memory for executions that are loaded, of which each account has a share."""

    def loading(self) -> Loading: ...
