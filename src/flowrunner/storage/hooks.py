"""Requests to webhook triggers."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from flowrunner.domain.errors import Conflict
from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.ports.hooks import HookDelivery, HookDeliveryId, Refusal, Refusals
from flowrunner.ports.page import Page
from flowrunner.storage.database import Database
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.portions import delete_some
from flowrunner.storage.rows import from_ms, to_ms
from flowrunner.storage.surplus import find_surplus
from flowrunner.storage.transaction import Row, Statement, Transaction, existing_row, listed
from flowrunner.storage.trigger_events import notify_if_failing
from flowrunner.stored_json import StoredJson

# A request whose trigger has just moved to another workspace is received again there.
ADD: Final = """
INSERT INTO hook_deliveries (id, workspace_id, trigger_id, received_at, state, execution_id, request, size)
SELECT CAST(:id AS text), CAST(:workspace_id AS text), CAST(:trigger_id AS text), CAST(:received_at AS bigint),
       CAST(:state AS text), CAST(:execution_id AS text), CAST(:request AS text), CAST(:size AS bigint)
 WHERE NOT EXISTS (SELECT 1 FROM triggers t WHERE t.id = :trigger_id AND t.workspace_id <> :workspace_id)
    ON CONFLICT (id) DO NOTHING
"""
# A request whose trigger has moved to another workspace is not settled: it starts there.
SETTLE: Final = """
UPDATE hook_deliveries SET state = :state, execution_id = :execution_id, error = :error
 WHERE id = :id AND workspace_id = :workspace_id
   AND NOT EXISTS (SELECT 1 FROM triggers t
                    WHERE t.id = hook_deliveries.trigger_id AND t.workspace_id <> :workspace_id)
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
RECEIVED: Final = Statement.with_texts(
    """
SELECT d.id, d.workspace_id, d.trigger_id, d.received_at, d.state, NULL, d.error, d.size FROM hook_deliveries d
 WHERE d.received_at < :before AND d.state = 'received'
   AND d.workspace_id NOT IN (:outside)
   AND NOT EXISTS (SELECT 1 FROM executions x WHERE x.id = d.execution_id)
 ORDER BY d.received_at, d.id LIMIT :limit
""",
    "outside",
)
# After the triggers of a flow have moved. A request may have a megabyte. The newest first: the server may be about to
# start it.
MOVE: Final = Statement(
    sqlite="""
UPDATE hook_deliveries SET workspace_id = :target
 WHERE id IN (SELECT d.id FROM hook_deliveries d
               WHERE d.trigger_id IN (SELECT id FROM triggers WHERE flow_id = :id) AND d.workspace_id = :source
               ORDER BY d.received_at DESC LIMIT :limit)
""",
    # By trigger, or it would go through the requests of all triggers in the order of their times.
    postgres="""
UPDATE hook_deliveries SET workspace_id = :target
 WHERE id IN (SELECT d.id FROM triggers t
               CROSS JOIN LATERAL (SELECT id, received_at FROM hook_deliveries
                                    WHERE trigger_id = t.id AND workspace_id = :source
                                    ORDER BY trigger_id DESC, received_at DESC, id DESC LIMIT :limit) AS d
               WHERE t.flow_id = :id ORDER BY d.received_at DESC LIMIT :limit)
""",
)
REFUSALS: Final = "SELECT count, last FROM hook_refusals WHERE trigger_id = :trigger_id"
SAVE_REFUSALS: Final = """
INSERT INTO hook_refusals (trigger_id, count, last) VALUES (:trigger_id, :count, :last)
    ON CONFLICT (trigger_id) DO UPDATE SET count = :count, last = :last
"""
# Requests to delete are found outside of the transaction that deletes them: other writes wait for that one.
OLD: Final = "SELECT id FROM hook_deliveries WHERE received_at < :before ORDER BY received_at LIMIT :limit"
# The next triggers that have requests, each found by one step in the index. Of a trigger that is gone with its
# workspace or flow, all requests are too many, of another one those from before the newest `:most`.
HOLDERS: Final = """
WITH RECURSIVE holders (trigger_id, place) AS (
    SELECT min(trigger_id), 1 FROM hook_deliveries WHERE trigger_id > :after
     UNION ALL
    SELECT (SELECT min(d.trigger_id) FROM hook_deliveries d WHERE d.trigger_id > h.trigger_id), h.place + 1
      FROM holders h WHERE h.trigger_id IS NOT NULL AND h.place < :holders
)
SELECT h.trigger_id,
       CASE WHEN (SELECT t.id FROM triggers t WHERE t.id = h.trigger_id) IS NOT NULL
            THEN (SELECT CASE WHEN d.received_at < :recent THEN d.received_at ELSE :recent END
                    FROM hook_deliveries d WHERE d.trigger_id = h.trigger_id
                   ORDER BY d.received_at DESC, d.id DESC LIMIT 1 OFFSET :most - 1)
            ELSE 9223372036854775807 END
  FROM holders h WHERE h.trigger_id IS NOT NULL ORDER BY h.place
"""
# Those that have not started anything yet stay, unless their trigger is gone: their senders were told that they will.
EARLIER: Final = """
SELECT d.id FROM hook_deliveries d
 WHERE d.trigger_id = :holder AND d.received_at < :before
   AND (:before = 9223372036854775807 OR d.state <> 'received'
        OR EXISTS (SELECT 1 FROM executions x WHERE x.id = d.execution_id))
 ORDER BY d.received_at, d.id LIMIT :limit
"""
DELETE_REQUESTS: Final = Statement.with_texts("DELETE FROM hook_deliveries WHERE id IN (:ids)", "ids")
# Those whose trigger was deleted with its workspace or flow.
REFUSALS_GONE: Final = """
SELECT r.trigger_id FROM hook_refusals r
 WHERE NOT EXISTS (SELECT 1 FROM triggers t WHERE t.id = r.trigger_id) LIMIT :limit
"""
DELETE_REFUSALS: Final = Statement.with_texts("DELETE FROM hook_refusals WHERE trigger_id IN (:ids)", "ids")


