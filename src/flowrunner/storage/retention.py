"""Retention rules, which are columns of flows and workspaces, and the deletion of the executions that exceed them."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from flowrunner.domain.retention import LONGEST_AGE, RetentionRule
from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.retention import EndedExecutions, RuledFlow
from flowrunner.storage.children import SqlChildExecutions
from flowrunner.storage.database import Database
from flowrunner.storage.rows import to_ms
from flowrunner.storage.transaction import Statement, Transaction, existing_row, listed, one_row

OF_WORKSPACE: Final = """
SELECT retention_age, retention_count FROM workspaces WHERE id = :workspace_id AND deleted_at IS NULL
"""
OF_FLOW: Final = """
SELECT f.retention_age, f.retention_count, w.retention_age, w.retention_count
  FROM flows f JOIN workspaces w ON w.id = f.workspace_id
 WHERE f.id = :id AND f.workspace_id = :workspace_id AND f.deleted_at IS NULL
"""
SET_OF_WORKSPACE: Final = """
UPDATE workspaces SET retention_age = CAST(:age AS bigint), retention_count = CAST(:count AS bigint)
 WHERE id = :workspace_id AND deleted_at IS NULL
"""
SET_OF_FLOW: Final = """
UPDATE flows SET retention_age = CAST(:age AS bigint), retention_count = CAST(:count AS bigint)
 WHERE id = :id AND workspace_id = :workspace_id AND deleted_at IS NULL
"""
# Deleted flows included: their executions remain, under the same rules.
RULED_FLOWS: Final = """
SELECT f.id, f.workspace_id, coalesce(f.retention_age, w.retention_age), coalesce(f.retention_count, w.retention_count)
  FROM flows f JOIN workspaces w ON w.id = f.workspace_id
 WHERE f.id > :after
   AND (:is_every OR f.retention_age IS NOT NULL OR f.retention_count IS NOT NULL
        OR w.retention_age IS NOT NULL OR w.retention_count IS NOT NULL)
 ORDER BY f.id LIMIT :limit
"""
LAST_BEYOND: Final = """
SELECT id FROM executions
 WHERE workspace_id = :workspace_id AND flow_id = :flow_id AND completed_at IS NOT NULL
 ORDER BY id DESC LIMIT 1 OFFSET :count
"""
# Neither the ends that have not started the flows that wait for them, such as during a pause, nor the children whose
# open parents have not been notified of their ends.
_HAS_STARTED_CHAINS: Final = Statement(
    # A list, which is read once: no index finds the rows of an execution.
    sqlite="id NOT IN (SELECT execution_id FROM trigger_outbox)",
    # A list that does not fit in the working memory would be read again for each execution.
    postgres="NOT EXISTS (SELECT 1 FROM trigger_outbox o WHERE o.execution_id = executions.id)",
)


def _settled(statement: str) -> Statement:
    reported = Statement.with_texts(
        statement.replace(":is_settled", "id NOT IN (:unreported) AND :has_started_chains"), "unreported"
    )
    return Statement(
        sqlite=reported.sqlite.replace(":has_started_chains", _HAS_STARTED_CHAINS.sqlite),
        postgres=reported.postgres.replace(":has_started_chains", _HAS_STARTED_CHAINS.postgres),
    )


# In the order of the index of a flow's executions. The sign keeps the planner from using the index of all flows' ends.
IDS: Final = _settled("""
SELECT id FROM executions
 WHERE workspace_id = :workspace_id AND flow_id = :flow_id AND id > :after AND id <= :up_to
   AND +completed_at < :before AND :is_settled
 ORDER BY id LIMIT :limit
""")
COUNT: Final = _settled("""
SELECT count(*), coalesce(sum(size), 0) FROM executions
 WHERE workspace_id = :workspace_id AND flow_id = :flow_id AND +completed_at >= :since AND :is_settled
   AND (id <= :first_up_to AND +completed_at < :first_before OR id <= :second_up_to AND +completed_at < :second_before)
