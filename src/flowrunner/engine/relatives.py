"""What executions tell each other: that they have ended, and that nobody waits for them any more."""

from collections.abc import Mapping, Sequence
from typing import Final

from flowrunner.domain.events import END_OF_FLOW, Cancelled, Completed, Ending, Event, Failed, Started
from flowrunner.domain.execution import Status, StepState, StepStatus
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.engine.world import World
from flowrunner.ports import PARENT_HAS_GONE_ON, Signal, Turn

# The node type whose steps start executions and wait for them, and what those steps say that they wait for.
SUB_FLOW: Final = "flow"


def key_of_end(id: ExecutionId) -> str:
    """The key of the signal that tells of the end of an execution."""
    return f"{END_OF_FLOW}{id}"


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


class Ties:
    """What one execution has to tell its relatives, once the reason for it is durable."""

    def __init__(
        self, world: World, id: ExecutionId, started: Started, parent_id: ExecutionId | None, turn: Turn | None
    ) -> None:
        self._world = world
        self._id = id
        self._started = started
        self._parent_id = parent_id
        self._turn = turn
        self._orphans: list[ExecutionId] = []
        # A step was left that may have started one, and nothing here tells.
        self._may_have_more_orphans = False

    def leave(self, current: StepState) -> None:
        """Note what a step has set going elsewhere, which nobody waits for from now on."""
        if current.status is StepStatus.RUNNING and current.node_type == SUB_FLOW:
            self._may_have_more_orphans = True
        about = current.waiting.about if current.waiting is not None else None
        if isinstance(about, Mapping) and about.get("type") == SUB_FLOW and current.status is StepStatus.WAITING:
            self._orphans.append(ExecutionId(str(about["execution_id"])))

    def tell(self, ending: Ending | None) -> None:
        """Tell the orphans, and if the execution has ended whoever waits for that."""
        orphans, self._orphans = self._orphans, []
        for orphan in orphans:
            self._world.relatives.cancel_soon(orphan, reason=PARENT_HAS_GONE_ON)
        if self._may_have_more_orphans:
            self._may_have_more_orphans = False
            self._world.relatives.look_for_orphans(self._id)
        if ending is not None:
            tell_relatives(self._world, self._id, self._parent_id, self._turn, [self._started, ending])
