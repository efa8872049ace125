"""Executions that start others: what becomes of the one when the other ends, goes on, or the process stops."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.broadcast import LocalBroadcast
from flowrunner.dispatch import attempts, local
from flowrunner.domain.causes import ChildOf, Hook, awaiting_parent
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import (
    Cancelled,
    Completed,
    NodeCompleted,
    NodeStarted,
    NodeWaiting,
    SignalReceived,
    Started,
)
from flowrunner.domain.status import Status
from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import ExecutionId, FlowId, RevisionId
from flowrunner.engine import actor
from flowrunner.nodes.subflow import SubflowNode
from flowrunner.plugin import ChildWait, NodeFailure, StepContext, Suspend
from flowrunner.ports.concurrency import ConcurrencyLimits
from flowrunner.ports.dispatch import PARENT_HAS_ENDED, PARENT_HAS_GONE_ON, REPLACED, Signal
from flowrunner.ports.journal import Append, Journal, NewExecution
from support.databases import MARA, NOON, Place, change, rows_of
from support.dependencies import PATIENCE_SECONDS, Acting, FakeHttp, Machine, SteppingClock, answer, machine, never
from support.invariants import check_database

from .crashes import ADMIN

PARENT: Final = ExecutionId("exec-1")
WAITS: Final = "nodes: {hold: {type: wait, params: {key: go}}}"
CALLS: Final = "nodes: {call: {type: flow, params: {flow: child}, next: {default: done}}, done: {type: return}}"
UNASKED: Final = Signal(key="approval:ask.1", payload=None, if_awaited=True)
TIDIES: Final = """
on_finish: rest
nodes:
  hold: {type: wait, params: {key: never}}
  rest: {type: delay, params: {duration: 1h}, next: tidy}
  tidy: {type: webhook, params: {url: "http://peer/tidy"}}
"""


class Gate:
    """A journal that keeps back the answers to first appends, or refuses them although they were written."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.opened = asyncio.Event()
        self.opened.set()
        self.reached = asyncio.Event()
        self.refusals = 0

    async def append(self, append: Append) -> None:
        await self._journal.append(append)
        if append.create is None or awaiting_parent(append.create.cause) is None:
            return
        self.reached.set()
        await self.opened.wait()
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("The database cannot be written at the moment")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


class Slots:
    """The concurrency slots, for tests that change one thing about them."""

    def __init__(self, concurrency: ConcurrencyLimits) -> None:
        self._concurrency = concurrency

    def __getattr__(self, name: str) -> Any:
        return getattr(self._concurrency, name)


def gated(path: Path, **more: Any) -> Any:
    return machine(path, wrap=lambda journal, _: Gate(journal), **more)


def children(path: Place) -> list[ExecutionId]:
    return [
        ExecutionId(id) for (id,) in rows_of(path, "SELECT id FROM executions WHERE parent_id IS NOT NULL ORDER BY id")
    ]


async def until_waiting_for_child(engine: Machine) -> ExecutionId:
    async def waits() -> bool:
        states = rows_of(engine.path, "SELECT is_idle FROM executions ORDER BY id")
        return len(states) == 2 and all(rests for (rests,) in states) and engine.dispatcher.active == 0

    await engine.until(waits)
    (child,) = children(engine.path)
    return child


async def end_of(engine: Machine, id: ExecutionId) -> Any:
    await engine.until_ended(id)
    return (await engine.events(id))[-1]


class Deaf:
    """A journal that does not let the end of a child through to its parent: the process dies before."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def append(self, append: Append) -> None:
        if any(isinstance(record.event, SignalReceived) for record in append.records):
            await asyncio.Event().wait()
        await self._journal.append(append)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


class Unheard:
    """A journal that lets nothing through that a parent records after its child is there: the process dies before."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._has_child = False

    async def append(self, append: Append) -> None:
        if self._has_child:
            await asyncio.Event().wait()
        self._has_child = append.create is not None and append.execution_id != PARENT
        await self._journal.append(append)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


