"""Validation errors of requests, in plain words."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, get_args

from fastapi import Request
from pydantic import BaseModel

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
    fields, suggestions = _fields_of(request), Suggestions(left=_MOST_COMPARED)
    missing = {_path(one) for one in found if one["type"] == "missing"}
    meant: dict[str, str] = {}
    for one in found:
        if one["type"] == "extra_forbidden" and (near := suggestions.nearest(_path(one), fields)) is not None:
            meant[_path(one)] = near
    reported = missing & set(meant.values())
    return [_fault(one, fields, meant) for one in found if one["type"] != "missing" or _path(one) not in reported]


def _fault(found: Found, fields: Collection[str], meant: Mapping[str, str]) -> Fault:
    kind, path, hint = str(found["type"]), _path(found), None
    if kind == "missing":
        name = str(found["loc"][-1]).replace("_", " ").capitalize() if path else "A JSON body"
        message = f"{name} is required"
    elif kind in _MESSAGES:
        message = _MESSAGES[kind].format(**_without_quotes(found.get("ctx", {})))
    else:
        message = str(found["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden" and fields:
        hint = f"did you mean '{meant[path]}'?" if path in meant else f"known fields: {', '.join(fields)}"
    elif kind == "string_type" and isinstance(found.get("input"), Mapping | list):
        hint = "send it as one text, such as json.dumps or JSON.stringify make of it"
    return Fault(path=path, code=_CODES.get(kind, kind), message=message, hint=hint)


def _path(found: Found) -> str:
    path = ".".join(map(str, found["loc"][1:]))
    return path if len(path) <= _MOST_PATH else f"{path[:_MOST_PATH]}…"


def _without_quotes(context: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the context with `'read', 'run' or 'write'` as plain words."""
    if "expected" not in context:
        return context
    return {**context, "expected": str(context["expected"]).replace(" or ", ", ").replace("'", "")}


def _fields_of(request: Request) -> Collection[str]:
    """Return the names of the body fields that the route accepts."""
    body = getattr(request.scope.get("route"), "body_field", None)
    if body is None:
        return ()
    kind = body.field_info.annotation
    models = [one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, BaseModel)]
    return [field.alias or name for model in models for name, field in model.model_fields.items()]
