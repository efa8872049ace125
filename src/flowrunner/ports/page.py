"""Pages of lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The part of a list that a caller asks for.

    Attributes:
        cursor: The position that the page begins after, from the page before; "" is the beginning. None if the page
            begins after ``offset`` entries instead.
        counts: The caller asks for the total.
        is_reversed: The order of the list is reversed, where that is possible.
    """

    limit: int
    offset: int = 0
    cursor: str | None = None
    counts: bool = True
    is_reversed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Generic[T]):
    """A page of a list.

    Attributes:
        total: The number of all entries; None if it was not asked for.
        is_exact: There are no more entries than ``total``.
        next_cursor: The position of the next page; None on the last one. A page may be short and have one.
    """

    items: Sequence[T]
    total: int | None = None
    is_exact: bool = True
    next_cursor: str | None = None
