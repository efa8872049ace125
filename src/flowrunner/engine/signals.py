"""The rules by which a signal is accepted."""

from typing import Final

from flowrunner.domain.execution import ExecutionState
from flowrunner.ports import Signal

# Limits of signals that no step has waited for yet, and of their bytes in memory.
MAX_EARLY_SIGNALS: Final = 1000
MAX_EARLY_BYTES: Final = 32 * 1024 * 1024


def is_repeat(signal: Signal, state: ExecutionState) -> bool | None:
    """Return whether a signal repeats an earlier request: False if the two differ, None if there is no earlier one."""
    if signal.request is None:
        return None
    key, _, asked = signal.request.partition(":")
    known = state.requests.get(key)
    return None if known is None else known == asked


def is_accepted(signal: Signal, key: str, state: ExecutionState) -> bool:
    """Return whether an execution in this state accepts a signal, by the stored form of its key."""
    if state.status.is_final:
        return False
    is_awaited = any((waiting := state.at(step).waiting) is not None and waiting.key == key for step in state.timed)
    if signal.step is not None:
        # A running step may be about to wait for the signal, as for a child that has ended at once. If the step has
        # continued without the signal, it is rejected. Several signals may report the same end.
        is_known = key in state.signals
        return not is_known and (is_awaited or any(str(step) == signal.step for step in state.running))
    is_too_much = sum(map(len, state.signals.values())) >= MAX_EARLY_SIGNALS or state.signal_bytes >= MAX_EARLY_BYTES
    return is_awaited or not (signal.if_awaited or is_too_much)
