"""Notification of callbacks about triggers, in the transaction that records the event."""

from datetime import datetime
from typing import Final

from flowrunner.domain.triggers import FAILING_AFTER, TriggerId
from flowrunner.domain.values import JSON, FlowId, WorkspaceId
from flowrunner.storage.callback_deliveries import notify_callbacks
from flowrunner.storage.transaction import Transaction

TRIGGER: Final = """
SELECT t.workspace_id, t.flow_id, t.name, f.name, t.failures FROM triggers t JOIN flows f ON f.id = t.flow_id
 WHERE t.id = :id
"""


async def notify_of_trigger(tx: Transaction, event: str, id: TriggerId, *, at: datetime, **details: JSON) -> None:
    """Add the deliveries of an event of a trigger, unless the trigger is gone."""
    row = await tx.row(TRIGGER, {"id": id})
    if row is None:
        return
    workspace_id, flow_id, name, flow_name, _ = row
    named: dict[str, JSON] = {"id": id, "name": name}
    await notify_callbacks(
        tx,
        event,
        workspace_id=WorkspaceId(workspace_id),
        flow_id=FlowId(flow_id),
        subject=id,
        details={"trigger": named, "flow_id": flow_id, "flow_name": flow_name, **details},
        at=at,
    )


async def notify_if_failing(tx: Transaction, id: TriggerId, *, error: str | None, at: datetime) -> None:
    """Report once that a trigger is failing: when its failures in a row reach `FAILING_AFTER`."""
    row = await tx.row(TRIGGER, {"id": id})
    if row is not None and row[4] == FAILING_AFTER:
        await notify_of_trigger(tx, "trigger.failing", id, at=at, reason=error)
