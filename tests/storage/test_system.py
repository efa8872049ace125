"""Facts that only the database knows."""

from flowrunner.storage.database import Database
from flowrunner.storage.system import SqlInspector


async def test_the_size_is_that_of_a_schema_at_least_and_nobody_listens(database: Database) -> None:
    facts = await SqlInspector(database).facts()

    assert facts.size > 100_000
    assert facts.listeners == 0
