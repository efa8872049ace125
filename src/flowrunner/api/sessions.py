"""Login, token refresh, logout, tickets for WebSockets, and the first account."""

from typing import Annotated

from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType
from pydantic import Field

from flowrunner.api.accounts import AccountAnswer
from flowrunner.api.http.answers import BODY_ERRORS, Answer, Message, Reply, answer, created, errors
from flowrunner.api.http.authentication import address_of, caller_of, is_by_cookie, token_of
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.requests import Body
from flowrunner.api.http.routing import ProtectedRoute, PublicRoute, while_connected
from flowrunner.api.http.state import services_of, state_of
from flowrunner.domain.account import Right
from flowrunner.domain.errors import Unauthorized
from flowrunner.domain.values import rfc3339
from flowrunner.services.sessions import AccessToken


class RefreshRoute(ProtectedRoute):
    """A protected route that also detects reuse of a refreshed token, which means that two parties have it."""

    async def admit(self, request: Request) -> None:
        try:
            await super().admit(request)
        except Unauthorized:
            token, _ = token_of(request)
            if token is not None:
                await services_of(request).sessions.refuse_refresh(token, address=address_of(request))
            raise


public = APIRouter(prefix="/api/v1", tags=["Authentication"], route_class=PublicRoute)
router = APIRouter(prefix="/api/v1/auth", tags=["Authentication"], route_class=ProtectedRoute)
renewing = APIRouter(prefix="/api/v1/auth", tags=["Authentication"], route_class=RefreshRoute)


class Login(Body):
    username: str = Field(max_length=320, description="The account's e-mail address.")
    password: str = Field(max_length=1024)
    cookie: bool = Field(default=False, description="For browsers: the token is set as an HttpOnly cookie.")


class TokenAnswer(Answer, frozen=True, kw_only=True):
    token: Annotated[str | UnsetType, Meta(description="Absent if the token was set as a cookie.")] = UNSET
    expires_at: str
    account_id: str


class TicketAnswer(Answer, frozen=True, kw_only=True):
    ticket: Annotated[
        str,
        Meta(description="Send it as the WebSocket subprotocol `ticket.<ticket>`. It is valid for one connection."),
    ]
    expires_at: str


class Setup(Body):
    token: str = Field(max_length=200, description="The token that the server printed at its first start.")
    name: str = Field(min_length=1, max_length=200)
    email: str = Field(max_length=320)
    password: str = Field(max_length=1024)


class SetupState(Answer, frozen=True, kw_only=True):
    is_set_up: Annotated[bool, Meta(description="False as long as there is no account.")]
    mails_resets: Annotated[bool, Meta(description="Whether the server sends links to set a new password.")]


def agent_of(request: Request) -> str:
    """Return what the client calls itself, without characters that do not print."""
    return "".join(filter(str.isprintable, request.headers.get("user-agent", "")))


def token_answer(request: Request, token: AccessToken, *, as_cookie: bool) -> Reply[TokenAnswer]:
    reply = answer(
        TokenAnswer(
            token=UNSET if as_cookie else token.token,
            expires_at=rfc3339(token.expires_at),
            account_id=token.account_id,
        )
    )
    if as_cookie:
        browser = state_of(request).browser
        browser.set(reply, token.token, expires_at=token.expires_at, headers=request.headers)
    return reply


@public.post("/auth/login", responses=errors(401, 403, *BODY_ERRORS))
async def login(request: Request, body: Login) -> Reply[TokenAnswer]:
    """Log in and get a token.

    An account with a second factor gets a 401 with the code `second_factor_required`, and finishes the login with
    `POST /api/v1/auth/second-factor`.
    """
    state_of(request).browser.check_is_not_foreign(request.headers)
    sessions = services_of(request).sessions
    login = sessions.login(body.username, body.password, address=address_of(request), agent=agent_of(request))
    token = await while_connected(request, login)
    return token_answer(request, token, as_cookie=body.cookie)


@renewing.post("/refresh", responses=errors(401, 403))
@RoutePolicy(right=Right.LOGIN)
async def refresh(request: Request) -> Reply[TokenAnswer]:
    """Get a new token. The current one stays valid for at most ten seconds.

    Refreshing the same token again later ends the whole session, because the token must have been stolen.
    """
    token = await services_of(request).sessions.refresh(caller_of(request), agent=agent_of(request))
    return token_answer(request, token, as_cookie=is_by_cookie(request))


@router.post("/logout", responses=errors(401, 403))
@RoutePolicy(right=Right.LOGIN)
async def logout(request: Request) -> Reply[Message]:
    """Revoke the current token and every token of the same session."""
    await services_of(request).sessions.logout(caller_of(request))
    reply = answer(Message(message="Logged out successfully"))
    if is_by_cookie(request):
        state_of(request).browser.clear(reply)
    return reply


@router.post(
    "/ws-ticket",
    status_code=201,
    responses=errors(401, 403),
)
@RoutePolicy(right=Right.SESSION)
async def ticket(request: Request) -> Reply[TicketAnswer]:
    """Get a ticket that opens one WebSocket within 30 seconds, for clients that cannot set headers."""
    made = await services_of(request).sessions.issue_ticket(caller_of(request))
    # A ticket has no address of its own: it is the subprotocol of a WebSocket.
    return created(TicketAnswer(ticket=made.ticket, expires_at=rfc3339(made.expires_at)), request.url.path)


@public.get("/setup", responses=errors())
async def get_setup(request: Request) -> Reply[SetupState]:
    """Report whether there is an account already, so that a browser knows which screen to show first."""
    services = services_of(request)
    is_set_up = await services.accounts.is_set_up()
    return answer(SetupState(is_set_up=is_set_up, mails_resets=services.password_resets.are_mailed))


@public.post(
    "/setup",
    status_code=201,
    responses=errors(401, 409, *BODY_ERRORS),
)
async def setup(request: Request, body: Setup) -> Reply[AccountAnswer]:
    """Create the first admin, with the token that the server printed at its first start."""
    account = await state_of(request).setup.run(
        token=body.token,
        name=body.name,
        email=body.email,
        password=body.password,
        address=address_of(request),
    )
    return created(AccountAnswer.of(account), f"/api/v1/accounts/{account.id}")
