"""Identifiers that carry a prefix for their kind, sort by creation time and have 130 random bits."""

import secrets
from datetime import datetime
from typing import Final

_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
_PAIRS: Final = tuple(a + b for a in _DIGITS for b in _DIGITS)


def new_id(prefix: str, at: datetime) -> str:
    """Return an id such as `flow-01jdhq6v3k8n3w…`: ten digits of time and 26 random ones."""
    number = (int(at.timestamp() * 1000) << 130) | secrets.randbits(130)
    return f"{prefix}-{''.join([_PAIRS[(number >> shift) & 1023] for shift in range(170, -1, -10)])}"
