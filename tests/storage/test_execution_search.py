"""Searches for executions, their totals and pages, and the indexes that they use."""

import itertools
import random
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import asyncpg
import pytest

from flowrunner.domain.causes import ChildOf, Rerun
from flowrunner.domain.events import Cancelled, Completed, ErrorValue, Failed
from flowrunner.domain.status import FINAL, Status
from flowrunner.domain.values import AccountId, ExecutionId, FlowId, JobId
from flowrunner.ports.executions import ExecutionFilter, ExecutionView
from flowrunner.ports.page import Page
from flowrunner.storage import execution_search, executions
from flowrunner.storage.database import Database
from flowrunner.storage.execution_search import search_of
from flowrunner.storage.execution_terms import terms_of_start
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.postgres.transaction import PostgresTransaction, translated
from flowrunner.storage.retention import SqlRetention
from flowrunner.storage.sqlite.transaction import SqliteTransaction
from flowrunner.storage.transaction import NO_VALUES, Row, Sql, Statement, Transaction, Values
from support.database_work import rows_read
from support.databases import MARA, NOON, OMAR, Place, add_flows, change, creation, following, rows_of
from support.postgres import connected

from .samples import ALL

COUNT: Final = 60


@dataclass(frozen=True)
class Sample:
    id: str
    flow: str
    status: Status
    error: ErrorValue | None
    rerun_of: str | None
    trigger: str | None
    parent: str | None
    terms: frozenset[tuple[str, str]]


@pytest.fixture
async def samples(database: Database, journal: SqlJournal, path: Place) -> list[Sample]:
    """Create executions of Mara, one a minute, and one of Omar."""
    chance, epoch, made = random.Random(4), await journal.claim(), list[Sample]()
    for n in range(COUNT):
        again = chance.choice(made) if made and chance.random() < 0.4 else None
        status = chance.choice([Status.RUNNING, *sorted(FINAL), Status.FAILED])
        kind = ErrorValue(
            type=chance.choice(["http.500", "timeout"]), message="m", node=chance.choice([None, "a", "b"])
        )
        sample = Sample(
            id=f"exec-{n:03}",
            flow=f"flow-{chance.randrange(3)}" if again is None else again.flow,
            status=status,
            error=kind if status is Status.FAILED else None,
            rerun_of=None if again is None else again.id,
            trigger=chance.choice([None, "t1", "t2"]),
            parent=None if again is not None or n % 4 else "exec-parent",
            terms=frozenset((name, chance.choice(values)) for name, *values in _TERMS if chance.random() < 0.7),
        )
        made.append(sample)
        cause: dict[str, Any] = {}
        if again is not None:
            cause["cause"] = Rerun(by=AccountId(MARA), of=ExecutionId(again.id))
        elif sample.parent is not None:
            cause["cause"] = ChildOf(execution_id=ExecutionId(sample.parent), step="a.1", failures=0, flows=())
        at = NOON + timedelta(minutes=n)
        given = {kind: dict(terms_of_kind(sample, kind)) for kind in ("label", "input")}
        await journal.append(
            creation(
                sample.id,
                epoch=epoch,
                flow_id=sample.flow,
                at=at,
                labels=given["label"],
                input=given["input"],
                searchable=("order", "absent"),
                **cause,
            )
        )
        if sample.trigger is not None:
            change(path, f"UPDATE executions SET trigger_id = '{sample.trigger}' WHERE id = '{sample.id}'")
        endings: dict[Status, Completed | Failed | Cancelled] = {
            Status.COMPLETED: Completed(result=1),
            Status.FAILED: Failed(error=kind),
            Status.CANCELLED: Cancelled(reason=""),
        }
        ending = endings.get(status)
        if ending is not None:
            await journal.append(following(sample.id, ending, epoch=epoch, after=2, at=at))
    await journal.append(creation("omars", epoch=epoch, workspace_id=OMAR, flow_id="flow-omar"))
    return made


_TERMS: Final = (("label.team", "core", "web"), ("label.env", "prod"), ("input.order", "41", "42", "43"))


