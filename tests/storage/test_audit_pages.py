"""Pages of the audit log: those of a workspace are found by its index, and additions move nothing."""

import re
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.ports.audit import AuditFilter
from flowrunner.ports.page import Page
from flowrunner.storage.audit import COUNT, PAGE, SqlAudit
from flowrunner.storage.database import Database
from support.databases import MARA, NOON, OMAR, Place


def entry(n: int, workspace_id: WorkspaceId = MARA, *, action: str = "flow.created") -> AuditEntry:
    return AuditEntry(
        at=NOON + timedelta(seconds=n),
        action=action,
        object=("flow", f"flow-{n}"),
        actor=AccountId("account-x"),
        workspace_id=workspace_id,
    )


@pytest.fixture
async def audit(database: Database) -> SqlAudit:
    """Return a log with entries of Mara at even numbers, and of Omar at odd ones."""
    store = SqlAudit(database)
    for n in range(10):
        await store.add(entry(n, OMAR if n % 2 else MARA))
    return store


async def ids(audit: SqlAudit, wanted: AuditFilter, *, limit: int = 100, offset: int = 0) -> tuple[list[str], int]:
    rows, total = await audit.page(wanted, page=Page(limit=limit, offset=offset))
    return [row.entry.object[1] for row in rows], total


async def test_a_workspace_has_its_own_entries_alone(audit: SqlAudit) -> None:
    assert await ids(audit, AuditFilter(workspace_id=MARA), limit=2, offset=1) == (["flow-6", "flow-4"], 5)
    assert await ids(audit, AuditFilter(workspace_id=OMAR, object_id="flow-3")) == (["flow-3"], 1)
    assert await ids(audit, AuditFilter(workspace_id=OMAR, object_id="flow-2")) == ([], 0)
    since, until = NOON + timedelta(seconds=2), NOON + timedelta(seconds=6)
    assert await ids(audit, AuditFilter(workspace_id=MARA, since=since, until=until)) == (["flow-4", "flow-2"], 2)
    assert (await ids(audit, AuditFilter()))[1] == 10


async def test_acts_on_the_account_itself_can_be_left_out(audit: SqlAudit) -> None:
    for action in ("login.failed", "logout", "account.updated"):
        await audit.add(entry(20, action=action))
    await audit.add(entry(21, action="member.added"))

    assert (await ids(audit, AuditFilter(workspace_id=MARA)))[1] == 9
    assert await ids(audit, AuditFilter(workspace_id=MARA, has_account=False), limit=2) == (["flow-21", "flow-8"], 6)


@pytest.mark.parametrize("wanted", [AuditFilter(), AuditFilter(workspace_id=MARA)])
async def test_portions_are_stable_while_entries_are_added(audit: SqlAudit, wanted: AuditFilter) -> None:
    expected, _ = await ids(audit, wanted)
    found, rows = [], await audit.before(wanted, None, limit=2)
    while rows:
        found += [row.entry.object[1] for row in rows]
        await audit.add(entry(30))
        rows = await audit.before(wanted, rows[-1].seq, limit=2)

    assert found == expected


@pytest.mark.only("sqlite")
async def test_entries_of_a_workspace_are_found_by_its_index(audit: SqlAudit, path: Place) -> None:
    assert isinstance(path, Path)
    with closing(sqlite3.connect(path)) as connection:
        plans: list[list[Any]] = [
            [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", dict.fromkeys(_names(text), 1))]
            for text in (PAGE, COUNT)
        ]

    assert plans == [
        ["SEARCH audit USING INDEX audit_workspace (workspace_id=? AND seq<?)"],
        ["SEARCH audit USING INDEX audit_workspace (workspace_id=?)"],
    ]


def _names(text: str) -> set[str]:
    return set(re.findall(r":(\w+)", text))
