"""Connections to PostgreSQL, and the meaning of their errors."""

import contextlib
import os
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import asyncpg

from flowrunner.domain.errors import FlowRunnerError, Unavailable

CONNECT_SECONDS: Final = 5.0
# Time for which the client waits beyond the server's limit for a statement.
_GRACE_SECONDS: Final = 2.0
# In the server's answer to a login: a pooler passes on only some of the settings that a session asks for.
_SETTING_REJECTED: Final = "unsupported startup parameter"
POOLED: Final = "Connect to it directly: a pooler in between, such as PgBouncer, takes away settings that must be kept"


class UnfitServer(FlowRunnerError):
    """A PostgreSQL server that is unsuitable, rejects the login, or is not durable."""


class CannotConnect(Unavailable):
    """A PostgreSQL server that cannot be reached at the moment."""


class PostgresConnection(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types
    def get_reset_query(self) -> str:
        # Nothing here changes the state of a session, so nothing is reset when it returns to the pool.
        return ""


def options(*, statement_seconds: float, **settings: str) -> dict[str, Any]:
    """Return the options for every connection; ``settings`` are settings of the session."""
    return {
        "timeout": CONNECT_SECONDS,
        "command_timeout": statement_seconds + _GRACE_SECONDS,
        "statement_cache_size": 256,
        "max_cached_statement_lifetime": 0,
        "connection_class": PostgresConnection,
        "server_settings": {
            "application_name": "flowrunner",
            "statement_timeout": f"{statement_seconds * 1000:.0f}",
            # A writer waits for the lock in the first statement of its transaction, and has to see what was written
            # meanwhile, whatever the role's default is.
            "default_transaction_isolation": "read committed",
            # The limit of its statements bounds that wait.
            "lock_timeout": "0",
            # A migration and a copy of a large file compute between their statements.
            "idle_in_transaction_session_timeout": "0",
            # Statements are written for it; a backslash in a text would be an escape without it.
            "standard_conforming_strings": "on",
            # Compilation pays off only for long analytical queries.
            "jit": "off",
            # A prepared statement keeps the plan of its first uses. For a small table that is a sequential scan, which
            # would remain for thousands of further rows, until the next ANALYZE.
            "enable_seqscan": "off",
            "random_page_cost": "1.1",
            **settings,
        },
    }


# What the driver raises, such as an InternalClientError if a session has ended between two statements, and a ValueError
# for an invalid URL.
DRIVER_ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ValueError,
)


def as_unavailable(error: BaseException) -> BaseException:
    """Return Unavailable if the database is unavailable, otherwise the error itself."""
    return Unavailable("The database cannot be reached at the moment") if is_database_failure(error) else error


# Errors that occur while a password is changed or a database is restored: temporary for a running server, a wrong
# configuration at the start.
_LOGIN_REJECTED: Final = ("28", "3D")
# Connection, transaction rollback, resources, locks, operator, system, internal, and transactions that the server has
# ended or that cannot write; see "PostgreSQL Error Codes" in its manual.
_FAILURE_CLASSES: Final = ("08", "25", "40", "53", "55", "57", "58", "XX", *_LOGIN_REJECTED)


