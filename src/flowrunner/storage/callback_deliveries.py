"""Deliveries of callbacks. Triggers on `executions` add those about executions."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.errors import NotFound
from flowrunner.domain.values import JSON, ExecutionId, FlowId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.callbacks import (
    CallbackId,
    DeliveryAttempt,
    DeliveryId,
    DeliveryView,
)
from flowrunner.ports.page import Page
from flowrunner.storage.database import Database
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.rows import from_ms, from_ms_or_none, to_ms, to_ms_or_none
from flowrunner.storage.surplus import find_surplus
from flowrunner.storage.transaction import Refused, Row, Statement, Transaction, existing_row, listed, one_row
from flowrunner.stored_json import StoredJson

SOME_DELIVERIES: Final = """
SELECT id FROM callback_deliveries WHERE workspace_id = :workspace_id AND callback_id = :id LIMIT :limit
"""
DELETE_SOME: Final = Statement.with_texts(
    "DELETE FROM callback_deliveries WHERE workspace_id = :workspace_id AND id IN (:ids)", "ids"
)
_DELIVERY: Final = """
SELECT id, workspace_id, callback_id, event, execution_id, seq, subject, details, noted_at,
       state, attempts, retry_until, next_at, last_at, status_code, error
"""
DELIVERIES: Final = f"""{_DELIVERY}
  FROM callback_deliveries
 WHERE workspace_id = :workspace_id AND callback_id = :id AND (noted_at, id) < (:before, :before_id)
 ORDER BY noted_at DESC, id DESC LIMIT :limit OFFSET :offset
"""
# In the index alone.
COUNT_DELIVERIES: Final = """
SELECT count(*) FROM callback_deliveries
 WHERE callback_id = (SELECT id FROM callbacks WHERE workspace_id = :workspace_id AND id = :id)
"""
EXISTS: Final = "SELECT 1 FROM callbacks WHERE workspace_id = :workspace_id AND id = :id"
REDELIVER: Final = """
UPDATE callback_deliveries SET state = 'pending', attempts = 0, retry_until = NULL, next_at = 0, error = NULL
 WHERE workspace_id = :workspace_id AND callback_id = :id AND id = :delivery_id
RETURNING id, workspace_id, callback_id, event, execution_id, seq, subject, details, noted_at,
       state, attempts, retry_until, next_at, last_at, status_code, error
"""
ADD: Final = """
INSERT INTO callback_deliveries (id, workspace_id, callback_id, event, subject, details, noted_at, state, attempts,
                                 retry_until, next_at, last_at, status_code, error)
VALUES (:id, :workspace_id, :callback_id, :event, :subject, :details, :noted_at, :state, :attempts, :retry_until,
        :next_at, :last_at, :status_code, :error)
"""
# Of each callback with pending deliveries, in the order of their ids, the id by one step in the index of what is due.
_PENDING: Final = """
WITH RECURSIVE pending (id, place) AS (
    SELECT min(callback_id), 1 FROM callback_deliveries INDEXED BY callback_deliveries_due
     WHERE next_at IS NOT NULL AND callback_id > :after
     UNION ALL
    SELECT (SELECT min(d.callback_id) FROM callback_deliveries d INDEXED BY callback_deliveries_due
             WHERE d.next_at IS NOT NULL AND d.callback_id > p.id), p.place + 1
      FROM pending p WHERE p.id IS NOT NULL AND p.place < :limit
)
"""
_EARLIEST_IN_SQLITE: Final = """
SELECT min(CASE WHEN c.disabled_at IS NULL
                THEN max(coalesce(c.paused_until, 0),
                         (SELECT min(d.next_at) FROM callback_deliveries d
                           WHERE d.callback_id = p.id AND d.next_at IS NOT NULL)) END),
       EXISTS (SELECT 1 FROM callbacks WHERE disabled_at IS NULL), count(p.id), max(p.id)
  FROM pending p LEFT JOIN callbacks c ON c.id = p.id
"""
_EARLIEST_IN_POSTGRES: Final = """
SELECT min(CASE WHEN c.disabled_at IS NULL
                THEN greatest(c.paused_until,
                              (SELECT min(d.next_at) FROM callback_deliveries d
                                WHERE d.callback_id = p.id AND d.next_at IS NOT NULL)) END),
       EXISTS (SELECT 1 FROM callbacks WHERE disabled_at IS NULL), count(p.id), max(p.id)
  FROM pending p LEFT JOIN callbacks c ON c.id = p.id
