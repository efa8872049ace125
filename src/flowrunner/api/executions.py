"""Executions over REST."""

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from flowrunner.api.http.answers import (
    BODY_ERRORS,
    Answer,
    ExecutionStatus,
    Message,
    answer,
    errors,
    listing,
    long_listing,
)
from flowrunner.api.http.requests import DEFAULT_LIMIT, Body, Limit, Offset, page_of, services_of
from flowrunner.api.http.routing import ProtectedRoute, caller_of, needs
from flowrunner.domain.account import Right
from flowrunner.domain.errors import invalid
from flowrunner.domain.events import LogLevel
from flowrunner.domain.execution import Status
from flowrunner.domain.values import ExecutionId, FlowId, rfc3339
from flowrunner.ports import LONGEST_LISTED_ERROR, ExecutionView, LogLine
from flowrunner.services.executions import StartedExecution
from flowrunner.services.reruns import CURRENT

router = APIRouter(prefix="/api/v1", tags=["Executions"], route_class=ProtectedRoute)

IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A key starts at most one execution.",
    "schema": {"type": "string", "maxLength": 255},
}
REPEATABLE: Final = IDEMPOTENCY_KEY | {
    "description": "A repeated request with the same key has no further effect and gets the first answer."
}
_IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


class RunFlow(Body):
    input: dict[str, Any] = Field(default={}, description="The input, which the flow reads as `${flow.input}`.")


class RunAnswer(Answer):
    execution_id: str
    flow_id: str
    status: ExecutionStatus
    created_at: str


class RerunAnswer(RunAnswer):
    revision: int | None = Field(default=None, description="The flow revision that this execution runs.")


class ExecutionAnswer(Answer):
    id: str
    flow_id: str
    status: ExecutionStatus
    started_at: str
    completed_at: str | None = Field(default=None, description="Absent until the execution has ended.")
    duration: int | None = Field(default=None, description="Milliseconds. Absent until the execution has ended.")
    error: str | None = Field(default=None, description="The error message. Absent unless the execution failed.")


class WaitingFor(Answer):
    """The event that a step waits for. Further members depend on the type, such as `key` for a signal."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(
        description="retry, delay, signal, approval, flow, concurrency, room, or a type defined by the node type."
    )
    node: str | None = None
    step: str | None = Field(default=None, description="The step, such as fetch.1, or each.1[4]/push.1 in a loop.")
    until: str | None = Field(
        default=None, description="The time at which the step continues on its own; null if it never does."
    )


class FailureAnswer(Answer):
    """The reason and the place of an execution's failure."""

    type: str
    message: str
    node: str | None = None
    step: str | None = None
    attempt: int | None = None
    input: Any = Field(default=None, description="The step's input.")
    data: Any = None


class ExecutionDetailAnswer(ExecutionAnswer):
    input: Any
    result: Any = Field(default=None, description="Absent until the execution has completed.")
    revision: int | None = Field(default=None, description="The flow revision that this execution runs.")
    waiting_for: list[WaitingFor] | None = Field(default=None, description="Absent unless the execution waits.")
    failure: FailureAnswer | None = Field(default=None, description="Absent unless the execution failed.")
    parent_id: str | None = Field(default=None, description="The parent execution, which waits for this one.")
    rerun_of: str | None = Field(default=None, description="The execution that this one repeats.")


class ExecutionList(Answer):
    executions: list[ExecutionAnswer]
    total: int
    limit: int
    offset: int


class LogAnswer(Answer):
    timestamp: str
    level: LogLevel
    message: str
    node_id: str | None = None
    node_type: str | None = None
    step: str | None = Field(default=None, description="The step, such as fetch.1, or each.1[4]/push.1 in a loop.")
    data: Any = None


class LogList(Answer):
    logs: list[LogAnswer]
    total: int
    limit: int
    offset: int


def _execution_json(execution: ExecutionView) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": execution.id,
        "flow_id": execution.flow_id,
        "status": execution.status.value,
        "started_at": rfc3339(execution.started_at),
    }
    if execution.completed_at is not None:
        body["completed_at"] = rfc3339(execution.completed_at)
        body["duration"] = round((execution.completed_at - execution.started_at).total_seconds() * 1000)
    if execution.error is not None:
        body["error"] = execution.error
    return body


