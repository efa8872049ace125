"""The steps of an execution over REST, and its graph."""

from datetime import datetime
from typing import Annotated, Any, Final, Self, TypeAlias

import msgspec
from fastapi import APIRouter, Path, Query, Request
from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response

from flowrunner.api.execution_answers import STEP, WaitingFor, duration_of
from flowrunner.api.http.answers import Answer, Reply, answer, encoded, errors, link_to_next, present, stored
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.conditions import IF_NONE_MATCH, tagged, with_etag_of_answer
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.query_names import Repeatable
from flowrunner.api.http.requests import DIGITS, text_filter
from flowrunner.api.http.routing import ProtectedRoute, while_connected
from flowrunner.api.http.state import services_of
from flowrunner.api.previews import PreviewAnswer
from flowrunner.domain.errors import invalid
from flowrunner.domain.flow import HandledEnd
from flowrunner.domain.values import ExecutionId, milliseconds, rfc3339, rfc3339_or_none
from flowrunner.domain.whole_numbers import natural_number_of
from flowrunner.services.run_graph import GraphEdge, GraphNode
from flowrunner.services.step_params import ParamsErrorView, ParamsView
from flowrunner.services.step_values import ErrorView, Preview, ReceivedView, WaitView
from flowrunner.services.steps import AttemptView, StepDetail, StepFilter, StepView

router = APIRouter(prefix="/api/v1", tags=["Executions"], route_class=ProtectedRoute)

STATUSES: Final = ("running", "retrying", "waiting", "completed", "skipped", "failed", "cancelled")
_StepStatus: TypeAlias = Annotated[str, Meta(extra_json_schema={"enum": list(STATUSES)})]
_SCOPE: Final = Meta(
    description="The round of a loop or the branch that it belongs to. Absent for the flow's own nodes."
)
_DURATION: Final = Meta(description="Milliseconds. Absent until it has ended.")
_StepId: TypeAlias = Annotated[int, Path(ge=1, le=2**53, description="The number of the step's first event."), DIGITS]


class StepError(Answer, frozen=True, kw_only=True):
    type: str
    message: Annotated[str, Meta(description="A list shows at most 2,000 characters of a long one.")]
    data: Annotated[Any, Meta(description="Absent from lists if it is long.")] = UNSET

    @classmethod
    def of(cls, error: ErrorView | None) -> Self | UnsetType:
        return UNSET if error is None else cls(type=error.type, message=error.message, data=stored(error.data))


class ReceivedAnswer(Answer, frozen=True, kw_only=True):
    """The signal, or the answer to an approval, that ended a wait."""

    at: str
    by: Annotated[
        str | UnsetType,
        Meta(description="The account that sent it; `link` for the link of an approval. Absent if no account sent it."),
    ] = UNSET
    payload: PreviewAnswer

    @classmethod
    def of(cls, received: ReceivedView) -> Self:
        payload = PreviewAnswer.of(received.payload)
        return cls(at=rfc3339(received.at), by=present(received.by), payload=payload)


class StepWait(Answer, frozen=True, kw_only=True):
    since: str
    waiting_for: WaitingFor
    received: ReceivedAnswer | UnsetType = UNSET

    @classmethod
    def of(cls, wait: WaitView) -> Self:
        received = UNSET if wait.received is None else ReceivedAnswer.of(wait.received)
        # A node type may describe its wait by any members.
        described = stored(msgspec.json.encode(wait.waiting_for))
        return cls(since=rfc3339(wait.since), waiting_for=described, received=received)


class ScopesAnswer(Answer, frozen=True, kw_only=True):
    """The number of rounds of a loop, or of branches."""

    total: int
    completed: int
    failed: int
    cancelled: int


