"""Facts that only the database knows."""

from dataclasses import replace
from datetime import timedelta

import pytest

from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.ports.system import DatabaseFacts, RunningExecutions
from flowrunner.services.system import DispatcherKind, System, SystemParts
from flowrunner.storage.background import SqlJobClaims
from flowrunner.storage.database import Database
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.pause import SqlPause
from flowrunner.storage.system import SqlInspector
from support.databases import MARA, NOON, OMAR, Place, change, creation
from support.dependencies import SteppingClock


async def test_the_size_is_that_of_a_schema_at_least_and_nobody_listens(database: Database) -> None:
    facts = await SqlInspector(database).facts()

    assert facts.size > 100_000
    assert facts.listeners == 0


async def test_nothing_waits_in_an_empty_database(database: Database) -> None:
    inspector = SqlInspector(database)
    backlog = await inspector.backlog()

    assert backlog.callbacks == 0
    assert (backlog.due_since, backlog.waiting_for_slot_since, backlog.waiting_for_concurrency_since) == (None,) * 3
    assert backlog.job_runs == {}
    assert await inspector.running(most_flows=2) == RunningExecutions(number=0, flows=[])
    assert not backlog.is_paused


async def test_a_pause_is_part_of_the_backlog(database: Database) -> None:
    await SqlPause(database).set(NOON)

    assert (await SqlInspector(database).backlog()).is_paused


async def test_the_longest_waits_are_found(journal: SqlJournal, database: Database, path: Place) -> None:
    epoch = await journal.epoch()
    for second in range(4):
        append = creation(f"exec-{second}", epoch=epoch, at=NOON + timedelta(seconds=second))
        assert append.create is not None
        await journal.append(replace(append, create=replace(append.create, limits=WorkspaceLimits(active=2, queued=9))))
    append = creation("exec-9", epoch=epoch, at=NOON + timedelta(seconds=9))
    await journal.append(append)
    change(path, "UPDATE executions SET is_queued = true WHERE id = 'exec-9'")
    claims = SqlJobClaims(database)
    claim = await claims.claim("retention.executions", seconds=60.0)
    assert claim is not None
    await claims.finish(claim, wait_seconds=1.0, error=None)

    backlog = await SqlInspector(database).backlog()

    # The first two have a slot.
    assert backlog.waiting_for_slot_since == NOON + timedelta(seconds=2)
    assert backlog.waiting_for_concurrency_since == NOON + timedelta(seconds=9)
    assert list(backlog.job_runs) == ["retention.executions"]


async def test_the_flows_that_run_most_are_named_and_all_running_executions_are_counted(
    journal: SqlJournal, database: Database, path: Place
) -> None:
    epoch = await journal.epoch()
    running = {"flow-0": 1, "flow-1": 3, "flow-2": 2, "flow-omar": 2}
    for number, (flow_id, count) in enumerate(running.items(), start=1):
        owner = OMAR if flow_id == "flow-omar" else MARA
        values = f"rev-{flow_id}", owner, flow_id, number
        columns = "id, workspace_id, flow_id, number, version, size, created_at, definition"
        change(path, f"INSERT INTO revisions ({columns}) VALUES (?, ?, ?, ?, '1', 1, 0, 'x')", *values)
        for other in range(count):
            await journal.append(creation(f"exec-{flow_id}-{other}", epoch=epoch, workspace_id=owner, flow_id=flow_id))
    change(path, "UPDATE executions SET revision_id = 'rev-' || flow_id")
    change(path, "UPDATE executions SET status = 'waiting', is_idle = true WHERE id = 'exec-flow-2-1'")

    named = await SqlInspector(database).running(most_flows=2)
    unnamed = await SqlInspector(database).running(most_flows=0)

    assert (named.number, unnamed) == (7, RunningExecutions(number=7, flows=[]))
    assert named.flows == [(MARA, "flow-1", "N", 3), (OMAR, "flow-omar", "N", 2)]


@pytest.mark.parametrize(
    ("dispatcher", "listeners", "processes"), [("local", 0, 1), ("local", 2, 3), ("temporal", 0, 1), ("temporal", 2, 2)]
)
async def test_a_report_counts_the_active_process_and_those_that_stand_by(
    dispatcher: DispatcherKind, listeners: int, processes: int
) -> None:
    class Inspector:
        async def facts(self) -> DatabaseFacts:
            return DatabaseFacts(size=1, listeners=listeners)

    parts = SystemParts(database="postgresql", dispatcher=dispatcher, most_active=1, script_workers=1)
    counts = {name: (lambda: 0) for name in ("active", "engine_processes", "queued", "streams")}

    report = await System(parts, Inspector(), SteppingClock(NOON), **counts).report()  # type: ignore[arg-type] # no backlog

    assert report.processes == processes
