"""The header `Idempotency-Key` of requests that clients may repeat."""

import re
from typing import Final

from fastapi import Request

from flowrunner.domain.errors import invalid

IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A key starts at most one execution.",
    "schema": {"type": "string", "maxLength": 255},
}
REPEATABLE: Final = IDEMPOTENCY_KEY | {
    "description": "A repeated request with the same key has no further effect and gets the first answer."
}
_IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


def idempotency_key_of(request: Request) -> str | None:
    """Return the key, or None without the header. Raises: InvalidInput."""
    key = request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise invalid("Idempotency-Key", "must be 1 to 255 visible characters")
    return key