class StepAnswer(Answer, frozen=True, kw_only=True):
    id: Annotated[int, Meta(description="The number of its first event.")]
    step: Annotated[str, STEP]
    node_id: str
    node_type: str
    scope: Annotated[str | UnsetType, _SCOPE] = UNSET
    parent: Annotated[int | UnsetType, Meta(description="The id of the step whose scope it belongs to.")] = UNSET
    status: _StepStatus
    attempts: int
    started_at: str
    completed_at: Annotated[str | UnsetType, Meta(description="Absent until it has ended.")] = UNSET
    duration: Annotated[int | UnsetType, _DURATION] = UNSET
    queued: Annotated[int, Meta(description="Milliseconds from when it could have started to its start.")]
    action: Annotated[str | UnsetType, Meta(description="The action that it ended with.")] = UNSET
    error: Annotated[
        StepError | UnsetType, Meta(description="The error of its latest attempt, if that has failed.")
    ] = UNSET
    wait: Annotated[StepWait | UnsetType, Meta(description="Its latest wait. Absent if it has never waited.")] = UNSET
    scopes: ScopesAnswer | UnsetType = UNSET
    input_edited_by: Annotated[
        str | UnsetType,
        Meta(description="The account that has edited its input for a rerun. Absent if its input was not edited."),
    ] = UNSET


class StepListItem(StepAnswer, frozen=True, kw_only=True):
    input: PreviewAnswer | UnsetType = UNSET
    result: Annotated[PreviewAnswer | UnsetType, Meta(description="Absent until it has completed.")] = UNSET

    @classmethod
    def of(cls, view: StepView) -> Self:
        return cls(**_fields(view), input=_previewed(view.input), result=_previewed(view.result))


class AttemptAnswer(Answer, frozen=True, kw_only=True):
    attempt: int
    status: Annotated[str, Meta(extra_json_schema={"enum": [*STATUSES, "interrupted"]})]
    started_at: str
    completed_at: str | UnsetType = UNSET
    duration: Annotated[int | UnsetType, _DURATION] = UNSET
    error: StepError | UnsetType = UNSET
    retry_at: Annotated[str | UnsetType, Meta(description="The time of the next attempt. Absent if there is none.")] = (
        UNSET
    )

    @classmethod
    def of(cls, view: AttemptView) -> Self:
        return cls(
            attempt=view.attempt,
            status=view.status,
            started_at=rfc3339(view.started_at),
            completed_at=_time(view.completed_at),
            duration=duration_of(view.started_at, view.completed_at),
            error=StepError.of(view.error),
            retry_at=_time(view.retry_at),
        )


class StepDetailAnswer(StepAnswer, frozen=True, kw_only=True):
    input: Any
    result: Annotated[Any, Meta(description="Absent until it has completed.")] = UNSET
    each_attempt: Annotated[list[AttemptAnswer], Meta(description="The latest 100 attempts, the oldest first.")]
    waits: Annotated[list[StepWait], Meta(description="The latest 20 waits, the oldest first.")]

    @classmethod
    def of(cls, detail: StepDetail) -> Self:
        view = detail.view
        return cls(
            **_fields(view),
            input=stored(None if view.input is None else view.input.value),
            result=stored(None if view.result is None else view.result.value),
            each_attempt=[AttemptAnswer.of(attempt) for attempt in detail.attempts],
            waits=[StepWait.of(wait) for wait in detail.waits],
        )


class ParamsError(Answer, frozen=True, kw_only=True):
    path: Annotated[str, Meta(description="The place of the expression: `body.items[0]`; `if` for the condition.")]
    message: str
    reads: Annotated[dict[str, PreviewAnswer], Meta(description="The values of the names that it reads.")]

    @classmethod
    def of(cls, error: ParamsErrorView) -> Self:
        reads = {name: PreviewAnswer.of(value) for name, value in error.reads.items()}
        return cls(path=error.path, message=error.message, reads=reads)


class StepParamsAnswer(Answer, frozen=True, kw_only=True):
    step: Annotated[str, STEP]
    attempt: int
    params: Annotated[
        PreviewAnswer | UnsetType,
        Meta(
            description="The evaluated parameters: null where an expression has no value, and `${secrets.NAME}` in"
            " place of the value of a secret. Absent if its `if` was false, or none could be evaluated."
        ),
    ] = UNSET
    errors: Annotated[list[ParamsError], Meta(description="The parts of the parameters that have no value.")]
    exact: Annotated[bool, Meta(description="The attempt was given these, apart from the values of secrets.")]
    reasons: Annotated[list[str], Meta(description="Why it may have been given others.")]

    @classmethod
    def of(cls, view: ParamsView) -> Self:
        return cls(
            step=view.step,
            attempt=view.attempt,
            params=_previewed(view.params),
            errors=[ParamsError.of(error) for error in view.errors],
            exact=not view.reasons,
            reasons=list(view.reasons),
        )


