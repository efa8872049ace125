"""Letters to executions."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from flowrunner.domain.errors import NotFound
from flowrunner.domain.values import ExecutionId
from flowrunner.ports import Cancel, Letter, Signal
from flowrunner.storage.database import Database
from flowrunner.storage.rows import to_ms
from flowrunner.storage.transaction import Statement

POST: Final = """
INSERT INTO letters (execution_id, account_id, posted_at, kind, content)
SELECT id, account_id, :posted_at, :kind, :content FROM executions WHERE id = :id
RETURNING number
"""
UNREAD: Final = Statement(
    sqlite="""
SELECT number, execution_id, kind, content FROM letters
 WHERE execution_id IN (SELECT value FROM json_each(:ids)) AND NOT is_refused ORDER BY number
""",
    postgres="""
SELECT number, execution_id, kind, content FROM letters
 WHERE execution_id IN (SELECT json_array_elements_text(:ids::json)) AND NOT is_refused ORDER BY number
""",
)
# Only by the process that has the execution in memory: to one that was stopped, it looks as it did before.
REFUSE: Final = """
UPDATE letters SET is_refused = true
 WHERE number = :number AND EXISTS (SELECT 1 FROM executions WHERE id = execution_id AND epoch = :mark)
"""
DISCARD: Final = """
DELETE FROM letters
 WHERE number = :number AND EXISTS (SELECT 1 FROM executions WHERE id = execution_id AND epoch = :mark)
"""
ANSWER: Final = "SELECT is_refused FROM letters WHERE number = :number"
WITHDRAW: Final = "DELETE FROM letters WHERE number = :number"
WAITING: Final = """
SELECT DISTINCT l.execution_id FROM letters l JOIN executions x ON x.id = l.execution_id
 WHERE l.posted_at <= :since AND NOT l.is_refused AND x.completed_at IS NULL LIMIT :limit
"""
PURGE: Final = """
DELETE FROM letters
 WHERE posted_at < :before
   AND (is_refused OR NOT EXISTS (SELECT 1 FROM executions WHERE id = execution_id AND completed_at IS NULL))
"""

_CONTENTS: Final = {"signal": Signal, "cancel": Cancel}


class SqlLetters:
    """Fills `ports.Letters`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def post(self, id: ExecutionId, content: Signal | Cancel, *, at: datetime) -> int:
        kind = "signal" if isinstance(content, Signal) else "cancel"
        values = {"id": id, "posted_at": to_ms(at), "kind": kind, "content": msgspec.json.encode(content).decode()}
        row = await self._database.write(lambda tx: tx.row(POST, values))
        if row is None:
            raise NotFound("execution")
        return int(row[0])

    async def unread(self, ids: Collection[ExecutionId]) -> Sequence[Letter]:
        values = {"ids": msgspec.json.encode(list(ids)).decode()}
        rows = await self._database.read(lambda tx: tx.rows(UNREAD, values))
        return [Letter(number, ExecutionId(id), _content(kind, text)) for number, id, kind, text in rows]

    async def refuse(self, number: int, mark: int) -> None:
        await self._write(REFUSE, number=number, mark=mark)

    async def discard(self, number: int, mark: int) -> None:
        await self._write(DISCARD, number=number, mark=mark)

    async def answer(self, number: int) -> bool | None:
        row = await self._database.read(lambda tx: tx.row(ANSWER, {"number": number}))
        if row is None:
            return True
        return False if row[0] else None

    async def withdraw(self, number: int) -> bool:
        return await self._write(WITHDRAW, number=number) > 0

    async def waiting(self, *, since: datetime, limit: int) -> Sequence[ExecutionId]:
        values = {"since": to_ms(since), "limit": limit}
        rows = await self._database.read(lambda tx: tx.rows(WAITING, values))
        return [ExecutionId(row[0]) for row in rows]

    async def purge(self, *, before: datetime) -> None:
        await self._write(PURGE, before=to_ms(before))

    async def _write(self, statement: str, **values: Any) -> int:
        return await self._database.write(lambda tx: tx.run(statement, values))


def _content(kind: str, text: str) -> Signal | Cancel:
    return msgspec.json.decode(text, type=_CONTENTS[kind])
