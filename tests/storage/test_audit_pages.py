"""Pages of the audit log: those of a workspace are found by its index, and additions move nothing."""

import itertools
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.audit import AuditEntry, AuditRow
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.ports.audit import AuditFilter
from flowrunner.ports.page import Listed, Page
from flowrunner.storage import audit_chain
from flowrunner.storage.audit import _EXAMINED, FIRST_SINCE, SqlAudit, search_of
from flowrunner.storage.audit_chain import ChainReport, add_to_chain, check_chain
from flowrunner.storage.database import Database
from flowrunner.storage.postgres.transaction import translated
from flowrunner.storage.transaction import Transaction
from support.databases import MARA, NOON, OMAR, Place
from support.postgres import connected


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


async def test_what_a_stranger_sends_with_a_nul_is_recorded_without_it(database: Database) -> None:
    store, sent = SqlAudit(database), entry(1)

    await store.add(replace(sent, object=("account", "a\0@example.com"), address="127.0.0.1\0"))

    (row,) = (await store.page(AuditFilter(), Page(limit=10))).items
    assert row.entry.object == ("account", "a\ufffd@example.com")
    assert (row.entry.address, row.entry.actor) == ("127.0.0.1\ufffd", sent.actor)


async def ids(audit: SqlAudit, wanted: AuditFilter, *, limit: int = 100, offset: int = 0) -> tuple[list[str], int]:
    listed = await audit.page(wanted, Page(limit=limit, offset=offset))
    assert listed.total is not None
    return ids_of(listed), listed.total


def ids_of(listed: Listed[AuditRow]) -> list[str]:
    return [row.entry.object[1] for row in listed.items]


async def walked(audit: SqlAudit, wanted: AuditFilter, *, limit: int, adds: bool = True) -> tuple[list[str], int]:
    """Return the ids of all pages by cursor, and the number of pages. Args: adds: Add entries between them."""
    found, pages, cursor = list[str](), 0, ""
    while True:
        listed = await audit.page(wanted, Page(limit=limit, cursor=cursor, counts=False))
        assert (listed.total, len(listed.items) <= limit) == (None, True)
        found, pages = found + ids_of(listed), pages + 1
        if adds:
            await audit.add(entry(30))
        if listed.next_cursor is None:
            return found, pages
        assert listed.next_cursor != cursor, "each page goes on"
        cursor = listed.next_cursor


async def test_a_workspace_has_its_own_entries_alone(audit: SqlAudit) -> None:
    assert await ids(audit, AuditFilter(workspace_id=MARA), limit=2, offset=1) == (["flow-6", "flow-4"], 5)
    assert await ids(audit, AuditFilter(workspace_id=OMAR, object_id="flow-3")) == (["flow-3"], 1)
    assert await ids(audit, AuditFilter(workspace_id=OMAR, object_id="flow-2")) == ([], 0)
    since, until = NOON + timedelta(seconds=2), NOON + timedelta(seconds=6)
    assert await ids(audit, AuditFilter(workspace_id=MARA, since=since, until=until)) == (["flow-4", "flow-2"], 2)
    assert (await ids(audit, AuditFilter()))[1] == 10


async def test_the_total_is_of_the_whole_log_or_no_exact_one(audit: SqlAudit) -> None:
    for wanted, total, is_exact in (
        (AuditFilter(), 10, True),
        (AuditFilter(workspace_id=MARA), 5, True),
        (AuditFilter(action="flow.created"), 4, False),
    ):
        listed = await audit.page(wanted, Page(limit=2, cursor="5"))
        assert (listed.total, listed.is_exact) == (total, is_exact), wanted


async def test_acts_on_the_account_itself_can_be_left_out(audit: SqlAudit) -> None:
    for action in ("login.failed", "logout", "account.updated"):
        await audit.add(entry(20, action=action))
    await audit.add(entry(21, action="member.added"))

    assert (await ids(audit, AuditFilter(workspace_id=MARA)))[1] == 9
    assert await ids(audit, AuditFilter(workspace_id=MARA, has_account=False), limit=2) == (["flow-21", "flow-8"], 6)


