"""Sessions with PostgreSQL servers: the login, and queries within one transaction."""

import hashlib
import re
import ssl
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from flowrunner.bounded_socket import InvalidAnswer
from flowrunner.domain.counted import counted
from flowrunner.domain.errors import quoted
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.values import JSON
from flowrunner.plugin import NodeFailure, SqlDatabase
from flowrunner.postgres.scram import Scram
from flowrunner.postgres.values import SETTINGS, is_nested, parameters, value_of
from flowrunner.postgres.wire import (
    MOST_ROW_BYTES,
    SYNC,
    TERMINATE,
    Fields,
    PostgresError,
    TooLarge,
    Wire,
    bind_and_execute,
    c_text,
    message,
    parse_and_describe,
    readable,
    refusal_of,
    simple_query,
    startup,
)

MOST_ROWS: Final = 10_000
# Queries of `execute_each` that are sent before their answers are read: neither side may wait for the other.
_ROWS_AT_ONCE: Final = 100
_BYTES_AT_ONCE: Final = 128 * 1024
_MOST_COLUMNS: Final = 1664
_MOST_LOGIN_MESSAGES: Final = 10
_MOST_KEY_BYTES: Final = 256
# For the end of a session whose transaction has ended or is given up.
_END_SECONDS: Final = 2.0
_OK, _PASSWORD, _MD5, _SASL, _SASL_CONTINUE, _SASL_FINAL = 0, 3, 5, 10, 11, 12
_LOGINS: Final = {2: "Kerberos", 7: "GSSAPI", 8: "GSSAPI", 9: "SSPI"}
# The memory of a value, and of a row, beside its characters.
_VALUE_BYTES: Final = 96
_ROW_BYTES: Final = 320
_ENDS_TRANSACTION: Final = re.compile(
    r"(?:\s+|--[^\n]*+\n|/\*.*?\*/)*+(?:commit|end|abort|rollback(?!\s+(?:(?:work|transaction)\s+)?to\b)|prepare\s+transaction)\b",
    re.IGNORECASE | re.DOTALL,
)


class LoginFailed(Exception):
    """A login that cannot go on; the message tells why."""


class NoTls(Exception):
    """The server does not encrypt connections."""


class NoPasswordAsked(Exception):
    """The server asks for no password: it trusts the address of this machine."""


@static_dataclass(frozen=True, slots=True)
class Column:
    """Column of an answer, with the number of its type."""

    name: str
    oid: int


@static_dataclass(frozen=True, slots=True)
class PostgresAnswer:
    """Answer to a query. Implements `plugin.SqlAnswer`.

    Attributes:
        row_count: Rows that the query has returned or changed.
        columns: Columns of the rows; None for a query that returns none.
        encoded: The rows as the server has sent them.
    """

    row_count: int
    columns: Sequence[Column] | None
    encoded: Sequence[bytes]

    @property
    def size(self) -> int:
        return sum(map(len, self.encoded))

    @property
    def memory(self) -> int:
        values = len(self.columns or ()) * len(self.encoded)
        # A list in JSON, or a short element of an array, takes up to 40 bytes for each of its characters.
        nested = 40 if any(is_nested(column.oid) for column in self.columns or ()) else 4
        return nested * self.size + _VALUE_BYTES * values + _ROW_BYTES * len(self.encoded)

    def rows(self) -> list[JSON]:
        columns = self.columns or ()
        return [
            {column.name: value for column, value in zip(columns, _values(body, columns), strict=True)}
            for body in self.encoded
        ]


def _values(body: bytes, columns: Sequence[Column]) -> Iterator[JSON]:
    fields = Fields(body)
    fields.number(2)
    for column in columns:
        size = fields.number(4)
        yield None if size == 0xFFFFFFFF else value_of(readable(fields.data(size)), column.oid)


