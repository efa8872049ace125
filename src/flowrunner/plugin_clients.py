"""Clients of node types for other servers: the part of `flowrunner.plugin` that sends requests and e-mails."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol

from flowrunner.domain.static_dataclass import static_dataclass

if TYPE_CHECKING:
    # Slow to import, and only nodes that send e-mails need it.
    from email.message import EmailMessage


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
