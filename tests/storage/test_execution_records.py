"""Deletion of single executions."""

import pytest

from flowrunner.domain.causes import ChildOf
from flowrunner.domain.errors import Conflict, NotFound
from flowrunner.domain.values import ExecutionId
from flowrunner.storage import execution_records, exports
from flowrunner.storage.database import Database
from flowrunner.storage.execution_records import SqlExecutionRecords
from flowrunner.storage.execution_search import values_after
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.usage import SqlUsage
from support.databases import MARA, OMAR, Place, completion, creation, following, log_line, rows_of
from support.invariants import check_database

EVENTS = "SELECT execution_id, count(*) FROM events GROUP BY execution_id ORDER BY 1"


@pytest.fixture
def records(database: Database) -> SqlExecutionRecords:
    return SqlExecutionRecords(database)


async def test_an_execution_is_deleted_with_its_events_and_the_storage_that_it_used(
    records: SqlExecutionRecords, journal: SqlJournal, database: Database, path: Place
) -> None:
    epoch = await journal.claim()
    before = await SqlUsage(database).stored(MARA)
    for id in ("e1", "e2"):
        await journal.append(creation(id, epoch=epoch))
        await journal.append(completion(id, epoch=epoch))
    used = await SqlUsage(database).stored(MARA)

    await records.delete(MARA, ExecutionId("e1"))

    assert rows_of(path, "SELECT id FROM executions") == [("e2",)]
    assert rows_of(path, EVENTS) == [("e2", 4)]
    assert await records.incomplete() == []
    assert await SqlUsage(database).stored(MARA) - before == (used - before) // 2
    assert check_database(path) == []


async def test_many_events_are_deleted_in_several_transactions(
    records: SqlExecutionRecords, journal: SqlJournal, path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_records, "_EVENTS_AT_ONCE", 3)
    monkeypatch.setattr(execution_records, "_SECONDS_A_COMMIT", 0.0)
    epoch = await journal.claim()
    await journal.append(creation("e", epoch=epoch))
    await journal.append(following("e", *[log_line("x")] * 8, epoch=epoch, after=2))
    await journal.append(completion("e", epoch=epoch, after=10))

    await records.delete(MARA, ExecutionId("e"))
    left = [rows_of(path, EVENTS)]
    while await records.delete_events(ExecutionId("e")):
        assert await records.incomplete() == ["e"]
        left.append(rows_of(path, EVENTS))

    assert left == [[("e", 9)], [("e", 6)], [("e", 3)], []]
    assert await records.incomplete() == []


async def test_an_execution_is_kept_while_it_runs_or_is_waited_for(
    records: SqlExecutionRecords, journal: SqlJournal, path: Place
) -> None:
    epoch = await journal.claim()
    await journal.append(creation("parent", epoch=epoch))
    cause = ChildOf(execution_id=ExecutionId("parent"), step="a.1", failures=0, flows=())
    await journal.append(creation("child", epoch=epoch, cause=cause))

    with pytest.raises(Conflict, match="has not ended: it is running"):
        await records.delete(MARA, ExecutionId("child"))
    await journal.append(completion("child", epoch=epoch))
    with pytest.raises(Conflict, match="execution parent started this one"):
        await records.delete(MARA, ExecutionId("child"))
    await journal.append(completion("parent", epoch=epoch))
    await records.delete(MARA, ExecutionId("child"))

    assert rows_of(path, "SELECT id FROM executions") == [("parent",)]


async def test_an_execution_of_another_workspace_is_not_found(
    records: SqlExecutionRecords, journal: SqlJournal, path: Place
) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e", epoch=epoch))
    await journal.append(completion("e", epoch=epoch))

    with pytest.raises(NotFound):
        await records.delete(OMAR, ExecutionId("e"))

    assert await records.existing(OMAR, [ExecutionId("e")]) == set()
    assert await records.existing(MARA, [ExecutionId("e"), ExecutionId("none")]) == {"e"}
    assert rows_of(path, "SELECT id FROM executions") == [("e",)]


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("statement", [execution_records.EXISTING.sqlite, exports.EXECUTIONS])
async def test_executions_are_looked_up_by_their_ids_and_not_among_all_of_the_workspace(
    database: Database, statement: str
) -> None:
    values = {"workspace_id": MARA, "ids": '["e1"]'} | values_after(MARA, "", limit=10)

    plan = await database.read(lambda tx: tx.rows(f"EXPLAIN QUERY PLAN {statement}", values))

    assert any("SEARCH" in step and step.endswith("(id=?)") for *_, step in plan)
    assert not any(step.endswith("(workspace_id=?)") for *_, step in plan)