class _StoredRefusal(msgspec.Struct):
    at: int
    reason: str


_LAST: Final = StoredJson[list[_StoredRefusal]](list[_StoredRefusal], column="hook_refusals.last")
_REQUEST: Final = StoredJson[dict[str, Any]](dict[str, Any], column="hook_deliveries.request")


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
            "workspace_id": delivery.workspace_id,
            "trigger_id": delivery.trigger_id,
            "state": delivery.state,
            "execution_id": delivery.execution_id,
            "error": delivery.error,
        }

        async def settle(tx: Transaction) -> None:
            if await tx.run(SETTLE, values) == 1 and delivery.state == "failed":
                await tx.run(TRIGGER_FAILED, values)
                await notify_if_failing(tx, delivery.trigger_id, error=delivery.error, at=delivery.received_at)

        await self._database.write(settle)

    async def page(
        self, workspace_id: WorkspaceId, trigger_id: TriggerId, *, page: Page
    ) -> tuple[Sequence[HookDelivery], int]:
        values: dict[str, Any] = {"workspace_id": workspace_id, "trigger_id": trigger_id}
        values["before"], values["before_id"] = page.before_pair
        # SQLite reads whole requests to find these rows, which may have a megabyte each.
        rows, total = await self._database.read_long(lambda tx: page_and_total(tx, page, PAGE, COUNT, values))
        return [_delivery(row) for row in rows], total

    async def get(
        self, workspace_id: WorkspaceId, trigger_id: TriggerId, id: HookDeliveryId
    ) -> tuple[HookDelivery, Mapping[str, JSON]]:
        values = {"workspace_id": workspace_id, "trigger_id": trigger_id, "id": id}
        row = await self._database.read(lambda tx: existing_row(tx, GET, values, "delivery"))
        request = _REQUEST.read(row[-1], id=id)
        if request is None:
            raise Conflict("The stored request cannot be read")
        return _delivery(row[:-1]), request

    async def received(
        self, *, before: datetime, limit: int, outside: Collection[WorkspaceId] = ()
    ) -> Sequence[HookDelivery]:
        values = {"before": to_ms(before), "limit": limit, "outside": listed(outside)}
        return [_delivery(row) for row in await self._database.read_long(lambda tx: tx.rows(RECEIVED, values))]

    async def add_refusals(self, counts: Mapping[TriggerId, Refusals], *, most: int) -> None:
        async def add(tx: Transaction) -> None:
            for trigger_id, new in counts.items():
                before = _refusals(trigger_id, await tx.row(REFUSALS, {"trigger_id": trigger_id}))
                last = [{"at": to_ms(each.at), "reason": each.reason} for each in (*before.last, *new.last)[-most:]]
                values = {"trigger_id": trigger_id, "count": before.count + new.count, "last": json.dumps(last)}
                await tx.run(SAVE_REFUSALS, values)

        await self._database.write(add)

    async def refusals(self, trigger_id: TriggerId) -> Refusals:
        row = await self._database.read(lambda tx: tx.row(REFUSALS, {"trigger_id": trigger_id}))
        return _refusals(trigger_id, row)

    async def old(self, *, before: datetime, limit: int) -> Sequence[HookDeliveryId]:
        values = {"before": to_ms(before), "limit": limit}
        return [HookDeliveryId(id) for (id,) in await self._database.read_long(lambda tx: tx.rows(OLD, values))]

    async def surplus(
        self, *, after: TriggerId, recent: datetime, most: int, limit: int
    ) -> tuple[Sequence[HookDeliveryId], TriggerId | None]:
        values = {"recent": to_ms(recent), "most": most}
        ids, last = await self._database.read_long(
            lambda tx: find_surplus(tx, HOLDERS, EARLIER, values, after=after, limit=limit)
        )
        return [HookDeliveryId(id) for id in ids], None if last is None else TriggerId(last)

    async def delete(self, ids: Sequence[HookDeliveryId]) -> None:
        await self._database.write(lambda tx: tx.run(DELETE_REQUESTS, {"ids": listed(ids)}))

    async def purge_refusals(self, *, limit: int) -> bool:
        return await delete_some(self._database, REFUSALS_GONE, DELETE_REFUSALS, {}, limit=limit) == limit


def _refusals(id: TriggerId, row: Row | None) -> Refusals:
    if row is None:
        return Refusals(0, ())
    last = _LAST.read(row[1], id=id) or []
    return Refusals(row[0], tuple(Refusal(from_ms(each.at), each.reason) for each in last))


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
