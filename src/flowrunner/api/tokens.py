"""The caller's API tokens over REST."""

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from flowrunner.api.http.answers import BODY_ERRORS, Answer, Message, answer, errors, listing
from flowrunner.api.http.requests import DEFAULT_LIMIT, Body, Limit, Offset, page_of, services_of
from flowrunner.api.http.routing import ProtectedRoute, caller_of, needs
from flowrunner.domain.account import Right, Scope
from flowrunner.domain.duration import parse_duration
from flowrunner.domain.errors import invalid
from flowrunner.domain.values import TokenId, rfc3339
from flowrunner.ports import TokenView

router = APIRouter(prefix="/api/v1/tokens", tags=["API tokens"], route_class=ProtectedRoute)


class CreateToken(Body):
    name: str = Field(min_length=1, max_length=200)
    scopes: list[Scope] = Field(
        min_length=1,
        max_length=10,
        description="Allowed actions: `read`, `run` (start and cancel executions), `write` (flows, secrets), `admin`"
        " (accounts, but not their credentials). No scope implies another or exceeds the account's current role.",
    )
    expires_in: str | None = Field(
        default=None, max_length=20, description="For example `90d`. Without it, the token does not expire."
    )


class TokenInList(Answer):
    id: str
    name: str
    scopes: list[Scope]
    created_at: str
    expires_at: str | None = Field(default=None, description="Absent if the token does not expire.")
    last_used_at: str | None = Field(default=None, description="Absent if the token was never used.")


class NewToken(TokenInList):
    token: str = Field(description="The token. It is shown only once.")


class TokenList(Answer):
    tokens: list[TokenInList]
    total: int
    limit: int
    offset: int


def _token_json(token: TokenView) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes,
        "created_at": rfc3339(token.created_at),
    }
    if token.expires_at is not None:
        body["expires_at"] = rfc3339(token.expires_at)
    if token.last_used_at is not None:
        body["last_used_at"] = rfc3339(token.last_used_at)
    return body


@router.get("", response_model=TokenList, responses=errors(401, 403, 422), openapi_extra=needs(Right.SESSION))
async def list_tokens(request: Request, limit: Limit = DEFAULT_LIMIT, offset: Offset = 0) -> Response:
    """List the account's API tokens without their secret part."""
    page = page_of(limit, offset)
    tokens, total = await services_of(request).tokens.page(caller_of(request), page=page)
    return listing("tokens", [_token_json(token) for token in tokens], total, page)


@router.post(
    "",
    response_model=NewToken,
    status_code=201,
    responses=errors(401, 403, 409, *BODY_ERRORS),
    openapi_extra=needs(Right.TOKENS),
)
async def create_token(request: Request, body: CreateToken) -> Response:
    """Create an API token for a program. This requires a login session; API tokens are rejected."""
    made, token = await services_of(request).tokens.create(
        caller_of(request), name=body.name, scopes=body.scopes, life=_life(body.expires_in)
    )
    return answer({**_token_json(made), "token": token}, 201)


def _life(text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        return timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError) as error:
        raise invalid("expires_in", str(error)) from None


@router.delete("/{id}", response_model=Message, responses=errors(401, 403, 404), openapi_extra=needs(Right.TOKENS))
async def revoke_token(request: Request, id: str) -> Response:
    """Revoke a token immediately and close the WebSockets that it opened."""
    await services_of(request).tokens.revoke(caller_of(request), TokenId(id))
    return answer({"message": "Token revoked successfully"})
