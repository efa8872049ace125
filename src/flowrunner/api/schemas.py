"""The JSON Schema of flow documents, for editors."""

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
from fastapi import APIRouter, Request

from flowrunner.api.http.answers import Answer, Reply, errors
from flowrunner.api.http.conditions import (
    IF_NONE_MATCH,
    NOT_MODIFIED,
    encoded_or_not_modified,
    state_of_answer,
    with_etag,
)
from flowrunner.api.http.policies import RoutePolicy
from flowrunner.api.http.routing import ProtectedRoute
from flowrunner.api.http.state import services_of, state_of
from flowrunner.domain.values import JSON
from flowrunner.services.language import Language

router = APIRouter(prefix="/api/v1/schemas", tags=["Schemas"], route_class=ProtectedRoute)


class FlowSchema(Answer, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A JSON Schema (draft-07). Its `additionalProperties` is a further member.

    Generated classes have an attribute of that name for all members that are not described.
    """

    dialect: str = msgspec.field(name="$schema")
    title: str
    description: str
    type: str
    properties: Mapping[str, JSON]
    pattern_properties: Mapping[str, JSON] = msgspec.field(name="patternProperties")
    required: Sequence[str]
    definitions: Mapping[str, JSON]


@router.get(
    "/flow",
    responses={**with_etag(), 304: NOT_MODIFIED, **errors(400, 401)},
)
@RoutePolicy(parameters=[IF_NONE_MATCH])
async def get_flow_schema(request: Request) -> Reply[FlowSchema]:
    """Return the JSON Schema of flow documents, with the parameters of this server's node types."""
    # Node types do not change while the server runs.
    body, state = await state_of(request).flow_schema.get(partial(_encoded_schema, services_of(request).language))
    return encoded_or_not_modified(request, body, state)


async def _encoded_schema(language: Language) -> tuple[bytes, str]:
    schema = await language.schema()
    # It is as described, and has further members.
    msgspec.convert(schema, FlowSchema)
    body = msgspec.json.encode(schema)
    return body, state_of_answer(body)
