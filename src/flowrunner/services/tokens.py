"""API tokens, with which programs authenticate."""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from flowrunner.domain.account import SCOPES_AT_MCP, Caller, Scope, Session, check_scopes, name_faults
from flowrunner.domain.audit import AuditEntry, act
from flowrunner.domain.errors import Fault, Forbidden, InvalidInput, Unavailable
from flowrunner.domain.values import JSON, AccountId, TokenId, WorkspaceId, personal_workspace
from flowrunner.ids import new_id
from flowrunner.ports.clock import Clock
from flowrunner.ports.page import Page
from flowrunner.ports.tokens import TokenStore, TokenView
from flowrunner.services.random_tokens import digest_of_token, new_token
from flowrunner.write_behind import WriteBehind

PREFIX: Final = "fr_pat_"
MAX_TOKENS: Final = 100
LONGEST_LIFE: Final = timedelta(days=3650)
# Length of a token after its prefix.
_CHARACTERS: Final = 43
# The last use of each token.
TokenUses: TypeAlias = WriteBehind[TokenId, datetime]


class Tokens:
    """Use cases of API tokens.

    Args:
        on_end: Called with the account whose token was revoked.
    """

    def __init__(
        self,
        store: TokenStore,
        uses: TokenUses,
        clock: Clock,
        *,
        on_end: Callable[[AccountId], Awaitable[None]],
    ) -> None:
        self._store = store
        self._uses = uses
        self._clock = clock
        self._on_end = on_end

    async def create(
        self, caller: Caller, *, name: str, scopes: Sequence[Scope], life: timedelta | None
    ) -> tuple[TokenView, str]:
        """Create a token for the workspace that the request acts in.

        Return its view and the token itself, which is not stored and cannot be read again.

        Args:
            life: Time until the token expires; None for a token that does not expire.

        Raises: InvalidInput; Forbidden for a scope beyond the caller's role; Conflict for too many.
        """
        if not isinstance(caller.credential, Session):
            raise Forbidden("An API token cannot make another: log in with a password")
        faults = name_faults(name)
        if not scopes:
            faults.append(Fault(path="scopes", code="required", message="must name at least one scope"))
        if "mcp" in scopes:
            faults += _faults_at_mcp(scopes)
        if life is not None and not timedelta(seconds=1) <= life <= LONGEST_LIFE:
            faults.append(Fault(path="expires_in", code="range", message="must be between 1s and 3650d"))
        if faults:
            raise InvalidInput(faults)
        check_scopes(caller, scopes)
        is_personal = caller.workspace_id == personal_workspace(caller.account_id)
        now = self._clock.now()
        token = PREFIX + new_token()
        view = TokenView(
            id=TokenId(new_id("token", now)),
            account_id=caller.account_id,
            workspace_id=None if is_personal else caller.workspace_id,
            name=name,
            scopes=tuple(sorted(set(scopes))),
            created_at=now,
            expires_at=None if life is None else now + life,
        )
        details: dict[str, JSON] = {"scopes": view.scopes, "has_end": life is not None}
        entry = act(caller, "token.created", "token", view.id, at=now, details=details)
        await self._store.create(
            caller.account_id,
            view,
            digest=digest_of_token(token),
            by=caller.credential.id,
            most=MAX_TOKENS,
            audit=entry,
        )
        return view, token

    async def page(self, caller: Caller, *, page: Page) -> tuple[Sequence[TokenView], int]:
        """Return a page of the caller's tokens, the oldest first, and the total."""
        # A server that can only read at the moment still lists them.
        with contextlib.suppress(Unavailable):
            await self._uses.write()
        return await self._store.page(caller.account_id, page=page)

    async def revoke(self, caller: Caller, id: TokenId) -> None:
        """Revoke one of the caller's tokens and close its sockets. Raises: NotFound."""
        entry = act(caller, "token.revoked", "token", id, at=self._clock.now())

        def audit(reached: WorkspaceId | None) -> AuditEntry:
            return replace(entry, workspace_id=reached or personal_workspace(caller.account_id))

        await self._store.delete(caller.account_id, id, audit=audit)
        await self._on_end(caller.account_id)

    async def page_of_workspace(self, caller: Caller, *, page: Page) -> tuple[Sequence[TokenView], int]:
        """Return a page of the tokens that reach the workspace, of all its members, and the total."""
        return await self._store.page_of_workspace(caller.workspace_id, page=page)

    async def revoke_of_workspace(self, caller: Caller, id: TokenId) -> None:
        """Revoke a token that reaches the workspace, of any member, and close its sockets. Raises: NotFound."""
        entry = act(caller, "token.revoked", "token", id, at=self._clock.now())
        account_id = await self._store.delete_of_workspace(caller.workspace_id, id, audit=entry)
        await self._on_end(account_id)


def _faults_at_mcp(scopes: Sequence[Scope]) -> list[Fault]:
    """Return the faults of the scopes of a token for the MCP server."""
    others = set(scopes) - {"mcp"}
    if not others:
        message = "'mcp' alone allows nothing: add 'read', and 'run' or 'write' if its tools may do that"
        return [Fault(path="scopes", code="required", message=message)]
    if others - SCOPES_AT_MCP:
        message = "'mcp' can be combined with 'read', 'run' and 'write': it gives a token for /mcp only"
        return [Fault(path="scopes", code="range", message=message)]
    return []


def is_api_token(text: str) -> bool:
    return text.startswith(PREFIX)


def digest(token: str) -> str | None:
    """Return the digest that a token is stored by; None for a text that cannot be a token."""
    if len(token) != len(PREFIX) + _CHARACTERS or not token.isascii():
        return None
    return digest_of_token(token)
