"""Flows that call the operations of an API which OpenAPI describes: one flow for each operation."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import unquote

from flowrunner.cli.common import CommandFailed, unusable
from flowrunner.cli.exits import NOT_FOUND
from flowrunner.cli.importing.documents import Imported, as_list, as_map, identifier, literal, maps_in
from flowrunner.domain.whole_numbers import natural_number_of

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch")
MOST_OPERATIONS: Final = 2000
MOST_LISTED: Final = 20_000
# Parts of schemas that are copied for one operation. Schemas may refer to each other in circles.
_MOST_PARTS: Final = 2000
_DEEPEST: Final = 12
_KEPT: Final = (
    "type", "enum", "const", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength",
    "maxLength", "minItems", "maxItems", "description",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of an API.

    Attributes:
        name: The name of its flow, which does not depend on which operations are imported.
        shared: The item of its path, with what it has in common with others: `parameters` and `servers`.
    """

    name: str
    method: str
    path: str
    shared: Mapping[str, Any]
    content: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """The first line of its summary or description."""
        text = str(self.content.get("summary") or self.content.get("description") or "").strip()
        return text.splitlines()[0] if text else ""

    @property
    def tags(self) -> list[str]:
        return [tag for tag in as_list(self.content.get("tags")) if isinstance(tag, str) and 0 < len(tag) <= 100]

    def matches(self, pattern: str) -> bool:
        """Return whether its name, its `operationId`, or its method and path are the pattern, which may have `*`."""
        names = self.name, str(self.content.get("operationId", "")), f"{self.method} {self.path}"
        return any(fnmatchcase(name.casefold(), pattern.casefold()) for name in names)


def operations_of(spec: Any, patterns: Sequence[str] = (), tags: Sequence[str] = ()) -> list[Operation]:
    """Return the operations of a document that one of the patterns and one of the tags select, or all of them.

    Raises:
        CommandFailed: It is no OpenAPI 3 document, or a pattern or a tag selects nothing.
    """
    spec = as_map(spec)
    if str(spec.get("swagger", "")).startswith("2."):
        raise unusable("This is a Swagger 2 document: convert it to OpenAPI 3 first, for example with swagger2openapi")
    if not str(spec.get("openapi", "")).startswith("3."):
        raise unusable("This is not an OpenAPI 3 document: it has no 'openapi: 3.…'")
    operations = list(itertools.islice(_operations(spec), MOST_LISTED + 1))
    if not operations:
        raise unusable("The document has no operations: 'paths' has no get, post, put, patch, delete, head or options")
    if len(operations) > MOST_LISTED:
        raise unusable(f"The document has more than {MOST_LISTED} operations")
    for pattern in patterns:
        if not any(one.matches(pattern) for one in operations):
            raise CommandFailed(f"No operation is '{pattern}': --list prints their names", NOT_FOUND)
    for tag in tags:
        if not any(tag in one.tags for one in operations):
            known = ", ".join(sorted({tag for one in operations for tag in one.tags})[:20]) or "none"
            raise CommandFailed(f"No operation has the tag '{tag}': the document has {known}", NOT_FOUND)
    return [
        one
        for one in operations
        if (not patterns or any(one.matches(pattern) for pattern in patterns))
        and (not tags or not set(tags).isdisjoint(one.tags))
    ]


def flows_of(spec: Mapping[str, Any], operations: Sequence[Operation]) -> list[Imported]:
    """Return a flow for each operation. Raises: CommandFailed: There are too many."""
    if len(operations) > MOST_OPERATIONS:
        raise unusable(
            f"The document has {len(operations)} operations, and at most {MOST_OPERATIONS} become flows: "
            "choose some with --only or --tag"
        )
    return [_FlowOfOperation(spec, operation).imported() for operation in operations]


def _operations(spec: Mapping[str, Any]) -> Iterator[Operation]:
    taken: set[str] = set()
    for path, item in as_map(spec.get("paths")).items():
        if isinstance(item, Mapping):
            for method in METHODS:
                operation = item.get(method)
                if isinstance(operation, Mapping):
                    text = str(operation.get("operationId") or f"{method} {path}")
                    name = identifier(text, taken, otherwise="call")
                    taken.add(name)
                    yield Operation(name, method, str(path), item, operation)


