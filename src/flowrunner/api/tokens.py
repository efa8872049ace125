"""The caller's API tokens over REST."""

from collections.abc import Sequence
from typing import Annotated, Self

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
from flowrunner.api.http.paging import paged
from flowrunner.api.http.policies import Repeats, RoutePolicy
from flowrunner.api.http.requests import Body, Paging, life_of
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.domain.account import Right, Scope
from flowrunner.domain.values import TokenId, rfc3339, rfc3339_or_none
from flowrunner.ports.tokens import TokenView

router = APIRouter(prefix="/api/v1/tokens", tags=["API tokens"], route_class=ProtectedRoute)


class CreateToken(Body):
    name: str = Field(min_length=1, max_length=200)
    scopes: list[Scope] = Field(
        min_length=1,
        max_length=10,
        description="Allowed actions: `read`, `run` (start and cancel executions), `write` (flows, secrets),"
        " `members` (of the workspace), `admin` (accounts, but not their credentials). No scope implies another,"
        " or exceeds the account's current role. With `mcp`, the token is good for the MCP server and nothing else.",
    )
    expires_in: str | None = Field(
        default=None, max_length=20, description="For example `90d`. Without it, the token does not expire."
    )


class TokenInList(Answer, frozen=True, kw_only=True):
    id: str
    account_id: str
    workspace_id: Annotated[str, Meta(description="The workspace that the token reaches.")]
    name: str
    scopes: Sequence[Scope]
    created_at: str
    expires_at: Annotated[str | UnsetType, Meta(description="Absent if the token does not expire.")] = UNSET
    last_used_at: Annotated[str | UnsetType, Meta(description="Absent if the token was never used.")] = UNSET

    @classmethod
    def of(cls, token: TokenView) -> Self:
        return cls(
            id=token.id,
            account_id=token.account_id,
            workspace_id=token.workspace_id or token.account_id,
            name=token.name,
            scopes=token.scopes,
            created_at=rfc3339(token.created_at),
            expires_at=present(rfc3339_or_none(token.expires_at)),
            last_used_at=present(rfc3339_or_none(token.last_used_at)),
        )


class NewToken(TokenInList, frozen=True, kw_only=True):
    token: Annotated[str, Meta(description="The token. It is shown only once.")]


class TokenList(ListAnswer, frozen=True):
    tokens: list[TokenInList]


@router.get("", responses=errors(401, 403, 422))
@RoutePolicy(right=Right.SESSION)
async def list_tokens(request: Request, page: Paging) -> Reply[TokenList]:
    """List the account's API tokens without their secret part."""
    return await paged(
        request,
        page,
        lambda page: services_of(request).tokens.page(caller_of(request), page=page),
        kind=TokenList,
        item=TokenInList.of,
        position=lambda token: token.id,
    )


@router.post(
    "",
    status_code=201,
    responses=errors(401, 403, 409, *BODY_ERRORS),
)
@RoutePolicy(right=Right.TOKENS, repeats=Repeats(keeps_answer=False))
async def create_token(request: Request, body: CreateToken) -> Reply[NewToken]:
    """Create an API token for a program. This requires a login session; API tokens are rejected.

    The token reaches the workspace that the request acts in, and no other.
    """
    made, token = await services_of(request).tokens.create(
        caller_of(request), name=body.name, scopes=body.scopes, life=life_of(body.expires_in)
    )
    return created(NewToken(**asdict(TokenInList.of(made)), token=token), f"/api/v1/tokens/{made.id}")


@router.delete("/{id}", responses=errors(401, 403, 404))
@RoutePolicy(right=Right.TOKENS)
async def revoke_token(request: Request, id: str) -> Reply[Message]:
    """Revoke a token immediately and close the WebSockets that it opened."""
    await services_of(request).tokens.revoke(caller_of(request), TokenId(id))
    return answer(Message(message="Token revoked successfully"))
