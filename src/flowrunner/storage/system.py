"""Size of the database, and the processes on it."""

from typing import Final

from flowrunner.ports.system import MOST_COUNTED, Backlog, DatabaseFacts, RunningExecutions, RunningFlow
from flowrunner.storage.database import Database
from flowrunner.storage.keys import HOLDERS
from flowrunner.storage.rows import from_ms, from_ms_or_none
from flowrunner.storage.transaction import Statement, Transaction, one_row

# Neither reads the data: SQLite has the number of pages in the header, PostgreSQL asks the file system.
SIZE: Final = Statement(
    sqlite="SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    postgres="SELECT pg_database_size(current_database())",
)
# Each part reads one entry of an index, or the entries of a partial index of rows that wait.
BACKLOG: Final = """
SELECT (SELECT count(*) FROM (SELECT 1 FROM callback_deliveries WHERE next_at IS NOT NULL LIMIT :most) AS pending),
       (SELECT (SELECT min(next_at) FROM triggers WHERE next_at IS NOT NULL) FROM engine WHERE paused_at IS NULL),
       (SELECT min(queued_at) FROM executions WHERE queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL),
       (SELECT min(started_at) FROM executions WHERE is_queued AND completed_at IS NULL),
       (SELECT paused_at IS NOT NULL FROM engine)
"""
# Counts the entries of one index, and reads a flow for each revision that is among them.
RUNNING: Final = """
SELECT f.workspace_id, f.id, f.name, CAST(sum(counted.number) AS bigint),
       CAST(sum(sum(counted.number)) OVER () AS bigint)
  FROM (SELECT revision_id, count(*) AS number
          FROM (SELECT revision_id FROM executions
                 WHERE status IN ('running', 'waiting') AND status = 'running' LIMIT :most) AS running
         GROUP BY revision_id) AS counted
  JOIN revisions r ON r.id = counted.revision_id
  JOIN flows f ON f.id = r.flow_id
 GROUP BY f.workspace_id, f.id, f.name
 ORDER BY 4 DESC, f.id LIMIT :limit
"""
JOB_RUNS: Final = "SELECT name, last_run_at FROM background_jobs WHERE last_run_at IS NOT NULL ORDER BY name"


class SqlInspector:
    """Implements `ports.DatabaseInspector`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def facts(self) -> DatabaseFacts:
        async def read(tx: Transaction) -> DatabaseFacts:
            return DatabaseFacts(size=(await one_row(tx, SIZE))[0], listeners=len(await tx.rows(HOLDERS)))

        return await self._database.read(read)

    async def backlog(self) -> Backlog:
        async def read(tx: Transaction) -> Backlog:
            callbacks, due, slot, concurrency, is_paused = await one_row(tx, BACKLOG, {"most": MOST_COUNTED})
            return Backlog(
                is_paused=bool(is_paused),
                callbacks=callbacks,
                due_since=from_ms_or_none(due),
                waiting_for_slot_since=from_ms_or_none(slot),
                waiting_for_concurrency_since=from_ms_or_none(concurrency),
                job_runs={name: from_ms(at) for name, at in await tx.rows(JOB_RUNS)},
            )

        return await self._database.read_long(read)

    async def running(self, *, most_flows: int) -> RunningExecutions:
        async def read(tx: Transaction) -> RunningExecutions:
            rows = await tx.rows(RUNNING, {"most": MOST_COUNTED, "limit": max(1, most_flows)})
            return RunningExecutions(
                number=rows[0][4] if rows else 0, flows=[RunningFlow(*row[:4]) for row in rows[:most_flows]]
            )

        return await self._database.read_long(read)
