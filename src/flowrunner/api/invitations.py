"""Invitations to workspaces over REST."""

from typing import Annotated, Self

from fastapi import APIRouter, Request
from msgspec import Meta
from msgspec.structs import asdict
from pydantic import Field

from flowrunner.api.accounts import AccountAnswer
from flowrunner.api.http.answers import BODY_ERRORS, Answer, ListAnswer, Message, Reply, answer, created, errors
from flowrunner.api.http.authentication import address_of, caller_of
from flowrunner.api.http.paging import paged
from flowrunner.api.http.policies import Repeats, RoutePolicy
from flowrunner.api.http.requests import Body, Paging, life_of
from flowrunner.api.http.routing import ProtectedRoute, PublicRoute, while_connected
from flowrunner.api.http.state import services_of, state_of
from flowrunner.domain.account import Right
from flowrunner.domain.values import InvitationId, rfc3339
from flowrunner.domain.workspace import WorkspaceRole
from flowrunner.ports.invitations import Invitation, OpenInvitation
from flowrunner.services.invitations import NewInvitation

router = APIRouter(prefix="/api/v1/workspaces/{id}/invitations", tags=["Workspaces"], route_class=ProtectedRoute)
invited = APIRouter(prefix="/api/v1/invitations", tags=["Workspaces"], route_class=ProtectedRoute)
public = APIRouter(prefix="/api/v1/invitations", tags=["Workspaces"], route_class=PublicRoute)


class CreateInvitation(Body):
    email: str = Field(max_length=320)
    role: WorkspaceRole
    expires_in: str | None = Field(
        default=None, max_length=20, description="From `5m` to `30d`; seven days if it is absent."
    )


class UseInvitation(Body):
    token: str = Field(max_length=200, description="What follows the `#` in the link.")


class SignUp(UseInvitation):
    name: str = Field(min_length=1, max_length=200)
    password: str = Field(max_length=1024, description="At least 12 characters.")


class InvitationInList(Answer, frozen=True, kw_only=True):
    id: str
    workspace_id: str
    email: str
    role: WorkspaceRole
    invited_by: Annotated[str, Meta(description="The id of the account that invites.")]
    created_at: str
    expires_at: str

    @classmethod
    def of(cls, invitation: Invitation) -> Self:
        return cls(
            id=invitation.id,
            workspace_id=invitation.workspace_id,
            email=invitation.email,
            role=invitation.role,
            invited_by=invitation.invited_by,
            created_at=rfc3339(invitation.created_at),
            expires_at=rfc3339(invitation.expires_at),
        )


class NewInvitationAnswer(InvitationInList, frozen=True, kw_only=True):
    link: Annotated[
        str, Meta(description="Shown only once. It is a path if the setting `public_url` does not name the server.")
    ]
    mailed: Annotated[bool, Meta(description="Whether an e-mail with the link is on its way.")]

    @classmethod
    def of_new(cls, new: NewInvitation) -> Self:
        return cls(**asdict(InvitationInList.of(new.invitation)), link=new.link, mailed=new.is_mailed)


class InvitationList(ListAnswer, frozen=True):
    invitations: list[InvitationInList]


class OpenInvitationAnswer(Answer, frozen=True, kw_only=True):
    workspace: Annotated[str, Meta(description="The name of the workspace.")]
    role: WorkspaceRole
    email: Annotated[str, Meta(description="The address of the account that may accept.")]
    invited_by: Annotated[str, Meta(description="The name of the account that invites.")]
    expires_at: str
    sign_up: Annotated[bool, Meta(description="Whether an account may be created with it.")]

    @classmethod
    def of(cls, found: OpenInvitation, *, sign_up: bool) -> Self:
        return cls(
            workspace=found.workspace_name,
            role=found.invitation.role,
            email=found.invitation.email,
            invited_by=found.inviter.name,
            expires_at=rfc3339(found.invitation.expires_at),
            sign_up=sign_up,
        )


class AcceptedAnswer(Answer, frozen=True, kw_only=True):
    workspace_id: str
    role: Annotated[WorkspaceRole, Meta(description="The role of the invitation; a higher one is kept.")]


@router.post(
    "",
    status_code=201,
    responses=errors(401, 403, 404, 409, *BODY_ERRORS),
)
@RoutePolicy(right=Right.INVITE, repeats=Repeats(keeps_answer=False))
async def create_invitation(request: Request, id: str, body: CreateInvitation) -> Reply[NewInvitationAnswer]:
    """Invite an e-mail address, whether it has an account or not; an earlier invitation of it ends.

    The link can be used once, by an account with this address. This requires a login session; API tokens are rejected.
    """
    new = await services_of(request).invitations.create(
        caller_of(request), email=body.email, role=body.role, life=life_of(body.expires_in)
    )
    return created(NewInvitationAnswer.of_new(new), f"/api/v1/workspaces/{id}/invitations/{new.invitation.id}")


@router.get("", responses=errors(401, 403, 404, 422))
@RoutePolicy(right=Right.MEMBERS)
async def list_invitations(request: Request, id: str, page: Paging) -> Reply[InvitationList]:
    """List the invitations that are neither accepted nor expired, the oldest first."""
    return await paged(
        request,
        page,
        lambda page: services_of(request).invitations.page(caller_of(request), page=page),
        kind=InvitationList,
        item=InvitationInList.of,
        position=lambda invitation: invitation.id,
    )


@router.delete("/{invitation_id}", responses=errors(401, 403, 404))
@RoutePolicy(right=Right.MEMBERS)
async def revoke_invitation(request: Request, id: str, invitation_id: str) -> Reply[Message]:
    """Revoke an invitation. Its link no longer works."""
    await services_of(request).invitations.revoke(caller_of(request), InvitationId(invitation_id))
    return answer(Message(message="Invitation revoked successfully"))


@public.post("/lookup", responses=errors(404, *BODY_ERRORS))
async def look_up_invitation(request: Request, body: UseInvitation) -> Reply[OpenInvitationAnswer]:
    """Return the invitation of a link, without using it."""
    links = services_of(request).invitation_links
    found = await links.open(body.token)
    return answer(OpenInvitationAnswer.of(found, sign_up=links.lets_sign_up(found, body.token)))


@public.post("/sign-up", status_code=201, responses=errors(403, 404, 409, *BODY_ERRORS))
async def sign_up(request: Request, body: SignUp) -> Reply[AccountAnswer]:
    """Create an account for the invited address, and make it a member. Log in with it afterwards.

    The setting `sign_up` says whose invitations create accounts.
    """
    state_of(request).browser.check_is_not_foreign(request.headers)
    account = await while_connected(
        request,
        services_of(request).invitation_links.sign_up(
            body.token, name=body.name, password=body.password, address=address_of(request)
        ),
    )
    return created(AccountAnswer.of(account), f"/api/v1/accounts/{account.id}")


@invited.post(
    "/accept",
    responses=errors(401, 403, 404, 409, *BODY_ERRORS),
)
@RoutePolicy(right=Right.SESSION)
async def accept_invitation(request: Request, body: UseInvitation) -> Reply[AcceptedAnswer]:
    """Become a member, with the account that has the invited address.

    This requires a login session; API tokens are rejected.
    """
    accepted = await services_of(request).invitation_links.accept(caller_of(request), body.token)
    return answer(AcceptedAnswer(workspace_id=accepted.workspace_id, role=accepted.role))
