"""Flows over REST."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from flowrunner.api.answers import BODY_ERRORS, Answer, Message, answer, errors, listing, rfc3339
from flowrunner.api.requests import DEFAULT_LIMIT, Body, Limit, Offset, page_of, services_of
from flowrunner.api.routing import MAX_FLOW_BODY_BYTES, ProtectedRoute, caller_of
from flowrunner.domain.values import FlowId
from flowrunner.ports import FlowView
from flowrunner.services.flows import FlowDraft

router = APIRouter(prefix="/api/v1/flows", tags=["Flows"], route_class=ProtectedRoute)

Name = Annotated[str, Field(min_length=1, max_length=200)]
Tag = Annotated[str, Field(min_length=1, max_length=100)]


class CreateFlow(Body):
    """What is absent is taken from the definition's `metadata`."""

    name: Name | None = None
    description: str | None = Field(default=None, max_length=10_000)
    definition: str = Field(description="The flow as a YAML document of at most 1 MiB.")
    tags: list[Tag] | None = Field(default=None, max_length=50)


class UpdateFlow(Body):
    """What is absent stays, or is taken from a new definition's `metadata`."""

    name: Name | None = None
    description: str | None = Field(default=None, max_length=10_000)
    definition: str | None = None
    tags: list[Tag] | None = Field(default=None, max_length=50)


class FlowAnswer(Answer):
    id: str
    name: str
    description: str
    version: str
    created_at: str
    updated_at: str
    tags: list[str]


class FlowDetail(FlowAnswer):
    definition: str


class FlowList(Answer):
    flows: list[FlowAnswer]
    total: int
    limit: int
    offset: int


def _flow_json(flow: FlowView) -> dict[str, Any]:
    return {
        "id": flow.id,
        "name": flow.name,
        "description": flow.description,
        "version": flow.version,
        "created_at": rfc3339(flow.created_at),
        "updated_at": rfc3339(flow.updated_at),
        "tags": flow.tags,
    }


_LARGE = {"x-max-bytes": MAX_FLOW_BODY_BYTES}


@router.get("", response_model=FlowList, responses=errors(401, 422))
async def list_flows(
    request: Request,
    tag: Annotated[str | None, Query(max_length=100, description="Only flows with this tag.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
) -> Response:
    page = page_of(limit, offset)
    flows, total = await services_of(request).flows.page(caller_of(request), tag=tag, page=page)
    return listing("flows", [_flow_json(flow) for flow in flows], total, page)


@router.get("/{id}", response_model=FlowDetail, responses=errors(401, 404))
async def get_flow(request: Request, id: str) -> Response:
    flow = await services_of(request).flows.get(caller_of(request), FlowId(id))
    return answer({**_flow_json(flow), "definition": flow.definition})


@router.post("", response_model=FlowAnswer, status_code=201, responses=errors(401, *BODY_ERRORS), openapi_extra=_LARGE)
async def create_flow(request: Request, body: CreateFlow) -> Response:
    draft = FlowDraft(definition=body.definition, name=body.name, description=body.description, tags=body.tags)
    return answer(_flow_json(await services_of(request).flows.create(caller_of(request), draft)), 201)


@router.put("/{id}", response_model=FlowAnswer, responses=errors(401, 404, *BODY_ERRORS), openapi_extra=_LARGE)
async def update_flow(request: Request, id: str, body: UpdateFlow) -> Response:
    """A changed definition is a new revision; executions under way go on with theirs."""
    flow = await services_of(request).flows.update(
        caller_of(request),
        FlowId(id),
        definition=body.definition,
        name=body.name,
        description=body.description,
        tags=body.tags,
    )
    return answer(_flow_json(flow))


@router.delete("/{id}", response_model=Message, responses=errors(401, 404))
async def delete_flow(request: Request, id: str) -> Response:
    """Executions under way go on, and the history stays readable."""
    await services_of(request).flows.delete(caller_of(request), FlowId(id))
    return answer({"message": "Flow deleted successfully"})
