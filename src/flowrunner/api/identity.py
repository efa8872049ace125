"""Login, refresh, logout; tickets for WebSockets; and the first account."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from flowrunner.api.accounts import AccountAnswer, account_json
from flowrunner.api.answers import BODY_ERRORS, Answer, Message, answer, errors, rfc3339
from flowrunner.api.requests import Body, services_of
from flowrunner.api.routing import ProtectedRoute, PublicRoute, caller_of
from flowrunner.services.identity import Token

public = APIRouter(prefix="/api/v1", tags=["Authentication"], route_class=PublicRoute)
router = APIRouter(prefix="/api/v1/auth", tags=["Authentication"], route_class=ProtectedRoute)


class Login(Body):
    username: str = Field(max_length=320, description="The account's e-mail address.")
    password: str = Field(max_length=1024)


class TokenAnswer(Answer):
    token: str
    expires_at: str
    account_id: str


class TicketAnswer(Answer):
    ticket: str = Field(description="Send it as the WebSocket subprotocol `ticket.<ticket>`; it works once.")
    expires_at: str


class Setup(Body):
    token: str = Field(max_length=200, description="Printed by the server at its first start.")
    name: str = Field(min_length=1, max_length=200)
    email: str = Field(max_length=320)
    password: str = Field(max_length=1024)


def _token_json(token: Token) -> dict[str, Any]:
    return {"token": token.token, "expires_at": rfc3339(token.expires_at), "account_id": token.account_id}


@public.post("/auth/login", response_model=TokenAnswer, responses=errors(401, 429, *BODY_ERRORS))
async def login(request: Request, body: Login) -> Response:
    """Authenticate and get a token."""
    address = request.client.host if request.client is not None else ""
    return answer(_token_json(await services_of(request).identity.login(body.username, body.password, address=address)))


@router.post("/refresh", response_model=TokenAnswer, responses=errors(401))
async def refresh(request: Request) -> Response:
    """Get a new token; the present one works for another ten seconds at most."""
    return answer(_token_json(await services_of(request).identity.refresh(caller_of(request))))


@router.post("/logout", response_model=Message, responses=errors(401))
async def logout(request: Request) -> Response:
    """Make the present token useless."""
    await services_of(request).identity.logout(caller_of(request))
    return answer({"message": "Logged out successfully"})


@router.post("/ws-ticket", response_model=TicketAnswer, status_code=201, responses=errors(401))
async def ticket(request: Request) -> Response:
    """Get a ticket that opens one WebSocket within 30 seconds, for clients that cannot set headers."""
    made = await services_of(request).identity.issue_ticket(caller_of(request))
    return answer({"ticket": made.ticket, "expires_at": rfc3339(made.expires_at)}, 201)


@public.post("/setup", response_model=AccountAnswer, status_code=201, responses=errors(401, 409, *BODY_ERRORS))
async def setup(request: Request, body: Setup) -> Response:
    """Create the first admin, with the token that the server printed at its first start."""
    account = await request.app.state.setup.run(
        token=body.token, name=body.name, email=body.email, password=body.password
    )
    return answer(account_json(account), 201)
