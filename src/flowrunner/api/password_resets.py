"""Lost passwords over REST."""

from typing import Annotated

from fastapi import APIRouter, Request
from msgspec import Meta
from pydantic import Field

from flowrunner.api.http.answers import BODY_ERRORS, Answer, Message, Reply, answer, errors
from flowrunner.api.http.authentication import address_of, caller_of
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.requests import Body
from flowrunner.api.http.routing import AdminRoute, PublicRoute, while_connected
from flowrunner.api.http.state import services_of, state_of
from flowrunner.domain.account import Right
from flowrunner.domain.values import AccountId, rfc3339

public = APIRouter(prefix="/api/v1/auth", tags=["Authentication"], route_class=PublicRoute)
admin = APIRouter(prefix="/api/v1/accounts", tags=["Accounts"], route_class=AdminRoute)


class AskForReset(Body):
    email: str = Field(max_length=320)


class SetPassword(Body):
    token: str = Field(max_length=200, description="What follows the `#` in the link.")
    password: str = Field(max_length=1024, description="At least 12 characters.")


class ResetLinkAnswer(Answer, frozen=True, kw_only=True):
    link: Annotated[
        str, Meta(description="Shown only once. It is a path if the setting `public_url` does not name the server.")
    ]
    expires_at: str


@public.post("/password-reset", status_code=202, responses=errors(403, 409, *BODY_ERRORS))
async def ask_for_password_reset(request: Request, body: AskForReset) -> Reply[Message]:
    """Have a link to set a new password sent by e-mail, where the server sends e-mails.

    The answer is the same whether the address has an account or not.
    """
    state_of(request).browser.check_is_not_foreign(request.headers)
    services_of(request).password_resets.ask(body.email, address=address_of(request))
    return answer(Message(message="If the address has an account, an e-mail with a link is on its way"), 202)


@public.post("/new-password", responses=errors(403, 404, *BODY_ERRORS))
async def set_new_password(request: Request, body: SetPassword) -> Reply[Message]:
    """Set a new password with the token of a link, once. All logins and API tokens of the account end."""
    state_of(request).browser.check_is_not_foreign(request.headers)
    resets = services_of(request).password_resets
    await while_connected(request, resets.use(body.token, body.password, address=address_of(request)))
    return answer(Message(message="The password is changed; log in with it"))


@admin.post("/{id}/password-reset", responses=errors(401, 403, 404))
@RoutePolicy(right=Right.CREATE_ACCOUNT)
async def create_password_reset(request: Request, id: str) -> Reply[ResetLinkAnswer]:
    """Make a link with which an account sets a new password. This requires an admin's login session."""
    new = await services_of(request).password_resets.create(caller_of(request), AccountId(id))
    return answer(ResetLinkAnswer(link=new.link, expires_at=rfc3339(new.expires_at)))
