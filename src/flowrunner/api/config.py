"""Configuration values of the workspace over REST."""

from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Request
from msgspec import Meta
from msgspec.structs import asdict
from pydantic import Field

from flowrunner.api.http.answers import BODY_ERRORS, Answer, ListAnswer, Message, Reply, answer, created, errors
from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.conditions import (
    IF_MATCH,
    IF_NONE_MATCH,
    IF_NONE_MATCH_ANY,
    NOT_MODIFIED,
    change_condition_of,
    condition_of,
    is_known,
    not_modified,
    with_etag,
)
from flowrunner.api.http.errors import etag
from flowrunner.api.http.paging import paged
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.requests import Body, LongPaging
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of
from flowrunner.api.secrets import FlowNameAnswer
from flowrunner.domain.config import MAX_VALUE_CHARACTERS
from flowrunner.domain.values import rfc3339
from flowrunner.ports.config import ConfigView

router = APIRouter(prefix="/api/v1/config", tags=["Configuration"], route_class=ProtectedRoute)

# Flows of a value in a list.
_MOST_USERS: Final = 100


class PutConfigValue(Body):
    value: Any = Field(
        description=f"Any JSON except null, at most {MAX_VALUE_CHARACTERS:,} characters. "
        "Flows read it as `${config.<name>}`."
    )


class ConfigValueAnswer(Answer, frozen=True, kw_only=True):
    name: str
    value: Any
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, stored: ConfigView) -> Self:
        return cls(
            name=stored.name,
            value=stored.value,
            created_at=rfc3339(stored.created_at),
            updated_at=rfc3339(stored.updated_at),
        )


class ConfigValueInList(ConfigValueAnswer, frozen=True, kw_only=True):
    used_by: Annotated[
        list[FlowNameAnswer],
        Meta(description=f"The flows whose current revision names it, at most the first {_MOST_USERS}."),
    ]

    @classmethod
    def of(cls, stored: ConfigView) -> Self:
        return cls(
            **asdict(ConfigValueAnswer.of(stored)),
            used_by=[FlowNameAnswer(id=flow.id, name=flow.name) for flow in stored.used_by[:_MOST_USERS]],
        )


class ConfigList(ListAnswer, frozen=True):
    config: list[ConfigValueInList]


@router.get("", responses=errors(401, 403, 404, 422))
async def list_config(
    request: Request,
    page: LongPaging,
) -> Reply[ConfigList]:
    """List the configuration values of the workspace by name."""
    return await paged(
        request,
        page,
        lambda page: services_of(request).configuration.page(caller_of(request), page=page),
        kind=ConfigList,
        item=ConfigValueInList.of,
        position=lambda stored: stored.name,
    )


@router.get("/{name}", responses={**with_etag(), 304: NOT_MODIFIED, **errors(400, 401, 403, 404)})
@RoutePolicy(parameters=[IF_NONE_MATCH])
async def get_config_value(request: Request, name: str) -> Reply[ConfigValueAnswer]:
    """Return a configuration value."""
    stored = await services_of(request).configuration.get(caller_of(request), name)
    if is_known(request, stored.state):
        return not_modified(stored.state)
    return answer(ConfigValueAnswer.of(stored), headers={"ETag": etag(stored.state)})


@router.put(
    "/{name}",
    responses={
        **with_etag(),
        201: {"description": "Created", **with_etag(201)[201]},
        **errors(401, 403, 404, 409, 412, *BODY_ERRORS),
    },
)
@RoutePolicy(parameters=[IF_MATCH, IF_NONE_MATCH_ANY])
async def put_config_value(request: Request, name: str, body: PutConfigValue) -> Reply[ConfigValueAnswer]:
    """Create a configuration value (201), or replace it (200). Executions that have started keep the one before."""
    stored, is_new = await services_of(request).configuration.set(
        caller_of(request), name, body.value, condition=condition_of(request)
    )
    saved, headers = ConfigValueAnswer.of(stored), {"ETag": etag(stored.state)}
    return created(saved, request.url.path, headers) if is_new else answer(saved, headers=headers)


@router.delete("/{name}", responses=errors(400, 401, 403, 404, 412))
@RoutePolicy(parameters=[IF_MATCH])
async def delete_config_value(request: Request, name: str) -> Reply[Message]:
    """Delete a configuration value. Flows that name it fail where they read it, if they start from then on."""
    await services_of(request).configuration.delete(caller_of(request), name, condition=change_condition_of(request))
    return answer(Message(message="Configuration value deleted successfully"))