def _listed_json(execution: ExecutionView) -> dict[str, Any]:
    body = _execution_json(execution)
    if len(body.get("error", "")) > LONGEST_LISTED_ERROR:
        body["error"] = body["error"][: LONGEST_LISTED_ERROR - 1] + "…"
    return body


def _log_json(line: LogLine) -> dict[str, Any]:
    body: dict[str, Any] = {
        "timestamp": rfc3339(line.timestamp),
        "level": line.level,
        "message": line.message,
    }
    details: dict[str, Any] = {"node_id": line.node_id, "node_type": line.node_type, "step": line.step}
    if line.data is not None:
        details["data"] = msgspec.Raw(line.data)
    return body | {name: value for name, value in details.items() if value is not None}


@router.post(
    "/flows/{id}/run",
    response_model=RunAnswer,
    status_code=201,
    responses={
        200: {"model": RunAnswer, "description": "Already started by the same Idempotency-Key"},
        **errors(401, 403, 404, 409, *BODY_ERRORS),
    },
    openapi_extra={"parameters": [IDEMPOTENCY_KEY], **needs(Right.RUN)},
)
async def run_flow(request: Request, id: str, body: RunFlow | None = None) -> Response:
    """Start an execution. It is stored durably before this answers, so a crash does not lose it."""
    accepted = await services_of(request).executions.run(
        caller_of(request), FlowId(id), {} if body is None else body.input, idempotency_key=idempotency_key_of(request)
    )
    return _accepted(accepted)


