"""Single headers of requests."""

from starlette.types import Scope


def header_of(scope: Scope, name: bytes) -> str | None:
    """Return the first header with a name in lower case; None without it.

    The framework's mapping takes several times as long, above all for a header that is not there.
    """
    for each, value in scope["headers"]:
        if each == name:
            text: str = value.decode("latin-1")
            return text
    return None


def is_repeated(scope: Scope, name: bytes) -> bool:
    """Return whether there are several headers with a name in lower case."""
    return [each for each, _ in scope["headers"]].count(name) > 1
