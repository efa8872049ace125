"""Types shared by all layers: identifiers and JSON."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NewType, TypeAlias, Union

AccountId = NewType("AccountId", str)
WorkspaceId = NewType("WorkspaceId", str)
FlowId = NewType("FlowId", str)
RevisionId = NewType("RevisionId", str)
ExecutionId = NewType("ExecutionId", str)
SessionId = NewType("SessionId", str)
FactorId = NewType("FactorId", str)
TokenId = NewType("TokenId", str)
JobId = NewType("JobId", str)
InvitationId = NewType("InvitationId", str)

if TYPE_CHECKING:
    # Read-only on purpose: a value of an execution is never changed in place.
    JSON: TypeAlias = Union[None, bool, int, float, str, "Sequence[JSON]", "Mapping[str, JSON]"]
else:
    # Codecs that read type hints at run time cannot follow the recursion.
    JSON = Any

# Characters that an element counts as: visiting one takes about as long as copying them.
_ELEMENT: Final = 4

# Answers of servers may have whole numbers of 4,300 digits. From here on their length counts.
_LONG_NUMBER: Final = 2**63
_BITS_OF_DIGIT: Final = 3

# Bytes that Python takes for a text or number besides its characters, for a list, for an object, for an element of a
# list, and for a member of an object.
_SCALAR_BYTES: Final = 48
_LIST_BYTES: Final = 72
_OBJECT_BYTES: Final = 192
_PLACE_BYTES: Final = 8
_MEMBER_BYTES: Final = 40


def memory_of(value: JSON) -> int:
    """Return about how many bytes of memory a value takes, which may be thirty times its size as JSON.

    Keys are not counted: most objects share them.
    """
    size = 0
    todo: list[Any] = [(value,)]
    while todo:
        item = todo.pop()
        if type(item) is dict:
            size += _OBJECT_BYTES + len(item) * _MEMBER_BYTES
            item = item.values()
        else:
            size += _LIST_BYTES + len(item) * _PLACE_BYTES
        for child in item:
            kind = type(child)
            if kind is str:
                size += _SCALAR_BYTES + (len(child) if child.isascii() else 4 * len(child))
            elif kind is list or kind is dict or kind is tuple:
                if child:
                    todo.append(child)
                else:
                    size += _LIST_BYTES
            elif kind is int or kind is float:
                size += _SCALAR_BYTES
    return size


def memory_of_json(text: str | bytes) -> int:
    """Return about how many bytes of memory the value of a JSON text takes, without decoding it.

    It is mostly more than it takes; an object with very many short keys takes up to twice as much.
    """
    if isinstance(text, bytes):
        lists, objects, commas = text.count(b"["), text.count(b"{"), text.count(b",")
    else:
        lists, objects, commas = text.count("["), text.count("{"), text.count(",")
    return len(text) + _LIST_BYTES * lists + _OBJECT_BYTES * objects + _MEMBER_BYTES * commas


# Decoders give up at ten thousand levels, some at a thousand, and events and exports add levels of their own.
MOST_LEVELS: Final = 500


class NestedTooDeep(ValueError):
    """A value has more than `MOST_LEVELS` levels of lists and objects."""


# Of a key that a flow computes (`dedupe`, `limits.concurrency`), as `left_after` counts it: the canonical form of a
# longer one would hold up the event loop.
MOST_KEY_CHARACTERS: Final = 16 * 1024


def left_after(value: JSON, left: int, *, bounds_levels: bool = False) -> int:
    """Return what is left of a size after subtracting a value: its characters, and four for each value in it.

    A text by itself is only its characters. The digits of long whole numbers are characters, too. The result is
    negative if the value is larger; no more of it is visited than fits.

    Raises:
        NestedTooDeep: If the value fits, has too many levels, and the caller asks for it.
    """
    kind: type = type(value)
    if kind is str:
        return left - len(value)  # type: ignore[arg-type] # it is a str
    if kind is int and not -_LONG_NUMBER < value < _LONG_NUMBER:  # type: ignore[operator] # it is an int
        return left - _ELEMENT - value.bit_length() // _BITS_OF_DIGIT  # type: ignore[union-attr] # it is an int
    if kind is int or kind is float or kind is bool or value is None:
        return left - _ELEMENT
    # Only containers are put on the list, one level after the other: most values are scalars.
    level: list[Any] = [(value,)]
    levels = 0
    while level:
        below: list[Any] = []
        for item in level:
            left -= len(item) * _ELEMENT
            if left < 0:
                # Return before iterating: the container may be very long.
                return -1
            children = item
            if type(item) is dict:
                left -= sum(map(len, item))
                children = item.values()
            for child in children:
                # Comparing the type itself is faster than isinstance.
                kind = type(child)
                if kind is str:
                    left -= len(child)
                elif kind is int:
                    if not -_LONG_NUMBER < child < _LONG_NUMBER:
                        left -= child.bit_length() // _BITS_OF_DIGIT
                elif child and (kind is list or kind is dict or kind is tuple):
                    below.append(child)
        level = below
        levels += 1
    # The first level is only around the value.
    if bounds_levels and left >= 0 and levels - 1 > MOST_LEVELS:
        raise NestedTooDeep
    return left


def personal_workspace(account_id: AccountId) -> WorkspaceId:
    """Return the personal workspace of an account, which has the account's id."""
    return WorkspaceId(account_id)


# Consecutive lists mostly contain the same times.
@lru_cache(maxsize=4096)
def rfc3339(at: datetime) -> str:
    """Format a time in UTC with milliseconds: `2027-01-31T13:00:00.000Z`."""
    return at.isoformat(timespec="milliseconds")[:-6] + "Z"


def rfc3339_or_none(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)


def milliseconds(duration: timedelta) -> int:
    """Return a duration in whole milliseconds, rounded down."""
    return duration // _MILLISECOND


_MILLISECOND: Final = timedelta(milliseconds=1)
