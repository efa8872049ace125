"""Child executions and their parents, in the database."""

from collections.abc import Sequence
from typing import Final

from flowrunner.domain.values import ExecutionId
from flowrunner.domain.waits import child_signal_key
from flowrunner.ports.children import UnreconciledChild
from flowrunner.storage.database import Database
from flowrunner.storage.transaction import Statement

# The key of a signal. It is the first member of the event and is read as text; the key of a child has nothing that JSON
# escapes. SQLite reads no JSON of more than 1,000 levels, which a payload may have: one such event would prevent the
# reconciliation of all executions.
_SQLITE_KEY: Final = """CASE substr(data, 1, 8) WHEN '{"key":"'
         THEN substr(substr(data, 9, 100), 1, instr(substr(data, 9, 100), '"') - 1) ELSE data ->> '$.key' END"""
_POSTGRES_KEY: Final = """CASE left(data, 8) WHEN '{"key":"'
         THEN split_part(substr(data, 9, 100), '"', 1)
         ELSE replace(data, '\\u0000', '\\ufffd')::json ->> 'key' END"""


def _statement(*, sqlite: str, postgres: str) -> Statement:
    return Statement(sqlite=sqlite.replace("{key}", _SQLITE_KEY), postgres=postgres.replace("{key}", _POSTGRES_KEY))


# Children that have ended without the notification of their open parent, and open children. The order of the joins is
# explicit, because the planner does not know how few executions are open.
UNRECONCILED: Final = _statement(
    sqlite="""
WITH ended AS (
    SELECT child.id, child.parent_id
      FROM executions parent CROSS JOIN executions child INDEXED BY executions_parent
     WHERE parent.status IN ('running', 'waiting') AND child.parent_id = parent.id
       AND child.completed_at IS NOT NULL
),
notified AS MATERIALIZED (
    SELECT execution_id, {key} AS key FROM events
     WHERE execution_id IN (SELECT parent_id FROM ended) AND type = 'signal.received'
)
SELECT id, parent_id, 1, 0 FROM ended WHERE (parent_id, :prefix || id) NOT IN (SELECT execution_id, key FROM notified)
UNION ALL
SELECT child.id, child.parent_id, 0, parent.completed_at IS NOT NULL
  FROM executions child CROSS JOIN executions parent
 WHERE child.status IN ('running', 'waiting') AND parent.id = child.parent_id
""",
    postgres="""
WITH ended AS (
    SELECT child.id, child.parent_id
      FROM executions parent JOIN executions child ON child.parent_id = parent.id
     WHERE parent.status IN ('running', 'waiting') AND child.completed_at IS NOT NULL
),
notified AS MATERIALIZED (
    SELECT execution_id, {key} AS key FROM events
     WHERE execution_id IN (SELECT parent_id FROM ended) AND type = 'signal.received'
)
SELECT id, parent_id, true, false FROM ended
 WHERE NOT EXISTS (SELECT 1 FROM notified
                    WHERE notified.execution_id = ended.parent_id AND notified.key = :prefix::text || ended.id)
UNION ALL
SELECT child.id, child.parent_id, false, parent.completed_at IS NOT NULL
  FROM executions child JOIN executions parent ON parent.id = child.parent_id
 WHERE child.status IN ('running', 'waiting')
""",
)
UNRECONCILED_OF: Final = _statement(
    sqlite="""
SELECT child.id, child.parent_id, child.completed_at IS NOT NULL, parent.completed_at IS NOT NULL
  FROM executions parent CROSS JOIN executions child INDEXED BY executions_parent
 WHERE parent.id = :parent AND child.parent_id = parent.id
   AND (child.completed_at IS NULL
        OR (parent.completed_at IS NULL
            AND :prefix || child.id NOT IN (SELECT {key} FROM events
                                             WHERE execution_id = :parent AND type = 'signal.received')))
""",
    postgres="""
SELECT child.id, child.parent_id, child.completed_at IS NOT NULL, parent.completed_at IS NOT NULL
  FROM executions parent JOIN executions child ON child.parent_id = parent.id
 WHERE parent.id = :parent
   AND (child.completed_at IS NULL
        OR (parent.completed_at IS NULL
            AND :prefix::text || child.id
                NOT IN (SELECT {key} FROM events
                         WHERE execution_id = :parent AND type = 'signal.received')))
""",
)


class SqlChildExecutions:
    """Implements `ports.ChildExecutions`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def unreconciled(self, parent: ExecutionId | None = None) -> Sequence[UnreconciledChild]:
        statement = UNRECONCILED if parent is None else UNRECONCILED_OF
        values = {"prefix": child_signal_key("")} | ({} if parent is None else {"parent": parent})
        rows = await self._database.read_long(lambda tx: tx.rows(statement, values))
        return [
            UnreconciledChild(ExecutionId(child), ExecutionId(parent), bool(a), bool(b)) for child, parent, a, b in rows
        ]
