"""A blocking connection to a server, bounded in time and in what the server may send."""

import socket
import ssl
import time
from typing import Final

_BYTES_AT_ONCE: Final = 64 * 1024


class InvalidAnswer(Exception):
    """Something from the server that is no answer by the protocol, or too much of it."""


class BoundedSocket:
    """The base of the connections for protocols.

    Args:
        connection: A connected socket, which `close` closes.
        deadline: The end of the session, by `time.monotonic`.
        most_bytes: Of all that the server sends.

    Raises:
        OSError: As every method: the connection has failed, or the deadline has passed (TimeoutError).
        InvalidAnswer: As every method that receives: the server has sent more.
    """

    def __init__(self, connection: socket.socket, *, deadline: float, most_bytes: int) -> None:
        self._socket = connection
        self.deadline = deadline
        self._unread = bytearray()
        self._bytes_left = most_bytes

    def send(self, *parts: bytes) -> None:
        self._limit_wait()
        self._socket.sendall(b"".join(parts))

    def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Encrypt the connection.

        Raises:
            InvalidAnswer: Something came before: somebody may have inserted it, to be taken for a part of the encrypted
                session.
        """
        if self._unread:
            raise InvalidAnswer
        self._limit_wait()
        self._socket = context.wrap_socket(self._socket, server_hostname=host)

    def close(self) -> None:
        self._socket.close()

    def _data(self, size: int) -> bytes:
        """Return the next bytes."""
        self._fill(size)
        data = bytes(self._unread[:size])
        del self._unread[:size]
        return data

    def _fill(self, size: int) -> None:
        """Receive until there are so many bytes unread."""
        while len(self._unread) < size:
            self._receive()

    def _receive(self) -> None:
        self._limit_wait()
        received = self._socket.recv(_BYTES_AT_ONCE)
        if not received:
            raise ConnectionResetError
        self._bytes_left -= len(received)
        if self._bytes_left < 0:
            raise InvalidAnswer
        self._unread += received

    def _limit_wait(self) -> None:
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        self._socket.settimeout(seconds)
