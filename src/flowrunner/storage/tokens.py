"""API tokens, found by their digests."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.account import NEVER, ApiToken, Caller
from flowrunner.domain.counted import counted
from flowrunner.domain.errors import LimitReached, NotFound, Unauthorized
from flowrunner.domain.values import AccountId, SessionId, TokenId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page
from flowrunner.ports.tokens import TokenView
from flowrunner.storage.database import Database
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.portions import delete_some
from flowrunner.storage.rows import from_ms, from_ms_or_none, to_ms, to_ms_or_none
from flowrunner.storage.transaction import Statement, Transaction, existing_row, one_row
from flowrunner.storage.workspaces import memberships

# Only while the login that requests the token exists: a new password, for example, ends the login and all tokens of the
# account in one commit, and no token may be created after that.
CREATE: Final = """
INSERT INTO api_tokens (id, account_id, name, digest, scopes, created_at, expires_at, workspace_id)
SELECT :id, :account_id, :name, :digest, :scopes, :created_at, :expires_at, :workspace_id
 WHERE EXISTS (SELECT 1 FROM sessions s JOIN accounts a ON a.id = s.account_id
                WHERE s.id = :session_id AND s.account_id = :account_id
                  AND a.disabled_at IS NULL AND a.deleted_at IS NULL)
   AND (CAST(:workspace_id AS text) IS NULL
        OR EXISTS (SELECT 1 FROM members m WHERE m.workspace_id = :workspace_id AND m.account_id = :account_id))
"""
IS_MEMBER: Final = "SELECT 1 FROM members WHERE workspace_id = :workspace_id AND account_id = :account_id"
FIND: Final = """
SELECT t.id, t.account_id, a.role, t.scopes, t.expires_at, t.workspace_id
  FROM api_tokens t JOIN accounts a
    ON a.id = t.account_id AND a.disabled_at IS NULL AND a.deleted_at IS NULL
 WHERE t.digest = :digest
"""
FIND_ALIVE: Final = """
SELECT t.id, t.account_id, a.role, t.scopes, t.expires_at, t.workspace_id
  FROM api_tokens t JOIN accounts a
    ON a.id = t.account_id AND a.disabled_at IS NULL AND a.deleted_at IS NULL
 WHERE t.id = :id AND coalesce(t.expires_at > :now, true)
"""
DELETE: Final = "DELETE FROM api_tokens WHERE account_id = :account_id AND id = :id RETURNING workspace_id"
DELETE_OF_WORKSPACE: Final = """
DELETE FROM api_tokens WHERE coalesce(workspace_id, account_id) = :workspace_id AND id = :id RETURNING account_id
"""
PAGE: Final = """
SELECT id, name, scopes, created_at, expires_at, last_used_at, workspace_id, account_id FROM api_tokens
 WHERE account_id = :account_id AND id > :after ORDER BY id LIMIT :limit OFFSET :offset
"""
COUNT: Final = "SELECT count(*) FROM api_tokens WHERE account_id = :account_id"
PAGE_OF_WORKSPACE: Final = """
SELECT id, name, scopes, created_at, expires_at, last_used_at, workspace_id, account_id FROM api_tokens
 WHERE coalesce(workspace_id, account_id) = :workspace_id AND id > :after ORDER BY id LIMIT :limit OFFSET :offset
"""
COUNT_OF_WORKSPACE: Final = "SELECT count(*) FROM api_tokens WHERE coalesce(workspace_id, account_id) = :workspace_id"
NOTE_USE: Final = Statement.on_rows(
    """
UPDATE api_tokens SET last_used_at = CASE WHEN last_used_at > new.at THEN last_used_at ELSE new.at END
  FROM {new}
 WHERE api_tokens.id = new.id
