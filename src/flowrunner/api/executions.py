"""Executions over REST."""

import re
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from flowrunner.api.answers import (
    BODY_ERRORS,
    Answer,
    ExecutionStatus,
    Message,
    answer,
    errors,
    listing,
    rfc3339,
)
from flowrunner.api.requests import DEFAULT_LIMIT, Body, Limit, Offset, page_of, services_of
from flowrunner.api.routing import ProtectedRoute, caller_of, needs
from flowrunner.domain.account import Right
from flowrunner.domain.errors import invalid
from flowrunner.domain.execution import LogLevel, Status
from flowrunner.domain.values import ExecutionId, FlowId
from flowrunner.ports import ExecutionView, LogLine

router = APIRouter(prefix="/api/v1", tags=["Executions"], route_class=ProtectedRoute)

IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key never starts a second execution.",
    "schema": {"type": "string", "maxLength": 255},
}
# A whole list must stay something to look over; the execution itself tells all of its error.
LONGEST_LISTED_ERROR: Final = 2000
_IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


class RunFlow(Body):
    input: dict[str, Any] = Field(default={}, description="What the flow reads as `${flow.input}`.")


class RunAnswer(Answer):
    execution_id: str
    flow_id: str
    status: ExecutionStatus
    created_at: str


class ExecutionAnswer(Answer):
    id: str
    flow_id: str
    status: ExecutionStatus
    started_at: str
    completed_at: str | None = Field(default=None, description="Absent until it has ended.")
    duration: int | None = Field(default=None, description="Milliseconds. Absent until it has ended.")
    error: str | None = Field(default=None, description="Why it failed. Absent unless it did.")


class ExecutionDetailAnswer(ExecutionAnswer):
    input: Any
    result: Any = Field(default=None, description="Absent until it has completed.")


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
    details = {"node_id": line.node_id, "node_type": line.node_type, "data": line.data}
    return body | {name: value for name, value in details.items() if value is not None}


@router.post(
    "/flows/{id}/run",
    response_model=RunAnswer,
    status_code=201,
    responses={
        200: {"model": RunAnswer, "description": "Started before, by the same Idempotency-Key"},
        **errors(401, 403, 404, 409, *BODY_ERRORS),
    },
    openapi_extra={"parameters": [IDEMPOTENCY_KEY], **needs(Right.RUN)},
)
async def run_flow(request: Request, id: str, body: RunFlow | None = None) -> Response:
    """Start an execution. Once this has answered, no crash of the server loses it."""
    idempotency_key = request.headers.get("idempotency-key")
    if idempotency_key is not None and not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise invalid("Idempotency-Key", "must be 1 to 255 visible characters")
    accepted = await services_of(request).executions.run(
        caller_of(request), FlowId(id), {} if body is None else body.input, idempotency_key=idempotency_key
    )
    return answer(
        {
            "execution_id": accepted.id,
            "flow_id": id,
            "status": accepted.status.value,
            "created_at": rfc3339(accepted.created_at),
        },
        200 if accepted.is_repeat else 201,
        {"Idempotent-Replayed": "true"} if accepted.is_repeat else None,
    )


@router.get("/executions", response_model=ExecutionList, responses=errors(401, 403, 422))
async def list_executions(
    request: Request,
    flow_id: Annotated[str | None, Query(max_length=200, description="Only executions of this flow.")] = None,
    status: Annotated[str | None, Query(max_length=200, description="One status, or several by commas.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
) -> Response:
    """The newest first."""
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
        raise invalid("status", f"must be one of {', '.join(Status)}, or several joined by commas") from None


@router.get("/executions/{id}", response_model=ExecutionDetailAnswer, responses=errors(401, 403, 404))
async def get_execution(request: Request, id: str) -> Response:
    execution = await services_of(request).executions.get(caller_of(request), ExecutionId(id))
    body = _execution_json(execution)
    body["input"] = msgspec.Raw(execution.input)
    if execution.result is not None:
        body["result"] = msgspec.Raw(execution.result)
    return answer(body)


@router.delete(
    "/executions/{id}", response_model=Message, responses=errors(401, 403, 404, 409), openapi_extra=needs(Right.RUN)
)
async def cancel_execution(request: Request, id: str) -> Response:
    """Cancel an execution; it has ended when this answers."""
    await services_of(request).executions.cancel(caller_of(request), ExecutionId(id))
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
    lines, total = await services_of(request).executions.logs(
        caller_of(request), ExecutionId(id), level=level, page=page
    )
    return listing("logs", [_log_json(line) for line in lines], total, page)
