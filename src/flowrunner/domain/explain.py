"""What an execution waits for, in a form for people."""

from itertools import islice
from typing import Final

from flowrunner.domain.execution import ExecutionState, StepState, StepStatus
from flowrunner.domain.values import JSON, rfc3339

MOST_SHOWN: Final = 20
# What one waits for that may not come into memory yet, as a JSON text: nothing in its events tells.
FOR_ROOM: Final = b'[{"type":"room","until":null}]'
# Of one in which something goes on, which is asked at each of its events, no more steps are looked at.
_MOST_LOOKED_AT: Final = 100


def waiting_for(state: ExecutionState) -> list[JSON]:
    """Each step that waits: `{node, step, type, until, …}`, with the words of its node type.

    `type` is `retry`, `delay`, `signal`, `approval`, `flow`, `concurrency` or a node type's own. At most
    `MOST_SHOWN` are told.
    """
    if state.is_queued:
        return [{"type": "concurrency", "until": None}]
    found: list[JSON] = []
    for step in state.timed if state.rests else islice(state.timed, _MOST_LOOKED_AT):
        current = state.at(step)
        if len(found) == MOST_SHOWN:
            break
        details = _about(current)
        if details is not None:
            until = None if current.due_at is None else rfc3339(current.due_at)
            found.append({"node": step.node, "step": str(step), "until": until, **details})
    return found


def _about(current: StepState) -> dict[str, JSON] | None:
    if current.status is StepStatus.RETRYING and current.error is not None:
        return {
            "type": "retry",
            "attempt": current.attempts + 1,
            "error": {"type": current.error.type, "message": current.error.message},
        }
    if current.waiting is not None:
        details = current.waiting.details
        return {"type": "delay", **details} if isinstance(details, dict) else {"type": "delay"}
    if current.open is not None and not current.open.has_begun:
        return {"type": "delay"}
    return None
