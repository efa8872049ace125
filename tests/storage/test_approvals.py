"""Executions that wait for an approval: their list, and the index by which it is read."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.storage import approvals
from flowrunner.storage.approvals import SqlApprovals
from flowrunner.storage.database import Database
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.postgres.transaction import translated
from support.databases import MARA, NOON, OMAR, Place, change, completion, creation, following, log_line
from support.postgres import connected

WAITS = json.dumps([{"type": "approval", "node": "ask", "step": "ask.1", "prompt": "é"}]).encode()


def at(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


async def begin(journal: SqlJournal, id: str, *, epoch: int, minutes: int | None, waits: bytes = WAITS) -> None:
    """Create an execution that waits for an approval since then; None for one that does not."""
    workspace_id, flow_id = (OMAR, "flow-omar") if id.startswith("o") else (MARA, "flow-1")
    await journal.append(creation(id, epoch=epoch, workspace_id=workspace_id, flow_id=flow_id))
    if minutes is not None:
        append = following(id, log_line("x"), epoch=epoch, after=2)
        summary = replace(append.summary, waiting_for=waits, approval_at=at(minutes))
        await journal.append(replace(append, summary=summary))


async def ids(reader: SqlApprovals, *workspaces: WorkspaceId, **options: Any) -> list[str]:
    found = await reader.page(workspaces, **{"until": None, "limit": 100, "most_bytes": 10_000} | options)
    return [execution.id for execution in found]


async def test_executions_with_the_latest_approvals_come_first_of_these_workspaces(
    database: Database, journal: SqlJournal
) -> None:
    epoch = await journal.claim()
    for id, minutes in (("m1", 1), ("m2", 5), ("m3", None), ("m4", 3), ("o1", 4), ("o2", 2), ("m5", 3)):
        await begin(journal, id, epoch=epoch, minutes=minutes)
    reader = SqlApprovals(database)

    assert await ids(reader, MARA) == ["m2", "m5", "m4", "m1"]
    assert await ids(reader, OMAR, MARA) == ["m2", "o1", "m5", "m4", "o2", "m1"]
    assert await ids(reader, OMAR, MARA, limit=3) == ["m2", "o1", "m5"]
    assert await ids(reader, OMAR, MARA, limit=3, until=(at(3), ExecutionId("m4"))) == ["m4", "o2", "m1"]
    assert await ids(reader) == []
    (found, *_) = await reader.page([MARA], until=None, limit=1, most_bytes=1)
    assert (found.flow_id, found.flow_name, found.workspace_id) == ("flow-1", "N", MARA)
    assert (found.approval_at, found.waiting_for) == (at(5), WAITS)


async def test_an_execution_leaves_the_list_when_it_no_longer_waits(database: Database, journal: SqlJournal) -> None:
    epoch = await journal.claim()
    for id in ("m1", "m2", "m3"):
        await begin(journal, id, epoch=epoch, minutes=1)
    reader = SqlApprovals(database)

    await journal.append(following("m1", log_line("answered"), epoch=epoch, after=3))
    await journal.append(completion("m2", epoch=epoch, after=3))

    assert await ids(reader, MARA) == ["m3"]


async def test_an_ended_execution_is_not_listed_even_if_an_earlier_version_has_ended_it(
    database: Database, journal: SqlJournal, path: Place
) -> None:
    epoch = await journal.claim()
    await begin(journal, "m1", epoch=epoch, minutes=1)
    await begin(journal, "m2", epoch=epoch, minutes=2)

    # These versions do not know the column.
    change(path, "UPDATE executions SET status = 'cancelled', completed_at = 1, waiting_for = NULL WHERE id = 'm1'")
    change(path, "UPDATE executions SET waiting_for = NULL WHERE id = 'm2'")

    (found,) = await SqlApprovals(database).page([MARA], until=None, limit=9, most_bytes=9)
    assert (found.id, found.waiting_for) == ("m2", b"[]")


async def test_long_waits_are_read_in_several_pages(database: Database, journal: SqlJournal) -> None:
    epoch = await journal.claim()
    long = json.dumps(["x" * 600]).encode()
    for n in range(5):
        await begin(journal, f"m{n}", epoch=epoch, minutes=n, waits=long)
    reader = SqlApprovals(database)

    assert await ids(reader, MARA, most_bytes=1000) == ["m4", "m3"]
    assert await ids(reader, MARA, most_bytes=1) == ["m4"]
    assert await ids(reader, MARA, most_bytes=1000, until=(at(1), ExecutionId("m1"))) == ["m1", "m0"]


@pytest.mark.only("sqlite")
def test_sqlite_reads_the_list_by_its_index(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        values = {"workspaces": "[]", "approval_at": 1, "id": "", "limit": 1, "characters": 1}
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {approvals.PAGE.sqlite}", values)]

    # The workspaces of the caller, and the rows that the inner query has found.
    scanned = {step for step in plan if step.startswith("SCAN") and not step.startswith("SCAN (subquery")}
    assert scanned <= {"SCAN among VIRTUAL TABLE INDEX 1:", "SCAN found", "SCAN s", "SCAN sized"}, plan
    by_index = "SEARCH executions USING INDEX executions_approvals (workspace_id=? AND approval_at>?"
    assert any(step.startswith(by_index) for step in plan), plan


@pytest.mark.only("postgres")
def test_postgresql_reads_the_list_by_its_index(path: str) -> None:
    statement = translated(approvals.PAGE)[0]

    async def plan(connection: "asyncpg.Connection[Any]") -> list[str]:
        await connection.execute("SET enable_seqscan = off")
        values = {"workspaces": '["w"]', "approval_at": 1, "id": "", "limit": 1, "characters": 1}
        rows = await connection.fetch(f"EXPLAIN {statement}", *(values[name] for name in translated(approvals.PAGE)[1]))
        return [row[0] for row in rows]

    found = connected(path, plan)

    assert any("executions_approvals" in step for step in found), found
    assert not any("Seq Scan" in step for step in found), found
    assert not any("Filter" in step and "workspace_id" in step and "approval_at" in step for step in found), found


async def test_waits_are_read_beside_the_event_loop_which_megabytes_in_a_few_rows_would_keep(
    database: Database, journal: SqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(journal, "m1", epoch=await journal.claim(), minutes=1)

    async def read(*_: object) -> None:
        raise AssertionError("Read on the event loop")

    monkeypatch.setattr(database, "read", read)

    assert await ids(SqlApprovals(database), MARA) == ["m1"]
