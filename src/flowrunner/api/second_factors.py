"""Second factors over REST: the second step of a login, enrolment, removal, recovery codes."""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType
from pydantic import Field

from flowrunner.api.http.answers import BODY_ERRORS, Answer, Message, Reply, answer, created, errors, present
from flowrunner.api.http.authentication import address_of, caller_of
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.requests import Body
from flowrunner.api.http.routing import AdminRoute, ProtectedRoute, PublicRoute
from flowrunner.api.http.state import services_of, state_of
from flowrunner.api.sessions import TokenAnswer, agent_of, token_answer
from flowrunner.domain.account import Right
from flowrunner.domain.second_factor import FactorType
from flowrunner.domain.values import AccountId, FactorId, rfc3339, rfc3339_or_none
from flowrunner.ports.second_factors import FactorView
from flowrunner.services.second_step import SecondFactorAnswer

_PREFIX = "/api/v1/second-factors"
public = APIRouter(prefix="/api/v1", tags=["Authentication"], route_class=PublicRoute)
router = APIRouter(prefix=_PREFIX, tags=["Authentication"], route_class=ProtectedRoute)
admin = APIRouter(prefix="/api/v1/accounts", tags=["Accounts"], route_class=AdminRoute)


class SecondStep(Body):
    challenge: str = Field(max_length=200, description="From `details.second_factor` of the answer to the login.")
    code: str | None = Field(default=None, max_length=20, description="Six digits from an authenticator app.")
    recovery_code: str | None = Field(default=None, max_length=40)
    passkey: dict[str, Any] | None = Field(
        default=None, description="The browser's credential for `details.second_factor.passkey`, as JSON."
    )
    cookie: bool = Field(default=False, description="For browsers: the token is set as an HttpOnly cookie.")


class NewFactor(Body):
    name: str = Field(default="Authenticator app", min_length=1, max_length=100)


class Confirmation(Body):
    code: str = Field(max_length=20, description="The six digits that the app shows.")


class AddPasskey(Body):
    challenge: str = Field(max_length=200)
    name: str = Field(default="Passkey", min_length=1, max_length=100)
    passkey: dict[str, Any] = Field(description="The browser's new credential, as JSON.")


class FactorAnswer(Answer, frozen=True, kw_only=True):
    id: str
    type: FactorType
    name: str
    created_at: str
    last_used_at: str | UnsetType = UNSET

    @classmethod
    def of(cls, view: FactorView) -> Self:
        return cls(
            id=view.id,
            type=view.type,
            name=view.name,
            created_at=rfc3339(view.created_at),
            last_used_at=present(rfc3339_or_none(view.last_used_at)),
        )


class FactorList(Answer, frozen=True, kw_only=True):
    second_factors: list[FactorAnswer]
    recovery_codes_left: int
    passkeys: Annotated[bool, Meta(description="Passkeys can be added: `public_url` is set to an address for them.")]


class TotpAnswer(Answer, frozen=True, kw_only=True):
    id: str
    secret: Annotated[str, Meta(description="For apps without a camera, in base 32. It is not shown again.")]
    uri: Annotated[str, Meta(description="The `otpauth` URI that apps read.")]
    qr_code: Annotated[str, Meta(description="The URI as a picture, in a data URI.")]


class PasskeyOptions(Answer, frozen=True, kw_only=True):
    challenge: str
    options: Annotated[
        dict[str, Any], Meta(description="For `PublicKeyCredential.parseCreationOptionsFromJSON` of the browser.")
    ]


class NewRecoveryCodes(Answer, frozen=True, kw_only=True):
    recovery_codes: Annotated[
        list[str],
        Meta(
            description="Each replaces the second factor once. They come with the first one, and are not shown again."
        ),
    ]


@public.post(
    "/auth/second-factor",
    responses=errors(401, 403, *BODY_ERRORS),
)
async def finish_login(request: Request, body: SecondStep) -> Reply[TokenAnswer]:
    """Finish a login with a second factor: with exactly one of `code`, `passkey` and `recovery_code`."""
    state_of(request).browser.check_is_not_foreign(request.headers)
    token = await services_of(request).second_factor_logins.log_in(
        body.challenge,
        SecondFactorAnswer(code=body.code, recovery_code=body.recovery_code, passkey=body.passkey),
        address=address_of(request),
        agent=agent_of(request),
    )
    return token_answer(request, token, as_cookie=body.cookie)


