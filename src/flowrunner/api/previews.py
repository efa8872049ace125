"""Previews of JSON values, and the views of an execution that have them."""

from typing import Annotated, Any, Final, Self

from fastapi import Request
from msgspec import UNSET, Meta, UnsetType

from flowrunner.api.http.answers import Answer, present, stored
from flowrunner.domain.errors import invalid
from flowrunner.services.step_values import Preview

# Bytes of a value that the view `preview` shows whole.
PREVIEW_BYTES: Final = 64 * 1024
_MOST_OF_VIEW: Final = {"summary": 0, "preview": PREVIEW_BYTES, "full": None}
VIEW: Final = {
    "name": "view",
    "in": "query",
    "required": False,
    "description": "`preview` shortens `input`, `result` and those of `failure`; `summary` has only their sizes.",
    "schema": {"type": "string", "enum": list(_MOST_OF_VIEW), "default": "full"},
}


class PreviewAnswer(Answer, frozen=True, kw_only=True):
    """A JSON value if it is short, or else the beginning of its text."""

    size: Annotated[int, Meta(description="Bytes of the whole value as JSON.")]
    value: Annotated[Any, Meta(description="The whole value. Absent if it is too long.")] = UNSET
    text: Annotated[str | UnsetType, Meta(description="The beginning of a value that is too long.")] = UNSET

    @classmethod
    def of(cls, preview: Preview) -> Self:
        return cls(size=preview.size, value=stored(preview.value), text=present(preview.text))


def most_of_view(request: Request) -> int | None:
    """Return the bytes of a value that the view shows; None for whole values. Raises: InvalidInput."""
    # Parsing no parameters takes as long as the rest of the question.
    view = request.query_params.get("view", "full") if request.scope["query_string"] else "full"
    if view not in _MOST_OF_VIEW:
        raise invalid("view", f"must be one of {', '.join(_MOST_OF_VIEW)}")
    return _MOST_OF_VIEW[view]


def viewed(value: bytes | None, most: int | None) -> Any:
    """Return a stored value for a field of a view. Args: most: See `most_of_view`."""
    if value is None or most is None:
        return stored(value)
    if len(value) <= most:
        return PreviewAnswer(size=len(value), value=stored(value))
    return PreviewAnswer(size=len(value), text=value[:most].decode(errors="ignore") if most else UNSET)
