"""Signals and answers to approvals over REST."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from msgspec import Meta
from pydantic import Field

from flowrunner.api.http.answers import BODY_ERRORS, Answer, Message, Reply, answer, errors
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.idempotency import REPEATABLE, idempotency_key_of
from flowrunner.api.http.policies import Repeats, RoutePolicy
from flowrunner.api.http.requests import Body
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import now_of, services_of
from flowrunner.api.jobs import JobErrorAnswer, SelectExecutions
from flowrunner.domain.account import Right
from flowrunner.domain.errors import invalid
from flowrunner.domain.values import ExecutionId
from flowrunner.services.selections import Selection
from flowrunner.services.signals import MAX_KEY_CHARACTERS, signal_request

router = APIRouter(prefix="/api/v1", tags=["Executions"], route_class=ProtectedRoute)


class SignalBody(Body):
    payload: Any = Field(default=None, description="The result of the step that waits for the signal.")


class SignalMany(Body):
    key: str = Field(min_length=1, max_length=MAX_KEY_CHARACTERS, description="The key that `wait` nodes wait for.")
    payload: Any = Field(default=None, description="The result of each step that waits for the signal.")
    filter: SelectExecutions = Field(
        description="At least an `input` or a `label`; of the executions with these, those that have not ended."
    )

    def selection(self, now: datetime) -> Selection:
        """Raises: InvalidInput."""
        if not self.filter.input and not self.filter.label:
            hint = 'name what the sender knows, as in input: {order_id: "4711"}'
            raise invalid("filter", "needs an input or a label", code="required", hint=hint)
        return self.filter.selection(now)


class SignalledExecutions(Answer, frozen=True, kw_only=True):
    executions: Annotated[list[str], Meta(description="The ids of those that have the signal.")]
    errors: Annotated[
        list[JobErrorAnswer], Meta(description="Those that could not take it, such as one that has just ended.")
    ]


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
    asked = signal_request(idempotency_key_of(request), key, payload)
    await services_of(request).signals.send(caller_of(request), ExecutionId(id), key, payload, request=asked)
    return answer(Message(message="Signal accepted"))


@router.post("/executions:signal", responses=errors(401, 403, 404, 409, *BODY_ERRORS))
@RoutePolicy(right=Right.RUN, repeats=Repeats())
async def signal_executions(request: Request, body: SignalMany) -> Reply[SignalledExecutions]:
    """Send a signal to the open executions with an input or a label, such as the number of an order."""
    sent = await services_of(request).bulk_signals.send(
        caller_of(request), body.selection(now_of(request)), body.key, body.payload
    )
    refused = [JobErrorAnswer(item=id, message=message) for id, message in sent.refused]
    return answer(SignalledExecutions(executions=list(sent.taken), errors=refused))


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
