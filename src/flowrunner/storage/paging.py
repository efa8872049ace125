"""Pages of lists, with the total."""

from typing import Any

from flowrunner.storage.transaction import Row, Sql, Transaction, one_row


async def page_and_total(tx: Transaction, page: Sql, count: Sql, values: dict[str, Any]) -> tuple[list[Row], int]:
    """Return the rows of a page and the total, from one snapshot."""
    async with tx.snapshot():
        return await tx.rows(page, values), (await one_row(tx, count, values))[0]
