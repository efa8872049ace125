"""Messages to executions that another process has in memory."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from flowrunner.domain.values import ExecutionId
from flowrunner.ports.dispatch import Cancel, Signal
from flowrunner.ports.inbox import InboxMessage
from flowrunner.storage.database import Database
from flowrunner.storage.portions import delete_some
from flowrunner.storage.rows import to_ms
from flowrunner.storage.transaction import Statement, existing_row, listed
from flowrunner.stored_json import StoredJson

SEND: Final = """
INSERT INTO execution_inbox (execution_id, workspace_id, sent_at, kind, content)
SELECT id, workspace_id, :sent_at, :kind, :content FROM executions WHERE id = :id
RETURNING number
"""
UNREAD: Final = Statement.with_texts(
    """
SELECT number, execution_id, kind, content FROM execution_inbox
 WHERE execution_id IN (:ids) AND NOT is_rejected ORDER BY number
""",
    "ids",
)
# Only the process that owns the execution may do this; its fencing token proves the ownership.
REJECT: Final = """
UPDATE execution_inbox SET is_rejected = true
 WHERE number = :number AND EXISTS (SELECT 1 FROM executions WHERE id = execution_id AND epoch = :fencing_token)
"""
DISCARD: Final = """
DELETE FROM execution_inbox
 WHERE number = :number AND EXISTS (SELECT 1 FROM executions WHERE id = execution_id AND epoch = :fencing_token)
"""
ANSWER: Final = "SELECT is_rejected FROM execution_inbox WHERE number = :number"
CANCEL: Final = "DELETE FROM execution_inbox WHERE number = :number"
WAITING: Final = """
SELECT DISTINCT m.execution_id FROM execution_inbox m JOIN executions x ON x.id = m.execution_id
 WHERE m.sent_at <= :since AND NOT m.is_rejected AND x.completed_at IS NULL LIMIT :limit
"""
UNWANTED: Final = """
SELECT number FROM execution_inbox
 WHERE sent_at < :before
   AND (is_rejected OR NOT EXISTS (SELECT 1 FROM executions WHERE id = execution_id AND completed_at IS NULL))
 LIMIT :limit
"""
PURGE: Final = Statement(
    sqlite="DELETE FROM execution_inbox WHERE number IN (SELECT value FROM json_each(:ids))",
    postgres="""
DELETE FROM execution_inbox WHERE number IN (SELECT CAST(json_array_elements_text(CAST(:ids AS json)) AS bigint))
""",
)

_CONTENTS: Final[Mapping[str, StoredJson[Signal] | StoredJson[Cancel]]] = {
    "signal": StoredJson(Signal, column="execution_inbox.content"),
    "cancel": StoredJson(Cancel, column="execution_inbox.content"),
}


class SqlInbox:
    """Implements `ports.Inbox`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def send(self, id: ExecutionId, content: Signal | Cancel, *, at: datetime) -> int:
        kind = "signal" if isinstance(content, Signal) else "cancel"
        values = {"id": id, "sent_at": to_ms(at), "kind": kind, "content": msgspec.json.encode(content).decode()}
        row = await self._database.write(lambda tx: existing_row(tx, SEND, values, "execution"))
        return int(row[0])

    async def unread(self, ids: Collection[ExecutionId]) -> Sequence[InboxMessage]:
        values = {"ids": listed(ids)}
        rows = await self._database.read(lambda tx: tx.rows(UNREAD, values))
        # The sender of a message that cannot be read gets no answer in time, and cancels it.
        return [
            InboxMessage(number, ExecutionId(id), content)
            for number, id, kind, text in rows
            if (content := _CONTENTS[kind].read(text, id=str(number))) is not None
        ]

    async def reject(self, number: int, fencing_token: int) -> None:
        await self._write(REJECT, number=number, fencing_token=fencing_token)

    async def discard(self, number: int, fencing_token: int) -> None:
        await self._write(DISCARD, number=number, fencing_token=fencing_token)

    async def answer(self, number: int) -> bool | None:
        row = await self._database.read(lambda tx: tx.row(ANSWER, {"number": number}))
        if row is None:
            return True
        return False if row[0] else None

    async def cancel(self, number: int) -> bool:
        return await self._write(CANCEL, number=number) > 0

    async def waiting(self, *, since: datetime, limit: int) -> Sequence[ExecutionId]:
        values = {"since": to_ms(since), "limit": limit}
        rows = await self._database.read(lambda tx: tx.rows(WAITING, values))
        return [ExecutionId(row[0]) for row in rows]

    async def purge(self, *, before: datetime, limit: int) -> bool:
        return await delete_some(self._database, UNWANTED, PURGE, {"before": to_ms(before)}, limit=limit) == limit

    async def _write(self, statement: str, **values: Any) -> int:
        return await self._database.write(lambda tx: tx.run(statement, values))
