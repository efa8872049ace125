"""Reading of the whole content of a workspace, in portions."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId
from flowrunner.ports.event_codec import in_full, type_of
from flowrunner.ports.exports import ExportedEvent, ExportedExecution, ExportedFlow
from flowrunner.ports.journal import PAGE_OF_EVENTS_BYTES
from flowrunner.storage.database import Database
from flowrunner.storage.execution_search import IDS_AFTER, values_after
from flowrunner.storage.journal import PAGE_OF_EVENTS
from flowrunner.storage.rows import from_ms, from_ms_or_none
from flowrunner.storage.transaction import Row, Transaction

FLOWS: Final = """
SELECT f.id, f.name, f.description, f.version, f.tags, r.number, f.created_at, f.updated_at
  FROM flows f JOIN revisions r ON r.id = f.revision_id
 WHERE f.workspace_id = :workspace_id AND f.deleted_at IS NULL AND f.id > :after ORDER BY f.id LIMIT :limit
"""
# By the workspace of the flow, because a part of its revisions may still be moving.
DEFINITION: Final = """
SELECT r.number, r.definition FROM flows f JOIN revisions r ON r.flow_id = f.id
 WHERE f.id = :flow_id AND f.workspace_id = :workspace_id AND r.deleted_at IS NULL AND r.number > :after
 ORDER BY r.number LIMIT 1
"""
_EXPORTED: Final = """
SELECT x.id, x.flow_id, r.number, x.status, x.started_at, x.completed_at, x.error, x.parent_id, x.rerun_of
  FROM (
"""
_IN_ORDER: Final = """
) AS found JOIN executions x ON x.id = found.id LEFT JOIN revisions r ON r.id = x.revision_id
 ORDER BY x.id
"""
EXECUTIONS: Final = _EXPORTED + IDS_AFTER + _IN_ORDER
IN_WORKSPACE: Final = "SELECT 1 FROM executions WHERE id = :id AND workspace_id = :workspace_id"

_EVENTS_AT_ONCE: Final = 500


class SqlExports:
    """Implements `ports.ExportStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def flows(self, id: WorkspaceId, *, after: str, limit: int) -> Sequence[ExportedFlow]:
        values = {"workspace_id": id, "after": after, "limit": limit}
        return [
            ExportedFlow(
                id=FlowId(row[0]),
                name=row[1],
                description=row[2],
                version=row[3],
                tags=row[4],
                revision=row[5],
                created_at=from_ms(row[6]),
                updated_at=from_ms(row[7]),
            )
            for row in await self._database.read_long(lambda tx: tx.rows(FLOWS, values))
        ]

    async def definition(self, id: WorkspaceId, flow_id: FlowId, *, after: int) -> tuple[int, str] | None:
        values = {"workspace_id": id, "flow_id": flow_id, "after": after}
        row = await self._database.read_long(lambda tx: tx.row(DEFINITION, values))
        return None if row is None else (row[0], row[1])

    async def executions(self, id: WorkspaceId, *, after: str, limit: int) -> Sequence[ExportedExecution]:
        values = values_after(id, after, limit=limit)
        return [
            ExportedExecution(
                id=ExecutionId(row[0]),
                flow_id=FlowId(row[1]),
                revision=row[2],
                status=row[3],
                started_at=from_ms(row[4]),
                completed_at=from_ms_or_none(row[5]),
                error=row[6],
                parent_id=row[7],
                rerun_of=row[8],
            )
            for row in await self._database.read_long(lambda tx: tx.rows(EXECUTIONS, values))
        ]

    async def events(self, id: WorkspaceId, execution_id: ExecutionId, *, after: int) -> Sequence[ExportedEvent]:
        values = {
            "id": execution_id,
            "workspace_id": id,
            "after": after,
            "limit": _EVENTS_AT_ONCE,
            "characters": PAGE_OF_EVENTS_BYTES,
        }

        async def read(tx: Transaction) -> list[Row]:
            return [] if await tx.row(IN_WORKSPACE, values) is None else await tx.rows(PAGE_OF_EVENTS, values)

        return [_event(*row) for row in await self._database.read_long(read)]


def _event(seq: int, at: int, type: str, data: str) -> ExportedEvent:
    # An event that this version cannot read is exported in its stored form.
    with suppress(msgspec.MsgspecError, UnicodeError):
        data = in_full(type, data)
    return ExportedEvent(seq=seq, at=from_ms(at), type=type_of(type) or type, data=data)
