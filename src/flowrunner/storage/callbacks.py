"""Callbacks."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import Conflict, NotFound
from flowrunner.domain.limits import check_count
from flowrunner.domain.values import JSON, FlowId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.callbacks import (
    CallbackId,
    CallbackView,
    SealedCallback,
)
from flowrunner.ports.page import Page
from flowrunner.ports.secrets import Seal, SealedSecret
from flowrunner.storage.callback_deliveries import fail_some, notify_callbacks
from flowrunner.storage.database import Database
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.rows import from_ms, from_ms_or_none, to_ms, to_ms_or_none
from flowrunner.storage.secrets import WORKSPACE_EXISTS, sealed_now, wrapped_key
from flowrunner.storage.transaction import Transaction, existing_row, one_row
from flowrunner.stored_json import StoredJson

CREATE: Final = """
INSERT INTO callbacks (id, workspace_id, name, events, format, address, flow_id, tag, is_for_children, template,
                       key_version, sealed, created_at, updated_at)
VALUES (:id, :workspace_id, :name, :events, :format, :address, :flow_id, :tag, :is_for_children, :template,
        :key_version, :sealed, :created_at, :updated_at)
"""
COUNT: Final = "SELECT count(*) FROM callbacks WHERE workspace_id = :workspace_id"
# The last error is that of the message that was tried last, among the newest: very many may not have been tried yet.
_VIEW: Final = """
SELECT c.id, c.workspace_id, c.name, c.events, c.format, c.address, c.flow_id, c.tag, c.is_for_children,
       c.template, c.created_at, c.updated_at, c.disabled_at, c.disabled_reason, c.failures, c.failing_since,
       c.flow_id IS NULL OR EXISTS (SELECT 1 FROM flows f
                                     WHERE f.id = c.flow_id AND f.workspace_id = c.workspace_id
                                       AND f.deleted_at IS NULL),
       (SELECT d.error FROM (SELECT last_at, error FROM callback_deliveries
                              WHERE callback_id = c.id ORDER BY noted_at DESC, id DESC LIMIT 50) d
         WHERE d.last_at IS NOT NULL ORDER BY d.last_at DESC LIMIT 1)
"""
_OF_WORKSPACE: Final = """
  FROM callbacks c
 WHERE c.workspace_id = :workspace_id AND c.id > :after ORDER BY c.id LIMIT :limit OFFSET :offset
"""
_OF_ONE_SEALED: Final = """,
       (SELECT coalesce(w.name, o.name, '') FROM workspaces w LEFT JOIN accounts o ON o.id = w.id
         WHERE w.id = c.workspace_id),
       c.key_version, c.sealed, d.version, d.master_key_id, d.wrapped
  FROM callbacks c LEFT JOIN data_keys d ON d.workspace_id = c.workspace_id AND d.version = c.key_version
 WHERE c.workspace_id = :workspace_id AND c.id = :id
   AND EXISTS (SELECT 1 FROM workspaces w WHERE w.id = c.workspace_id AND w.deleted_at IS NULL)
"""
PAGE: Final = _VIEW + _OF_WORKSPACE
GET: Final = _VIEW + _OF_ONE_SEALED
# A callback that is enabled again starts without failures.
CHANGE: Final = """
UPDATE callbacks
   SET name = :name, events = :events, address = :address, flow_id = :flow_id, tag = :tag,
       is_for_children = :is_for_children, template = :template, updated_at = :updated_at, disabled_at = :disabled_at,
       disabled_reason = :disabled_reason, failures = CAST(:failures AS bigint), failing_since = :failing_since,
       paused_until = CASE WHEN CAST(:failures AS bigint) = 0 THEN NULL ELSE paused_until END
 WHERE workspace_id = :workspace_id AND id = :id
"""
SEAL_AGAIN: Final = """
UPDATE callbacks SET key_version = :key_version, sealed = :sealed WHERE workspace_id = :workspace_id AND id = :id
"""
DELETE_DELIVERIES: Final = "DELETE FROM callback_deliveries WHERE workspace_id = :workspace_id AND callback_id = :id"
DELETE: Final = "DELETE FROM callbacks WHERE workspace_id = :workspace_id AND id = :id"
OF_DELETED_WORKSPACES: Final = """
SELECT c.workspace_id, c.id FROM workspaces w JOIN callbacks c ON c.workspace_id = w.id
 WHERE w.deleted_at IS NOT NULL LIMIT :limit
