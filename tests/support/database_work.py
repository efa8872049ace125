"""The work that a database does for statements, counted by itself: wall time says little on a busy machine."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from flowrunner.storage.database import Database
from flowrunner.storage.postgres.transaction import PostgresTransaction, storable, translated
from flowrunner.storage.sqlite.transaction import SqliteTransaction
from flowrunner.storage.transaction import NO_VALUES, Row, Sql, Transaction, Values
from support.databases import Place, change

T = TypeVar("T")

# SQLite reports its progress after so many instructions.
_INSTRUCTIONS = 10


def rows_read(plan: Mapping[str, Any]) -> int:
    """Return the rows that the parts of a plan that read tables have returned and rejected."""
    own = 0
    if "Relation Name" in plan:
        rejected = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        own = round((plan["Actual Rows"] + rejected) * plan["Actual Loops"])
    return own + sum(map(rows_read, plan.get("Plans", ())))


def gather_statistics(place: Place) -> None:
    """Let PostgreSQL know how many rows there are, as autovacuum does; SQLite plans without such numbers."""
    if isinstance(place, str):
        change(place, "ANALYZE")


class WritesCounted:
    """A database that counts the work of its writes.

    Attributes:
        work: Of each write transaction: the instructions of SQLite, or the rows that PostgreSQL has read.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.work: list[int] = []

    async def write(self, function: Callable[[Transaction], Awaitable[T]], **more: Any) -> T:
        async def counted(tx: Transaction) -> T:
            counting = _Counting(tx)
            result = await function(cast("Transaction", counting))
            self.work.append(counting.done)
            return result

        return await self._database.write(counted, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


class _Counting:
    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self.done = 0

    async def run(self, statement: Sql, values: Values = NO_VALUES) -> int:
        return await self._counted(statement, values, self._tx.run(statement, values))

    async def row(self, statement: Sql, values: Values = NO_VALUES) -> Row | None:
        return await self._counted(statement, values, self._tx.row(statement, values))

    async def rows(self, statement: Sql, values: Values = NO_VALUES) -> list[Row]:
        return await self._counted(statement, values, self._tx.rows(statement, values))

    async def run_many(self, statement: Any, values: Sequence[Values]) -> int:
        names = translated(statement)[1]
        columns = {name: [cast("Mapping[str, Any]", each)[name] for each in values] for name in names}
        return await self._counted(statement, columns, self._tx.run_many(statement, values))

    async def _counted(self, statement: Sql, values: Values, run: Awaitable[T]) -> T:
        match self._tx:
            case SqliteTransaction(connection=connection):
                connection.set_progress_handler(self._progress, _INSTRUCTIONS)
                try:
                    return await run
                finally:
                    connection.set_progress_handler(None, 0)
            case PostgresTransaction(connection=connection):
                text, names = translated(statement)
                given = [storable(cast("Mapping[str, Any]", values)[name]) for name in names]
                # What this changes is rolled back.
                await connection.execute("SAVEPOINT counted")
                (explained,) = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", *given))
                await connection.execute("ROLLBACK TO counted; RELEASE counted")
                self.done += rows_read(explained["Plan"])
        return await run

    def _progress(self) -> None:
        self.done += _INSTRUCTIONS
