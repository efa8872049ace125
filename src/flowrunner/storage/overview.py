"""The recent activity of a workspace, and numbers of executions over time.

Every statement reads a bounded number of entries of an index, however many executions there are.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId
from flowrunner.ports.overview import IdRange, OpenExecution, RecentActivity, RecentExecution, RecentFlow
from flowrunner.storage.database import Database
from flowrunner.storage.execution_search import COUNTS
from flowrunner.storage.rows import from_ms, from_ms_or_none
from flowrunner.storage.transaction import Row, Statement, Transaction, listed

# Limit of flows of a workspace; each takes one lookup in an index.
_MOST_FLOWS: Final = 2000
_MOST_ERROR_CHARACTERS: Final = 300

# The latest execution of a flow is the last entry of an index.
FLOWS: Final = """
SELECT id, name, disabled_at IS NOT NULL FROM (
    SELECT f.id, f.name, f.disabled_at,
           (SELECT max(x.id) FROM executions x WHERE x.workspace_id = :workspace_id AND x.flow_id = f.id) AS latest
      FROM (SELECT id, name, disabled_at FROM flows
             WHERE workspace_id = :workspace_id AND deleted_at IS NULL ORDER BY id DESC LIMIT :most_flows) AS f
) AS looked_at
 ORDER BY latest DESC NULLS LAST, id DESC LIMIT :flows
"""
FLOWS_BY_ID: Final = Statement.with_texts(
    """
SELECT id, name, disabled_at IS NOT NULL FROM flows
 WHERE workspace_id = :workspace_id AND deleted_at IS NULL AND id IN (:ids)
 ORDER BY id DESC
""",
    "ids",
)
# The last execution in each status is the last entry of an index.
FAILING_FLOWS: Final = """
SELECT count(*) FROM (
    SELECT (SELECT max(x.id) FROM executions x
             WHERE x.workspace_id = :workspace_id AND x.flow_id = f.id AND x.status = 'failed') AS failed,
           coalesce((SELECT max(x.id) FROM executions x
                      WHERE x.workspace_id = :workspace_id AND x.flow_id = f.id AND x.status = 'completed'), '')
               AS completed,
           coalesce((SELECT max(x.id) FROM executions x
                      WHERE x.workspace_id = :workspace_id AND x.flow_id = f.id AND x.status = 'cancelled'), '')
               AS cancelled
      FROM (SELECT id FROM flows
             WHERE workspace_id = :workspace_id AND deleted_at IS NULL ORDER BY id DESC LIMIT :most_flows) AS f
) AS ends
 WHERE failed > completed AND failed > cancelled
"""
NEXT_STARTS: Final = Statement(
    sqlite="""
SELECT t.flow_id, min(t.next_at) FROM json_each(:ids) j CROSS JOIN triggers t
 WHERE t.workspace_id = :workspace_id AND t.flow_id = j.value AND t.next_at IS NOT NULL AND t.paused_at IS NULL
 GROUP BY t.flow_id
""",
    postgres="""
SELECT t.flow_id, min(t.next_at) FROM triggers t
 WHERE t.workspace_id = :workspace_id AND t.flow_id IN (SELECT json_array_elements_text(CAST(:ids AS json)))
   AND t.next_at IS NOT NULL AND t.paused_at IS NULL
 GROUP BY t.flow_id
""",
)
RECENT: Final = Statement(
    sqlite="""
SELECT j.value, x.id, x.status, x.started_at, x.completed_at, x.error_type, x.failed_node,
       CASE WHEN x.status = 'failed' THEN substr(x.error, 1, :error_characters) END
  FROM json_each(:ids) j CROSS JOIN executions x
 WHERE x.id IN (SELECT id FROM executions WHERE workspace_id = :workspace_id AND flow_id = j.value
                 ORDER BY id DESC LIMIT :of_each)
 ORDER BY x.id DESC
""",
    postgres="""
SELECT j.value, x.id, x.status, x.started_at, x.completed_at, x.error_type, x.failed_node,
       CASE WHEN x.status = 'failed' THEN substr(x.error, 1, :error_characters) END
  FROM json_array_elements_text(CAST(:ids AS json)) AS j
 CROSS JOIN LATERAL (SELECT * FROM executions WHERE workspace_id = :workspace_id AND flow_id = j.value
                      ORDER BY id DESC LIMIT :of_each) AS x
 ORDER BY x.id DESC
""",
)
OPEN: Final = """
SELECT x.id, x.flow_id, f.name, x.started_at, x.waiting_for FROM executions x
  LEFT JOIN flows f ON f.id = x.flow_id AND f.workspace_id = x.workspace_id
 WHERE x.workspace_id = :workspace_id AND x.status = :status ORDER BY x.id DESC LIMIT :limit
"""

_BUCKETS_IN_SQLITE: Final = """
SELECT b.key, s.value,
       (SELECT count(*) FROM (SELECT 1 FROM executions x
                               WHERE x.workspace_id = :workspace_id AND x.status = s.value AND OF_FLOW
                                     x.id >= b.value ->> '$[0]' AND x.id < b.value ->> '$[1]' LIMIT :most))
  FROM json_each(:ranges) b CROSS JOIN json_each(:statuses) s
