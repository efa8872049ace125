"""Starts of executions over REST: runs of flows, and reruns."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

from fastapi import APIRouter, Request
from pydantic import Field

from flowrunner.api.execution_answers import RerunAnswer, RunAnswer
from flowrunner.api.http.answers import BODY_ERRORS, Reply, answer, created, errors
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.idempotency import IDEMPOTENCY_KEY, idempotency_key_of
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.requests import Body, at_most
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of, state_of
from flowrunner.api.waiting import PREFER, start_and_wait, wait_preferred
from flowrunner.domain.account import Right
from flowrunner.domain.errors import QueueFull
from flowrunner.domain.labels import MAX_LABELS, MAX_NAME_CHARACTERS, MAX_VALUE_CHARACTERS
from flowrunner.domain.values import ExecutionId, FlowId
from flowrunner.services.executions import StartedExecution
from flowrunner.services.reruns import CURRENT, NodeInput, RerunOptions, RerunRequest

router = APIRouter(prefix="/api/v1", tags=["Executions"], route_class=ProtectedRoute)

R = TypeVar("R", bound=RunAnswer)


_LABELS: Final = (
    f"Names and values for lists. A name has 1 to {MAX_NAME_CHARACTERS} letters, digits and `. _ - /`, a value 1 to "
    f"{MAX_VALUE_CHARACTERS} printable characters."
)


_Labels: TypeAlias = Annotated[dict[str, str], at_most(MAX_LABELS)]


class RunFlow(Body):
    input: dict[str, Any] = Field(default={}, description="The input, which the flow reads as `${flow.input}`.")
    labels: _Labels = Field(default={}, max_length=MAX_LABELS, description=_LABELS)


@router.post(
    "/flows/{id}/run",
    status_code=201,
    responses={
        200: {"description": "Ended within the time of `Prefer: wait`, or already started by the same Idempotency-Key"},
        **errors(401, 403, 404, 409, *BODY_ERRORS),
    },
)
@RoutePolicy(right=Right.RUN, parameters=[IDEMPOTENCY_KEY, PREFER])
async def run_flow(request: Request, id: str, body: RunFlow | None = None) -> Reply[RunAnswer]:
    """Start an execution. It is stored durably before this answers, so a crash does not lose it."""
    return await run(request, FlowId(id), body)


async def run(request: Request, flow_id: FlowId, body: RunFlow | None) -> Reply[RunAnswer]:
    """Start an execution of a flow with the body of a request."""
    executions, key = services_of(request).executions, idempotency_key_of(request)
    caller, body = caller_of(request), body or RunFlow()

    async def start(new_id: ExecutionId | None) -> StartedExecution:
        try:
            return await executions.run(caller, flow_id, body.input, labels=body.labels, idempotency_key=key, id=new_id)
        except QueueFull:
            state_of(request).start_refused(request.scope, caller)
            raise

    return await _started(request, start, RunAnswer)


async def _started(
    request: Request, start: Callable[[ExecutionId | None], Awaitable[StartedExecution]], kind: type[R]
) -> Reply[R]:
    """Start an execution, and wait for its end if the client prefers that."""
    seconds = wait_preferred(request)
    if not seconds:
        started = await start(None)
        return accepted(started, kind.of(started))
    started, last = await start_and_wait(request, start, seconds=seconds)
    return accepted(started, kind.of(started, last), waited=None if last is None else seconds)


def accepted(started: StartedExecution, body: R, *, waited: int | None = None) -> Reply[R]:
    headers = {"Idempotent-Replayed": "true"} if started.is_repeat else {}
    if waited is not None:
        headers["Preference-Applied"] = f"wait={waited}"
    return answer(body, 200, headers) if headers else created(body, f"/api/v1/executions/{started.id}")


class RerunFields(Body):
    """The fields of a rerun that suit many executions."""

    from_: str | None = Field(
        default=None,
        alias="from",
        min_length=1,
        max_length=2000,
        description="Node or step to start at; earlier results are reused. If absent, the whole flow runs again.",
    )
    elements: Literal["failed"] | None = Field(
        default=None,
        description="`failed`: `from` is a loop, and its elements that have completed keep their results too.",
    )
    # The bound keeps numbers within the database's integer range.
    revision: Annotated[int, Field(ge=1, le=2**53)] | Annotated[str, Field(max_length=210)] = Field(
        default=CURRENT,
        description="The flow revision to run: `current`, `same` (the one that ran), a number, or `label:1.4.0`.",
    )
    idempotency: Literal["new", "same"] = Field(
        default="new",
        description="`new` if its steps send new idempotency keys, `same` if they repeat those of this execution.",
    )

    def options(self) -> RerunOptions:
        given = RerunOptions(
            failed_elements=self.elements == "failed", revision=self.revision, same_keys=self.idempotency == "same"
        )
        return given if self.from_ is None else {**given, "from_step": self.from_}


class RerunBody(RerunFields):
    node_input: Any = Field(
        default=None,
        description="Another input of the node or step that `from` names. If absent, it gets what it got before.",
    )
    input: dict[str, Any] | None = Field(default=None, description="A new input. If absent, the same input is used.")
    labels: _Labels | None = Field(
        default=None, max_length=MAX_LABELS, description=f"{_LABELS} If absent, the same labels are used."
    )


@router.post(
    "/executions/{id}/rerun",
    status_code=201,
    responses={
        200: {"description": "Ended within the time of `Prefer: wait`, or already started by the same Idempotency-Key"},
        **errors(401, 403, 404, 409, *BODY_ERRORS),
    },
)
@RoutePolicy(right=Right.RUN, parameters=[IDEMPOTENCY_KEY, PREFER])
async def rerun_execution(request: Request, id: str, body: RerunBody | None = None) -> Reply[RerunAnswer]:
    """Start a new execution that repeats this one: completely, with another input, or from one of its steps."""
    wanted, key, caller = body or RerunBody(), idempotency_key_of(request), caller_of(request)

    asked = RerunRequest(
        **wanted.options(),
        node_input=NodeInput(wanted.node_input) if "node_input" in wanted.model_fields_set else None,
        input=wanted.input,
        labels=wanted.labels,
    )

    async def start(new_id: ExecutionId | None) -> StartedExecution:
        return await services_of(request).reruns.rerun(
            caller, ExecutionId(id), asked, idempotency_key=key, new_id=new_id
        )

    if Right.READ not in caller.rights:
        # What it ends with may be of an input, and of results of steps, that the caller may not read.
        started = await start(None)
        return accepted(started, RerunAnswer.of(started))
    return await _started(request, start, RerunAnswer)
