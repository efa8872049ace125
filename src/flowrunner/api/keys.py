"""Key rotation over REST. No answer contains a key."""

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Request
from msgspec import Meta
from pydantic import Field

from flowrunner.api.http.answers import BODY_ERRORS, Answer, ListAnswer, Reply, answer, errors
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.paging import paged
from flowrunner.api.http.policies import Repeats, RoutePolicy
from flowrunner.api.http.requests import Body, Paging
from flowrunner.api.http.routing import AdminRoute
from flowrunner.api.http.state import services_of
from flowrunner.domain.values import rfc3339, rfc3339_or_none
from flowrunner.ports.keys import KeyKind, KeyRotation

admin = APIRouter(prefix="/api/v1/keys/rotations", tags=["Keys"], route_class=AdminRoute)


class RotateKeys(Body):
    kinds: list[KeyKind] = Field(min_length=1, max_length=3, description="The kinds of keys to replace.")


class RotationAnswer(Answer, frozen=True, kw_only=True):
    id: int
    kind: KeyKind
    status: Literal["running", "completed"]
    requested_at: str
    needed_until: Annotated[
        str | None, Meta(description="The time until which tokens signed by the previous key are valid.")
    ]
    completed_at: Annotated[str | None, Meta(description="The time at which the previous keys were no longer needed.")]

    @classmethod
    def of(cls, rotation: KeyRotation) -> Self:
        return cls(
            id=rotation.id,
            kind=rotation.kind,
            status="running" if rotation.completed_at is None else "completed",
            requested_at=rfc3339(rotation.requested_at),
            needed_until=rfc3339_or_none(rotation.needed_until),
            completed_at=rfc3339_or_none(rotation.completed_at),
        )


class RotationList(ListAnswer, frozen=True):
    rotations: list[RotationAnswer]


class StartedRotations(Answer, frozen=True, kw_only=True):
    rotations: list[RotationAnswer]


@admin.post("", status_code=202, responses=errors(401, 403, 409, *BODY_ERRORS))
@RoutePolicy(repeats=Repeats())
async def rotate_keys(request: Request, body: RotateKeys) -> Reply[StartedRotations]:
    """Replace keys in the background. Stored data stays readable, and sessions stay valid."""
    kinds = list(dict.fromkeys(body.kinds))
    rotations = await services_of(request).keys.request(caller_of(request), kinds)
    return answer(StartedRotations(rotations=[RotationAnswer.of(rotation) for rotation in rotations]), 202)


@admin.get("", responses=errors(401, 403, 422))
async def list_rotations(request: Request, page: Paging) -> Reply[RotationList]:
    """List key rotations, the newest first."""
    read = services_of(request).keys.page
    return await paged(
        request, page, read, kind=RotationList, item=RotationAnswer.of, position=lambda rotation: rotation.id
    )
