"""The logins of the caller's account over REST, and what it prefers in the interface."""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType
from pydantic import Field

from flowrunner.api.http.answers import BODY_ERRORS, Answer, ListAnswer, Message, Reply, answer, errors, present, stored
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.conditions import (
    IF_MATCH,
    IF_NONE_MATCH,
    NOT_MODIFIED,
    change_condition_of,
    is_known,
    not_modified,
    with_etag,
)
from flowrunner.api.http.errors import etag
from flowrunner.api.http.paging import paged
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.requests import Body, Paging
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.domain.account import Right
from flowrunner.domain.values import rfc3339, rfc3339_or_none
from flowrunner.services.logins import LoginView
from flowrunner.services.preferences import state_of

router = APIRouter(prefix="/api/v1/sessions", tags=["Authentication"], route_class=ProtectedRoute)
preferences = APIRouter(prefix="/api/v1/accounts/me/preferences", tags=["Accounts"], route_class=ProtectedRoute)


class SessionAnswer(Answer, frozen=True, kw_only=True):
    id: str
    is_current: Annotated[bool, Meta(description="The request is made with it.")]
    created_at: Annotated[str, Meta(description="The time of the login, which a refresh does not change.")]
    expires_at: str
    last_used_at: Annotated[str | UnsetType, Meta(description="To about a minute. Absent if it is not known.")] = UNSET
    address: Annotated[str | UnsetType, Meta(description="The client's address. Absent if it is not known.")] = UNSET
    agent: Annotated[str | UnsetType, Meta(description="The client's `User-Agent`. Absent if it is not known.")] = UNSET

    @classmethod
    def of(cls, login: LoginView) -> Self:
        view = login.view
        return cls(
            id=login.id,
            is_current=login.is_own,
            created_at=rfc3339(view.logged_in_at),
            expires_at=rfc3339(view.expires_at),
            last_used_at=present(rfc3339_or_none(view.last_used_at)),
            address=view.address or UNSET,
            agent=view.agent or UNSET,
        )


class SessionList(ListAnswer, frozen=True):
    sessions: list[SessionAnswer]


class PreferencesAnswer(Answer, frozen=True, kw_only=True):
    preferences: dict[str, Any]


class SetPreferences(Body):
    preferences: dict[str, Any] = Field(description="An object of at most 64 KiB, which replaces the present one.")


@router.get("", responses=errors(401, 403, 422))
@RoutePolicy(right=Right.SESSION)
async def list_sessions(request: Request, page: Paging) -> Reply[SessionList]:
    """List the logins of the account that have not ended, the newest first. API tokens are not among them."""
    return await paged(
        request,
        page,
        lambda page: services_of(request).logins.page(caller_of(request), page=page),
        kind=SessionList,
        item=SessionAnswer.of,
        position=lambda login: round(login.view.logged_in_at.timestamp() * 1000),
    )


@router.delete("/{id}", responses=errors(401, 403, 404))
@RoutePolicy(right=Right.SESSION)
async def end_session(request: Request, id: str) -> Reply[Message]:
    """End a login of the account at once, with its tokens and WebSockets."""
    await services_of(request).logins.end(caller_of(request), id)
    return answer(Message(message="Session ended successfully"))


@router.delete("", responses=errors(401, 403))
@RoutePolicy(right=Right.SESSION, is_change=True)
async def end_other_sessions(request: Request) -> Reply[Message]:
    """End all logins of the account but the one that makes the request."""
    await services_of(request).logins.end_others(caller_of(request))
    return answer(Message(message="All other sessions ended successfully"))


@preferences.get(
    "",
    responses={**with_etag(), 304: NOT_MODIFIED, **errors(400, 401, 403)},
)
@RoutePolicy(right=Right.SESSION, parameters=[IF_NONE_MATCH])
async def get_preferences(request: Request) -> Reply[PreferencesAnswer]:
    """Return what the account prefers in the interface. The server does not read it."""
    found = await services_of(request).preferences.get(caller_of(request))
    return not_modified(state_of(found)) if is_known(request, state_of(found)) else _answered(found)


@preferences.put(
    "",
    responses={**with_etag(), **errors(401, 403, 404, 412, *BODY_ERRORS)},
)
@RoutePolicy(right=Right.SESSION, parameters=[IF_MATCH])
async def set_preferences(request: Request, body: SetPreferences) -> Reply[PreferencesAnswer]:
    """Replace what the account prefers in the interface, such as saved views, columns and the theme."""
    saved = await services_of(request).preferences.put(
        caller_of(request), body.preferences, condition=change_condition_of(request)
    )
    return _answered(saved)


def _answered(preferences: bytes) -> Reply[PreferencesAnswer]:
    return answer(PreferencesAnswer(preferences=stored(preferences)), headers={"ETag": etag(state_of(preferences))})