@pytest.mark.parametrize("wanted", [AuditFilter(), AuditFilter(workspace_id=MARA)])
async def test_portions_are_stable_while_entries_are_added(audit: SqlAudit, wanted: AuditFilter) -> None:
    expected, _ = await ids(audit, wanted)

    assert (await walked(audit, wanted, limit=2))[0] == expected


async def test_a_page_examines_a_limited_number_of_entries(audit: SqlAudit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowrunner.storage.audit.MOST_EXAMINED", 3)

    listed = await audit.page(AuditFilter(object_id="flow-2"), Page(limit=5))
    assert (ids_of(listed), listed.total, listed.is_exact) == ([], 0, False)
    assert listed.next_cursor is not None
    assert await walked(audit, AuditFilter(object_id="flow-2"), limit=5) == (["flow-2"], 4)
    assert await walked(audit, AuditFilter(object_id="none", workspace_id=OMAR), limit=5) == ([], 2)
    listed = await audit.page(AuditFilter(workspace_id=MARA), Page(limit=2))
    assert (listed.total, listed.is_exact) == (3, False)
    listed = await audit.page(AuditFilter(outcome="done"), Page(limit=2, offset=1))
    assert (len(listed.items), listed.total, listed.is_exact) == (2, 3, False)


async def test_a_period_is_found_by_its_times(audit: SqlAudit, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in (10_000, 20_000, 15_000):
        await audit.add(entry(n))
    monkeypatch.setattr("flowrunner.storage.audit.MOST_EXAMINED", 2)

    def between(since: int, until: int, workspace_id: WorkspaceId | None) -> AuditFilter:
        since_at, until_at = NOON + timedelta(seconds=since), NOON + timedelta(seconds=until)
        return AuditFilter(since=since_at, until=until_at, workspace_id=workspace_id)

    for workspace_id in (None, MARA):
        # Of clocks that differ, too.
        wanted = between(14_000, 30_000, workspace_id)
        assert await walked(audit, wanted, limit=5, adds=False) == (["flow-15000", "flow-20000"], 2)
        wanted = between(9_000, 11_000, workspace_id)
        assert await walked(audit, wanted, limit=5, adds=False) == (["flow-10000"], 1)
        wanted = between(-90_000, -50_000, workspace_id)
        assert await walked(audit, wanted, limit=5, adds=False) == ([], 1)


@given(
    purged=st.integers(0, 5),
    late=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20)), max_size=60),
    at=st.integers(-10, 400),
)
def test_a_time_is_found_by_halving_although_clocks_differ(
    purged: int, late: Sequence[tuple[int, int]], at: int
) -> None:
    """Each entry is some time after the one before it, by a clock that is slow by up to 20."""
    times = [now - slow for now, (_, slow) in zip(itertools.accumulate(gap for gap, _ in late), late, strict=True)]
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE audit (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL)")
        connection.executemany("INSERT INTO audit VALUES (?, ?)", enumerate(times, start=purged + 1))
        found = connection.execute(FIRST_SINCE, {"at": at}).fetchone()

    assert (found is None) == (not times)
    if found is not None:
        before, since = times[: found[0] - purged - 1], times[found[0] - purged - 1 :]
        assert not before or before[-1] < at
        assert not since or since[0] >= at
        assert all(time < at + 20 for time in before)
        assert all(time >= at - 20 for time in since)