async def test_a_parent_that_missed_the_end_of_its_child_is_notified_at_the_next_start(path: Path) -> None:
    http = FakeHttp()
    http.at("http://peer/", answer(body='"done"'))
    async with machine(path, http=http, wrap=lambda journal, _: Deaf(journal)) as first:
        await first.save(
            "nodes: {ask: {type: webhook, params: {url: 'http://peer/'}, output: '${result.body}'}}", "child"
        )
        await first.save(CALLS)
        await first.start(input={})

        async def child_has_ended() -> bool:
            return rows_of(path, "SELECT status FROM executions WHERE parent_id = 'exec-1'") == [("completed",)]

        await first.until(child_has_ended)
        assert await first.status() is not Status.COMPLETED
    async with machine(path, http=http) as second:
        assert await second.until_ended() is Status.COMPLETED
        (result,) = [e.result for e in await second.events() if isinstance(e, NodeCompleted) and e.node == "call"]

    assert result == "done"
    assert check_database(path) == []


async def test_a_child_whose_parent_went_on_without_it_is_cancelled_at_the_next_start(path: Path) -> None:
    """The process dies between the record that the parent goes on, and the end of the child."""
    clock = SteppingClock()
    async with machine(path, clock=clock) as first:
        await first.save(WAITS, "child")
        await first.save(
            "nodes: {call: {type: flow, params: {flow: child}, timeout: 1h, next: {error.timeout: hold}},"
            " hold: {type: wait, params: {key: go}}}"
        )
        await first.start(input={})
        child = await until_waiting_for_child(first)
        first.dispatcher.cancel_soon = lambda *_, **__: None  # type: ignore[method-assign]
        clock.advance(hours=2)
        first.look_at_timers()

        async def parent_has_gone_on() -> bool:
            return any(event.type == "node.failed" for event in await first.events())

        await first.until(parent_has_gone_on)
        assert await first.is_idle(child)
    async with machine(path, clock=clock) as second:
        assert await end_of(second, child) == Cancelled(reason=PARENT_HAS_GONE_ON)
        assert await second.is_idle()


async def test_the_child_of_a_failed_attempt_is_cancelled_although_the_next_attempt_runs(path: Path) -> None:
    """The process dies before it looks for the children of the failed attempt."""

    async def calls(value: Any, context: StepContext) -> Any:
        if context.failures == 0:
            await context.flows.start("child", version=None, input={}, wait=True)
            raise NodeFailure("app.bad", "after the start of the child")
        await asyncio.Event().wait()

    types = [Acting("calls", calls, starts_executions=True)]
    async with machine(path, types=types) as first:
        await first.save(WAITS, "child")
        await first.save("nodes: {call: {type: calls, retry: {max: 1, delay: 0s, errors: ['*']}}}")
        first.dispatcher.reconcile_children = lambda *_: None  # type: ignore[method-assign]
        await first.start(input={})

        async def next_attempt_runs() -> bool:
            return [e.attempt for e in await first.events() if isinstance(e, NodeStarted)] == [1, 2]

        await first.until(next_attempt_runs)
    (child,) = children(path)
    async with machine(path, types=types) as second:
        assert await end_of(second, child) == Cancelled(reason=PARENT_HAS_GONE_ON)
        assert await second.status() is Status.RUNNING


async def test_a_child_is_as_far_from_the_first_request_as_its_parent(path: Path) -> None:
    cause = Hook(trigger=TriggerId("trig-1"), name="in", delivery="hook-1", depth=5)
    async with machine(path) as engine:
        await engine.save("nodes: {a: {type: return}}", "child")
        await engine.save(CALLS)
        new = NewExecution(
            id=PARENT, workspace_id=MARA, flow_id=FlowId("flow-1"), revision_id=RevisionId("rev-flow-1"),
            started_at=NOON, cause=cause,
        )  # fmt: skip
        await engine.dispatcher.start(new, await engine.library.get(MARA, new.revision_id), {})
        await engine.until_ended(PARENT)
        (child,) = children(path)
        started, *_ = await engine.events(child)

    assert isinstance(started, Started)
    assert isinstance(started.cause, ChildOf)
    assert (started.cause.depth, started.cause.flows) == (5, ("flow-1",))


