"""The types that every layer shares: identifiers and JSON."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NewType, TypeAlias, Union

AccountId = NewType("AccountId", str)
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
