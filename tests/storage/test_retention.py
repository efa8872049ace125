"""Retention by workspace and by flow, on the executions of both databases."""

from datetime import timedelta
from typing import Any, cast

import asyncpg
import pytest

from flowrunner.domain.causes import ChildOf
from flowrunner.domain.errors import NotFound
from flowrunner.domain.events import SignalReceived
from flowrunner.domain.retention import LONGEST_AGE, RetentionRule
from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId
from flowrunner.domain.waits import child_signal_key
from flowrunner.ids import new_id
from flowrunner.services import retention as retention_module
from flowrunner.services.retention import Retention
from flowrunner.storage import retention as retention_in_sql
from flowrunner.storage.database import Database
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.postgres.transaction import translated
from flowrunner.storage.retention import COUNT, COUNT_BEFORE, IDS, OLD, SqlRetention
from support.database_work import WritesCounted
from support.databases import MARA, NOON, OMAR, Place, change, completion, creation, following, rows_of
from support.dependencies import SteppingClock
from support.postgres import connected

DAY = timedelta(days=1)
MONTH = RetentionRule(max_age=30 * DAY)


@pytest.fixture(autouse=True)
def _small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test read and delete in more than one portion."""
    monkeypatch.setattr(retention_module, "_FLOWS_AT_ONCE", 1)
    monkeypatch.setattr(retention_module, "_BATCH", 2)


@pytest.fixture
async def ids(journal: SqlJournal) -> dict[str, str]:
    """Make ten executions, a day apart: of flow-1 and flow-2 by turns; those of the days 4 and 5 stay open."""
    epoch, found = await journal.claim(), {}
    for day in range(10):
        at = NOON + day * DAY
        id = found[f"{day}"] = new_id("exec", at)
        await journal.append(creation(id, epoch=epoch, flow_id=f"flow-{1 + day % 2}", at=at))
        if day not in (4, 5):
            await journal.append(completion(id, epoch=epoch, at=at + timedelta(seconds=1)))
    return found


def retention(database: Database, *, day: float = 10, installation: RetentionRule = MONTH) -> Retention:
    clock = SteppingClock(NOON + day * DAY)
    return Retention(SqlRetention(database), clock, installation=installation)


async def left(path: Place, ids: dict[str, str]) -> str:
    """Return the days of the executions that are left."""
    stored = {id for (id,) in rows_of(path, "SELECT id FROM executions")}
    events = {id for (id,) in rows_of(path, "SELECT DISTINCT execution_id FROM events")}
    assert events == stored
    return "".join(day for day, id in ids.items() if id in stored)


async def purge(retention: Retention) -> int:
    """Purge, after a dry run that counts the same."""
    expected = sum([part.count async for part in retention.outlived()])
    purged = await retention.purge()
    assert purged == expected
    assert [part async for part in retention.outlived()] == []
    return purged


async def test_a_flow_keeps_its_latest_ended_executions_and_every_open_one(
    database: Database, ids: dict[str, str], path: Place
) -> None:
    await SqlRetention(database).set_of_flow(MARA, FlowId("flow-1"), RetentionRule(max_count=2))

    assert await purge(retention(database)) == 2

    assert await left(path, ids) == "13456789"


async def test_all_executions_are_counted_that_a_purge_deletes_in_several_commits(
    database: Database, ids: dict[str, str], path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each commit has time for one.
    monkeypatch.setattr(retention_in_sql, "_SECONDS_A_COMMIT", -1.0)
    monkeypatch.setattr(retention_module, "_SHORTEST_PAUSE_SECONDS", 0.0)
    await SqlRetention(database).set_of_workspace(MARA, RetentionRule(max_count=1))

    assert await purge(retention(database)) == 6

    assert await left(path, ids) == "4589"


async def test_a_flow_keeps_executions_for_its_own_time(database: Database, ids: dict[str, str], path: Place) -> None:
    await SqlRetention(database).set_of_flow(MARA, FlowId("flow-2"), RetentionRule(max_age=4 * DAY))

    assert await purge(retention(database)) == 2

    assert await left(path, ids) == "02456789"


AGE, NUMBER = RetentionRule(max_age=4 * DAY), RetentionRule(max_count=1)
NONE = RetentionRule()
# By what has them: the rules of flow-1, of its workspace and of the installation, and what they leave.
RULES = {
    "age of the flow": ((AGE, NONE, MONTH), "13456789"),
    "number of the flow": ((NUMBER, NONE, MONTH), "1345789"),
    "age of the workspace": ((NONE, AGE, MONTH), "456789"),
    "number of the workspace": ((NONE, NUMBER, MONTH), "4589"),
    "number of the installation": ((NONE, NONE, RetentionRule(max_age=30 * DAY, max_count=1)), "4589"),
    "age of the installation": ((NONE, NONE, AGE), "456789"),
}
STATES = {
    "in use": "SELECT 1",
    "disabled": "UPDATE flows SET disabled_at = 1",
    "deleted": "UPDATE flows SET deleted_at = 1",
    "deleted with its workspace": "UPDATE workspaces SET deleted_at = 1",
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("rule", RULES)
async def test_a_rule_holds_whatever_becomes_of_its_flow(
    database: Database, ids: dict[str, str], path: Place, rule: str, state: str
) -> None:
    (of_flow, of_workspace, installation), expected = RULES[rule]
    await SqlRetention(database).set_of_flow(MARA, FlowId("flow-1"), of_flow)
    await SqlRetention(database).set_of_workspace(MARA, of_workspace)
    change(path, STATES[state])

    await purge(retention(database, installation=installation))

    assert await left(path, ids) == expected


async def test_an_age_that_no_rule_can_have_stops_the_purge_of_no_other_flow(
    database: Database, ids: dict[str, str], path: Place
) -> None:
    await SqlRetention(database).set_of_flow(MARA, FlowId("flow-2"), RetentionRule(max_age=4 * DAY))
    change(path, "UPDATE flows SET retention_age = ? WHERE id = 'flow-1'", 2**62)

    assert await purge(retention(database)) == 2

    assert await left(path, ids) == "02456789"
    own, _ = await SqlRetention(database).of_flow(MARA, FlowId("flow-1"))
    assert own.max_age == LONGEST_AGE


async def test_a_workspace_has_a_rule_for_flows_that_have_none(
    database: Database, ids: dict[str, str], path: Place
) -> None:
    store = SqlRetention(database)
    await store.set_of_workspace(MARA, RetentionRule(max_count=1, max_age=3 * DAY))
    await store.set_of_flow(MARA, FlowId("flow-1"), RetentionRule(max_count=3, max_age=20 * DAY))
    await store.set_of_workspace(OMAR, RetentionRule(max_age=DAY / 24))

    assert await purge(retention(database)) == 4

    assert await left(path, ids) == "245689"


async def test_nothing_is_kept_for_longer_than_the_installation_keeps_it(
    database: Database, ids: dict[str, str], path: Place
) -> None:
    await SqlRetention(database).set_of_flow(MARA, FlowId("flow-1"), RetentionRule(max_age=300 * DAY))

    assert await purge(retention(database, installation=RetentionRule(max_age=5 * DAY))) == 4

    assert await left(path, ids) == "456789"


async def test_the_installation_limits_the_number_of_each_flow(
    database: Database, ids: dict[str, str], path: Place
) -> None:
    await SqlRetention(database).set_of_flow(MARA, FlowId("flow-2"), RetentionRule(max_count=50))

    assert await purge(retention(database, installation=RetentionRule(max_age=30 * DAY, max_count=1))) == 3

    assert await left(path, ids) == "1345789"


@pytest.mark.parametrize("installation", [MONTH, RetentionRule(max_age=DAY)])
async def test_an_end_stays_until_it_has_started_what_waits_for_it(
    database: Database, ids: dict[str, str], path: Place, installation: RetentionRule
) -> None:
    await SqlRetention(database).set_of_workspace(MARA, RetentionRule(max_age=DAY))
    change(path, "INSERT INTO trigger_outbox (trigger_id, execution_id) VALUES ('trig-1', ?)", ids["2"])
    paused = retention(database, day=20, installation=installation)

    assert await purge(paused) == 7

    assert await left(path, ids) == "245"
    change(path, "DELETE FROM trigger_outbox")
    assert await purge(paused) == 1
    assert await left(path, ids) == "45"


async def test_a_commit_of_a_purge_does_no_more_work_for_ends_that_stay(
    database: Database, ids: dict[str, str], path: Place
) -> None:
    counted = WritesCounted(database)
    store = SqlRetention(cast("Database", counted))

    await store.purge(ended_before=NOON + 20 * DAY, limit=1, unreported=())
    waiting = ", ".join(f"('trig-{number}', 'exec-{number}')" for number in range(2000))
    change(path, f"INSERT INTO trigger_outbox (trigger_id, execution_id) VALUES {waiting}")
    await store.purge(ended_before=NOON + 20 * DAY, limit=1, unreported=())

    alone, with_others = counted.work
    assert await left(path, ids) == "23456789"
    assert with_others < 2 * alone


@pytest.mark.only("postgres")
def test_postgresql_reads_the_ends_that_wait_once_for_all_executions(path: str) -> None:
    values: dict[str, Any] = {
        "workspace_id": "w", "flow_id": "f", "before": 1, "up_to": "x", "after": "", "limit": 1, "unreported": "[]",
        "since": 0, "first_up_to": "x", "first_before": 1, "second_up_to": "x", "second_before": 1,
    }  # fmt: skip

    async def plans(connection: "asyncpg.Connection[Any]") -> list[str]:
        found = []
        for statement in (IDS, COUNT, COUNT_BEFORE, OLD):
            text, names = translated(statement)
            rows = await connection.fetch(f"EXPLAIN {text}", *(values[name] for name in names))
            found.append("\n".join(row[0] for row in rows))
        return found

    for plan in connected(path, plans):
        assert "Anti Join" in plan, plan


@pytest.mark.parametrize("installation", [MONTH, RetentionRule(max_age=DAY)])
async def test_a_child_stays_until_its_open_parent_knows_of_its_end(
    database: Database, journal: SqlJournal, path: Place, installation: RetentionRule
) -> None:
    epoch = await journal.claim()
    parent, children = ExecutionId(new_id("exec", NOON)), [ExecutionId(new_id("exec", NOON)) for _ in range(3)]
    await journal.append(creation(parent, epoch=epoch))
    for child in children:
        cause = ChildOf(execution_id=parent, step="a.1", failures=0, flows=())
        await journal.append(creation(child, epoch=epoch, cause=cause))
        await journal.append(completion(child, epoch=epoch))
    told = SignalReceived(key=child_signal_key(children[1]), payload=None)
    await journal.append(following(parent, told, epoch=epoch, after=2))
    await SqlRetention(database).set_of_workspace(MARA, RetentionRule(max_age=DAY))
    later = retention(database, day=2, installation=installation)

    assert await purge(later) == 1

    assert {id for (id,) in rows_of(path, "SELECT id FROM executions")} == {parent, children[0], children[2]}
    await journal.append(completion(parent, epoch=epoch, after=3))
    assert await purge(retention(database, day=4, installation=installation)) == 3


async def test_an_end_of_the_last_minutes_is_kept_for_those_that_are_notified_of_it(
    database: Database, ids: dict[str, str], path: Place
) -> None:
    await SqlRetention(database).set_of_workspace(MARA, RetentionRule(max_count=1))
    just_ended = retention(database, day=8 + 1 / 24 / 60)

    await just_ended.purge()

    # The latest ends: of flow-1 on day 8, a minute ago, and of flow-2 on day 9, which has not come for this clock.
    assert await left(path, ids) == "4589"
    assert await purge(retention(database, day=8 + 1 / 24)) == 0


async def test_a_rule_belongs_to_its_workspace_and_is_replaced_as_a_whole(
    database: Database, journal: SqlJournal
) -> None:
    store = SqlRetention(database)
    rule = RetentionRule(max_age=2 * DAY, max_count=7)
    assert await store.set_of_flow(MARA, FlowId("flow-1"), rule) == (rule, RetentionRule())

    assert await store.of_flow(MARA, FlowId("flow-1")) == (rule, RetentionRule())
    around = RetentionRule(max_count=9)
    assert await store.set_of_workspace(MARA, around) == around
    assert await store.of_workspace(MARA) == around
    rule = RetentionRule(max_age=DAY)
    assert await store.set_of_flow(MARA, FlowId("flow-1"), rule) == (rule, around)
    assert await store.of_flow(MARA, FlowId("flow-1")) == (rule, around)
    for workspace, flow in ((OMAR, "flow-1"), (MARA, "flow-none"), (WorkspaceId("nowhere"), "flow-1")):
        with pytest.raises(NotFound):
            await store.of_flow(workspace, FlowId(flow))
        with pytest.raises(NotFound):
            await store.set_of_flow(workspace, FlowId(flow), rule)
    with pytest.raises(NotFound):
        await store.set_of_workspace(WorkspaceId("nowhere"), rule)


async def test_executions_that_are_too_many_for_one_commit_are_deleted_in_the_next_ones(
    database: Database, ids: dict[str, str], path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrunner.storage.retention._EVENTS_A_COMMIT", 1)
    store = SqlRetention(database)

    found = [await store.purge(ended_before=NOON + 20 * DAY, limit=100, unreported=()) for _ in range(9)]

    # The last one finds nothing.
    assert found == [(1, True)] * 7 + [(1, False), (0, False)]
    assert await left(path, ids) == "45"


async def test_a_long_history_is_deleted_in_pages(database: Database, journal: SqlJournal, path: Place) -> None:
    epoch = await journal.claim()
    for n in range(450):
        id = new_id("exec", NOON + timedelta(seconds=n))
        await journal.append(creation(id, epoch=epoch, at=NOON + timedelta(seconds=n)))
        if n % 3:
            await journal.append(completion(id, epoch=epoch, at=NOON + timedelta(seconds=n)))
    await SqlRetention(database).set_of_workspace(MARA, RetentionRule(max_count=10))

    assert await purge(retention(database, day=1)) == 290

    assert rows_of(path, "SELECT count(*) FROM executions") == [(160,)]


@pytest.mark.parametrize(
    "rule", [RetentionRule(max_age=timedelta(seconds=1)), RetentionRule(max_count=1)], ids=["by age", "by number"]
)
@pytest.mark.parametrize("minutes", [4, 6])
async def test_no_rule_of_a_flow_deletes_an_execution_whose_end_is_still_told(
    database: Database, journal: SqlJournal, path: Place, rule: RetentionRule, minutes: int
) -> None:
    epoch, id = await journal.claim(), new_id("exec", NOON)
    await journal.append(creation(id, epoch=epoch, flow_id="flow-1"))
    await journal.append(completion(id, epoch=epoch, at=NOON))
    # The latest one stays by its number.
    newer = new_id("exec", NOON + timedelta(seconds=1))
    await journal.append(creation(newer, epoch=epoch, flow_id="flow-1", at=NOON + timedelta(seconds=1)))
    await journal.append(completion(newer, epoch=epoch, at=NOON + timedelta(days=1)))
    await SqlRetention(database).set_of_flow(MARA, FlowId("flow-1"), rule)

    await purge(retention(database, day=minutes / 24 / 60))

    assert ((id,) in rows_of(path, "SELECT id FROM executions")) is (minutes < 5)