async def test_few_of_many_children_are_in_memory_to_be_cancelled(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory: list[int] = []
    async with machine(path) as engine:
        load = engine.dispatcher._engine.load

        async def counted(id: ExecutionId) -> Any:
            in_memory.append(engine.in_memory)
            return await load(id)

        await engine.save(WAITS, "child")
        await engine.save(
            f"nodes: {{each: {{type: foreach, params: {{items: {[{}] * 60}, concurrency: 60}},"
            " nodes: {call: {type: flow, params: {flow: child}}}}}"
        )
        id = await engine.start(input={})

        async def all_wait() -> bool:
            return engine.in_memory == 0 and len(await engine.rows("SELECT 1 FROM executions WHERE is_idle")) == 61

        await engine.until(all_wait)
        monkeypatch.setattr(engine.dispatcher._engine, "load", counted)
        await engine.dispatcher.cancel(id, reason="enough")

        async def all_have_ended() -> bool:
            return len(await engine.rows("SELECT 1 FROM executions WHERE status = 'cancelled'")) == 61

        await engine.until(all_have_ended)
    assert max(in_memory) <= local.MOST_LINKED // 2 + 1
    assert check_database(path) == []


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["UPDATE flows SET name = 'renamed' WHERE id = 'child'"],
        ["UPDATE flows SET name = 'renamed' WHERE id = 'child'", "UPDATE flows SET name = 'small' WHERE id = 'twin'"],
        ["UPDATE flows SET name = 'small' WHERE id = 'twin'"],
        ["UPDATE flows SET deleted_at = 1 WHERE id = 'child'"],
    ],
    ids=["nothing", "renamed", "another has its name", "two have its name", "deleted"],
)
async def test_a_step_finds_the_child_that_it_has_started_before_a_crash_whatever_became_of_its_flow(
    path: Path, changes: list[str], wait: bool
) -> None:
    """The process dies when the child is durable, before the parent records that it has started it."""
    async with machine(path, wrap=lambda journal, _: Unheard(journal)) as first:
        await first.save(WAITS, "child")
        await first.save(WAITS, "twin")
        change(path, "UPDATE flows SET name = 'small' WHERE id = 'child'")
        called = CALLS.replace("flow: child", f"flow: small, wait: {str(wait).lower()}")
        await first.save(called)
        await first.start(input={})

        async def has_child() -> bool:
            return len(rows_of(path, "SELECT 1 FROM executions")) == 2

        await first.until(has_child)
    for statement in changes:
        change(path, statement)
    async with machine(path) as second:
        ((child, flow_id),) = rows_of(path, "SELECT id, flow_id FROM executions WHERE flow_id <> 'flow-1'")
        await second.signals.send(ADMIN, ExecutionId(child), "go", 7)
        assert await second.until_ended() is await second.until_ended(child) is Status.COMPLETED
        calls = [e for e in await second.events() if isinstance(e, NodeCompleted | NodeWaiting) and e.node == "call"]

    assert flow_id == "child"
    link = {"execution_id": child, "flow_id": "child"}
    assert isinstance(calls[0], NodeWaiting if wait else NodeCompleted)
    assert (calls[0].wait_for.describe() if isinstance(calls[0], NodeWaiting) else calls[0].result) == (
        {"type": "flow", **link} if wait else link
    )
    assert check_database(path) == []


async def test_a_child_that_its_parent_waits_for_is_left_alone_at_the_next_start(path: Path) -> None:
    async with machine(path) as first:
        await first.save(WAITS, "child")
        await first.save(CALLS)
        await first.start(input={})
        child = await until_waiting_for_child(first)
    async with machine(path) as second:
        await second.signals.send(ADMIN, child, "go", 7)
        assert await second.until_ended() is Status.COMPLETED
    assert children(path) == [child]


async def test_a_child_that_was_being_started_when_its_parent_was_cancelled_is_cancelled_too(path: Path) -> None:
    """It exists, and the step that asked for it never heard of it."""
    async with gated(path) as engine:
        engine.journal.opened.clear()
        await engine.save(WAITS, "child")
        await engine.save(CALLS)
        await engine.start(input={})
        await engine.journal.reached.wait()

        await engine.dispatcher.cancel(PARENT, reason="by hand")

        (child,) = children(path)
        assert await end_of(engine, child) == Cancelled(reason=PARENT_HAS_ENDED)
    assert check_database(path) == []


async def test_a_child_that_a_node_type_of_its_own_was_starting_is_cancelled_too(path: Path) -> None:
    class Delegate(SubflowNode):
        type = "delegate"

    async with gated(path, types=[Delegate()]) as engine:
        engine.journal.opened.clear()
        await engine.save(WAITS, "child")
        await engine.save(CALLS.replace("type: flow", "type: delegate"))
        await engine.start(input={})
        await engine.journal.reached.wait()

        await engine.dispatcher.cancel(PARENT, reason="by hand")

        (child,) = children(path)
        assert await end_of(engine, child) == Cancelled(reason=PARENT_HAS_ENDED)
    assert check_database(path) == []


