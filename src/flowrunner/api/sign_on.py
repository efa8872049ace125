"""Single sign-on over HTTP: ways to log in, the way to a provider and back, and linked accounts."""

from typing import Annotated, Final, Self

from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType
from pydantic import Field
from starlette.responses import RedirectResponse, Response

from flowrunner.api.http.answers import BODY_ERRORS, Answer, Message, Reply, answer, errors, present
from flowrunner.api.http.authentication import address_of, caller_of
from flowrunner.api.http.errors import record_refusal
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.requests import Body
from flowrunner.api.http.routing import AdminRoute, ProtectedRoute, PublicRoute
from flowrunner.api.http.state import services_of, state_of
from flowrunner.api.sessions import agent_of
from flowrunner.domain.account import Right
from flowrunner.domain.errors import TooManyRequests
from flowrunner.domain.sign_on import SignOnFailed
from flowrunner.domain.values import AccountId, rfc3339, rfc3339_or_none
from flowrunner.ports.sign_on import Identity
from flowrunner.services.sign_on import ProviderReturn

_PREFIX = "/api/v1/auth"
public = APIRouter(prefix=_PREFIX, tags=["Authentication"], route_class=PublicRoute)
# Addresses that browsers open, and not programs: what is wrong is told by the login page.
browser = APIRouter(prefix="/sign-on", route_class=PublicRoute)
admin = APIRouter(prefix="/api/v1/accounts", tags=["Accounts"], route_class=AdminRoute)
router = APIRouter(prefix="/api/v1/identities", tags=["Authentication"], route_class=ProtectedRoute)

_LOGIN_PAGE: Final = "/login"
_MOST_CHARACTERS: Final = 4096


class ProviderAnswer(Answer, frozen=True, kw_only=True):
    id: str
    name: str
    start: Annotated[str, Meta(description="The address at which a browser begins a login; `next` is a path.")]


class LoginMethods(Answer, frozen=True, kw_only=True):
    password: Annotated[bool, Meta(description="Logins with a password are accepted.")]
    providers: list[ProviderAnswer]


class IdentityAnswer(Answer, frozen=True, kw_only=True):
    id: str
    provider: str
    issuer: str
    subject: Annotated[str, Meta(description="The account's id at the provider.")]
    created_at: str
    last_used_at: str | UnsetType = UNSET

    @classmethod
    def of(cls, identity: Identity) -> Self:
        return cls(
            id=identity.id,
            provider=identity.provider,
            issuer=identity.issuer,
            subject=identity.subject,
            created_at=rfc3339(identity.created_at),
            last_used_at=present(rfc3339_or_none(identity.last_used_at)),
        )


class IdentityList(Answer, frozen=True, kw_only=True):
    identities: list[IdentityAnswer]
    has_password: Annotated[
        bool, Meta(description="False if an account of a provider is the only way to log in to the account.")
    ]


class LinkAnswer(Answer, frozen=True, kw_only=True):
    url: Annotated[str, Meta(description="Where the browser goes next; it has got a cookie to return with.")]


class Link(Body):
    provider: str = Field(max_length=40)
    next: str | None = Field(default=None, max_length=2000, description="The path to return to.")


@public.get("/methods", responses=errors())
async def list_login_methods(request: Request) -> Reply[LoginMethods]:
    """Return how accounts log in here, for the login page."""
    services = services_of(request)
    providers = [
        ProviderAnswer(id=provider.id, name=provider.name, start=f"/sign-on/{provider.id}")
        for provider in services.sign_on.providers
    ]
    return answer(LoginMethods(password=services.sessions.accepts_passwords, providers=providers))


@browser.get("/{provider}", include_in_schema=False)
async def start_sign_on(request: Request, provider: str) -> Response:
    """Begin a login by a provider: send the browser there, with a cookie to return with.

    It goes to the path in `next` afterwards.
    """
    try:
        start = await services_of(request).sign_on.start(
            provider, next=_parameter(request, "next"), address=address_of(request)
        )
    except SignOnFailed as error:
        return _after_failure(error)
    reply = RedirectResponse(start.url, 303)
    state_of(request).browser.set_state(reply, start.cookie, expires_at=start.expires_at)
    return reply


