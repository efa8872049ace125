"""Secrets over REST. No answer contains a value."""

from typing import Annotated, Final, Self

from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import asdict
from pydantic import Field

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
from flowrunner.api.http.conditions import IF_NONE_MATCH_ANY, condition_of
from flowrunner.api.http.paging import paged
from flowrunner.api.http.policies import Repeats, RoutePolicy
from flowrunner.api.http.requests import Body, LongPaging
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.domain.values import rfc3339, rfc3339_or_none
from flowrunner.ports.page import Page
from flowrunner.ports.secrets import SecretView

router = APIRouter(prefix="/api/v1/accounts/{account_id}/secrets", tags=["Secrets"], route_class=ProtectedRoute)
of_workspaces = APIRouter(prefix="/api/v1/workspaces/{id}/secrets", tags=["Secrets"], route_class=ProtectedRoute)


# Flows of a secret in a list.
_MOST_USERS: Final = 100


class CreateSecret(Body):
    key: str = Field(max_length=128, description="The name, which flows read as `${secrets.<key>}`.")
    value: str = Field(max_length=8 * 1024, description="At least 8 characters. The API never returns it.")


class SecretAnswer(Answer, frozen=True, kw_only=True):
    key: str
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, secret: SecretView) -> Self:
        return cls(key=secret.key, created_at=rfc3339(secret.created_at), updated_at=rfc3339(secret.updated_at))


class FlowNameAnswer(Answer, frozen=True, kw_only=True):
    id: str
    name: str


class SecretInList(SecretAnswer, frozen=True, kw_only=True):
    last_used_at: Annotated[
        str | UnsetType,
        Meta(description="When an execution last read it, known within two minutes. Absent if none has."),
    ] = UNSET
    used_by: Annotated[
        list[FlowNameAnswer],
        Meta(description=f"The flows whose current revision names it, at most the first {_MOST_USERS}."),
    ]

    @classmethod
    def of(cls, secret: SecretView) -> Self:
        return cls(
            **asdict(SecretAnswer.of(secret)),
            last_used_at=present(rfc3339_or_none(secret.last_used_at)),
            used_by=[FlowNameAnswer(id=flow.id, name=flow.name) for flow in secret.used_by[:_MOST_USERS]],
        )


class SecretList(ListAnswer, frozen=True):
    secrets: list[SecretInList]


_LIST_ERRORS: Final = errors(401, 403, 404, 422)
_DELETE_ERRORS: Final = errors(401, 403, 404)
_CREATE_RESPONSES: Final = {200: {"description": "Replaced"}, **errors(401, 403, 404, 409, 412, *BODY_ERRORS)}


@router.get("", responses=_LIST_ERRORS)
async def list_secrets(
    request: Request,
    account_id: str,
    page: LongPaging,
) -> Reply[SecretList]:
    """List the secrets of the account's personal workspace, without their values."""
    return await _list(request, page)


@of_workspaces.get("", responses=_LIST_ERRORS)
async def list_workspace_secrets(
    request: Request,
    id: str,
    page: LongPaging,
) -> Reply[SecretList]:
    """List the secrets of a workspace, without their values."""
    return await _list(request, page)


async def _list(request: Request, page: Page) -> Reply[SecretList]:
    return await paged(
        request,
        page,
        lambda page: services_of(request).secrets.page(caller_of(request), page=page),
        kind=SecretList,
        item=SecretInList.of,
        position=lambda secret: secret.key,
    )


@router.post("", status_code=201, responses=_CREATE_RESPONSES)
@RoutePolicy(repeats=Repeats(omitted=("value",)), parameters=[IF_NONE_MATCH_ANY])
async def create_secret(request: Request, account_id: str, body: CreateSecret) -> Reply[SecretAnswer]:
    """Create a secret (201), or replace the value of an existing one (200)."""
    return await _create(request, body)


@of_workspaces.post("", status_code=201, responses=_CREATE_RESPONSES)
@RoutePolicy(repeats=Repeats(omitted=("value",)), parameters=[IF_NONE_MATCH_ANY])
async def create_workspace_secret(request: Request, id: str, body: CreateSecret) -> Reply[SecretAnswer]:
    """Create a secret of a workspace (201), or replace the value of an existing one (200)."""
    return await _create(request, body)


async def _create(request: Request, body: CreateSecret) -> Reply[SecretAnswer]:
    secret, is_new = await services_of(request).secrets.set(
        caller_of(request), body.key, body.value, must_be_new=condition_of(request).must_be_new
    )
    saved = SecretAnswer.of(secret)
    return created(saved, f"{request.url.path}/{secret.key}") if is_new else answer(saved)


@router.delete("/{key}", responses=_DELETE_ERRORS)
async def delete_secret(request: Request, account_id: str, key: str) -> Reply[Message]:
    """Delete a secret."""
    return await _delete(request, key)


@of_workspaces.delete("/{key}", responses=_DELETE_ERRORS)
async def delete_workspace_secret(request: Request, id: str, key: str) -> Reply[Message]:
    """Delete a secret of a workspace."""
    return await _delete(request, key)


async def _delete(request: Request, key: str) -> Reply[Message]:
    await services_of(request).secrets.delete(caller_of(request), key)
    return answer(Message(message="Secret deleted successfully"))
