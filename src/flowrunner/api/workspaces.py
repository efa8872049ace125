"""Workspaces, their members and API tokens over REST."""

from typing import Annotated, Final, Self

from fastapi import APIRouter, Query, Request
from msgspec import UNSET, Meta, UnsetType
from pydantic import Field
from starlette.responses import StreamingResponse

from flowrunner.api.http.answers import (
    BODY_ERRORS,
    Answer,
    ListAnswer,
    Message,
    Reply,
    answer,
    created,
    errors,
    present,
)
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.paging import paged
from flowrunner.api.http.policies import Repeats, RoutePolicy
from flowrunner.api.http.requests import DRY_RUN, Body, Paging, is_dry_run
from flowrunner.api.http.routing import AdminRoute, ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.api.long_answers import while_allowed
from flowrunner.api.tokens import TokenInList, TokenList
from flowrunner.domain.account import Right
from flowrunner.domain.values import AccountId, TokenId, personal_workspace, rfc3339
from flowrunner.domain.workspace import (
    MAX_NAME_CHARACTERS,
    MAX_SLUG_CHARACTERS,
    Member,
    SharedWorkspace,
    Workspace,
    WorkspaceRole,
)
from flowrunner.services.workspaces import WorkspaceUsage

_PREFIX: Final = "/api/v1/workspaces"
router = APIRouter(prefix=_PREFIX, tags=["Workspaces"], route_class=ProtectedRoute)
admin = APIRouter(prefix="/api/v1/admin/workspaces", tags=["Workspaces"], route_class=AdminRoute)


class CreateWorkspace(Body):
    name: str = Field(min_length=1, max_length=MAX_NAME_CHARACTERS)
    slug: str | None = Field(
        default=None,
        max_length=MAX_SLUG_CHARACTERS,
        description="A unique name for URLs and headers, such as `data-team`; derived from the name if absent.",
    )


class UpdateWorkspace(Body):
    name: str | None = Field(default=None, min_length=1, max_length=MAX_NAME_CHARACTERS)
    slug: str | None = Field(default=None, max_length=MAX_SLUG_CHARACTERS)
    requires_second_factor: bool | None = Field(
        default=None,
        description="Whether members who log in with a password need a second factor to act in the workspace.",
    )


class AddMember(Body):
    account: str = Field(max_length=320, description="The id or e-mail address of an account.")
    role: WorkspaceRole


class ChangeMember(Body):
    role: WorkspaceRole


class WorkspaceAnswer(Answer, frozen=True, kw_only=True):
    id: str
    name: str
    slug: Annotated[str, Meta(description="A unique name, which the header `Flowrunner-Workspace` and paths accept.")]
    role: Annotated[WorkspaceRole, Meta(description="The caller's role.")]
    created_at: str
    requires_second_factor: Annotated[
        bool, Meta(description="Members who log in with a password need a second factor to act in it.")
    ]

    @classmethod
    def of(cls, workspace: Workspace) -> Self:
        return cls(
            id=workspace.id,
            name=workspace.name,
            slug=workspace.slug,
            role=workspace.role,
            created_at=rfc3339(workspace.created_at),
            requires_second_factor=workspace.requires_second_factor,
        )


class WorkspaceList(ListAnswer, frozen=True):
    workspaces: list[WorkspaceAnswer]


class LimitsAnswer(Answer, frozen=True, kw_only=True):
    """The limits of a workspace; null is no limit."""

    active: int | None
    queued: int | None
    flows: int | None
    stored: Annotated[int | None, Meta(description="Bytes.")]


class UsageAnswer(Answer, frozen=True, kw_only=True):
    flows: int
    secrets: int
    config_values: int
    store_keys: int
    store_bytes: Annotated[int, Meta(description="Bytes of the values in its store, as JSON.")]
    open_executions: int
    members: int
    stored: Annotated[int, Meta(description="Bytes of its flows, secrets, configuration values, store and executions.")]
    limits: LimitsAnswer

    @classmethod
    def of(cls, usage: WorkspaceUsage) -> Self:
        limits = usage.limits
        return cls(
            flows=usage.flows,
            secrets=usage.secrets,
            config_values=usage.config_values,
            store_keys=usage.store_keys,
            store_bytes=usage.store_bytes,
            open_executions=usage.open_executions,
            members=usage.members,
            stored=usage.stored,
            limits=LimitsAnswer(active=limits.active, queued=limits.queued, flows=limits.flows, stored=limits.stored),
        )


