"""The check that a PostgreSQL server is suitable, and durable."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from flowrunner.storage.postgres.connections import CONNECT_SECONDS, POOLED, CannotConnect, UnfitServer, connected

# The first version that ends idle sessions (`idle_session_timeout`).
OLDEST_POSTGRESQL: Final = 14
STATE: Final = """
SELECT current_setting('server_version_num')::int / 10000 AS version,
       current_setting('fsync') AS fsync,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('server_encoding') AS encoding,
       current_setting('default_transaction_read_only') AS read_only,
       current_setting('search_path') AS search_path,
       current_setting('statement_timeout')::interval AS statement_timeout,
       current_schema() IS NOT NULL AS has_schema,
       pg_is_in_recovery() AS is_replica
"""
# Besides those that read: one to write, one for the role as the active server, one for notifications, and one that
# checks the settings every minute.
OTHER_CONNECTIONS: Final = 4
# The limits of the role and the database do not bind superusers. PostgreSQL 16 can reserve connections for some roles.
MOST_CONNECTIONS: Final = """
SELECT least(
    CASE WHEN NOT rolsuper THEN nullif(rolconnlimit, -1) END,
    CASE WHEN NOT rolsuper THEN nullif(datconnlimit, -1) END,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0)
)
  FROM pg_roles, pg_database
 WHERE rolname = session_user AND datname = current_database()
"""


async def check_server(url: str, *, readers: int | None = None) -> list[str]:
    """Check that the server is suitable and return warnings.

    Args:
        readers: The maximum number of connections for reading of a server that starts; None for other commands, for
            which one or two connections are enough.

    Raises:
        CannotConnect: If it cannot be reached.
        UnfitServer: If it is not suitable; the message says why and what to do.
    """
    async with connected(url, statement_seconds=CONNECT_SECONDS) as connection:
        state = await connection.fetchrow(STATE)
        most_connections = await connection.fetchval(MOST_CONNECTIONS)
    _check_use(state)
    _check_durability(state)
    if readers is not None and most_connections <= OTHER_CONNECTIONS:
        raise UnfitServer(
            f"The role may have only {most_connections} connections, and a server needs {OTHER_CONNECTIONS + 1}: "
            "ALTER ROLE … CONNECTION LIMIT -1, or raise the limit of the database or max_connections"
        )
    return list(_warnings(state, readers, most_connections))


def _check_use(state: Mapping[str, Any]) -> None:
    """Raise UnfitServer, or CannotConnect, if this program cannot use the database as it is."""
    if state["version"] < OLDEST_POSTGRESQL:
        raise UnfitServer(f"PostgreSQL {state['version']} is too old: this needs {OLDEST_POSTGRESQL} or later")
    if state["statement_timeout"].total_seconds() != CONNECT_SECONDS:
        raise UnfitServer(f"The database does not keep the settings of a session. {POOLED}")
    if state["is_replica"]:
        raise UnfitServer("The database is a read-only replica: connect to the primary")
    if state["encoding"] != "UTF8":
        raise UnfitServer(f"The database has the encoding {state['encoding']}: make one with ENCODING 'UTF8'")
    if not state["has_schema"]:
        raise UnfitServer(
            f"The database has no schema of the search path ({state['search_path']}) that this role may use: create "
            "it, or set another path: ALTER ROLE … SET search_path = public"
        )
    if state["read_only"] == "on":
        # Not for good: some providers set it while a disk is nearly full.
        raise CannotConnect(
            "The database accepts no writes (default_transaction_read_only=on): make room if its disk is full, "
            "or switch it off for this role: ALTER ROLE … SET default_transaction_read_only = off"
        )


def _check_durability(state: Mapping[str, Any]) -> None:
    """Raise UnfitServer if the database could lose what it has accepted."""
    if state["fsync"] == "off":
        raise UnfitServer("The database server has fsync=off: a power failure would damage it. Switch it on")
    if state["synchronous_commit"] == "off":
        raise UnfitServer(
            "The database has synchronous_commit=off: it would lose what was accepted. "
            "Set it to 'on' for this role: ALTER ROLE … SET synchronous_commit = on"
        )


def _warnings(state: Mapping[str, Any], readers: int | None, most_connections: int) -> Iterator[str]:
    if state["full_page_writes"] == "off":
        yield "full_page_writes=off: only a file system that never writes half a page, such as ZFS, makes up for it"
    if readers is not None and most_connections < readers + OTHER_CONNECTIONS:
        yield (
            f"The role may have {most_connections} connections, and this server uses up to "
            f"{readers + OTHER_CONNECTIONS}: without one, requests fail. Raise the limit, or set "
            f"FLOWRUNNER_DATABASE_READERS to {most_connections - OTHER_CONNECTIONS} or less"
        )
