"""Rows beyond the newest ones of their trigger or callback, found for their deletion in portions."""

from collections.abc import Mapping
from typing import Any, Final

from flowrunner.storage.transaction import Sql, Transaction

# Holders whose rows are looked at in one read.
HOLDERS_AT_ONCE: Final = 100


async def find_surplus(
    tx: Transaction, holders: Sql, earlier: Sql, values: Mapping[str, Any], *, after: str, limit: int
) -> tuple[list[str], str | None]:
    """Return the ids of at most ``limit`` rows, and the holder after which to go on once they are deleted, or None.

    Args:
        holders: Returns the next `:holders` ids after `:after`, each with the time before which there are too many
            rows; null if there are not.
        earlier: Returns the first `:limit` ids of the rows of `:holder` from before `:before`.
        values: Further parameters of ``holders``.
    """
    found: list[str] = []
    done = after
    rows = await tx.rows(holders, {**values, "after": after, "holders": HOLDERS_AT_ONCE})
    for holder, before in rows:
        if before is not None:
            wanted = {"holder": holder, "before": before, "limit": limit - len(found)}
            found += [id for (id,) in await tx.rows(earlier, wanted)]
            if len(found) == limit:
                # This holder may have more.
                return found, done
        done = holder
    return found, done if len(rows) == HOLDERS_AT_ONCE else None
