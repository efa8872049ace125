"""Flows over REST."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from flowrunner.api.http.answers import (
    BODY_ERRORS,
    Answer,
    ErrorEntry,
    Message,
    answer,
    errors,
    in_portions,
    listing,
    long_listing,
)
from flowrunner.api.http.conditions import (
    IF_MATCH,
    IF_NONE_MATCH,
    NOT_MODIFIED,
    is_known,
    not_modified,
    states_to_match,
    with_etag,
)
from flowrunner.api.http.errors import etag, fault_json
from flowrunner.api.http.requests import DEFAULT_LIMIT, Body, Limit, Offset, page_of, services_of
from flowrunner.api.http.routing import MAX_FLOW_BODY_BYTES, ProtectedRoute, caller_of, needs
from flowrunner.domain.account import Right
from flowrunner.domain.values import FlowId, rfc3339
from flowrunner.ports import FlowView, RevisionView, SavedFlow
from flowrunner.services.flows import FlowDraft

router = APIRouter(prefix="/api/v1/flows", tags=["Flows"], route_class=ProtectedRoute)

Name = Annotated[str, Field(min_length=1, max_length=200)]
Tag = Annotated[str, Field(min_length=1, max_length=100)]


class CreateFlow(Body):
    """A new flow. Absent fields are taken from the definition's `metadata`."""

    name: Name | None = None
    description: str | None = Field(default=None, max_length=10_000)
    definition: str = Field(description="The flow as a YAML document of at most 1 MiB.")
    tags: list[Tag] | None = Field(default=None, max_length=50)


class UpdateFlow(Body):
    """Changes to a flow. Absent fields stay, or are taken from the `metadata` of a new definition."""

    name: Name | None = None
    description: str | None = Field(default=None, max_length=10_000)
    definition: str | None = None
    tags: list[Tag] | None = Field(default=None, max_length=50)


class ValidateFlow(Body):
    definition: str = Field(description="The flow as a YAML document of at most 1 MiB.")


class Validation(Answer):
    is_valid: bool = Field(description="`true` if the definition can be saved.")
    errors: list[ErrorEntry] = Field(description="Faults that prevent saving, in document order.")
    warnings: list[ErrorEntry] = Field(
        description="Valid but probably unintended constructs, and dependencies that are missing at run time."
    )


class FlowAnswer(Answer):
    id: str
    name: str
    description: str
    version: str
    created_at: str
    updated_at: str
    tags: list[str]
    revision: int = Field(description="Revision number of the definition.")


class FlowDetail(FlowAnswer):
    definition: str


class FlowList(Answer):
    flows: list[FlowAnswer]
    total: int
    limit: int
    offset: int


class RevisionAnswer(Answer):
    number: int = Field(description="Counted from 1 within the flow.")
    version: str = Field(description="The author's label: the definition's `metadata.version`.")
    created_at: str
    created_by: str = Field(description="The id of the account that saved it.")
    is_current: bool
    size: int = Field(description="Bytes of the definition.")


class RevisionDetail(RevisionAnswer):
    definition: str


class RevisionList(Answer):
    revisions: list[RevisionAnswer]
    total: int
    limit: int
    offset: int


class DifferenceSummary(Answer):
    nodes_added: list[str]
    nodes_removed: list[str]
    nodes_changed: list[str]
    keys_changed: list[str] = Field(description="Changed top-level keys of the document, such as `vars`.")


class DifferenceAnswer(Answer):
    number: int
    against: int | None = Field(description="The revision compared against; null if there is no earlier one.")
    diff: str = Field(description="A unified diff; empty if nothing changed.")
    is_truncated: bool = Field(description="`true` if the difference is longer than 1 MiB and was cut off.")
    summary: DifferenceSummary | None = Field(description="Null if one of the two is not valid YAML.")


def _flow_json(flow: FlowView) -> dict[str, Any]:
    return {
        "id": flow.id,
        "name": flow.name,
        "description": flow.description,
        "version": flow.version,
        "created_at": rfc3339(flow.created_at),
        "updated_at": rfc3339(flow.updated_at),
        "tags": flow.tags,
        "revision": flow.revision,
    }


def _revision_json(revision: RevisionView) -> dict[str, Any]:
    return {
        "number": revision.number,
        "version": revision.version,
        "created_at": rfc3339(revision.created_at),
        "created_by": revision.created_by,
        "is_current": revision.is_current,
        "size": revision.size,
    }


def _saved(flow: SavedFlow, status: int = 200) -> Response:
    return answer(_flow_json(flow), status, {"ETag": etag(flow.state)})


_LARGE = {"x-max-bytes": MAX_FLOW_BODY_BYTES}

RevisionNumber = Annotated[int, Path(ge=1, le=2**53)]


