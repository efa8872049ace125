"""The OpenAPI document: routes and bodies by the framework, answers by the structs that are encoded."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from flowrunner import __version__
from flowrunner.api.http.answers import LOCATION, REF, Answer, ErrorAnswer, errors
from flowrunner.api.http.authentication import WORKSPACE_HEADER
from flowrunner.api.http.bodies import MAX_BODY_BYTES
from flowrunner.api.http.examples import EXAMPLES
from flowrunner.api.http.routing import BoundedRoute, ProtectedRoute

Schema = dict[str, Any]

TAGS: Final[Mapping[str, str]] = {
    "Authentication": "Logins, their tokens, and the set-up of an installation.",
    "Flows": "Flows, their revisions and their deployment.",
    "Executions": "Starting, finding, watching and repairing executions.",
    "Jobs": "Changes of many executions in the background.",
    "Triggers": "What starts flows by itself.",
    "Webhooks": "Requests of other servers that start flows.",
    "Callbacks": "Notifications that are sent when executions end or wait.",
    "Secrets": "Secrets by name. No answer contains a value.",
    "Configuration": "Values that flows read, and that are no secrets.",
    "Store": "Values that flows keep between executions.",
    "API tokens": "Credentials for programs.",
    "Workspaces": "What teams share.",
    "Accounts": "People and programs that log in.",
    "Schemas": "The flow language and the node types of this server.",
    "Audit": "The record of who did what.",
    "Keys": "The replacement of keys.",
    "Operation": "Health, metrics and the state of the installation.",
}
_SECURITY_SCHEME: Final = "token"
_DOCUMENT: Final = {"application/yaml": {"schema": {"type": "string", "description": "The flow document itself."}}}
_ARCHIVE: Final = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
_WORKSPACE: Final = {
    "name": WORKSPACE_HEADER,
    "in": "header",
    "required": False,
    "description": "The workspace in which the request acts, by its id or slug; that of the credential if absent.",
    "schema": {"type": "string"},
}


def openapi_document(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the REST API, with the security requirements of each route."""
    document = get_openapi(
        title="FlowRunner",
        version=__version__,
        description=(
            "Runs flows: YAML documents of named nodes joined by named edges. Answers may get further fields at any "
            "time. The WebSocket is described at `/api/v1/asyncapi.json`."
        ),
        contact={"name": "The operator of this server"},
        license_info={"name": "MIT", "identifier": "MIT"},
        servers=[{"url": "/", "description": "This server"}],
        routes=routes,
    )
    components = document["components"]
    components["securitySchemes"] = {
        _SECURITY_SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "A session token or an API token. The `x-right` of a route names the required right.",
        }
    }
    # The framework documents its own form of a 422 for routes that declare none; it is never sent.
    for path in document["paths"].values():
        for operation in path.values():
            if "HTTPValidationError" in str(operation["responses"].get("422", "")):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    answers = {kind for route in routes if isinstance(route, BoundedRoute) for kind in route.answers}
    components["schemas"] = dict(sorted({**components["schemas"], **answer_schemas({*answers, ErrorAnswer})}.items()))
    for route, operation in _operations(document, routes):
        _describe(route, operation)
    used = {tag for path in document["paths"].values() for one in path.values() for tag in one.get("tags", ())}
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items() if name in used]
    return document


def _operations(document: Schema, routes: Sequence[BaseRoute]) -> Iterator[tuple[BoundedRoute, Schema]]:
    for route in routes:
        if isinstance(route, BoundedRoute) and route.include_in_schema:
            for method in route.methods or ():
                yield route, document["paths"][route.path_format][method.lower()]


def _describe(route: BoundedRoute, operation: Schema) -> None:
    """Add what follows from the policy and the class of the route, and the examples."""
    operation["operationId"] = _operation_id(route)
    # The framework makes titles of functions' names.
    operation["summary"] = re.split(r"\.\s", operation["description"] + " ", maxsplit=1)[0]
    policy, parameters = route.policy, [*operation.get("parameters", ()), *route.parameters]
    if route.takes_body and route.most_bytes != MAX_BODY_BYTES:
        operation["x-max-bytes"] = route.most_bytes
    if policy.takes_yaml:
        operation["x-takes-yaml"] = True
        operation["requestBody"]["content"] |= _DOCUMENT
    if policy.takes_zip:
        operation["x-takes-zip"] = True
        operation["requestBody"] = {"required": True, "content": _ARCHIVE}
    if isinstance(route, ProtectedRoute):
        operation |= {"x-right": route.right.value, "security": [{_SECURITY_SCHEME: []}]}
        possible = errors(401, 403)
        if route.acts_in_workspace:
            possible |= errors(404)
            parameters.append(_WORKSPACE)
    else:
        operation["security"] = []
        possible = errors(is_limited=False)
    if parameters:
        operation["parameters"] = parameters
    possible = {str(status): response for status, response in possible.items()}
    operation["responses"] = dict(sorted((possible | operation["responses"]).items()))
    if (created := operation["responses"].get("201")) is not None:
        created["headers"] = LOCATION | created.get("headers", {})
    for place, value in EXAMPLES.get(operation["operationId"], {}).items():
        described = operation["requestBody"] if place == "body" else operation["responses"][place]
        described["content"]["application/json"]["example"] = value


def _operation_id(route: BoundedRoute) -> str:
    """Return the name of the route's function as generated clients write it: `runFlow` for `run_flow`."""
    first, *others = route.endpoint.__name__.split("_")
    return "".join((first, *map(str.title, others)))


def answer_schemas(answers: set[type[Answer]]) -> dict[str, Schema]:
    """Return the schema of each answer, and of each answer that is part of one, by name."""
    _, schemas = msgspec.json.schema_components(answers, ref_template=REF)
    for schema in schemas.values():
        _complete(schema)
    return schemas


# Fields with times, beside those whose name ends with `_at`.
_TIMES: Final = frozenset({
    "at", "timestamp", "since", "until", "failing_since", "previous_until", "needed_until",
})  # fmt: skip


def _complete(schema: Schema) -> None:
    """Add what msgspec implies or leaves out, and generators of clients read: types, formats and titles.

    Objects are open, so that a new field breaks no client: those with all fields described do not mention others, and
    those with fields that are not described allow them.
    """
    if "enum" in schema:
        schema["type"] = "string"
    if schema.get("type") == "object" and schema.setdefault("additionalProperties", True) is False:
        del schema["additionalProperties"]
    if schema.get("required") == []:
        del schema["required"]
    for name, field in schema.get("properties", {}).items():
        if not any("$ref" in part for part in (field, *field.get("anyOf", ()))):
            field.setdefault("title", name.replace("_", " ").title())
        if name.endswith("_at") or name in _TIMES:
            for part in (field, *field.get("anyOf", ())):
                if part.get("type") == "string":
                    part["format"] = "date-time"
        _complete(field)
    for part in schema.get("anyOf", ()):
        _complete(part)
    if "items" in schema:
        _complete(schema["items"])