"""
NEXT_DUE: Final = Statement(
    sqlite=_PENDING + _EARLIEST_IN_SQLITE,
    postgres=Statement.with_indexes(_PENDING + _EARLIEST_IN_POSTGRES).postgres,
)
_ARE_DUE: Final = """
SELECT p.id, c.workspace_id,
       c.disabled_at IS NULL AND coalesce(c.paused_until, 0) <= :now
       AND EXISTS (SELECT 1 FROM callback_deliveries d
                    WHERE d.callback_id = p.id AND d.next_at IS NOT NULL AND d.next_at <= :now)
  FROM pending p LEFT JOIN callbacks c ON c.id = p.id
 WHERE p.id IS NOT NULL ORDER BY p.place
"""
DUE_CALLBACKS: Final = Statement.with_indexes(_PENDING + _ARE_DUE)
DUE: Final = f"""{_DELIVERY}
  FROM callback_deliveries
 WHERE callback_id = :id AND next_at IS NOT NULL AND next_at <= :now ORDER BY next_at, id LIMIT :limit
"""
RECORD: Final = """
UPDATE callback_deliveries
   SET state = :state, attempts = attempts + 1, retry_until = :retry_until, next_at = :next_at, last_at = :at,
       status_code = :status_code, error = :error
 WHERE id = :id AND state = 'pending'
"""
SUCCEEDED: Final = """
UPDATE callbacks SET failures = 0, failing_since = NULL, paused_until = NULL WHERE id = :callback_id AND failures > 0
"""
FAILED: Final = """
UPDATE callbacks
   SET failures = failures + 1, failing_since = coalesce(failing_since, :at), paused_until = :paused_until
 WHERE id = :callback_id
"""
# There may be very many, and other writes wait for those of one commit. The state is checked again, because PostgreSQL
# chooses the rows before it waits for those that another transaction changes, such as one that has been delivered.
FAIL_PENDING: Final = """
UPDATE callback_deliveries SET state = 'failed', next_at = NULL, last_at = :at, error = 'callback.disabled'
 WHERE state = 'pending'
   AND id IN (SELECT d.id FROM callback_deliveries d JOIN callbacks c ON c.id = d.callback_id
               WHERE d.callback_id = :id AND d.next_at IS NOT NULL
                 AND (c.disabled_reason IS NOT NULL OR c.disabled_at < :disabled_before)
               ORDER BY d.next_at, d.id LIMIT :limit)
"""
# Those that a person has disabled for too long, and those of the server that a crash has left.
GIVEN_UP: Final = """
SELECT c.id FROM callbacks c
 WHERE (c.disabled_reason IS NOT NULL OR c.disabled_at < :disabled_before)
   AND EXISTS (SELECT 1 FROM callback_deliveries d WHERE d.callback_id = c.id AND d.next_at IS NOT NULL)
 ORDER BY c.id LIMIT 100
"""
_FAILED_AT_ONCE: Final = 500
_FIRST: Final = CallbackId("")
_ALL_CALLBACKS: Final = 2**31 - 1
# Adds a delivery to each callback of the workspace that wants the event.
ADD_DELIVERIES: Final = Statement(
    sqlite="""
INSERT INTO callback_deliveries (id, workspace_id, callback_id, event, subject, details, noted_at, next_at)
SELECT 'delivery-' || lower(hex(randomblob(16))), c.workspace_id, c.id, :event, :subject, :details, :at, 0
  FROM callbacks c
 WHERE c.workspace_id = :workspace_id AND c.disabled_at IS NULL
   AND (c.flow_id IS NULL OR c.flow_id = :flow_id)
   AND EXISTS (SELECT 1 FROM json_each(c.events) WHERE value = :event)
   AND (c.tag IS NULL OR EXISTS (SELECT 1 FROM flows f, json_each(f.tags) t WHERE f.id = :flow_id AND t.value = c.tag))
""",
    postgres="""
INSERT INTO callback_deliveries (id, workspace_id, callback_id, event, subject, details, noted_at, next_at)
SELECT 'delivery-' || replace(gen_random_uuid()::text, '-', ''), c.workspace_id, c.id, :event, :subject, :details,
       :at, 0
  FROM callbacks c
 WHERE c.workspace_id = :workspace_id AND c.disabled_at IS NULL
   AND (c.flow_id IS NULL OR c.flow_id = CAST(:flow_id AS text))
   AND CAST(:event AS text) IN (SELECT json_array_elements_text(c.events::json))
   AND (c.tag IS NULL OR c.tag IN (SELECT json_array_elements_text(replace(f.tags, '\\u0000', '\\ufffd')::json)
                                     FROM flows f WHERE f.id = CAST(:flow_id AS text)))