async def test_a_child_of_a_node_type_of_its_own_is_cancelled_with_its_parent(path: Path) -> None:
    async def delegate(value: Any, context: StepContext) -> Suspend:
        child = await context.flows.start("child", version=None, input={}, wait=True)
        return Suspend(wait_for=ChildWait(child.execution_id, child.flow_id))

    async with machine(path, types=[Acting("delegate", delegate, starts_executions=True)]) as engine:
        await engine.save(WAITS, "child")
        await engine.save(CALLS.replace("{type: flow, params: {flow: child}", "{type: delegate"))
        await engine.start(input={})
        child = await until_waiting_for_child(engine)

        await engine.dispatcher.cancel(PARENT, reason="by hand")

        assert await end_of(engine, child) == Cancelled(reason=PARENT_HAS_GONE_ON)


async def test_a_node_type_that_does_not_declare_it_starts_no_executions(path: Path) -> None:
    async def delegate(value: Any, context: StepContext) -> Any:
        return await context.flows.start("child", version=None, input={}, wait=False)

    async with machine(path, types=[Acting("delegate", delegate)]) as engine:
        await engine.save(WAITS, "child")
        await engine.save(CALLS.replace("{type: flow, params: {flow: child}", "{type: delegate"))
        await engine.start(input={})

        assert await engine.until_ended() is Status.FAILED
    assert rows_of(path, "SELECT count(*) FROM executions") == [(1,)]


async def test_a_child_that_was_being_started_in_a_branch_that_lost_is_cancelled_too(path: Path) -> None:
    async with gated(path) as engine:
        engine.journal.opened.clear()
        await engine.save(WAITS, "child")
        await engine.save("""
            nodes:
              race:
                type: parallel
                params: {join: any}
                branches:
                  far: {nodes: {call: {type: flow, params: {flow: child}}}}
                  near: {nodes: {push: {type: delay, params: {duration: 100ms}}}}
                next: hold
              hold: {type: wait, params: {key: go}}
            """)
        await engine.start(input={})
        await engine.journal.reached.wait()

        async def has_lost() -> bool:
            return any(event.type == "scope.ended" for event in await engine.events())

        await engine.until(has_lost)
        (child,) = children(path)
        assert await end_of(engine, child) == Cancelled(reason=PARENT_HAS_GONE_ON)
        await engine.dispatcher.cancel(PARENT, reason="enough")


async def test_a_child_of_the_process_before_is_cancelled_with_a_parent_that_has_not_asked_again(path: Path) -> None:
    async with gated(path) as first:
        first.journal.opened.clear()
        await first.save(WAITS, "child")
        await first.save(CALLS)
        await first.start(input={})
        await first.journal.reached.wait()
    (child,) = children(path)
    async with gated(path) as second:
        second.journal.opened.clear()
        await second.dispatcher.cancel(PARENT, reason="by hand")
        # The parent may not have ended yet when the child that it goes on without is found.
        assert await end_of(second, child) in (
            Cancelled(reason=PARENT_HAS_ENDED),
            Cancelled(reason=PARENT_HAS_GONE_ON),
        )
    assert children(path) == [child]


async def test_a_child_whose_start_was_refused_although_it_was_written_is_found_again(path: Path) -> None:
    """That the database cannot be written for a moment is no failure of a node."""
    async with gated(path) as engine:
        engine.journal.refusals = 1
        await engine.save("nodes: {only: {type: return, params: {value: 7}}}", "child")
        await engine.save(CALLS)
        await engine.start(input={})

        assert await engine.until_ended() is Status.COMPLETED
        assert len(children(path)) == 1
    assert check_database(path) == []


async def test_a_stop_while_a_child_is_asked_for_leaves_the_step_to_the_next_start(path: Path) -> None:
    http = FakeHttp()
    async with gated(path, http=http) as first:
        first.journal.opened.clear()
        first.journal.refusals = 1
        await first.save("nodes: {only: {type: webhook, params: {url: 'http://peer/'}}}", "child")
        await first.save(CALLS)
        await first.start(input={})
        await first.journal.reached.wait()
        draining = asyncio.ensure_future(first.dispatcher.drain(seconds=10 * PATIENCE_SECONDS))
        await asyncio.sleep(0)
        first.journal.opened.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await draining
        assert not any(event.type == "node.failed" for event in await first.events())
    async with machine(path, http=http) as second:
        assert await second.until_ended() is Status.COMPLETED
    assert len(children(path)) == 1
    assert check_database(path) == []


