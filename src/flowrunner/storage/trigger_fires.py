"""The change of a trigger in the transaction of the execution that it starts."""

from collections.abc import Sequence
from typing import Any, Final

from flowrunner.domain.schedules import NextStart
from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import rfc3339
from flowrunner.ports.journal import NewExecution
from flowrunner.ports.triggers import TriggerHasMoved
from flowrunner.storage.rows import to_ms
from flowrunner.storage.transaction import Statement, Transaction
from flowrunner.storage.trigger_events import notify_of_trigger

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
START_DELIVERY: Final = """
UPDATE hook_deliveries SET state = 'started', execution_id = :execution_id
 WHERE id = :delivery AND workspace_id = :workspace_id
"""
ADD_STARTED_DELIVERIES: Final = Statement.on_rows(
    """
INSERT INTO hook_deliveries (id, workspace_id, trigger_id, received_at, state, execution_id, request, size)
SELECT new.delivery, new.workspace_id, new.trigger_id, new.at, 'started', new.execution_id, new.request, new.size
  FROM {new}
    ON CONFLICT (id) DO NOTHING
""",
    bigint="at size",
)


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
            values |= next_start(fire.next) | {"due_at": to_ms(fire.due_at), "missed": fire.missed}
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


def next_start(next: NextStart | None) -> dict[str, Any]:
    """Return the columns of the next start of a schedule; both are null without one."""
    return {
        "next_due_at": None if next is None else to_ms(next.due_at),
        "next_at": None if next is None else to_ms(next.starts_at),
    }
