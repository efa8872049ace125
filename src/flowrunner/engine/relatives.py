"""What executions tell each other of their ends."""

from collections.abc import Mapping, Sequence
from typing import Final

from flowrunner.domain.events import Cancelled, Completed, Event, Failed, Started
from flowrunner.domain.execution import Status
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.engine.world import World
from flowrunner.ports import Signal, Turn

# The node type whose steps start executions and wait for them, and what those steps say that they wait for.
SUB_FLOW: Final = "flow"


def key_of_end(id: ExecutionId) -> str:
    """The key of the signal that tells of the end of an execution."""
    return f"flow:{id}"


def step_of_parent(started: Event) -> str | None:
    """The step that an execution was started for, from its first event."""
    parent = _parent(started)
    return None if parent is None else str(parent["step"])


def try_of_parent(started: Event) -> tuple[str, JSON] | None:
    """The step that an execution was started for, and how many of its tries had failed by then.

    Each try after a failed one asks for another execution.
    """
    parent = _parent(started)
    return None if parent is None else (str(parent["step"]), parent["failures"])


def _parent(started: Event) -> Mapping[str, JSON] | None:
    parent = started.parent if isinstance(started, Started) else None
    return parent if isinstance(parent, Mapping) else None


def end_signal(id: ExecutionId, started: Event, last: Event) -> Signal | None:
    """What the step that waits for an execution is told of its end; None if it has not ended."""
    payload: dict[str, JSON]
    match last:
        case Completed(result=result):
            payload = {"status": Status.COMPLETED.value, "result": result}
        case Failed(error=error):
            payload = {"status": Status.FAILED.value, "error": error.as_json()}
        case Cancelled():
            payload = {"status": Status.CANCELLED.value}
        case _:
            return None
    return Signal(key=key_of_end(id), payload=payload, step=step_of_parent(started))


def tell_relatives(
    world: World, id: ExecutionId, parent_id: ExecutionId | None, turn: Turn | None, events: Sequence[Event]
) -> None:
    """Say that an execution has ended to whoever waits for it. Harmless if they know.

    Args:
        events: Its first and its last, at least.
    """
    if turn is not None:
        world.relatives.turn_is_free(turn.key)
    if parent_id is not None:
        signal = end_signal(id, events[0], events[-1])
        if signal is not None:
            world.relatives.child_ended(parent_id, signal)
