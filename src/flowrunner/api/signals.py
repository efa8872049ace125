"""Signals and answers to approvals over REST."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field

from flowrunner.api.http.answers import BODY_ERRORS, Message, Reply, answer, errors
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.idempotency import REPEATABLE, idempotency_key_of
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.requests import Body
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.domain.account import Right
from flowrunner.domain.values import ExecutionId

router = APIRouter(prefix="/api/v1", tags=["Executions"], route_class=ProtectedRoute)


class SignalBody(Body):
    payload: Any = Field(default=None, description="The result of the step that waits for the signal.")


class ApprovalBody(Body):
    approved: bool
    data: Any = Field(default=None, description="The values for the approval's form.")


# A key may contain any character, and the name of a step in a loop or a branch contains a slash.
@router.post(
    "/executions/{id}/signals/{key:path}",
    responses=errors(401, 403, 404, 409, *BODY_ERRORS),
)
@RoutePolicy(right=Right.RUN, parameters=[REPEATABLE])
async def send_signal(request: Request, id: str, key: str, body: SignalBody | None = None) -> Reply[Message]:
    """Send the signal that a `wait` node waits for. A signal that arrives early is stored for the node."""
    payload = None if body is None else body.payload
    await services_of(request).signals.send(
        caller_of(request), ExecutionId(id), key, payload, idempotency_key=idempotency_key_of(request)
    )
    return answer(Message(message="Signal accepted"))


@router.post(
    "/executions/{id}/approvals/{node:path}",
    responses=errors(401, 403, 404, 409, *BODY_ERRORS),
)
@RoutePolicy(right=Right.RUN, parameters=[REPEATABLE])
async def answer_approval(request: Request, id: str, node: str, body: ApprovalBody) -> Reply[Message]:
    """Answer an `approval` node. The first answer counts; later ones are rejected."""
    await services_of(request).signals.answer(
        caller_of(request),
        ExecutionId(id),
        node,
        approved=body.approved,
        data=body.data,
        idempotency_key=idempotency_key_of(request),
    )
    return answer(Message(message="Approved" if body.approved else "Rejected"))
