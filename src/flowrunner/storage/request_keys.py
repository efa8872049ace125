"""Idempotency keys of requests, and the answers to them."""

from datetime import datetime
from typing import Final

import msgspec

from flowrunner.domain.request_keys import ClaimedKey, KeptAnswer, RequestKey
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.storage.database import Database
from flowrunner.storage.key_claims import claim
from flowrunner.storage.rows import from_ms, to_ms
from flowrunner.storage.transaction import Transaction

FIND: Final = """
SELECT digest, created_at, answer FROM request_keys WHERE account_id = :account_id AND key = :key
"""
KEEP: Final = """
UPDATE request_keys SET answer = :answer
 WHERE account_id = :account_id AND key = :key AND request_id = :request_id
"""
PURGE: Final = "DELETE FROM request_keys WHERE created_at < :before"

_encode: Final = msgspec.json.Encoder().encode
_answer: Final = msgspec.json.Decoder(KeptAnswer)


class SqlRequestKeys:
    """Implements `ports.RequestKeyStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, account_id: AccountId, key: str) -> ClaimedKey | None:
        row = await self._database.read(lambda tx: tx.row(FIND, {"account_id": account_id, "key": key}))
        if row is None:
            return None
        return ClaimedKey(row[0], from_ms(row[1]), None if row[2] is None else _answer.decode(row[2]))

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

    async def purge(self, *, claimed_before: datetime) -> None:
        await self._database.write(lambda tx: tx.run(PURGE, {"before": to_ms(claimed_before)}))
