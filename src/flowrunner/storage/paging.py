"""Pages of lists, with the total."""

from collections.abc import Mapping
from typing import Any, Final

from flowrunner.ports.page import Page
from flowrunner.storage.transaction import Row, Sql, Transaction, one_row

# Sorts after every id.
AFTER_ALL: Final = "~"


async def page_and_total(
    tx: Transaction, page: Page, rows: Sql, count: Sql, values: Mapping[str, Any]
) -> tuple[list[Row], int]:
    """Return the rows of a page and the total, from one snapshot; the total is 0 if it was not asked for.

    Args:
        values: The parameters of the statements, besides `:limit` and `:offset`.
    """
    async with tx.snapshot():
        found = await tx.rows(rows, {**values, "limit": page.limit, "offset": page.offset})
        return found, (await one_row(tx, count, values))[0] if page.counts else 0
