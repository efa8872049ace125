"""The pause of the installation over REST, for admins."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType

from flowrunner.api.http.answers import BODY_ERRORS, Answer, Reply, answer, errors, present
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.requests import Body
from flowrunner.api.http.routing import AdminRoute
from flowrunner.api.http.state import services_of
from flowrunner.domain.values import rfc3339_or_none

admin = APIRouter(prefix="/api/v1/admin/pause", tags=["Operation"], route_class=AdminRoute)


class SetPause(Body):
    paused: bool


class PauseAnswer(Answer, frozen=True, kw_only=True):
    paused: bool
    paused_at: Annotated[str | UnsetType, Meta(description="Absent unless the installation is paused.")] = UNSET

    @classmethod
    def of(cls, began_at: datetime | None) -> Self:
        return cls(paused=began_at is not None, paused_at=present(rfc3339_or_none(began_at)))


@admin.get("", responses=errors(401, 403))
async def get_pause(request: Request) -> Reply[PauseAnswer]:
    """Return whether the installation is paused."""
    return answer(PauseAnswer.of(await services_of(request).pause.began_at()))


@admin.put("", responses=errors(401, 403, *BODY_ERRORS))
async def set_pause(request: Request, body: SetPause) -> Reply[PauseAnswer]:
    """Let no further execution start, or let them start again. Open executions go on, with their sub-flows."""
    return answer(PauseAnswer.of(await services_of(request).pause.set(caller_of(request), paused=body.paused)))
