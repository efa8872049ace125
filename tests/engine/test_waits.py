"""Executions that wait for a time: when they wake, and what they need until then."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.dispatch import timers
from flowrunner.domain.errors import Conflict
from flowrunner.domain.events import Completed, Logged, NodeStarted, NodeWaiting, SignalReceived
from flowrunner.domain.status import Status
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.engine import actor
from flowrunner.fair_slots import FairSlots
from flowrunner.plugin import HttpAnswer, StepContext, Suspend, TimeWait
from flowrunner.ports.dispatch import Signal
from flowrunner.ports.secrets import LONG_BYTES
from flowrunner.security.memory_room import FairMemory
from flowrunner.storage.due_executions import SqlDueExecutions
from services.callers import caller_of
from support.databases import MARA, MARA_ACCOUNT, NOON, change, rows_of
from support.dependencies import PATIENCE_SECONDS, Acting, Machine, Request, SteppingClock, answer, machine, never
from support.invariants import check_database

from .events import ending, of_type


async def test_a_delay_leaves_memory_and_wakes_at_its_time(engine: Machine) -> None:
    await engine.save(
        "nodes: {a: {type: delay, params: {duration: 2h}, next: b}, b: {type: webhook, params: {url: 'http://peer/'}}}"
    )
    await engine.start(input={"n": 1})
    await engine.until_parked()
    assert engine.dispatcher.active == 0
    assert await SqlDueExecutions(engine.database).next_wake(after=NOON) is not None

    engine.clock.advance(hours=1, minutes=59)
    await engine.until_timers_have_looked()
    assert engine.in_memory == 0
    assert await engine.status() is Status.RUNNING
    engine.clock.advance(minutes=1)
    engine.look_at_timers()

    assert await engine.until_ended() is Status.COMPLETED
    assert engine.http.requests[0].body == b'{"n":1}'


async def test_a_wait_that_is_longer_than_its_flow_may_take_ends_with_the_flow(engine: Machine) -> None:
    await engine.save("limits: {timeout: 1h}\nnodes: {a: {type: delay, params: {duration: 2h}}}")
    await engine.start()
    await engine.until_parked()

    engine.clock.advance(hours=1)
    engine.look_at_timers()

    assert await engine.until_ended() is Status.FAILED


async def test_a_wait_that_is_tried_again_later_waits_for_nothing_until_then(engine: Machine) -> None:
    await engine.save(
        """
        nodes:
          ask:
            type: wait
            params: {key: go}
            output: "${result.number.toFixed()}"
            retry: {max: 1, delay: 1h, errors: [expression]}
        """
    )
    await engine.start()
    await engine.until_parked()
    await engine.signals.send(caller_of(MARA_ACCOUNT), ExecutionId("exec-1"), "go", "no number")
    await engine.until_parked()
    retrying = rows_of(engine.path, "SELECT status, waiting_for FROM executions")[0]
    # It is for the next attempt.
    await engine.signals.send(caller_of(MARA_ACCOUNT), ExecutionId("exec-1"), "go", {"number": 7})
    await engine.until_parked()

    engine.clock.advance(hours=1)
    engine.look_at_timers()

    assert await engine.until_ended() is Status.COMPLETED
    assert ending(await engine.events()).result == "7"
    assert retrying[0] == "running"
    assert [wait["type"] for wait in json.loads(retrying[1])] == ["retry"]


@pytest.mark.parametrize("deadline", [None, timedelta(hours=1), timedelta(hours=3)])
async def test_a_node_type_waits_until_its_moment_or_fails_at_an_earlier_deadline(
    path: Path, deadline: timedelta | None
) -> None:
    async def rest(value: Any, context: StepContext) -> Suspend:
        return Suspend(
            wait_for=TimeWait(context.now() + timedelta(hours=2), {"type": "rest"}),
            deadline=None if deadline is None else context.now() + deadline,
            fail_at_deadline=True,
            result="rested",
        )

    async with machine(path, types=[Acting("rest", rest, pure=True)]) as engine:
        await engine.save("nodes: {a: {type: rest, next: {error: b}}, b: {type: return, params: {value: no}}}")
        await engine.start()
        await engine.until_parked()
        is_early = deadline is not None and deadline < timedelta(hours=2)
        shown = json.loads(rows_of(path, "SELECT waiting_for FROM executions")[0][0])
        assert [(wait["type"], wait["until"][:14]) for wait in shown] == [
            ("rest", "2027-01-01T13:" if is_early else "2027-01-01T14:")
        ]

        engine.clock.advance(hours=1 if is_early else 2)
        engine.look_at_timers()

        assert await engine.until_ended() is Status.COMPLETED
        assert ending(await engine.events()).result == ("no" if is_early else "rested")


async def test_large_executions_that_are_due_together_are_loaded_within_the_memory_budget(engine: Machine) -> None:
    budget = engine.deps.memory = FairMemory()
    budget.memory = FairSlots(total=8, share=8, sure=0)
    most_held, take = 0, budget.memory.take

    async def watched(workspace_id: WorkspaceId, count: int = 1) -> None:
        nonlocal most_held
        await take(workspace_id, count)
        assert count > 4
        most_held = max(most_held, budget.memory.held(workspace_id))

    budget.memory.take = watched  # type: ignore[method-assign] # goes on to the real one
    await engine.save("nodes: {a: {type: delay, params: {duration: 2h}, output: null}}")
    ids = [f"exec-{number}" for number in range(1, 6)]
    for id in ids:
        await engine.start(id=id, input=[[]] * 60_000)
    for id in ids:
        await engine.until_parked(id)

    engine.clock.advance(hours=3)
    engine.look_at_timers()

    assert [await engine.until_ended(id) for id in ids] == [Status.COMPLETED] * 5
    assert 4 < most_held <= 8
    await engine.until(lambda: budget_is_free(budget))


async def test_a_large_execution_that_has_ended_holds_no_memory_after_a_look_at_it(engine: Machine) -> None:
    budget = engine.deps.memory = FairMemory()
    await engine.save("nodes: {a: {type: transform, params: {value: 1}}}")
    id = await engine.start(input=[[]] * 60_000)
    assert await engine.until_ended() is Status.COMPLETED

    for _ in range(3):
        with pytest.raises(Conflict, match="ended"):
            await engine.dispatcher.signal(id, Signal(key="signal:go", payload=None))

    await engine.until(lambda: budget_is_free(budget))


async def test_large_executions_that_are_started_together_advance_within_the_memory_budget(engine: Machine) -> None:
    budget = engine.deps.memory = FairMemory()
    budget.memory = FairSlots(total=8, share=8, sure=0)
    is_answered = asyncio.Event()

    async def answer_later(_: Request) -> HttpAnswer:
        await is_answered.wait()
        return answer()

    engine.http.at("http://peer/", answer_later)
    await engine.save("nodes: {a: {type: http.request, params: {url: 'http://peer/'}}}")
    ids = [f"exec-{number}" for number in range(1, 6)]
    for id in ids:
        # Each exists at once, also if it cannot go on yet.
        await engine.start(id=id, input=[[]] * 60_000)
    await engine.until_requested("http://peer/")

    assert 4 < budget.memory.held(MARA) <= 8
    assert [len(await engine.events(id)) > 2 for id in ids] == [True, False, False, False, False]
    is_answered.set()
    assert [await engine.until_ended(id) for id in ids] == [Status.COMPLETED] * 5
    assert len(engine.http.requests) == 5
    await engine.until(lambda: budget_is_free(budget))


LOGS_MUCH: Final = """
nodes:
  each:
    type: foreach
    params: {items: "${[...Array(40).keys()]}"}
    nodes: {say: {type: log, params: {message: "${'x'.repeat(5000)}", data: "${'x'.repeat(50000)}"}}}
    next: rest
  rest: {type: delay, params: {duration: 2h}, next: call}
  call: {type: http.request, params: {url: 'http://peer/'}}