def terms_of_kind(sample: Sample, kind: str) -> list[tuple[str, str]]:
    return [(name.removeprefix(f"{kind}."), value) for name, value in sample.terms if name.startswith(f"{kind}.")]


def later_repeats(sample: Sample, samples: Sequence[Sample]) -> list[Sample]:
    """Return the later executions of the same chain."""
    by_id = {one.id: one for one in samples}

    def original(one: Sample) -> str:
        return one.id if one.rerun_of is None else original(by_id[one.rerun_of])

    return [one for one in samples if one.id > sample.id and original(one) == original(sample)]


def repaired_by(sample: Sample, samples: Sequence[Sample]) -> str | None:
    """Return the first completed execution of the same chain, after this one or after the first of the chain."""
    if sample.status not in (Status.FAILED, Status.CANCELLED):
        return None
    return next((one.id for one in later_repeats(sample, samples) if one.status is Status.COMPLETED), None)


def fitting(wanted: ExecutionFilter, samples: Sequence[Sample]) -> list[str]:
    """Return the ids that fit, the newest first."""
    return [
        one.id
        for one in reversed(samples)
        if wanted.flow_id in (None, one.flow)
        and (not wanted.statuses or one.status in wanted.statuses)
        and wanted.trigger_id in (None, one.trigger)
        and wanted.rerun_of in (None, one.rerun_of)
        and wanted.parent_id in (None, one.parent)
        and (wanted.first_id is None or one.id >= wanted.first_id)
        and (wanted.end_id is None or one.id < wanted.end_id)
        and (wanted.error_type is None or (one.error is not None and one.error.type == wanted.error_type))
        and (wanted.failed_node is None or (one.error is not None and one.error.node == wanted.failed_node))
        and (not wanted.is_unrepaired or repaired_by(one, samples) is None)
        and (not wanted.is_latest or not later_repeats(one, samples))
        and (not wanted.has_no_parent or one.parent is None)
        and one.terms >= frozenset(wanted.terms)
    ]


def filters() -> Iterator[ExecutionFilter]:
    """Yield filters with one, two and all conditions."""
    some: list[dict[str, Any]] = [
        {"flow_id": FlowId("flow-1")},
        {"statuses": (Status.FAILED,)},
        {"statuses": (Status.RUNNING, Status.COMPLETED)},
        {"error_type": "timeout"},
        {"failed_node": "b"},
        {"trigger_id": "t1"},
        {"rerun_of": ExecutionId("exec-003")},
        {"parent_id": ExecutionId("exec-parent")},
        {"first_id": "exec-02", "end_id": "exec-05"},
        {"statuses": (Status.FAILED,), "is_unrepaired": True},
        {"statuses": (Status.FAILED, Status.CANCELLED), "is_latest": True},
        {"has_no_parent": True},
        {"terms": (("label.team", "core"),)},
        {"terms": (("label.env", "prod"), ("input.order", "42"), ("label.team", "web"))},
    ]
    yield ExecutionFilter()
    for size in (1, 2):
        for conditions in itertools.combinations(some, size):
            yield ExecutionFilter(**{name: value for each in conditions for name, value in each.items()})
    yield ExecutionFilter(flow_id=FlowId("flow-1"), statuses=(Status.FAILED,), error_type="timeout", first_id="exec-01")
    yield ExecutionFilter(terms=(("label.env", "prod"), ("label.env", "prod")))
    yield ExecutionFilter(terms=(("label.env", "none"),))


async def walked(executions: SqlExecutions, wanted: ExecutionFilter, page: Page) -> list[str]:
    """Return the ids of all pages by cursor."""
    found: list[str] = []
    page = replace(page, cursor="", counts=False)
    while True:
        listed = await executions.page(MARA, wanted, page)
        assert listed.total is None
        assert len(listed.items) <= page.limit
        found += [view.id for view in listed.items]
        if listed.next_cursor is None:
            return found
        page = replace(page, cursor=listed.next_cursor)


