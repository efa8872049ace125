"""Events of an execution for the views of its steps."""

from collections.abc import Sequence
from typing import Final

import msgspec

from flowrunner.domain.values import ExecutionId
from flowrunner.ports.journal import PAGE_OF_EVENTS_BYTES
from flowrunner.ports.steps import StoredEvent
from flowrunner.storage.database import Database
from flowrunner.storage.rows import from_ms
from flowrunner.storage.transaction import Row, Statement

# The first of these events, up to and including the one that reaches the number of characters.
PAGE_WITHOUT_LOGS: Final = """
SELECT seq, at, type, data
  FROM (SELECT seq, at, type, data, sum(length(data)) OVER (ORDER BY seq) - length(data) AS before
          FROM events WHERE execution_id = :id AND seq > :after AND type <> 'log' ORDER BY seq LIMIT :limit) AS page
 WHERE before < :characters ORDER BY seq
"""
# Where the sizes need no limit: computing them takes longer than reading the events.
PAGE_OF_SMALL: Final = """
SELECT seq, at, type, data FROM events
 WHERE execution_id = :id AND seq > :after AND type <> 'log' ORDER BY seq LIMIT :limit
"""
NUMBERED: Final = Statement(
    sqlite="""
SELECT seq, at, type, data FROM events
 WHERE execution_id = :id AND seq IN (SELECT value FROM json_each(:seqs)) ORDER BY seq
""",
    postgres="""
SELECT seq, at, type, data FROM events
 WHERE execution_id = :id AND seq = ANY(ARRAY(SELECT json_array_elements_text(CAST(:seqs AS json))::bigint))
 ORDER BY seq
""",
)


class SqlStepEvents:
    """Implements `ports.StepEvents`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, id: ExecutionId, seq: int, *, limit: int, are_small: bool = False) -> Sequence[StoredEvent]:
        values = {"id": id, "after": seq, "limit": limit, "characters": PAGE_OF_EVENTS_BYTES}
        statement = PAGE_OF_SMALL if are_small else PAGE_WITHOUT_LOGS
        rows = await self._database.read_long(lambda tx: tx.rows(statement, values))
        return list(map(_event, rows))

    async def numbered(self, id: ExecutionId, seqs: Sequence[int]) -> Sequence[StoredEvent]:
        values = {"id": id, "seqs": msgspec.json.encode(seqs).decode()}
        rows = await self._database.read_long(lambda tx: tx.rows(NUMBERED, values))
        return list(map(_event, rows))


def _event(row: Row) -> StoredEvent:
    seq, at, type, data = row
    return StoredEvent(seq, from_ms(at), type, data.encode())
