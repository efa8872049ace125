"""Confirmation of the caller's e-mail address over REST."""

from fastapi import APIRouter, Request
from pydantic import Field

from flowrunner.api.accounts import AccountAnswer
from flowrunner.api.http.answers import BODY_ERRORS, Message, Reply, answer, errors
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.requests import Body
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.domain.account import Right

router = APIRouter(prefix="/api/v1/accounts/me/email-confirmation", tags=["Accounts"], route_class=ProtectedRoute)


class ConfirmEmail(Body):
    token: str = Field(max_length=200, description="What follows the `#` in the link.")


@router.post("", status_code=202, responses=errors(401, 403, 409, *BODY_ERRORS))
@RoutePolicy(right=Right.SESSION, is_change=True)
async def send_email_confirmation(request: Request) -> Reply[Message]:
    """Have another link that confirms the address of the account sent to it; earlier ones end.

    This requires a login session; API tokens are rejected.
    """
    await services_of(request).email_confirmations.send_again(caller_of(request))
    return answer(Message(message="An e-mail with a link is on its way"), 202)


@router.post("/confirm", responses=errors(401, 403, 404, *BODY_ERRORS))
@RoutePolicy(right=Right.SESSION, is_change=True)
async def confirm_email(request: Request, body: ConfirmEmail) -> Reply[AccountAnswer]:
    """Confirm the address with the token of the link, once. The login must be one of the account that it is for."""
    account = await services_of(request).email_confirmations.confirm(caller_of(request), body.token)
    return answer(AccountAnswer.of(account))