class MemberAnswer(Answer, frozen=True, kw_only=True):
    account_id: str
    name: str
    email: str
    role: WorkspaceRole
    email_confirmed: bool
    owner: Annotated[bool, Meta(description="The workspace is the personal one of this account.")]
    added_at: str
    role_from: Annotated[
        str | UnsetType,
        Meta(
            description="The name of the provider of single sign-on whose groups decide the role: a change lasts until"
            " the member's next login there. Absent if none does; only in lists."
        ),
    ] = UNSET

    @classmethod
    def of(cls, member: Member) -> Self:
        return cls(
            account_id=member.account_id,
            name=member.name,
            email=member.email,
            email_confirmed=member.is_email_confirmed,
            role=member.role,
            owner=member.is_owner,
            added_at=rfc3339(member.added_at),
            role_from=present(member.role_from),
        )


class MemberList(ListAnswer, frozen=True):
    members: list[MemberAnswer]


class SharedWorkspaceAnswer(Answer, frozen=True, kw_only=True):
    id: str
    name: str
    slug: str
    created_at: str
    members: int
    admins: int

    @classmethod
    def of(cls, workspace: SharedWorkspace) -> Self:
        return cls(
            id=workspace.id,
            name=workspace.name,
            slug=workspace.slug,
            created_at=rfc3339(workspace.created_at),
            members=workspace.members,
            admins=workspace.admins,
        )


class SharedWorkspaceList(ListAnswer, frozen=True):
    workspaces: list[SharedWorkspaceAnswer]


@router.get("", responses=errors(401, 403, 422))
async def list_workspaces(request: Request, page: Paging) -> Reply[WorkspaceList]:
    """List the caller's workspaces, the personal one first."""
    caller = caller_of(request)
    own = personal_workspace(caller.account_id)
    return await paged(
        request,
        page,
        lambda page: services_of(request).workspaces.page(caller, page=page),
        kind=WorkspaceList,
        item=WorkspaceAnswer.of,
        position=lambda workspace: f"{int(workspace.id != own)}{workspace.id}",
    )


@router.post(
    "",
    status_code=201,
    responses=errors(401, 403, 409, *BODY_ERRORS),
)
@RoutePolicy(right=Right.CREATE_WORKSPACE, repeats=Repeats())
async def create_workspace(request: Request, body: CreateWorkspace) -> Reply[WorkspaceAnswer]:
    """Create a workspace, with the caller as its admin. This requires a login session; API tokens are rejected."""
    workspace = await services_of(request).workspaces.create(caller_of(request), name=body.name, slug=body.slug)
    return created(WorkspaceAnswer.of(workspace), f"{_PREFIX}/{workspace.id}")


@router.get("/{id}", responses=errors(401, 403, 404))
async def get_workspace(request: Request, id: str) -> Reply[WorkspaceAnswer]:
    """Return a workspace, by its id or slug."""
    return answer(WorkspaceAnswer.of(await services_of(request).workspaces.get(caller_of(request))))


@router.put(
    "/{id}",
    responses=errors(401, 403, 404, 409, *BODY_ERRORS),
)
@RoutePolicy(right=Right.MEMBERS, parameters=[DRY_RUN])
async def update_workspace(request: Request, id: str, body: UpdateWorkspace) -> Reply[WorkspaceAnswer]:
    """Change the given fields. A personal workspace is called after its account."""
    workspace = await services_of(request).workspaces.update(
        caller_of(request),
        name=body.name,
        slug=body.slug,
        requires_second_factor=body.requires_second_factor,
        dry_run=is_dry_run(request),
    )
    return answer(WorkspaceAnswer.of(workspace))


@router.delete(
    "/{id}",
    responses=errors(401, 403, 404, 409, 422),
)
@RoutePolicy(right=Right.DELETE_WORKSPACE)
async def delete_workspace(
    request: Request,
    id: str,
    name: Annotated[
        str | None, Query(max_length=MAX_NAME_CHARACTERS, description="The workspace's name, unless it is empty.")
    ] = None,
) -> Reply[Message]:
    """Delete a workspace: its flows, secrets, values, members and tokens; its open executions are cancelled."""
    await services_of(request).workspaces.delete(caller_of(request), name=name)
    return answer(Message(message="Workspace deleted successfully"))


@router.get("/{id}/usage", responses=errors(401, 403, 404))
async def get_usage(request: Request, id: str) -> Reply[UsageAnswer]:
    """Return what a workspace holds, beside its limits."""
    return answer(UsageAnswer.of(await services_of(request).workspaces.usage(caller_of(request))))


class _Archive(StreamingResponse):
    media_type = "application/zip"


@router.get(
    "/{id}/export",
    response_class=_Archive,
    responses=errors(401, 403, 404),
)
@RoutePolicy(right=Right.EXPORT, is_change=True)
async def export_workspace(request: Request, id: str) -> _Archive:
    """Return all that the workspace holds as a zip archive, without the values of secrets.

    This requires a login session; API tokens are rejected.
    """
    slug, portions = await services_of(request).exports.export(caller_of(request))
    portions = await while_allowed(request, portions)
    return _Archive(portions, headers={"Content-Disposition": f'attachment; filename="{slug}.zip"'})


