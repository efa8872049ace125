"""Flows over REST."""

from collections.abc import Sequence
from typing import Annotated, Self

from fastapi import APIRouter, Path, Query, Request
from msgspec import Meta
from pydantic import Field

from flowrunner.api.http.answers import (
    BODY_ERRORS,
    Answer,
    ErrorEntry,
    ListAnswer,
    Message,
    Reply,
    answer,
    errors,
    listing,
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
from flowrunner.api.http.errors import entry_of, etag
from flowrunner.api.http.requests import DEFAULT_LIMIT, Body, Limit, Offset, page_of
from flowrunner.api.http.routing import MAX_FLOW_BODY_BYTES, ProtectedRoute, caller_of, needs
from flowrunner.api.http.state import services_of
from flowrunner.domain.account import Right
from flowrunner.domain.values import FlowId, rfc3339
from flowrunner.language.difference import ChangeSummary
from flowrunner.ports.flows import FlowView, RevisionView, SavedFlow
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


class Validation(Answer, frozen=True, kw_only=True):
    is_valid: Annotated[bool, Meta(description="`true` if the definition can be saved.")]
    errors: Annotated[list[ErrorEntry], Meta(description="Faults that prevent saving, in document order.")]
    warnings: Annotated[
        list[ErrorEntry],
        Meta(description="Valid but probably unintended constructs, and dependencies that are missing at run time."),
    ]


class FlowAnswer(Answer, frozen=True, kw_only=True):
    id: str
    name: str
    description: str
    version: str
    created_at: str
    updated_at: str
    tags: Sequence[str]
    revision: Annotated[int, Meta(description="Revision number of the definition.")]

    @classmethod
    def of(cls, flow: FlowView) -> Self:
        return cls(
            id=flow.id,
            name=flow.name,
            description=flow.description,
            version=flow.version,
            created_at=rfc3339(flow.created_at),
            updated_at=rfc3339(flow.updated_at),
            tags=flow.tags,
            revision=flow.revision,
        )


class FlowDetail(FlowAnswer, frozen=True, kw_only=True):
    definition: str


class FlowList(ListAnswer, frozen=True):
    flows: list[FlowAnswer]


class RevisionAnswer(Answer, frozen=True, kw_only=True):
    number: Annotated[int, Meta(description="Counted from 1 within the flow.")]
    version: Annotated[str, Meta(description="The author's label: the definition's `metadata.version`.")]
    created_at: str
    created_by: Annotated[str, Meta(description="The id of the account that saved it.")]
    is_current: bool
    size: Annotated[int, Meta(description="Bytes of the definition.")]

    @classmethod
    def of(cls, revision: RevisionView) -> Self:
        return cls(
            number=revision.number,
            version=revision.version,
            created_at=rfc3339(revision.created_at),
            created_by=revision.created_by,
            is_current=revision.is_current,
            size=revision.size,
        )


class RevisionDetail(RevisionAnswer, frozen=True, kw_only=True):
    definition: str


class RevisionList(ListAnswer, frozen=True):
    revisions: list[RevisionAnswer]


class DifferenceSummary(Answer, frozen=True, kw_only=True):
    nodes_added: Sequence[str]
    nodes_removed: Sequence[str]
    nodes_changed: Sequence[str]
    keys_changed: Annotated[Sequence[str], Meta(description="Changed top-level keys of the document, such as `vars`.")]

    @classmethod
    def of(cls, summary: ChangeSummary) -> Self:
        return cls(
            nodes_added=summary.nodes_added,
            nodes_removed=summary.nodes_removed,
            nodes_changed=summary.nodes_changed,
            keys_changed=summary.keys_changed,
        )


class DifferenceAnswer(Answer, frozen=True, kw_only=True):
    number: int
    against: Annotated[int | None, Meta(description="The revision compared against; null if there is no earlier one.")]
    diff: Annotated[str, Meta(description="A unified diff; empty if nothing changed.")]
    is_truncated: Annotated[bool, Meta(description="`true` if the difference is longer than 1 MiB and was cut off.")]
    summary: Annotated[DifferenceSummary | None, Meta(description="Null if one of the two is not valid YAML.")]


def _saved(flow: SavedFlow, status: int = 200) -> Reply[FlowAnswer]:
    return answer(FlowAnswer.of(flow), status, {"ETag": etag(flow.state)})


_LARGE = {"x-max-bytes": MAX_FLOW_BODY_BYTES}

RevisionNumber = Annotated[int, Path(ge=1, le=2**53)]


@router.get("", responses=errors(401, 403, 422))
async def list_flows(
    request: Request,
    tag: Annotated[str | None, Query(max_length=100, description="Only flows with this tag.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
) -> Reply[FlowList]:
    page = page_of(limit, offset)
    flows, total = await services_of(request).flows.page(caller_of(request), tag=tag, page=page)
    listed = [FlowAnswer.of(flow) for flow in flows]
    empty = FlowList([], total=total, limit=page.limit, offset=page.offset)
    return listing(empty, listed)


@router.get(
    "/{id}",
    responses={**with_etag(), 304: NOT_MODIFIED, **errors(400, 401, 404)},
    openapi_extra={"parameters": [IF_NONE_MATCH]},
)
async def get_flow(request: Request, id: str) -> Reply[FlowDetail]:
    flow = await services_of(request).flows.get(caller_of(request), FlowId(id))
    if is_known(request, flow.state):
        return not_modified(flow.state)
    detail = FlowDetail(
        id=flow.id,
        name=flow.name,
        description=flow.description,
        version=flow.version,
        created_at=rfc3339(flow.created_at),
        updated_at=rfc3339(flow.updated_at),
        tags=flow.tags,
        revision=flow.revision,
        definition=flow.definition,
    )
    return answer(detail, headers={"ETag": etag(flow.state)})


@router.post(
    "",
    status_code=201,
    responses={**with_etag(201), **errors(401, 403, 409, *BODY_ERRORS)},
    openapi_extra=_LARGE,
)
async def create_flow(request: Request, body: CreateFlow) -> Reply[FlowAnswer]:
    draft = FlowDraft(definition=body.definition, name=body.name, description=body.description, tags=body.tags)
    return _saved(await services_of(request).flows.create(caller_of(request), draft), 201)


@router.post(
    "/validate",
    responses=errors(401, 403, *BODY_ERRORS),
    openapi_extra={**_LARGE, **needs(Right.READ)},
)
async def validate_flow(request: Request, body: ValidateFlow) -> Reply[Validation]:
    """Report all errors and warnings of a definition without saving it."""
    faults = await services_of(request).flows.validate(caller_of(request), body.definition)
    found = [(fault.is_warning, entry_of(fault, document="definition")) for fault in faults]
    wrong = [entry for is_warning, entry in found if not is_warning]
    warnings = [entry for is_warning, entry in found if is_warning]
    return answer(Validation(is_valid=not wrong, errors=wrong, warnings=warnings))


@router.put(
    "/{id}",
    responses={**with_etag(), **errors(401, 403, 404, 409, 412, *BODY_ERRORS)},
    openapi_extra={**_LARGE, "parameters": [IF_MATCH]},
)
async def update_flow(request: Request, id: str, body: UpdateFlow) -> Reply[FlowAnswer]:
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
    responses=errors(400, 401, 404, 412),
    openapi_extra={"parameters": [IF_MATCH]},
)
async def delete_flow(request: Request, id: str) -> Reply[Message]:
    """Delete a flow. Running executions continue, and the history stays readable."""
    await services_of(request).flows.delete(caller_of(request), FlowId(id), if_states=states_to_match(request))
    return answer(Message(message="Flow deleted successfully"))


# Revisions


@router.get("/{id}/revisions", responses=errors(401, 403, 404, 422))
async def list_revisions(
    request: Request, id: str, limit: Limit = DEFAULT_LIMIT, offset: Offset = 0
) -> Reply[RevisionList]:
    """List the revisions of a flow, the newest first."""
    page = page_of(limit, offset)
    revisions, total = await services_of(request).flows.revisions(caller_of(request), FlowId(id), page=page)
    listed = [RevisionAnswer.of(revision) for revision in revisions]
    return answer(RevisionList(listed, total=total, limit=page.limit, offset=page.offset))


@router.get("/{id}/revisions/{number}", responses=errors(401, 403, 404, 422))
async def get_revision(request: Request, id: str, number: RevisionNumber) -> Reply[RevisionDetail]:
    revision = await services_of(request).flows.revision(caller_of(request), FlowId(id), number)
    return answer(
        RevisionDetail(
            number=revision.number,
            version=revision.version,
            created_at=rfc3339(revision.created_at),
            created_by=revision.created_by,
            is_current=revision.is_current,
            size=revision.size,
            definition=revision.definition,
        )
    )


@router.get("/{id}/revisions/{number}/diff", responses=errors(401, 403, 404, 422))
async def compare_revisions(
    request: Request,
    id: str,
    number: RevisionNumber,
    against: Annotated[
        int | None, Query(ge=1, le=2**53, description="The revision to compare against; the previous one if absent.")
    ] = None,
) -> Reply[DifferenceAnswer]:
    """Return the differences between two revisions."""
    difference, start = await services_of(request).flows.compare(
        caller_of(request), FlowId(id), number, against=against
    )
    summary = difference.summary
    return answer(
        DifferenceAnswer(
            number=number,
            against=start,
            diff=difference.text,
            is_truncated=difference.is_truncated,
            summary=None if summary is None else DifferenceSummary.of(summary),
        )
    )


@router.post(
    "/{id}/revisions/{number}/restore",
    responses={**with_etag(), **errors(400, 401, 404, 409, 412, 422)},
    openapi_extra={"parameters": [IF_MATCH]},
)
async def restore_revision(request: Request, id: str, number: RevisionNumber) -> Reply[FlowAnswer]:
    """Restore an old definition as a new revision. The history is unchanged."""
    return _saved(
        await services_of(request).flows.restore(
            caller_of(request), FlowId(id), number, if_states=states_to_match(request)
        )
    )


@router.delete("/{id}/revisions/{number}", responses=errors(401, 403, 404, 409, 422))
async def delete_revision(request: Request, id: str, number: RevisionNumber) -> Reply[Message]:
    """Delete an old revision. Its finished executions stay readable."""
    await services_of(request).flows.delete_revision(caller_of(request), FlowId(id), number)
    return answer(Message(message="Revision deleted successfully"))