async def test_every_filter_finds_what_fits_by_offset_and_by_cursor(database: Database, samples: list[Sample]) -> None:
    executions = SqlExecutions(database)
    for wanted in filters():
        ids = fitting(wanted, samples)
        for offset in (0, 2):
            listed = await executions.page(MARA, wanted, Page(limit=5, offset=offset))
            assert [view.id for view in listed.items] == ids[offset : offset + 5], wanted
            assert (listed.total, listed.is_exact) == (len(ids), True), wanted
            assert (listed.next_cursor is not None) == (len(ids) > offset + 5), wanted
        # The total is of the whole list, or is no exact one.
        for page in (Page(limit=5, cursor="exec-030"), Page(limit=5, cursor="exec-030", is_reversed=True)):
            listed = await executions.page(MARA, wanted, page)
            assert listed.total == len(ids) or (not listed.is_exact and (listed.total or 0) <= len(ids)), wanted
        assert await walked(executions, wanted, Page(limit=4)) == ids, wanted
        assert await walked(executions, wanted, Page(limit=4, is_reversed=True)) == ids[::-1], wanted


async def test_pages_far_from_the_first_one_have_the_entries_of_all_statuses(
    database: Database, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    executions = SqlExecutions(database)
    monkeypatch.setattr(execution_search, "FAR", 1)
    for wanted, is_reversed in itertools.product(filters(), (False, True)):
        ids = fitting(wanted, samples)[:: -1 if is_reversed else 1]
        for offset in (2, 10):
            listed = await executions.page(MARA, wanted, Page(limit=5, offset=offset, is_reversed=is_reversed))
            assert [view.id for view in listed.items] == ids[offset : offset + 5], (wanted, offset)
            assert listed.total == len(ids), (wanted, offset)
            assert (listed.next_cursor is not None) == (len(ids) > offset + 5), (wanted, offset)


@pytest.mark.parametrize("offset", [2**31, 2**53])
@pytest.mark.usefixtures("samples")
async def test_s43_a_page_beyond_all_numbers_of_32_bits_is_empty(database: Database, offset: int) -> None:
    listed = await SqlExecutions(database).page(MARA, ExecutionFilter(), Page(limit=10, offset=offset))

    assert (list(listed.items), listed.total, listed.next_cursor) == ([], COUNT, None)


async def test_a_search_looks_at_a_limited_number_of_executions_a_page(
    database: Database, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_search, "MOST_EXAMINED", 10)
    monkeypatch.setattr(execution_search, "MOST_COUNTED", 10)
    executions = SqlExecutions(database)
    for wanted in filters():
        ids = fitting(wanted, samples)
        assert await walked(executions, wanted, Page(limit=4)) == ids, wanted
        assert await walked(executions, wanted, Page(limit=4, is_reversed=True)) == ids[::-1], wanted
        listed = await executions.page(MARA, wanted, Page(limit=4))
        assert listed.total == len(ids) or (not listed.is_exact and listed.total is not None and listed.total <= 10)
    listed = await executions.page(MARA, ExecutionFilter(), Page(limit=4, cursor="exec-030"))
    assert (listed.total, listed.is_exact) == (COUNT, True)
    monkeypatch.setattr(execution_search, "MOST_EXAMINED", 1)
    failures = ExecutionFilter(error_type="timeout", failed_node="b")
    listed = await executions.page(MARA, failures, Page(limit=4))
    assert len(listed.items) <= 1 < len(fitting(failures, samples))
    assert listed.next_cursor is not None


async def test_pages_by_cursor_neither_skip_nor_repeat_while_executions_are_added(
    database: Database, samples: list[Sample], journal: SqlJournal
) -> None:
    executions, epoch = SqlExecutions(database), await journal.claim()
    first = await executions.page(MARA, ExecutionFilter(), Page(limit=7))
    for n in range(3):
        await journal.append(creation(f"exec-1{n:02}", epoch=epoch))

    second = await executions.page(MARA, ExecutionFilter(), Page(limit=7, cursor=first.next_cursor, counts=False))

    assert [view.id for view in (*first.items, *second.items)] == [one.id for one in samples][::-1][:14]


async def test_lists_show_what_has_repaired_an_execution(database: Database, samples: list[Sample]) -> None:
    listed: Sequence[ExecutionView] = (await SqlExecutions(database).page(MARA, ExecutionFilter(), ALL)).items

    shown = {view.id: view.repaired_by for view in listed}
    assert shown == {one.id: repaired_by(one, samples) for one in samples}
    assert sum(value is not None for value in shown.values()) > 1


COUNTED: Final = """
SELECT workspace_id, flow_id, status, CAST(sum(number) AS bigint) FROM execution_counts
 GROUP BY workspace_id, flow_id, status HAVING sum(number) <> 0 ORDER BY 1, 2, 3
"""
ANEW: Final = """
SELECT workspace_id, flow_id, status, count(*) FROM executions
 GROUP BY workspace_id, flow_id, status ORDER BY 1, 2, 3
"""


async def test_counters_follow_every_change(
    database: Database, samples: list[Sample], path: Place, journal: SqlJournal
) -> None:
    assert rows_of(path, COUNTED) == rows_of(path, ANEW) != []

    await SqlRetention(database).purge(ended_before=NOON + timedelta(minutes=20), limit=100, unreported=())
    assert rows_of(path, COUNTED) == rows_of(path, ANEW)

    change(path, f"UPDATE flows SET workspace_id = '{OMAR}' WHERE id = 'flow-1'")
    moved = f"UPDATE executions SET workspace_id = '{OMAR}' WHERE flow_id = 'flow-1' AND completed_at IS NOT NULL"
    change(path, moved)
    assert rows_of(path, COUNTED) == rows_of(path, ANEW)
    assert (OMAR, "flow-1") in {row[:2] for row in rows_of(path, COUNTED)}


# Plans


def searches() -> Iterator[tuple[str, str]]:
    """Yield the statements of all filters, with a description."""
    names = [*execution_search._EXAMINED, *execution_search._RANGES]
    for size in (0, 1, 2, len(names)):
        for given in map(frozenset, itertools.combinations(names, size)):
            for terms in (0, 1, 3) if size < 2 else (0,):
                yield from searches_for(given, terms)


def searches_for(given: frozenset[str], terms: int) -> Iterator[tuple[str, str]]:
    indexes: Sequence[str | None] = execution_search.indexes_of(given, terms)
    if len(indexes) > 1:
        yield f"choice for {sorted(given)}, {terms=}", execution_search.numbers_of(given, terms=terms)
    for index, is_reversed in itertools.product(indexes or [None], (False, True)):
        found = search_of(given, index=index, terms=terms, is_reversed=is_reversed)
        what = f"of {sorted(given)}, {terms=} by {index}, {is_reversed=}"
        for name in ("page", "last", "number", "furthest", "up_to_furthest", "from_furthest"):
            if statement := getattr(found, name):
                yield f"{name} {what}", statement
        if found.last is None and len(given) < 2:
            yield f"rows {what}", execution_search._listed(executions._LISTING, found.page, found.number)


@pytest.mark.only("sqlite")
def test_every_search_goes_along_one_index_in_the_order_of_ids(path: Path) -> None:
    wrong = []
    with closing(sqlite3.connect(path)) as connection:
        for what, statement in searches():
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", _Anything())]
            looks = [step for step in plan if step.startswith(("SEARCH e ", "SEARCH t ", "SEARCH execution_counts "))]
            # The index of parents begins with the parent.
            if not looks or not all(re.search(r"\((parent_id=\? AND )?workspace_id=\?", step) for step in looks):
                wrong.append((what, plan))
            # The branches of several statuses are merged, and nothing else is sorted.
            if any("TEMP B-TREE" in step for step in plan) and len(looks) == 1:
                wrong.append((what, plan))
            if any(re.match(r"SCAN [extol]\b", step) for step in plan):
                wrong.append((what, plan))

    assert wrong == []


def test_the_input_of_an_execution_that_a_job_starts_is_not_decoded_for_its_terms() -> None:
    new = creation("e1", epoch=1).create
    assert new is not None

    assert terms_of_start(replace(new, job=JobId("job-1")), b"of any length") == (None, [(MARA, "job", "job-1", "e1")])


MANY: Final = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000),
               named (n, id) AS (SELECT n, 'exec-' || substr(CAST(1000000 + n AS text), 2) FROM numbers)
