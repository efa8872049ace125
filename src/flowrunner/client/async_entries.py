"""The entries of lists, as the asynchronous client reads them."""

from collections.abc import AsyncIterator
from typing import Generic, TypeVar

from flowrunner.client.calls import PAGE_SIZE, Listing, Page, Performer, first_page, following_page
from flowrunner.client.model import Model
from flowrunner.client.requests import Query, QueryValue

M = TypeVar("M", bound=Model)


class AsyncEntries(Generic[M]):
    """The entries of a list: iterate over all of them, or ask for a page."""

    def __init__(self, performer: Performer, listing: Listing[M]) -> None:
        self._performer = performer
        self._listing = listing

    async def page(self, limit: int = PAGE_SIZE, **paging: QueryValue) -> Page[M]:
        """Return one page: the first, or that of `cursor` or `offset`; with `count=True` also the `total`."""
        page: Page[M] = await self._performer.perform(self._listing.page({"limit": limit, **paging}))
        return page

    async def __aiter__(self) -> AsyncIterator[M]:
        asked: Query | None = first_page(self._listing.path, PAGE_SIZE)
        while asked is not None:
            page: Page[M] = await self._performer.perform(self._listing.page(asked))
            for entry in page.entries:
                yield entry
            asked = None if page.next is None else following_page(asked, page.next)
