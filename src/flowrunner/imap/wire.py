"""Lines and literals of IMAP, bounded."""

import re
import socket
from collections.abc import Sequence
from typing import Final

from flowrunner.bounded_socket import BoundedSocket, InvalidAnswer

# Of all that a server sends in a session.
_MOST_BYTES: Final = 64 * 1024 * 1024
# Other clients of a folder may delete all of its messages meanwhile, which is a line for each.
_MOST_LINES: Final = 250_000
_LITERAL: Final = re.compile(rb"\{(\d{1,10})\}\r?\n\Z")
# Of a line that is dropped, what may announce a literal.
_TAIL_BYTES: Final = 32


class ImapWire(BoundedSocket):
    """The connection to a server. Args and errors: as `BoundedSocket`."""

    def __init__(self, connection: socket.socket, *, deadline: float) -> None:
        super().__init__(connection, deadline=deadline, most_bytes=_MOST_BYTES)
        self._lines_left = _MOST_LINES

    def response(self, *, room: int) -> Sequence[bytes] | None:
        """Return the next response: the text of its lines, and between two of them a literal.

        Returns:
            None for one that has more than ``room`` bytes, which is read and dropped.

        Raises:
            InvalidAnswer.
        """
        parts: list[bytes] = []
        while True:
            self._lines_left -= 1
            if self._lines_left < 0:
                raise InvalidAnswer
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

    def _skip(self, size: int) -> None:
        if size > self._bytes_left + len(self._unread):
            raise InvalidAnswer
        while size > len(self._unread):
            size -= len(self._unread)
            self._unread.clear()
            self._receive()
        del self._unread[:size]
