from datetime import timedelta
from typing import Any

import pytest

from flowrunner.domain.decide import about_to_resume
from flowrunner.domain.events import ROOT, NodeStarted, ScopeEnded, ScopesOpened, Started, Step
from flowrunner.domain.interruptions import MAX_INTERRUPTIONS, SECONDS_AFTER, put_off_until

from .simulation import REQUESTED, Simulation, node, simulation


def interrupted(times: int) -> Simulation:
    """Return an execution whose node was interrupted so often, each attempt an hour after the one before."""
    run = simulation(node("a"))
    run.record(Started(node="a", node_type="test", input=None, cause=REQUESTED))
    for attempt in range(1, times + 1):
        run.now += timedelta(hours=1)
        run.record(NodeStarted(node="a", node_type="test", iteration=1, attempt=attempt, interrupted=attempt > 1))
    return run


def seconds_put_off(run: Simulation, *, draw: float = 0.0, after: float = 0.0) -> float:
    now = run.now + timedelta(seconds=after)
    until = put_off_until(run.state, about_to_resume(run.state), now=now, draw=draw)
    return 0.0 if until is None else (until - now).total_seconds()


def test_each_crash_of_a_node_puts_its_execution_off_for_longer_and_the_last_one_ends_it() -> None:
    delays = [seconds_put_off(interrupted(times)) for times in range(1, MAX_INTERRUPTIONS + 2)]

    assert delays == [*SECONDS_AFTER, 0.0]
    assert sorted(SECONDS_AFTER) == list(SECONDS_AFTER)
    assert SECONDS_AFTER[0] == 0


def test_an_attempt_that_ran_for_long_before_the_crash_delays_nothing() -> None:
    assert seconds_put_off(interrupted(3), after=SECONDS_AFTER[2]) == 0


def test_executions_that_one_crash_interrupted_continue_at_different_times() -> None:
    run = interrupted(4)

    assert seconds_put_off(run, draw=0.5) == pytest.approx(SECONDS_AFTER[3] * 0.75)


def test_a_clock_that_was_set_back_delays_nothing() -> None:
    assert seconds_put_off(interrupted(4), after=-3600) == 0


def test_a_step_that_ends_the_process_when_its_scopes_have_ended_is_put_off() -> None:
    at: dict[str, Any] = {"node": "a", "node_type": "test", "iteration": 1}
    run = simulation(node("a"))
    run.record(Started(node="a", node_type="test", input=None, cause=REQUESTED))
    run.record(NodeStarted(**at, attempt=1))
    run.record(ScopesOpened(**at, attempt=1, keys=[], inputs=[], concurrency=1, needed=0))
    assert about_to_resume(run.state) == {Step("a", 1): 1}
    assert seconds_put_off(run) == 0

    run.record(NodeStarted(**at, attempt=2, interrupted=True))

    assert seconds_put_off(run) == SECONDS_AFTER[1]


def test_a_cancellation_leaves_nothing_that_puts_the_handlers_off() -> None:
    each: dict[str, Any] = {"node": "each", "node_type": "test", "iteration": 1, "attempt": 1}
    at: dict[str, Any] = {"node": "a", "node_type": "test", "iteration": 1, "scope": "each.1[0]"}
    run = simulation(node("each"))
    run.record(Started(node="each", node_type="test", input=None, cause=REQUESTED))
    run.record(NodeStarted(**each))
    run.record(ScopesOpened(**each, keys=["0"], inputs=[None], concurrency=1, needed=1))
    run.record(NodeStarted(**at, attempt=1))
    run.record(ScopesOpened(**at, attempt=1, keys=[], inputs=[], concurrency=1, needed=0))
    run.record(NodeStarted(**at, attempt=2, interrupted=True))
    cut_off = about_to_resume(run.state)
    assert put_off_until(run.state, cut_off, now=run.now, draw=0.0) is not None

    run.record(ScopeEnded(scope=ROOT, outcome="cancelled"))

    assert put_off_until(run.state, cut_off, now=run.now, draw=0.0) is None