async def test_a_long_parent_is_not_loaded_anew_for_the_end_of_each_child(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "_LONG_EVENTS", 20)
    monkeypatch.setattr(actor, "_STAY_SECONDS_AN_EVENT", 1.0)
    loads: list[ExecutionId] = []

    class Counting(Gate):
        async def load(self, id: ExecutionId, *more: Any) -> Any:
            loads.append(id)
            return await self._journal.load(id, *more)

    async with machine(path, wrap=lambda journal, _: Counting(journal)) as engine:
        await engine.save(WAITS, "child")
        await engine.save("""
            nodes:
              each:
                type: foreach
                params: {items: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], concurrency: 10}
                nodes: {call: {type: flow, params: {flow: child, input: {}}}}
            """)
        await engine.start(input={})

        async def all_wait() -> bool:
            return rows_of(path, "SELECT count(*) FROM executions WHERE is_idle") == [(11,)]

        await engine.until(all_wait)
        for child in children(path):
            await engine.signals.send(ADMIN, child, "go", None)
            await engine.until_ended(child)
        # What looks for the end loads it too.
        told = loads.count(PARENT)
        assert await engine.until_ended() is Status.COMPLETED

    assert told <= 1
    assert check_database(path) == []


async def test_a_long_execution_that_waits_holds_up_no_stop(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor, "_LONG_EVENTS", 1)
    monkeypatch.setattr(actor, "_STAY_SECONDS_AN_EVENT", 60.0)
    async with machine(path) as engine:
        await engine.save(WAITS)
        await engine.start(input={})

        async def waits() -> bool:
            return await engine.is_idle()

        await engine.until(waits)
        assert engine.dispatcher.active == 1
        async with asyncio.timeout(PATIENCE_SECONDS):
            await engine.dispatcher.drain(seconds=10 * PATIENCE_SECONDS)
        assert engine.dispatcher.active == 0


# Handlers of the end


async def test_a_restart_does_not_cut_off_how_a_cancelled_child_ends(path: Path) -> None:
    clock, http = SteppingClock(), FakeHttp()
    async with machine(path, clock=clock, http=http) as first:
        await first.save(TIDIES, "child")
        await first.save(CALLS)
        await first.start(input={})
        child = await until_waiting_for_child(first)
        await first.dispatcher.cancel(PARENT, reason="by hand")

        async def tidies() -> bool:
            return any(isinstance(e, NodeWaiting) and e.node == "rest" for e in await first.events(child))

        await first.until(tidies)
    for _ in range(2):
        async with machine(path, clock=clock, http=http) as again:

            async def is_settled(again: Machine = again) -> bool:
                names = {task.get_name() for task in asyncio.all_tasks()}
                return "recovery" not in names and f"links {child}" not in names and again.dispatcher.active == 0

            await again.until(is_settled)
            assert await again.is_idle(child)
    clock.advance(hours=2)
    async with machine(path, clock=clock, http=http) as last:
        assert await end_of(last, child) == Cancelled(reason=PARENT_HAS_GONE_ON)
    assert [request.key for request in http.requests] == [f"{child}.on_finish/tidy.1"]


async def test_a_cancellation_that_is_asked_for_once_spares_the_handlers_of_the_end(path: Path) -> None:
    clock, http = SteppingClock(), FakeHttp()
    async with machine(path, clock=clock, http=http) as engine:
        await engine.save(TIDIES)
        await engine.start(input={})
        await engine.until_parked()

        await engine.dispatcher.cancel(PARENT, reason="by hand")

        assert await engine.is_idle()
        clock.advance(hours=2)
        engine.look_at_timers()
        assert await end_of(engine, PARENT) == Cancelled(reason="by hand")
    assert len(http.requests) == 1


async def test_a_replaced_execution_that_tidies_up_is_not_cut_off_by_the_next_that_comes(path: Path) -> None:
    clock, http = SteppingClock(), FakeHttp()
    async with machine(path, clock=clock, http=http) as engine:
        await engine.save("limits: {concurrency: {max: 1, on_limit: replace}}\n" + TIDIES)
        ids = []
        for _ in range(3):
            ids.append((await engine.executions.run(ADMIN, FlowId("flow-1"), {})).id)
            first = ids[0]

            async def is_at_rest() -> bool:
                return engine.dispatcher.active == 0

            await engine.until(is_at_rest)
            clock.advance(minutes=1)

        async def is_replaced() -> bool:
            return (await engine.status(ids[1])).is_final

        await engine.until(is_replaced)
        assert await engine.is_idle(first)
        clock.advance(hours=2)
        engine.look_at_timers()
        assert isinstance(await end_of(engine, first), Cancelled)
        assert [request.key for request in http.requests] == [f"{first}.on_finish/tidy.1"]
        await engine.dispatcher.cancel(ids[2], reason="enough")


