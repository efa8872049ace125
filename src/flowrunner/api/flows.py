"""Flows over REST."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Final, Literal, Self, cast

from fastapi import APIRouter, Query, Request
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import asdict
from pydantic import Field

from flowrunner.api.drafts import SketchEdge, SketchNode
from flowrunner.api.http.answers import (
    BODY_ERRORS,
    Answer,
    ListAnswer,
    Message,
    Reply,
    answer,
    created,
    errors,
)
from flowrunner.api.http.authentication import act_also_at, caller_of
from flowrunner.api.http.bodies import MAX_FLOW_BODY_BYTES, is_document
from flowrunner.api.http.conditions import (
    IF_MATCH,
    IF_NONE_MATCH,
    NOT_MODIFIED,
    change_condition_of,
    is_known,
    not_modified,
    with_etag,
)
from flowrunner.api.http.errors import etag
from flowrunner.api.http.negotiation import preferred
from flowrunner.api.http.paging import paged
from flowrunner.api.http.policies import Repeats, RoutePolicy
from flowrunner.api.http.requests import (
    DEFAULT_LIMIT,
    DRY_RUN,
    Body,
    Count,
    Cursor,
    Limit,
    Offset,
    is_dry_run,
    page_of,
)
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.domain.account import Right, authorise
from flowrunner.domain.errors import Unavailable, invalid
from flowrunner.domain.values import FlowId, rfc3339
from flowrunner.language.difference import ChangeSummary
from flowrunner.language.mermaid import mermaid_of
from flowrunner.ports.flows import FlowChange, FlowFilter, FlowSort, FlowView, SavedFlow
from flowrunner.services.flow_changes import FlowDraft

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
    disabled: bool | None = Field(default=None, description="`true` lets it start no executions; open ones go on.")


class MoveFlow(Body):
    workspace: str = Field(max_length=200, description="The id or slug of the workspace to move the flow to.")


class CopyFlow(Body):
    workspace: str | None = Field(
        default=None, max_length=200, description="The id or slug of the workspace of the copy; the flow's if absent."
    )
    name: Name | None = None


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


class PlanAnswer(Answer, frozen=True, kw_only=True):
    action: Annotated[
        str,
        Meta(
            description="`none` if the flow already has all of the changes.",
            extra_json_schema={"enum": ["create", "update", "none"]},
        ),
    ]
    diff: Annotated[str, Meta(description="A unified diff of the definitions; empty if they are equal.")]
    is_truncated: Annotated[bool, Meta(description="`true` if the difference is longer than 1 MiB and was cut off.")]
    summary: Annotated[DifferenceSummary | None, Meta(description="Null if the old definition is not valid YAML.")]


class FlowAnswer(Answer, frozen=True, kw_only=True):
    id: str
    name: str
    description: str
    version: str
    created_at: str
    updated_at: str
    tags: Sequence[str]
    revision: Annotated[int, Meta(description="Revision number of the definition.")]
    disabled: Annotated[bool | UnsetType, Meta(description="`true` if it starts no executions; absent otherwise.")] = (
        UNSET
    )
    same_name: Annotated[
        Sequence[str] | UnsetType,
        Meta(
            description="Ids of other flows with its name, at most two: routes by name answer 409 for it."
            " Only in the answer to a creation, and absent if there are none."
        ),
    ] = UNSET
    plan: Annotated[
        PlanAnswer | UnsetType,
        Meta(description="What the request would do. Only in the answer to a dry run, whose flow is not stored."),
    ] = UNSET

    @classmethod
    def of(cls, flow: FlowView, *, plan: PlanAnswer | UnsetType = UNSET, same_name: Sequence[str] = ()) -> Self:
        return cls(
            id=flow.id,
            name=flow.name,
            description=flow.description,
            version=flow.version,
            created_at=rfc3339(flow.created_at),
            updated_at=rfc3339(flow.updated_at),
            tags=flow.tags,
            revision=flow.revision,
            disabled=UNSET if flow.disabled_at is None else True,
            plan=plan,
            same_name=same_name or UNSET,
        )


class FlowDetail(FlowAnswer, frozen=True, kw_only=True):
    definition: str

    @classmethod
    def of_saved(cls, flow: SavedFlow) -> Self:
        return cls(**asdict(FlowAnswer.of(flow)), definition=flow.definition)


class MoveAnswer(Answer, frozen=True, kw_only=True):
    flow: FlowAnswer
    workspace_id: str
    missing_secrets: Annotated[
        Sequence[str], Meta(description="Names of secrets that the flow needs and the workspace does not have.")
    ]
    missing_config: Annotated[
        Sequence[str],
        Meta(description="Names of configuration values that the flow needs and the workspace does not have."),
    ]


_MOST_TAGS: Final = 20
_LONGEST_TAG: Final = 100


class FlowGraphAnswer(Answer, frozen=True, kw_only=True):
    nodes: Annotated[list[SketchNode], Meta(description="In document order.")]
    edges: list[SketchEdge]
    mermaid: Annotated[str, Meta(description="The graph as a Mermaid flowchart, as `flowrunner graph` prints it.")]


class FlowList(ListAnswer, frozen=True):
    flows: list[FlowAnswer]


async def planned(request: Request, change: FlowChange, *, same_name: Sequence[str] = ()) -> Reply[FlowAnswer]:
    """Return the answer to a dry run, with the `ETag` of the stored flow for the `If-Match` of the change itself."""
    before, after = change
    plan = await plan_of(request, change, action_of(change))
    # A flow that is not stored has no id yet.
    if before is None:
        return answer(FlowAnswer.of(replace(after, id=FlowId("")), plan=plan, same_name=same_name))
    return answer(FlowAnswer.of(after, plan=plan), headers={"ETag": etag(before.state)})


def action_of(change: FlowChange) -> str:
    return "create" if change.before is None else "none" if change.before == change.after else "update"


async def plan_of(request: Request, change: FlowChange | None, action: str) -> PlanAnswer:
    """Return the part of an answer about a planned change, which shows the stored definition.

    Args:
        change: The change to compare; None leaves it out.

    Raises: Forbidden without the right to read, unless nothing is stored yet.
    """
    if action != "create":
        authorise(caller_of(request), Right.READ)
    if change is None:
        return PlanAnswer(action=action, diff="", is_truncated=True, summary=None)
    difference = await services_of(request).flows.difference(caller_of(request), change)
    return PlanAnswer(
        action=action,
        diff=difference.text,
        is_truncated=difference.is_truncated,
        summary=None if difference.summary is None else DifferenceSummary.of(difference.summary),
    )


def draft_of(request: Request, body: CreateFlow | UpdateFlow) -> FlowDraft:
    return FlowDraft(
        definition=body.definition,
        name=body.name,
        description=body.description,
        tags=body.tags,
        disabled=body.disabled if isinstance(body, UpdateFlow) else None,
        is_whole=is_document(request),
    )


def saved(flow: SavedFlow, status: int = 200, *, same_name: Sequence[str] = ()) -> Reply[FlowAnswer]:
    body, headers = FlowAnswer.of(flow, same_name=same_name), {"ETag": etag(flow.state)}
    if status == HTTPStatus.CREATED:
        return created(body, f"/api/v1/flows/{flow.id}", headers)
    return answer(body, status, headers)


# An array, so that generated clients can name several.
_TAG: Final = {
    "name": "tag",
    "in": "query",
    "required": False,
    "description": "Only flows with this tag; of several parameters, with all.",
    "schema": {"type": "array", "items": {"type": "string", "maxLength": _LONGEST_TAG}, "maxItems": _MOST_TAGS},
}


@router.get("", responses=errors(401, 403, 422))
@RoutePolicy(parameters=[_TAG])
async def list_flows(
    request: Request,
    *,
    name: Annotated[str | None, Query(max_length=200, description="Only flows with this name.")] = None,
    q: Annotated[
        str | None,
        Query(max_length=200, description="Only flows with this text in their name or description, in any case."),
    ] = None,
    sort: Annotated[
        Literal["created_at", "-created_at", "name", "-name", "updated_at", "-updated_at"],
        Query(description="The order, which `-` reverses. Names sort by code point: capital letters come first."),
    ] = "created_at",
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    cursor: Cursor = None,
    count: Count = False,
) -> Reply[FlowList]:
    """List the flows of the workspace, the oldest first unless `sort` says otherwise, without their definitions."""
    tags = request.query_params.getlist("tag") if request.scope["query_string"] else []
    if len(tags) > _MOST_TAGS:
        raise invalid("tag", f"at most {_MOST_TAGS} tags can be named")
    if any(len(tag) > _LONGEST_TAG for tag in tags):
        raise invalid("tag", f"must be at most {_LONGEST_TAG} characters long", code="too_long")
    wanted = FlowFilter(name=name, text=q, tags=tags, sort=cast("FlowSort", sort.removeprefix("-")))
    return await paged(
        request,
        page_of(limit, offset, cursor, count=count, is_reversed=sort.startswith("-")),
        lambda page: services_of(request).flows.page(caller_of(request), wanted, page=page),
        kind=FlowList,
        item=FlowAnswer.of,
        position=wanted.position,
    )


@router.get(
    "/{id}",
    responses={**with_etag(), 304: NOT_MODIFIED, **errors(400, 401, 404)},
)
@RoutePolicy(parameters=[IF_NONE_MATCH])
async def get_flow(request: Request, id: str) -> Reply[FlowDetail]:
    """Return a flow with its definition."""
    flow = await services_of(request).flows.get(caller_of(request), FlowId(id))
    if is_known(request, flow.state):
        return not_modified(flow.state)
    return answer(FlowDetail.of_saved(flow), headers={"ETag": etag(flow.state)})


_SVG: Final = "image/svg+xml"
# Names in it are others' texts: a browser that is led to it saves a file, and runs nothing.
_PICTURE_HEADERS: Final = {"Content-Disposition": 'attachment; filename="graph.svg"'}


@router.get(
    "/{id}/graph",
    responses={200: {"content": {_SVG: {"schema": {"type": "string"}}}}, **errors(401, 403, 404, 422)},
)
async def get_flow_graph(request: Request, id: str) -> Reply[FlowGraphAnswer]:
    """Return the graph of a flow, for pictures and documents.

    With `Accept: image/svg+xml` the answer is a picture, in the layout of the web interface.
    """
    if preferred(request.headers.get("accept", ""), (_SVG,)):
        svg = await services_of(request).flows.picture(caller_of(request), FlowId(id))
        return Reply(svg.encode(), 200, _PICTURE_HEADERS, _SVG)
    sketch = await services_of(request).flows.graph(caller_of(request), FlowId(id))
    return answer(
        FlowGraphAnswer(
            nodes=[SketchNode.of(node) for node in sketch.nodes],
            edges=[SketchEdge.of(edge) for edge in sketch.edges],
            mermaid=await asyncio.to_thread(mermaid_of, sketch),
        )
    )


@router.post(
    "",
    status_code=201,
    responses={
        200: {"description": "The answer to a dry run"},
        **with_etag(201),
        **errors(401, 403, 409, *BODY_ERRORS),
    },
)
@RoutePolicy(most_bytes=MAX_FLOW_BODY_BYTES, takes_yaml=True, repeats=Repeats(), parameters=[DRY_RUN])
async def create_flow(request: Request, body: CreateFlow) -> Reply[FlowAnswer]:
    """Save a new flow. A dry run is answered with 200."""
    caller, flows, dry_run = caller_of(request), services_of(request).flows, is_dry_run(request)
    flow = await flows.create(caller, draft_of(request, body), dry_run=dry_run)
    others: Sequence[FlowId] = ()
    # The flow is saved, which an outage must not hide.
    with contextlib.suppress(Unavailable):
        others = await flows.others_with_its_name(caller, flow)
    if dry_run:
        return await planned(request, FlowChange(None, flow), same_name=others)
    return saved(flow, 201, same_name=others)


@router.put(
    "/{id}",
    responses={**with_etag(), **errors(401, 403, 404, 409, 412, *BODY_ERRORS)},
)
@RoutePolicy(most_bytes=MAX_FLOW_BODY_BYTES, takes_yaml=True, parameters=[IF_MATCH, DRY_RUN])
async def update_flow(request: Request, id: str, body: UpdateFlow) -> Reply[FlowAnswer]:
    """Update a flow. A changed definition becomes a new revision; running executions keep theirs."""
    flows, caller, draft = services_of(request).flows, caller_of(request), draft_of(request, body)
    condition = change_condition_of(request)
    if is_dry_run(request):
        return await planned(request, await flows.plan_update(caller, FlowId(id), draft, condition=condition))
    return saved(await flows.update(caller, FlowId(id), draft, condition=condition))


@router.delete(
    "/{id}",
    responses=errors(400, 401, 404, 412, 422),
)
@RoutePolicy(parameters=[IF_MATCH, DRY_RUN])
async def delete_flow(request: Request, id: str) -> Reply[Message]:
    """Delete a flow. Running executions continue, and the history stays readable."""
    dry_run = is_dry_run(request)
    await services_of(request).flows.delete(
        caller_of(request), FlowId(id), condition=change_condition_of(request), dry_run=dry_run
    )
    return answer(Message(message="The flow would be deleted" if dry_run else "Flow deleted successfully"))


@router.post("/{id}/move", responses=errors(401, 403, 404, 409, *BODY_ERRORS))
@RoutePolicy(parameters=[DRY_RUN])
async def move_flow(request: Request, id: str, body: MoveFlow) -> Reply[MoveAnswer]:
    """Move a flow with its revisions and executions to another workspace. Secrets and configuration values stay.

    The caller must be an admin of the workspace that the flow leaves, and an editor in the other one. A repeated
    request completes a move that was cut off. A dry run answers with the flow as it is, and the secrets and
    configuration values that would be missing.
    """
    services, caller = services_of(request), caller_of(request)
    target = act_also_at(request, caller, body.workspace)
    moved = await services.moves.move(caller, FlowId(id), target, dry_run=is_dry_run(request))
    return answer(
        MoveAnswer(
            flow=FlowAnswer.of(moved.flow),
            workspace_id=moved.workspace_id,
            missing_secrets=moved.missing_secrets,
            missing_config=moved.missing_config,
        )
    )


@router.post(
    "/{id}/copy",
    status_code=201,
    responses={
        200: {"description": "The answer to a dry run"},
        **with_etag(201),
        **errors(401, 403, 404, 409, *BODY_ERRORS),
    },
)
@RoutePolicy(repeats=Repeats(), parameters=[DRY_RUN])
async def copy_flow(request: Request, id: str, body: CopyFlow | None = None) -> Reply[FlowAnswer]:
    """Save the current definition as a new flow, in the same or in another workspace.

    The caller must be able to change flows in both workspaces. A dry run is answered with 200.
    """
    services, caller, dry_run = services_of(request), caller_of(request), is_dry_run(request)
    body = body or CopyFlow()
    if dry_run:
        # It shows the flow, which the copy itself does not.
        authorise(caller, Right.READ)
    target = caller if body.workspace is None else act_also_at(request, caller, body.workspace)
    flow = await services.flows.copy(caller, FlowId(id), target, name=body.name, dry_run=dry_run)
    return await planned(request, FlowChange(None, flow)) if dry_run else saved(flow, 201)
