"""Stored revisions of flows that are still needed, for a check by a newer version."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from flowrunner.storage.database import Database
from flowrunner.storage.transaction import Transaction

# Only columns of the first schema: the database may be of an older version, and is not migrated.
OPEN: Final = """
SELECT revision_id, count(*) FROM executions WHERE status IN ('running', 'waiting') GROUP BY revision_id
"""
CURRENT: Final = """
SELECT revision_id FROM flows WHERE deleted_at IS NULL
"""
REVISION: Final = """
SELECT f.id, f.name, coalesce(a.email, r.workspace_id), r.number, r.definition
  FROM revisions r JOIN flows f ON f.id = r.flow_id LEFT JOIN accounts a ON a.id = r.workspace_id
 WHERE r.id = :id AND r.deleted_at IS NULL
"""
EVENT_TYPES: Final = """
SELECT e.type, count(DISTINCT e.execution_id)
  FROM executions x JOIN events e ON e.execution_id = x.id
 WHERE x.status IN ('running', 'waiting') GROUP BY e.type ORDER BY e.type
"""


@dataclass(frozen=True, slots=True)
class StoredFlow:
    """A revision that is the current one of a flow, or that open executions follow.

    Attributes:
        account: The e-mail address of the account that owns it.
        executions: The number of open executions of this revision.
    """

    id: str
    name: str
    account: str
    number: int
    definition: str
    executions: int


async def stored_flows(database: Database) -> AsyncIterator[StoredFlow]:
    """Yield all revisions that are needed, loading one at a time."""
    executions: dict[str, int] = dict(await database.read_long(lambda tx: tx.rows(OPEN)))
    current = {id for (id,) in await database.read_long(lambda tx: tx.rows(CURRENT))}
    for id in sorted(current | executions.keys()):

        async def revision(tx: Transaction, id: str = id) -> tuple[str, ...] | None:
            return await tx.row(REVISION, {"id": id})

        row = await database.read_long(revision)
        if row is not None:
            flow_id, name, account, number, definition = row
            yield StoredFlow(flow_id, name, account, int(number), definition, executions.get(id, 0))


async def open_event_types(database: Database) -> dict[str, int]:
    """Return the event types of open executions, with the number of executions that have each."""
    return dict(await database.read_long(lambda tx: tx.rows(EVENT_TYPES)))
