"""Description of what an execution waits for."""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Final

from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.status import StepStatus
from flowrunner.domain.step_state import StepState
from flowrunner.domain.values import JSON, rfc3339, rfc3339_or_none
from flowrunner.domain.waits import ApprovalWait, ConcurrencyWait

MOST_SHOWN: Final = 20
# Wait of an execution that may not become active yet, as a JSON text: its events do not show it.
FOR_ROOM: Final = b'[{"type":"room","until":null}]'
# The same in lists.
ROOM: Final = b'{"type":"room"}'
# Steps examined in an execution that is not idle, as this runs at each of its events.
_MOST_LOOKED_AT: Final = 100


def waiting_for(state: ExecutionState) -> list[JSON]:
    """Return the steps that wait: `{type, node, step, until, …}`, with the description of their waits.

    The type and the node come first, because lists read the beginning of the JSON text. `type` is `retry`, `delay`,
    `signal`, `approval`, `flow`, `concurrency` or a node type's own. At most `MOST_SHOWN` steps are listed.
    """
    if state.is_queued:
        return [{**ConcurrencyWait().describe(), "until": None}]
    found: list[JSON] = []
    for current, described in _shown(state):
        # A reminder may be due before.
        due_at = current.due_at if current.waiting is None else current.waiting.due_at
        until = rfc3339_or_none(due_at)
        place: dict[str, JSON] = {"type": described["type"], "node": current.step.node, "step": str(current.step)}
        found.append({**place, "until": until, **described})
    return found


def latest_approval(state: ExecutionState) -> datetime | None:
    """Return the start of the last of the listed steps that waits for an approval; None if none does."""
    shown = (current for current, _ in _shown(state) if isinstance(current.wait_for, ApprovalWait))
    return max((current.started_at for current in shown), default=None)


def _shown(state: ExecutionState) -> Iterator[tuple[StepState, dict[str, JSON]]]:
    count = 0
    for step in state.timed if state.is_idle else islice(state.timed, _MOST_LOOKED_AT):
        current = state.at(step)
        if count == MOST_SHOWN:
            return
        described = _description_of(current)
        if described is not None:
            count += 1
            yield current, described


def _description_of(current: StepState) -> dict[str, JSON] | None:
    if current.status is StepStatus.RETRYING and current.error is not None:
        return {
            "type": "retry",
            "attempt": current.attempts + 1,
            "error": {"type": current.error.type, "message": current.error.message},
        }
    if current.wait_for is not None:
        described = current.wait_for.describe()
        if isinstance(current.wait_for, ApprovalWait):
            described |= {"since": rfc3339(current.started_at), **_progress_of(current.wait_for, current)}
            if current.is_link_revoked:
                del described["link"]
        return described
    if current.open is not None and not current.open.has_begun:
        return {"type": "delay"}
    return None


def _progress_of(wait: ApprovalWait, current: StepState) -> dict[str, JSON]:
    """Return the answers so far without their data, and the number of missing approvals, if several are needed."""
    if wait.count is None:
        return {}
    payloads = (answer.payload for answer in current.answers)
    given: list[JSON] = [
        {name: payload.get(name) for name in ("approved", "by", "at")}
        for payload in payloads
        if isinstance(payload, dict)
    ]
    return {"answers": given, "missing": wait.needed - len(given)}
