"""The PostgreSQL client for all queries of flows."""

import re
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from flowrunner.bounded_socket import InvalidAnswer
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.values import JSON, WorkspaceId
from flowrunner.fair_slots import FairSlots
from flowrunner.plugin import NodeFailure, SqlDatabase, SqlSession
from flowrunner.postgres.scram import ScramFailed
from flowrunner.postgres.session import (
    MOST_ROWS,
    LoginFailed,
    NoPasswordAsked,
    NoTls,
    PostgresSession,
    RowRefused,
    tls_context,
)
from flowrunner.postgres.wire import MOST_ROW_BYTES, PostgresError, TooLarge, Wire, cancel_request
from flowrunner.security.egress_connections import EgressConnection, SessionClients, server_name
from flowrunner.security.egress_policy import EgressForbidden, EgressPolicy

T = TypeVar("T")

# Concurrent sessions: of all workspaces, of one workspace at most, and guaranteed to each. Each is a thread, with up to
# some 10 MB for the longest parameters and the largest answer.
_SESSIONS: Final = 64
_SESSIONS_OF_A_WORKSPACE: Final = 16
_SURE_SESSIONS: Final = 2
# For the request that ends a statement whose answer nobody waits for any more.
_CANCEL_SECONDS: Final = 5.0
# For all that a session whose step has ended says to the server.
_LEFT_SECONDS: Final = 2 * _CANCEL_SECONDS
# Of a step's time, for the failure of a session whose time is over: the step would otherwise end by its own timeout,
# which does not say that the commit had begun.
_REPORT_SECONDS: Final = 1.0
_REPORT_SHARE: Final = 0.25
_SQLSTATE: Final = re.compile(r"[0-9A-Z]{5}", re.ASCII)
_PARAMETER: Final = re.compile(r"parameter \$([1-9]\d{0,4})(?!\d)", re.ASCII)
# Fields of an error that its data has, by their letters.
_FIELDS: Final = {
    "D": "detail", "H": "hint", "P": "position", "W": "context",
    "s": "schema", "t": "table", "c": "column", "n": "constraint",
}  # fmt: skip
_READ_ONLY: Final = "25006"
_TOO_LARGE: Final = (
    f"The query gives more than {MOST_ROWS} rows, or more than {MOST_ROW_BYTES} bytes: add a LIMIT, or select less"
)


class EgressSqlClients(SessionClients):
    """The clients of all workspaces. Implements `ports.SqlClients`.

    Args:
        lookups: The slots for lookups of names, which requests take too.
        processes: Processes that have such clients. Their sessions together keep the limits of one.
    """

    def __init__(self, policy: EgressPolicy, lookups: FairSlots, *, processes: int = 1) -> None:
        slots = FairSlots.of_process(processes, total=_SESSIONS, share=_SESSIONS_OF_A_WORKSPACE, sure=_SURE_SESSIONS)
        super().__init__(policy, lookups, slots, name="sql", use="run queries")

    def of(self, workspace_id: WorkspaceId) -> "_WorkspaceSql":
        return _WorkspaceSql(self, workspace_id)


@static_dataclass(frozen=True, slots=True)
class _WorkspaceSql:
    """Implements `plugin.SqlClient` for the nodes of one workspace."""

    clients: EgressSqlClients
    workspace_id: WorkspaceId

    async def run(
        self, database: SqlDatabase, work: Callable[[SqlSession], T], *, seconds: float, read_only: bool = False
    ) -> T:
        # The step's own time runs during the lookup, and the wait for a slot.
        deadline = time.monotonic() + seconds - min(_REPORT_SECONDS, seconds * _REPORT_SHARE)
        session = partial(
            _run,
            work=work,
            policy=self.clients.policy,
            database=database,
            seconds=seconds,
            deadline=deadline,
            read_only=read_only,
        )
        # A pooler cancels the statement of a client that is still there, so that it goes a little later.
        return await self.clients.run(
            self.workspace_id, database.host, database.port, session, seconds_left=_LEFT_SECONDS
        )


def _run(
    connection: EgressConnection,
    work: Callable[[SqlSession], T],
    *,
    policy: EgressPolicy,
    database: SqlDatabase,
    seconds: float,
    deadline: float,
    read_only: bool,
) -> T:
    """Do the work in a session on this thread. Raises: NodeFailure."""
    session: PostgresSession | None = None
    wire: Wire | None = None
    try:
        wire = Wire(connection.open(), deadline=deadline)
        address = wire.peer()
        session = PostgresSession(wire, database, trusts_address=policy.is_opened(address))
        try:
            session.begin(read_only=read_only, seconds=seconds)
            result = work(session)
            # The step may have ended while the answer was read.
            connection.require_in_use()
            if not session.commit():
                raise NodeFailure("sql.rolled_back", "The server has rolled back the transaction")
            return result
        finally:
            if session.is_busy and not session.is_committing:
                _cancel(connection, address, session, database)
            elif not session.is_busy:
                session.end()
    except (OSError, InvalidAnswer, TooLarge, PostgresError, RowRefused, LoginFailed, ScramFailed, NoTls) as error:
        in_doubt = session is not None and session.is_committing and not read_only
        raise _failure(error, database, in_doubt=in_doubt, read_only=read_only) from None
    except NoPasswordAsked:
        raise _no_password(policy, database, address) from None
    finally:
        if wire is not None:
            wire.close()
        connection.close()


