"""A mailbox behind a real SMTP server on loopback."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from threading import Thread
from typing import Any, Final

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from support.networks import unused_port

_PATIENCE_SECONDS: Final = 60


class Mailbox:
    """Keeps what arrives, and rejects recipients and messages on request."""

    def __init__(self) -> None:
        self.arrived: list[tuple[Envelope, Message]] = []
        self.rejections = 0

    async def handle_RCPT(  # noqa: N802 # the name of the hook
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody@"):
            return "550 No such mailbox"
        if address.startswith("busy@"):
            return "450 Try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 # likewise
        if self.rejections:
            self.rejections -= 1
            return "451 Later"
        assert isinstance(envelope.content, bytes)
        self.arrived.append((envelope, message_from_bytes(envelope.content, policy=policy.default)))
        return "250 OK"

    def to(self, address: str) -> list[EmailMessage]:
        """Return the messages whose envelope names an address."""
        return [
            message
            for envelope, message in self.arrived
            if address in envelope.rcpt_tos and isinstance(message, EmailMessage)
        ]

    def wait_for(self, address: str) -> EmailMessage:
        """Return the only message to an address, once it has arrived."""
        for _ in range(_PATIENCE_SECONDS * 20):
            if found := self.to(address):
                (message,) = found
                return message
            time.sleep(0.05)
        raise AssertionError(f"no e-mail to {address}")


@contextmanager
def open_mailbox(port: int | None = None, **options: Any) -> Iterator[tuple[Mailbox, int]]:
    """Give a mailbox, and the port of its server.

    Args:
        options: Of the server, such as `tls_context` and `authenticator`.
    """
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port or unused_port(), **options)
    controller.start()
    try:
        yield mailbox, controller.port
    finally:
        controller.stop()


@contextmanager
def scripted_mail_server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Give the port of a server that talks like this on each connection, on a thread of its own."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            talk(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            # Closing it alone would not wake the thread.
            listener.shutdown(socket.SHUT_RDWR)


def text_of(message: Message) -> str:
    assert isinstance(message, EmailMessage)
    text: Any = message.get_content()
    return str(text).replace("\r\n", "\n")