async def test_of_two_that_replace_each_other_at_once_the_newer_stays(path: Path) -> None:
    async with machine(path) as engine:
        await engine.save("limits: {concurrency: {max: 1, on_limit: replace}}\n" + WAITS)
        await asyncio.gather(*(engine.executions.run(ADMIN, FlowId("flow-1"), {}) for _ in range(8)))
        # Not the greatest id: a start that reads on another thread may be recorded after a newer one.
        ((last,),) = rows_of(path, "SELECT id FROM executions ORDER BY queue_position DESC LIMIT 1")
        newest = ExecutionId(last)

        async def one_is_left() -> bool:
            return rows_of(path, "SELECT id FROM executions WHERE completed_at IS NULL") == [(newest,)]

        await engine.until(one_is_left)
        await engine.signals.send(ADMIN, newest, "go", None)
        assert isinstance(await end_of(engine, newest), Completed)
    assert check_database(path) == []


async def test_a_newer_one_takes_the_place_of_others_whatever_the_clocks_have_shown(path: Path) -> None:
    """As between two servers, or when a clock was set back."""
    clock = SteppingClock()
    async with machine(path, clock=clock) as engine:
        await engine.save("limits: {concurrency: {max: 1, on_limit: replace}}\n" + WAITS)
        ids = []
        for _ in range(3):
            ids.append((await engine.executions.run(ADMIN, FlowId("flow-1"), {})).id)
            clock.advance(minutes=-5)

        assert ids == sorted(ids, reverse=True)
        for older in ids[:2]:
            assert await end_of(engine, older) == Cancelled(reason=REPLACED)
    async with machine(path, clock=clock) as engine:
        await engine.signals.send(ADMIN, ids[2], "go", 7)
        assert isinstance(await end_of(engine, ids[2]), Completed)
    assert check_database(path) == []


async def test_queued_executions_get_slots_in_their_order_whatever_the_clocks_have_shown(path: Path) -> None:
    clock = SteppingClock()
    async with machine(path, clock=clock) as engine:
        await engine.save("limits: {concurrency: {max: 1}}\n" + WAITS)
        ids = []
        for _ in range(3):
            ids.append((await engine.executions.run(ADMIN, FlowId("flow-1"), {})).id)
            clock.advance(minutes=-5)

        for id in ids:

            async def has_a_slot(id: ExecutionId = id) -> bool:
                return rows_of(path, "SELECT id FROM executions WHERE completed_at IS NULL AND NOT is_queued") == [
                    (id,)
                ]

            await engine.until(has_a_slot)
            await engine.signals.send(ADMIN, id, "go", None)
            await engine.until_ended(id)
    assert check_database(path) == []


async def test_an_execution_whose_start_was_said_to_have_failed_takes_the_place_of_others(path: Path) -> None:
    """The connection to the database is lost in the very commit."""

    class Lossy(Gate):
        async def append(self, append: Append) -> None:
            await self._journal.append(append)
            if append.create is not None and append.summary.is_queued:
                raise Unavailable("The database cannot be written at the moment")

    async with machine(path, wrap=lambda journal, _: Lossy(journal)) as engine:
        await engine.save("limits: {concurrency: {max: 1, on_limit: replace}}\n" + WAITS)
        first = await engine.executions.run(ADMIN, FlowId("flow-1"), {})
        with pytest.raises(Unavailable):
            await engine.executions.run(ADMIN, FlowId("flow-1"), {})

        assert await end_of(engine, first.id) == Cancelled(reason=REPLACED)


# What is told


