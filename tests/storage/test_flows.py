"""Flows in the database."""

import asyncio
import itertools
import re
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import asyncpg
import pytest

from flowrunner.domain.errors import Conflict, InvalidInput, LimitReached, NotFound
from flowrunner.domain.flow_tools import FlowTool
from flowrunner.domain.values import FlowId, RevisionId
from flowrunner.ports.flows import FlowFilter, FlowSort, NamedChange, SavedFlow
from flowrunner.ports.page import Page
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.flow_pages import _page_of
from flowrunner.storage.flows import CALLED, SqlFlows
from flowrunner.storage.postgres.transaction import translated
from flowrunner.storage.transaction import Refused, Sql
from support.databases import MARA, NOON, OMAR, OMAR_ACCOUNT, Place, open_database, rows_of
from support.postgres import connected

from .samples import ALL, flow


async def test_a_flow_is_read_back_byte_for_byte(flows: SqlFlows) -> None:
    definition = "\ufeffnodes:\r\n  é😀: {}  # \t \n\n"
    await flows.create(MARA, flow(definition=definition))

    assert await flows.get(MARA, FlowId("flow-1")) == flow(definition=definition)
    assert await flows.definition(MARA, RevisionId("rev-1")) == definition


async def test_a_changed_definition_is_a_new_revision_and_the_old_one_stays(flows: SqlFlows, path: Place) -> None:
    await flows.create(MARA, flow())
    for _ in range(2):
        await flows.update(MARA, FlowId("flow-1"), lambda before: flow(revision="rev-2", definition="two"))

    assert (await flows.current(MARA, FlowId("flow-1"))).revision_id == "rev-2"
    assert await flows.definition(MARA, RevisionId("rev-1")) == "nodes: …"
    assert rows_of(path, "SELECT id, number FROM revisions ORDER BY number") == [("rev-1", 1), ("rev-2", 2)]


async def test_every_change_counts_and_a_new_definition_counts_twice(flows: SqlFlows) -> None:
    await flows.create(MARA, flow())
    states = [(await flows.get(MARA, FlowId("flow-1"))).state]

    # The store assigns the numbers, whatever the change contains.
    for revision, definition in (("rev-1", "one"), ("rev-2", "two"), ("rev-2", "two"), ("rev-3", "three")):
        to = flow(revision=revision, definition=definition)

        def change(before: SavedFlow, to: SavedFlow = to) -> SavedFlow:
            return to

        changed = await flows.update(MARA, FlowId("flow-1"), change)
        states.append(changed.state)
        assert (await flows.get(MARA, FlowId("flow-1"))).state == changed.state

    assert states == ["1.1", "1.2", "2.3", "2.4", "3.5"]
    assert [f.revision for f in (await flows.page(MARA, page=ALL))[0]] == [3]


async def test_a_change_that_fails_leaves_the_flow_as_it_was(flows: SqlFlows) -> None:
    def refuse(before: SavedFlow) -> SavedFlow:
        raise Conflict("no")

    await flows.create(MARA, flow())

    with pytest.raises(Conflict):
        await flows.update(MARA, FlowId("flow-1"), refuse)

    assert await flows.get(MARA, FlowId("flow-1")) == flow()


async def test_a_revision_that_is_there_already_is_refused_with_its_flow(flows: SqlFlows, path: Place) -> None:
    await flows.create(MARA, flow())

    with pytest.raises(Refused):
        await flows.create(MARA, flow("flow-2", revision="rev-1"))

    assert rows_of(path, "SELECT id FROM flows") == [("flow-1",)]


async def test_no_flow_is_made_for_an_account_that_is_gone(flows: SqlFlows, accounts: SqlAccounts) -> None:
    await accounts.delete(OMAR_ACCOUNT, at=NOON)

    with pytest.raises(NotFound):
        await flows.create(OMAR, flow())


