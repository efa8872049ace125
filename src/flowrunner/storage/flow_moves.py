"""Moves of flows to another workspace, with their revisions and executions.

The first transaction moves the flow, and short ones the rest. The column `moving_from` is set until the last of them,
so that an interrupted move can be completed.
"""

from collections.abc import Sequence
from typing import Any, Final

from flowrunner.domain.counted import counted
from flowrunner.domain.errors import Conflict, NotFound
from flowrunner.domain.limits import WorkspaceLimits, check_count
from flowrunner.domain.values import FlowId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.storage.database import Database
from flowrunner.storage.flow_changes import COUNT, check_tool
from flowrunner.storage.hooks import MOVE as MOVE_HOOKS
from flowrunner.storage.transaction import Row, Statement, Transaction, existing_row, one_row
from flowrunner.storage.triggers import MOVE as MOVE_TRIGGERS
from flowrunner.storage.triggers import check_move
from flowrunner.storage.usage import STORED

FLOW: Final = """
SELECT moving_from FROM flows WHERE id = :id AND workspace_id = :source AND deleted_at IS NULL
"""
TOOL: Final = "SELECT tool_name FROM flows WHERE id = :id AND workspace_id = :source AND tool_name IS NOT NULL"
OPEN_OF_FLOW: Final = Statement.with_indexes("""
SELECT count(*) FROM executions INDEXED BY executions_flow_status
 WHERE workspace_id = :source AND flow_id = :id AND status IN ('running', 'waiting')
""")
SIZE: Final = """
SELECT CAST((SELECT coalesce(sum(size), 0) FROM flows WHERE id = :id AND workspace_id = :source)
            + (SELECT coalesce(sum(size), 0) FROM revisions
                WHERE flow_id = :id AND workspace_id = :source AND deleted_at IS NULL)
            + (SELECT coalesce(sum(size), 0) FROM executions WHERE workspace_id = :source AND flow_id = :id)
            + (SELECT coalesce(sum(d.size), 0) FROM triggers t JOIN hook_deliveries d ON d.trigger_id = t.id
                WHERE t.flow_id = :id AND d.workspace_id = :source) AS bigint)
"""
TARGET: Final = "SELECT 1 FROM workspaces WHERE id = :target AND deleted_at IS NULL"
BEGIN: Final = """
UPDATE flows SET workspace_id = :target, moving_from = :source
 WHERE id = :id AND workspace_id = :source
   AND EXISTS (SELECT 1 FROM workspaces WHERE id = :target AND deleted_at IS NULL)
"""
MOVING: Final = "SELECT moving_from, workspace_id FROM flows WHERE id = :id AND moving_from IS NOT NULL"
REVISIONS_LEFT: Final = """
SELECT number, size FROM revisions WHERE flow_id = :id AND workspace_id = :source ORDER BY number DESC LIMIT :limit
"""
# A revision without an author is one of the account with the workspace's id.
MOVE_REVISIONS: Final = """
UPDATE revisions SET workspace_id = :target, created_by = coalesce(created_by, workspace_id)
 WHERE flow_id = :id AND workspace_id = :source AND number >= :number
"""
# The newest first: a client repeats the request of a start soon, or never. Of two executions with the same key, the one
# in the target keeps it.
MOVE_EXECUTIONS: Final = """
UPDATE executions
   SET workspace_id = :target,
       idempotency_key = CASE WHEN NOT EXISTS (SELECT 1 FROM executions other
                                                WHERE other.workspace_id = :target
                                                  AND other.idempotency_key = executions.idempotency_key)
                              THEN idempotency_key END
 WHERE id IN (SELECT id FROM executions WHERE workspace_id = :source AND flow_id = :id ORDER BY id DESC LIMIT :limit)
"""
COMPLETE: Final = "UPDATE flows SET moving_from = NULL WHERE id = :id AND workspace_id = :target"
INCOMPLETE: Final = "SELECT id FROM flows WHERE moving_from IS NOT NULL ORDER BY id LIMIT 100"