async def test_a_signal_with_an_unknown_outcome_is_not_sent_again(path: Path) -> None:
    """The connection to the database is lost in the very commit."""

    class Lossy(Gate):
        async def append(self, append: Append) -> None:
            await self._journal.append(append)
            if self.refusals and any(isinstance(record.event, SignalReceived) for record in append.records):
                self.refusals -= 1
                raise Unavailable("The database cannot be written at the moment")

    async with machine(path, wrap=lambda journal, _: Lossy(journal)) as engine:
        await engine.save("""
            nodes:
              first: {type: wait, params: {key: go}, next: second}
              second: {type: wait, params: {key: go}}
            """)
        await engine.start(input={})
        await engine.until_parked()
        engine.journal.refusals = 1  # type: ignore[attr-defined]
        with pytest.raises(Unavailable):
            await engine.signals.send(ADMIN, PARENT, "go", 1)

        async def second_waits() -> bool:
            return any(isinstance(event, NodeWaiting) and event.node == "second" for event in await engine.events())

        await engine.until(second_waits)
        await engine.until_parked()
        await engine.signals.send(ADMIN, PARENT, "go", 2)
        assert await end_of(engine, PARENT) == Completed(result=2)
    assert check_database(path) == []


async def test_subscribers_get_events_that_were_durable_although_the_append_failed(path: Path) -> None:
    """The connection to the database is lost in the very commit of the last ones."""

    class Lossy(Gate):
        async def append(self, append: Append) -> None:
            await self._journal.append(append)
            if self.refusals and append.summary.status.is_final:
                self.refusals -= 1
                raise Unavailable("The database cannot be written at the moment")

    async with machine(path, wrap=lambda journal, _: Lossy(journal)) as engine:
        engine.deps.broadcast = broadcast = LocalBroadcast()
        watched, other = broadcast.subscribe(PARENT), broadcast.subscribe(ExecutionId("exec-2"))
        engine.journal.refusals = 1  # type: ignore[attr-defined]
        await engine.save(WAITS)
        for id in ("exec-1", "exec-2"):
            await engine.start(input={}, id=id)
            await engine.until_parked(id)
            with contextlib.suppress(Unavailable):
                await engine.signals.send(ADMIN, ExecutionId(id), "go", None)

        async with asyncio.timeout(PATIENCE_SECONDS):
            while await watched.take() is not None:
                pass
            while not any(isinstance(recorded.event, Completed) for recorded in await other.take() or ()):
                pass


# Settling


