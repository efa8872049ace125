"""Identifiers that carry a prefix for their kind, sort by creation time and have 130 random bits."""

import os
from datetime import UTC, datetime, timedelta
from typing import Final

_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DIGITS_OF_TIME: Final = 10
_SHIFTS: Final = range((_DIGITS_OF_TIME - 1) * 5, -1, -5)
_RANDOM_DIGITS: Final = 26
# A digit for each value of a byte: 8 values have the same one.
_DIGIT_OF_BYTE: Final = (_DIGITS * 8).encode()
# Drawing releases the interpreter lock, and many ids need it only once.
_DRAWN_TOGETHER: Final = 64

_drawn: list[str] = []
# Two processes must not use the same.
os.register_at_fork(after_in_child=_drawn.clear)


def new_id(prefix: str, at: datetime) -> str:
    """Return an id such as `flow-01jdhq6v3k8n3w…`: ten digits of time and 26 random ones."""
    return first_id(prefix, at) + random_digits()


def first_id(prefix: str, at: datetime) -> str:
    """Return the beginning of the ids that are made at a moment. It sorts after all earlier ids."""
    number = (at - _EPOCH) // _MILLISECOND
    return f"{prefix}-{''.join([_DIGITS[(number >> shift) & 31] for shift in _SHIFTS])}"


def time_of(id: str) -> datetime:
    """Return when an id was made, in milliseconds."""
    digits = id.rpartition("-")[2][:_DIGITS_OF_TIME]
    # Digits of base 32, of which Python reads others.
    number = 0
    for digit in digits:
        number = number << 5 | _DIGITS.index(digit)
    return _EPOCH + number * _MILLISECOND


def random_digits() -> str:
    """Return 26 digits of base 32, which nobody can guess."""
    try:
        # `pop` takes each of them once, whichever threads make ids.
        return _drawn.pop()
    except IndexError:
        pass
    digits = os.urandom(_RANDOM_DIGITS * _DRAWN_TOGETHER).translate(_DIGIT_OF_BYTE).decode()
    first, *others = (digits[at : at + _RANDOM_DIGITS] for at in range(0, len(digits), _RANDOM_DIGITS))
    _drawn.extend(others)
    return first
