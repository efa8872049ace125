"""Texts for people among the parameters of node types."""

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
    # Counted before it is written: of a large value only as much is visited as may be kept.
    for piece in _PIECES.iterencode(value):
        characters += len(piece)
        if characters > MOST_CHARACTERS:
            raise ValueError(f"must have at most {MOST_CHARACTERS} characters")
    return text_of(value)


# Numbers, true, false, lists and objects are turned to text as within text, where null is an error too.
Message: TypeAlias = Annotated[
    str,
    BeforeValidator(_as_within_text),
    Field(max_length=MOST_CHARACTERS),
    WithJsonSchema({"type": ["string", "number", "boolean", "object", "array"], "maxLength": MOST_CHARACTERS}),
]