# Other writes wait for a transaction, so these limit its duration.
_EXECUTIONS_AT_ONCE: Final = 500
_REVISIONS_AT_ONCE: Final = 100
_REQUESTS_AT_ONCE: Final = 20
_REVISION_BYTES_AT_ONCE: Final = 2 * 1024 * 1024


class SqlFlowMoves:
    """Implements `ports.FlowMoveStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(
        self,
        source: WorkspaceId,
        id: FlowId,
        target: WorkspaceId,
        *,
        limits: WorkspaceLimits,
        audit: Audit = None,
    ) -> None:
        values = {"id": id, "source": source, "target": target}
        # Outside of the transaction, because a history may be long. Little is stored meanwhile.
        (size,) = await self._database.read_long(lambda tx: one_row(tx, SIZE, values))

        async def begin(tx: Transaction) -> None:
            await _check_can_move(tx, values, size, limits)
            if await tx.run(BEGIN, values) == 0:
                raise NotFound("workspace")
            await tx.run(MOVE_TRIGGERS, values)
            await _advance(tx, id)

        await self._database.write(begin, audit=audit)

    async def check(self, source: WorkspaceId, id: FlowId, target: WorkspaceId, *, limits: WorkspaceLimits) -> None:
        values = {"id": id, "source": source, "target": target}
        (size,) = await self._database.read_long(lambda tx: one_row(tx, SIZE, values))

        async def check(tx: Transaction) -> None:
            await _check_can_move(tx, values, size, limits)
            await existing_row(tx, TARGET, values, "workspace")

        await self._database.read(check)

    async def advance(self, id: FlowId) -> bool:
        return await self._database.write(lambda tx: _advance(tx, id))

    async def incomplete(self) -> Sequence[FlowId]:
        return [FlowId(id) for (id,) in await self._database.read(lambda tx: tx.rows(INCOMPLETE))]


async def _check_can_move(tx: Transaction, values: dict[str, Any], size: int, limits: WorkspaceLimits) -> None:
    row = await existing_row(tx, FLOW, values, "flow")
    if row[0] is not None:
        raise Conflict("An earlier move of this flow is not complete: repeat the request in a moment")
    (count,) = await one_row(tx, OPEN_OF_FLOW, values)
    if count:
        raise Conflict(f"The flow has {counted(count, 'open execution')}: cancel what is open, or wait for its end")
    tool, target = await tx.row(TOOL, values), values["target"]
    if tool is not None:
        await check_tool(tx, {"workspace_id": target, "id": values["id"], "tool_name": tool[0]})
    await check_move(tx, values["id"], to=target)
    in_target = {"workspace_id": target}
    check_count("flows", (await one_row(tx, COUNT, in_target))[0], limits.flows, limit="workspace_flows")
    limits.check_grown((await one_row(tx, STORED, in_target))[0] + size)


async def _advance(tx: Transaction, id: FlowId) -> bool:
    row = await tx.row(MOVING, {"id": id})
    if row is None:
        return False
    values = {"id": id, "source": row[0], "target": row[1]}
    revisions = await tx.rows(REVISIONS_LEFT, values | {"limit": _REVISIONS_AT_ONCE})
    if revisions:
        await tx.run(MOVE_REVISIONS, values | {"number": _last_that_fits(revisions)})
    moved = await tx.run(MOVE_EXECUTIONS, values | {"limit": _EXECUTIONS_AT_ONCE})
    requests = await tx.run(MOVE_HOOKS, values | {"limit": _REQUESTS_AT_ONCE})
    has_more = bool(revisions) or moved == _EXECUTIONS_AT_ONCE or requests == _REQUESTS_AT_ONCE
    if not has_more:
        await tx.run(COMPLETE, values)
    return has_more


def _last_that_fits(revisions: Sequence[Row]) -> int:
    """Return the number of the last revision that a transaction can move; the first one is always moved."""
    last, size = revisions[0]
    for number, bytes in revisions[1:]:
        size += bytes
        if size > _REVISION_BYTES_AT_ONCE:
            break
        last = number
    return int(last)
