"""Ends of executions for which triggers wait."""

from collections.abc import Collection, Sequence
from typing import Final

from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.triggers import EndedExecution
from flowrunner.storage.database import Database
from flowrunner.storage.rows import from_ms
from flowrunner.storage.schedules import MOST_ERROR_CHARACTERS
from flowrunner.storage.transaction import Statement, Transaction, listed, one_row
from flowrunner.storage.trigger_events import notify_if_failing
from flowrunner.storage.trigger_fires import TAKE_END
from flowrunner.storage.triggers import of_ids

STATE: Final = """
SELECT paused_at IS NULL AND EXISTS (SELECT 1 FROM trigger_outbox),
       paused_at IS NULL AND EXISTS (SELECT 1 FROM triggers WHERE listens_to IS NOT NULL)
  FROM engine
"""
ENDS: Final = Statement.with_texts(
    """
SELECT o.trigger_id, o.execution_id FROM trigger_outbox o LEFT JOIN triggers t ON t.id = o.trigger_id
 WHERE (SELECT paused_at IS NULL FROM engine) AND o.trigger_id NOT IN (:resting)
   AND coalesce(t.workspace_id, '') NOT IN (:outside)
 ORDER BY o.execution_id, o.trigger_id LIMIT :limit
""",
    "outside",
    "resting",
)
ENDED_AT: Final = "SELECT completed_at FROM executions WHERE id = :id"
FAIL: Final = "UPDATE triggers SET failures = failures + 1, error = :error WHERE id = :id"


class SqlTriggerEnds:
    """Implements `ports.EndStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def state(self) -> tuple[bool, bool]:
        has_ends, has_listeners = await self._database.read(lambda tx: one_row(tx, STATE))
        return bool(has_ends), bool(has_listeners)

    async def ends(
        self, *, limit: int, outside: Collection[WorkspaceId] = (), resting: Collection[TriggerId] = ()
    ) -> Sequence[EndedExecution]:
        async def read(tx: Transaction) -> Sequence[EndedExecution]:
            rows = await tx.rows(ENDS, {"limit": limit, "outside": listed(outside), "resting": listed(resting)})
            triggers = await of_ids(tx, {TriggerId(id) for id, _ in rows})
            return [
                EndedExecution(
                    trigger_id=TriggerId(id), execution_id=ExecutionId(of), trigger=triggers.get(TriggerId(id))
                )
                for id, of in rows
            ]

        return await self._database.read_long(read)

    async def discard(self, end: EndedExecution) -> None:
        await self._database.write(lambda tx: tx.run(TAKE_END, _values(end)))

    async def fail(self, end: EndedExecution, *, error: str) -> None:
        async def fail(tx: Transaction) -> None:
            # Another process may have started it.
            if await tx.run(TAKE_END, _values(end)):
                await tx.run(FAIL, {"id": end.trigger_id, "error": error[:MOST_ERROR_CHARACTERS]})
                if (ended := await tx.row(ENDED_AT, {"id": end.execution_id})) is not None:
                    await notify_if_failing(tx, end.trigger_id, error=error, at=from_ms(ended[0]))

        await self._database.write(fail)


def _values(end: EndedExecution) -> dict[str, str]:
    return {"id": end.trigger_id, "ended": end.execution_id}
