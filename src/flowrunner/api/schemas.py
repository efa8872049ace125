"""The JSON Schema of flow documents, for editors."""

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from flowrunner.api.http.answers import Answer, errors
from flowrunner.api.http.conditions import IF_NONE_MATCH, NOT_MODIFIED, is_known, not_modified, with_etag
from flowrunner.api.http.errors import etag
from flowrunner.api.http.requests import services_of
from flowrunner.api.http.routing import ProtectedRoute

router = APIRouter(prefix="/api/v1/schemas", tags=["Schemas"], route_class=ProtectedRoute)


class FlowSchema(Answer):
    """A JSON Schema (draft-07)."""

    dialect: str = Field(alias="$schema")
    title: str
    description: str
    type: str
    properties: dict[str, Any]
    patternProperties: dict[str, Any]  # noqa: N815 # as JSON Schema spells it
    additionalProperties: bool  # noqa: N815
    required: list[str]
    definitions: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Encoded:
    body: bytes
    state: str


@router.get(
    "/flow",
    response_model=FlowSchema,
    responses={**with_etag(), 304: NOT_MODIFIED, **errors(400, 401)},
    openapi_extra={"parameters": [IF_NONE_MATCH]},
)
async def get_flow_schema(request: Request) -> Response:
    """Return the JSON Schema of flow documents, with the parameters of this server's node types."""
    schema = await _encoded(request)
    if is_known(request, schema.state):
        return not_modified(schema.state)
    return Response(schema.body, headers={"ETag": etag(schema.state)}, media_type="application/json")


async def _encoded(request: Request) -> _Encoded:
    """Return the encoded schema. It is built once, because node types do not change while the server runs."""
    state = request.app.state
    if not hasattr(state, "flow_schema"):
        body = msgspec.json.encode(await services_of(request).language.schema())
        state.flow_schema = _Encoded(body, hashlib.sha256(body).hexdigest()[:32])
    encoded: _Encoded = state.flow_schema
    return encoded
