"""Reading and retention of the audit log."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.audit import AuditEntry, AuditRow
from flowrunner.ports.audit import AuditFilter
from flowrunner.ports.page import Page
from flowrunner.storage.audit_chain import audit_row
from flowrunner.storage.database import Database
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.rows import to_ms, to_ms_or_none
from flowrunner.storage.transaction import Transaction, one_row

PAGE_OF_ALL: Final = """
SELECT seq, at, actor, credential, address, action, object_kind, object_id, workspace_id, outcome, details,
       previous, hash
  FROM audit
 WHERE seq < :before
   AND (CAST(:actor AS text) IS NULL OR actor = :actor)
   AND (CAST(:action AS text) IS NULL OR action = :action)
   AND (CAST(:object_kind AS text) IS NULL OR object_kind = :object_kind)
   AND (CAST(:object_id AS text) IS NULL OR object_id = :object_id)
   AND (CAST(:outcome AS text) IS NULL OR outcome = :outcome)
   AND (CAST(:since AS bigint) IS NULL OR at >= :since)
   AND (CAST(:until AS bigint) IS NULL OR at < :until)
 ORDER BY seq DESC LIMIT :limit OFFSET :offset
"""
COUNT_OF_ALL: Final = """
SELECT count(*) FROM audit
 WHERE true
   AND (CAST(:actor AS text) IS NULL OR actor = :actor)
   AND (CAST(:action AS text) IS NULL OR action = :action)
   AND (CAST(:object_kind AS text) IS NULL OR object_kind = :object_kind)
   AND (CAST(:object_id AS text) IS NULL OR object_id = :object_id)
   AND (CAST(:outcome AS text) IS NULL OR outcome = :outcome)
   AND (CAST(:since AS bigint) IS NULL OR at >= :since)
   AND (CAST(:until AS bigint) IS NULL OR at < :until)
"""
# By the index of the workspace, in the order of the log.
PAGE: Final = """
SELECT seq, at, actor, credential, address, action, object_kind, object_id, workspace_id, outcome, details,
       previous, hash
  FROM audit
 WHERE workspace_id = :workspace_id AND seq < :before
   AND (CAST(:has_account AS boolean)
        OR NOT (action = 'logout' OR action LIKE 'login.%' OR action LIKE 'account.%'))
   AND (CAST(:actor AS text) IS NULL OR actor = :actor)
   AND (CAST(:action AS text) IS NULL OR action = :action)
   AND (CAST(:object_kind AS text) IS NULL OR object_kind = :object_kind)
   AND (CAST(:object_id AS text) IS NULL OR object_id = :object_id)
   AND (CAST(:outcome AS text) IS NULL OR outcome = :outcome)
   AND (CAST(:since AS bigint) IS NULL OR at >= :since)
   AND (CAST(:until AS bigint) IS NULL OR at < :until)
 ORDER BY seq DESC LIMIT :limit OFFSET :offset
"""
COUNT: Final = """
SELECT count(*) FROM audit
 WHERE workspace_id = :workspace_id
   AND (CAST(:has_account AS boolean)
        OR NOT (action = 'logout' OR action LIKE 'login.%' OR action LIKE 'account.%'))
   AND (CAST(:actor AS text) IS NULL OR actor = :actor)
   AND (CAST(:action AS text) IS NULL OR action = :action)
   AND (CAST(:object_kind AS text) IS NULL OR object_kind = :object_kind)
   AND (CAST(:object_id AS text) IS NULL OR object_id = :object_id)
   AND (CAST(:outcome AS text) IS NULL OR outcome = :outcome)
   AND (CAST(:since AS bigint) IS NULL OR at >= :since)
   AND (CAST(:until AS bigint) IS NULL OR at < :until)
"""
# The last row before the first that must be kept, so that no row in the middle is deleted. Reads at most as many rows
# as may be deleted.
LAST_TO_PURGE: Final = """
WITH oldest AS (SELECT seq, at FROM audit ORDER BY seq LIMIT :limit)
SELECT max(seq) FROM oldest WHERE seq < coalesce((SELECT min(seq) FROM oldest WHERE at >= :before), 9223372036854775807)
"""
# The chain continues from the last deleted row.
MOVE_ANCHOR: Final = """
UPDATE audit_anchor SET seq = :seq, hash = (SELECT hash FROM audit WHERE seq = :seq)
"""
PURGE: Final = "DELETE FROM audit WHERE seq <= :seq"

# Above the number of every entry.
_AFTER_ALL: Final = 2**62


class SqlAudit:
    """Implements `ports.AuditStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, entry: AuditEntry) -> None:
        await self._database.write(_change_nothing, audit=entry)

    async def page(self, wanted: AuditFilter, *, page: Page) -> tuple[Sequence[AuditRow], int]:
        values = _values(wanted) | {"before": page.before}
        statements = (PAGE_OF_ALL, COUNT_OF_ALL) if wanted.workspace_id is None else (PAGE, COUNT)
        rows, total = await self._database.read(lambda tx: page_and_total(tx, page, *statements, values))
        return [audit_row(row) for row in rows], total

    async def before(self, wanted: AuditFilter, seq: int | None, *, limit: int) -> Sequence[AuditRow]:
        values = _values(wanted) | {"limit": limit, "offset": 0}
        if seq is not None:
            values["before"] = seq
        statement = PAGE_OF_ALL if wanted.workspace_id is None else PAGE
        rows = await self._database.read_long(lambda tx: tx.rows(statement, values))
        return [audit_row(row) for row in rows]

    async def purge(self, *, before: datetime, limit: int) -> int:
        values: dict[str, Any] = {"before": to_ms(before), "limit": limit}

        async def purge(tx: Transaction) -> int:
            (seq,) = await one_row(tx, LAST_TO_PURGE, values)
            if seq is None:
                return 0
            await tx.run(MOVE_ANCHOR, {"seq": seq})
            return await tx.run(PURGE, {"seq": seq})

        return await self._database.write(purge)


def _values(wanted: AuditFilter) -> dict[str, Any]:
    return {
        "actor": wanted.actor,
        "workspace_id": wanted.workspace_id,
        "has_account": wanted.has_account,
        "action": wanted.action,
        "object_kind": wanted.object_kind,
        "object_id": wanted.object_id,
        "outcome": wanted.outcome,
        "since": to_ms_or_none(wanted.since),
        "until": to_ms_or_none(wanted.until),
        "before": _AFTER_ALL,
    }


async def _change_nothing(tx: Transaction) -> None:
    """Change nothing: the transaction holds the audit entry alone."""
