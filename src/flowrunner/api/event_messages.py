"""Messages about the events of an execution, as clients get them and commands print them."""

from collections.abc import Mapping
from typing import Any, assert_never

from flowrunner.domain.events import (
    Admitted,
    Cancelled,
    Completed,
    Failed,
    InputEdited,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    ScopeEnded,
    ScopesOpened,
    SignalReceived,
    Started,
    StepEvent,
)
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, rfc3339, rfc3339_or_none
from flowrunner.domain.waits import parse_signal_key
from flowrunner.ports.journal import Recorded


def message_of(id: ExecutionId, recorded: Recorded) -> Mapping[str, Any]:
    """Return the message for an event: one of the reference's five types, with its ``seq``."""
    body = {"type": "", "execution_id": id, "seq": recorded.seq, **_body(recorded)}
    body["timestamp"] = rfc3339(recorded.at)
    return {name: value for name, value in body.items() if value is not None or name == "result"}


def _body(recorded: Recorded) -> dict[str, Any]:
    match recorded.event:
        case Started() as event:
            labels = {"labels": event.labels} if event.labels else {}
            return _update(Status.RUNNING) | {"node_id": event.node, "node_type": event.node_type} | labels
        case Admitted():
            return _update(Status.RUNNING)
        case NodeStarted() as event:
            return _update(Status.RUNNING) | _of_step(event) | {"attempt": event.attempt}
        case NodeFailed() as event:
            return (
                _update(Status.RUNNING)
                | _of_step(event)
                | {
                    "attempt": event.attempt,
                    "error": event.error.message,
                    "retry_at": rfc3339(event.retry_at) if event.retry_at else None,
                }
            )
        case NodeWaiting() as event:
            until = rfc3339_or_none(event.due_at)
            status = Status.WAITING if event.is_external else Status.RUNNING
            return _update(status) | _of_step(event) | {"until": until, "waiting_for": event.wait_for.describe()}
        case NodeCompleted() as event:
            body = {"type": "node_completed", **_of_step(event), "action": event.action, "result": event.result}
            flags = {"collected": event.collected is not None, "skipped": event.skipped}
            return body | {name: True for name, is_set in flags.items() if is_set}
        case ScopesOpened() as event:
            return _update(Status.RUNNING) | _of_step(event) | {"scopes": len(event.keys)}
        case ScopeEnded() as event:
            outcome = {"scope": event.scope or None, "scope_outcome": event.outcome}
            return _update(Status.RUNNING) | outcome | {"error": event.error.message if event.error else None}
        case SignalReceived() as event:
            return _update(Status.RUNNING) | {"received": _received(event)}
        case InputEdited() as event:
            edited = {} if event.by is None else {"by": event.by}
            place = {"node_id": event.node, "step": str(event.step), "scope": event.scope or None}
            return _update(Status.RUNNING) | place | {"input_edited": edited}
        case Logged() as event:
            return {
                "type": "log",
                "level": event.level,
                "message": event.message,
                "node_id": event.node,
                "node_type": event.node_type,
                "step": event.step,
                "attempt": event.attempt if event.attempt > 1 else None,
                "scope": event.scope or None,
                "data": event.data,
            }
        case Completed() as event:
            return {"type": "execution_completed", "status": Status.COMPLETED.value, "result": event.result}
        case Failed() as event:
            return {
                "type": "execution_failed",
                "status": Status.FAILED.value,
                "error": event.error.message,
                "error_type": event.error.type,
                "node_id": event.error.node,
                "node_type": event.node_type,
            }
        case Cancelled():
            return _update(Status.CANCELLED)
        case _:
            assert_never(recorded.event)


def _update(status: Status) -> dict[str, Any]:
    return {"type": "execution_update", "status": status.value}


def _of_step(event: StepEvent) -> dict[str, Any]:
    return {
        "node_id": event.node,
        "node_type": event.node_type,
        "step": str(event.step),
        # The iteration or branch that the step belongs to; None for the flow's own nodes.
        "scope": event.scope or None,
    }


def _received(event: SignalReceived) -> dict[str, Any]:
    """Return the received input: a signal with its key, the answer to an approval, or the end of a sub-flow."""
    kind, name = parse_signal_key(event.key)
    field = {"approval": "step", "flow": "execution_id"}.get(kind, "key")
    return {"type": kind, field: name} | ({} if event.by is None else {"by": event.by})
