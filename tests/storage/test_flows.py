"""Flows in the database."""

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from flowrunner.domain.errors import Conflict, LimitReached, NotFound
from flowrunner.domain.values import FlowId, RevisionId
from flowrunner.ports.flows import FlowFilter, NamedChange, SavedFlow
from flowrunner.ports.page import Page
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.flows import SqlFlows
from support.databases import MARA, NOON, OMAR, Place, open_database, rows_of

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
        changed = await flows.update(
            MARA, FlowId("flow-1"), lambda before, r=revision, d=definition: flow(revision=r, definition=d)
        )
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


async def test_no_flow_is_made_for_an_account_that_is_gone(flows: SqlFlows, accounts: SqlAccounts) -> None:
    await accounts.delete(OMAR, at=NOON)

    with pytest.raises(NotFound):
        await flows.create(OMAR, flow())


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
                stores[n % len(stores)].save_named(
                    MARA, [NamedChange(name="N", change=partial(_saved, id=f"flow-{n}"), size=None)]
                )
                for n in range(20)
            )
        )
    finally:
        await other.close()

    changes = [change for (change,) in saved]
    assert [change.before is None for change in changes].count(True) == 1
    assert len({change.after.id for change in changes}) == 1
    assert rows_of(path, "SELECT count(*) FROM flows") == [(1,)]


async def test_named_changes_happen_together_or_not_at_all(flows: SqlFlows, path: Place) -> None:
    def refuse(before: SavedFlow | None) -> SavedFlow:
        raise Conflict("no")

    def named(name: str) -> NamedChange:
        return NamedChange(
            name=name, size=None, change=lambda before: replace(flow(name, revision=f"rev-{name}"), name=name)
        )

    with pytest.raises(Conflict):
        await flows.save_named(MARA, [named("a"), NamedChange(name="b", change=refuse, size=None)])
    with pytest.raises(LimitReached):
        await flows.save_named(MARA, [named("a"), named("b")], most=1)
    assert rows_of(path, "SELECT count(*) FROM flows") == [(0,)]
    await flows.save_named(MARA, [named("a"), named("b")], most=2)
    assert rows_of(path, "SELECT id FROM flows ORDER BY id") == [("a",), ("b",)]
