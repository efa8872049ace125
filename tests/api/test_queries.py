"""Query parameters are read as the framework reads them."""

from collections.abc import Iterator
from typing import Any, Final, get_args

import pytest
from fastapi._compat import ModelField
from fastapi.dependencies.utils import request_params_to_args
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import QueryParams
from starlette.requests import Request

from flowrunner.api.http.queries import query_reader_of
from flowrunner.api.http.routing import BoundedRoute
from flowrunner.api.server import ROUTERS

TEXTS: Final = (
    "",
    "0",
    "1",
    "-1",
    "10",
    "true",
    "False",
    "null",
    "x" * 500,
    "9" * 40,
    "1.5",
    "info",
    "started_at",
    " 7",
)


def takes_query(route: BoundedRoute) -> bool:
    return bool(route.dependant.query_params or route.dependant.dependencies)


ROUTES: Final = [
    route for router in ROUTERS for route in router.routes if isinstance(route, BoundedRoute) and takes_query(route)
]


def requests_of(route: BoundedRoute) -> Iterator[str]:
    fields = [*route.dependant.query_params, *(f for d in route.dependant.dependencies for f in d.query_params)]
    yield ""
    for field in fields:
        for text in TEXTS:
            yield f"{field.alias}={text}"
    yield "&".join(f"{field.alias}=no number" for field in fields)
    yield "&".join(f"{field.alias}=1&{field.alias}=2" for field in fields) + "&other=1"


async def outcome(read: Any) -> Any:
    try:
        return await read
    except RequestValidationError as error:
        return [{name: value for name, value in one.items() if name != "url"} for one in error.errors()]
    except Exception as error:
        return repr(error)


async def as_the_framework(route: BoundedRoute, query: str) -> Any:
    given, errors, values = QueryParams(query), [], {}
    for each in route.dependant.dependencies:
        found, faults = request_params_to_args(each.query_params, given)
        errors += faults
        if not faults:
            assert each.call is not None
            values[each.name] = await each.call(**found)
    own, faults = request_params_to_args(route.dependant.query_params, given)
    if errors + faults:
        raise RequestValidationError(errors + faults)
    return values | own


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.name}")
async def test_a_query_gives_the_same_values_and_faults(route: BoundedRoute) -> None:
    read = query_reader_of(route.dependant)
    if read is None:
        # The framework reads it.
        return
    for query in requests_of(route):
        request = Request({"type": "http", "query_string": query.encode(), "headers": []})
        assert await outcome(read(request)) == await outcome(as_the_framework(route, query)), query


def parameters_of(kind: type) -> Iterator[Any]:
    """Return the parameters of routes that have this type, in queries and paths."""
    for route in (route for router in ROUTERS for route in router.routes if isinstance(route, BoundedRoute)):
        takes = route.dependant
        for field in (
            *takes.path_params,
            *takes.query_params,
            *(f for d in takes.dependencies for f in d.query_params),
        ):
            if kind in (field.field_info.annotation, *get_args(field.field_info.annotation)):
                yield pytest.param(field, id=f"{route.name} {field.alias}")


@pytest.mark.parametrize("field", list(parameters_of(int)))
def test_a_whole_number_has_ascii_digits_alone(field: ModelField) -> None:
    for text in ("1_0", "٣", "+5", " 5", "5 ", "5\n", "5.0", ""):
        _, errors = field.validate(text, {}, loc=("query", field.alias))
        assert [error["type"] for error in errors or ()] == ["int_parsing"], text
    assert field.validate("5", {}, loc=("query", field.alias)) == (5, [])
    _, errors = field.validate("-5", {}, loc=("query", field.alias))
    assert [error["type"] for error in errors or ()] == ["greater_than_equal"]


@pytest.mark.parametrize("field", list(parameters_of(bool)))
def test_a_choice_is_true_or_false_alone(field: ModelField) -> None:
    for text in ("yes", "no", "on", "off", "1", "0", "t", "True", "FALSE", " true", ""):
        _, errors = field.validate(text, {}, loc=("query", field.alias))
        assert [error["type"] for error in errors or ()] == ["bool_parsing"], text
    for text in ("true", "false"):
        assert field.validate(text, {}, loc=("query", field.alias)) == (text == "true", [])


def test_the_lists_that_are_read_most_are_read_without_the_framework() -> None:
    read = {route.name for route in ROUTES if query_reader_of(route.dependant) is not None}

    assert {"list_executions", "list_flows", "list_steps", "get_logs", "list_triggers"} <= read
