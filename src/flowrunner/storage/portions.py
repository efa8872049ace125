"""Deletion of some of the rows that a statement finds."""

import json
from collections.abc import Mapping
from typing import Any

from flowrunner.storage.database import Database
from flowrunner.storage.transaction import Sql, Statement


async def delete_some(
    database: Database, find: Sql, delete: Statement, values: Mapping[str, Any], *, limit: int
) -> int:
    """Delete, or change, at most ``limit`` rows and return their number. They are looked for while others write.

    Args:
        find: Returns the keys of at most `:limit` rows, which stay what they are.
        delete: Deletes the rows with the keys in `:ids`.
        values: The parameters of both.
    """
    rows = await database.read_long(lambda tx: tx.rows(find, {**values, "limit": limit}))
    if rows:
        ids = json.dumps([key for (key,) in rows])
        await database.write(lambda tx: tx.run(delete, {**values, "ids": ids}))
    return len(rows)
