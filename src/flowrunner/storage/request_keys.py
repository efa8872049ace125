"""Idempotency keys of requests, and the answers to them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import msgspec

from flowrunner.domain.request_keys import ClaimedKey, KeptAnswer, RequestKey
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.ports.request_keys import ForgettableKey
from flowrunner.storage.database import Database
from flowrunner.storage.key_claims import claim
from flowrunner.storage.rows import from_ms, to_ms
from flowrunner.storage.transaction import Statement, Transaction

FIND: Final = """
SELECT request_id, digest, created_at, answer FROM request_keys
 WHERE account_id = :account_id AND key IN (:key, :earlier)
"""
KEEP: Final = """
UPDATE request_keys SET answer = :answer
 WHERE account_id = :account_id AND key = :key AND request_id = :request_id
"""
# Keys to delete are found outside of the transaction that deletes them: other writes wait for that one.
OLD: Final = """
SELECT account_id, key, request_id FROM request_keys WHERE created_at < :before ORDER BY created_at LIMIT :limit
"""
# The order of the joins is explicit, because SQLite would read all keys: there are more of them than of their owners.
OF_DELETED_WORKSPACES: Final = """
SELECT r.account_id, r.key, r.request_id FROM workspaces w CROSS JOIN request_keys r
 WHERE w.deleted_at IS NOT NULL AND r.workspace_id = w.id LIMIT :limit
"""
OF_DELETED_ACCOUNTS: Final = """
SELECT r.account_id, r.key, r.request_id FROM accounts a CROSS JOIN request_keys r
 WHERE a.deleted_at IS NOT NULL AND r.account_id = a.id LIMIT :limit
"""
# A key that another request has claimed meanwhile stays.
DELETE: Final = Statement.on_rows("""
DELETE FROM request_keys USING {new}
 WHERE request_keys.account_id = new.account_id AND request_keys.key = new.key
   AND request_keys.request_id = new.request_id
""")

_encode: Final = msgspec.json.Encoder().encode
_answer: Final = msgspec.json.Decoder(KeptAnswer)


class SqlRequestKeys:
    """Implements `ports.RequestKeyStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, account_id: AccountId, key: str, earlier: str | None = None) -> ClaimedKey | None:
        values = {"account_id": account_id, "key": key, "earlier": earlier or key}
        row = await self._database.read(lambda tx: tx.row(FIND, values))
        if row is None:
            return None
        return ClaimedKey(row[0], row[1], from_ms(row[2]), None if row[3] is None else _answer.decode(row[3]))

    async def keep(
        self,
        account_id: AccountId,
        workspace_id: WorkspaceId,
        request: RequestKey,
        answer: KeptAnswer | None,
        *,
        at: datetime,
    ) -> None:
        async def keep(tx: Transaction) -> None:
            await claim(tx, account_id, workspace_id, request, at=at)
            if answer is not None:
                values = {
                    "account_id": account_id,
                    "key": request.key,
                    "request_id": request.request_id,
                    "answer": _encode(answer).decode(),
                }
                await tx.run(KEEP, values)

        await self._database.write(keep)

    async def old(self, *, claimed_before: datetime, limit: int) -> Sequence[ForgettableKey]:
        return await self._found(OLD, {"before": to_ms(claimed_before), "limit": limit})

    async def without_owner(self, *, limit: int) -> Sequence[ForgettableKey]:
        of_workspaces = await self._found(OF_DELETED_WORKSPACES, {"limit": limit})
        return of_workspaces or await self._found(OF_DELETED_ACCOUNTS, {"limit": limit})

    async def _found(self, statement: str, values: Mapping[str, Any]) -> Sequence[ForgettableKey]:
        return [ForgettableKey(*row) for row in await self._database.read_long(lambda tx: tx.rows(statement, values))]

    async def forget(self, keys: Sequence[ForgettableKey]) -> None:
        await self._database.write(lambda tx: tx.run_many(DELETE, [asdict(key) for key in keys]))
