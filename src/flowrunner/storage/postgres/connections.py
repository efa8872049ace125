"""Connections to PostgreSQL: how they are made, and which servers will do."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg

from flowrunner.domain.errors import FlowRunnerError, Unavailable

# Sessions that are left alone for long enough are ended by the server from this version on.
OLDEST_POSTGRESQL: Final = 14
CONNECT_SECONDS: Final = 5.0
# What the client waits beyond the time that the server gives a statement.
_GRACE_SECONDS: Final = 2.0
DURABILITY: Final = """
SELECT current_setting('server_version_num')::int, current_setting('fsync'), current_setting('synchronous_commit'),
       current_setting('full_page_writes'), pg_is_in_recovery(), current_setting('server_encoding')
"""


class UnfitServer(FlowRunnerError):
    """The PostgreSQL server cannot be used, does not let this program in, or does not keep what it says it has."""


class CannotConnect(Unavailable):
    """The PostgreSQL server cannot be reached now; it may be in a moment."""


class Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types
    def get_reset_query(self) -> str:
        # Nothing here changes a session, so there is nothing to reset each time it goes back to the pool.
        return ""


def options(*, statement_seconds: float, **settings: str) -> dict[str, Any]:
    """What every connection is made with; ``settings`` are of the session."""
    return {
        "timeout": CONNECT_SECONDS,
        "command_timeout": statement_seconds + _GRACE_SECONDS,
        "statement_cache_size": 256,
        "max_cached_statement_lifetime": 0,
        "connection_class": Connection,
        "server_settings": {
            "application_name": "flowrunner",
            "statement_timeout": f"{statement_seconds * 1000:.0f}",
            # Compiling pays for long analyses only.
            "jit": "off",
            # A statement keeps the plan that was made for its first uses. While a table is small that is to read all of
            # it, and would be so for thousands of rows more, until the server next counts them.
            "enable_seqscan": "off",
            "random_page_cost": "1.1",
            **settings,
        },
    }


def as_unavailable(error: BaseException) -> BaseException:
    """What an error means to the one who waits: trouble of the database, or else the error itself."""
    return Unavailable("The database cannot be reached at the moment") if is_trouble(error) else error


# What comes of a password that is being changed, or a database that is being put back: trouble for who runs, which ends
# by itself. Who starts should change something.
_NOT_LET_IN: Final = ("28", "3D")
# Connection, transaction rollback, resources, locks, operator, system, internal, and transactions that the
# server has ended or that cannot write; see "PostgreSQL Error Codes" in its manual.
_TROUBLE: Final = ("08", "25", "40", "53", "55", "57", "58", "XX", *_NOT_LET_IN)


def is_trouble(error: BaseException) -> bool:
    """Whether the database is in trouble, rather than the work wrong."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate or "")[:2] in _TROUBLE
    if isinstance(error, asyncpg.InterfaceError):
        # Values that do not fit are told apart before they are sent.
        return not isinstance(error, ValueError)
    return isinstance(error, asyncpg.InternalClientError | OSError | TimeoutError | MemoryError)


# A statement that took too long, that needed too much, that met another one, or what it read is damaged; the server has
# undone it. Whether a transaction was committed that lost its connection (40003, 08), nobody knows.
_FAULTS_OF_A_PART: Final = ("57014", "40001", "40P01", "53100", "53200", "53400", "54", "XX")


def is_fault_of_a_part(error: BaseException) -> bool:
    """Tell whether the same work may succeed in smaller parts, of which nothing was done yet."""
    return isinstance(error, asyncpg.PostgresError) and str(error.sqlstate or "").startswith(_FAULTS_OF_A_PART)


# What helps, by the codes of errors that are met on the way to the first start.
_ADVICE: Final = {
    "3D000": "make it: createdb --encoding UTF8 --owner ROLE NAME",
    "42501": "the role has to own the database and its tables: createdb --owner, or ALTER DATABASE … OWNER TO …",
}


def with_advice(error: Exception) -> str:
    """What the error says, and what to do about it if that is known."""
    said = str(error) or type(error).__name__
    advice = _ADVICE.get(str(getattr(error, "sqlstate", "")))
    return said if advice is None else f"{said}; {advice}"


def as_refusal(error: Exception) -> FlowRunnerError:
    """What an error from connecting means to the one who starts: to wait, or to change something."""
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return UnfitServer(f"The database cannot be used: {with_advice(error)}")
    is_let_in = str(getattr(error, "sqlstate", ""))[:2] not in _NOT_LET_IN
    kind = CannotConnect if is_trouble(error) and is_let_in else UnfitServer
    return kind(f"Cannot connect to the database: {with_advice(error)}")


async def check_server(url: str) -> list[str]:
    """Find out whether the server will do; gives warnings.

    Raises:
        CannotConnect.
        UnfitServer: It will not; the message says why and what to do.
    """
    async with connected(url, statement_seconds=CONNECT_SECONDS) as connection:
        row = await connection.fetchrow(DURABILITY)
    version, fsync, synchronous_commit, full_page_writes, is_replica, encoding = row
    if version // 10000 < OLDEST_POSTGRESQL:
        raise UnfitServer(f"PostgreSQL {version // 10000} is too old: this needs {OLDEST_POSTGRESQL} or later")
    if is_replica:
        raise UnfitServer("The database is a read-only replica: connect to the primary")
    if encoding != "UTF8":
        raise UnfitServer(f"The database has the encoding {encoding}: make one with ENCODING 'UTF8'")
    if fsync == "off":
        raise UnfitServer("The database server has fsync=off: a power failure would damage it. Switch it on")
    if synchronous_commit == "off":
        raise UnfitServer(
            "The database has synchronous_commit=off: it would lose what was accepted. "
            "Set it to 'on' for this role: ALTER ROLE … SET synchronous_commit = on"
        )
    if full_page_writes == "off":
        return ["full_page_writes=off: only a file system that never writes half a page, such as ZFS, makes up for it"]
    return []


@contextlib.asynccontextmanager
async def connected(url: str, *, statement_seconds: float, **settings: str) -> AsyncIterator[Any]:
    """A connection for a moment. Raises: CannotConnect, also where it is lost meanwhile; UnfitServer."""
    try:
        connection = await asyncpg.connect(url, **options(statement_seconds=statement_seconds, **settings))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise as_refusal(error) from None
    try:
        yield connection
    except Exception as error:
        if not is_trouble(error):
            raise
        raise CannotConnect(f"The database does not answer: {str(error) or type(error).__name__}") from error
    finally:
        await close(connection)


async def close(connection: Any) -> None:
    """Say goodbye, or hang up if that takes long."""
    try:
        await connection.close(timeout=1.0)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