async def test_each_save_wakes_what_waits_for_triggers(flows: SqlFlows) -> None:
    changed = replace(flow(), definition="nodes: {}", revision_id=RevisionId("rev-2"))
    deployed = NamedChange(name="b", change=lambda _: replace(flow("flow-2", revision="rev-3"), name="b"), size=None)
    saves: list[Callable[[], Awaitable[object]]] = [
        lambda: flows.create(MARA, flow()),
        lambda: flows.update(MARA, FlowId("flow-1"), lambda _: changed),
        lambda: flows.deploy(MARA, [deployed], at=NOON),
    ]
    woken = []
    for save in saves:
        flows.armed.clear()
        flows.listening.clear()
        await save()
        woken.append((flows.armed.is_set(), flows.listening.is_set()))

    assert woken == [(True, True)] * 3


async def test_flows_belong_to_their_account(flows: SqlFlows) -> None:
    await flows.create(MARA, flow())

    for attempt in (
        flows.get(OMAR, FlowId("flow-1")),
        flows.update(OMAR, FlowId("flow-1"), lambda before: before),
        flows.delete(OMAR, FlowId("flow-1"), at=NOON),
        flows.current(OMAR, FlowId("flow-1")),
        flows.definition(OMAR, RevisionId("rev-1")),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await flows.page(OMAR, page=ALL) == ([], 0)


async def test_a_deleted_flow_is_gone_and_its_revisions_stay(flows: SqlFlows) -> None:
    await flows.create(MARA, flow())
    await flows.delete(MARA, FlowId("flow-1"), at=NOON)

    with pytest.raises(NotFound):
        await flows.get(MARA, FlowId("flow-1"))
    with pytest.raises(NotFound):
        await flows.current(MARA, FlowId("flow-1"))
    assert await flows.page(MARA, page=ALL) == ([], 0)
    assert await flows.definition(MARA, RevisionId("rev-1")) == "nodes: …"


async def test_a_check_that_fails_keeps_the_flow(flows: SqlFlows) -> None:
    def refuse(before: SavedFlow) -> None:
        assert before == flow()
        raise Conflict("no")

    await flows.create(MARA, flow())

    with pytest.raises(Conflict):
        await flows.delete(MARA, FlowId("flow-1"), at=NOON, check=refuse)
    assert await flows.get(MARA, FlowId("flow-1")) == flow()
    for owner, id in ((OMAR, "flow-1"), (MARA, "flow-2")):
        with pytest.raises(NotFound):
            await flows.delete(owner, FlowId(id), at=NOON, check=refuse)


async def test_flows_are_listed_in_pages_and_by_tag(flows: SqlFlows, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(5):
        await flows.create(MARA, flow(f"flow-{n}", revision=f"rev-{n}", tags=["all", f"'t{n % 2}'"]))

    page, total = await flows.page(MARA, page=Page(limit=2, offset=1))
    assert ([f.id for f in page], total) == (["flow-1", "flow-2"], 5)
    page, total = await flows.page(MARA, FlowFilter(tags=("'t1'",)), page=ALL)
    assert ([f.id for f in page], total) == (["flow-1", "flow-3"], 2)
    assert page[0].tags == ["all", "'t1'"]
    assert await flows.page(MARA, FlowFilter(tags=("none",)), page=ALL) == ([], 0)
    assert await flows.page(MARA, page=Page(limit=2, offset=9)) == ([], 5)
    every = FlowFilter(name="N", text="N", tags=("all", "'t0'"))
    assert [f.id for f in (await flows.page(MARA, every, page=ALL))[0]] == []
    named = FlowFilter(name=page[0].name, text=page[0].name[1:], tags=("all", "'t1'"))
    assert [f.id for f in (await flows.page(MARA, named, page=ALL))[0]] == ["flow-1", "flow-3"]
    # Long pages are read in portions.
    monkeypatch.setattr("flowrunner.storage.flow_pages._FLOWS_AT_ONCE", 2)
    page, total = await flows.page(MARA, page=ALL)
    assert ([f.id for f in page], total) == ([f"flow-{n}" for n in range(5)], 5)
    page, total = await flows.page(MARA, page=Page(limit=3, offset=1))
    assert ([f.id for f in page], total) == ([f"flow-{n}" for n in range(1, 4)], 5)


SORTS: Final[tuple[FlowSort, ...]] = ("created_at", "name", "updated_at")
INDEXES: Final = {"created_at": "flows_workspace", "name": "flows_name", "updated_at": "flows_changed"}


async def test_flows_are_sorted_in_both_directions_by_pages_that_follow_each_other(flows: SqlFlows) -> None:
    # Equal names and moments; a name as long as any; letters whose order depends on the language, and one with a colon.
    names = ["b", "a:1", "Z", "é", "b", "😀" * 200, "z", "e"]
    changed = [3, 1, 2, 3, 3, 0, 1, 2]
    for n, (name, at) in enumerate(zip(names, changed, strict=True)):
        saved = flow(f"flow-{n}", revision=f"rev-{n}")
        await flows.create(MARA, replace(saved, name=name, updated_at=NOON + timedelta(milliseconds=at)))
    await flows.create(OMAR, flow("flow-other", revision="rev-other"))
    keys: dict[FlowSort, Callable[[int], Any]] = {
        "created_at": lambda n: n,
        "name": lambda n: (names[n], n),
        "updated_at": lambda n: (changed[n], n),
    }

    for sort, is_reversed in itertools.product(SORTS, (False, True)):
        wanted = FlowFilter(sort=sort)
        expected = [f"flow-{n}" for n in sorted(range(len(names)), key=keys[sort], reverse=is_reversed)]
        page = Page(limit=100, is_reversed=is_reversed)
        assert [f.id for f in (await flows.page(MARA, wanted, page=page))[0]] == expected, (sort, is_reversed)
        found: list[str] = []
        cursor = ""
        while True:
            page = Page(limit=3, cursor=cursor, is_reversed=is_reversed)
            listed, total = await flows.page(MARA, wanted, page=page)
            found += [f.id for f in listed]
            assert total == len(names)
            if len(listed) < 3:
                break
            cursor = wanted.position(listed[-1])
        assert found == expected, (sort, is_reversed)


async def test_a_cursor_of_another_order_is_rejected(flows: SqlFlows) -> None:
    for sort, cursor in (("name", "flow-1"), ("updated_at", "flow-1"), ("updated_at", "flow-1:soon")):
        with pytest.raises(InvalidInput):
            await flows.page(MARA, FlowFilter(sort=cast("FlowSort", sort)), page=Page(limit=3, cursor=cursor))


@pytest.mark.only("sqlite")
def test_a_page_of_sorted_flows_reads_no_other_ones(path: Path) -> None:
    """The rows of a page are found by an index in the order of the list."""
    with closing(sqlite3.connect(path)) as connection:
        for sort, is_reversed, is_first in itertools.product(SORTS, (False, True), (False, True)):
            statement = _page_of(frozenset(), sort=sort, is_reversed=is_reversed, is_first=is_first).sqlite
            names = set(re.findall(r":(\w+)", statement))
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", dict.fromkeys(names, 1))]
            reads = [step for step in plan if "flows" in step and "COVERING" not in step]
            assert any(INDEXES[sort] in step for step in reads), plan
            assert not any(step.startswith("SCAN flows") for step in plan), plan
            # Of flows with one name, the ids are sorted.
            assert [step for step in plan if "B-TREE FOR ORDER BY" in step] == [], plan


@pytest.mark.only("postgres")
def test_postgresql_reads_a_page_of_sorted_flows_by_an_index(path: str) -> None:
    values = {"workspace_id": "w", "counts": False, "limit": 5, "offset": 0, "after_updated_at": 1}

    async def plan(connection: "asyncpg.Connection[Any]") -> str:
        # Of few flows, a scan is as cheap.
        await connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        given = [values.get(name, "a") for name in names]
        return "\n".join([row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *given)])

    for sort, is_reversed in itertools.product(SORTS, (False, True)):
        statement, names = translated(_page_of(frozenset(), sort=sort, is_reversed=is_reversed))
        found = connected(path, plan)
        assert re.search(rf"Index.* using {INDEXES[sort]} on flows", found), found
        assert "Seq Scan" not in found, found


MANY_FLOWS: Final = """
INSERT INTO flows (id, workspace_id, name, description, version, tags, revision_id, edition, created_at, updated_at,
                   secret_names, config_names)
SELECT 'flow-' || n, 'w', 'name ' || n, '', '', '[]', 'revision', 1, 1, 1, '[]', '[]' FROM generate_series(1, 2000) n
"""


@pytest.mark.only("postgres")
@pytest.mark.parametrize("statement", [CALLED, _page_of(frozenset({"name"}), sort="name", is_reversed=False)])
def test_postgresql_finds_flows_of_a_name_by_an_index(path: str, statement: Sql) -> None:
    text, names = translated(statement)
    values = {"workspace_id": "w", "counts": True, "limit": 5, "offset": 0}

    async def plan(connection: "asyncpg.Connection[Any]") -> list[str]:
        # Of few flows, a scan is as cheap.
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(MANY_FLOWS)
        await connection.execute("ANALYZE flows")
        found = await connection.fetch(f"EXPLAIN {text}", *[values.get(name, "zzz") for name in names])
        return [row[0] for row in found]

    found = connected(path, plan)
    assert [step for step in found if "Index Cond:" in step and "name" in step], found
    assert not any("Seq Scan on flows" in step for step in found), found


# Names of flows, and texts that are found in each, and not.
ANY_CASE: Final = (
    ("Äpfel und Öl", ("äpfel", "ÄPFEL UND ÖL", "öL"), ("apfel", "ä p")),
    ("ЗАКАЗ обработан", ("заказ ОБРАБОТАН", "каЗ"), ("закас",)),
    ("Σίσυφος", ("σ", "ΣΊΣΥΦΟΣ", "φοσ"), ("ώ",)),
    ("STRAẞE 5 \u212b", ("straße", "5 å"), ("strasse",)),
    ("Gruß an alle", ("GRUß", "uẞ an"), ("gruss",)),
    ("100 % of [a-z]* and 'quotes'", ("% OF [A-Z]*", "'QUOTES'"), ("100 %of", "a_z")),
)


async def test_a_text_is_found_in_any_case_and_any_script(flows: SqlFlows) -> None:
    for n, (name, _, _) in enumerate(ANY_CASE):
        description = "Перевод İstanbul" if n == 0 else ""
        saved = replace(flow(f"flow-{n}", revision=f"rev-{n}"), name=name, description=description)
        await flows.create(MARA, saved)

    async def found(text: str) -> list[str]:
        return [each.id for each in (await flows.page(MARA, FlowFilter(text=text), page=ALL))[0]]

    for n, (_, texts, others) in enumerate(ANY_CASE):
        assert {text: await found(text) for text in texts} == {key: [f"flow-{n}"] for key in texts}
        assert not any([f"flow-{n}" in await found(text) for text in others])
    assert await found("ПЕРЕВОД İSTANBUL") == ["flow-0"]
    # A text with more letters than are replaced.
    assert await found("".join(map(chr, range(0x410, 0x410 + 150)))) == []


def _saved(before: SavedFlow | None, id: str) -> SavedFlow:
    return before or replace(flow(id, revision=f"rev-{id}"), name="N")


async def test_of_many_that_create_one_name_at_once_one_does(flows: SqlFlows, path: Place) -> None:
    other = open_database(path)
    try:
        # The second store is another process as far as the database knows.
        stores = [flows, SqlFlows(other)] if not isinstance(path, Path) else [flows]
        saved = await asyncio.gather(
            *(
                stores[n % len(stores)].deploy(
                    MARA, [NamedChange(name="N", change=partial(_saved, id=f"flow-{n}"), size=None)], at=NOON
                )
                for n in range(20)
            )
        )
    finally:
        await other.close()

    changes = [change for ((change,), _) in saved]
    assert [change.before is None for change in changes].count(True) == 1
    assert len({change.after.id for change in changes}) == 1
    assert rows_of(path, "SELECT count(*) FROM flows") == [(1,)]


@pytest.mark.parametrize("name", [r"C:\u0000", r"\\u0000", "a\\", '"', "\ufffd"])
async def test_a_flow_is_found_by_a_name_with_backslashes(flows: SqlFlows, name: str) -> None:
    await flows.create(MARA, replace(flow("a"), name=name))

    found = await flows.named(MARA, name)

    assert (found.id, found.name) == ("a", name)
    with pytest.raises(NotFound):
        await flows.named(MARA, f"{name}\0")


async def test_named_changes_happen_together_or_not_at_all(flows: SqlFlows, path: Place) -> None:
    def refuse(before: SavedFlow | None) -> SavedFlow:
        raise Conflict("no")

    def named(name: str) -> NamedChange:
        return NamedChange(
            name=name, size=None, change=lambda before: replace(flow(name, revision=f"rev-{name}"), name=name)
        )

    with pytest.raises(Conflict):
        await flows.deploy(MARA, [named("a"), NamedChange(name="b", change=refuse, size=None)], at=NOON)
    with pytest.raises(LimitReached):
        await flows.deploy(MARA, [named("a"), named("b")], at=NOON, most=1)
    assert rows_of(path, "SELECT count(*) FROM flows") == [(0,)]
    await flows.deploy(MARA, [named("a"), named("b")], at=NOON, most=2)
    # Where there is room for no further flow, those that are there can be changed.
    await flows.deploy(MARA, [named("a"), named("b")], at=NOON, most=2)
    assert rows_of(path, "SELECT id FROM flows ORDER BY id") == [("a",), ("b",)]


async def test_a_deployment_at_the_limit_may_replace_what_it_deletes(flows: SqlFlows, path: Place) -> None:
    def named(name: str, *, tool: str | None = None) -> NamedChange:
        made = replace(
            flow(name, revision=f"rev-{name}"), name=name, tool=None if tool is None else FlowTool(tool, "{}")
        )
        return NamedChange(name=name, size=None, change=lambda before: made)

    await flows.deploy(MARA, [named("a", tool="t"), named("b")], at=NOON, most=2)
    # Clients may send any text for an id.
    ids = [FlowId("a"), FlowId("none"), FlowId("a"), FlowId("a\0b"), FlowId("")]

    with pytest.raises(LimitReached):
        await flows.deploy(MARA, [named("c"), named("d")], delete=ids, at=NOON, most=2)
    with pytest.raises(Conflict, match="The flow 'b' is to be both saved and deleted"):
        await flows.deploy(MARA, [named("b")], delete=[FlowId("b")], at=NOON, most=2)
    # It is the tool that the deleted one was.
    planned = await flows.plan_deployment(MARA, [named("c", tool="t")], delete=ids, at=NOON, most=2)
    elsewhere = await flows.deploy(OMAR, [], delete=ids, at=NOON, most=2)
    assert rows_of(path, "SELECT id FROM flows WHERE deleted_at IS NULL ORDER BY id") == [("a",), ("b",)]
    deployed = await flows.deploy(MARA, [named("c", tool="t")], delete=ids, at=NOON, most=2)

    assert (planned.deleted, elsewhere.deleted, deployed.deleted) == (["a"], [], ["a"])
    assert rows_of(path, "SELECT id FROM flows WHERE deleted_at IS NULL ORDER BY id") == [("b",), ("c",)]
