"""The catalogue of node types over REST."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Self

import msgspec
from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType

from flowrunner.api.http.answers import Answer, Reply, errors, present
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
from flowrunner.domain.flow import COMMON_ERRORS, ChildScopesKey, NodeTypeSpec
from flowrunner.domain.values import JSON
from flowrunner.services.language import Language

router = APIRouter(prefix="/api/v1/node-types", tags=["Schemas"], route_class=ProtectedRoute)


class NodeTypeAnswer(Answer, frozen=True, kw_only=True):
    name: str
    description: str
    params_schema: Annotated[
        Mapping[str, JSON], Meta(description="A JSON Schema (draft-07); an expression may stand for each value.")
    ]
    actions: Annotated[
        Sequence[str] | UnsetType,
        Meta(
            description="Actions that a node can end with. Absent if its parameters decide. Empty if it ends its scope."
        ),
    ] = UNSET
    errors: Annotated[
        Sequence[str], Meta(description="Types or families of its own errors; `*` is any. `common_errors` come on top.")
    ]
    child_scopes: Annotated[ChildScopesKey | UnsetType, Meta(description="The key that holds the nodes inside it.")] = (
        UNSET
    )
    pure: Annotated[bool, Meta(description="It touches nothing outside the execution.")]
    repeatable: Annotated[bool, Meta(description="A node without further parameters may run twice without harm.")]
    starts_executions: bool
    sets_variables: bool
    examples: Annotated[Sequence[str], Meta(description="Nodes in YAML, without their names.")]

    @classmethod
    def of(cls, spec: NodeTypeSpec, params_schema: Mapping[str, JSON]) -> Self:
        actions = spec.actions_of({})
        return cls(
            name=spec.name,
            description=spec.summary,
            params_schema=params_schema,
            actions=UNSET if actions is None else sorted(actions),
            errors=spec.errors,
            child_scopes=present(spec.child_scopes),
            pure=spec.pure,
            repeatable=spec.repeatable({}),
            starts_executions=spec.starts_executions,
            sets_variables=spec.sets_variables,
            examples=spec.examples,
        )


class NodeTypeList(Answer, frozen=True, kw_only=True):
    node_types: Sequence[NodeTypeAnswer]
    common_errors: Annotated[Sequence[str], Meta(description="Errors that every node can fail with.")]


@router.get(
    "",
    responses={**with_etag(), 304: NOT_MODIFIED, **errors(400, 401, 403)},
)
@RoutePolicy(parameters=[IF_NONE_MATCH])
async def list_node_types(request: Request) -> Reply[NodeTypeList]:
    """List the node types of this server, those of installed packages included, by name."""
    # They do not change while the server runs.
    body, state = await state_of(request).node_types.get(partial(_encoded_types, services_of(request).language))
    return encoded_or_not_modified(request, body, state)


async def _encoded_types(language: Language) -> tuple[bytes, str]:
    schemas = await language.params_schemas()
    types = [
        NodeTypeAnswer.of(language.node_types[name], schema)
        for name, schema in schemas.items()
        if isinstance(schema, Mapping)
    ]
    body = msgspec.json.encode(NodeTypeList(node_types=types, common_errors=COMMON_ERRORS))
    return body, state_of_answer(body)