""")
COUNT_BEFORE: Final = _settled(
    "SELECT count(*), coalesce(sum(size), 0) FROM executions WHERE completed_at < :before AND :is_settled"
)

OLD: Final = _settled("""
SELECT id FROM executions WHERE completed_at IS NOT NULL AND completed_at < :before AND :is_settled
 ORDER BY completed_at LIMIT :limit
""")
# Deletes the events from the first one on, and then the execution: without its first event it is not shown, and as long
# as its row exists it is found again.
PURGE_EVENTS: Final = """
DELETE FROM events
 WHERE execution_id = :id AND seq < :events + (SELECT min(seq) FROM events WHERE execution_id = :id)
"""
PURGE_EXECUTION: Final = "DELETE FROM executions WHERE id = :id"
# Open executions wait while a commit deletes, so these limit its duration. The time to delete an event depends on its
# size.
_EVENTS_A_COMMIT: Final = 2000
_EVENTS_AT_ONCE: Final = 100
_SECONDS_A_COMMIT: Final = 0.01

_MILLISECOND: Final = timedelta(milliseconds=1)


class SqlRetention:
    """Implements `ports.RetentionStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_workspace(self, id: WorkspaceId) -> RetentionRule:
        return await self._database.read(lambda tx: _of_workspace(tx, id))

    async def of_flow(self, workspace_id: WorkspaceId, id: FlowId) -> tuple[RetentionRule, RetentionRule]:
        return await self._database.read(lambda tx: _of_flow(tx, workspace_id, id))

    async def set_of_workspace(self, id: WorkspaceId, rule: RetentionRule, *, audit: Audit = None) -> RetentionRule:
        async def set(tx: Transaction) -> RetentionRule:
            await tx.run(SET_OF_WORKSPACE, {"workspace_id": id, **_columns(rule)})
            return await _of_workspace(tx, id)

        return await self._database.write(set, audit=audit)

    async def set_of_flow(
        self, workspace_id: WorkspaceId, id: FlowId, rule: RetentionRule, *, audit: Audit = None
    ) -> tuple[RetentionRule, RetentionRule]:
        async def set(tx: Transaction) -> tuple[RetentionRule, RetentionRule]:
            await tx.run(SET_OF_FLOW, {"workspace_id": workspace_id, "id": id, **_columns(rule)})
            return await _of_flow(tx, workspace_id, id)

        return await self._database.write(set, audit=audit)

    async def ruled_flows(self, *, after: str, limit: int, is_every: bool) -> Sequence[RuledFlow]:
        values = {"after": after, "limit": limit, "is_every": is_every}
        rows = await self._database.read_long(lambda tx: tx.rows(RULED_FLOWS, values))
        return [
            RuledFlow(id=FlowId(id), workspace_id=WorkspaceId(workspace_id), rule=_rule(age, count))
            for id, workspace_id, age, count in rows
        ]

    async def last_beyond(self, workspace_id: WorkspaceId, flow_id: FlowId, count: int) -> ExecutionId | None:
        values = {"workspace_id": workspace_id, "flow_id": flow_id, "count": count}
        row = await self._database.read_long(lambda tx: tx.row(LAST_BEYOND, values))
        return None if row is None else ExecutionId(row[0])

    async def unreported(self) -> Sequence[ExecutionId]:
        found = await SqlChildExecutions(self._database).unreconciled()
        return [each.child for each in found if each.child_has_ended and not each.parent_has_ended]

    async def ids(
        self, wanted: EndedExecutions, *, after: str, limit: int, unreported: Sequence[ExecutionId]
    ) -> Sequence[ExecutionId]:
        values = {
            "workspace_id": wanted.workspace_id, "flow_id": wanted.flow_id, "before": to_ms(wanted.before),
            "up_to": wanted.up_to, "after": after, "limit": limit, "unreported": listed(unreported),
        }  # fmt: skip
        rows = await self._database.read_long(lambda tx: tx.rows(IDS, values))
        return [ExecutionId(id) for (id,) in rows]

    async def count(
        self, wanted: Sequence[EndedExecutions], *, since: datetime, unreported: Sequence[ExecutionId]
    ) -> tuple[int, int]:
        first, second = wanted[0], wanted[-1]
        values = {
            "workspace_id": first.workspace_id, "flow_id": first.flow_id, "since": to_ms(since),
            "first_up_to": first.up_to, "first_before": to_ms(first.before),
            "second_up_to": second.up_to, "second_before": to_ms(second.before),
            "unreported": listed(unreported),
        }  # fmt: skip
        return await self._counted(COUNT, values)

    async def count_before(self, before: datetime, *, unreported: Sequence[ExecutionId]) -> tuple[int, int]:
        return await self._counted(COUNT_BEFORE, {"before": to_ms(before), "unreported": listed(unreported)})

    async def _counted(self, statement: Statement, values: Mapping[str, Any]) -> tuple[int, int]:
        count, size = await self._database.read_long(lambda tx: one_row(tx, statement, values))
        return int(count), int(size)

    async def purge(self, *, ended_before: datetime, limit: int, unreported: Sequence[ExecutionId]) -> tuple[int, bool]:
        values = {"before": to_ms(ended_before), "limit": limit, "unreported": listed(unreported)}
        # Looked up on a reading connection: other writes would wait while it passes those that stay.
        rows = await self._database.read_long(lambda tx: tx.rows(OLD, values))
        purged, left = await self.delete([ExecutionId(id) for (id,) in rows])
        return purged, bool(left) or len(rows) == limit

    async def delete(self, ids: Sequence[ExecutionId]) -> tuple[int, Sequence[ExecutionId]]:
        deleted, _ = await self._database.write(lambda tx: _delete(tx, ids))
        return deleted, ids[deleted:]

    async def give_space_back(self) -> bool:
        return await self._database.give_space_back()


async def _of_workspace(tx: Transaction, id: WorkspaceId) -> RetentionRule:
    row = await existing_row(tx, OF_WORKSPACE, {"workspace_id": id}, "workspace")
    return _rule(*row)


async def _of_flow(tx: Transaction, workspace_id: WorkspaceId, id: FlowId) -> tuple[RetentionRule, RetentionRule]:
    row = await existing_row(tx, OF_FLOW, {"id": id, "workspace_id": workspace_id}, "flow")
    return _rule(*row[:2]), _rule(*row[2:])


async def _delete(tx: Transaction, ids: Sequence[str]) -> tuple[int, bool]:
    """Delete ended executions in this order; return the number of deleted ones, and whether all were deleted."""
    until, events = time.monotonic() + _SECONDS_A_COMMIT, 0
    for done, id in enumerate(ids):
        values = {"id": id, "events": _EVENTS_AT_ONCE}
        while (deleted := await tx.run(PURGE_EVENTS, values)) == _EVENTS_AT_ONCE:
            events += deleted
            if events >= _EVENTS_A_COMMIT or time.monotonic() > until:
                return done, False
        await tx.run(PURGE_EXECUTION, values)
        events += deleted
        if events >= _EVENTS_A_COMMIT or time.monotonic() > until:
            return done + 1, done + 1 == len(ids)
    return len(ids), True


def _columns(rule: RetentionRule) -> Mapping[str, int | None]:
    return {"age": None if rule.max_age is None else rule.max_age // _MILLISECOND, "count": rule.max_count}


def _rule(age: int | None, count: int | None) -> RetentionRule:
    # A stored age that no rule can have must not stop the purge of all other flows.
    max_age = None if age is None else min(age, LONGEST_AGE // _MILLISECOND) * _MILLISECOND
    return RetentionRule(max_age=max_age, max_count=count)
