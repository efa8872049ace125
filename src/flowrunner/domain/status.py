"""The statuses of executions and steps, and their legal changes."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Status(StrEnum):
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in FINAL


FINAL: Final = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})

# The legal changes of status. The database also rejects a change of a final one.
TRANSITIONS: Final[Mapping[Status, frozenset[Status]]] = {
    Status.RUNNING: frozenset({Status.RUNNING, Status.WAITING, *FINAL}),
    Status.WAITING: frozenset({Status.RUNNING, Status.WAITING, *FINAL}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}


class StepStatus(StrEnum):
    RUNNING = "running"
    RETRYING = "retrying"
    WAITING = "waiting"
    # Its signal has arrived, and its node type has to handle it.
    RESUMING = "resuming"
    # Its own scopes are running.
    OPEN = "open"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"


# Every legal change of a step's status; `transitions.apply` rejects any other. An attempt that a crash cut off runs
# again from RUNNING; a step whose continuation a crash cut off keeps its status, also in the events of a rerun, which
# have no signals. A loop opens its next scopes from OPEN.
STEP_TRANSITIONS: Final[Mapping[StepStatus, frozenset[StepStatus]]] = {
    StepStatus.RUNNING: frozenset(set(StepStatus) - {StepStatus.RESUMING}),
    StepStatus.RETRYING: frozenset({StepStatus.RUNNING}),
    StepStatus.WAITING: frozenset(
        {StepStatus.WAITING, StepStatus.RESUMING, StepStatus.RETRYING, StepStatus.COMPLETED, StepStatus.FAILED}
    ),
    StepStatus.RESUMING: frozenset(
        {StepStatus.RESUMING, StepStatus.WAITING, StepStatus.RETRYING, StepStatus.COMPLETED, StepStatus.FAILED}
    ),
    StepStatus.OPEN: frozenset({StepStatus.OPEN, StepStatus.RETRYING, StepStatus.COMPLETED, StepStatus.FAILED}),
    StepStatus.COMPLETED: frozenset(),
    StepStatus.SKIPPED: frozenset(),
    StepStatus.FAILED: frozenset(),
}
