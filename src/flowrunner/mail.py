"""Sending of e-mails through the operator's SMTP server."""

import asyncio
import smtplib
import socket
import ssl
from collections.abc import Mapping, Sequence
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from functools import partial
from typing import Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

from flowrunner.ports.outgoing_mails import MailFailed
from flowrunner.smtp import SmtpSession
from flowrunner.threads import on_own_thread

# For a connection, a command or a reply, and for an e-mail in all.
_TIMEOUT_SECONDS: Final = 10.0
_MOST_SECONDS: Final = 30.0
_AT_ONCE: Final = 4


class SmtpMailer:
    """Implements `ports.Mailer`.

    A connection is encrypted from its beginning with `smtps`, and otherwise as soon as the server offers it; a
    password is sent over no other one, unless the server is this machine.
    """

    def __init__(
        self, *, host: str, port: int, user: str | None, password: str | None, sender: str, is_tls: bool
    ) -> None:
        self._host = host
        self._port = port
        self._user = user
        self._password = password
        self._sender = sender
        self._is_tls = is_tls
        self._free = asyncio.Semaphore(_AT_ONCE)

    @classmethod
    def of(cls, url: str) -> Self:
        """Return the sender for a URL such as `smtps://user:password@host?from=flows@example.com`."""
        parts = urlsplit(url)
        is_tls = parts.scheme == "smtps"
        user = None if parts.username is None else unquote(parts.username)
        host = parts.hostname or ""
        return cls(
            host=host,
            port=parts.port or (465 if is_tls else 25),
            user=user,
            password=None if parts.password is None else unquote(parts.password),
            sender=(parse_qs(parts.query).get("from") or [f"flowrunner@{host}"])[0],
            is_tls=is_tls,
        )

    async def send(self, to: Sequence[str], subject: str, text: str, *, message_id: str) -> Mapping[str, int]:
        try:
            message = self._message(to, subject, text, message_id=message_id)
        except (ValueError, HeaderParseError):
            # A line break in a header, or an address that cannot be written in one.
            raise MailFailed("email.invalid") from None
        await self._free.acquire()
        try:
            # Neither other work nor the end of the program waits for a slow server, as it would for pooled threads.
            sending = on_own_thread(partial(self._send, message, to), name="mail", on_end=self._free.release)
        except RuntimeError:
            # The system limits the number of threads.
            raise MailFailed("email.connection") from None
        return await sending

    def _message(self, to: Sequence[str], subject: str, text: str, *, message_id: str) -> EmailMessage:
        """Raises: ValueError, HeaderParseError."""
        # Every server takes it, also one that does not offer 8BITMIME.
        message = EmailMessage(SMTP.clone(cte_type="7bit"))
        message["From"], message["Subject"] = self._sender, subject
        message["To"] = [_address(text) for text in to]
        message["Date"] = formatdate()
        # Equal in every repeat, so that mailboxes can show it once.
        message["Message-ID"] = f"<{message_id}@{self._sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        return message

    def _send(self, message: EmailMessage, to: Sequence[str]) -> Mapping[str, int]:
        try:
            server = self._connected()
            try:
                if self._user is not None:
                    _log_in(server, self._user, self._password or "")
                refused = server.send_message(message, to_addrs=to)
                server.leave()
            finally:
                server.close()
        except ssl.SSLError:
            raise MailFailed("email.tls") from None
        except smtplib.SMTPAuthenticationError:
            raise MailFailed("email.login") from None
        except smtplib.SMTPNotSupportedError:
            # An address has letters that this server cannot deliver to.
            raise MailFailed("email.invalid") from None
        except smtplib.SMTPRecipientsRefused as error:
            # No recipient was accepted. A code below 500 asks to try again, so the lowest one decides.
            code = min(code for code, _ in error.recipients.values())
            raise MailFailed(_kind_of(code)) from None
        except smtplib.SMTPResponseException as error:
            raise MailFailed(_kind_of(error.smtp_code)) from None
        except (smtplib.SMTPException, OSError, ValueError):
            # A ValueError is that of a reply that cannot be decoded.
            raise MailFailed("email.connection") from None
        return {recipient: code for recipient, (code, _) in refused.items()}

    def _connected(self) -> SmtpSession:
        session = SmtpSession(
            self._host,
            connect=partial(socket.create_connection, (self._host, self._port), _TIMEOUT_SECONDS),
            tls=ssl.create_default_context if self._is_tls else None,
            seconds=_MOST_SECONDS,
            reply_seconds=_TIMEOUT_SECONDS,
        )
        if self._is_tls:
            return session
        try:
            session.ehlo_or_helo_if_needed()
            if session.has_extn("starttls"):
                session.encrypt(ssl.create_default_context())
            elif self._user is not None and self._host not in ("localhost", "127.0.0.1", "::1"):
                raise MailFailed("email.tls")
        except BaseException:
            session.close()
            raise
        return session


def _kind_of(code: int) -> str:
    """Return the kind of a failure by the code of a reply. One that no reply can have is that of another protocol."""
    return f"email.{code}" if 400 <= code <= 599 else "email.connection"


def _log_in(server: smtplib.SMTP, user: str, password: str) -> None:
    try:
        server.login(user, password)
    except smtplib.SMTPNotSupportedError:
        raise MailFailed("email.login") from None


def _address(text: str) -> Address:
    """Raises: ValueError, HeaderParseError for a text that some readers take for another address, or for several."""
    local, _, domain = text.rpartition("@")
    address = Address(username=local, domain=domain)
    if address.addr_spec != text:
        raise ValueError
    return address
