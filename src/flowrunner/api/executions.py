"""Executions over REST: lists, one of them, its cancellation, and the deletion of its record."""

from hashlib import blake2b
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request

from flowrunner.api.execution_answers import (
    ExecutionAnswer,
    ExecutionDetailAnswer,
    ExecutionList,
)
from flowrunner.api.execution_filters import INPUT, LABEL, filter_of
from flowrunner.api.http.answers import Message, Reply, answer, errors, link_to_next, part_of
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.conditions import IF_NONE_MATCH, NOT_MODIFIED, is_known, not_modified, with_etag
from flowrunner.api.http.errors import etag
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.query_names import Repeatable
from flowrunner.api.http.requests import (
    DEFAULT_LIMIT,
    TRUE_OR_FALSE,
    Count,
    Cursor,
    Limit,
    Offset,
    Since,
    Until,
    moment_of,
    page_of,
    text_filter,
)
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import now_of, services_of
from flowrunner.api.previews import VIEW, most_of_view
from flowrunner.domain.account import Right
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.executions import ExecutionDetail

router = APIRouter(prefix="/api/v1", tags=["Executions"], route_class=ProtectedRoute)


@router.get("/executions", responses=errors(401, 403, 422))
@RoutePolicy(parameters=[LABEL, INPUT])
async def list_executions(
    request: Request,
    *,
    flow_id: Annotated[str | None, text_filter("Only executions of this flow.")] = None,
    flow: Annotated[str | None, text_filter("Only executions of the flow with this id or name.")] = None,
    status: Annotated[
        str | None,
        Query(max_length=200, description="One status, or several, separated by commas or in several parameters."),
        Repeatable,
    ] = None,
    since: Since = None,
    until: Until = None,
    error_type: Annotated[str | None, text_filter("Only failures with this `error_type`.")] = None,
    node: Annotated[str | None, text_filter("Only failures at this `failed_node`.")] = None,
    trigger: Annotated[str | None, text_filter("Only executions that this trigger started.")] = None,
    rerun_of: Annotated[str | None, text_filter("Only reruns of this execution.")] = None,
    job: Annotated[str | None, text_filter("Only executions that this job started.")] = None,
    unrepaired: Annotated[
        bool,
        Query(description="Only failed executions that have no `repaired_by`, the completed rerun."),
        TRUE_OR_FALSE,
    ] = False,
    parent: Annotated[
        Literal["none"] | None, Query(description="`none`: only executions without a `parent_id`, so no sub-flows.")
    ] = None,
    parent_id: Annotated[
        str | None, text_filter("Only the sub-flows that this execution waits for, or has waited for.")
    ] = None,
    sort: Annotated[
        Literal["started_at", "-started_at"], Query(description="Oldest first, or newest first.")
    ] = "-started_at",
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    cursor: Cursor = None,
    count: Count = False,
) -> Reply[ExecutionList]:
    """List executions, the newest first.

    A request examines a limited number of executions, so a page may be shorter than `limit` and have a `next_cursor`.
    """
    page = page_of(limit, offset, cursor, count=count, is_reversed=sort == "started_at")
    wanted = filter_of(
        flow_id=flow_id,
        statuses=request.query_params.getlist("status"),
        error_type=error_type,
        node=node,
        trigger=trigger,
        rerun_of=rerun_of,
        job=job,
        unrepaired=unrepaired,
        parent=parent,
        parent_id=parent_id,
        labels=request.query_params.getlist("label"),
        inputs=[(name[6:], value) for name, value in request.query_params.multi_items() if name.startswith("input.")],
    )
    now = now_of(request)
    listed = await services_of(request).executions.page(
        caller_of(request),
        wanted,
        page,
        flow=flow,
        since=moment_of("since", since, now=now),
        until=moment_of("until", until, now=now),
    )
    answers = [ExecutionAnswer.of(execution) for execution in listed.items]
    return answer(ExecutionList(answers, **part_of(page, listed)), headers=link_to_next(request, listed.next_cursor))


def _state_of(execution: ExecutionDetail, most: int | None) -> str:
    """Return what differs after every change of an answer with the execution. Args: most: See `most_of_view`."""
    # The rest of the answer follows from the events.
    besides = (most, execution.waiting_for, execution.revision, execution.flow_name, execution.repaired_by)
    return f"{execution.last_seq}.{blake2b(repr(besides).encode(), digest_size=9).hexdigest()}"


@router.get(
    "/executions/{id}",
    responses={**with_etag(), 304: NOT_MODIFIED, **errors(400, 401, 403, 404, 422)},
)
@RoutePolicy(parameters=[VIEW, IF_NONE_MATCH])
async def get_execution(request: Request, id: str) -> Reply[ExecutionDetailAnswer]:
    """Return an execution with its input, result and failure, and what it waits for."""
    most = most_of_view(request)
    execution = await services_of(request).executions.get(caller_of(request), ExecutionId(id))
    state = _state_of(execution, most)
    if is_known(request, state):
        return not_modified(state)
    return answer(ExecutionDetailAnswer.of(execution, most), headers={"ETag": etag(state)})


@router.delete(
    "/executions/{id}",
    responses=errors(401, 403, 404, 409, 422),
)
@RoutePolicy(right=Right.RUN)
async def cancel_execution(
    request: Request,
    id: str,
    force: Annotated[
        bool,
        Query(description="End the execution immediately: skip `on_finish`, or interrupt handlers that run."),
        TRUE_OR_FALSE,
    ] = False,
) -> Reply[Message]:
    """Cancel an execution. Its flow has ended when this returns; `on_finish` may still run.

    A repeated request while `on_finish` runs has no effect and gets the same answer. After the end it is a 409.
    """
    await services_of(request).executions.cancel(caller_of(request), ExecutionId(id), force=force)
    return answer(Message(message="Execution cancelled successfully"))


@router.delete("/executions/{id}/record", responses=errors(401, 403, 404, 409))
async def delete_record(request: Request, id: str) -> Reply[Message]:
    """Delete an execution that has ended, with its events and logs. The audit log records the deletion."""
    await services_of(request).records.delete(caller_of(request), ExecutionId(id))
    return answer(Message(message="Execution deleted successfully"))
