"""What executions tell each other of their ends."""

from collections.abc import Mapping, Sequence

from flowrunner.domain.execution import Cancelled, Completed, Event, Failed, Started, Status
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.engine.world import World
from flowrunner.ports import Signal, Turn


def key_of_end(id: ExecutionId) -> str:
    """The key of the signal that tells of the end of an execution."""
    return f"flow:{id}"


def step_of_parent(started: Event) -> str | None:
    """The step that an execution was started for, from its first event."""
    parent = started.parent if isinstance(started, Started) else None
    return str(parent["step"]) if isinstance(parent, Mapping) else None


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