def _cancel(connection: EgressConnection, address: str, session: PostgresSession, database: SqlDatabase) -> None:
    """Ask the server to end the statement that the session has begun."""
    if session.cancel_key is None:
        return
    with suppress(OSError, InvalidAnswer, TooLarge):
        wire = Wire(connection.again(address, _CANCEL_SECONDS), deadline=time.monotonic() + _CANCEL_SECONDS)
        try:
            if database.security == "none" or wire.encrypt_if_offered(tls_context(database), database.host):
                wire.send(cancel_request(*session.cancel_key))
                # The server closes the connection when it has passed the request on.
                wire.receive()
        finally:
            wire.close()


def _no_password(policy: EgressPolicy, database: SqlDatabase, address: str) -> NodeFailure:
    # The server trusts this machine, and so every author of a flow by any user's name.
    shown = server_name(database.host, database.port)
    try:
        policy.require_opened(address, "a database that asks for no password needs a server opened for flows")
    except EgressForbidden as error:
        return NodeFailure("egress.forbidden", f"{error.who} may not use {shown}: {error}")
    raise AssertionError("the address is opened")


def _failure(error: Exception, database: SqlDatabase, *, in_doubt: bool, read_only: bool) -> NodeFailure:
    shown = server_name(database.host, database.port)
    match error:
        case PostgresError() if not (in_doubt and error.is_fatal):
            return _refusal(error, shown, read_only=read_only)
        case RowRefused():
            return _refusal(error.refusal, shown, read_only=read_only, item=error.index)
        case _ if in_doubt:
            lost = "did not answer in time" if isinstance(error, TimeoutError) else "was lost"
            text = f"The connection to {shown} {lost} while the transaction was committed: it may have been, or not"
            return NodeFailure("sql.commit_unknown", text)
        case NoTls():
            hint = "the server has no TLS. '?sslmode=disable' in the URL connects without TLS"
            return NodeFailure("connection.tls", f"No TLS connection to {shown}: {hint}")
        case ssl.SSLCertVerificationError():
            return NodeFailure("connection.tls", f"No trusted TLS connection to {shown}: {error.verify_message}")
        case ssl.SSLError():
            return NodeFailure("connection.tls", f"No TLS connection to {shown}: {error.reason or error}")
        case LoginFailed() | ScramFailed():
            return NodeFailure("sql.login", f"No login to {shown}: {error}")
        case TooLarge():
            return NodeFailure("sql.too_large", _TOO_LARGE)
        case InvalidAnswer():
            return NodeFailure("sql.invalid_answer", f"The answer of {shown} is not that of a PostgreSQL server")
        case TimeoutError():
            return NodeFailure("timeout", f"{shown} did not answer in time")
        case _:
            return NodeFailure("connection.lost", f"The connection ended before the answer was complete: {shown}")


def _refusal(refusal: PostgresError, shown: str, *, read_only: bool, item: int | None = None) -> NodeFailure:
    sqlstate = refusal.fields.get("C", "")
    if not _SQLSTATE.fullmatch(sqlstate):
        return NodeFailure("sql.invalid_answer", f"The answer of {shown} is not that of a PostgreSQL server")
    # The texts are not cut: what a server quotes may hold a secret, which is found only whole.
    message = refusal.fields.get("M", "")
    data: dict[str, JSON] = {"sqlstate": sqlstate, "message": message}
    for letter, name in _FIELDS.items():
        if letter in refusal.fields:
            data[name] = refusal.fields[letter]
    where = ""
    if item is not None:
        data["item"] = item
        where = f" (items.{item})"
    elif data.get("context"):
        # Which parameter has no value of its type.
        parameter = _PARAMETER.search(str(data["context"]).splitlines()[0])
        where = f" (args.{int(parameter[1]) - 1})" if parameter is not None else ""
    hint = ""
    if sqlstate == _READ_ONLY:
        # A standby rejects each change, and so may a server whose disk is nearly full.
        why = "changes need 'operation: execute'" if read_only else f"{shown} accepts no changes at present"
        hint = f": {why}"
    return NodeFailure(f"sql.{sqlstate}", f"{message}{where}{hint}", data=data)
