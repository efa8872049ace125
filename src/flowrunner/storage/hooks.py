"""Requests to webhook triggers."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from flowrunner.bounded_json import BoundedDecoder
from flowrunner.domain.errors import NotFound
from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.ports.hooks import HookDelivery, HookDeliveryId, Refusal, Refusals
from flowrunner.ports.page import Page
from flowrunner.storage.database import Database
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.rows import from_ms, to_ms
from flowrunner.storage.transaction import Row, Statement, Transaction
from flowrunner.storage.trigger_events import notify_if_failing

ADD: Final = """
INSERT INTO hook_deliveries (id, workspace_id, trigger_id, received_at, state, execution_id, request, size)
VALUES (:id, :workspace_id, :trigger_id, :received_at, :state, :execution_id, :request, :size)
    ON CONFLICT (id) DO NOTHING
"""
SETTLE: Final = """
UPDATE hook_deliveries SET state = :state, execution_id = :execution_id, error = :error WHERE id = :id
"""
TRIGGER_FAILED: Final = "UPDATE triggers SET failures = failures + 1, error = :error WHERE id = :trigger_id"
# The server may have ended after the start, before it recorded that.
PAGE: Final = """
SELECT d.id, d.workspace_id, d.trigger_id, d.received_at,
       CASE WHEN d.state = 'received' AND x.id IS NOT NULL THEN 'started' ELSE d.state END,
       CASE WHEN d.state <> 'received' OR x.id IS NOT NULL THEN d.execution_id END, d.error, d.size
  FROM hook_deliveries d LEFT JOIN executions x ON d.state = 'received' AND x.id = d.execution_id
 WHERE d.workspace_id = :workspace_id AND d.trigger_id = :trigger_id AND (d.received_at, d.id) < (:before, :before_id)
 ORDER BY d.received_at DESC, d.id DESC LIMIT :limit OFFSET :offset
"""
COUNT: Final = """
SELECT count(*) FROM hook_deliveries WHERE workspace_id = :workspace_id AND trigger_id = :trigger_id
"""
GET: Final = """
SELECT d.id, d.workspace_id, d.trigger_id, d.received_at,
       CASE WHEN d.state = 'received' AND x.id IS NOT NULL THEN 'started' ELSE d.state END,
       CASE WHEN d.state <> 'received' OR x.id IS NOT NULL THEN d.execution_id END, d.error, d.size, d.request
  FROM hook_deliveries d LEFT JOIN executions x ON d.state = 'received' AND x.id = d.execution_id
 WHERE d.workspace_id = :workspace_id AND d.trigger_id = :trigger_id AND d.id = :id
"""
_RECEIVED: Final = """
SELECT d.id, d.workspace_id, d.trigger_id, d.received_at, d.state, NULL, d.error, d.size FROM hook_deliveries d
 WHERE d.received_at >= :since AND d.received_at < :before AND d.state = 'received'
   AND d.workspace_id NOT IN (OUTSIDE)
   AND NOT EXISTS (SELECT 1 FROM executions x WHERE x.id = d.execution_id)
 ORDER BY d.received_at, d.id LIMIT :limit
"""
RECEIVED: Final = Statement(
    sqlite=_RECEIVED.replace("OUTSIDE", "SELECT value FROM json_each(:outside)"),
    postgres=_RECEIVED.replace("OUTSIDE", "SELECT json_array_elements_text(CAST(:outside AS json))"),
)
# After the triggers of a flow have moved. A request may have a megabyte.
MOVE: Final = """
UPDATE hook_deliveries SET workspace_id = :target
 WHERE id IN (SELECT d.id FROM hook_deliveries d
               WHERE d.trigger_id IN (SELECT id FROM triggers WHERE flow_id = :id) AND d.workspace_id = :source
               LIMIT :limit)
"""
REFUSALS: Final = "SELECT count, last FROM hook_refusals WHERE trigger_id = :trigger_id"
SAVE_REFUSALS: Final = """
INSERT INTO hook_refusals (trigger_id, count, last) VALUES (:trigger_id, :count, :last)
    ON CONFLICT (trigger_id) DO UPDATE SET count = :count, last = :last
"""
# Those of a workspace that was deleted.
PURGE_GONE: Final = """
DELETE FROM hook_deliveries
 WHERE id IN (SELECT d.id FROM hook_deliveries d
               WHERE NOT EXISTS (SELECT 1 FROM triggers t WHERE t.id = d.trigger_id) LIMIT :limit)
"""
PURGE_OLD: Final = """
DELETE FROM hook_deliveries
 WHERE id IN (SELECT id FROM hook_deliveries WHERE received_at < :before ORDER BY received_at LIMIT :limit)
"""
# Those beyond the newest of each webhook.
PURGE_MANY: Final = """
DELETE FROM hook_deliveries
 WHERE id IN (SELECT d.id FROM triggers t, hook_deliveries d
               WHERE t.type = 'webhook' AND d.trigger_id = t.id AND d.received_at < :recent
                 AND d.received_at < (SELECT x.received_at FROM hook_deliveries x WHERE x.trigger_id = t.id
                                       ORDER BY x.received_at DESC, x.id DESC LIMIT 1 OFFSET :most)
               LIMIT :limit)