@router.get("", responses=errors(401, 403))
@RoutePolicy(right=Right.LOGIN)
async def list_second_factors(request: Request) -> Reply[FactorList]:
    """List the second factors of the account."""
    service = services_of(request).second_factors
    factors, left = await service.list(caller_of(request))
    return answer(
        FactorList(
            second_factors=[FactorAnswer.of(view) for view in factors],
            recovery_codes_left=left,
            passkeys=service.has_passkeys,
        )
    )


@router.post("/totp", status_code=201, responses=errors(401, 403, 409, *BODY_ERRORS))
@RoutePolicy(right=Right.LOGIN, is_change=True)
async def start_totp(request: Request, body: NewFactor) -> Reply[TotpAnswer]:
    """Make a key for an authenticator app. It counts once a code of it has confirmed it.

    This requires a login within the last 15 minutes, like each change of what the account logs in with.
    """
    made = await services_of(request).second_factors.start_totp(caller_of(request), name=body.name)
    return created(
        TotpAnswer(id=made.id, secret=made.secret, uri=made.uri, qr_code=made.picture), f"{_PREFIX}/{made.id}"
    )


@router.post("/{id}/confirm", responses=errors(401, 403, 404, *BODY_ERRORS))
@RoutePolicy(right=Right.LOGIN, is_change=True)
async def confirm_totp(request: Request, id: str, body: Confirmation) -> Reply[NewRecoveryCodes]:
    """Confirm a key with a code of it.

    The account's first second factor comes with recovery codes, and ends its other logins.
    """
    codes = await services_of(request).second_factors.confirm_totp(caller_of(request), FactorId(id), body.code)
    return answer(NewRecoveryCodes(recovery_codes=list(codes)))


@router.post("/passkeys/options", responses=errors(401, 403, 409))
@RoutePolicy(right=Right.LOGIN, is_change=True)
async def start_passkey(request: Request) -> Reply[PasskeyOptions]:
    """Return what a browser needs to make a passkey."""
    made = await services_of(request).second_factors.start_passkey(caller_of(request))
    return answer(PasskeyOptions(challenge=made.challenge, options=dict(made.options)))


@router.post("/passkeys", status_code=201, responses=errors(401, 403, 409, *BODY_ERRORS))
@RoutePolicy(right=Right.LOGIN, is_change=True)
async def add_passkey(request: Request, body: AddPasskey) -> Reply[NewRecoveryCodes]:
    """Add the passkey that the browser has made. The first second factor comes with recovery codes."""
    view, codes = await services_of(request).second_factors.add_passkey(
        caller_of(request), challenge=body.challenge, name=body.name, answer=body.passkey
    )
    return created(NewRecoveryCodes(recovery_codes=list(codes)), f"{_PREFIX}/{view.id}")


@router.post("/recovery-codes", status_code=201, responses=errors(401, 403, 409))
@RoutePolicy(right=Right.LOGIN, is_change=True)
async def new_recovery_codes(request: Request) -> Reply[NewRecoveryCodes]:
    """Replace the recovery codes. The earlier ones become invalid."""
    codes = await services_of(request).second_factors.new_recovery_codes(caller_of(request))
    return created(NewRecoveryCodes(recovery_codes=list(codes)), _PREFIX)


@router.delete("/{id}", responses=errors(401, 403, 404))
@RoutePolicy(right=Right.LOGIN, is_change=True)
async def remove_second_factor(request: Request, id: str) -> Reply[Message]:
    """Remove a second factor. The recovery codes are removed with the last one."""
    await services_of(request).second_factors.remove(caller_of(request), FactorId(id))
    return answer(Message(message="Second factor removed successfully"))


@admin.delete("/{id}/second-factors", responses=errors(401, 403, 404))
async def reset_second_factors(request: Request, id: str) -> Reply[Message]:
    """Remove all second factors and recovery codes of another account, and end its logins.

    This requires an admin's login session; API tokens are rejected.
    """
    await services_of(request).second_factors.reset(caller_of(request), AccountId(id))
    return answer(Message(message="Second factors removed successfully"))