async def test_one_execution_that_cannot_be_read_does_not_delay_notifications_of_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a start, of many parents that missed the ends of their children, the first cannot be read for a while."""
    monkeypatch.setattr(attempts, "seconds_after", lambda attempts: 0.01)
    is_away = True
    async with machine(path) as first:
        await first.save(WAITS, "child")
        await first.save(CALLS)
        for n in range(3):
            await first.start(input={}, id=f"parent-{n}")

        async def all_wait() -> bool:
            return rows_of(path, "SELECT count(*) FROM executions WHERE is_idle") == [(6,)]

        await first.until(all_wait)
        first.dispatcher.child_ended = lambda parent_id, signal: None  # type: ignore[method-assign]
        for child in children(path):
            await first.signals.send(ADMIN, child, "go", None)
            await first.until_ended(child)

    class Unreadable(Gate):
        async def stored(self, id: ExecutionId) -> Any:
            if is_away and id == children(path)[0]:
                raise OSError("planted")
            return await self._journal.stored(id)

    async with machine(path, wrap=lambda journal, _: Unreadable(journal)) as second:
        assert await second.until_ended("parent-1") is Status.COMPLETED
        assert await second.until_ended("parent-2") is Status.COMPLETED
        assert await second.is_idle("parent-0")
        is_away = False
        assert await second.until_ended("parent-0") is Status.COMPLETED


async def test_an_execution_that_is_admitted_while_it_is_in_memory_advances(path: Path) -> None:
    """It was loaded while it was queued, and admitted before it had left memory again."""
    async with machine(path) as engine:
        engine.http.at("http://peer/never", never)
        await engine.save("""
            limits: {concurrency: {max: 1}}
            nodes: {push: {type: webhook, params: {url: "http://peer/${flow.input.to}"}}}
            """)
        holder = await engine.executions.run(ADMIN, FlowId("flow-1"), {"to": "never"})
        queued = await engine.executions.run(ADMIN, FlowId("flow-1"), {"to": "other"})

        async def is_at_rest() -> bool:
            return engine.dispatcher.active == 1

        await engine.until_requested("http://peer/never")
        await engine.until(is_at_rest)
        load, loaded, go_on = engine.deps.journal.load, asyncio.Event(), asyncio.Event()

        async def slow(id: ExecutionId, *more: Any) -> Any:
            found = await load(id, *more)
            if id == queued.id and not loaded.is_set():
                loaded.set()
                await go_on.wait()
            return found

        engine.deps.journal.load = slow  # type: ignore[method-assign, assignment]
        # An answer to an approval that it does not ask for: nothing is recorded of it.
        asking = asyncio.ensure_future(engine.dispatcher.signal(queued.id, UNASKED))
        await loaded.wait()
        await engine.dispatcher.cancel(holder.id, reason="by hand")

        async def is_let_in() -> bool:
            return rows_of(path, "SELECT is_queued FROM executions WHERE id = ?", queued.id) == [(0,)]

        await engine.until(is_let_in)
        go_on.set()
        assert await asking is False
        assert await engine.until_ended(queued.id) is Status.COMPLETED
    assert check_database(path) == []


async def test_an_execution_that_was_admitted_although_that_was_said_to_have_failed_goes_on(path: Path) -> None:
    """The connection to the database was lost in the very commit."""

    class Lossy(Slots):
        refusals = 0

        async def admit(self, key: str) -> Any:
            admitted = await self._concurrency.admit(key)
            if admitted is not None and self.refusals:
                Lossy.refusals -= 1
                raise Unavailable("The database cannot be written at the moment")
            return admitted

    async with machine(path, wrap_concurrency=Lossy) as engine:
        engine.http.at("http://peer/never", never)
        await engine.save("""
            limits: {concurrency: {max: 1}}
            nodes: {push: {type: webhook, params: {url: "http://peer/${flow.input.to}"}}}
            """)
        holder, *queued = [
            (await engine.executions.run(ADMIN, FlowId("flow-1"), {"to": to})).id for to in ("never", "a", "b")
        ]
        await engine.until_requested("http://peer/never")
        Lossy.refusals = 1
        await engine.dispatcher.cancel(holder, reason="by hand")

        for id in queued:
            assert await engine.until_ended(id) is Status.COMPLETED
    assert check_database(path) == []


async def test_an_execution_whose_start_seemed_to_fail_gets_its_slot(path: Path) -> None:
    """The one before it ends while it is written, and the connection to the database is lost in the very commit."""

    class Lossy(Gate):
        async def append(self, append: Append) -> None:
            if append.create is None or append.create.slot is None or not append.create.slot.is_queued:
                return await self._journal.append(append)
            await engine.dispatcher.cancel(holder.id, reason="by hand")
            await nobody_waits.wait()
            await self._journal.append(append)
            raise Unavailable("The database cannot be written at the moment")

    class Noticed(Slots):
        async def admit(self, key: str) -> Any:
            admitted = await self._concurrency.admit(key)
            nobody_waits.set()
            return admitted

    nobody_waits = asyncio.Event()

    async with machine(
        path,
        wrap=lambda journal, _: Lossy(journal),
        wrap_concurrency=Noticed,
    ) as engine:
        engine.http.at("http://peer/never", never)
        await engine.save("""
            limits: {concurrency: {max: 1}}
            nodes: {push: {type: webhook, params: {url: "http://peer/${flow.input.to}"}}}
            """)
        holder = await engine.executions.run(ADMIN, FlowId("flow-1"), {"to": "never"})
        await engine.until_requested("http://peer/never")
        with pytest.raises(Unavailable):
            await engine.executions.run(ADMIN, FlowId("flow-1"), {"to": "other"})

        await engine.until_requested("http://peer/other")


async def test_every_slot_that_is_free_at_a_start_is_taken(path: Path) -> None:
    """The process before died between the ends of several executions and the admission of others."""
    async with machine(path) as engine:
        await engine.save("limits: {concurrency: {max: 3}}\n" + WAITS)
        ids = [(await engine.executions.run(ADMIN, FlowId("flow-1"), {})).id for _ in range(6)]
    for id in ids[:3]:
        # It has ended, and nothing of that has reached the queue.
        statement = "UPDATE executions SET status = 'completed', completed_at = started_at, is_idle = false"
        change(path, f"{statement}, waiting_for = NULL WHERE id = ?", id)
    async with machine(path) as engine:

        async def have_slots() -> bool:
            rows = rows_of(path, "SELECT id FROM executions WHERE completed_at IS NULL AND NOT is_queued ORDER BY id")
            return [id for (id,) in rows] == ids[3:]

        await engine.until(have_slots)


async def test_slots_of_executions_that_have_ended_meanwhile_are_reconciled_at_a_start(path: Path) -> None:
    """They were listed as queued, and have ended when they are read."""
    async with machine(path) as engine:
        settling = asyncio.ensure_future(engine.dispatcher._reconcile_queue("a key of none"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await settling
