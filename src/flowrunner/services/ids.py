"""Identifiers: their prefix says what they name, they sort by the time they were made, and 128
random bits make them unguessable."""

import secrets
from datetime import datetime
from typing import Final

_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
_PAIRS: Final = tuple(a + b for a in _DIGITS for b in _DIGITS)


def new_id(prefix: str, at: datetime) -> str:
    """For example `flow-01jdhq6v3k8n3w…`: ten digits of time, 26 of chance."""
    number = (int(at.timestamp() * 1000) << 130) | secrets.randbits(130)
    return f"{prefix}-{''.join([_PAIRS[(number >> shift) & 1023] for shift in range(170, -1, -10)])}"