"""
_BUCKETS_IN_POSTGRES: Final = """
SELECT b.number - 1, s.value,
       (SELECT count(*) FROM (SELECT 1 FROM executions x
                               WHERE x.workspace_id = :workspace_id AND x.status = s.value AND OF_FLOW
                                     x.id >= b.range ->> 0 AND x.id < b.range ->> 1 LIMIT :most) AS counted)
  FROM json_array_elements(CAST(:ranges AS json)) WITH ORDINALITY AS b (range, number)
 CROSS JOIN json_array_elements_text(CAST(:statuses AS json)) AS s
"""
_DURATIONS: Final = """
SELECT x.started_at, x.completed_at FROM executions x
 WHERE x.workspace_id = :workspace_id AND x.status = 'completed' AND OF_FLOW x.id >= :first AND x.id < :end
 ORDER BY x.id DESC LIMIT :most
"""
_OF_FLOW: Final = "x.flow_id = :flow_id AND"


def _of(text: str, condition: str) -> str:
    return text.replace("OF_FLOW", condition)


BUCKETS: Final = Statement(sqlite=_of(_BUCKETS_IN_SQLITE, ""), postgres=_of(_BUCKETS_IN_POSTGRES, ""))
BUCKETS_OF_FLOW: Final = Statement(
    sqlite=_of(_BUCKETS_IN_SQLITE, _OF_FLOW), postgres=_of(_BUCKETS_IN_POSTGRES, _OF_FLOW)
)
DURATIONS: Final = _of(_DURATIONS, "")
DURATIONS_OF_FLOW: Final = _of(_DURATIONS, _OF_FLOW)


class SqlOverview:
    """Implements `ports.OverviewReader`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def activity(
        self,
        workspace_id: WorkspaceId,
        *,
        flows: int,
        of_each: int,
        open_ones: int,
        ids: Sequence[FlowId] | None = None,
    ) -> RecentActivity:
        values = {"workspace_id": workspace_id, "flows": flows, "most_flows": _MOST_FLOWS, "limit": open_ones}

        async def read(tx: Transaction) -> RecentActivity:
            counts = {Status(status): int(number) for status, number in await tx.rows(COUNTS, values)}
            waiting = await tx.rows(OPEN, {**values, "status": Status.WAITING.value})
            running = await tx.rows(OPEN, {**values, "status": Status.RUNNING.value})
            ((failing,),) = await tx.rows(FAILING_FLOWS, values)
            if ids is None:
                found = await tx.rows(FLOWS, values)
            else:
                found = await tx.rows(FLOWS_BY_ID, {"workspace_id": workspace_id, "ids": listed(ids)})
            rows: list[Row] = []
            starts: list[Row] = []
            if found:
                shown = {"workspace_id": workspace_id, "ids": listed(id for id, *_ in found)}
                rows = await tx.rows(RECENT, {**shown, "of_each": of_each, "error_characters": _MOST_ERROR_CHARACTERS})
                starts = await tx.rows(NEXT_STARTS, shown)
            return RecentActivity(
                counts=counts,
                waiting=[_open(row) for row in waiting],
                running=[_open(row) for row in running],
                flows=_flows(found, rows, dict(starts)),
                failing_flows=failing,
            )

        return await self._database.read_long(read)

    async def counts(
        self, workspace_id: WorkspaceId, flow_id: FlowId | None, ranges: Sequence[IdRange], *, most: int
    ) -> Sequence[Mapping[Status, int]]:
        values = {
            "workspace_id": workspace_id,
            "flow_id": flow_id,
            "ranges": msgspec.json.encode([(one.first, one.end) for one in ranges]).decode(),
            "statuses": listed(Status),
            "most": most,
        }
        statement = BUCKETS if flow_id is None else BUCKETS_OF_FLOW
        rows = await self._database.read_long(lambda tx: tx.rows(statement, values))
        found: list[dict[Status, int]] = [{} for _ in ranges]
        for number, status, count in rows:
            found[number][Status(status)] = count
        return found

    async def durations(
        self, workspace_id: WorkspaceId, flow_id: FlowId | None, within: IdRange, *, most: int
    ) -> Sequence[int]:
        values = {
            "workspace_id": workspace_id,
            "flow_id": flow_id,
            "first": within.first,
            "end": within.end,
            "most": most,
        }
        statement = DURATIONS if flow_id is None else DURATIONS_OF_FLOW
        rows = await self._database.read_long(lambda tx: tx.rows(statement, values))
        return [completed_at - started_at for started_at, completed_at in rows]


def _open(row: Row) -> OpenExecution:
    id, flow_id, flow_name, started_at, waiting_for = row
    return OpenExecution(
        id=ExecutionId(id),
        flow_id=FlowId(flow_id),
        flow_name=flow_name,
        started_at=from_ms(started_at),
        waiting_for=None if waiting_for is None else waiting_for.encode(),
    )


def _flows(found: Sequence[Row], rows: Sequence[Row], starts: Mapping[str, int]) -> Sequence[RecentFlow]:
    of_flow: dict[str, list[RecentExecution]] = {id: [] for id, *_ in found}
    for flow_id, id, status, started_at, completed_at, error_type, failed_node, error in rows:
        of_flow[flow_id].append(
            RecentExecution(
                id=ExecutionId(id),
                status=Status(status),
                started_at=from_ms(started_at),
                completed_at=from_ms_or_none(completed_at),
                error_type=error_type,
                failed_node=failed_node,
                error=error,
            )
        )
    return [
        RecentFlow(
            id=FlowId(id),
            name=name,
            is_disabled=bool(is_disabled),
            executions=of_flow[id],
            next_start_at=None if is_disabled else from_ms_or_none(starts.get(id)),
        )
        for id, name, is_disabled in found
    ]
