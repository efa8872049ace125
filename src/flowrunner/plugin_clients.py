"""Clients of node types for other servers: the part of `flowrunner.plugin` that sends requests, e-mails and queries.

It reads mailboxes, too.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
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
class ImapServer:
    """Server that gives access to mailboxes by IMAP. Its certificate is checked.

    Attributes:
        security: `tls` from the beginning of the connection, or `starttls`.
        access_token: Token of OAuth 2, instead of a password.
    """

    host: str
    port: int
    security: Literal["tls", "starttls"]
    username: str
    password: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapSearch:
    """Messages to look for in a folder; each that is given narrows the search.

    Attributes:
        after_uid: The messages with higher UIDs.
        since: The messages that arrived on this day or later, as the server counts days.
        sender: Text in the header From, in any case.
        subject: Text in the header Subject, in any case.
    """

    after_uid: int = 0
    unseen: bool = False
    since: date | None = None
    sender: str | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class ImapAddress:
    """Address of an e-mail with the name of its owner, which may be empty. The sender may have written anything."""

    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapPart:
    """Part of a message that has no parts itself.

    Attributes:
        number: Its place: `1`, or `2.1` for the first part of the second one.
        size: Bytes in its encoding, as the server tells them.
        is_attachment: The sender calls it one.
    """

    number: str
    content_type: str
    charset: str | None
    encoding: str
    size: int
    filename: str | None
    is_attachment: bool
    content_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapMessage:
    """Message without the contents of its parts. Texts have one line without control characters.

    Attributes:
        date: As the sender tells it; None if it cannot be read.
        received_at: As the server tells it.
        size: Bytes.
        headers: First value of each header that was asked for, by its name in lower case.
        is_complete: Nothing was left out, as it is of a message with very many recipients or parts.
    """

    uid: int
    message_id: str | None = None
    in_reply_to: str | None = None
    subject: str = ""
    date: datetime | None = None
    received_at: datetime | None = None
    senders: Sequence[ImapAddress] = ()
    reply_to: Sequence[ImapAddress] = ()
    to: Sequence[ImapAddress] = ()
    cc: Sequence[ImapAddress] = ()
    bcc: Sequence[ImapAddress] = ()
    flags: Sequence[str] = ()
    size: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Sequence[ImapPart] = ()
    is_complete: bool = False


class ImapSession(Protocol):
    """Session with a mailbox. Its methods block, and raise the errors of `ImapClient.run`.

    Attributes:
        refusals: Words of the server by the UIDs of messages that it does not give, or not all parts of.
    """

    @property
    def refusals(self) -> Mapping[int, str]: ...

    def open(self, folder: str, *, to_change: bool = False) -> int:
        """Open a folder, and return its UIDVALIDITY.

        Args:
            to_change: Messages will be marked or moved.
        """
        ...

    def search(self, search: ImapSearch, *, most: int, newest: bool = False) -> tuple[Sequence[int], bool]:
        """Return UIDs of messages, in ascending order, and whether there are more.

        Args:
            newest: The highest UIDs, and not the lowest.
        """
        ...

    def messages(self, uids: Sequence[int], *, headers: Sequence[str] = ()) -> Sequence[ImapMessage]:
        """Return the messages that the folder still has, in the order of the UIDs.

        Of one that the server describes at too great a length, or refuses to give, only the UID is returned.
        """
        ...

    def content(self, uid: int, part: ImapPart, *, most: int) -> tuple[bytes, bool]:
        """Return the decoded bytes of a part, and whether that is all. No message is marked as read by it.

        Args:
            most: Bytes to read of the part in its encoding.
        """
        ...

    def text(self, uid: int, part: ImapPart, *, most: int) -> tuple[str, bool]:
        """Return a part as text in its charset, and whether that is all."""
        ...

    def check_given(self, uids: Sequence[int]) -> None:
        """Fail if none of several messages was given: that is no fault of theirs, so that none must be passed over."""
        ...

    def mark_as_read(self, uids: Sequence[int]) -> None: ...

    def move(self, uids: Sequence[int], folder: str) -> None:
        """Move messages to another folder, which the server does for all or none of them."""
        ...


class ImapClient(Protocol):
    """Client of nodes for mailboxes. It connects only to addresses that flows may reach."""

    async def run(self, server: ImapServer, work: Callable[[ImapSession], T], *, seconds: float) -> T:
        """Log in, and return what ``work`` returns.

        Args:
            work: Called on a thread of its own.
            seconds: Time limit of the session.

        Raises:
            NodeFailure: `email.refused` or `email.login` if the server rejects a command or the login; then
                `${error.data}` is `{stage, code, reply}`. `email.unsupported`, `email.too_large`,
                `email.invalid_answer`, `connection.…`, `timeout` or `egress.forbidden`.
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
