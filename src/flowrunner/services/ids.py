"""Identifiers that carry a prefix for their kind, sort by creation time and have 130 random bits."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Final

_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
_PAIRS: Final = tuple(a + b for a in _DIGITS for b in _DIGITS)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DIGITS_OF_TIME: Final = 10


def new_id(prefix: str, at: datetime) -> str:
    """Return an id such as `flow-01jdhq6v3k8n3w…`: ten digits of time and 26 random ones."""
    return _written(prefix, at, secrets.randbits(130))


def first_id(prefix: str, at: datetime) -> str:
    """Return the beginning of the ids that are made at a moment. It sorts after all earlier ids."""
    return _written(prefix, at, 0)[: len(prefix) + 1 + _DIGITS_OF_TIME]


def time_of(id: str) -> datetime:
    """Return when an id was made, in milliseconds."""
    digits = id.rpartition("-")[2][:_DIGITS_OF_TIME]
    # Digits of base 32, of which Python reads others.
    number = 0
    for digit in digits:
        number = number << 5 | _DIGITS.index(digit)
    return _EPOCH + number * _MILLISECOND


def _written(prefix: str, at: datetime, rest: int) -> str:
    number = ((at - _EPOCH) // _MILLISECOND << 130) | rest
    return f"{prefix}-{''.join([_PAIRS[(number >> shift) & 1023] for shift in range(170, -1, -10)])}"
