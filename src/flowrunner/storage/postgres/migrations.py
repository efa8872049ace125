"""Migrations of a PostgreSQL database to the schema that this program expects."""

import asyncio
import io
from dataclasses import replace
from typing import Any, Final

import asyncpg

from flowrunner.storage.migrations import COMPATIBLE_WITH, Schema, UnusableDatabase, alembic_config
from flowrunner.storage.postgres.connections import CONNECT_SECONDS, connected, is_database_failure, with_advice

# Held until the transaction ends: of two processes that migrate, the second waits and then has nothing to do.
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('flowrunner migration'), hashtext(current_schema()))"
EXISTS: Final = "SELECT to_regclass('alembic_version') IS NOT NULL"
REVISION: Final = "SELECT version_num FROM alembic_version"
# Processes of the previous version keep working during a migration. A migration that waits for a table lock blocks all
# later transactions on that table, so it gives up soon; the process that starts retries it.
LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '5s'"
# Changing a large table can take long.
_MIGRATION_SECONDS: Final = 3600.0


async def migrate_postgres(url: str) -> None:
    """Migrate the database, which may be empty, to the newest schema in one transaction.

    Raises:
        UnknownSchema: If no migration leads from its schema to the newest one.
        CannotConnect: If it cannot be reached.
        UnusableDatabase: If the schema cannot be read, or the database cannot be changed.
    """
    if (await schema_of_postgres(url)).is_usable:
        return
    async with connected(url, statement_seconds=_MIGRATION_SECONDS) as connection:
        try:
            async with connection.transaction():
                await connection.execute(LOCK)
                current = await _schema(connection)
                if not current.is_usable:
                    await connection.execute(LOCK_TIMEOUT)
                    await connection.execute(await asyncio.to_thread(script, current))
        except asyncpg.PostgresError as error:
            if is_database_failure(error):
                raise
            raise UnusableDatabase(
                f"The database cannot be migrated to the newest schema: {with_advice(error)}"
            ) from error


async def schema_of_postgres(url: str) -> Schema:
    """Return the schema that the database has. Raises: CannotConnect, UnusableDatabase."""
    async with connected(url, statement_seconds=CONNECT_SECONDS) as connection:
        try:
            return await _schema(connection)
        except asyncpg.PostgresError as error:
            if is_database_failure(error):
                raise
            raise UnusableDatabase(f"The database cannot be read: {with_advice(error)}") from error


async def _schema(connection: Any) -> Schema:
    if not await connection.fetchval(EXISTS):
        return Schema(None)
    schema = Schema(await connection.fetchval(REVISION))
    if schema.is_newer:
        return replace(schema, compatible_with=await connection.fetchval(COMPATIBLE_WITH))
    return schema


def script(current: Schema) -> str:
    """Return the statements that migrate from the current schema to the newest one. Raises: UnknownSchema."""
    current.check_can_migrate("The database")
    from alembic import command

    config = alembic_config()
    config.output_buffer = io.StringIO()
    command.upgrade(config, f"{current.revision or 'base'}:head", sql=True)
    script: str = config.output_buffer.getvalue()
    return script
