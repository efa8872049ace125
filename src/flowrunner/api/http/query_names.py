"""Names of query parameters: unknown ones are faults, because a filter that is misspelled would select everything."""

from collections.abc import Collection
from itertools import islice
from typing import Final

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from flowrunner.domain.errors import Fault, InvalidInput, quoted
from flowrunner.domain.suggestions import Suggestions

_PREFIX: Final = "/api/v1/"
_MOST_FAULTS: Final = 10


def query_names_of(route: APIRoute) -> Collection[str] | None:
    """Return the names of the query parameters that a route takes; None if it takes any."""
    if not route.path.startswith(_PREFIX):
        return None
    of_function = _names_of(route.dependant)
    written = (route.openapi_extra or {}).get("parameters", ())
    return dict.fromkeys([*of_function, *(each["name"] for each in written if each["in"] == "query")]).keys()


def _names_of(takes: Dependant) -> list[str]:
    names = [field.alias for field in takes.query_params]
    return names + [name for needed in takes.dependencies for name in _names_of(needed)]


def check_query_names(request: Request, known: Collection[str]) -> None:
    """Raises: InvalidInput if the request has a query parameter that is not known."""
    unknown = (name for name in request.query_params if name not in known and _family(name) not in known)
    suggestions = Suggestions()
    faults = [
        Fault(
            path=name if len(name) <= _LONGEST else "",
            code="unknown_parameter",
            message=f"{quoted(name)} is not a query parameter of this request",
            hint=_hint(suggestions.nearest(name, known), known),
        )
        for name in islice(unknown, _MOST_FAULTS)
    ]
    if faults:
        raise InvalidInput(faults)


_LONGEST: Final = 60


def _family(name: str) -> str:
    """Return the name under which all parameters with the same beginning are known, such as `input.*`."""
    first, dot, _ = name.partition(".")
    return f"{first}{dot}*"


def _hint(near: str | None, known: Collection[str]) -> str:
    if near is not None:
        return f"did you mean '{near}'?"
    return f"known parameters: {', '.join(known)}" if known else "it takes none"