"""
# Those whose trigger was deleted with its flow.
PURGE_REFUSALS: Final = "DELETE FROM hook_refusals WHERE trigger_id NOT IN (SELECT id FROM triggers)"

_decode_request: Final = BoundedDecoder[dict[str, Any]](dict[str, Any]).decode


class SqlHooks:
    """Implements `ports.HookStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, delivery: HookDelivery, request: bytes) -> bool:
        values = {
            "id": delivery.id,
            "workspace_id": delivery.workspace_id,
            "trigger_id": delivery.trigger_id,
            "received_at": to_ms(delivery.received_at),
            "state": delivery.state,
            "execution_id": delivery.execution_id,
            "request": request.decode(),
            "size": len(request),
        }
        return await self._database.write(lambda tx: tx.run(ADD, values)) == 1

    async def settle(self, delivery: HookDelivery) -> None:
        values: dict[str, Any] = {
            "id": delivery.id,
            "trigger_id": delivery.trigger_id,
            "state": delivery.state,
            "execution_id": delivery.execution_id,
            "error": delivery.error,
            "at": to_ms(delivery.received_at),
        }

        async def settle(tx: Transaction) -> None:
            await tx.run(SETTLE, values)
            if delivery.state == "failed":
                await tx.run(TRIGGER_FAILED, values)
                await notify_if_failing(tx, delivery.trigger_id, error=delivery.error, at=delivery.received_at)

        await self._database.write(settle)

    async def page(
        self, workspace_id: WorkspaceId, trigger_id: TriggerId, *, page: Page
    ) -> tuple[Sequence[HookDelivery], int]:
        values: dict[str, Any] = {"workspace_id": workspace_id, "trigger_id": trigger_id}
        values["before"], values["before_id"] = page.before_pair
        rows, total = await self._database.read(lambda tx: page_and_total(tx, page, PAGE, COUNT, values))
        return [_delivery(row) for row in rows], total

    async def get(
        self, workspace_id: WorkspaceId, trigger_id: TriggerId, id: HookDeliveryId
    ) -> tuple[HookDelivery, Mapping[str, JSON]]:
        values = {"workspace_id": workspace_id, "trigger_id": trigger_id, "id": id}
        row = await self._database.read(lambda tx: tx.row(GET, values))
        if row is None:
            raise NotFound("delivery")
        return _delivery(row[:-1]), _decode_request(row[-1])

    async def received(
        self, *, since: datetime, before: datetime, limit: int, outside: Collection[WorkspaceId] = ()
    ) -> Sequence[HookDelivery]:
        times = {"since": to_ms(since), "before": to_ms(before)}
        values = {**times, "limit": limit, "outside": json.dumps(list(outside))}
        return [_delivery(row) for row in await self._database.read_long(lambda tx: tx.rows(RECEIVED, values))]

    async def add_refusals(self, counts: Mapping[TriggerId, Refusals], *, most: int) -> None:
        async def add(tx: Transaction) -> None:
            for trigger_id, new in counts.items():
                before = _refusals(await tx.row(REFUSALS, {"trigger_id": trigger_id}))
                last = [{"at": to_ms(each.at), "reason": each.reason} for each in (*before.last, *new.last)[-most:]]
                values = {"trigger_id": trigger_id, "count": before.count + new.count, "last": json.dumps(last)}
                await tx.run(SAVE_REFUSALS, values)

        await self._database.write(add)

    async def refusals(self, trigger_id: TriggerId) -> Refusals:
        return _refusals(await self._database.read(lambda tx: tx.row(REFUSALS, {"trigger_id": trigger_id})))

    async def purge(self, *, before: datetime, recent: datetime, most: int, limit: int) -> int:
        async def purge(tx: Transaction) -> int:
            await tx.run(PURGE_REFUSALS)
            purged = await tx.run(PURGE_GONE, {"limit": limit})
            purged += await tx.run(PURGE_OLD, {"before": to_ms(before), "limit": limit - purged})
            return purged + await tx.run(PURGE_MANY, {"most": most, "limit": limit - purged, "recent": to_ms(recent)})

        return await self._database.write(purge)


def _refusals(row: Row | None) -> Refusals:
    if row is None:
        return Refusals(0, ())
    return Refusals(row[0], tuple(Refusal(from_ms(each["at"]), each["reason"]) for each in json.loads(row[1])))


def _delivery(row: Row) -> HookDelivery:
    return HookDelivery(
        id=HookDeliveryId(row[0]),
        workspace_id=WorkspaceId(row[1]),
        trigger_id=TriggerId(row[2]),
        received_at=from_ms(row[3]),
        state=row[4],
        execution_id=None if row[5] is None else ExecutionId(row[5]),
        error=row[6],
        size=row[7],
    )
