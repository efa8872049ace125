"""What executions tell each other: that they have ended, and that nobody waits for them any more."""

from collections.abc import Mapping, Sequence
from typing import Final

from flowrunner.domain.events import END_OF_FLOW, Cancelled, Completed, Ending, Event, Failed, Started
from flowrunner.domain.execution import Status, StepState, StepStatus
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.engine.dependencies import EngineDependencies
from flowrunner.ports import PARENT_HAS_GONE_ON, ConcurrencySlot, Signal

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


def notify_links(
    deps: EngineDependencies,
    id: ExecutionId,
    parent_id: ExecutionId | None,
    slot: ConcurrencySlot | None,
    events: Sequence[Event],
) -> None:
    """Say that an execution has ended to whoever waits for it. Harmless if they know.

    Args:
        events: Its first and its last, at least.
    """
    if slot is not None:
        deps.links.release_slot(slot.key)
    if parent_id is not None:
        signal = end_signal(id, events[0], events[-1])
        if signal is not None:
            deps.links.child_ended(parent_id, signal)


class PendingNotifications:
    """What one execution has to tell its relatives, once the reason for it is durable."""

    def __init__(
        self,
        deps: EngineDependencies,
        id: ExecutionId,
        started: Started,
        parent_id: ExecutionId | None,
        slot: ConcurrencySlot | None,
    ) -> None:
        self._deps = deps
        self._id = id
        self._started = started
        self._parent_id = parent_id
        self._slot = slot
        self._orphans: list[ExecutionId] = []
        # A step was left that may have started one, and nothing here tells.
        self._may_have_more_orphans = False

    def leave(self, current: StepState) -> None:
        """Note what a step has set going elsewhere, which nobody waits for from now on."""
        if current.status is StepStatus.RUNNING and current.node_type == SUB_FLOW:
            self._may_have_more_orphans = True
        details = current.waiting.details if current.waiting is not None else None
        if isinstance(details, Mapping) and details.get("type") == SUB_FLOW and current.status is StepStatus.WAITING:
            self._orphans.append(ExecutionId(str(details["execution_id"])))

    def notify(self, ending: Ending | None) -> None:
        """Tell the orphans, and if the execution has ended whoever waits for that."""
        orphans, self._orphans = self._orphans, []
        for orphan in orphans:
            self._deps.links.cancel_soon(orphan, reason=PARENT_HAS_GONE_ON)
        if self._may_have_more_orphans:
            self._may_have_more_orphans = False
            self._deps.links.reconcile_children(self._id)
        if ending is not None:
            notify_links(self._deps, self._id, self._parent_id, self._slot, [self._started, ending])