INSERT INTO executions (id, workspace_id, flow_id, revision_id, status, started_at, completed_at, error, error_type,
                        failed_node, trigger_id, rerun_of, original_id, parent_id, epoch, last_seq)
SELECT id, CASE WHEN n % 5 <> 0 THEN 'account-mara' ELSE 'other-' || (n % 50) END, 'flow-' || (n % 7), 'rev-1',
       CASE WHEN n % 10 = 1 THEN 'failed' ELSE 'completed' END, n, n, CASE WHEN n % 10 = 1 THEN 'm' END,
       CASE WHEN n % 10 = 1 THEN 'type-' || (n % 9) END, CASE WHEN n % 10 = 1 THEN 'node-' || (n % 7) END,
       CASE WHEN n % 3 = 0 THEN 't-' || (n % 11) END, CASE WHEN n % 4 = 0 THEN 'exec-000001' END,
       CASE WHEN n % 4 = 0 THEN 'exec-000001' END, CASE WHEN n % 4 = 1 THEN 'exec-000002' END, 0, 1
  FROM named
"""
MANY_TERMS: Final = """
INSERT INTO execution_terms (workspace_id, name, value, execution_id)
SELECT workspace_id, 'label.team', 'core', id FROM executions
 UNION ALL
SELECT workspace_id, 'label.customer', substr(id, 10), id FROM executions
 UNION ALL
