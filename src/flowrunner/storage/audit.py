"""Reading and retention of the audit log."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from flowrunner.domain.audit import AuditEntry, AuditRow
from flowrunner.ports.audit import Audit, AuditFilter
from flowrunner.ports.page import Listed, Page
from flowrunner.storage.audit_chain import audit_row, chain_counts
from flowrunner.storage.database import Database
from flowrunner.storage.rows import to_ms, to_ms_or_none
from flowrunner.storage.transaction import Transaction, change_nothing, one_row

# Entries that are examined for a page without fitting: a page may be short, and the next one continues after them.
MOST_EXAMINED: Final = 10_000
# Entries are numbered in the order of their commits, which their times may contradict by this much.
_CLOCKS_DIFFER_BY: Final = timedelta(hours=1)

# The number of an entry at or after a time, before which is one of an earlier time, by halving: times need no index of
# their own, because the log is nearly in their order. No row if there are no entries.
FIRST_SINCE: Final = """
WITH RECURSIVE halved (low, high) AS (
    SELECT min(seq), max(seq) + 1 FROM audit
     UNION ALL
    SELECT CASE WHEN middle.at < :at THEN middle.seq + 1 ELSE halved.low END,
           CASE WHEN middle.at < :at THEN halved.high ELSE middle.seq END
      FROM halved JOIN audit AS middle ON middle.seq = (halved.low + halved.high) / 2
     WHERE halved.low < halved.high
)
SELECT low FROM halved WHERE low = high
"""

# By the index of the workspace, in the order of the log, or along the whole log.
_RANGE: Final = "FROM audit WHERE seq < :before AND seq > :after"
_OF_WORKSPACE: Final = "AND workspace_id = :workspace_id"
_ROW: Final = """
SELECT seq, at, actor, credential, address, action, object_kind, object_id, workspace_id, outcome, details,
       previous, hash
"""
_NEWEST_FIRST: Final = "ORDER BY seq DESC LIMIT :limit OFFSET :offset"
# Conditions without an index.
_EXAMINED: Final[Mapping[str, str]] = {
    "actor": "AND actor = :actor",
    "action": "AND action = :action",
    "object_kind": "AND object_kind = :object_kind",
    "object_id": "AND object_id = :object_id",
    "outcome": "AND outcome = :outcome",
    "since": "AND at >= :since",
    "until": "AND at < :until",
    "has_no_account": """AND NOT (action = 'logout' OR action LIKE 'login.%' OR action LIKE 'account.%'
 OR action LIKE 'email.%' OR action LIKE 'password.%' OR action LIKE 'recovery!_codes.%' ESCAPE '!'
 OR action LIKE 'second!_factor%' ESCAPE '!' OR action LIKE 'identit%' OR action LIKE 'sessions.%'
 OR action LIKE 'refresh.%')""",
}


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """The statements of a search: for its rows, the last row to examine, and the number of rows."""

    rows: str
    last: str
    number: str


@cache
def search_of(examined: frozenset[str], *, has_workspace: bool) -> AuditSearch:
    """Return the statements for the conditions of a filter."""
    within = " ".join((_RANGE, _OF_WORKSPACE)) if has_workspace else _RANGE
    wanted = " ".join((within, *(_EXAMINED[name] for name in sorted(examined))))
    return AuditSearch(
        rows=" ".join((_ROW, wanted, _NEWEST_FIRST)),
        last=" ".join(("SELECT seq", within, "ORDER BY seq DESC LIMIT 1 OFFSET :examined - 1")),
        number=" ".join(("SELECT count(*) FROM (SELECT 1", wanted, "LIMIT :examined + 1) AS found")),
    )


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


class SqlAudit:
    """Implements `ports.AuditStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, entry: AuditEntry) -> None:
        await self._database.write(change_nothing, audit=entry)

    async def page(self, wanted: AuditFilter, page: Page) -> Listed[AuditRow]:
        values = _values(wanted) | {"before": page.before, "limit": page.limit + 1, "offset": page.offset}
        examined = frozenset(name for name in _EXAMINED if values[name])
        search = search_of(examined, has_workspace=wanted.workspace_id is not None)

        async def read(tx: Transaction) -> Listed[AuditRow]:
            async with tx.snapshot():
                await _narrow(tx, wanted, values)
                # The entries before this one are examined on the next page.
                last = await tx.row(search.last, values) if examined else None
                if last is not None:
                    values["after"] = last[0] - 1
                rows = [audit_row(row) for row in await tx.rows(search.rows, values)]
                # Without conditions the total includes the entries before the cursor.
                counted = values if examined else values | {"before": Page(limit=1).before}
                total = int((await one_row(tx, search.number, counted))[0]) if page.counts else None
                shown = rows[: page.limit]
                end = shown[-1].seq if len(rows) > page.limit else None if last is None else last[0]
                return Listed(
                    items=shown,
                    total=None if total is None else min(total, MOST_EXAMINED),
                    is_exact=not (examined and page.cursor) and last is None and (total or 0) <= MOST_EXAMINED,
                    next_cursor=None if end is None else str(end),
                )

        return await self._database.read_long(read)

    async def write_counts(self, *, since_before: datetime, at: datetime, limit: int) -> bool:
        return await self._database.write(lambda tx: chain_counts(tx, since_before=since_before, at=at, limit=limit))

    async def purge(self, *, before: datetime, limit: int, audit: Audit = None) -> int:
        values: dict[str, Any] = {"before": to_ms(before), "limit": limit}

        async def purge(tx: Transaction) -> int:
            (seq,) = await one_row(tx, LAST_TO_PURGE, values)
            if seq is None:
                return 0
            await tx.run(MOVE_ANCHOR, {"seq": seq})
            return await tx.run(PURGE, {"seq": seq})

        return await self._database.write(purge, audit=audit)


async def _narrow(tx: Transaction, wanted: AuditFilter, values: dict[str, Any]) -> None:
    """Set the range of numbers in which the entries of the wanted period are."""
    if wanted.since is not None and (row := await tx.row(FIRST_SINCE, {"at": to_ms(wanted.since - _CLOCKS_DIFFER_BY)})):
        values["after"] = row[0] - 1
    if wanted.until is not None and (row := await tx.row(FIRST_SINCE, {"at": to_ms(wanted.until + _CLOCKS_DIFFER_BY)})):
        values["before"] = min(values["before"], row[0])


def _values(wanted: AuditFilter) -> dict[str, Any]:
    return {
        "actor": wanted.actor,
        "workspace_id": wanted.workspace_id,
        "has_no_account": wanted.workspace_id is not None and not wanted.has_account,
        "action": wanted.action,
        "object_kind": wanted.object_kind,
        "object_id": wanted.object_id,
        "outcome": wanted.outcome,
        "since": to_ms_or_none(wanted.since),
        "until": to_ms_or_none(wanted.until),
        "after": 0,
        "examined": MOST_EXAMINED,
    }