"""
DISABLE: Final = """
UPDATE callbacks SET disabled_at = :at, disabled_reason = :reason WHERE id = :id AND disabled_at IS NULL
RETURNING workspace_id
"""
_TEMPLATE: Final = StoredJson[JSON](Any, column="callbacks.template")


class SqlCallbacks:
    """Implements `ports.CallbackStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, callback: CallbackView, seal: Seal, *, most: int, audit: Audit = None) -> None:
        async def create(tx: Transaction) -> None:
            values = _values(callback)
            await existing_row(tx, WORKSPACE_EXISTS, values, "workspace")
            check_count("callbacks", (await one_row(tx, COUNT, values))[0], most, limit="callbacks")
            secret = await sealed_now(tx, callback.workspace_id, seal)
            await tx.run(CREATE, values | {"key_version": secret.key_version, "sealed": secret.sealed})

        await self._database.write(create, audit=audit)

    async def page(self, workspace_id: WorkspaceId, *, page: Page) -> tuple[Sequence[CallbackView], int]:
        values = {"workspace_id": workspace_id, "after": page.after_id("callback")}
        rows, total = await self._database.read(lambda tx: page_and_total(tx, page, PAGE, COUNT, values))
        return [_view(row) for row in rows], total

    async def get(self, workspace_id: WorkspaceId, id: CallbackId) -> SealedCallback:
        return await self._database.read(lambda tx: _get(tx, workspace_id, id))

    async def change(
        self,
        workspace_id: WorkspaceId,
        id: CallbackId,
        change: Callable[[CallbackView], CallbackView],
        *,
        seal: Seal | None = None,
        sealed: bytes | None = None,
        audit: Audit = None,
    ) -> CallbackView:
        async def write(tx: Transaction) -> CallbackView:
            before = await _get(tx, workspace_id, id)
            if seal is not None and before.sealed.sealed != sealed:
                raise Conflict("The callback has just been changed by another request: send this one again")
            changed = change(before.view)
            await tx.run(CHANGE, _values(changed))
            if seal is not None:
                secret = await sealed_now(tx, workspace_id, seal)
                values = {"key_version": secret.key_version, "sealed": secret.sealed}
                await tx.run(SEAL_AGAIN, {"workspace_id": workspace_id, "id": id, **values})
            return changed

        return await self._database.write(write, audit=audit)

    async def delete(self, workspace_id: WorkspaceId, id: CallbackId, *, audit: Audit = None) -> None:
        async def delete(tx: Transaction) -> None:
            values = {"workspace_id": workspace_id, "id": id}
            await tx.run(DELETE_DELIVERIES, values)
            if await tx.run(DELETE, values) == 0:
                raise NotFound("callback")

        await self._database.write(delete, audit=audit)

    async def of_deleted_workspaces(self, *, limit: int) -> Sequence[tuple[WorkspaceId, CallbackId]]:
        rows = await self._database.read_long(lambda tx: tx.rows(OF_DELETED_WORKSPACES, {"limit": limit}))
        return [(WorkspaceId(workspace_id), CallbackId(id)) for workspace_id, id in rows]

    async def disable(
        self, id: CallbackId, *, at: datetime, reason: str, notice: Mapping[str, JSON], audit: AuditEntry | None = None
    ) -> None:
        async def disable(tx: Transaction) -> bool:
            row = await tx.row(DISABLE, {"id": id, "at": to_ms(at), "reason": reason})
            if row is None:
                return False
            # As the server disables it, no matter since when.
            await fail_some(tx, id, at=at, disabled_before=at)
            await notify_callbacks(
                tx,
                "callback.disabled",
                workspace_id=WorkspaceId(row[0]),
                flow_id=None,
                subject=id,
                details=notice,
                at=at,
            )
            return True

        await self._database.write(disable, audit=lambda is_disabled: audit if is_disabled else None)


async def _get(tx: Transaction, workspace_id: WorkspaceId, id: CallbackId) -> SealedCallback:
    row = await existing_row(tx, GET, {"workspace_id": workspace_id, "id": id}, "callback")
    *view, workspace_name, key_version, sealed, version, master_key_id, wrapped = row
    return SealedCallback(
        view=_view(view),
        workspace_name=workspace_name,
        sealed=SealedSecret(key=id, key_version=key_version, sealed=sealed),
        data_key=None if version is None else wrapped_key((version, master_key_id, wrapped)),
    )


def _view(row: Sequence[Any]) -> CallbackView:
    return CallbackView(
        id=CallbackId(row[0]),
        workspace_id=WorkspaceId(row[1]),
        name=row[2],
        events=tuple(json.loads(row[3])),
        format=row[4],
        address=row[5],
        flow_id=None if row[6] is None else FlowId(row[6]),
        tag=row[7],
        children=bool(row[8]),
        template=None if row[9] is None else _TEMPLATE.read(row[9], id=row[0]),
        created_at=from_ms(row[10]),
        updated_at=from_ms(row[11]),
        disabled_at=from_ms_or_none(row[12]),
        disabled_reason=row[13],
        failures=row[14],
        failing_since=from_ms_or_none(row[15]),
        has_flow=bool(row[16]),
        last_error=row[17],
    )


def _values(callback: CallbackView) -> dict[str, Any]:
    return {
        "id": callback.id,
        "workspace_id": callback.workspace_id,
        "name": callback.name,
        "events": json.dumps(list(callback.events)),
        "format": callback.format,
        "address": callback.address,
        "flow_id": callback.flow_id,
        "tag": callback.tag,
        "is_for_children": callback.children,
        "template": None if callback.template is None else json.dumps(callback.template),
        "created_at": to_ms(callback.created_at),
        "updated_at": to_ms(callback.updated_at),
        "disabled_at": to_ms_or_none(callback.disabled_at),
        "disabled_reason": callback.disabled_reason,
        "failures": callback.failures,
        "failing_since": to_ms_or_none(callback.failing_since),
    }
