"""Cached callers by token, and the notification of changes of their access."""

from collections.abc import Awaitable, Callable
from typing import Final

from flowrunner.domain.account import Caller
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.lru_cache import LruCache

# Weights of cached callers: an account may be a member of many workspaces.
_KEPT_CALLERS: Final = 40_000
_WEIGHT_OF_A_CALLER: Final = 4


class KnownCallers:
    """Callers by token. Code that ends a session or an API token in the store calls `sessions_ended` right afterwards.

    Attributes:
        changes: The number of times that access has ended somewhere, or may have: what was found before may be
            outdated.
    """

    def __init__(self) -> None:
        self._kept: LruCache[str, Caller] = LruCache(_KEPT_CALLERS)
        self.changes = 0
        self._on_end: Callable[[AccountId], Awaitable[None]] | None = None
        self._on_workspace_change: Callable[[WorkspaceId], Awaitable[None]] | None = None

    def on_end(
        self,
        listener: Callable[[AccountId], Awaitable[None]],
        *,
        on_workspace_change: Callable[[WorkspaceId], Awaitable[None]] | None = None,
    ) -> None:
        """Have ``listener`` called with every account whose sessions or API tokens have ended.

        Args:
            on_workspace_change: Called with every workspace that `workspace_changed` is called with.
        """
        self._on_end, self._on_workspace_change = listener, on_workspace_change

    def get(self, token: str) -> Caller | None:
        return self._kept.get(token)

    def keep(self, token: str, caller: Caller) -> None:
        self._kept.keep(token, caller, _WEIGHT_OF_A_CALLER + len(caller.memberships))

    def forget(self, token: str) -> None:
        self._kept.forget(token)

    def credential_replaced(self, caller: Caller) -> None:
        """Drop cached callers with this caller's session, which soon ends."""
        self._drop(lambda kept: kept.credential == caller.credential)

    async def sessions_ended(self, account_id: AccountId) -> None:
        """Drop cached callers of an account whose sessions or API tokens have ended in the store."""
        self._drop(lambda kept: kept.account_id == account_id)
        if self._on_end is not None:
            await self._on_end(account_id)

    async def workspace_changed(self, id: WorkspaceId) -> None:
        """Drop cached callers that are members of a workspace which was deleted, or has another slug or other rules."""
        self._drop(lambda kept: any(joined.workspace_id == id for joined in kept.memberships))
        if self._on_workspace_change is not None:
            await self._on_workspace_change(id)

    def drop_all(self) -> None:
        """Drop all cached callers: other processes may have ended sessions."""
        self._drop(lambda kept: True)

    def _drop(self, concerns: Callable[[Caller], bool]) -> None:
        self.changes += 1
        for token in [token for token, kept in self._kept if concerns(kept)]:
            self._kept.forget(token)
