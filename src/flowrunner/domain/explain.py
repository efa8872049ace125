"""Description of what an execution waits for."""

from itertools import islice
from typing import Final

from flowrunner.domain.execution import ExecutionState, StepState, StepStatus
from flowrunner.domain.values import JSON, rfc3339
from flowrunner.domain.waits import ConcurrencyWait

MOST_SHOWN: Final = 20
# Wait of an execution that may not become active yet, as a JSON text: its events do not show it.
FOR_ROOM: Final = b'[{"type":"room","until":null}]'
# Steps examined in an execution that is not idle, as this runs at each of its events.
_MOST_LOOKED_AT: Final = 100


def waiting_for(state: ExecutionState) -> list[JSON]:
    """Return the steps that wait: `{node, step, type, until, …}`, with the description of their waits.

    `type` is `retry`, `delay`, `signal`, `approval`, `flow`, `concurrency` or a node type's own. At most
    `MOST_SHOWN` steps are listed.
    """
    if state.is_queued:
        return [{**ConcurrencyWait().describe(), "until": None}]
    found: list[JSON] = []
    for step in state.timed if state.is_idle else islice(state.timed, _MOST_LOOKED_AT):
        current = state.at(step)
        if len(found) == MOST_SHOWN:
            break
        described = _description_of(current)
        if described is not None:
            until = None if current.due_at is None else rfc3339(current.due_at)
            found.append({"node": step.node, "step": str(step), "until": until, **described})
    return found


def _description_of(current: StepState) -> dict[str, JSON] | None:
    if current.status is StepStatus.RETRYING and current.error is not None:
        return {
            "type": "retry",
            "attempt": current.attempts + 1,
            "error": {"type": current.error.type, "message": current.error.message},
        }
    if current.wait_for is not None:
        return current.wait_for.describe()
    if current.open is not None and not current.open.has_begun:
        return {"type": "delay"}
    return None