class PostgresSession:
    """A session. Implements `plugin.SqlSession`.

    Raises:
        OSError, InvalidAnswer, TooLarge, PostgresError, LoginFailed, ScramFailed, NoTls: As every method.
    """

    def __init__(self, wire: Wire, database: SqlDatabase, *, trusts_address: bool) -> None:
        """Log in.

        Args:
            trusts_address: A server that asks for no password may be used.

        Raises:
            NoPasswordAsked.
        """
        self._wire = wire
        self._database = database
        self._trusts_address = trusts_address
        # The number and the key by which the server cancels what it is doing for this session.
        self.cancel_key: tuple[int, bytes] | None = None
        self.is_busy = False
        self.is_committing = False
        self.is_over = False
        self._is_in_transaction = self._has_ended = False
        if database.security != "none" and not wire.encrypt_if_offered(tls_context(database), database.host):
            raise NoTls
        settings = {"user": database.user, "database": database.database, "client_encoding": "UTF8"}
        wire.send(startup({**settings, "application_name": database.application_name}))
        self._log_in()
        self._wait_until_ready()

    def _log_in(self) -> None:
        password, scram = self._database.password, None
        has_asked = False
        for _ in range(_MOST_LOGIN_MESSAGES):
            kind, body = self._received()
            if kind != b"R":
                raise InvalidAnswer
            fields = Fields(body)
            asked = fields.number(4)
            if asked == _OK:
                if scram is not None and not scram.is_verified:
                    raise LoginFailed("it has not proved that it knows the password")
                self._require_binding(scram)
                if not has_asked and not self._trusts_address:
                    raise NoPasswordAsked
                return
            has_asked = True
            if password is None:
                raise LoginFailed("it asks for a password, and the URL has none")
            if asked == _SASL_CONTINUE and scram is not None:
                self._wire.send(message(b"p", scram.final(fields.rest())))
            elif asked == _SASL_FINAL and scram is not None:
                scram.check(fields.rest())
            elif scram is not None:
                # Nothing weaker after it: that is what somebody between would ask for.
                raise LoginFailed("it has changed how it asks for the password")
            elif asked == _SASL:
                offered = fields.rest().decode("ascii", "replace").split("\0")
                scram = Scram(password, offered, self._wire.certificate())
                self._require_binding(scram)
                first = scram.first()
                self._wire.send(message(b"p", c_text(scram.mechanism), struct.pack("!I", len(first)), first))
            elif asked == _MD5:
                self._require_binding(None)
                self._wire.send(message(b"p", c_text(_md5(self._database.user, password, fields.data(4)))))
            elif asked == _PASSWORD:
                self._require_binding(None)
                if self._database.security != "verified":
                    raise LoginFailed("it asks for the password in clear text, which only 'sslmode=verify-full' allows")
                self._wire.send(message(b"p", c_text(password)))
            else:
                raise LoginFailed(f"it asks for a login by {_LOGINS.get(asked, 'an unknown method')}")
        raise InvalidAnswer

    def _require_binding(self, scram: Scram | None) -> None:
        if self._database.requires_channel_binding and not (scram is not None and scram.is_bound):
            raise LoginFailed("it does not bind the login to its certificate, as 'channel_binding=require' asks for")

    def _wait_until_ready(self) -> None:
        while True:
            kind, body = self._received()
            if kind == b"Z":
                return
            if kind != b"K" or len(body) > 4 + _MOST_KEY_BYTES:
                raise InvalidAnswer
            fields = Fields(body)
            self.cancel_key = (fields.number(4), fields.rest())

    def begin(self, *, read_only: bool, seconds: float) -> None:
        """Begin the transaction, with a time limit for each of its statements."""
        milliseconds = min(max(int(seconds * 1000), 1), 2**31 - 1)
        settings = {**SETTINGS, "client_min_messages": "error", "statement_timeout": str(milliseconds)}
        changes = "".join(f"; SET LOCAL {name} = '{value}'" for name, value in settings.items())
        self._run(f"BEGIN{' READ ONLY' if read_only else ''}{changes}")

    def commit(self) -> bool:
        """End the transaction; return False if the server has rolled it back."""
        self._require_transaction()
        self.is_committing = True
        is_committed = self._run("COMMIT") == "COMMIT"
        self.is_committing = False
        self.is_over = True
        return is_committed

    def _run(self, statement: str) -> str:
        """Run a statement of FlowRunner's own, and return the last tag."""
        tag = ""
        self._ask(simple_query(statement))
        for kind, body in self._until_ready():
            if kind == b"C":
                tag = Fields(body).text()
        return tag

    def _require_transaction(self, tag: str = "") -> None:
        """Check that no query has ended the transaction: what follows would be committed by itself."""
        # `COMMIT AND CHAIN` begins another one.
        self._has_ended = self._has_ended or not self._is_in_transaction or tag == "COMMIT"
        if self._has_ended:
            self.is_over = not self._is_in_transaction
            raise _ended("The query has ended its transaction, and what was done before may be committed")

    def execute(self, query: str, args: Sequence[JSON] = ()) -> PostgresAnswer:
        oids, columns = self._described(query)
        if len(args) != len(oids):
            raise NodeFailure("input.invalid", _wrong_number(len(oids), len(args)))
        names = [column.name for column in columns or ()]
        if len(set(names)) < len(names):
            twice = next(name for index, name in enumerate(names) if name in names[:index])
            message = f"The query has two columns called {quoted(twice, most=63)}: name them with AS"
            raise NodeFailure("sql.duplicate_column", message)
        self._ask(bind_and_execute(parameters(args, oids, _name_of_argument)), SYNC)
        encoded: list[bytes] = []
        room, tag = MOST_ROW_BYTES, ""
        for kind, body in self._until_ready(room):
            if kind == b"D":
                room -= len(body)
                if room < 0 or len(encoded) == MOST_ROWS:
                    raise TooLarge
                _check_row(body, columns)
                encoded.append(body)
            elif kind == b"C":
                tag = Fields(body).text()
        self._require_transaction(tag)
        return PostgresAnswer(_count_of(tag) if columns is None else len(encoded), columns, encoded)

    def execute_each(self, query: str, rows: Sequence[Sequence[JSON]], *, names: Sequence[str]) -> int:
        oids, _ = self._described(query)
        if len(names) != len(oids):
            raise NodeFailure("input.invalid", _wrong_number(len(oids), len(names)))
        at, changed = 0, 0
        while at < len(rows):
            end, size, queries = at, 0, []
            while end < len(rows) and end - at < _ROWS_AT_ONCE and size < _BYTES_AT_ONCE:
                queries.append(bind_and_execute(parameters(rows[end], oids, partial(_name_in_row, names, end))))
                size += len(queries[-1])
                end += 1
            changed += self._portion(queries, at)
            at = end
        return changed

    def _portion(self, queries: Sequence[bytes], first: int) -> int:
        """Run queries that were sent together, and return how many rows they have changed."""
        changed, done, tag = 0, 0, ""
        self._ask(*queries, SYNC)
        try:
            for kind, body in self._until_ready(MOST_ROW_BYTES):
                if kind == b"C":
                    tag = Fields(body).text()
                    changed, done = changed + _count_of(tag), done + 1
        except PostgresError as refusal:
            raise RowRefused(refusal, first + done) from None
        self._require_transaction(tag)
        return changed

    def _described(self, query: str) -> tuple[Sequence[int], Sequence[Column] | None]:
        """Return the numbers of the parameters' types, and the columns."""
        self._require_transaction()
        if _ENDS_TRANSACTION.match(query):
            raise _ended("The query would end its transaction, which ends with the node")
        try:
            messages = parse_and_describe(query)
        except ValueError as error:
            raise NodeFailure("input.invalid", f"The query {error}") from None
        oids: Sequence[int] = ()
        columns: Sequence[Column] | None = None
        self._ask(messages)
        for kind, body in self._until_ready():
            fields = Fields(body)
            if kind == b"t":
                oids = [fields.number(4) for _ in range(fields.number(2))]
            elif kind == b"T":
                count = fields.number(2)
                if count > _MOST_COLUMNS:
                    raise InvalidAnswer
                columns = [_column(fields) for _ in range(count)]
        return oids, columns

    def _ask(self, *messages: bytes) -> None:
        self.is_busy = True
        self._wire.send(*messages)

    def _until_ready(self, room: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Yield the answers to what was sent. Raises the server's refusal when it has ended."""
        refusal = None
        while True:
            try:
                kind, body = self._wire.receive(room=room)
            except OSError:
                if refusal is None or self.is_committing:
                    raise
                # Poolers end a connection after an error that is not fatal.
                raise refusal from None
            if kind == b"E":
                refusal = refusal_of(body)
                if refusal.is_fatal:
                    self.is_over = True
                    self.is_busy = False
                    raise refusal
            elif kind == b"Z":
                self.is_busy = False
                self._is_in_transaction = body != b"I"
                if refusal is not None:
                    raise refusal
                return
            elif kind in (b"G", b"H", b"W"):
                raise NodeFailure("sql.copy", "COPY cannot be used: its data would need a connection of its own")
            elif refusal is None:
                yield kind, body

    def _received(self) -> tuple[bytes, bytes]:
        kind, body = self._wire.receive()
        if kind == b"E":
            self.is_over = True
            raise refusal_of(body)
        return kind, body

    def end(self) -> None:
        """Say good-bye, with the transaction rolled back unless it has ended; nothing of it is waited for long."""
        self._wire.deadline = min(self._wire.deadline, time.monotonic() + _END_SECONDS)
        with suppress(OSError, InvalidAnswer, TooLarge, PostgresError):
            if not self.is_over:
                # A pooler would otherwise close its connection to the database.
                self._run("ROLLBACK")
            self._wire.send(TERMINATE)


class RowRefused(Exception):
    """A refusal of one of several queries.

    Attributes:
        index: The index of its row.
    """

    def __init__(self, refusal: PostgresError, index: int) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.index = index


def _ended(reason: str) -> NodeFailure:
    return NodeFailure("sql.transaction_ended", f"{reason}: remove COMMIT, ROLLBACK or PREPARE TRANSACTION")


def tls_context(database: SqlDatabase) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if database.security == "encrypted":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _md5(user: str, password: str, salt: bytes) -> str:
    # What the server keeps instead of the password; the protocol wants it, nothing is protected by it here.
    kept = hashlib.md5(password.encode() + user.encode(), usedforsecurity=False).hexdigest()
    return "md5" + hashlib.md5(kept.encode() + salt, usedforsecurity=False).hexdigest()


def _column(fields: Fields) -> Column:
    name = fields.text()
    fields.data(6)
    oid = fields.number(4)
    fields.data(8)
    return Column(name, oid)


def _check_row(body: bytes, columns: Sequence[Column] | None) -> None:
    """Raises: InvalidAnswer if it has not a value for each column."""
    fields = Fields(body)
    if columns is None or fields.number(2) != len(columns):
        raise InvalidAnswer
    for _ in columns:
        size = fields.number(4)
        if size != 0xFFFFFFFF:
            fields.data(size)


def _count_of(tag: str) -> int:
    """Return the number of rows in a tag such as `INSERT 0 5`, `SELECT 3`, or 0 for one without."""
    last = tag.rpartition(" ")[2]
    return int(last) if last.isascii() and last.isdigit() and len(last) < 20 else 0


def _name_of_argument(index: int) -> str:
    return f"args.{index} (${index + 1})"


def _name_in_row(names: Sequence[str], row: int, column: int) -> str:
    return f"items.{row}.{names[column]}"


def _wrong_number(needed: int, given: int) -> str:
    asked = "no parameter" if needed == 0 else "the parameter $1" if needed == 1 else f"the parameters $1 to ${needed}"
    return f"The query has {asked}, and {counted(given, 'value is', 'values are')} given in 'args'"
