"""The rules by which a signal counts."""

from typing import Final

from flowrunner.domain.execution import ExecutionState
from flowrunner.ports import Signal

# Signals that came before a step asked for them, and what they take in memory.
MAX_EARLY_SIGNALS: Final = 1000
MAX_EARLY_BYTES: Final = 32 * 1024 * 1024


def is_asked_before(signal: Signal, state: ExecutionState) -> bool | None:
    """Return whether a signal repeats an earlier request: False if that asked for something else, None without one."""
    if signal.request is None:
        return None
    key, _, asked = signal.request.partition(":")
    known = state.requests.get(key)
    return None if known is None else known == asked


def counts(signal: Signal, key: str, state: ExecutionState) -> bool:
    """Whether an execution in this state takes a signal, under its key as it is stored."""
    if state.status.is_final:
        return False
    is_awaited = any((waiting := state.at(step).waiting) is not None and waiting.key == key for step in state.timed)
    if signal.step is not None:
        # Kept while the step it is for is about to wait for it, which is always the case for a child
        # that has ended at once; whatever the step has gone on from without it means nothing. Several
        # may tell of the same end.
        is_told = key in state.signals
        return not is_told and (is_awaited or any(str(step) == signal.step for step in state.running))
    is_too_much = sum(map(len, state.signals.values())) >= MAX_EARLY_SIGNALS or state.signal_bytes >= MAX_EARLY_BYTES
    return is_awaited or not (signal.if_awaited or is_too_much)
