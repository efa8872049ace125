"""Flows as tools: their names are unique in a workspace, whatever changes them."""

from dataclasses import replace

import pytest

from flowrunner.domain.errors import Conflict
from flowrunner.domain.flow_tools import MOST_TOOLS, FlowTool, tool_name
from flowrunner.domain.limits import UNLIMITED
from flowrunner.domain.values import FlowId
from flowrunner.ports.flows import FlowChange, SavedFlow
from flowrunner.storage.database import Database
from flowrunner.storage.flow_moves import SqlFlowMoves
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.transaction import Refused
from support.databases import MARA, NOON, OMAR

from .samples import flow

GREET = FlowTool("flow_greet", '{"type":"object"}')


def published(id: str, tool: FlowTool | None = GREET) -> SavedFlow:
    return replace(flow(id, revision=f"{id}-1"), tool=tool)


async def names(flows: SqlFlows) -> list[str]:
    return [found.tool.name for found in await flows.tools(MARA)]


async def test_a_tool_is_read_back_and_listed_unless_its_flow_is_disabled_or_deleted(flows: SqlFlows) -> None:
    await flows.create(MARA, published("one"))
    await flows.create(MARA, published("two", None))

    assert (await flows.get(MARA, FlowId("one"))).tool == GREET
    assert [(found.id, found.tool) for found in await flows.tools(MARA)] == [("one", GREET)]
    assert await flows.tools(OMAR) == []
    await flows.update(MARA, FlowId("one"), lambda before: replace(before, disabled_at=NOON))
    assert await names(flows) == []
    await flows.update(MARA, FlowId("one"), lambda before: replace(before, disabled_at=None, tool=None))
    assert await names(flows) == []


async def test_another_flow_of_the_workspace_cannot_take_the_name(flows: SqlFlows) -> None:
    await flows.create(MARA, published("one"))
    await flows.create(MARA, published("two", GREET._replace(name="flow_two")))
    await flows.create(OMAR, published("theirs"))

    with pytest.raises((Conflict, Refused), match="give one of the two another name"):
        await flows.create(MARA, published("three"))
    with pytest.raises((Conflict, Refused), match="give one of the two another name"):
        await flows.update(MARA, FlowId("two"), lambda before: replace(before, tool=GREET))
    with pytest.raises(Conflict):
        await flows.check_writable(MARA, [FlowChange(None, published("three"))])
    # None of the two is a tool yet.
    both = [FlowChange(None, published(id, GREET._replace(name="flow_other"))) for id in ("four", "five")]
    with pytest.raises(Conflict):
        await flows.check_writable(MARA, both)
    one = await flows.get(MARA, FlowId("one"))
    await flows.check_writable(MARA, [FlowChange(one, replace(one, description="changed"))])
    assert (await flows.get(MARA, FlowId("one"))).description == one.description
    await flows.delete(MARA, FlowId("one"), at=NOON)
    await flows.update(MARA, FlowId("two"), lambda before: replace(before, tool=GREET))
    assert await names(flows) == ["flow_greet"]


async def test_a_workspace_has_a_bounded_number_of_tools(flows: SqlFlows) -> None:
    for n in range(MOST_TOOLS):
        await flows.create(MARA, published(f"f{n}", GREET._replace(name=f"flow_{n:02}")))

    with pytest.raises((Conflict, Refused), match=f"at most {MOST_TOOLS} flows that are tools"):
        await flows.create(MARA, published("more", GREET._replace(name="flow_more")))
    await flows.update(MARA, FlowId("f0"), lambda before: replace(before, name="another"))
    assert len(await names(flows)) == MOST_TOOLS


async def test_a_move_is_refused_where_the_name_is_taken(database: Database, flows: SqlFlows) -> None:
    await flows.create(MARA, published("one"))
    await flows.create(OMAR, published("theirs"))

    with pytest.raises((Conflict, Refused), match="give one of the two another name"):
        await SqlFlowMoves(database).begin(MARA, FlowId("one"), OMAR, limits=UNLIMITED)
    assert await names(flows) == ["flow_greet"]


@pytest.mark.parametrize(
    ("name", "tool"),
    [
        ("Order sync", "flow_order_sync"), ("  a--b__c  ", "flow_a_b_c"), ("Größe ÄÖ", "flow_grosse_ao"),
        ("x" * 300, "flow_" + "x" * 55), ("run_flow", "flow_run_flow"), ("flow_x", "flow_flow_x"), ("①", "flow_1"),
        ("../../etc", "flow_etc"), ("a\x00b\n\x1bc", "flow_a_b_c"), ("数据", None), ("", None), ("_", None),
    ],
)  # fmt: skip
def test_the_name_of_a_tool_has_what_every_client_takes(name: str, tool: str | None) -> None:
    assert tool_name(name) == tool
