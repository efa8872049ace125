"""Flows by their names over REST: deployment of documents by programs that know no ids."""

from fastapi import APIRouter, Request

from flowrunner.api.executions import RunAnswer, RunFlow, run
from flowrunner.api.flows import LARGE, FlowAnswer, FlowDetail, UpdateFlow, draft_of, planned, saved
from flowrunner.api.http.answers import BODY_ERRORS, Reply, answer, errors
from flowrunner.api.http.conditions import (
    IF_MATCH,
    IF_NONE_MATCH,
    IF_NONE_MATCH_ANY,
    NOT_MODIFIED,
    condition_of,
    is_known,
    not_modified,
    with_etag,
)
from flowrunner.api.http.errors import etag
from flowrunner.api.http.idempotency import IDEMPOTENCY_KEY
from flowrunner.api.http.requests import DRY_RUN, is_dry_run
from flowrunner.api.http.routing import ProtectedRoute, caller_of, needs
from flowrunner.api.http.state import services_of
from flowrunner.api.waiting import PREFER
from flowrunner.domain.account import Right

router = APIRouter(prefix="/api/v1/flows", tags=["Flows"], route_class=ProtectedRoute)

# The name is one segment, percent-encoded; the server sees it decoded, so one with slashes looks like several.
_BY_NAME = "/by-name/{name:path}"


@router.get(
    _BY_NAME,
    responses={**with_etag(), 304: NOT_MODIFIED, **errors(400, 401, 404, 409)},
    openapi_extra={"parameters": [IF_NONE_MATCH]},
)
async def get_flow_by_name(request: Request, name: str) -> Reply[FlowDetail]:
    flow = await services_of(request).flows.named(caller_of(request), name)
    if is_known(request, flow.state):
        return not_modified(flow.state)
    return answer(FlowDetail.of_saved(flow), headers={"ETag": etag(flow.state)})


@router.put(
    _BY_NAME,
    responses={
        # No ETag is promised: a dry run of a creation has none.
        200: {"description": "The flow was changed, or has all of the changes"},
        201: {"description": "The flow was created", **with_etag(201)[201]},
        **errors(401, 403, 404, 409, 412, *BODY_ERRORS),
    },
    openapi_extra={**LARGE, "parameters": [IF_MATCH, IF_NONE_MATCH_ANY, DRY_RUN]},
)
async def put_flow_by_name(request: Request, name: str, body: UpdateFlow) -> Reply[FlowAnswer]:
    """Create the flow with this name, or change it. A flow that has all of the changes stays as it is."""
    dry_run = is_dry_run(request)
    change = await services_of(request).flows.put_named(
        caller_of(request), name, draft_of(request, body), condition=condition_of(request), dry_run=dry_run
    )
    if dry_run:
        return await planned(request, change)
    return saved(change.after, 201 if change.before is None else 200)


@router.post(
    f"{_BY_NAME}/run",
    status_code=201,
    responses={
        200: {"description": "Ended within the time of `Prefer: wait`, or already started by the same Idempotency-Key"},
        **errors(401, 403, 404, 409, *BODY_ERRORS),
    },
    openapi_extra={"parameters": [IDEMPOTENCY_KEY, PREFER], **needs(Right.RUN)},
    tags=["Executions"],
)
async def run_flow_by_name(request: Request, name: str, body: RunFlow | None = None) -> Reply[RunAnswer]:
    """Start an execution of the flow with this name."""
    return await run(request, (await services_of(request).flows.named(caller_of(request), name)).id, body)
