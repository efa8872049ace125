"""Validation errors of requests, in plain words."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, get_args

from fastapi import Request
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flowrunner.api.http.policies import RoutePolicy
from flowrunner.domain.errors import Fault
from flowrunner.domain.suggestions import Suggestions
from flowrunner.language.parameter_faults import BOUNDS

# An error of pydantic: `{loc, type, msg, input, ctx}`, where `loc` starts with the part of the request.
Found = Mapping[str, Any]

_MESSAGES: Final[Mapping[str, str]] = {
    **BOUNDS,
    "extra_forbidden": "is not a field of this request",
    "json_invalid": "is not valid JSON",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_attributes_type": "must be an object",
    "literal_error": "must be one of: {expected}",
}
# Comparisons of unknown fields with known ones for one request: a few milliseconds.
_MOST_COMPARED: Final = 300
# Characters of a place: keys are as long as their body may be.
_MOST_PATH: Final = 300
_CODES: Final[Mapping[str, str]] = {"missing": "required", "extra_forbidden": "unknown_key"}


def request_faults(found: Sequence[Found], request: Request) -> list[Fault]:
    """Return a fault for each invalid value. A missing field that was misspelled is reported only once.

    Args:
        found: No more than an answer lists: there may be tens of thousands.
    """
    models, suggestions = _models_of(request), Suggestions(left=_MOST_COMPARED)
    hints: dict[str, str] = {}
    reported: set[str] = set()
    for one in found:
        if one["type"] != "extra_forbidden":
            continue
        *within, name = one["loc"][1:]
        fields = _fields_at(models, within)
        if (near := suggestions.nearest(str(name), fields)) is not None:
            hints[_path(one)] = f"did you mean '{near}'?"
            reported.add(_joined([*within, near]))
        elif fields:
            hints[_path(one)] = f"known fields: {', '.join(fields)}"
    body = _name_of_body(request)
    return [_fault(one, hints, body) for one in found if one["type"] != "missing" or _path(one) not in reported]


def _fault(found: Found, hints: Mapping[str, str], body: str) -> Fault:
    kind, path, hint = str(found["type"]), _path(found), None
    if kind == "missing":
        name = str(found["loc"][-1]).replace("_", " ").capitalize() if path else body
        message = f"{name} is required"
    elif found.get("ctx", {}).get("min_length") == 1:
        message = "must not be empty"
    elif kind in _MESSAGES:
        message = _MESSAGES[kind].format(**_without_quotes(found.get("ctx", {})))
    else:
        message = str(found["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden":
        hint = hints.get(path)
    elif kind == "string_type" and isinstance(found.get("input"), Mapping | list):
        hint = "send it as one text, such as json.dumps or JSON.stringify make of it"
    return Fault(path=path, code=_CODES.get(kind, kind), message=message, hint=hint)


def _path(found: Found) -> str:
    return _joined(found["loc"][1:])


def _joined(parts: Iterable[str | int]) -> str:
    path = ".".join(map(str, parts))
    return path if len(path) <= _MOST_PATH else f"{path[:_MOST_PATH]}…"


def _without_quotes(context: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the context with `'read', 'run' or 'write'` as plain words."""
    if "expected" not in context:
        return context
    return {**context, "expected": str(context["expected"]).replace(" or ", ", ").replace("'", "")}


def _name_of_body(request: Request) -> str:
    policy = getattr(request.scope.get("route"), "policy", None)
    return "A body of JSON or YAML" if isinstance(policy, RoutePolicy) and policy.takes_yaml else "A JSON body"


def _models_of(request: Request) -> Sequence[type[BaseModel]]:
    """Return the models of the body that the route accepts."""
    body = getattr(request.scope.get("route"), "body_field", None)
    return () if body is None else _models_in(body.field_info.annotation)


def _models_in(annotation: Any) -> Sequence[type[BaseModel]]:
    """Return the models in a type: of a list its entries, of a map its values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return [model for one in get_args(annotation) for model in _models_in(one)]


def _fields_at(models: Sequence[type[BaseModel]], within: Sequence[str | int]) -> Collection[str]:
    """Return the names of the fields of the object at a place of the body."""
    for part in within:
        if isinstance(part, str):
            fields = [_fields_of(model).get(part) for model in models]
            models = [model for field in fields if field is not None for model in _models_in(field.annotation)]
    return [name for model in models for name in _fields_of(model)]


def _fields_of(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}
