"""Size of the database, and the processes on it."""

from typing import Final

from flowrunner.ports.system import DatabaseFacts
from flowrunner.storage.database import Database
from flowrunner.storage.keys import HOLDERS
from flowrunner.storage.transaction import Statement, Transaction, one_row

# Neither reads the data: SQLite has the number of pages in the header, PostgreSQL asks the file system.
SIZE: Final = Statement(
    sqlite="SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    postgres="SELECT pg_database_size(current_database())",
)


class SqlInspector:
    """Implements `ports.DatabaseInspector`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def facts(self) -> DatabaseFacts:
        async def read(tx: Transaction) -> DatabaseFacts:
            return DatabaseFacts(size=(await one_row(tx, SIZE))[0], listeners=len(await tx.rows(HOLDERS)))

        return await self._database.read(read)
