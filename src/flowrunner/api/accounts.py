"""Accounts over REST."""

from typing import Annotated, Self

from fastapi import APIRouter, Query, Request
from msgspec import Meta
from pydantic import Field

from flowrunner.api.http.answers import BODY_ERRORS, Answer, ListAnswer, Message, Reply, answer, created, errors
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.paging import paged
from flowrunner.api.http.policies import Repeats, RoutePolicy
from flowrunner.api.http.requests import Body, Paging
from flowrunner.api.http.routing import AdminRoute, ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.domain.account import Account, Right, Role
from flowrunner.domain.values import AccountId, rfc3339
from flowrunner.domain.workspace import OfDeletedAccount
from flowrunner.services.accounts import AccountUpdate

_PREFIX = "/api/v1/accounts"
router = APIRouter(prefix=_PREFIX, tags=["Accounts"], route_class=ProtectedRoute)
admin = APIRouter(prefix=_PREFIX, tags=["Accounts"], route_class=AdminRoute)


class CreateAccount(Body):
    name: str = Field(min_length=1, max_length=200)
    email: str = Field(max_length=320)
    password: str = Field(max_length=1024, description="At least 12 characters.")
    role: Role = "user"
    email_confirmed: bool = Field(
        default=False, description="The address is known to be the person's: no e-mail has to confirm it."
    )


class UpdateAccount(Body):
    name: str | None = Field(default=None, min_length=1, max_length=200)
    email: str | None = Field(default=None, max_length=320)
    role: Role | None = None
    password: str | None = Field(
        default=None, max_length=1024, description="Ends the account's sessions and API tokens."
    )
    current_password: str | None = Field(
        default=None,
        max_length=1024,
        description="The current password. Required when callers change their own password.",
    )
    disabled: bool | None = Field(
        default=None, description="A disabled account cannot log in, and its API tokens are rejected."
    )
    email_confirmed: bool | None = Field(
        default=None,
        description="For admins: whether the address counts as the person's without an e-mail. `true` needs the "
        "address in `email`.",
    )


class AccountAnswer(Answer, frozen=True, kw_only=True):
    id: str
    name: str
    email: str
    email_confirmed: Annotated[
        bool,
        Meta(
            description="The address is known to be the person's own. Only then do approvers, invitations and new "
            "members match it, and are e-mails about the account sent to it."
        ),
    ]
    role: Role
    disabled: bool
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, account: Account) -> Self:
        return cls(
            id=account.id,
            name=account.name,
            email=account.email,
            email_confirmed=account.is_email_confirmed,
            role=account.role,
            disabled=account.is_disabled,
            created_at=rfc3339(account.created_at),
            updated_at=rfc3339(account.updated_at),
        )


class AccountList(ListAnswer, frozen=True):
    accounts: list[AccountAnswer]


@admin.get("", responses=errors(401, 403, 422))
async def list_accounts(
    request: Request,
    *,
    role: Annotated[Role | None, Query(description="Only accounts with this role.")] = None,
    page: Paging,
) -> Reply[AccountList]:
    """List the accounts of the installation."""
    return await paged(
        request,
        page,
        lambda page: services_of(request).accounts.page(role=role, page=page),
        kind=AccountList,
        item=AccountAnswer.of,
        position=lambda account: account.id,
    )


@admin.post(
    "",
    status_code=201,
    responses=errors(401, 403, 409, *BODY_ERRORS),
)
@RoutePolicy(right=Right.CREATE_ACCOUNT, repeats=Repeats(omitted=("password",)))
async def create_account(request: Request, body: CreateAccount) -> Reply[AccountAnswer]:
    """Create an account. This requires an admin's login session; API tokens are rejected."""
    account = await services_of(request).accounts.create(
        name=body.name,
        email=body.email,
        password=body.password,
        role=body.role,
        is_email_confirmed=body.email_confirmed,
        by=caller_of(request),
    )
    return created(AccountAnswer.of(account), f"{_PREFIX}/{account.id}")


@router.get("/{id}", responses=errors(401, 403, 404))
async def get_account(request: Request, id: str) -> Reply[AccountAnswer]:
    """Return an account. Admins can read every account, other callers only their own."""
    return answer(AccountAnswer.of(await services_of(request).accounts.get(caller_of(request), AccountId(id))))


@router.put(
    "/{id}",
    responses=errors(401, 403, 404, 409, *BODY_ERRORS),
)
@RoutePolicy(right=Right.ACCOUNT)
async def update_account(request: Request, id: str, body: UpdateAccount) -> Reply[AccountAnswer]:
    """Change the given fields. Only admins can change roles, disable accounts, confirm addresses or change others.

    A new address is not confirmed; where the server sends e-mails, a link that confirms it is sent there.

    API tokens cannot change passwords, e-mail addresses or roles. Changing your own password requires
    `current_password`; changing your own e-mail address requires a login within the last 15 minutes.
    """
    asked = AccountUpdate(
        name=body.name,
        email=body.email,
        role=body.role,
        password=body.password,
        current_password=body.current_password,
        is_disabled=body.disabled,
        is_email_confirmed=body.email_confirmed,
    )
    account = await services_of(request).accounts.update(caller_of(request), AccountId(id), asked)
    return answer(AccountAnswer.of(account))


@admin.delete("/{id}", responses=errors(401, 403, 404, 409, 422))
async def delete_account(
    request: Request,
    id: str,
    workspace: Annotated[
        OfDeletedAccount | None,
        Query(
            description="What becomes of the personal workspace: `delete` it, `give` it to another account, or let the "
            "members who are its admins `keep` it. Required if it has flows or members."
        ),
    ] = None,
    to: Annotated[
        str | None, Query(max_length=200, description="With `give`: the id of the account that becomes its admin.")
    ] = None,
) -> Reply[Message]:
    """End the account's sessions and API tokens, and decide what becomes of its personal workspace.

    With a workspace its secrets are deleted, and its executions are cancelled. Giving one to an account requires a
    login session; API tokens are rejected.
    """
    await services_of(request).accounts.delete(
        AccountId(id), workspace=workspace, to=None if to is None else AccountId(to), by=caller_of(request)
    )
    return answer(Message(message="Account deleted successfully"))
