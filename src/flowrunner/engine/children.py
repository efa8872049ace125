"""Notifications between executions: an end to the waiting parent, a cancellation to orphaned children."""

from collections.abc import Sequence

from flowrunner.domain.causes import ChildOf
from flowrunner.domain.events import Cancelled, Completed, Ending, Event, Failed, Started
from flowrunner.domain.status import Status, StepStatus
from flowrunner.domain.step_state import StepState
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.domain.waits import ChildWait, child_signal_key
from flowrunner.engine.dependencies import EngineDependencies
from flowrunner.ports.concurrency import ConcurrencySlot
from flowrunner.ports.dispatch import PARENT_HAS_GONE_ON, Signal


def parent_step(started: Event) -> ChildOf | None:
    """Return the parent step of an execution, from its first event."""
    return started.cause if isinstance(started, Started) and isinstance(started.cause, ChildOf) else None


def end_signal(id: ExecutionId, started: Event, last: Event) -> Signal | None:
    """Return the signal of an execution's end to its parent step; None if it has not ended."""
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
    key, parent = child_signal_key(id), parent_step(started)
    if parent is None:
        return Signal(key=key, payload=payload)
    return Signal(key=key, payload=payload, step=parent.step, failures=parent.failures)


def notify_links(
    deps: EngineDependencies,
    id: ExecutionId,
    parent_id: ExecutionId | None,
    slot: ConcurrencySlot | None,
    events: Sequence[Event],
) -> None:
    """Notify the executions that wait for the end of this one; a repeat has no effect.

    Args:
        events: The first and the last event, at least.
    """
    if slot is not None:
        deps.links.release_slot(slot.key)
    if parent_id is not None:
        signal = end_signal(id, events[0], events[-1])
        if signal is not None:
            deps.links.child_ended(parent_id, signal)


class PendingNotifications:
    """Notifications of one execution to linked ones, sent once their cause is durable."""

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
        # An abandoned step may have started a child that is not recorded.
        self._may_have_more_orphans = False

    def leave(self, current: StepState) -> None:
        """Note the child execution of a step that stops waiting for it."""
        if current.status is StepStatus.RUNNING and self._deps.starts_executions(current.node_type):
            self._may_have_more_orphans = True
        if current.status is StepStatus.WAITING and isinstance(current.wait_for, ChildWait):
            self._orphans.append(ExecutionId(current.wait_for.execution_id))

    def notify(self, ending: Ending | None) -> None:
        """Cancel the orphans, and if the execution has ended, notify the waiting executions."""
        orphans, self._orphans = self._orphans, []
        for orphan in orphans:
            self._deps.links.cancel_soon(orphan, reason=PARENT_HAS_GONE_ON)
        if self._may_have_more_orphans:
            self._may_have_more_orphans = False
            self._deps.links.reconcile_children(self._id)
        if ending is not None:
            notify_links(self._deps, self._id, self._parent_id, self._slot, [self._started, ending])