@pytest.mark.only("sqlite")
async def test_entries_are_found_in_the_order_of_the_log(audit: SqlAudit, path: Place) -> None:
    assert isinstance(path, Path)
    conditions = [frozenset[str](), *(frozenset({name}) for name in _EXAMINED), frozenset(_EXAMINED)]
    plans = set()
    with closing(sqlite3.connect(path)) as connection:
        for examined, has_workspace in itertools.product(conditions, (False, True)):
            search = search_of(examined, has_workspace=has_workspace)
            for text in (search.rows, search.last, search.number):
                found = connection.execute(f"EXPLAIN QUERY PLAN {text}", dict.fromkeys(_names(text), 1)).fetchall()
                plans |= {(has_workspace, row[3]) for row in found if "audit" in row[3]}
        found = connection.execute(f"EXPLAIN QUERY PLAN {FIRST_SINCE}", {"at": 1}).fetchall()
        assert [row[3] for row in found if "middle" in row[3]] == ["SEARCH middle USING INTEGER PRIMARY KEY (rowid=?)"]

    assert {(has, plan.replace(" COVERING", "")) for has, plan in plans} == {
        (False, "SEARCH audit USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (True, "SEARCH audit USING INDEX audit_workspace (workspace_id=? AND seq>? AND seq<?)"),
    }


@pytest.mark.only("postgres")
async def test_no_page_reads_the_whole_log(path: str, database: Database) -> None:
    entries = [entry(n, OMAR if n % 10 else MARA) for n in range(3_000)]

    async def fill(tx: Transaction) -> None:
        await add_to_chain(tx, entries)

    await database.write(fill)

    async def plans(connection: "asyncpg.Connection[Any]") -> list[Any]:
        await connection.execute("ANALYZE audit")
        wrong = []
        conditions = [frozenset[str](), frozenset({"actor", "since"}), frozenset(_EXAMINED)]
        for examined, has_workspace in itertools.product(conditions, (False, True)):
            search = search_of(examined, has_workspace=has_workspace)
            for text in (search.rows, search.last, search.number, FIRST_SINCE):
                statement, names = translated(text)
                async with connection.transaction():
                    await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
                    plan = str(await (await connection.prepare(statement)).explain(*(_SOME[name] for name in names)))
                # What has conditions is between two entries that are not far from each other.
                if "Seq Scan" in plan or ("'Sort'" in plan and not (examined and text == search.rows)):
                    wrong.append((text, plan))
        return wrong

    assert connected(path, plans) == []


_SOME: dict[str, Any] = {
    "before": 2900, "after": 2000, "workspace_id": MARA, "limit": 11, "offset": 0, "examined": 500, "at": 5,
    "actor": "a", "action": "a", "object_kind": "a", "object_id": "a", "outcome": "done", "since": 1, "until": 2,
}  # fmt: skip


def _names(text: str) -> set[str]:
    return set(re.findall(r":(\w+)", text))


async def test_the_whole_chain_is_checked_however_long_it_is(
    audit: SqlAudit, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_chain, "_ROWS_AT_ONCE", 2)
    newest, *older = (await audit.page(AuditFilter(), Page(limit=100))).items
    last = newest.seq, newest.hash.hex()

    async def check(expected: tuple[int, str]) -> ChainReport:
        return await database.read_long(lambda tx: check_chain(tx, expected=expected))

    found, other = await check(last), await check((newest.seq, "00"))

    assert (found.rows, found.broken) == (len(older) + 1, None)
    assert (found.last[0], found.last[1].hex()) == last
    assert other.broken == (newest.seq, "its hash is not the expected one")


@pytest.mark.parametrize("purged", range(6))
async def test_each_entry_that_was_noted_is_found_from_the_last_one_that_was_purged_on(
    database: Database, purged: int
) -> None:
    store, long_ago = SqlAudit(database), NOON - timedelta(days=3000)
    for n in range(5):
        await store.add(replace(entry(n), at=long_ago + timedelta(seconds=n)))
    noted = [(row.seq, row.hash.hex()) for row in reversed((await store.page(AuditFilter(), Page(limit=9))).items)]
    assert await store.purge(before=long_ago + timedelta(seconds=purged), limit=9) == min(purged, 5)

    async def is_found(expected: tuple[int, str]) -> bool:
        return (await database.read_long(lambda tx: check_chain(tx, expected=expected))).broken is None

    assert [await is_found(each) for each in noted] == [seq >= purged for seq, _ in noted]
    assert not any([await is_found((seq, "00")) for seq, _ in noted])
