"""Login, token refresh, logout, tickets for WebSockets, and the first account."""

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from flowrunner.api.accounts import AccountAnswer, account_json
from flowrunner.api.http.answers import BODY_ERRORS, Answer, Message, answer, errors
from flowrunner.api.http.requests import Body, services_of
from flowrunner.api.http.routing import (
    MAX_ANONYMOUS_BODY_BYTES,
    ProtectedRoute,
    PublicRoute,
    address_of,
    browser_of,
    caller_of,
    is_by_cookie,
    needs,
    token_of,
    while_connected,
)
from flowrunner.domain.account import Right
from flowrunner.domain.errors import Unauthorized
from flowrunner.domain.values import rfc3339
from flowrunner.services.identity import AccessToken


class RefreshRoute(ProtectedRoute):
    """A protected route that also detects reuse of a refreshed token, which means that two parties have it."""

    async def admit(self, request: Request) -> None:
        try:
            await super().admit(request)
        except Unauthorized:
            token, _ = token_of(request)
            if token is not None:
                await services_of(request).identity.refuse_refresh(token, address=address_of(request))
            raise


public = APIRouter(prefix="/api/v1", tags=["Authentication"], route_class=PublicRoute)
router = APIRouter(prefix="/api/v1/auth", tags=["Authentication"], route_class=ProtectedRoute)
renewing = APIRouter(prefix="/api/v1/auth", tags=["Authentication"], route_class=RefreshRoute)


class Login(Body):
    username: str = Field(max_length=320, description="The account's e-mail address.")
    password: str = Field(max_length=1024)
    cookie: bool = Field(default=False, description="For browsers: the token is set as an HttpOnly cookie.")


class TokenAnswer(Answer):
    token: str | None = Field(default=None, description="Absent if the token was set as a cookie.")
    expires_at: str
    account_id: str


class TicketAnswer(Answer):
    ticket: str = Field(
        description="Send it as the WebSocket subprotocol `ticket.<ticket>`. It is valid for one connection."
    )
    expires_at: str


class Setup(Body):
    token: str = Field(max_length=200, description="The token that the server printed at its first start.")
    name: str = Field(min_length=1, max_length=200)
    email: str = Field(max_length=320)
    password: str = Field(max_length=1024)


_SMALL = {"x-max-bytes": MAX_ANONYMOUS_BODY_BYTES}


def _token_answer(request: Request, token: AccessToken, *, as_cookie: bool) -> Response:
    body = {"expires_at": rfc3339(token.expires_at), "account_id": token.account_id}
    if not as_cookie:
        return answer({"token": token.token, **body})
    response = answer(body)
    browser_of(request).set(response, token.token, expires_at=token.expires_at)
    return response


@public.post("/auth/login", response_model=TokenAnswer, responses=errors(401, 403, *BODY_ERRORS), openapi_extra=_SMALL)
async def login(request: Request, body: Login) -> Response:
    """Log in and get a token."""
    browser_of(request).check_is_not_foreign(request.headers)
    identity = services_of(request).identity
    login = identity.login(body.username, body.password, address=address_of(request))
    token = await while_connected(request, login)
    return _token_answer(request, token, as_cookie=body.cookie)


@renewing.post("/refresh", response_model=TokenAnswer, responses=errors(401, 403), openapi_extra=needs(Right.SESSION))
async def refresh(request: Request) -> Response:
    """Get a new token. The current one stays valid for at most ten seconds.

    Refreshing the same token again later ends the whole session, because the token must have been stolen.
    """
    token = await services_of(request).identity.refresh(caller_of(request))
    return _token_answer(request, token, as_cookie=is_by_cookie(request))


@router.post("/logout", response_model=Message, responses=errors(401, 403), openapi_extra=needs(Right.SESSION))
async def logout(request: Request) -> Response:
    """Revoke the current token and every token of the same session."""
    await services_of(request).identity.logout(caller_of(request))
    response = answer({"message": "Logged out successfully"})
    if is_by_cookie(request):
        browser_of(request).clear(response)
    return response


@router.post(
    "/ws-ticket",
    response_model=TicketAnswer,
    status_code=201,
    responses=errors(401, 403),
    openapi_extra=needs(Right.SESSION),
)
async def ticket(request: Request) -> Response:
    """Get a ticket that opens one WebSocket within 30 seconds, for clients that cannot set headers."""
    made = await services_of(request).identity.issue_ticket(caller_of(request))
    return answer({"ticket": made.ticket, "expires_at": rfc3339(made.expires_at)}, 201)


@public.post(
    "/setup",
    response_model=AccountAnswer,
    status_code=201,
    responses=errors(401, 409, *BODY_ERRORS),
    openapi_extra=_SMALL,
)
async def setup(request: Request, body: Setup) -> Response:
    """Create the first admin, with the token that the server printed at its first start."""
    account = await request.app.state.setup.run(
        token=body.token,
        name=body.name,
        email=body.email,
        password=body.password,
        address=address_of(request),
    )
    return answer(account_json(account), 201)
