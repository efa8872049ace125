"""Query parameters: unknown and repeated ones, and those that are no UTF-8, are faults.

A filter that is misspelled would select everything, and of two values one would be ignored.
Of bytes that are no UTF-8, different ones would become the same text.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final
from urllib.parse import unquote_plus, unquote_to_bytes

from fastapi._compat import ModelField, field_annotation_is_sequence
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection

from flowrunner.domain.errors import Fault, InvalidInput, quoted
from flowrunner.domain.suggestions import Suggestions

_PREFIX: Final = "/api/v1/"
_MOST_FAULTS: Final = 10
_LONGEST: Final = 60
_UTF_8: Final = "é is %C3%A9, for example"


class Repeatable:
    """The mark of a parameter of a route's function that is a text, and may be given several times all the same."""


def query_names_of(route: APIRoute, described: Iterable[Mapping[str, Any]]) -> Mapping[str, bool] | None:
    """Return whether each query parameter that a route takes may be given several times; None if it takes any.

    Args:
        described: Parameters that the framework does not read, in the form of OpenAPI.
    """
    if not route.path.startswith(_PREFIX):
        return None
    return {field.alias: _may_repeat(field) for field in _fields_of(route.dependant)} | {
        each["name"]: _is_written_as_several(each) for each in described if each["in"] == "query"
    }


def _fields_of(takes: Dependant) -> Iterator[ModelField]:
    yield from takes.query_params
    for needed in takes.dependencies:
        yield from _fields_of(needed)


def _may_repeat(field: ModelField) -> bool:
    return field_annotation_is_sequence(field.field_info.annotation) or Repeatable in field.field_info.metadata


def _is_written_as_several(parameter: Mapping[str, Any]) -> bool:
    return parameter["schema"].get("type") == "array" or str(parameter["name"]).endswith(".*")


def check_query_names(connection: HTTPConnection, known: Mapping[str, bool]) -> None:
    """Check the query parameters of a request or a WebSocket.

    Args:
        known: Whether each parameter may be given several times.

    Raises:
        InvalidInput: One is no UTF-8 or not known, or there are several of which there can be one.
    """
    raw = connection.scope["query_string"]
    # Only these can be of another encoding: the framework puts U+FFFD in their place.
    faults = list(islice(_undecodable(raw), _MOST_FAULTS)) if b"%" in raw else []
    given = connection.query_params
    faults = faults or list(islice(_unknown(given, known), _MOST_FAULTS))
    if not faults and len(pairs := given.multi_items()) > len(given):
        faults = list(islice(_repeated(pairs, known), _MOST_FAULTS))
    if faults:
        raise InvalidInput(faults)


def _undecodable(raw: bytes) -> Iterator[Fault]:
    for pair in raw.split(b"&"):
        try:
            unquote_to_bytes(pair).decode()
        except UnicodeDecodeError:
            name = unquote_plus(pair.partition(b"=")[0][:_LONGEST].decode("latin-1"))
            yield Fault(path=name, code="encoding", message="is not percent-encoded UTF-8", hint=_UTF_8)


def _unknown(given: Collection[str], known: Collection[str]) -> Iterator[Fault]:
    suggestions = Suggestions()
    for name in given:
        if name not in known and _family(name) not in known:
            yield Fault(
                path=name if len(name) <= _LONGEST else "",
                code="unknown_parameter",
                message=f"{quoted(name)} is not a query parameter of this request",
                hint=_hint(suggestions.nearest(name, known), known),
            )


def _repeated(pairs: Collection[tuple[str, str]], known: Mapping[str, bool]) -> Iterator[Fault]:
    for name, times in Counter(name for name, _ in pairs).items():
        if times > 1 and not known.get(name, True):
            yield Fault(
                path=name,
                code="repeated_parameter",
                message=f"is given {times} times, but takes one value",
                hint="give it once",
            )


def _family(name: str) -> str:
    """Return the name under which all parameters with the same beginning are known, such as `input.*`."""
    first, dot, _ = name.partition(".")
    return f"{first}{dot}*"


def _hint(near: str | None, known: Collection[str]) -> str:
    if near is not None:
        return f"did you mean '{near}'?"
    return f"known parameters: {', '.join(known)}" if known else "it takes none"
