"""The memory that the values of an execution take: what each transition adds to it and releases.

`ExecutionState.held_bytes` is the sum over the input, the variables and all steps whose values can still be read. A
step counts what it holds now (`StepState.held_bytes`), and with open scopes also their results, errors and parts.
"""

from collections.abc import Mapping

from flowrunner.domain.events import ErrorValue, NodeCompleted, NodeFailed, NodeWaiting, ScopeEnded, ScopesOpened
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.step_state import Frame, ScopeProgress, StepState
from flowrunner.domain.values import JSON, memory_of


def hold_input(state: ExecutionState, input: JSON) -> None:
    """Count the input of the execution, or an edited one of a step."""
    state.held_bytes += _measure(state, input)


def hold_variables(state: ExecutionState, vars: Mapping[str, JSON]) -> None:
    for name, value in vars.items():
        size = _measure(state, value)
        state.held_bytes += size - state.var_bytes.get(name, 0)
        state.var_bytes[name] = size


# Steps


def hold_result(state: ExecutionState, current: StepState, event: NodeCompleted) -> None:
    if event.collected is None:
        size = _measure(state, event.result)
    else:
        size = _measure(state, event.collected) + (0 if current.open is None else current.open.held_part_bytes)
    _hold(state, current, size)


def hold_error(state: ExecutionState, current: StepState, event: NodeFailed) -> None:
    """Count an error, and the input of the step inside that it comes from."""
    size = _measure(state, event.error.data)
    if current.failed_at is not None and current.open is not None:
        size += current.open.failed_bytes
    _hold(state, current, size)


def hold_wait(state: ExecutionState, current: StepState, event: NodeWaiting) -> None:
    _hold(state, current, _measure(state, event.result) + _measure(state, event.wait_for.describe()))


def hold_payload(state: ExecutionState, current: StepState, payload: JSON) -> None:
    """Count a signal or an answer to the step, in addition to its wait."""
    _hold(state, current, current.held_bytes + _measure(state, payload))


def release_scopes(state: ExecutionState, current: StepState) -> None:
    """Release the scopes and the previous run of a step that has ended."""
    state.held_bytes -= current.all_held_bytes - current.held_bytes


def release_frame(state: ExecutionState, frame: Frame) -> None:
    state.held_bytes -= sum(step.all_held_bytes for step in frame.steps.values())


# Scopes


def hold_inputs(
    state: ExecutionState, current: StepState, event: ScopesOpened, scopes: ScopeProgress, before: ScopeProgress | None
) -> None:
    """Count the inputs of new scopes; of those ``before`` them, only the parts are still held, or also what is kept."""
    if before is not None:
        scopes.held_part_bytes = before.held_part_bytes
        scopes.held_bytes = before.held_bytes if event.keeps_results else 0
        state.held_bytes -= before.held_bytes - scopes.held_bytes + before.failed_bytes
    if event.keeps_results:
        size = _measure(state, event.details)
        scopes.held_bytes += size
        state.held_bytes += size
    _hold(state, current, _measure(state, event.inputs))


def hold_end(state: ExecutionState, scopes: ScopeProgress, event: ScopeEnded, last: StepState | None) -> None:
    """Count the part of a completed scope, and the result of its last step unless that is None: it is not kept."""
    size = 0 if last is None else last.held_bytes
    scopes.held_bytes += size
    state.held_bytes += size
    if event.part_bytes is not None:
        size = _measure(state, event.result)
        scopes.held_part_bytes += size
        state.held_bytes += size


def hold_failure(state: ExecutionState, scopes: ScopeProgress, error: ErrorValue, failed_at: StepState | None) -> None:
    """Count the error of a scope, and the input of the failed step in place of that of the last failure."""
    size = _measure(state, error.data)
    of_input = 0 if failed_at is None else _measure(state, failed_at.input)
    state.held_bytes += size + of_input - scopes.failed_bytes
    scopes.held_bytes += size
    scopes.failed_bytes = of_input


# Signals that no step has taken yet


def hold_early_signal(state: ExecutionState, payload: JSON) -> None:
    state.signal_bytes += memory_of(payload)


def release_early_signal(state: ExecutionState, payload: JSON) -> None:
    state.signal_bytes -= memory_of(payload)


def _measure(state: ExecutionState, value: JSON) -> int:
    size = memory_of(value)
    state.measured_bytes += size
    return size


def _hold(state: ExecutionState, current: StepState, size: int) -> None:
    """Count the values of a step's last event in place of those of the one before."""
    state.held_bytes += size - current.held_bytes
    current.held_bytes = size
