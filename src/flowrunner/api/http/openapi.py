"""The OpenAPI document: routes and bodies by the framework, answers by the structs that are encoded."""

from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from flowrunner import __version__
from flowrunner.api.http.answers import REF, Answer, Error
from flowrunner.api.http.routing import SECURITY_SCHEME, BoundedRoute

Schema = dict[str, Any]


def openapi_document(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the REST API, with the security requirements of each route."""
    document = get_openapi(
        title="FlowRunner",
        version=__version__,
        description="Runs flows: YAML documents of named nodes joined by named edges.",
        routes=routes,
    )
    components = document["components"]
    components["securitySchemes"] = {
        SECURITY_SCHEME: {
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
    components["schemas"] = dict(sorted({**components["schemas"], **answer_schemas({*answers, Error})}.items()))
    return document


def answer_schemas(answers: set[type[Answer]]) -> dict[str, Schema]:
    """Return the schema of each answer, and of each answer that is part of one, by name."""
    _, schemas = msgspec.json.schema_components(answers, ref_template=REF)
    for schema in schemas.values():
        _complete(schema)
    return schemas


def _complete(schema: Schema) -> None:
    """Add what msgspec implies or leaves out, and generators of clients read: types, titles, and open objects."""
    if "enum" in schema:
        schema["type"] = "string"
    if schema.get("type") == "object":
        schema.setdefault("additionalProperties", True)
    if schema.get("required") == []:
        del schema["required"]
    for name, field in schema.get("properties", {}).items():
        if not any("$ref" in part for part in (field, *field.get("anyOf", ()))):
            field.setdefault("title", name.replace("_", " ").title())
        _complete(field)
    for part in schema.get("anyOf", ()):
        _complete(part)
    if "items" in schema:
        _complete(schema["items"])
