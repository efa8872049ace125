"""Lists in pages, by offset or by cursor."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
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
    # One more than is shown tells whether there is another page.
    found, total = await read(replace(page, limit=page.limit + 1))
    shown = found[: page.limit]
    cursor = str(position(shown[-1])) if len(found) > page.limit else None
    listed = Listed(items=shown, total=total if page.counts else None, next_cursor=cursor)
    empty = kind([], **part_of(page, listed))
    return listing(empty, [item(one) for one in shown], link_to_next(request, cursor))
