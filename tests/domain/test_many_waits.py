"""Executions with many steps that wait: a signal finds its step without looking at the others."""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from flowrunner.domain.causes import Requested
from flowrunner.domain.events import (
    ErrorValue,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    ScopesOpened,
    SignalReceived,
    Started,
    Step,
)
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.step_state import StepState
from flowrunner.domain.transitions import apply
from flowrunner.domain.waits import ChildWait, SignalWait, TimeWait, WaitFor, child_signal_key, signal_key
from flowrunner.engine.mailbox import is_accepted, step_waiting_for
from flowrunner.ports.dispatch import Signal

NOON: Final = datetime(2027, 1, 1, 12, tzinfo=UTC)
MANY: Final = 500


class CountingState(ExecutionState):
    looks = 0

    def at(self, step: Step) -> StepState:
        self.looks += 1
        return super().at(step)


def with_waits(waits: list[WaitFor]) -> CountingState:
    state = CountingState()
    keys = [str(number) for number in range(len(waits))]
    each = {"node": "each", "node_type": "foreach", "iteration": 1, "attempt": 1}
    apply(state, Started(node="each", node_type="foreach", input=None, cause=Requested(by=None)), NOON)
    apply(state, NodeStarted(**each), NOON)  # type: ignore[arg-type]
    opened = ScopesOpened(**each, keys=keys, inputs=keys, concurrency=len(keys), needed=len(keys))  # type: ignore[arg-type]
    apply(state, opened, NOON)
    for key, wait in zip(keys, waits, strict=True):
        step = {"node": "hold", "node_type": "wait", "iteration": 1, "attempt": 1, "scope": f"each.1[{key}]"}
        apply(state, NodeStarted(**step), NOON)  # type: ignore[arg-type]
        apply(state, NodeWaiting(**step, wait_for=wait, result=None), NOON)  # type: ignore[arg-type]
    return state


@pytest.mark.parametrize("kind", ["signal", "flow"])
def test_a_signal_looks_only_at_the_step_that_waits_for_it(kind: str) -> None:
    numbers = [str(number) for number in range(MANY)]
    waits: list[WaitFor] = [SignalWait(number) if kind == "signal" else ChildWait(number, "f") for number in numbers]
    state = with_waits(waits)
    state.looks = 0

    for number in reversed(numbers):
        key = signal_key("signal", number) if kind == "signal" else child_signal_key(number)
        assert is_accepted(Signal(key=key, payload=None, if_awaited=True), key, state)
        found = step_waiting_for(key, state)
        assert found is not None
        assert found.step.scope == f"each.1[{number}]"
        assert not state.status.is_final
        apply(state, SignalReceived(key=key, payload=None), NOON)
        assert step_waiting_for(key, state) is None

    assert state.looks <= 10 * MANY


def test_the_moment_of_a_step_that_is_due_again_later_hides_no_other_step() -> None:
    first, second, third = (NOON + timedelta(hours=number) for number in (1, 2, 3))
    state = with_waits([TimeWait(first), TimeWait(second)])
    assert state.due_at == first

    error = ErrorValue(type="timeout", message="not in time")
    step = {"node": "hold", "node_type": "wait", "iteration": 1, "attempt": 1, "scope": "each.1[0]"}
    apply(state, NodeFailed(**step, error=error, retry_at=third), first)  # type: ignore[arg-type]

    assert state.due_at == second


def test_of_steps_that_wait_for_the_same_signal_the_first_gets_it() -> None:
    state = with_waits([SignalWait("go")] * 5)

    answered = []
    for _ in range(5):
        found = step_waiting_for("signal:go", state)
        assert found is not None
        answered.append(found.step.scope)
        apply(state, SignalReceived(key="signal:go", payload=None), NOON)

    assert answered == [f"each.1[{number}]" for number in range(5)]
    assert step_waiting_for("signal:go", state) is None