SELECT workspace_id, 'input.order', substr(id, 6), id FROM executions
"""
OTHERS: Final = """
INSERT INTO workspaces (id, created_at) SELECT DISTINCT workspace_id, 0 FROM executions WHERE true
ON CONFLICT DO NOTHING
"""


MANY_COUNTERS: Final = """
INSERT INTO execution_counts (workspace_id, flow_id, status, number)
SELECT 'another', id, 'completed', 1 FROM executions WHERE error IS NULL
"""


def fill(path: Place) -> None:
    add_flows(path)
    if isinstance(path, str):
        # The database has the deleted rows of earlier tests, which mislead the planner.
        change(path, "VACUUM executions, execution_terms, execution_counts")
    for statement in (MANY, OTHERS, MANY_TERMS, MANY_COUNTERS):
        change(path, statement)
    if isinstance(path, str):
        change(path, "ANALYZE executions, execution_terms, execution_counts")


def crowded() -> Iterator[ExecutionFilter]:
    """Yield filters with conditions that very many executions fit, and that none fits."""
    some: list[dict[str, Any]] = [
        {"flow_id": FlowId("flow-1")},
        {"statuses": (Status.FAILED,)},
        {"statuses": (Status.RUNNING,)},
        {"statuses": (Status.FAILED, Status.COMPLETED)},
        {"error_type": "type-1"},
        {"failed_node": "node-1"},
        {"trigger_id": "t-1"},
        {"rerun_of": ExecutionId("exec-000001")},
        {"parent_id": ExecutionId("exec-000002")},
        {"first_id": "exec-001", "end_id": "exec-019"},
        {"statuses": (Status.FAILED,), "is_unrepaired": True},
        {"terms": (("label.team", "core"),)},
        {"terms": (("label.customer", "01"),)},
        {"terms": (("label.team", "core"), ("label.customer", "02"), ("input.order", "000002"))},
        {"terms": (("label.team", "none"),)},
        {"statuses": (Status.FAILED,), "is_latest": True},
        {"has_no_parent": True},
    ]
    chosen = [(one,) for one in some] + random.Random(5).sample(list(itertools.combinations(some, 2)), 25)
    status_label_flow_and_time = (some[1], some[10], some[0], some[8])
    for conditions in (*chosen, status_label_flow_and_time):
        yield ExecutionFilter(**{name: value for each in conditions for name, value in each.items()})


class Counting:
    """A transaction that only reads, and counts the work of the database. Args: work: Returns that of a statement."""

    def __init__(self, tx: Transaction, work: Callable[[Sql, Values], Awaitable[int]]) -> None:
        self.tx, self.work, self.done = tx, work, 0

    async def row(self, statement: Sql, values: Values = NO_VALUES) -> Row | None:
        self.done += await self.work(statement, values)
        return await self.tx.row(statement, values)

    async def rows(self, statement: Sql, values: Values = NO_VALUES) -> list[Row]:
        self.done += await self.work(statement, values)
        return await self.tx.rows(statement, values)

    def snapshot(self) -> AbstractAsyncContextManager[None]:
        return self.tx.snapshot()


async def test_the_work_for_a_page_is_limited_whatever_the_filter(
    path: Place, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_search, "MOST_EXAMINED", 100)
    monkeypatch.setattr(execution_search, "MOST_SAMPLED", 100)
    monkeypatch.setattr(execution_search, "MOST_COUNTED", 100)
    fill(path)
    # A row takes some 20 instructions of SQLite, and up to 100 with the conditions that are looked up.
    most = 30_000 if isinstance(path, Path) else 2_000

    async def pages(tx: Transaction, work: Callable[[Sql, Values], Awaitable[int]]) -> None:
        for wanted in crowded():
            for page in (
                Page(limit=10),
                Page(limit=10, cursor="exec-010000", counts=False),
                Page(limit=10, cursor="exec-010000", counts=False, is_reversed=True),
            ):
                counting = Counting(tx, work)
                await execution_search.search(cast("Any", counting), MARA, wanted, page, executions._LISTING)
                assert 0 < counting.done <= most, (wanted, page, counting.done)

    async def run(tx: Transaction) -> None:
        if isinstance(tx, SqliteTransaction):
            await pages(tx, partial(_instructions, tx.connection))
        elif isinstance(tx, PostgresTransaction):
            await tx.connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            await pages(tx, partial(_rows, tx.connection))

    await database.read_long(run)


async def _instructions(connection: sqlite3.Connection, statement: Sql, values: Values) -> int:
    done = 1

    def count() -> None:
        nonlocal done
        done += 10

    connection.set_progress_handler(count, 10)
    connection.execute(statement.sqlite if isinstance(statement, Statement) else statement, values).fetchall()
    connection.set_progress_handler(None, 0)
    return done


async def _rows(connection: "asyncpg.Connection[Any]", statement: Sql, values: Values) -> int:
    text, names = translated(statement)
    assert isinstance(values, Mapping)
    prepared = await connection.prepare(text)
    (explained,) = await prepared.explain(*(values[name] for name in names), analyze=True)
    return 1 + rows_read(explained["Plan"])


_SCANNED: Final = re.compile(r"'Seq Scan'[^{}]*'Relation Name': 'execution")


@pytest.mark.only("postgres")
def test_no_search_reads_the_whole_table(path: str) -> None:
    async def plans(connection: "asyncpg.Connection[Any]") -> list[Any]:
        wrong = []
        for what, statement in searches():
            text, names = translated(statement)
            values = [_SOME.get(name, _SOME.get(name.partition("_")[0])) for name in names]
            async with connection.transaction():
                # As for a statement that is executed often.
                await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
                prepared = await connection.prepare(text)
                plan = str(await prepared.explain(*values))
            # The flows and revisions of the rows are few here.
            if _SCANNED.search(plan) or ("Seq Scan" in plan and not what.startswith("rows")):
                wrong.append((what, plan))
        return wrong

    fill(path)
    assert connected(path, plans) == []


_SOME: Final[dict[str, Any]] = {
    "workspace_id": "account-mara", "flow_id": "flow-1", "statuses": ",failed,", "is": True, "error_type": "type-1",
    "failed_node": "node-1", "trigger_id": "t-1", "rerun_of": "exec-100", "parent_id": "exec-200",
    "first_id": "exec-001", "end_id": "exec-01",
    "sampled": 2500, "limit": 11, "offset": 0, "most": 11, "examined": 2500, "furthest": "exec-01", "beyond": 3,
    "beyond_and_page": 14,
    "counted": 10_000, "error_characters": 100, "name": "label.team", "value": "core",
}  # fmt: skip


class _Anything(dict[str, None]):
    """A mapping with a value for every parameter."""

    def __missing__(self, name: str) -> None:
        return None
