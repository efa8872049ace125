"""Lists in pages, with their total."""

import sqlite3
from typing import Any


def page_and_total(
    connection: sqlite3.Connection, page: str, count: str, values: dict[str, Any]
) -> tuple[list[Any], int]:
    """The rows and the total, of one moment."""
    connection.execute("BEGIN")
    try:
        return connection.execute(page, values).fetchall(), connection.execute(count, values).fetchone()[0]
    finally:
        connection.execute("COMMIT")
