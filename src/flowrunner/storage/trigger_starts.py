"""Starts by triggers: the change of a trigger with the execution that it starts, and due schedules."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.schedules import NextStart
from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import rfc3339
from flowrunner.ports.journal import NewExecution
from flowrunner.ports.triggers import TriggerHasMoved, TriggerView
from flowrunner.storage.database import Database
from flowrunner.storage.rows import from_ms_or_none, to_ms, to_ms_or_none
from flowrunner.storage.transaction import Statement, Transaction
from flowrunner.storage.trigger_events import notify_if_failing, notify_of_trigger
from flowrunner.storage.triggers import ALL, view

# The due time must be the stored one, so that only the first process starts its execution.
FIRE: Final = """
UPDATE triggers
   SET due_at = :next_due_at, next_at = :next_at, last_at = :at, last_execution_id = :execution_id, failures = 0,
       error = NULL, missed = missed + :missed
 WHERE id = :id AND due_at = :due_at
"""
# A start at another time than a due time.
START: Final = """
UPDATE triggers SET last_at = :at, last_execution_id = :execution_id, failures = 0, error = NULL WHERE id = :id
"""
TAKE_END: Final = "DELETE FROM trigger_outbox WHERE trigger_id = :id AND execution_id = :ended"
ADVANCE: Final = """
UPDATE triggers
   SET due_at = :next_due_at, next_at = :next_at, missed = missed + :missed, skipped = skipped + :skipped
 WHERE id = :id AND due_at = :due_at
"""
FAIL: Final = """
UPDATE triggers
   SET due_at = :next_due_at, next_at = :next_at, missed = missed + :missed, failures = failures + 1, error = :error
 WHERE id = :id AND due_at = :due_at
RETURNING failures
"""
START_DELIVERY: Final = """
UPDATE hook_deliveries SET state = 'started', execution_id = :execution_id
 WHERE id = :delivery AND workspace_id = :workspace_id
"""
ADD_STARTED_DELIVERIES: Final = Statement(
    sqlite="""
INSERT INTO hook_deliveries (id, workspace_id, trigger_id, received_at, state, execution_id, request, size)
VALUES (:delivery, :workspace_id, :trigger_id, :at, 'started', :execution_id, :request, :size)
    ON CONFLICT (id) DO NOTHING
""",
    postgres="""
INSERT INTO hook_deliveries (id, workspace_id, trigger_id, received_at, state, execution_id, request, size)
SELECT new.delivery, new.workspace_id, new.trigger_id, new.at, 'started', new.execution_id, new.request, new.size
  FROM unnest(:delivery::text[], :workspace_id::text[], :trigger_id::text[], :at::bigint[], :execution_id::text[],
              :request::text[], :size::bigint[])
    AS new (delivery, workspace_id, trigger_id, at, execution_id, request, size)
    ON CONFLICT (id) DO NOTHING
""",
)
# Nothing is due during a pause; missed due times are found after it.
EARLIEST: Final = """
SELECT (SELECT min(next_at) FROM triggers WHERE next_at IS NOT NULL) FROM engine WHERE paused_at IS NULL
"""
IS_DUE: Final = """
 WHERE t.next_at <= :at AND t.next_at IS NOT NULL AND (SELECT paused_at IS NULL FROM engine)
 ORDER BY t.next_at LIMIT :limit
"""
DUE: Final = f"{ALL}{IS_DUE}"

MOST_ERROR_CHARACTERS: Final = 500


async def record_fires(tx: Transaction, created: Sequence[NewExecution]) -> None:
    """Change the triggers of new executions. Raises: TriggerHasMoved."""
    # Many requests may arrive at one webhook together, and its row shows the last one.
    starts: dict[TriggerId, dict[str, Any]] = {}
    deliveries: list[dict[str, Any]] = []
    for new in created:
        fire = new.fire
        assert fire is not None, "a trigger has started each of them"
        values: dict[str, Any] = {"id": fire.trigger_id, "at": to_ms(fire.at), "execution_id": new.id}
        if fire.due_at is None:
            starts[fire.trigger_id] = values
        else:
            starts.pop(fire.trigger_id, None)
            values |= _next(fire.next) | {"due_at": to_ms(fire.due_at), "missed": fire.missed}
            if await tx.run(FIRE, values) != 1:
                raise TriggerHasMoved
        if fire.missed and fire.due_at is not None:
            due_at = rfc3339(fire.due_at)
            await notify_of_trigger(
                tx, "trigger.missed", fire.trigger_id, at=fire.at, due_at=due_at, missed=fire.missed
            )
        if fire.ended is not None and await tx.run(TAKE_END, {"id": fire.trigger_id, "ended": fire.ended}) != 1:
            raise TriggerHasMoved
        if fire.delivery is not None:
            delivery: dict[str, Any] = {
                "delivery": fire.delivery,
                "workspace_id": new.workspace_id,
                "execution_id": new.id,
            }
            if fire.request is None:
                await tx.run(START_DELIVERY, delivery)
            else:
                delivery |= {"trigger_id": fire.trigger_id, "at": to_ms(fire.at)}
                deliveries.append(delivery | {"request": fire.request.decode(), "size": len(fire.request)})
    for start in starts.values():
        if await tx.run(START, start) != 1:
            raise TriggerHasMoved
    if deliveries and await tx.run_many(ADD_STARTED_DELIVERIES, deliveries) != len(deliveries):
        raise TriggerHasMoved


class SqlSchedules:
    """Implements `ports.ScheduleStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def earliest(self) -> datetime | None:
        row = await self._database.read(lambda tx: tx.row(EARLIEST))
        return None if row is None else from_ms_or_none(row[0])

    async def due(self, *, at: datetime, limit: int) -> Sequence[TriggerView]:
        rows = await self._database.read_long(lambda tx: tx.rows(DUE, {"at": to_ms(at), "limit": limit}))
        return [view(row) for row in rows]

    async def advance(
        self, id: TriggerId, *, due_at: datetime, next: NextStart | None, missed: int = 0, skipped: int = 0
    ) -> bool:
        values = _next(next) | {"id": id, "due_at": to_ms(due_at), "missed": missed, "skipped": skipped}

        async def advance(tx: Transaction) -> bool:
            has_changed = await tx.run(ADVANCE, values) == 1
            if has_changed and missed:
                await notify_of_trigger(tx, "trigger.missed", id, at=due_at, due_at=rfc3339(due_at), missed=missed)
            return has_changed

        return await self._database.write(advance)

    async def fail(
        self, id: TriggerId, *, due_at: datetime, next: NextStart | None, missed: int = 0, error: str
    ) -> int:
        values = _next(next) | {"id": id, "due_at": to_ms(due_at), "missed": missed}
        values["error"] = error[:MOST_ERROR_CHARACTERS]

        async def fail(tx: Transaction) -> int:
            row = await tx.row(FAIL, values)
            if row is None:
                return 0
            if missed:
                await notify_of_trigger(tx, "trigger.missed", id, at=due_at, due_at=rfc3339(due_at), missed=missed)
            await notify_if_failing(tx, id, error=values["error"], at=due_at)
            return int(row[0])

        return await self._database.write(fail)


def _next(next: NextStart | None) -> dict[str, Any]:
    return {
        "next_due_at": None if next is None else to_ms(next.due_at),
        "next_at": to_ms_or_none(None if next is None else next.starts_at),
    }
