"""Pages of lists."""

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from flowrunner.domain.errors import InvalidInput, invalid
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.whole_numbers import natural_number_of

T = TypeVar("T")


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The part of a list that a caller asks for.

    Attributes:
        cursor: The position after which the page begins, from the previous page; "" is the beginning. None if the page
            begins after ``offset`` entries instead.
        counts: The caller asks for the total.
        is_reversed: The order of the list is reversed, where that is possible.
    """

    limit: int
    offset: int = 0
    cursor: str | None = None
    counts: bool = True
    is_reversed: bool = False

    def with_one_more(self) -> "Page":
        """Return the page with one more entry, by which the store sees whether there is another page."""
        # `replace` takes three times as long.
        return Page(
            limit=self.limit + 1,
            offset=self.offset,
            cursor=self.cursor,
            counts=self.counts,
            is_reversed=self.is_reversed,
        )

    @property
    def after(self) -> str:
        """Return the text after which the entries of the page sort."""
        return self.cursor or ""

    def after_id(self, kind: str) -> str:
        """Return the id after which the entries of the page are; "" at the beginning.

        Args:
            kind: The kind of the ids, such as `token`.

        Raises: InvalidInput for another cursor.
        """
        if self.after and not self.after.startswith(f"{kind}-"):
            raise _not_a_cursor()
        return self.after

    @property
    def before(self) -> int:
        """Return the number below which the entries of the page are. Raises: InvalidInput for another cursor."""
        return number_of(self.after) if self.after else _ABOVE_ALL

    @property
    def pair(self) -> tuple[str, str]:
        """Return the two parts of a position `one:other`; both are empty at the beginning."""
        first, _, second = self.after.partition(":")
        return first, second

    @property
    def before_pair(self) -> tuple[int, str]:
        """Return the number and the text below which the entries of the page are. Raises: InvalidInput."""
        first, second = self.pair
        return (number_of(first), second) if self.after else (_ABOVE_ALL, "")


# Above every number of an entry, and with more digits than any.
_ABOVE_ALL: Final = 2**62


def number_of(cursor: str) -> int:
    """Raises: InvalidInput."""
    number = natural_number_of(cursor)
    if number is None:
        raise _not_a_cursor()
    return number


def _not_a_cursor() -> InvalidInput:
    return invalid("cursor", "must be the `next_cursor` of an earlier page")


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Generic[T]):
    """A page of a list.

    Attributes:
        total: The number of all entries; None if the caller did not ask for it.
        is_exact: There are no more entries than ``total``.
        next_cursor: The position of the next page; None on the last one. A short page may have one, too.
    """

    items: Sequence[T]
    total: int | None = None
    is_exact: bool = True
    next_cursor: str | None = None
