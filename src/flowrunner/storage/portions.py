"""Deletion of some of the rows that a statement finds."""

import json
from collections.abc import Mapping
from typing import Any

from flowrunner.storage.database import Database
from flowrunner.storage.transaction import Statement


async def delete_some(
    database: Database, find: str, delete: Statement, values: Mapping[str, Any], *, limit: int
) -> int:
    """Delete at most ``limit`` rows and return their number. Other writes do not wait while they are looked for.

    Args:
        find: Returns the keys of at most `:limit` rows, which nothing changes meanwhile.
        delete: Deletes the rows with the keys in `:ids`.
    """
    rows = await database.read_long(lambda tx: tx.rows(find, {**values, "limit": limit}))
    if rows:
        ids = json.dumps([key for (key,) in rows])
        await database.write(lambda tx: tx.run(delete, {"ids": ids}))
    return len(rows)