""",
)
# Deliveries to delete are found outside of the transaction that deletes them: other writes wait for that one.
OLD: Final = (
    "SELECT id FROM callback_deliveries WHERE next_at IS NULL AND last_at < :before ORDER BY last_at LIMIT :limit"
)
# The next callbacks. Deliveries from before the newest `:most` are too many, unless they are pending.
HOLDERS: Final = """
SELECT c.id, (SELECT d.noted_at FROM callback_deliveries d WHERE d.callback_id = c.id
               ORDER BY d.noted_at DESC, d.id DESC LIMIT 1 OFFSET :most - 1)
  FROM callbacks c WHERE c.id > :after ORDER BY c.id LIMIT :holders
"""
EARLIER: Final = """
SELECT id FROM callback_deliveries WHERE callback_id = :holder AND noted_at < :before AND next_at IS NULL
 ORDER BY noted_at, id LIMIT :limit
"""
# One that has been made due again meanwhile stays.
DELETE_ENDED: Final = Statement.with_texts(
    "DELETE FROM callback_deliveries WHERE id IN (:ids) AND next_at IS NULL", "ids"
)
_DETAILS: Final = StoredJson[dict[str, Any]](dict[str, Any], column="callback_deliveries.details")


async def notify_callbacks(
    tx: Transaction,
    event: str,
    *,
    workspace_id: WorkspaceId,
    flow_id: FlowId | None,
    subject: str,
    details: Mapping[str, JSON],
    at: datetime,
) -> None:
    """Add the deliveries that report an event, in the transaction that records it.

    Args:
        event: One of `domain.callbacks.EVENTS`, except those of executions.
        flow_id: The flow that it concerns; None if it concerns none.
        subject: Id of the object that it concerns.
        details: The `data` of the message.
    """
    values = {
        "event": event,
        "workspace_id": workspace_id,
        "flow_id": flow_id,
        "subject": subject,
        "details": json.dumps(details),
        "at": to_ms(at),
    }
    await tx.run(ADD_DELIVERIES, values)


class SqlCallbackDeliveries:
    """Implements `ports.CallbackDeliveryStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def some(self, workspace_id: WorkspaceId, id: CallbackId, *, limit: int) -> Sequence[DeliveryId]:
        values = {"workspace_id": workspace_id, "id": id, "limit": limit}
        rows = await self._database.read_long(lambda tx: tx.rows(SOME_DELIVERIES, values))
        return [DeliveryId(id) for (id,) in rows]

    async def delete(self, workspace_id: WorkspaceId, ids: Sequence[DeliveryId]) -> None:
        values = {"workspace_id": workspace_id, "ids": listed(ids)}
        await self._database.write(lambda tx: tx.run(DELETE_SOME, values))

    async def page(
        self, workspace_id: WorkspaceId, id: CallbackId, *, page: Page
    ) -> tuple[Sequence[DeliveryView], int]:
        before, before_id = page.before_pair
        values = {"workspace_id": workspace_id, "id": id, "before": before, "before_id": before_id}

        async def read(tx: Transaction) -> tuple[list[Row], int]:
            await existing_row(tx, EXISTS, values, "callback")
            return await page_and_total(tx, page, DELIVERIES, COUNT_DELIVERIES, values)

        rows, total = await self._database.read(read)
        return [_delivery(row) for row in rows], total

    async def redeliver(
        self, workspace_id: WorkspaceId, id: CallbackId, delivery_id: DeliveryId, *, audit: Audit = None
    ) -> DeliveryView:
        async def redeliver(tx: Transaction) -> DeliveryView:
            values = {"workspace_id": workspace_id, "id": id, "delivery_id": delivery_id}
            row = await existing_row(tx, REDELIVER, values, "delivery")
            return _delivery(row)

        return await self._database.write(redeliver, audit=audit)

    async def add(self, delivery: DeliveryView) -> None:
        values = {
            "id": delivery.id,
            "workspace_id": delivery.workspace_id,
            "callback_id": delivery.callback_id,
            "event": delivery.event,
            "subject": delivery.subject,
            "details": None if delivery.details is None else json.dumps(delivery.details),
            "noted_at": to_ms(delivery.noted_at),
            "state": delivery.state,
            "attempts": delivery.attempts,
            "retry_until": to_ms_or_none(delivery.retry_until),
            "next_at": to_ms_or_none(delivery.next_at),
            "last_at": to_ms_or_none(delivery.last_at),
            "status_code": delivery.status_code,
            "error": delivery.error,
        }
        try:
            await self._database.write(lambda tx: tx.run(ADD, values))
        except Refused:
            raise NotFound("callback") from None

    async def next_due(
        self, *, after: CallbackId = _FIRST, limit: int = _ALL_CALLBACKS
    ) -> tuple[datetime | None, bool, CallbackId | None]:
        values = {"after": after, "limit": limit}
        at, has_callbacks, count, last = await self._database.read(lambda tx: one_row(tx, NEXT_DUE, values))
        return from_ms_or_none(at), bool(has_callbacks), CallbackId(last) if count == limit else None

    async def due_callbacks(
        self, *, now: datetime, after: CallbackId = _FIRST, limit: int = _ALL_CALLBACKS
    ) -> tuple[Sequence[tuple[WorkspaceId, CallbackId]], CallbackId | None]:
        values = {"now": to_ms(now), "after": after, "limit": limit}
        rows = await self._database.read_long(lambda tx: tx.rows(DUE_CALLBACKS, values))
        due = [(WorkspaceId(workspace_id), CallbackId(id)) for id, workspace_id, is_due in rows if is_due]
        return due, CallbackId(rows[-1][0]) if len(rows) == limit else None

    async def due(self, id: CallbackId, *, now: datetime, limit: int) -> Sequence[DeliveryView]:
        values = {"id": id, "now": to_ms(now), "limit": limit}
        return [_delivery(row) for row in await self._database.read(lambda tx: tx.rows(DUE, values))]

    async def record(self, attempt: DeliveryAttempt) -> None:
        state = "delivered" if attempt.has_succeeded else "failed" if attempt.next_at is None else "pending"
        values = {
            "id": attempt.id,
            "callback_id": attempt.callback_id,
            "state": state,
            "at": to_ms(attempt.at),
            "retry_until": to_ms(attempt.retry_until),
            "next_at": to_ms_or_none(attempt.next_at),
            "paused_until": to_ms_or_none(attempt.paused_until),
            "status_code": attempt.status_code,
            "error": attempt.error,
        }

        async def record(tx: Transaction) -> None:
            await tx.run(RECORD, values)
            if attempt.is_of_receiver:
                await tx.run(SUCCEEDED if attempt.has_succeeded else FAILED, values)

        await self._database.write(record)

    async def fail_pending(self, id: CallbackId, *, at: datetime, disabled_before: datetime) -> bool:
        return await self._database.write(lambda tx: fail_some(tx, id, at=at, disabled_before=disabled_before))

    async def given_up(self, *, disabled_before: datetime) -> Sequence[CallbackId]:
        values = {"disabled_before": to_ms(disabled_before)}
        return [CallbackId(id) for (id,) in await self._database.read_long(lambda tx: tx.rows(GIVEN_UP, values))]

    async def old(self, *, before: datetime, limit: int) -> Sequence[DeliveryId]:
        values = {"before": to_ms(before), "limit": limit}
        return [DeliveryId(id) for (id,) in await self._database.read_long(lambda tx: tx.rows(OLD, values))]

    async def surplus(
        self, *, after: CallbackId, most: int, limit: int
    ) -> tuple[Sequence[DeliveryId], CallbackId | None]:
        ids, last = await self._database.read_long(
            lambda tx: find_surplus(tx, HOLDERS, EARLIER, {"most": most}, after=after, limit=limit)
        )
        return [DeliveryId(id) for id in ids], None if last is None else CallbackId(last)

    async def delete_ended(self, ids: Sequence[DeliveryId]) -> None:
        await self._database.write(lambda tx: tx.run(DELETE_ENDED, {"ids": listed(ids)}))


async def fail_some(tx: Transaction, id: CallbackId, *, at: datetime, disabled_before: datetime) -> bool:
    """Fail some pending deliveries of a callback that was given up; return whether there may be more."""
    values = {"id": id, "at": to_ms(at), "disabled_before": to_ms(disabled_before), "limit": _FAILED_AT_ONCE}
    return await tx.run(FAIL_PENDING, values) == _FAILED_AT_ONCE


def _delivery(row: Sequence[Any]) -> DeliveryView:
    details = None if row[7] is None else _DETAILS.read(row[7], id=row[0])
    return DeliveryView(
        id=DeliveryId(row[0]),
        workspace_id=WorkspaceId(row[1]),
        callback_id=CallbackId(row[2]),
        event=row[3],
        execution_id=None if row[4] is None else ExecutionId(row[4]),
        seq=row[5],
        subject=row[6],
        details=details,
        is_readable=row[7] is None or details is not None,
        noted_at=from_ms(row[8]),
        state=row[9],
        attempts=row[10],
        retry_until=from_ms_or_none(row[11]),
        next_at=from_ms_or_none(row[12]),
        last_at=from_ms_or_none(row[13]),
        status_code=row[14],
        error=row[15],
    )
