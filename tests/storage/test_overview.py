"""What an overview reads, and how it finds it."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from flowrunner.domain.events import Cancelled, ErrorValue, Failed
from flowrunner.domain.status import Status
from flowrunner.domain.values import FlowId
from flowrunner.ids import first_id, new_id
from flowrunner.ports.overview import IdRange
from flowrunner.storage import overview
from flowrunner.storage.database import Database
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.overview import SqlOverview
from flowrunner.storage.postgres.transaction import translated
from flowrunner.storage.rows import to_ms
from flowrunner.storage.transaction import Sql, Statement
from support.databases import MARA, NOON, OMAR, Place, change, completion, creation, following
from support.postgres import connected

from .samples import flow


async def ran(journal: SqlJournal, seconds: int, *, outcome: str = "completed", flow: str = "flow-1") -> str:
    """An execution that started so many seconds after noon, and took a second."""
    epoch, at = await journal.claim(), NOON + timedelta(seconds=seconds)
    id = new_id("exec", at)
    await journal.append(creation(id, epoch=epoch, flow_id=flow, at=at))
    after = at + timedelta(seconds=1)
    if outcome == "completed":
        await journal.append(completion(id, epoch=epoch, at=after))
    elif outcome == "failed":
        error = ErrorValue(type="http.503", message="Nobody answers", node="a")
        await journal.append(following(id, Failed(error=error), epoch=epoch, after=2, at=after))
    elif outcome == "cancelled":
        await journal.append(following(id, Cancelled(reason="enough"), epoch=epoch, after=2, at=after))
    return id


async def test_a_flow_is_failing_while_its_last_end_is_a_failure(database: Database, journal: SqlJournal) -> None:
    found = {}
    for n, outcome in enumerate(("failed", "completed", "running", "failed", "cancelled", "failed", "running")):
        await ran(journal, n, outcome=outcome)
        activity = await SqlOverview(database).activity(MARA, flows=5, of_each=3, open_ones=5)
        found[f"{n} {outcome}"] = activity.failing_flows

    assert list(found.values()) == [1, 0, 0, 1, 0, 1, 1], found


async def test_the_activity_has_the_latest_of_each_flow_and_what_is_open(
    database: Database, journal: SqlJournal
) -> None:
    ids = [await ran(journal, n) for n in range(4)]
    failed = await ran(journal, 5, outcome="failed")
    running = await ran(journal, 6, outcome="running")

    found = await SqlOverview(database).activity(MARA, flows=5, of_each=3, open_ones=5)

    assert found.counts == {Status.COMPLETED: 4, Status.FAILED: 1, Status.RUNNING: 1}
    assert ([one.id for one in found.running], found.waiting) == ([running], [])
    first = found.flows[0]
    assert first.id == "flow-1"
    assert [one.id for one in first.executions] == [running, failed, ids[-1]]
    assert (first.executions[1].error_type, first.executions[1].failed_node) == ("http.503", "a")
    assert first.executions[1].error == "Nobody answers"
    other = await SqlOverview(database).activity(OMAR, flows=5, of_each=3, open_ones=5)
    assert (other.counts, other.running) == ({}, [])
    assert all(not flow.executions for flow in other.flows)


async def test_each_flow_has_its_own_executions_and_its_next_start_unless_that_is_paused(
    database: Database, journal: SqlJournal, path: Place
) -> None:
    await SqlFlows(database).create(MARA, flow("flow-b", revision="rev-b"))
    trigger = (
        "INSERT INTO triggers (id, workspace_id, flow_id, name, type, spec, created_at, due_at, next_at, paused_at)"
        " VALUES (?, ?, ?, ?, 'schedule', 'null', 0, ?, ?, ?)"
    )
    for id, flow_id, minutes, paused_at in (
        ("t1", "flow-1", 9, None),
        ("t2", "flow-b", 5, 1),
        ("t3", "flow-1", 7, None),
    ):
        at = to_ms(NOON + timedelta(minutes=minutes))
        change(path, trigger, id, MARA, flow_id, id, at, at, paused_at)
    ran_by = {"flow-1": [await ran(journal, n) for n in range(2)]}
    ran_by["flow-b"] = [await ran(journal, n, flow="flow-b") for n in range(2, 4)]

    found = (await SqlOverview(database).activity(MARA, flows=5, of_each=3, open_ones=5)).flows

    shown = {one.id: sorted(execution.id for execution in one.executions) for one in found}
    assert {id: shown[FlowId(id)] for id in ran_by} == ran_by
    assert {one.id: one.next_start_at for one in found if one.id in ran_by} == {
        "flow-1": NOON + timedelta(minutes=7), "flow-b": None,
    }  # fmt: skip


async def test_executions_are_counted_by_the_time_of_their_start(database: Database, journal: SqlJournal) -> None:
    for n in (0, 1, 2, 10, 11):
        await ran(journal, n)
    await ran(journal, 12, outcome="failed")
    moments = [first_id("exec", NOON + timedelta(seconds=n)) for n in (0, 10, 20, 30)]
    ranges = [IdRange(moments[n], moments[n + 1]) for n in range(3)]
    reader = SqlOverview(database)

    every = await reader.counts(MARA, None, ranges, most=100)
    of_flow = await reader.counts(MARA, FlowId("flow-1"), ranges, most=2)
    durations = await reader.durations(MARA, FlowId("flow-1"), IdRange(moments[0], moments[3]), most=4)

    shown = [{status: n for status, n in found.items() if n} for found in every]
    assert shown == [{Status.COMPLETED: 3}, {Status.COMPLETED: 2, Status.FAILED: 1}, {}]
    assert [found[Status.COMPLETED] for found in of_flow] == [2, 2, 0]
    assert len(durations) == 4
    assert all(1000 <= duration < 1100 for duration in durations)
    assert await reader.counts(OMAR, None, ranges, most=9) == [dict.fromkeys(Status, 0)] * 3


STATEMENTS: list[tuple[str, Sql]] = [
    (name, value)
    for name, value in vars(overview).items()
    if name.isupper() and not name.startswith("_") and isinstance(value, str | Statement)
]
VALUES: dict[str, Any] = {
    "workspace_id": MARA, "flow_id": "flow-1", "ids": '["flow-1"]', "of_each": 50, "error_characters": 300, "flows": 50,
    "most_flows": 2000, "status": "running", "limit": 10, "ranges": '[["exec-0", "exec-1"]]',
    "statuses": '["running"]', "most": 1000, "first": "exec-0", "end": "exec-1",
}  # fmt: skip


@pytest.mark.only("sqlite")
def test_no_statement_scans_executions_in_sqlite(path: Path) -> None:
    assert len(STATEMENTS) >= 8
    with closing(sqlite3.connect(path)) as connection:
        for name, statement in STATEMENTS:
            text = statement.sqlite if isinstance(statement, Statement) else statement
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", VALUES)]

            assert [step for step in plan if step.startswith(("SCAN x", "SCAN executions", "SCAN flows"))] == [], name
            looks = [step for step in plan if step.startswith("SEARCH x ") or step.startswith("SEARCH executions")]
            assert all("INDEX" in step or "(id=?)" in step for step in looks), (name, plan)


@pytest.mark.only("postgres")
def test_no_statement_scans_executions_in_postgresql(path: str) -> None:
    async def plans(connection: "asyncpg.Connection[Any]") -> dict[str, str]:
        # A table that is nearly empty is always read whole.
        await connection.execute("SET enable_seqscan = off")
        found = {}
        for name, statement in STATEMENTS:
            text, names = translated(statement)
            values = [VALUES[name] for name in names]
            rows = await connection.fetch(f"EXPLAIN {text}", *values)
            found[name] = "\n".join(row[0] for row in rows)
        return found

    for name, plan in connected(path, plans).items():
        assert "Seq Scan on executions" not in plan, (name, plan)