""",
    bigint="at",
)
EXPIRED: Final = "SELECT id FROM api_tokens WHERE expires_at < :now ORDER BY expires_at LIMIT :limit"
PURGE: Final = Statement.with_texts("DELETE FROM api_tokens WHERE id IN (:ids)", "ids")


class SqlTokens:
    """Implements `ports.TokenStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, account_id: AccountId, token: TokenView, *, digest: str, by: SessionId, most: int, audit: Audit = None
    ) -> None:
        values = {
            "id": token.id,
            "account_id": account_id,
            "name": token.name,
            "digest": digest,
            "scopes": json.dumps(list(token.scopes)),
            "created_at": to_ms(token.created_at),
            "expires_at": to_ms_or_none(token.expires_at),
            "session_id": by,
            "workspace_id": token.workspace_id,
        }

        async def create(tx: Transaction) -> None:
            if (await one_row(tx, COUNT, values))[0] >= most:
                message = f"An account has at most {counted(most, 'API token')}: revoke one that is not needed"
                raise LimitReached(message, limit="tokens", most=most)
            if await tx.run(CREATE, values) == 0:
                if token.workspace_id is not None and await tx.row(IS_MEMBER, values) is None:
                    raise NotFound("workspace")
                raise Unauthorized("The session has ended: log in again")

        await self._database.write(create, audit=audit)

    async def find(self, digest: str) -> Caller | None:
        return await self._database.read(lambda tx: _caller(tx, FIND, {"digest": digest}))

    async def find_alive(self, id: TokenId, *, now: datetime) -> Caller | None:
        values = {"id": id, "now": to_ms(now)}
        return await self._database.read(lambda tx: _caller(tx, FIND_ALIVE, values))

    async def delete(self, account_id: AccountId, id: TokenId, *, audit: Audit = None) -> WorkspaceId | None:
        async def delete(tx: Transaction) -> WorkspaceId | None:
            row = await existing_row(tx, DELETE, {"account_id": account_id, "id": id}, "token")
            return None if row[0] is None else WorkspaceId(row[0])

        return await self._database.write(delete, audit=audit)

    async def page(self, account_id: AccountId, *, page: Page) -> tuple[Sequence[TokenView], int]:
        values = {"account_id": account_id, "after": page.after_id("token")}
        rows, total = await self._database.read(lambda tx: page_and_total(tx, page, PAGE, COUNT, values))
        return [_view(row) for row in rows], total

    async def page_of_workspace(self, id: WorkspaceId, *, page: Page) -> tuple[Sequence[TokenView], int]:
        values = {"workspace_id": id, "after": page.after_id("token")}
        rows, total = await self._database.read(
            lambda tx: page_and_total(tx, page, PAGE_OF_WORKSPACE, COUNT_OF_WORKSPACE, values)
        )
        return [_view(row) for row in rows], total

    async def delete_of_workspace(self, workspace_id: WorkspaceId, id: TokenId, *, audit: Audit) -> AccountId:
        async def delete(tx: Transaction) -> AccountId:
            row = await existing_row(tx, DELETE_OF_WORKSPACE, {"workspace_id": workspace_id, "id": id}, "token")
            return AccountId(row[0])

        return await self._database.write(delete, audit=audit)

    async def note_uses(self, uses: Mapping[TokenId, datetime]) -> None:
        values = [{"id": id, "at": to_ms(at)} for id, at in uses.items()]
        await self._database.write(lambda tx: tx.run_many(NOTE_USE, values))

    async def purge(self, *, now: datetime, limit: int) -> bool:
        return await delete_some(self._database, EXPIRED, PURGE, {"now": to_ms(now)}, limit=limit) == limit


async def _caller(tx: Transaction, statement: str, values: Mapping[str, Any]) -> Caller | None:
    row = await tx.row(statement, values)
    if row is None:
        return None
    workspace_id = None if row[5] is None else WorkspaceId(row[5])
    caller = Caller(
        account_id=AccountId(row[1]),
        role=row[2],
        credential=ApiToken(TokenId(row[0]), frozenset(json.loads(row[3])), workspace_id),
        expires_at=NEVER if row[4] is None else from_ms(row[4]),
        memberships=() if workspace_id is None else await memberships(tx, AccountId(row[1])),
    )
    # A second line of defence: removing a member deletes its tokens for the workspace.
    return None if caller.role_in(caller.workspace_id) is None else caller


def _view(row: tuple[Any, ...]) -> TokenView:
    return TokenView(
        id=TokenId(row[0]),
        name=row[1],
        scopes=tuple(json.loads(row[2])),
        created_at=from_ms(row[3]),
        expires_at=from_ms_or_none(row[4]),
        last_used_at=from_ms_or_none(row[5]),
        workspace_id=None if row[6] is None else WorkspaceId(row[6]),
        account_id=AccountId(row[7]),
    )