class StepList(Answer, frozen=True, kw_only=True):
    steps: list[StepListItem]
    next_cursor: Annotated[
        str | UnsetType, Meta(description="Send it as `cursor` for the next page. Absent on the last page.")
    ] = UNSET


class GraphNodeAnswer(Answer, frozen=True, kw_only=True):
    id: Annotated[str, Meta(description="Its path: push, each/push in a loop, both[left]/push in a branch.")]
    node_id: str
    node_type: str
    parent: Annotated[str | UnsetType, Meta(description="The id of the node that holds it.")] = UNSET
    branch: str | UnsetType = UNSET
    is_start: Annotated[bool, Meta(description="The flow, the loop or the branch begins here.")]
    handles: Annotated[HandledEnd | UnsetType, Meta(description="The end of the flow that it handles.")] = UNSET
    status: Annotated[_StepStatus | UnsetType, Meta(description="Of its latest run. Absent if it has not run.")] = UNSET
    step: Annotated[int | UnsetType, Meta(description="The id of its latest run.")] = UNSET
    started_at: str | UnsetType = UNSET
    completed_at: str | UnsetType = UNSET
    runs: Annotated[dict[str, int], Meta(description="The number of its runs, by status.")]

    @classmethod
    def of(cls, node: GraphNode) -> Self:
        return cls(
            id=node.id,
            node_id=node.node,
            node_type=node.node_type,
            parent=present(node.parent),
            branch=present(node.branch),
            is_start=node.is_start,
            handles=present(node.handles),
            status=present(node.status),
            step=present(node.latest),
            started_at=_time(node.started_at),
            completed_at=_time(node.ended_at),
            runs=dict(node.runs),
        )


class GraphEdgeAnswer(Answer, frozen=True, kw_only=True):
    source: Annotated[str, Meta(description="The id of a node.")]
    target: Annotated[str, Meta(description="The id of a node.")]
    action: Annotated[str, Meta(description="An action or an error pattern of the source.")]
    taken: Annotated[int, Meta(description="How often the execution has followed the edge.")]

    @classmethod
    def of(cls, edge: GraphEdge) -> Self:
        return cls(source=edge.source, target=edge.target, action=edge.action, taken=edge.taken)


class GraphAnswer(Answer, frozen=True, kw_only=True):
    nodes: list[GraphNodeAnswer]
    edges: list[GraphEdgeAnswer]


def _fields(view: StepView) -> dict[str, Any]:
    """Return the fields of a step without its input and result."""
    counts = view.scopes
    return {
        "id": view.id,
        "step": view.step,
        "node_id": view.node,
        "node_type": view.node_type,
        "scope": view.scope or UNSET,
        "parent": present(view.parent),
        "status": view.status,
        "attempts": view.attempts,
        "started_at": rfc3339(view.started_at),
        "completed_at": _time(view.completed_at),
        "duration": duration_of(view.started_at, view.completed_at),
        "queued": milliseconds(view.queued),
        "action": present(view.action),
        "error": StepError.of(view.error),
        "wait": UNSET if view.wait is None else StepWait.of(view.wait),
        "scopes": UNSET
        if counts is None
        else ScopesAnswer(
            total=counts.total, completed=counts.completed, failed=counts.failed, cancelled=counts.cancelled
        ),
        "input_edited_by": present(view.input_edited_by),
    }


def _previewed(preview: Preview | None) -> PreviewAnswer | UnsetType:
    return UNSET if preview is None else PreviewAnswer.of(preview)


def _time(at: datetime | None) -> str | UnsetType:
    return present(rfc3339_or_none(at))


