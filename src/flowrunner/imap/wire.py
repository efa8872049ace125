"""Lines and literals of IMAP on a blocking socket, bounded."""

import re
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Final

# Of all that a server sends in a session.
_MOST_BYTES: Final = 64 * 1024 * 1024
# Other clients of a folder may delete all of its messages meanwhile, which is a line for each.
_MOST_LINES: Final = 250_000
_BYTES_AT_ONCE: Final = 64 * 1024
_LITERAL: Final = re.compile(rb"\{(\d{1,10})\}\r?\n\Z")
# Of a line that is dropped, what may announce a literal.
_TAIL_BYTES: Final = 32


class NotImap(Exception):
    """Something from the server that is no answer by the protocol, or too much of it."""


class ImapWire:
    """The connection to a server.

    Args:
        connection: A connected socket, which `close` closes.
        deadline: The end of the session, by `time.monotonic`.

    Raises:
        OSError: As every method: the connection has failed, or the deadline has passed (TimeoutError).
    """

    def __init__(self, connection: socket.socket, *, deadline: float) -> None:
        self._socket = connection
        self._deadline = deadline
        self._unread = bytearray()
        self._bytes, self._lines = _MOST_BYTES, _MOST_LINES

    def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Encrypt the connection.

        Raises:
            NotImap: Something came before: somebody may have inserted it, to be taken for a part of the encrypted
                session.
        """
        if self._unread:
            raise NotImap
        self._limit_wait()
        self._socket = context.wrap_socket(self._socket, server_hostname=host)

    def send(self, data: bytes) -> None:
        self._limit_wait()
        self._socket.sendall(data)

    def response(self, *, room: int) -> Sequence[bytes] | None:
        """Return the next response: the text of its lines, and between two of them a literal.

        Returns:
            None for one that has more than ``room`` bytes, which is read and dropped.

        Raises:
            NotImap.
        """
        parts: list[bytes] = []
        while True:
            self._lines -= 1
            if self._lines < 0:
                raise NotImap
            line, is_whole = self._line(room)
            room = room - len(line) if is_whole else -1
            literal = _LITERAL.search(line)
            if literal is None:
                parts.append(line.rstrip(b"\r\n"))
                return parts if room >= 0 else None
            size = int(literal[1])
            room -= size
            if room >= 0:
                parts += (line[: literal.start()], self._data(size))
            else:
                parts.clear()
                self._skip(size)

    def _line(self, most: int) -> tuple[bytes, bool]:
        """Return the next line with its end, and whether that is all of it: of a longer line it is the last part."""
        searched, is_whole = 0, True
        while (end := self._unread.find(b"\n", searched) + 1) == 0:
            if len(self._unread) > max(most, _TAIL_BYTES):
                is_whole = False
                del self._unread[:-_TAIL_BYTES]
            searched = len(self._unread)
            self._receive()
        line = bytes(self._unread[:end])
        del self._unread[:end]
        return line, is_whole and len(line) <= most

    def _data(self, size: int) -> bytes:
        while len(self._unread) < size:
            self._receive()
        data = bytes(self._unread[:size])
        del self._unread[:size]
        return data

    def _skip(self, size: int) -> None:
        if size > self._bytes + len(self._unread):
            raise NotImap
        while size > len(self._unread):
            size -= len(self._unread)
            self._unread.clear()
            self._receive()
        del self._unread[:size]

    def _receive(self) -> None:
        self._limit_wait()
        received = self._socket.recv(_BYTES_AT_ONCE)
        if not received:
            raise ConnectionResetError
        self._bytes -= len(received)
        if self._bytes < 0:
            raise NotImap
        self._unread += received

    def _limit_wait(self) -> None:
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        self._socket.settimeout(seconds)

    def close(self) -> None:
        self._socket.close()
