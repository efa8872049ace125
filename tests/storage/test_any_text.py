"""Logs and results of flows may hold any text, and no query misinterprets it."""

import functools
from dataclasses import replace
from typing import Any, cast

import pytest

from flowrunner.domain.causes import ChildOf
from flowrunner.domain.events import Logged, NodeCompleted, SignalReceived
from flowrunner.domain.values import JSON, ExecutionId, FlowId
from flowrunner.ports.children import UnreconciledChild
from flowrunner.ports.executions import LogFilter
from flowrunner.ports.flows import FlowFilter
from flowrunner.ports.page import Page
from flowrunner.storage.children import SqlChildExecutions
from flowrunner.storage.database import Database
from flowrunner.storage.execution_records import SqlExecutionRecords
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.overview import SqlOverview
from flowrunner.storage.step_events import SqlStepEvents
from support.databases import MARA, completion, creation, following, log_line

# A NUL, and what is written with the characters of its escape.
TEXTS = ("\0", "\\u0000", "\\\0", '{"escaped": "\\u0000"}', "\\\\u0000\\")


async def test_logs_with_any_text_are_listed_by_level(database: Database, journal: SqlJournal) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    await journal.append(following("e1", *map(log_line, TEXTS), epoch=epoch, after=2))

    async def lines(wanted: LogFilter) -> tuple[list[str], int | None]:
        found = await SqlExecutions(database).logs(MARA, ExecutionId("e1"), wanted, Page(limit=10), most=10)
        return [line.message for line in found.items], found.total

    assert await lines(LogFilter(levels=("info", "warn"))) == (list(TEXTS), len(TEXTS))
    assert await lines(LogFilter(levels=("error",))) == ([], 0)
    assert await lines(LogFilter(text="ESCAPED")) == ([TEXTS[3]], 1)


DEEP = functools.reduce(lambda value, _: [value], range(1500), cast("JSON", "deep"))


@pytest.mark.parametrize("result", [*TEXTS, pytest.param(DEEP, id="deep")])
async def test_a_parent_counts_as_notified_whatever_its_child_returned(
    journal: SqlJournal, children: SqlChildExecutions, result: JSON
) -> None:
    epoch = await journal.claim()
    parent = ExecutionId("parent")
    child = creation("child", epoch=epoch, cause=ChildOf(execution_id=parent, step="a.1", failures=0, flows=()))
    await journal.append(creation(parent, epoch=epoch))
    await journal.append(child)
    await journal.append(completion("child", epoch=epoch, result=result))
    unreconciled = [UnreconciledChild(child.execution_id, parent, child_has_ended=True)]
    assert await children.unreconciled() == await children.unreconciled(parent) == unreconciled

    await journal.append(following(parent, SignalReceived(key="flow:child", payload=result), epoch=epoch, after=2))

    assert await children.unreconciled() == await children.unreconciled(parent) == []


async def test_a_line_with_deep_data_is_left_out_of_no_selection(database: Database, journal: SqlJournal) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    deep = Logged(level="info", message="deep", data=DEEP)
    await journal.append(following("e1", deep, log_line("flat"), epoch=epoch, after=2))

    async def lines(wanted: LogFilter) -> list[str]:
        found = await SqlExecutions(database).logs(MARA, ExecutionId("e1"), wanted, Page(limit=10), most=10)
        return [line.message for line in found.items]

    assert await lines(LogFilter()) == await lines(LogFilter(levels=("info",))) == ["deep", "flat"]
    assert "flat" in await lines(LogFilter(text="FLAT"))
    assert "flat" not in await lines(LogFilter(levels=("error",)))


async def test_lines_are_selected_by_the_attempt_of_their_step(database: Database, journal: SqlJournal) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    of_step = Logged(level="info", message="first", node="a", node_type="log", iteration=1)
    lines = (of_step, replace(of_step, message="second", attempt=2), replace(of_step, message="none", iteration=None))
    await journal.append(following("e1", *lines, epoch=epoch, after=2))

    async def messages(attempt: int) -> list[str]:
        wanted, page = LogFilter(attempt=attempt), Page(limit=10)
        found = await SqlExecutions(database).logs(MARA, ExecutionId("e1"), wanted, page, most=10)
        return [line.message for line in found.items]

    assert [await messages(attempt) for attempt in (1, 2, 3)] == [["first"], ["second"], []]


async def test_events_with_deep_results_are_picked_out_by_their_scopes(database: Database, journal: SqlJournal) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    fields = {"node": "a", "node_type": "t", "iteration": 1, "attempt": 1, "action": "default", "result": DEEP}
    events = [NodeCompleted(**cast("Any", fields), scope=scope) for scope in ("each.1[0]", "each.1[1]", "")]
    await journal.append(following("e1", *events, epoch=epoch, after=2))

    async def picked(*scopes: str) -> list[int]:
        found = await SqlStepEvents(database).of_scopes(ExecutionId("e1"), 2, until=5, scopes=scopes)
        return [event.seq for event in found.events]

    assert [await picked("each.1[0]"), await picked("each.1[1]", ""), await picked("other")] == [[3], [4, 5], []]


async def test_a_wanted_text_with_a_nul_is_found_nowhere(database: Database, journal: SqlJournal) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    unknown, flows = "a\0b", SqlFlows(database)

    assert await SqlExecutionRecords(database).existing(MARA, [ExecutionId(unknown)]) == set()
    assert await SqlExecutions(database).summaries([ExecutionId(unknown)]) == []
    assert await flows.page(MARA, FlowFilter(tags=(unknown,)), page=Page(limit=1)) == ([], 0)
    overview = SqlOverview(database)
    assert (await overview.activity(MARA, flows=1, of_each=1, open_ones=1, ids=[FlowId(unknown)])).flows == []
    found = await SqlStepEvents(database).of_scopes(ExecutionId("e1"), 0, until=1, scopes=frozenset([unknown]))
    assert not found.events
