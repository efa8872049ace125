"""Logins of the command line over REST: allowed in a browser, and finished by the command."""

from fastapi import APIRouter, Request
from pydantic import Field

from flowrunner.api.http.answers import BODY_ERRORS, Answer, Reply, answer, errors
from flowrunner.api.http.authentication import address_of, caller_of
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.requests import Body
from flowrunner.api.http.routing import ProtectedRoute, PublicRoute
from flowrunner.api.http.state import services_of
from flowrunner.api.sessions import TokenAnswer, agent_of, token_answer
from flowrunner.domain.account import Right
from flowrunner.domain.values import rfc3339

_PREFIX = "/api/v1/auth/command-logins"
public = APIRouter(prefix=_PREFIX, tags=["Authentication"], route_class=PublicRoute)
router = APIRouter(prefix=_PREFIX, tags=["Authentication"], route_class=ProtectedRoute)


class AllowCommandLogin(Body):
    challenge: str = Field(
        pattern="^[0-9a-f]{64}$", description="The SHA-256 of the command's verifier, in hexadecimal digits."
    )


class FinishCommandLogin(Body):
    code: str = Field(max_length=200)
    verifier: str = Field(min_length=43, max_length=200, description="The secret that the command has made.")


class CommandLoginAnswer(Answer, frozen=True, kw_only=True):
    code: str
    expires_at: str


@router.post("", responses=errors(401, 403, *BODY_ERRORS))
@RoutePolicy(right=Right.SESSION)
async def allow_command_login(request: Request, body: AllowCommandLogin) -> Reply[CommandLoginAnswer]:
    """Allow a login of the command line; the code that is returned works once, for the command that asked.

    This requires a login within the last 15 minutes.
    """
    made = await services_of(request).command_logins.allow(caller_of(request), body.challenge)
    return answer(CommandLoginAnswer(code=made.code, expires_at=rfc3339(made.expires_at)))


@public.post("/token", responses=errors(401, *BODY_ERRORS))
async def finish_command_login(request: Request, body: FinishCommandLogin) -> Reply[TokenAnswer]:
    """Exchange the code of an allowed login for a token of a login of its own."""
    token = await services_of(request).command_logins.finish(
        body.code, body.verifier, address=address_of(request), agent=agent_of(request)
    )
    return token_answer(request, token, as_cookie=False)