@router.get("", response_model=FlowList, responses=errors(401, 403, 422))
async def list_flows(
    request: Request,
    tag: Annotated[str | None, Query(max_length=100, description="Only flows with this tag.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
) -> Response:
    page = page_of(limit, offset)
    flows, total = await services_of(request).flows.page(caller_of(request), tag=tag, page=page)
    return await long_listing("flows", in_portions([_flow_json(flow) for flow in flows]), total, page)


@router.get(
    "/{id}",
    response_model=FlowDetail,
    responses={**with_etag(), 304: NOT_MODIFIED, **errors(400, 401, 404)},
    openapi_extra={"parameters": [IF_NONE_MATCH]},
)
async def get_flow(request: Request, id: str) -> Response:
    flow = await services_of(request).flows.get(caller_of(request), FlowId(id))
    if is_known(request, flow.state):
        return not_modified(flow.state)
    return answer({**_flow_json(flow), "definition": flow.definition}, headers={"ETag": etag(flow.state)})


@router.post(
    "",
    response_model=FlowAnswer,
    status_code=201,
    responses={**with_etag(201), **errors(401, 403, 409, *BODY_ERRORS)},
    openapi_extra=_LARGE,
)
async def create_flow(request: Request, body: CreateFlow) -> Response:
    draft = FlowDraft(definition=body.definition, name=body.name, description=body.description, tags=body.tags)
    return _saved(await services_of(request).flows.create(caller_of(request), draft), 201)


@router.post(
    "/validate",
    response_model=Validation,
    responses=errors(401, 403, *BODY_ERRORS),
    openapi_extra={**_LARGE, **needs(Right.READ)},
)
async def validate_flow(request: Request, body: ValidateFlow) -> Response:
    """Report all errors and warnings of a definition without saving it."""
    faults = await services_of(request).flows.validate(caller_of(request), body.definition)
    found = [(fault.is_warning, fault_json(fault, document="definition")) for fault in faults]
    wrong = [entry for is_warning, entry in found if not is_warning]
    return answer(
        {"is_valid": not wrong, "errors": wrong, "warnings": [entry for is_warning, entry in found if is_warning]}
    )


@router.put(
    "/{id}",
    response_model=FlowAnswer,
    responses={**with_etag(), **errors(401, 403, 404, 409, 412, *BODY_ERRORS)},
    openapi_extra={**_LARGE, "parameters": [IF_MATCH]},
)
async def update_flow(request: Request, id: str, body: UpdateFlow) -> Response:
    """Update a flow. A changed definition becomes a new revision; running executions keep theirs."""
    flow = await services_of(request).flows.update(
        caller_of(request),
        FlowId(id),
        definition=body.definition,
        name=body.name,
        description=body.description,
        tags=body.tags,
        if_states=states_to_match(request),
    )
    return _saved(flow)


@router.delete(
    "/{id}",
    response_model=Message,
    responses=errors(400, 401, 404, 412),
    openapi_extra={"parameters": [IF_MATCH]},
)
async def delete_flow(request: Request, id: str) -> Response:
    """Delete a flow. Running executions continue, and the history stays readable."""
    await services_of(request).flows.delete(caller_of(request), FlowId(id), if_states=states_to_match(request))
    return answer({"message": "Flow deleted successfully"})


# Revisions


@router.get("/{id}/revisions", response_model=RevisionList, responses=errors(401, 403, 404, 422))
async def list_revisions(request: Request, id: str, limit: Limit = DEFAULT_LIMIT, offset: Offset = 0) -> Response:
    """List the revisions of a flow, the newest first."""
    page = page_of(limit, offset)
    revisions, total = await services_of(request).flows.revisions(caller_of(request), FlowId(id), page=page)
    return listing("revisions", [_revision_json(revision) for revision in revisions], total, page)


@router.get("/{id}/revisions/{number}", response_model=RevisionDetail, responses=errors(401, 403, 404, 422))
async def get_revision(request: Request, id: str, number: RevisionNumber) -> Response:
    revision = await services_of(request).flows.revision(caller_of(request), FlowId(id), number)
    return answer({**_revision_json(revision), "definition": revision.definition})


@router.get("/{id}/revisions/{number}/diff", response_model=DifferenceAnswer, responses=errors(401, 403, 404, 422))
async def compare_revisions(
    request: Request,
    id: str,
    number: RevisionNumber,
    against: Annotated[
        int | None, Query(ge=1, le=2**53, description="The revision to compare against; the previous one if absent.")
    ] = None,
) -> Response:
    """Return the differences between two revisions."""
    difference, start = await services_of(request).flows.compare(
        caller_of(request), FlowId(id), number, against=against
    )
    summary = difference.summary
    return answer(
        {
            "number": number,
            "against": start,
            "diff": difference.text,
            "is_truncated": difference.is_truncated,
            "summary": None
            if summary is None
            else {
                "nodes_added": summary.nodes_added,
                "nodes_removed": summary.nodes_removed,
                "nodes_changed": summary.nodes_changed,
                "keys_changed": summary.keys_changed,
            },
        }
    )


@router.post(
    "/{id}/revisions/{number}/restore",
    response_model=FlowAnswer,
    responses={**with_etag(), **errors(400, 401, 404, 409, 412, 422)},
    openapi_extra={"parameters": [IF_MATCH]},
)
async def restore_revision(request: Request, id: str, number: RevisionNumber) -> Response:
    """Restore an old definition as a new revision. The history is unchanged."""
    return _saved(
        await services_of(request).flows.restore(
            caller_of(request), FlowId(id), number, if_states=states_to_match(request)
        )
    )


@router.delete("/{id}/revisions/{number}", response_model=Message, responses=errors(401, 403, 404, 409, 422))
async def delete_revision(request: Request, id: str, number: RevisionNumber) -> Response:
    """Delete an old revision. Its finished executions stay readable."""
    await services_of(request).flows.delete_revision(caller_of(request), FlowId(id), number)
    return answer({"message": "Revision deleted successfully"})
