"""Lists in pages, by offset or by cursor."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from fastapi import Request

from flowrunner.api.http.answers import Answer, ListAnswer, Reply, link_to_next, listing, part_of
from flowrunner.ports.page import Listed, Page

L = TypeVar("L", bound=ListAnswer)
T = TypeVar("T")


async def paged(
    request: Request,
    page: Page,
    read: Callable[[Page], Awaitable[tuple[Sequence[T], int]]],
    *,
    kind: Callable[..., L],
    item: Callable[[T], Answer],
    position: Callable[[T], str | int],
) -> Reply[L]:
    """Answer with a page of a list.

    Args:
        read: Returns the entries of a page, and the total.
        kind: The answer with the list.
        position: Returns the position of an entry, which is the cursor of the page after it.
    """
    found, total = await read(page.with_one_more())
    listed = listed_of(page, found, total, position)
    empty = kind([], **part_of(page, listed))
    return listing(empty, [item(one) for one in listed.items], link_to_next(request, listed.next_cursor))


def listed_of(page: Page, found: Sequence[T], total: int, position: Callable[[T], str | int]) -> Listed[T]:
    """Return the page for its entries and one more, which tells whether there is another page."""
    shown = found[: page.limit]
    cursor = str(position(shown[-1])) if len(found) > page.limit else None
    return Listed(items=shown, total=total if page.counts else None, next_cursor=cursor)
