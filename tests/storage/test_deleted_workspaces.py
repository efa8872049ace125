"""What is left of deleted workspaces, and its deletion in portions."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.triggers import Schedule
from flowrunner.domain.values import ExecutionId
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.database import Database
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.rows import to_ms
from flowrunner.storage.schedules import SqlSchedules
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.workspaces import SqlWorkspaces
from support.database_work import WritesCounted, gather_statistics
from support.databases import MARA, NOON, OMAR, OMAR_ACCOUNT, Place, change, creation, rows_of

from .test_triggers import saved

LEFT = ("triggers", "api_tokens", "jobs")


def add_rows(place: Place, workspace: str, number: int) -> None:
    for n in range(number):
        change(
            place,
            "INSERT INTO api_tokens (id, account_id, name, digest, scopes, created_at, workspace_id)"
            " VALUES (?, ?, 'N', ?, '[]', 0, ?)",
            f"token-{workspace}-{n}", MARA, f"{workspace}-{n}", workspace,
        )  # fmt: skip
        change(
            place,
            "INSERT INTO jobs (id, workspace_id, created_by, type, status, total, created_at, completed_at)"
            " VALUES (?, ?, ?, 'rerun', 'completed', 1, 0, 1)",
            f"job-{workspace}-{n}", workspace, MARA,
        )  # fmt: skip


def counts(place: Place, workspace: str) -> list[int]:
    return [rows_of(place, f"SELECT count(*) FROM {t} WHERE workspace_id = ?", workspace)[0][0] for t in LEFT]


async def test_what_is_left_of_a_deleted_workspace_is_deleted_in_portions(
    database: Database, accounts: SqlAccounts, flows: SqlFlows, path: Place
) -> None:
    every_hour = {f"t{n}": Schedule(every_seconds=3600) for n in range(5)}
    await flows.create(OMAR, saved(**every_hour))
    for workspace in (MARA, OMAR):
        add_rows(path, workspace, 5)
    workspaces = SqlWorkspaces(database)
    assert not await workspaces.empty_deleted(now=NOON, limit=2)

    await accounts.delete(OMAR_ACCOUNT, at=NOON)

    # Nothing starts by what is left.
    later = NOON.replace(year=NOON.year + 1)
    assert counts(path, OMAR) == [5, 5, 5]
    assert await SqlSchedules(database).earliest() is None
    assert await SqlSchedules(database).due(at=later, limit=10) == []
    left = [counts(path, OMAR)]
    while await workspaces.empty_deleted(now=NOON, limit=2):
        left.append(counts(path, OMAR))
    left.append(counts(path, OMAR))
    assert left[-1] == [0, 0, 0]
    assert max(before[0] - after[0] for before, after in pairwise(left)) == 2
    assert counts(path, MARA) == [0, 5, 5]


async def test_what_a_step_does_not_find_in_a_deleted_workspace_is_unavailable_and_not_missing(
    database: Database, accounts: SqlAccounts, flows: SqlFlows
) -> None:
    secrets = SqlSecrets(database)
    assert await secrets.sealed(OMAR, ["K"]) == []
    assert await flows.called(OMAR, "a flow") == []

    await accounts.delete(OMAR_ACCOUNT, at=NOON)

    with pytest.raises(Unavailable, match="workspace was deleted"):
        await secrets.sealed(OMAR, ["K"])
    with pytest.raises(Unavailable, match="workspace was deleted"):
        await flows.called(OMAR, "a flow")
    assert await secrets.sealed(MARA, ["K"]) == []
    assert await flows.called(MARA, "a flow") == []


async def test_idle_executions_that_a_process_has_left_are_due(
    journal: SqlJournal, database: Database, path: Place
) -> None:
    epoch = await journal.claim()
    for n in range(5):
        await journal.append(creation(f"e{n}", epoch=epoch, workspace_id=OMAR, flow_id="flow-omar"))
    change(path, "UPDATE executions SET is_idle = true, wake_at = NULL WHERE id <> 'e4'")
    change(path, "UPDATE executions SET wake_at = 1 WHERE id = 'e3'")
    change(path, "UPDATE workspaces SET deleted_at = 1 WHERE id = ?", OMAR)

    more = [await SqlWorkspaces(database).empty_deleted(now=NOON, limit=2) for _ in range(2)]

    noon = to_ms(NOON)
    assert more == [True, False]
    assert rows_of(path, "SELECT id, wake_at FROM executions ORDER BY id") == [
        ("e0", noon), ("e1", noon), ("e2", noon), ("e3", 1), ("e4", None),
    ]  # fmt: skip


async def test_deleted_workspaces_with_open_executions_are_found(
    journal: SqlJournal, database: Database, path: Place
) -> None:
    epoch = await journal.claim()
    for id, workspace, flow in (("e1", MARA, "flow-1"), ("e2", OMAR, "flow-omar")):
        await journal.append(creation(id, epoch=epoch, workspace_id=workspace, flow_id=flow))
    workspaces = SqlWorkspaces(database)
    assert await workspaces.deleted_with_open() == []
    change(path, "UPDATE workspaces SET deleted_at = 1 WHERE id = ?", OMAR)
    assert await workspaces.deleted_with_open() == [OMAR]

    change(path, "UPDATE executions SET status = 'cancelled', completed_at = 1 WHERE id = 'e2'")

    assert await workspaces.deleted_with_open() == []


async def test_the_deletion_of_a_workspace_costs_the_same_with_many_open_executions_there_and_elsewhere(
    journal: SqlJournal, database: Database, path: Place
) -> None:
    epoch = await journal.claim()
    for workspace, flow in ((MARA, "flow-1"), (OMAR, "flow-omar")):
        for n in range(100):
            await journal.append(creation(f"{flow}-{n:03d}", epoch=epoch, workspace_id=workspace, flow_id=flow))
    change(path, "UPDATE executions SET is_idle = true")
    change(path, "UPDATE accounts SET role = 'admin' WHERE id = ?", MARA)
    gather_statistics(path)
    counted: Any = WritesCounted(database)

    await SqlAccounts(counted).delete(OMAR_ACCOUNT, at=NOON)

    # Instructions of SQLite, or rows that PostgreSQL reads.
    assert counted.work[-1] < (1_500 if isinstance(path, Path) else 60), counted.work
    assert waked(path) == []


def waked(place: Place) -> Sequence[ExecutionId]:
    return [ExecutionId(id) for (id,) in rows_of(place, "SELECT id FROM executions WHERE wake_at IS NOT NULL")]