@browser.get("/{provider}/return", include_in_schema=False)
async def finish_sign_on(request: Request, provider: str) -> Response:
    """Finish a login with what the provider sends: set the session cookie, and open the interface."""
    cookies = state_of(request).browser
    try:
        done = await services_of(request).sign_on.finish(
            provider,
            cookies.state_of(request),
            ProviderReturn(
                state=_parameter(request, "state"),
                code=_parameter(request, "code"),
                issuer=_parameter(request, "iss"),
                error=_parameter(request, "error"),
            ),
            address=address_of(request),
            agent=agent_of(request),
        )
    except SignOnFailed as failed:
        reply: Response = _after_failure(failed)
    except TooManyRequests as refused:
        await record_refusal(request, refused)
        too_many = SignOnFailed("too_many_failures", str(refused))
        too_many.next = services_of(request).sign_on.next_after_failure(cookies.state_of(request))
        reply = _after_failure(too_many)
    else:
        reply = RedirectResponse(done.next, 303)
        if done.token is not None:
            cookies.set(reply, done.token.token, expires_at=done.token.expires_at, headers=request.headers)
    cookies.clear_state(reply)
    return reply


def _parameter(request: Request, name: str) -> str | None:
    """Return a parameter of the address. One that is there twice means different things to different readers: None."""
    found = request.query_params.getlist(name)
    return found[0] if len(found) == 1 and len(found[0]) <= _MOST_CHARACTERS else None


def _after_failure(error: SignOnFailed) -> Response:
    """Send the browser to the page that says what is wrong: that of the link, or the login page."""
    path, mark, fragment = (error.next or _LOGIN_PAGE).partition("#")
    return RedirectResponse(f"{path}{'&' if '?' in path else '?'}sign_on={error.fault}{mark}{fragment}", 303)


@router.get("", responses=errors(401, 403))
@RoutePolicy(right=Right.LOGIN)
async def list_identities(request: Request) -> Reply[IdentityList]:
    """List the accounts of providers that the account is linked to."""
    found, has_password = await services_of(request).identities.of_account(caller_of(request))
    identities = [IdentityAnswer.of(identity) for identity in found]
    return answer(IdentityList(identities=identities, has_password=has_password))


@router.post("", responses=errors(401, 403, 503, *BODY_ERRORS))
@RoutePolicy(right=Right.LOGIN, is_change=True)
async def link_identity(request: Request, body: Link) -> Reply[LinkAnswer]:
    """Begin to link the account to one of a provider, by which it logs in from then on.

    This requires a login within the last 15 minutes.
    """
    start = await services_of(request).sign_on.start_link(caller_of(request), body.provider, next=body.next)
    reply = answer(LinkAnswer(url=start.url))
    state_of(request).browser.set_state(reply, start.cookie, expires_at=start.expires_at)
    return reply


@router.delete("/{id}", responses=errors(401, 403, 404, 409))
@RoutePolicy(right=Right.LOGIN, is_change=True)
async def unlink_identity(request: Request, id: str) -> Reply[Message]:
    """End the link to an account of a provider, unless the account could then no longer log in."""
    await services_of(request).identities.unlink(caller_of(request), id)
    return answer(Message(message="Identity unlinked successfully"))


@admin.delete("/{id}/identities", responses=errors(401, 403, 404))
async def reset_identities(request: Request, id: str) -> Reply[Message]:
    """End all links of another account to accounts of providers, and end its logins.

    This requires an admin's login session; API tokens are rejected.
    """
    await services_of(request).identities.reset(caller_of(request), AccountId(id))
    return answer(Message(message="Identities unlinked successfully"))