def idempotency_key_of(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise invalid("Idempotency-Key", "must be 1 to 255 visible characters")
    return key


def _accepted(accepted: StartedExecution) -> Response:
    body: dict[str, Any] = {
        "execution_id": accepted.id,
        "flow_id": accepted.flow_id,
        "status": accepted.status.value,
        "created_at": rfc3339(accepted.created_at),
    }
    return answer(
        body if accepted.revision is None else body | {"revision": accepted.revision},
        200 if accepted.is_repeat else 201,
        {"Idempotent-Replayed": "true"} if accepted.is_repeat else None,
    )


@router.get("/executions", response_model=ExecutionList, responses=errors(401, 403, 422))
async def list_executions(
    request: Request,
    flow_id: Annotated[str | None, Query(max_length=200, description="Only executions of this flow.")] = None,
    status: Annotated[
        str | None, Query(max_length=200, description="One status, or several separated by commas.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
) -> Response:
    """List executions, the newest first."""
    page = page_of(limit, offset)
    executions, total = await services_of(request).executions.page(
        caller_of(request),
        flow_id=None if flow_id is None else FlowId(flow_id),
        statuses=_statuses(status),
        page=page,
    )
    return listing("executions", [_listed_json(execution) for execution in executions], total, page)


def _statuses(text: str | None) -> list[Status]:
    try:
        return [] if text is None else [Status(part.strip()) for part in text.split(",")]
    except ValueError:
        raise invalid("status", f"must be one of {', '.join(Status)}, or several separated by commas") from None


@router.get("/executions/{id}", response_model=ExecutionDetailAnswer, responses=errors(401, 403, 404))
async def get_execution(request: Request, id: str) -> Response:
    execution = await services_of(request).executions.get(caller_of(request), ExecutionId(id))
    body = _execution_json(execution)
    body["input"] = msgspec.Raw(execution.input)
    if execution.result is not None:
        body["result"] = msgspec.Raw(execution.result)
    if execution.waiting_for is not None:
        body["waiting_for"] = msgspec.Raw(execution.waiting_for)
    if execution.failure is not None:
        body["failure"] = _failure_json(execution.failure)
    more = {"revision": execution.revision, "parent_id": execution.parent_id, "rerun_of": execution.rerun_of}
    return answer(body | {name: value for name, value in more.items() if value is not None})


def _failure_json(failed: bytes) -> dict[str, Any]:
    """Return the JSON of a failure from the stored event."""
    event = msgspec.json.decode(failed)
    error = event["error"]
    body = {"type": error["type"], "message": error["message"], "node": error["node"], "step": event.get("step")}
    body |= {"attempt": event.get("attempt"), "input": event.get("input"), "data": error["data"]}
    return {name: value for name, value in body.items() if value is not None}


class SignalBody(Body):
    payload: Any = Field(default=None, description="The result of the step that waits for the signal.")


class ApprovalBody(Body):
    approved: bool
    data: Any = Field(default=None, description="The values for the approval's form.")


class RerunBody(Body):
    from_: str | None = Field(
        default=None,
        alias="from",
        min_length=1,
        max_length=2000,
        description="Node or step to start at; earlier results are reused. If absent, the whole flow runs again.",
    )
    input: dict[str, Any] | None = Field(default=None, description="A new input. If absent, the same input is used.")
    # The bound keeps numbers within the database's integer range.
    revision: Annotated[int, Field(ge=1, le=2**53)] | Annotated[str, Field(max_length=210)] = Field(
        default=CURRENT,
        description="The flow revision to run: `current`, `same` (the one that ran), a number, or `label:1.4.0`.",
    )
    idempotency: Literal["new", "same"] = Field(
        default="new",
        description="`true` if its steps send new idempotency keys, `false` if they repeat those of this execution.",
    )


# A key may contain any character, and the name of a step in a loop or a branch contains a slash.
@router.post(
    "/executions/{id}/signals/{key:path}",
    response_model=Message,
    responses=errors(401, 403, 404, 409, *BODY_ERRORS),
    openapi_extra={"parameters": [REPEATABLE], **needs(Right.RUN)},
)
async def send_signal(request: Request, id: str, key: str, body: SignalBody | None = None) -> Response:
    """Send the signal that a `wait` node waits for. A signal that arrives early is stored for the node."""
    payload = None if body is None else body.payload
    await services_of(request).signals.send(
        caller_of(request), ExecutionId(id), key, payload, idempotency_key=idempotency_key_of(request)
    )
    return answer({"message": "Signal accepted"})


@router.post(
    "/executions/{id}/approvals/{node:path}",
    response_model=Message,
    responses=errors(401, 403, 404, 409, *BODY_ERRORS),
    openapi_extra={"parameters": [REPEATABLE], **needs(Right.RUN)},
)
async def answer_approval(request: Request, id: str, node: str, body: ApprovalBody) -> Response:
    """Answer an `approval` node. The first answer counts; later ones are rejected."""
    await services_of(request).signals.answer(
        caller_of(request),
        ExecutionId(id),
        node,
        approved=body.approved,
        data=body.data,
        idempotency_key=idempotency_key_of(request),
    )
    return answer({"message": "Approved" if body.approved else "Rejected"})


@router.post(
    "/executions/{id}/rerun",
    response_model=RerunAnswer,
    status_code=201,
    responses={
        200: {"model": RerunAnswer, "description": "Already started by the same Idempotency-Key"},
        **errors(401, 403, 404, 409, *BODY_ERRORS),
    },
    openapi_extra={"parameters": [IDEMPOTENCY_KEY], **needs(Right.RUN)},
)
async def rerun_execution(request: Request, id: str, body: RerunBody | None = None) -> Response:
    """Start a new execution that repeats this one: completely, with another input, or from one of its steps."""
    wanted = body or RerunBody()
    accepted = await services_of(request).reruns.rerun(
        caller_of(request),
        ExecutionId(id),
        from_step=wanted.from_,
        input=wanted.input,
        revision=wanted.revision,
        same_keys=wanted.idempotency == "same",
        idempotency_key=idempotency_key_of(request),
    )
    return _accepted(accepted)


@router.delete(
    "/executions/{id}",
    response_model=Message,
    responses=errors(401, 403, 404, 409, 422),
    openapi_extra=needs(Right.RUN),
)
async def cancel_execution(
    request: Request,
    id: str,
    force: Annotated[
        bool, Query(description="End the execution immediately: skip `on_finish`, or interrupt handlers that run.")
    ] = False,
) -> Response:
    """Cancel an execution. Its flow has ended when this answers; `on_finish` may still run.

    A repeated request while `on_finish` runs has no effect and gets the same answer. After the end it is a 409.
    """
    await services_of(request).executions.cancel(caller_of(request), ExecutionId(id), force=force)
    return answer({"message": "Execution cancelled successfully"})


@router.get("/executions/{id}/logs", response_model=LogList, responses=errors(401, 403, 404, 422))
async def get_logs(
    request: Request,
    id: str,
    level: Annotated[LogLevel | None, Query(description="Only lines of this level.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
) -> Response:
    page = page_of(limit, offset)
    portions, total = await services_of(request).executions.logs(
        caller_of(request), ExecutionId(id), level=level, page=page
    )
    return await long_listing("logs", ([_log_json(line) for line in lines] async for lines in portions), total, page)