"""


async def test_a_loaded_execution_reserves_what_it_holds_and_not_its_whole_log(engine: Machine) -> None:
    budget = engine.deps.memory = FairMemory()
    reserved, take = list[int](), budget.memory.take

    async def watched(workspace_id: WorkspaceId, count: int = 1) -> None:
        reserved.append(count)
        await take(workspace_id, count)

    budget.memory.take = watched  # type: ignore[method-assign] # goes on to the real one
    engine.http.at("http://peer/", never)
    await engine.save(LOGS_MUCH)
    id = await engine.start()
    await engine.until_parked()

    engine.clock.advance(hours=3)
    engine.look_at_timers()
    await engine.until_requested("http://peer/")

    assert reserved[0] > 2, "as much as its events take"
    assert budget.memory.held(MARA) == 1
    await engine.dispatcher.cancel(id, reason="by hand")
    await engine.until(lambda: budget_is_free(budget))


async def budget_is_free(budget: FairMemory) -> bool:
    return budget.memory.held(MARA) == 0


async def test_a_short_delay_stays_in_memory(engine: Machine) -> None:
    events = await engine.run("nodes: {a: {type: delay, params: {duration: 20ms}}}")

    assert len(of_type(NodeWaiting, events)) == 1
    assert isinstance(ending(events), Completed)


async def test_a_delay_of_more_than_a_moment_wakes_by_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only the wait itself says when to look.
    monkeypatch.setattr(timers, "_LONGEST_NAP_SECONDS", 3600.0)

    class RunningClock(SteppingClock):
        """The machine's own time."""

        def now(self) -> Any:
            self._now = max(self._now, self._begun + timedelta(seconds=asyncio.get_running_loop().time()))
            return self._now.replace(microsecond=self._now.microsecond // 1000 * 1000)

        def __init__(self) -> None:
            super().__init__()
            self._begun = self._now

    async with machine(path, clock=RunningClock()) as engine:
        events = await engine.run("nodes: {a: {type: delay, params: {duration: 1200ms}}}")

    assert isinstance(ending(events), Completed)


async def test_a_delay_in_a_long_execution_ends_at_its_time(engine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    # So long that it would stay for hours, if nothing were due before.
    monkeypatch.setattr(actor, "_LONG_EVENTS", 1)
    monkeypatch.setattr(actor, "_STAY_SECONDS_AN_EVENT", 3600.0)
    monkeypatch.setattr(actor, "_LONGEST_STAY_SECONDS", 3600.0)
    engine.deps.short_wait = 0

    events = await engine.run("nodes: {a: {type: delay, params: {duration: 100ms}}}")

    assert isinstance(ending(events), Completed)


async def test_a_wait_beside_a_busy_branch_ends_soon_after_the_clock_was_set_forward(
    engine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "_LONGEST_NAP_SECONDS", 0.05)
    engine.http.at("http://peer/busy", never)
    await engine.save("""
        nodes:
          both:
            type: parallel
            branches:
              busy: {nodes: {ask: {type: http.request, params: {url: "http://peer/busy"}}}}
              rests:
                nodes:
                  rest: {type: delay, params: {duration: 2h}, next: tell}
                  tell: {type: webhook, params: {url: "http://peer/tell"}}
        """)
    await engine.start()
    await engine.until_requested("http://peer/busy")

    async def rests() -> bool:
        return bool(of_type(NodeWaiting, await engine.events()))

    await engine.until(rests)
    engine.clock.advance(hours=2)

    await engine.until_requested("http://peer/tell")


async def test_a_delay_until_the_past_ends_at_once(engine: Machine) -> None:
    events = await engine.run("nodes: {a: {type: delay, params: {until: '2001-01-01T00:00:00Z'}}}")

    assert isinstance(ending(events), Completed)


@pytest.mark.parametrize("advance", [{"hours": 3}, {"minutes": 1}])
async def test_a_delay_goes_on_after_a_restart_neither_shortened_nor_repeated(
    path: Path, advance: dict[str, float]
) -> None:
    clock = SteppingClock()
    async with machine(path, clock=clock) as first:
        await first.save("nodes: {a: {type: delay, params: {duration: 2h}}}")
        await first.start()
        await first.until_parked()
    clock.advance(**advance)
    async with machine(path, clock=clock) as second:
        if "minutes" in advance:
            await second.until_timers_have_looked()
            assert second.in_memory == 0
            assert await second.status() is Status.RUNNING
            clock.advance(hours=2)
            second.look_at_timers()
        await second.until_ended()
        events = await second.events()

    assert len(of_type(NodeStarted, events)) == len(of_type(NodeWaiting, events)) == 1
    assert check_database(path) == []


async def test_many_parked_executions_wake_together(engine: Machine) -> None:
    await engine.save("nodes: {a: {type: delay, params: {duration: 1h}}}")
    for n in range(250):
        await engine.start(id=f"e{n:03}")

    async def all_are_parked() -> bool:
        return engine.dispatcher.active == 0 and engine.dispatcher.queued == 0

    await engine.until(all_are_parked)
    engine.clock.advance(hours=2)
    engine.look_at_timers()

    async def all_have_ended() -> bool:
        return rows_of(engine.path, "SELECT count(*) FROM executions WHERE status = 'completed'") == [(250,)]

    await engine.until(all_have_ended)


async def test_a_signal_whose_sender_has_given_up_while_it_was_redacted_is_not_recorded(engine: Machine) -> None:
    await engine.save("nodes: {ask: {type: wait, params: {key: go}}}")
    await engine.start()
    await engine.until_parked()

    async def send(payload: str) -> None:
        await engine.signals.send(caller_of(MARA_ACCOUNT), ExecutionId("exec-1"), "go", payload)

    # A long payload is redacted on a thread, one at a time for each account.
    redactor = await engine.vault.redactor(MARA)
    async with redactor.lock:
        sending = asyncio.create_task(send("x" * 2 * LONG_BYTES))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not redactor.lock._waiters:  # noqa: ASYNC110 # the engine's own task waits for the lock
                await asyncio.sleep(0.001)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    await engine.until_parked()
    await send("again")

    assert await engine.until_ended() is Status.COMPLETED
    assert [signal.payload for signal in of_type(SignalReceived, await engine.events())] == ["again"]


async def test_each_answer_is_logged_once_although_the_link_is_revoked_after_it(path: Path) -> None:
    async with machine(path) as engine:
        await engine.save(
            "nodes: {ask: {type: approval, params: {prompt: ok?, count: 2, link: true, notify: tell}},"
            " tell: {type: log, params: {message: asked}}}"
        )
        id = await engine.start()
        await engine.until_parked()
        answer: JSON = {"approved": True, "by": MARA, "data": None}
        for key, payload in (("approval:ask.1", answer), ("link:ask.1", None)):
            signal = Signal(key=key, payload=payload, by=MARA_ACCOUNT, if_awaited=True)
            assert await engine.dispatcher.signal(id, signal)
        lines = [line.message for line in of_type(Logged, await engine.events())]

    assert lines == ["Execution started", "asked", f"Approved by {MARA} (1 of 2)"]
    assert check_database(path, all_ended=False) == []


async def test_the_checks_of_a_database_know_each_notice_and_find_one_that_cannot_be(path: Path) -> None:
    async with machine(path) as engine:
        await engine.save(
            "nodes: {ask: {type: approval, params: {prompt: ok?, notify: tell, remind: 1h}, timeout: 90m},"
            " tell: {type: log, params: {message: asked}}}"
        )
        await engine.start()
        for _ in range(2):
            await engine.until_parked()
            engine.clock.advance(hours=1)
        assert await engine.until_ended() is Status.COMPLETED
        starts = [start.scope for start in of_type(NodeStarted, await engine.events())]
    assert starts == ["", "ask.1[notify.1]", "ask.1[notify.2]"]
    assert check_database(path) == []

    for (trigger,) in rows_of(path, "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'events'"):
        change(path, f"DROP TRIGGER {trigger}")
    change(path, "UPDATE events SET data = replace(data, 'notify.2', 'notify.3')")

    assert any(violation.endswith("ask.1[notify.3] begins after 1 notices") for violation in check_database(path))


async def test_a_signal_that_comes_while_all_slots_are_taken_is_no_interruption(path: Path) -> None:
    async with machine(path, most_active=1) as engine:
        peer, let_go = "http://peer/", asyncio.Event()

        async def slow(request: Request) -> HttpAnswer:
            await let_go.wait()
            return answer()

        engine.http.at(peer, slow)
        await engine.save("nodes: {a: {type: wait, params: {key: go}}}", "waits")
        await engine.save("nodes: {a: {type: http.request, params: {url: 'http://peer/'}}}", "runs")
        await engine.start("waits", id="waiting")
        await engine.until_parked("waiting")
        await engine.start("runs", id="running")
        await engine.until_requested(peer)

        assert await engine.dispatcher.signal(ExecutionId("waiting"), Signal(key="signal:go", payload=1))
        let_go.set()

        assert await engine.until_ended("waiting") is Status.COMPLETED
        starts = of_type(NodeStarted, await engine.events("waiting"))
        assert [(start.attempt, start.interrupted) for start in starts] == [(1, False)]
    assert check_database(path) == []


async def test_a_short_wait_keeps_no_slot_that_other_executions_wait_for(path: Path) -> None:
    async with machine(path, most_active=1) as engine:
        # The clock does not go by itself, so what has a slot while it waits has it for good.
        await engine.save("nodes: {a: {type: delay, params: {duration: 1s}}}")
        ids = [await engine.start(id=f"e{n}") for n in range(3)]

        async def all_wait() -> bool:
            return all([await engine.is_idle(id) for id in ids])

        await engine.until(all_wait)

        engine.clock.advance(seconds=1)
        engine.look_at_timers()
        assert [await engine.until_ended(id) for id in ids] == [Status.COMPLETED] * 3
        assert [len(of_type(NodeStarted, await engine.events(id))) for id in ids] == [1, 1, 1]
    assert check_database(path) == []


async def test_a_short_wait_stays_in_memory_while_no_other_execution_waits_for_its_slot(path: Path) -> None:
    async with machine(path, most_active=1) as engine:
        engine.http.at("http://peer/", never)
        await engine.save("nodes: {a: {type: delay, params: {duration: 1s}}}", "delays")
        await engine.save("nodes: {a: {type: http.request, params: {url: 'http://peer/'}}}", "calls")
        await engine.start("calls", id="blocking")
        queued = await engine.start("delays", id="queued")
        await engine.dispatcher.cancel(ExecutionId("blocking"), reason="by hand")

        async def waits() -> bool:
            return await engine.is_idle(queued)

        await engine.until(waits)

        assert engine.dispatcher.active == 1
