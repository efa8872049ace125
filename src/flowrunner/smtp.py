"""Sessions with SMTP servers whose replies are bounded."""

import hmac
import smtplib
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

# Of one reply, and of all replies of a session.
_MOST_LINES: Final = 100
_MOST_BYTES: Final = 256 * 1024


class SmtpSession(smtplib.SMTP):
    """A session with a server, connected once it is made. The server's replies are bounded, each and all together.

    Args:
        host: Name that the server's certificate must have.
        connect: Returns a connected socket, which the session closes.
        tls: Returns what encrypts the connection from its beginning, once there is one; None to begin without.
        seconds: Time limit of the session.
        reply_seconds: Time limit of a reply, and of each part of what is sent.
        own_name: Name of this machine for the server; that of the system if None.

    Raises:
        smtplib.SMTPException, OSError, ValueError: As every method; ValueError for a reply that cannot be decoded.
    """

    def __init__(
        self,
        host: str,
        *,
        connect: Callable[[], socket.socket],
        tls: Callable[[], ssl.SSLContext] | None,
        seconds: float,
        reply_seconds: float,
        own_name: str | None = None,
    ) -> None:
        self.deadline = time.monotonic() + seconds
        self.reply_seconds = reply_seconds
        self.unread_bytes = _MOST_BYTES
        self._begin, self._tls = connect, tls
        # The port has no effect: `connect` knows it.
        super().__init__(host, smtplib.SMTP_PORT, local_hostname=own_name, timeout=reply_seconds)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = self._begin()
        connection.settimeout(timeout)
        if self._tls is None:
            return connection
        try:
            # Not before: where no file can be opened, a context is made without the certificates that it trusts.
            return self._tls().wrap_socket(connection, server_hostname=host)
        except BaseException:
            connection.close()
            raise

    def getreply(self) -> tuple[int, bytes]:
        # A connection that becomes encrypted has another socket, and so other lines.
        if self.file is None and self.sock is not None:
            self.file = _Lines(self, self.sock)
        if self.file is not None:
            self.file.left = _MOST_LINES
        return super().getreply()

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Encrypt the connection by STARTTLS.

        Raises:
            smtplib.SMTPNotSupportedError: The server does not offer it.
        """
        self.starttls(context=context)
        self.ehlo_or_helo_if_needed()

    def auth(self, mechanism: str, authobject: Callable[..., str | None], **options: Any) -> tuple[int, bytes]:
        """Log in by a mechanism, with a user name and a password in UTF-8 (RFC 4616)."""

        def answer(*challenge: bytes) -> _Utf8 | None:
            text = authobject(*challenge)
            return None if text is None else _Utf8(text)

        return super().auth(mechanism, answer, **options)  # type: ignore[arg-type] # takes both forms

    def auth_cram_md5(self, challenge: bytes | None = None) -> str | None:  # type: ignore[override] # is overloaded
        """Return the answer to a challenge (RFC 2195); smtplib's takes a password in ASCII only."""
        if challenge is None:
            return None
        return f"{self.user} {hmac.new(str(self.password).encode(), challenge, 'md5').hexdigest()}"

    def leave(self) -> None:
        """Say that the session ends, without waiting for the answer.

        The e-mail was accepted: the later that is known, the more likely a repeat.
        """
        with suppress(OSError):
            self.putcmd("QUIT")


class _Utf8(str):
    """A text for smtplib, which asks for its ASCII."""

    __slots__ = ()

    def encode(self, encoding: str = "", errors: str = "strict") -> bytes:
        return super().encode("utf-8", errors)


class _Lines:
    """The lines of a server's replies. Has what smtplib uses of a file.

    Attributes:
        left: The number of further lines that may be read.
    """

    def __init__(self, session: SmtpSession, connection: socket.socket) -> None:
        self._session = session
        self._socket = connection
        self._unread = b""
        self.left = 0

    def readline(self, limit: int) -> bytes:
        """Return the next line. Raises: OSError, also for one that is longer than the limit."""
        if not self.left:
            raise OSError(f"a reply of more than {_MOST_LINES} lines")
        self.left -= 1
        while b"\n" not in self._unread and len(self._unread) < limit:
            seconds = self._session.deadline - time.monotonic()
            if seconds <= 0:
                raise TimeoutError
            self._socket.settimeout(min(seconds, self._session.reply_seconds))
            if not (received := self._socket.recv(limit)):
                break
            self._session.unread_bytes -= len(received)
            if self._session.unread_bytes < 0:
                raise OSError(f"replies of more than {_MOST_BYTES} bytes")
            self._unread += received
        end = self._unread.find(b"\n", 0, limit) + 1 or limit
        if end == limit <= len(self._unread):
            # smtplib would report that the server has rejected the e-mail for good.
            raise OSError("a reply with a line that is too long")
        line, self._unread = self._unread[:end], self._unread[end:]
        return line

    def close(self) -> None:
        """Do nothing: the connection closes its socket."""
