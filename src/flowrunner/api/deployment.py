"""Flows by their names over REST: deployment of documents by programs that know no ids."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Final
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import asdict
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from flowrunner.api.execution_answers import RunAnswer
from flowrunner.api.flows import (
    FlowAnswer,
    FlowDetail,
    Name,
    PlanAnswer,
    UpdateFlow,
    action_of,
    draft_of,
    plan_of,
    planned,
    saved,
)
from flowrunner.api.http.answers import BODY_ERRORS, Answer, Reply, answer, errors
from flowrunner.api.http.archives import ArchiveWriter, documents_of
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.bodies import MAX_BATCH_BODY_BYTES, MAX_FLOW_BODY_BYTES
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
from flowrunner.api.http.policies import Repeats, RoutePolicy
from flowrunner.api.http.requests import DRY_RUN, Body, is_dry_run
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.api.long_answers import while_allowed
from flowrunner.api.starts import RunFlow, run
from flowrunner.api.waiting import PREFER
from flowrunner.domain.account import Right
from flowrunner.domain.errors import invalid
from flowrunner.domain.values import FlowId
from flowrunner.services.flow_batches import MAX_FLOWS, DeployedDocument, FlowDocument

router = APIRouter(prefix="/api/v1/flows", tags=["Flows"], route_class=ProtectedRoute)

# The name is one segment, percent-encoded; the server sees it decoded, so one with slashes looks like several.
_BY_NAME = "/by-name/{name:path}"


@router.get(
    _BY_NAME,
    responses={**with_etag(), 304: NOT_MODIFIED, **errors(400, 401, 404, 409)},
)
@RoutePolicy(parameters=[IF_NONE_MATCH])
async def get_flow_by_name(request: Request, name: str) -> Reply[FlowDetail]:
    """Return the flow with this name, with its definition."""
    flow = await services_of(request).flows.named(caller_of(request), name)
    if is_known(request, flow.state):
        return not_modified(flow.state)
    return answer(FlowDetail.of_saved(flow), headers={"ETag": etag(flow.state)})


@router.put(
    _BY_NAME,
    responses={
        # No ETag is promised: a dry run of a creation has none.
        200: {"description": "The flow was changed, or already has all of the changes"},
        201: {"description": "The flow was created", **with_etag(201)[201]},
        **errors(401, 403, 404, 409, 412, *BODY_ERRORS),
    },
)
@RoutePolicy(most_bytes=MAX_FLOW_BODY_BYTES, takes_yaml=True, parameters=[IF_MATCH, IF_NONE_MATCH_ANY, DRY_RUN])
async def put_flow_by_name(request: Request, name: str, body: UpdateFlow) -> Reply[FlowAnswer]:
    """Create the flow with this name, or change it. A flow that already has all of the changes stays as it is."""
    _check_encoding(request)
    dry_run = is_dry_run(request)
    change = await services_of(request).flows.put_named(
        caller_of(request), name, draft_of(request, body), condition=condition_of(request), dry_run=dry_run
    )
    if dry_run:
        return await planned(request, change)
    return saved(change.after, 201 if change.before is None else 200)


def _check_encoding(request: Request) -> None:
    """Raises: InvalidInput if the server could not decode the name, and has put U+FFFD in place of bytes."""
    try:
        unquote_to_bytes(request.scope["raw_path"]).decode()
    except UnicodeDecodeError:
        raise invalid("name", "is not percent-encoded UTF-8", hint="é is %C3%A9, for example") from None


@router.post(
    f"{_BY_NAME}/run",
    status_code=201,
    responses={
        200: {"description": "Ended within the time of `Prefer: wait`, or already started by the same Idempotency-Key"},
        **errors(401, 403, 404, 409, *BODY_ERRORS),
    },
    tags=["Executions"],
)
@RoutePolicy(right=Right.RUN, parameters=[IDEMPOTENCY_KEY, PREFER])
async def run_flow_by_name(request: Request, name: str, body: RunFlow | None = None) -> Reply[RunAnswer]:
    """Start an execution of the flow with this name."""
    return await run(request, (await services_of(request).flows.named(caller_of(request), name)).id, body)


# Many at once

# Characters of definitions that one dry run compares: a comparison can take a second for a mebibyte. A stored
# definition may be longer than its new one, so each change costs something.
_MOST_COMPARED: Final = 8 * 1024 * 1024
_COMPARED_AT_LEAST: Final = 64 * 1024


class NamedDefinition(Body):
    name: Name
    definition: str


class FlowBatch(Body):
    flows: list[NamedDefinition] = Field(max_length=MAX_FLOWS, description="At most 16 MiB of definitions.")
    delete: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default_factory=list,
        max_length=MAX_FLOWS,
        description="Ids of flows to delete in the same transaction. Those that name no flow are ignored.",
    )


class DeployedFlow(FlowAnswer, frozen=True, kw_only=True):
    action: Annotated[
        str,
        Meta(
            description="`none` if the flow already had all of the changes.",
            extra_json_schema={"enum": ["create", "update", "none"]},
        ),
    ]
    missing_secrets: Annotated[
        Sequence[str] | UnsetType,
        Meta(description="Names of secrets that the flow needs and the workspace does not have. Absent without any."),
    ] = UNSET
    missing_config: Annotated[
        Sequence[str] | UnsetType,
        Meta(
            description="Names of configuration values that the flow needs and the workspace does not have. Absent "
            "without any."
        ),
    ] = UNSET
    missing_flows: Annotated[
        Sequence[str] | UnsetType,
        Meta(
            description="Names or ids of flows that the flow calls or waits for, which neither the workspace nor the "
            "request has. Absent without any."
        ),
    ] = UNSET


class DeployedFlows(Answer, frozen=True, kw_only=True):
    flows: list[DeployedFlow]
    deleted: Annotated[
        Sequence[str] | UnsetType, Meta(description="Ids of the flows that were deleted. Absent without any.")
    ] = UNSET


@router.post(
    ":batch",
    responses=errors(401, 403, 409, *BODY_ERRORS),
)
@RoutePolicy(most_bytes=MAX_BATCH_BODY_BYTES, repeats=Repeats(), parameters=[DRY_RUN])
async def save_flows(request: Request, body: FlowBatch) -> Reply[DeployedFlows]:
    """Create or change the flow of each name, and delete others, all of them or none. Each document is whole."""
    documents = [
        FlowDocument(name=flow.name, definition=flow.definition, place=f"/flows/{number}/definition")
        for number, flow in enumerate(body.flows)
    ]
    return await _deploy(request, documents, delete=[FlowId(id) for id in body.delete])


@router.post(
    "/import",
    responses=errors(401, 403, 409, *BODY_ERRORS),
)
@RoutePolicy(most_bytes=MAX_BATCH_BODY_BYTES, takes_zip=True, repeats=Repeats(), parameters=[DRY_RUN])
async def import_flows(request: Request) -> Reply[DeployedFlows]:
    """Create or change the flow of each file of a zip, all of them or none.

    A file is called `<percent-encoded name>.yaml`, as in an export.
    """
    return await _deploy(request, await asyncio.to_thread(documents_of, await request.body()))


async def _deploy(
    request: Request, documents: Sequence[FlowDocument], *, delete: Sequence[FlowId] = ()
) -> Reply[DeployedFlows]:
    services, caller, dry_run = services_of(request), caller_of(request), is_dry_run(request)
    deployed = await services.flow_batches.save(caller, documents, delete=delete, dry_run=dry_run)
    left = _MOST_COMPARED
    flows = []
    for document in deployed.documents:
        change = document.change
        plan: PlanAnswer | UnsetType = UNSET
        if dry_run:
            # Beyond the limit, the plan has the action alone.
            left -= len(change.after.definition) + (_COMPARED_AT_LEAST if action_of(change) == "update" else 0)
            plan = await plan_of(request, change if left >= 0 else None, action_of(change))
        flows.append(_deployed(document, plan))
    return answer(DeployedFlows(flows=flows, deleted=deployed.deleted or UNSET))


def _deployed(document: DeployedDocument, plan: PlanAnswer | UnsetType) -> DeployedFlow:
    change = document.change
    flow = FlowAnswer.of(change.after, plan=plan)
    fields = asdict(flow)
    if plan is not UNSET and change.before is None:
        fields["id"] = ""
    return DeployedFlow(
        **fields,
        action=action_of(change),
        missing_secrets=document.missing_secrets or UNSET,
        missing_config=document.missing_config or UNSET,
        missing_flows=document.missing_flows or UNSET,
    )


@router.get(
    "/export",
    response_class=Response,
    responses={
        200: {
            "description": "A zip with a file `<percent-encoded name>.yaml` for each flow",
            "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
        },
        **errors(401, 403, 409),
    },
)
async def export_flows(request: Request) -> Response:
    """Return the documents of all flows of the workspace."""
    documents = await services_of(request).flow_batches.documents(caller_of(request))
    headers = {"Content-Disposition": 'attachment; filename="flows.zip"'}
    archive = await while_allowed(request, _archive(documents))
    return StreamingResponse(archive, headers=headers, media_type="application/zip")


async def _archive(documents: AsyncIterator[FlowDocument]) -> AsyncIterator[bytes]:
    writer = ArchiveWriter()
    async for document in documents:
        yield await asyncio.to_thread(writer.add, document)
    yield await asyncio.to_thread(writer.end)
