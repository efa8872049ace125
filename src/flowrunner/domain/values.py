"""The types that every layer shares: identifiers and JSON."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NewType, TypeAlias, Union

AccountId = NewType("AccountId", str)
WorkspaceId = NewType("WorkspaceId", str)
FlowId = NewType("FlowId", str)
RevisionId = NewType("RevisionId", str)
ExecutionId = NewType("ExecutionId", str)
SessionId = NewType("SessionId", str)
TokenId = NewType("TokenId", str)

if TYPE_CHECKING:
    # Read-only on purpose: a value that flows through an execution is never changed in place.
    JSON: TypeAlias = Union[None, bool, int, float, str, "Sequence[JSON]", "Mapping[str, JSON]"]
else:
    # Codecs that read type hints at run time cannot follow the recursion.
    JSON = Any

# It takes about as long to visit an element as to copy some characters.
_ELEMENT: Final = 4

# What Python takes for a value: a text and a number besides its characters, a list, an object with members, and the
# place of a value in either.
_SCALAR_BYTES: Final = 48
_LIST_BYTES: Final = 72
_OBJECT_BYTES: Final = 192
_PLACE_BYTES: Final = 8
_MEMBER_BYTES: Final = 40


def memory_of(value: JSON) -> int:
    """Return about how many bytes of memory a value takes, which may be thirty times what it takes as JSON.

    Keys of objects are shared by most of those that have them, and are not counted.
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
    """Return about how many bytes of memory the value of a JSON text takes, without decoding it; a little too many."""
    if isinstance(text, bytes):
        lists, objects, commas = text.count(b"["), text.count(b"{"), text.count(b",")
    else:
        lists, objects, commas = text.count("["), text.count("{"), text.count(",")
    return len(text) + 72 * lists + 192 * objects + 40 * commas


def left_after(value: JSON, left: int) -> int:
    """Return what is left of a size after a value: its characters, and four for each value in it.

    Negative if the value is larger, in which case no more of it is visited than fits.
    """
    # Only what holds values is put off until later: most of a value are scalars.
    todo: list[Any] = [(value,)]
    while todo and left >= 0:
        item = todo.pop()
        left -= len(item) * _ELEMENT
        if left < 0:
            # It may be so long that listing it takes a while.
            return -1
        if type(item) is dict:
            left -= sum(map(len, item))
            item = item.values()
        for child in item:
            # Asking for the type itself is the quickest way to see what it is.
            kind = type(child)
            if kind is str:
                left -= len(child)
            elif child and (kind is list or kind is dict or kind is tuple):
                todo.append(child)
    return left


def personal_workspace(account_id: AccountId) -> WorkspaceId:
    """Return the workspace that belongs to an account alone. It has the id of the account."""
    return WorkspaceId(account_id)


# Consecutive lists mostly contain the same times.
@lru_cache(maxsize=4096)
def rfc3339(at: datetime) -> str:
    """Format a time in UTC with milliseconds: `2027-01-31T13:00:00.000Z`."""
    return at.isoformat(timespec="milliseconds")[:-6] + "Z"