@router.get("/{id}/members", responses=errors(401, 403, 404, 422))
async def list_members(
    request: Request,
    id: str,
    page: Paging,
) -> Reply[MemberList]:
    """List the members, the owner of a personal workspace first."""
    return await paged(
        request,
        page,
        lambda page: services_of(request).workspaces.members(caller_of(request), page=page),
        kind=MemberList,
        item=MemberAnswer.of,
        position=lambda member: f"{int(not member.is_owner)}{member.account_id}",
    )


@router.post(
    "/{id}/members",
    status_code=201,
    responses=errors(401, 403, 404, 409, *BODY_ERRORS),
)
@RoutePolicy(right=Right.MEMBERS, repeats=Repeats())
async def add_member(request: Request, id: str, body: AddMember) -> Reply[MemberAnswer]:
    """Add an account as a member."""
    member = await services_of(request).workspaces.add(caller_of(request), body.account, body.role)
    return _added(id, member)


def _added(workspace_id: str, member: Member) -> Reply[MemberAnswer]:
    return created(MemberAnswer.of(member), f"{_PREFIX}/{workspace_id}/members/{member.account_id}")


@router.put(
    "/{id}/members/{account_id}",
    responses=errors(401, 403, 404, 409, *BODY_ERRORS),
)
@RoutePolicy(right=Right.MEMBERS)
async def change_member(request: Request, id: str, account_id: str, body: ChangeMember) -> Reply[MemberAnswer]:
    """Change the role of a member."""
    member = await services_of(request).workspaces.change(caller_of(request), AccountId(account_id), body.role)
    return answer(MemberAnswer.of(member))


@router.delete(
    "/{id}/members/{account_id}",
    responses=errors(401, 403, 404, 409),
)
@RoutePolicy(right=Right.MEMBERS)
async def remove_member(request: Request, id: str, account_id: str) -> Reply[Message]:
    """Remove a member. Its tokens and sockets for the workspace end at once."""
    await services_of(request).workspaces.remove(caller_of(request), AccountId(account_id))
    return answer(Message(message="Member removed successfully"))


@router.post("/{id}/leave", responses=errors(401, 403, 404, 409))
@RoutePolicy(right=Right.LOGIN)
async def leave_workspace(request: Request, id: str) -> Reply[Message]:
    """End the caller's own membership. This requires a login session; API tokens are rejected."""
    await services_of(request).workspaces.leave(caller_of(request))
    return answer(Message(message="You have left the workspace"))


@router.get(
    "/{id}/tokens",
    responses=errors(401, 403, 404, 422),
)
@RoutePolicy(right=Right.MEMBERS)
async def list_workspace_tokens(
    request: Request,
    id: str,
    page: Paging,
) -> Reply[TokenList]:
    """List the API tokens of all members that reach the workspace."""
    return await paged(
        request,
        page,
        lambda page: services_of(request).tokens.page_of_workspace(caller_of(request), page=page),
        kind=TokenList,
        item=TokenInList.of,
        position=lambda token: token.id,
    )


@router.delete(
    "/{id}/tokens/{token_id}",
    responses=errors(401, 403, 404),
)
@RoutePolicy(right=Right.MEMBERS)
async def revoke_workspace_token(request: Request, id: str, token_id: str) -> Reply[Message]:
    """Revoke an API token that reaches the workspace, of any member."""
    await services_of(request).tokens.revoke_of_workspace(caller_of(request), TokenId(token_id))
    return answer(Message(message="Token revoked successfully"))


@admin.get("", responses=errors(401, 403, 422))
async def list_all_workspaces(request: Request, page: Paging) -> Reply[SharedWorkspaceList]:
    """List all workspaces of the installation but the personal ones, without anything that they hold."""
    return await paged(
        request,
        page,
        lambda page: services_of(request).workspaces.all(caller_of(request), page=page),
        kind=SharedWorkspaceList,
        item=SharedWorkspaceAnswer.of,
        position=lambda workspace: workspace.id,
    )


@admin.post(
    "/{id}/members",
    status_code=201,
    responses=errors(401, 403, 404, 409, *BODY_ERRORS),
)
@RoutePolicy(right=Right.APPOINT, repeats=Repeats())
async def appoint_member(request: Request, id: str, body: AddMember) -> Reply[MemberAnswer]:
    """Add an account, such as the caller's own, to any workspace, by its id or slug.

    This requires a login session of an admin.

    An admin of the installation sees nothing of a workspace without a role in it; this is recorded in the audit log.
    """
    member = await services_of(request).workspaces.appoint(caller_of(request), id, body.account, body.role)
    return _added(id, member)