def is_database_failure(error: BaseException) -> bool:
    """Return whether the database is unavailable, as opposed to an error in the operation."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate or "")[:2] in _FAILURE_CLASSES
    if isinstance(error, asyncpg.InterfaceError):
        # Values of a wrong type are detected before they are sent.
        return not isinstance(error, ValueError)
    return isinstance(error, asyncpg.InternalClientError | OSError | TimeoutError | MemoryError)


# The driver's text if a statement comes after the database's last message, for example that the session was silent for
# too long, and before the end of the connection.
_SESSION_ENDED: Final = "another operation (2) is in progress"


_HINTS: Final[Mapping[type[Exception], str]] = {
    asyncpg.QueryCanceledError: "a statement took longer than database_timeout: pg_stat_activity and "
    "pg_blocking_pids(pid) show what the sessions of FlowRunner wait for",
    asyncpg.DiskFullError: "make room on the disk of the database; the server then continues by itself",
}


def text_for_log(error: Exception) -> str:
    """Return the text of an error of the driver for an operator."""
    return "The database has ended the session" if _is_end_of_session(error) else repr(error)


def hint_for_log(error: Exception) -> dict[str, str]:
    """Return advice to the operator as a field of the log, if there is any."""
    return next(({"hint": hint} for kind, hint in _HINTS.items() if isinstance(error, kind)), {})


def _is_end_of_session(error: Exception) -> bool:
    return isinstance(error, asyncpg.InternalClientError) and _SESSION_ENDED in str(error)


# The statement took too long, needed too many resources, conflicted with another one or read damaged data, and the
# server has rolled it back. 40003 and 08 are left out: the transaction may have been committed.
_FAULTS_OF_A_PART: Final = ("57014", "40001", "40P01", "53100", "53200", "53400", "54", "XX")


def is_damage(error: BaseException) -> bool:
    """Return whether a part of the database cannot be read, although others can."""
    return isinstance(error, asyncpg.PostgresError) and str(error.sqlstate or "").startswith("XX")


def is_write_refused(error: BaseException) -> bool:
    """Return whether nothing, or nothing more, can be written, such as on a full disk or in read-only transactions."""
    return isinstance(error, asyncpg.DiskFullError | asyncpg.ReadOnlySQLTransactionError)


def is_fault_of_a_part(error: BaseException) -> bool:
    """Return whether nothing was written and the same operations may succeed in smaller parts."""
    return isinstance(error, asyncpg.PostgresError) and str(error.sqlstate or "").startswith(_FAULTS_OF_A_PART)


# Advice by error code, for errors that occur before the first successful start.
_ADVICE: Final = {
    "28000": "create the role, or let it connect from here (pg_hba.conf)",
    "28P01": "correct the user or the password in FLOWRUNNER_DATABASE_URL",
    "3D000": "create it: createdb --encoding UTF8 --owner ROLE NAME",
    "42501": "the role has to own the database or its schema, and the tables: ALTER DATABASE (or SCHEMA) … OWNER TO …",
}


def with_advice(error: Exception) -> str:
    """Return the text of the error, with advice if there is any for its code."""
    said = _reason_of(error) if isinstance(error, OSError) else _in_one_line(error)
    advice = _ADVICE.get(str(getattr(error, "sqlstate", "")))
    return said if advice is None else f"{said}; {advice}"


def _in_one_line(error: Exception) -> str:
    """Return the text of the error. The driver puts the server's detail and hint on lines of their own."""
    if _is_end_of_session(error):
        return "it has ended the session"
    return ". ".join(line.rstrip(".") for line in (str(error) or type(error).__name__).splitlines())


def _reason_of(error: OSError) -> str:
    """Return the operating system's text. That of asyncio is a number, an address and "Connect call failed"."""
    if isinstance(error, TimeoutError):
        return f"it does not answer within {CONNECT_SECONDS:.0f} s"
    # An error of several addresses has those of each in its text.
    if number := re.search(r"\[Errno (\d+)\]", str(error)):
        return os.strerror(int(number[1]))
    return error.strerror or _in_one_line(error)


def as_refusal(error: Exception) -> FlowRunnerError:
    """Return the error for the process that starts: CannotConnect if a retry may help, otherwise UnfitServer."""
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return UnfitServer(f"The database cannot be used: {with_advice(error)}")
    if isinstance(error, asyncpg.ProtocolViolationError) and _SETTING_REJECTED in str(error):
        return UnfitServer(f"Cannot connect to the database: {_in_one_line(error)}. {POOLED}")
    is_login_accepted = str(getattr(error, "sqlstate", ""))[:2] not in _LOGIN_REJECTED
    kind = CannotConnect if is_database_failure(error) and is_login_accepted else UnfitServer
    return kind(f"Cannot connect to the database: {with_advice(error)}")


@contextlib.asynccontextmanager
async def connected(url: str, *, statement_seconds: float, **settings: str) -> AsyncIterator[Any]:
    """Open a connection for a short time. Raises: CannotConnect, also if it is lost meanwhile; UnfitServer."""
    try:
        connection = await asyncpg.connect(url, **options(statement_seconds=statement_seconds, **settings))
    except DRIVER_ERRORS as error:
        raise as_refusal(error) from None
    try:
        await lift_limit_of_transactions(connection)
        yield connection
    except Exception as error:
        if not is_database_failure(error):
            raise
        raise CannotConnect(f"The database does not answer: {_in_one_line(error)}") from error
    finally:
        await close(connection)


async def lift_limit_of_transactions(connection: Any) -> None:
    """Switch off the role's `transaction_timeout`. Servers before PostgreSQL 17 reject a login that asks for it."""
    if connection.get_server_version().major >= 17:
        await connection.execute("SET transaction_timeout = 0")


async def close(connection: Any) -> None:
    """Close the connection, or abort it if that takes long."""
    try:
        await connection.close(timeout=1.0)
    except Exception:
        # The driver raises errors of many kinds, such as InternalClientError if the connection is lost meanwhile. None
        # may end the task that writes.
        connection.terminate()
