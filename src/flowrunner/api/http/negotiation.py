"""Negotiation of answers by the headers `Accept` and `Accept-Encoding`."""

import re
from collections.abc import Collection, Sequence
from typing import Final

from starlette.types import Scope

from flowrunner.api.http.headers import header_of

_WEIGHT: Final = re.compile(r"[01](\.[0-9]{0,3})?")
# No client sends as many. Anybody may send 64 KiB of commas or semicolons.
_MOST_NAMES: Final = 100
_MOST_PARAMETERS: Final = 10
_JSON: Final = ("application/json", "*/*", "application/*")


def preferred(accept: str, media_types: Collection[str]) -> str | None:
    """Return which of these types the client prefers to JSON, or asks for before it; None for none of them."""
    for name, _ in sorted(_weighed(accept), key=lambda each: -each[1]):
        if name in _JSON:
            return None
        if name in media_types:
            return name
    return None


def takes(header: str, name: str) -> bool:
    """Return whether a header of the request names this type or encoding, other than with `q=0`."""
    return any(each == name for each, _ in _weighed(header))


def wants_page(scope: Scope) -> bool:
    """Return True for the request of a browser that opens an address."""
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return False
    return takes(header_of(scope, b"accept") or "", "text/html")


def _weighed(header: str) -> Sequence[tuple[str, float]]:
    """Return the names that the client takes, each with its `q`: 1 without one, or with one that cannot be read.

    Names after the first hundred are ignored, and so is a weight after ten parameters.
    """
    weighed = []
    for part in header.lower().split(",", _MOST_NAMES)[:_MOST_NAMES]:
        name, *parameters = part.split(";", _MOST_PARAMETERS)
        pairs = (each.partition("=") for each in parameters)
        weight = next((value.strip() for key, _, value in pairs if key.strip() == "q"), "")
        weighed.append((name.strip(), float(weight) if _WEIGHT.fullmatch(weight) else 1.0))
    return [each for each in weighed if each[1] > 0]