class _FlowOfOperation:
    def __init__(self, spec: Mapping[str, Any], operation: Operation) -> None:
        self._spec = spec
        self._path = operation.path
        self._method = operation.method
        self._operation = operation.content
        self._tags = operation.tags
        self._parts = 0
        self._flow = Imported(operation.name, {})
        self._inputs: dict[str, Any] = {}
        self._params: dict[str, Any] = {}
        # What is nearer to the operation goes before.
        item, own = operation.shared, operation.content
        self._servers = [one for part in (own, item, spec) for one in maps_in(part.get("servers"))]
        self._declared = [one for part in (item, own) for one in as_list(part.get("parameters"))]

    def imported(self) -> Imported:
        url = self._url()
        self._params = {"url": url}
        if self._method != "get":
            self._params["method"] = self._method.upper()
        self._add_parameters()
        self._add_body()
        self._add_security()
        text = self._operation.get("summary") or self._operation.get("description") or f"{self._method} {self._path}"
        metadata: dict[str, Any] = {"name": self._flow.name, "description": str(text).strip()[:1000]}
        if self._tags:
            metadata["tags"] = self._tags[:50]
        self._flow.document |= {"metadata": metadata}
        if self._inputs:
            self._flow.document["inputs"] = self._inputs
        self._flow.document["nodes"] = {
            "call": {"type": "http.request", "params": self._params, "output": "${result.body}"}
        }
        return self._flow

    def _url(self) -> str:
        server = self._servers[0] if self._servers else {}
        base = str(server.get("url", "")).rstrip("/")
        for name, variable in as_map(server.get("variables")).items():
            if isinstance(variable, Mapping):
                base = base.replace(f"{{{name}}}", str(variable.get("default", "")))
        if not base.startswith(("http://", "https://")):
            self._flow.note("the document names no server: set the url of the node 'call'")
            base = f"https://example.com{base}"
        url = literal(base + self._path)
        for parameter in self._parameters("path"):
            name = str(parameter["name"])
            value = f"${{encodeURIComponent(flow.input.{self._input(parameter, required=True)})}}"
            url = url.replace(f"{{{name}}}", value)
        return url

    def _parameters(self, place: str) -> Sequence[Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for declared in self._declared:
            parameter = self._resolved(declared)
            if isinstance(parameter, Mapping) and parameter.get("in") == place and parameter.get("name"):
                found[str(parameter["name"])] = parameter
        return list(found.values())

    def _add_parameters(self) -> None:
        for place, key in (("query", "query"), ("header", "headers")):
            values = {}
            for parameter in self._parameters(place):
                name = self._input(parameter, required=parameter.get("required") is True)
                # An input that is not given is null, and a null is left out.
                values[literal(str(parameter["name"]))] = f"${{flow.input.{name} ?? null}}"
            if values:
                self._params[key] = values
        if self._parameters("cookie"):
            self._flow.note("parameters in cookies are left out")

    def _input(self, parameter: Mapping[str, Any], *, required: bool) -> str:
        name = identifier(str(parameter["name"]), self._inputs, otherwise="input")
        schema = self._schema(parameter.get("schema", {}))
        if isinstance(parameter.get("description"), str):
            schema.setdefault("description", parameter["description"][:500])
        self._declare(name, schema, required=required)
        return name

    def _declare(self, name: str, schema: dict[str, Any], *, required: bool) -> None:
        # The key of an input that may be absent is that of an object's required members, which are lost then.
        self._inputs[name] = schema if required else {**schema, "required": False}

    def _add_body(self) -> None:
        body = as_map(self._resolved(self._operation.get("requestBody")))
        content = as_map(body.get("content"))
        if not content:
            return
        kind = next((one for one in content if "json" in str(one)), next(iter(content)))
        schema = self._schema(as_map(content[kind]).get("schema", {}))
        name = identifier("body", self._inputs, otherwise="body")
        self._declare(name, schema, required=body.get("required") is True)
        key = "form" if kind == "application/x-www-form-urlencoded" else "body"
        self._params[key] = f"${{flow.input.{name} ?? null}}"
        if key == "body" and "json" not in str(kind):
            self._params.setdefault("headers", {})["Content-Type"] = literal(str(kind))
            self._flow.note(f"the body is of the type {kind}: it is sent as text")

    def _add_security(self) -> None:
        wanted = self._operation.get("security", self._spec.get("security"))
        names = [name for one in as_list(wanted)[:1] if isinstance(one, Mapping) for name in one]
        schemes = as_map(as_map(self._spec.get("components")).get("securitySchemes"))
        for name in names:
            scheme = self._resolved(schemes.get(name))
            if isinstance(scheme, Mapping):
                self._authorize(identifier(str(name), (), otherwise="api").upper(), scheme)
            else:
                self._flow.note(f"the security scheme '{name}' is not described")

    def _authorize(self, secret: str, scheme: Mapping[str, Any]) -> None:
        kind, place = scheme.get("type"), scheme.get("in")
        if kind == "http" and str(scheme.get("scheme", "")).lower() == "basic":
            self._params["auth"] = {
                "username": f"${{secrets.{secret}_USERNAME}}", "password": f"${{secrets.{secret}_PASSWORD}}",
            }  # fmt: skip
        elif kind in ("http", "oauth2", "openIdConnect"):
            self._params["auth"] = {"token": f"${{secrets.{secret}}}"}
            if kind != "http":
                self._flow.note(
                    f"the secret {secret} is a token of {kind}, which has to be renewed outside of the flow"
                )
        elif kind == "apiKey" and place == "header":
            self._params["auth"] = {"api_key": f"${{secrets.{secret}}}", "key_name": literal(str(scheme.get("name")))}
        elif kind == "apiKey" and place == "query":
            self._params.setdefault("query", {})[literal(str(scheme.get("name")))] = f"${{secrets.{secret}}}"
        else:
            self._flow.note(f"a security scheme of the type {kind} is left out")

    # Schemas

    def _schema(self, schema: Any, depth: int = 0) -> dict[str, Any]:
        """Return the parts of a schema that flows know, without references."""
        self._parts += 1
        schema = self._resolved(schema)
        if not isinstance(schema, Mapping) or depth > _DEEPEST or self._parts > _MOST_PARTS:
            return {}
        made = {key: schema[key] for key in _KEPT if _is_simple(schema.get(key))}
        if schema.get("nullable") is True and isinstance(made.get("type"), str):
            made["type"] = [made["type"], "null"]
        for key in ("exclusiveMinimum", "exclusiveMaximum"):
            if isinstance(made.get(key), bool):
                del made[key]  # of OpenAPI 3.0, where it is a flag
        if isinstance(schema.get("items"), Mapping):
            made["items"] = self._schema(schema["items"], depth + 1)
        properties = schema.get("properties")
        if isinstance(properties, Mapping):
            made["properties"] = {str(name): self._schema(part, depth + 1) for name, part in properties.items()}
            required = [name for name in as_list(schema.get("required")) if isinstance(name, str)]
            if required:
                made["required"] = required
        return made

    def _resolved(self, value: Any) -> Any:
        for _ in range(_DEEPEST):
            if not isinstance(value, Mapping) or "$ref" not in value:
                return value
            reference = str(value["$ref"])
            if not reference.startswith("#/"):
                self._flow.note(f"the reference {reference[:200]} leads to another document, and is left out")
                return {}
            value = _at(self._spec, reference[2:])
            if value is None:
                break
        self._flow.note(f"the reference {reference[:200]} leads nowhere, and is left out")
        return {}


def _at(value: Any, pointer: str) -> Any:
    """Return what the part of a URL after `#/` names in a document; None if there is nothing."""
    for part in pointer.split("/"):
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(value, list):
            number = natural_number_of(key, 9)
            value = value[number] if number is not None and number < len(value) else None
        else:
            value = as_map(value).get(key)
    return value


def _is_simple(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= 1000 and all(isinstance(one, str | int | float | bool | None) for one in value)
    return isinstance(value, str | int | float | bool)
