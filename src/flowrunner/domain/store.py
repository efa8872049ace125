"""The store of a workspace: its bounds, and what a change makes of an entry."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from flowrunner.domain.duration import LONGEST_SECONDS
from flowrunner.domain.errors import Fault, FlowRunnerError
from flowrunner.domain.values import JSON

DEFAULT_NAMESPACE: Final = "default"
MAX_KEY_CHARACTERS: Final = 256
MAX_NAMESPACE_CHARACTERS: Final = 128
# As JSON.
MAX_VALUE_BYTES: Final = 64 * 1024
# Of all namespaces together.
MAX_KEYS: Final = 100_000
MOST_LISTED: Final = 1_000
# Beyond it, JavaScript and many readers of JSON round whole numbers.
LARGEST_NUMBER: Final = 2**53 - 1
# No more digits than those of the largest number.
_WHOLE: Final = re.compile(r"(-?[0-9]{1,16})(?:\.0)?")
_LAST_CHARACTER: Final = 0x10FFFF


class NotChanged(FlowRunnerError):
    """A value cannot be incremented, or is not the one that the change expects.

    Attributes:
        type: The dotted error type of the step.
    """

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.type = type


@dataclass(frozen=True, slots=True)
class StoreKey:
    """The place of an entry."""

    namespace: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStep:
    """The change of a step, by which a repetition of it is recognized.

    Attributes:
        digest: Hash of the step's name and of the number of the change in it.
    """

    execution_id: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreChange:
    """A change of one entry.

    Attributes:
        value: The new value as JSON, for `set`.
        amount: For `increment`.
        expected: The value that the entry must have for a `set` or `delete`, as canonical JSON, `null` also if there is
            none; None if any will do.
        ttl_ms: Milliseconds after which the entry expires; None if it does not.
        step: None if it is made once, by nobody who may repeat it.
    """

    operation: Literal["set", "delete", "increment"]
    at: StoreKey
    value: str = ""
    amount: int = 0
    expected: str | None = None
    ttl_ms: int | None = None
    step: StoreStep | None = None


@dataclass(frozen=True, slots=True)
class EntryValue:
    """The value of an entry as JSON, and when it expires."""

    value: str
    expires_at: datetime | None

    def has_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


def changed(
    change: StoreChange, before: EntryValue | None, *, now: datetime, canonical: Callable[[str], str]
) -> tuple[EntryValue | None, Mapping[str, JSON] | int]:
    """Return the entry after a change, None if there is none, and the result of the change.

    Args:
        before: The entry; None if there is none, or it has expired.
        canonical: Returns the text that the JSON of all equal values has.

    Raises: NotChanged.
    """
    if change.expected is not None and change.expected != ("null" if before is None else canonical(before.value)):
        raise NotChanged("store.changed", f"The value at '{change.at.key}' is not the expected one")
    expires_at = None if change.ttl_ms is None else now + timedelta(milliseconds=change.ttl_ms)
    match change.operation:
        case "set":
            return EntryValue(change.value, expires_at), {"created": before is None}
        case "delete":
            return None, {"deleted": before is not None}
        case "increment":
            if before is None:
                return EntryValue(str(change.amount), expires_at), change.amount
            total = _number_of(change.at, before) + change.amount
            if abs(total) > LARGEST_NUMBER:
                message = f"The number at '{change.at.key}' would exceed {LARGEST_NUMBER}"
                raise NotChanged("store.out_of_range", message)
            # A counter of a period counts from its first increment.
            return EntryValue(str(total), before.expires_at), total


def _number_of(at: StoreKey, stored: EntryValue) -> int:
    whole = _WHOLE.fullmatch(stored.value)
    if whole is not None:
        return int(whole[1])
    raise NotChanged("store.not_a_number", f"The value at '{at.key}' is no whole number")


def key_faults(at: StoreKey) -> list[Fault]:
    """Return why there cannot be an entry at a place, at `key` or `namespace`."""
    return [
        Fault(path=path, code="name", message=f"must be 1 to {most} characters, without control characters")
        for path, text, most in (
            ("namespace", at.namespace, MAX_NAMESPACE_CHARACTERS),
            ("key", at.key, MAX_KEY_CHARACTERS),
        )
        if not (text and is_key_text(text, most))
    ]


def is_key_text(text: str, most: int) -> bool:
    """Return whether a key, a namespace or a beginning of one can have this text."""
    return len(text) <= most and not any(
        character < " " or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff" for character in text
    )


def value_faults(size: int) -> list[Fault]:
    """Return why a value of this many bytes of JSON cannot be stored, at `value`."""
    if size <= MAX_VALUE_BYTES:
        return []
    message = f"must have at most {MAX_VALUE_BYTES} bytes of JSON, and has {size}"
    return [Fault(path="value", code="too_long", message=message)]


def ttl_ms_of(seconds: float) -> int:
    """Return the milliseconds, 1 at least, after which an entry expires. Raises: ValueError."""
    if not 0 < seconds <= LONGEST_SECONDS:
        raise ValueError("must be longer than 0s, and ten years at most")
    return max(round(seconds * 1000), 1)


def end_of(prefix: str) -> str | None:
    """Return the first text after all that begin with ``prefix``, by code points; None if there is none.

    >>> end_of("ab")
    'ac'
    """
    for place in reversed(range(len(prefix))):
        point = ord(prefix[place]) + 1
        # No text has surrogates.
        point = 0xE000 if 0xD800 <= point <= 0xDFFF else point
        if point <= _LAST_CHARACTER:
            return prefix[:place] + chr(point)
    return None
