"""Brings a PostgreSQL database to the schema this program expects."""

import asyncio
import io
from dataclasses import replace
from typing import Any, Final

import asyncpg

from flowrunner.storage.migrations import COMPATIBLE_WITH, Schema, UnusableDatabase, alembic_config
from flowrunner.storage.postgres.connections import CONNECT_SECONDS, connected, is_trouble, with_advice

# Held to the end of the transaction, so that of two who migrate one waits and then has nothing to do.
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('flowrunner migration'), hashtext(current_schema()))"
EXISTS: Final = "SELECT to_regclass('alembic_version') IS NOT NULL"
REVISION: Final = "SELECT version_num FROM alembic_version"
# Older processes go on beside a migration. One that waits for their transactions holds up all that come after: it gives
# up soon, and whoever starts tries again.
LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '5s'"
# A large table takes its time.
_MIGRATION_SECONDS: Final = 3600.0


async def migrate_postgres(url: str) -> None:
    """Bring the database to the newest schema, from an empty one on, in one transaction.

    Raises:
        SchemaTooNew: If it was written by a later version.
        CannotConnect.
        UnusableDatabase: If it cannot be asked which schema it has, or changed.
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
            if is_trouble(error):
                raise
            raise UnusableDatabase(
                f"The database cannot be brought to the newest schema: {with_advice(error)}"
            ) from error


async def schema_of_postgres(url: str) -> Schema:
    """Return the schema that the database has. Raises: CannotConnect, UnusableDatabase."""
    async with connected(url, statement_seconds=CONNECT_SECONDS) as connection:
        try:
            return await _schema(connection)
        except asyncpg.PostgresError as error:
            if is_trouble(error):
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
    """Return the statements that lead from the present schema to the newest one. Raises: SchemaTooNew."""
    if current.is_newer:
        raise current.too_new("The database")
    from alembic import command

    config = alembic_config()
    config.output_buffer = io.StringIO()
    command.upgrade(config, f"{current.revision or 'base'}:head", sql=True)
    script: str = config.output_buffer.getvalue()
    return script
