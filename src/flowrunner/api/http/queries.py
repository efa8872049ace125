"""Query parameters of routes, read without the framework's machinery, which visits each one that might be given."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias

from fastapi import Request
from fastapi._compat import ModelField, field_annotation_is_sequence
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError

# Returns the arguments of a route's function that come from the query of a request. Raises: RequestValidationError.
QueryReader: TypeAlias = Callable[[Request], Awaitable[Mapping[str, Any]]]

_IMMUTABLE: Final = (str, int, float, type(None))


def query_reader_of(takes: Dependant) -> QueryReader | None:
    """Return what reads the query parameters of a route, as the framework does; None if it has to do that itself.

    Dependencies may take query parameters alone.
    """
    if not all(map(_is_plain, takes.query_params)) or not all(map(_is_of_query, takes.dependencies)):
        return None
    own, defaults = _by_alias(takes.query_params), _defaults(takes.query_params)
    needed = [_Needed.of(dependency) for dependency in takes.dependencies]

    async def read(request: Request) -> Mapping[str, Any]:
        given = request.query_params if request.scope["query_string"] else ()
        errors: list[Any] = []
        values = dict(defaults)
        for each in needed:
            taken = dict(each.defaults)
            found = _validated(each.fields, given, taken)
            errors += found
            if not found:
                values[each.name] = await each.call(**taken)
        errors += _validated(own, given, values)
        if errors:
            raise RequestValidationError(errors)
        return values

    return read


@dataclass(frozen=True, slots=True)
class _Needed:
    """A dependency of a route, and the query parameters that it takes."""

    name: str
    call: Callable[..., Any]
    fields: Mapping[str, ModelField]
    defaults: Mapping[str, Any]

    @classmethod
    def of(cls, dependency: Dependant) -> Self:
        assert dependency.name is not None, "checked by `_is_of_query`"
        assert dependency.call is not None, "checked by `_is_of_query`"
        takes = dependency.query_params
        return cls(dependency.name, dependency.call, _by_alias(takes), _defaults(takes))


def _is_plain(field: ModelField) -> bool:
    """Return whether a parameter has one value, and a default that no function can change."""
    default = field.field_info.default
    is_list = field_annotation_is_sequence(field.field_info.annotation)
    return not field.field_info.is_required() and isinstance(default, _IMMUTABLE) and not is_list


def _is_of_query(dependency: Dependant) -> bool:
    others = (dependency.path_params, dependency.header_params, dependency.cookie_params, dependency.body_params)
    return (
        not any(others)
        and not dependency.dependencies
        and dependency.request_param_name is None
        and dependency.name is not None
        and inspect.iscoroutinefunction(dependency.call)
        and all(map(_is_plain, dependency.query_params))
    )


def _by_alias(fields: Sequence[ModelField]) -> Mapping[str, ModelField]:
    return {field.alias: field for field in fields}


def _defaults(fields: Sequence[ModelField]) -> Mapping[str, Any]:
    return {field.name: field.field_info.default for field in fields}


def _validated(fields: Mapping[str, ModelField], given: Any, values: dict[str, Any]) -> Sequence[Any]:
    """Add the given parameters to ``values``; return the errors."""
    errors: list[Any] = []
    if not given:
        return errors
    for alias, field in fields.items():
        if alias not in given:
            continue
        value, found = field.validate(given[alias], values, loc=("query", alias))
        errors += found or ()
        values[field.name] = value
    return errors
