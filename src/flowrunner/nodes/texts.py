"""Texts for people in the parameters of node types."""

import json
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema

from flowrunner.domain.expression import text_of

MOST_CHARACTERS: Final = 10_000
_PIECES: Final = json.JSONEncoder(ensure_ascii=False)


def _as_within_text(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    characters = 0
    # Counted while it is written, so that a large value is visited only up to the limit.
    for piece in _PIECES.iterencode(value):
        characters += len(piece)
        if characters > MOST_CHARACTERS:
            raise ValueError(f"must have at most {MOST_CHARACTERS} characters")
    return text_of(value)


# Other values become text as they do inside a template text; null is an error in both.
Message: TypeAlias = Annotated[
    str,
    BeforeValidator(_as_within_text),
    Field(max_length=MOST_CHARACTERS),
    WithJsonSchema({"type": ["string", "number", "boolean", "object", "array"], "maxLength": MOST_CHARACTERS}),
]
