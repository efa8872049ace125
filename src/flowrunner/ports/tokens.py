"""API tokens of accounts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowrunner.domain.account import Caller, Scope
from flowrunner.domain.values import AccountId, SessionId, TokenId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """An API token without its secret, which only its holder knows.

    Attributes:
        last_used_at: The last use, to about a minute; None if it was never used.
        workspace_id: The workspace that it is valid for; None for the account's personal one.
    """

    id: TokenId
    account_id: AccountId
    name: str
    scopes: Sequence[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    workspace_id: WorkspaceId | None = None


class TokenStore(Protocol):
    async def create(
        self, account_id: AccountId, token: TokenView, *, digest: str, by: SessionId, most: int, audit: Audit = None
    ) -> None:
        """Raises: Conflict if there are ``most`` already; Unauthorized if the session has ended."""
        ...

    async def find(self, digest: str) -> Caller | None:
        """Return the caller of a token, with the account's current role, even if it has expired; None if unknown."""
        ...

    async def find_alive(self, id: TokenId, *, now: datetime) -> Caller | None:
        """Return the caller of a token, as `find` does; None also if it has expired."""
        ...

    async def delete(self, account_id: AccountId, id: TokenId, *, audit: Audit = None) -> WorkspaceId | None:
        """Delete a token; return its workspace, None for the personal one. Raises: NotFound."""
        ...

    async def page(self, account_id: AccountId, *, page: Page) -> tuple[Sequence[TokenView], int]:
        """Return a page of tokens, the oldest first, and the total."""
        ...

    async def page_of_workspace(self, id: WorkspaceId, *, page: Page) -> tuple[Sequence[TokenView], int]:
        """Return a page of all members' tokens for the workspace, the oldest first, and the total."""
        ...

    async def delete_of_workspace(self, workspace_id: WorkspaceId, id: TokenId, *, audit: Audit) -> AccountId:
        """Delete a token for the workspace; return its account. Raises: NotFound."""
        ...

    async def note_uses(self, uses: Mapping[TokenId, datetime]) -> None: ...
    async def purge(self, *, now: datetime, limit: int) -> bool:
        """Delete at most ``limit`` expired tokens; return whether there may be more."""
        ...
