"""Brings a PostgreSQL database to the schema this program expects."""

import asyncio
import io
from typing import Any, Final

import asyncpg

from flowrunner.storage.migrations import HEAD, SchemaTooNew, UnusableDatabase, alembic_config
from flowrunner.storage.postgres.connections import CONNECT_SECONDS, connected, is_trouble, with_advice

# Held to the end of the transaction, so that of two who migrate one waits and then has nothing to do.
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('flowrunner migration'), hashtext(current_schema()))"
EXISTS: Final = "SELECT to_regclass('alembic_version') IS NOT NULL"
REVISION: Final = "SELECT version_num FROM alembic_version"
# A large table takes its time.
_MIGRATION_SECONDS: Final = 3600.0


async def migrate_postgres(url: str) -> None:
    """Bring the database to the newest schema, from an empty one on, in one transaction.

    Raises:
        SchemaTooNew: If it was written by a later version.
        CannotConnect.
        UnusableDatabase: If it cannot be asked which schema it has, or changed.
    """
    if await revision_of_postgres(url) == HEAD:
        return
    async with connected(url, statement_seconds=_MIGRATION_SECONDS) as connection:
        try:
            async with connection.transaction():
                await connection.execute(LOCK)
                current = await _revision(connection)
                if current != HEAD:
                    await connection.execute(await asyncio.to_thread(script, current))
        except asyncpg.PostgresError as error:
            if is_trouble(error):
                raise
            raise UnusableDatabase(
                f"The database cannot be brought to the newest schema: {with_advice(error)}"
            ) from error


async def revision_of_postgres(url: str) -> str | None:
    """The schema that the database has; None if it has none yet. Raises: CannotConnect, UnusableDatabase."""
    async with connected(url, statement_seconds=CONNECT_SECONDS) as connection:
        try:
            return await _revision(connection)
        except asyncpg.PostgresError as error:
            if is_trouble(error):
                raise
            raise UnusableDatabase(f"The database cannot be read: {with_advice(error)}") from error


async def _revision(connection: Any) -> str | None:
    if not await connection.fetchval(EXISTS):
        return None
    revision: str | None = await connection.fetchval(REVISION)
    return revision


def script(current: str | None) -> str:
    """The statements that lead from the present schema to the newest one."""
    from alembic import command
    from alembic.util import CommandError

    config = alembic_config()
    config.output_buffer = io.StringIO()
    try:
        command.upgrade(config, f"{current or 'base'}:head", sql=True)
    except CommandError as error:
        raise SchemaTooNew(
            f"The database has the schema '{current}', which this version does not know: "
            "start the version of FlowRunner that wrote it, or a newer one"
        ) from error
    script: str = config.output_buffer.getvalue()
    return script