@router.get("/executions/{id}/steps", responses=errors(401, 403, 404, 409, 422))
async def list_steps(
    request: Request,
    id: str,
    *,
    scope: Annotated[
        str | None,
        Query(max_length=2000, description="Only steps of this scope itself; empty for the flow's own nodes."),
    ] = None,
    step: Annotated[str | None, Query(max_length=2000, description="Only the step with this full name.")] = None,
    node: Annotated[str | None, text_filter("Only runs of this node.")] = None,
    status: Annotated[
        str | None,
        Query(max_length=200, description="One status, or several, separated by commas or in several parameters."),
        Repeatable,
    ] = None,
    cursor: Annotated[str | None, Query(max_length=20, description="The `next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="The maximum number of steps to return."), DIGITS] = 100,
) -> Reply[StepList]:
    """List steps in the order of their starts. A page may be shorter than the limit and have a `next_cursor`."""
    wanted = StepFilter(scope=scope, step=step, node=node, statuses=_statuses_of(request))
    views, next_id = await services_of(request).steps.page(
        caller_of(request), ExecutionId(id), after=_after(cursor), limit=limit, wanted=wanted
    )
    next_cursor = None if next_id is None else str(next_id)
    listed = StepList(steps=[StepListItem.of(view) for view in views], next_cursor=present(next_cursor))
    return answer(listed, headers=link_to_next(request, next_cursor))


def _statuses_of(request: Request) -> frozenset[str]:
    """Raises: InvalidInput."""
    texts = request.query_params.getlist("status")
    found = frozenset(part.strip() for text in texts for part in text.split(","))
    if found - set(STATUSES):
        raise invalid("status", f"must be one of {', '.join(STATUSES)}, or several separated by commas")
    return found


def _after(cursor: str | None) -> int:
    # An empty cursor is that of the first page.
    if not cursor:
        return 0
    after = natural_number_of(cursor)
    if after is None:
        raise invalid("cursor", "must be the `next_cursor` of an earlier page")
    return after


@router.get("/executions/{id}/steps/{step_id}", responses=errors(401, 403, 404, 409, 422))
async def get_step(request: Request, id: str, step_id: _StepId) -> Reply[StepDetailAnswer]:
    """Return a step with its whole input and result, and each of its attempts."""
    async with services_of(request).steps.step(caller_of(request), ExecutionId(id), step_id) as detail:
        return answer(StepDetailAnswer.of(detail))


# A browser that is led to a result, which others may have written, shows nothing of it.
_AS_FILE: Final = {"Content-Disposition": 'attachment; filename="result.json"'}


@router.get(
    "/executions/{id}/steps/{step_id}/result",
    responses=with_etag_of_answer(
        {200: {"content": {"application/json": {"schema": {}}}}, **errors(401, 403, 404, 409, 422)}
    ),
)
@RoutePolicy(parameters=[IF_NONE_MATCH])
async def get_step_result(request: Request, id: str, step_id: _StepId) -> Response:
    """Return the result of a step as it is stored."""
    async with services_of(request).steps.result(caller_of(request), ExecutionId(id), step_id) as result:
        return tagged(request, encoded(result, headers=_AS_FILE))


@router.get("/executions/{id}/steps/{step_id}/params", responses=errors(401, 403, 404, 409, 422))
async def get_step_params(
    request: Request,
    id: str,
    step_id: _StepId,
    *,
    attempt: Annotated[
        int | None, Query(ge=1, le=2**31, description="The number of the attempt; the latest by default."), DIGITS
    ] = None,
) -> Reply[StepParamsAnswer]:
    """Return the parameters that an attempt was given, evaluated again from what the execution has recorded.

    Nothing runs, and no secret is read.
    """
    view = services_of(request).step_params.of(caller_of(request), ExecutionId(id), step_id, attempt)
    return answer(StepParamsAnswer.of(await while_connected(request, view)))


@router.get("/executions/{id}/graph", responses=errors(401, 403, 404, 409))
async def get_execution_graph(request: Request, id: str) -> Reply[GraphAnswer]:
    """Return the nodes and edges of the revision that runs, with the states of their latest runs, for a picture."""
    graph = await services_of(request).steps.graph(caller_of(request), ExecutionId(id))
    return answer(
        GraphAnswer(
            nodes=[GraphNodeAnswer.of(node) for node in graph.nodes],
            edges=[GraphEdgeAnswer.of(edge) for edge in graph.edges],
        )
    )
