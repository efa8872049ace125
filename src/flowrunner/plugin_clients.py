"""Clients of node types for other servers: the part of `flowrunner.plugin` that sends requests, e-mails and queries."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeVar

from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.values import JSON

if TYPE_CHECKING:
    # Slow to import, and only nodes that send e-mails need it.
    from email.message import EmailMessage


T = TypeVar("T")


@static_dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Answer of an HTTP server. Header names are in lower case.

    Attributes:
        is_stripped: A redirect led to another origin, and the headers and the body were not sent there.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    redirects: int
    is_stripped: bool = False


# Longer request and answer bodies take long to write or read, and much memory as a value.
LONG_BODY_BYTES: Final = 64 * 1024


class HttpClient(Protocol):
    """HTTP client of nodes. It connects only to addresses that flows may reach."""

    def hold(self, *, is_long: bool = False) -> AbstractAsyncContextManager["HttpClient"]:
        """Wait for a request slot of the account, and hold it while the context is open.

        Build the request inside the context, so that a waiting request takes no memory.

        Args:
            is_long: The body has more than `LONG_BODY_BYTES`. These requests have fewer slots.
        """
        ...

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        max_redirects: int = 0,
        on_long: Callable[[], Awaitable[None]] | None = None,
    ) -> HttpAnswer:
        """Send one request and read the whole answer.

        Args:
            on_long: Awaited before more than `LONG_BODY_BYTES` are read: see `StepContext.hold_long_value`.

        Raises:
            NodeFailure: `connection.…`, `egress.forbidden`, `http.too_large`, `http.redirects` or
                `http.invalid_request`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Server that takes e-mails by SMTP.

    Attributes:
        security: `tls` from the beginning of the connection, or `starttls`; the server's certificate is checked.
        username: None for a server that asks for no login, which an operator must have opened to flows.
    """

    host: str
    port: int
    security: Literal["tls", "starttls", "none"]
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRecipient:
    """Recipient that a server has refused, with its reply (RFC 5321, 4.2)."""

    address: str
    code: int
    reply: str


class MailClient(Protocol):
    """Client of nodes that sends e-mails. It connects only to addresses that flows may reach."""

    async def send(
        self, server: MailServer, *, sender: str, recipients: Sequence[str], write: "Callable[[], EmailMessage]"
    ) -> Sequence[RefusedRecipient]:
        """Send one e-mail, and return the recipients that the server has refused if it has accepted others.

        Args:
            sender: Address of the envelope, where bounces go.
            write: Returns the message. Called on a thread once there is one for the e-mail, so it may take long.

        Raises:
            NodeFailure: `email.<code>` if the server refuses the e-mail, or every recipient, with that code; then
                `${error.data}` is `{code, reply, stage, refused}`. `email.login` and `email.unsupported` for what the
                server does not offer, `email.invalid_answer`, `connection.…`, `timeout` or `egress.forbidden`;
                `input.invalid` for a message that cannot be written.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlDatabase:
    """Database of a PostgreSQL server.

    Attributes:
        security: `verified`: the connection is encrypted and the server's certificate checked; `encrypted`: it is
            encrypted, and nothing checked; `none`.
        requires_channel_binding: The login is bound to the server's certificate, or fails.
    """

    host: str
    port: int
    user: str
    database: str
    password: str | None = field(default=None, repr=False)
    security: Literal["verified", "encrypted", "none"] = "verified"
    requires_channel_binding: bool = False
    application_name: str = "flowrunner"


class SqlAnswer(Protocol):
    """Answer to a query.

    Attributes:
        row_count: Rows that the query has returned or changed.
        size: Bytes of the rows.
        memory: Bytes that `rows` takes at most, about: see `StepContext.hold_long_value`.
    """

    @property
    def row_count(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def memory(self) -> int: ...

    def rows(self) -> list[JSON]:
        """Return each row as an object of its values by column. It may take long: call it on a thread for long rows."""
        ...


class SqlSession(Protocol):
    """Session with a database, within one transaction. Its methods block, and raise the errors of `SqlClient.run`."""

    def execute(self, query: str, args: Sequence[JSON] = ()) -> SqlAnswer:
        """Run one statement, with ``args`` as its parameters $1, $2 and so on."""
        ...

    def execute_each(self, query: str, rows: Sequence[Sequence[JSON]], *, names: Sequence[str]) -> int:
        """Run one statement for each row of parameters, and return how many rows it has changed in all.

        Args:
            names: Names of the parameters, for messages. A failure has the index of its row in ``data.item``.
        """
        ...


class SqlClient(Protocol):
    """Client of nodes for databases. It connects only to addresses that flows may reach."""

    async def run(
        self, database: SqlDatabase, work: Callable[[SqlSession], T], *, seconds: float, read_only: bool = False
    ) -> T:
        """Return what ``work`` returns, after its transaction is committed. It is rolled back if ``work`` fails.

        Args:
            work: Called on a thread of its own.
            seconds: Time limit of the step. The session ends a second, or a fourth of a shorter limit, before it, so
                that `sql.commit_unknown` comes first. The server ends each statement by the limit even if this process
                has ended.
            read_only: The server rejects changes of data.

        Raises:
            NodeFailure: `sql.<SQLSTATE>` if the server reports an error; then `${error.data}` has its fields.
                `sql.login`, `sql.too_large`, `sql.duplicate_column`, `sql.copy`, `sql.invalid_answer`, `connection.…`,
                `timeout`, `egress.forbidden`, or `input.invalid` for parameters that do not fit the query; nothing is
                changed then. `sql.commit_unknown` if the connection was lost, or the time was over, while the
                transaction was committed. `sql.transaction_ended` if a query has ended it: what was done before may be
                committed.
        """
        ...
