"""Messages of PostgreSQL's protocol 3.0, bounded.

Source: https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

import socket
import ssl
import struct
from collections.abc import Mapping, Sequence
from typing import Final

from flowrunner.bounded_socket import BoundedSocket, InvalidAnswer

# Of the values of a row, and of all rows of an answer.
MOST_ROW_BYTES: Final = 1024 * 1024
# Of another message, and of all that a server sends in a session.
_MOST_MESSAGE_BYTES: Final = 256 * 1024
_MOST_BYTES: Final = 8 * 1024 * 1024
_MOST_MESSAGES: Final = 100_000
# The server may send these at any time: NoticeResponse, ParameterStatus, NotificationResponse.
_UNASKED: Final = (b"N", b"S", b"A")
_SSL_REQUEST: Final = struct.pack("!II", 8, 80877103)
_CANCEL_REQUEST: Final = 80877102


class TooLarge(Exception):
    """Rows that are larger than an answer may be."""


class PostgresError(Exception):
    """An error that the server reports.

    Attributes:
        fields: Its fields by their letters, such as `C` for the SQLSTATE and `M` for the message.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(fields.get("M", ""))
        self.fields = fields

    @property
    def is_fatal(self) -> bool:
        """Return whether the session has ended with it."""
        # Since version 9.6, `V` is what `S` says in the language of the server.
        return self.fields.get("V", self.fields.get("S")) in ("FATAL", "PANIC")


class Wire(BoundedSocket):
    """The connection to a server. Args and errors: as `BoundedSocket`."""

    def __init__(self, connection: socket.socket, *, deadline: float) -> None:
        super().__init__(connection, deadline=deadline, most_bytes=_MOST_BYTES)
        self._messages_left = _MOST_MESSAGES

    def encrypt_if_offered(self, context: ssl.SSLContext, host: str) -> bool:
        """Encrypt the connection, before anything else was sent; return False if the server does not offer it."""
        self.send(_SSL_REQUEST)
        answer = self._data(1)
        if answer in (b"N", b"E"):
            return False
        if answer != b"S":
            raise InvalidAnswer
        self.encrypt(context, host)
        return True

    def certificate(self) -> bytes | None:
        """Return the server's certificate in DER; None without TLS."""
        return self._socket.getpeercert(binary_form=True) if isinstance(self._socket, ssl.SSLSocket) else None

    def peer(self) -> str:
        """Return the address of the server."""
        return str(self._socket.getpeername()[0])

    def receive(self, *, room: int = 0) -> tuple[bytes, bytes]:
        """Return the kind and the body of the next message that is no notice.

        Args:
            room: Bytes that the row may have which is expected.

        Raises:
            InvalidAnswer, TooLarge.
        """
        while True:
            kind, size = self._header()
            if kind == b"D":
                if size > room:
                    raise TooLarge
            elif size > _MOST_MESSAGE_BYTES:
                raise InvalidAnswer
            self._messages_left -= 1
            if self._messages_left < 0:
                raise InvalidAnswer
            body = self._data(5 + size)[5:]
            if kind not in _UNASKED:
                return kind, body

    def _header(self) -> tuple[bytes, int]:
        self._fill(5)
        (size,) = struct.unpack_from("!I", self._unread, 1)
        if size < 4:
            raise InvalidAnswer
        return bytes(self._unread[:1]), size - 4


def message(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return kind + struct.pack("!I", len(body) + 4) + body


def startup(settings: Mapping[str, str]) -> bytes:
    pairs = b"".join(c_text(name) + c_text(value) for name, value in settings.items())
    return message(b"", struct.pack("!I", 3 << 16), pairs, b"\0")


def cancel_request(process: int, key: bytes) -> bytes:
    return message(b"", struct.pack("!II", _CANCEL_REQUEST, process), key)


def parse_and_describe(query: str) -> bytes:
    """Return the messages that ask what a query takes and gives."""
    return message(b"P", b"\0", c_text(query), b"\0\0") + message(b"D", b"S\0") + SYNC


def bind_and_execute(values: Sequence[bytes | None]) -> bytes:
    """Return the messages that run the last query which was parsed, with its parameters as text."""
    texts = [b"\xff\xff\xff\xff" if value is None else struct.pack("!I", len(value)) + value for value in values]
    # All as text, the values and what comes back.
    bound = message(b"B", b"\0\0\0\0", struct.pack("!H", len(values)), *texts, b"\0\0")
    return bound + message(b"E", b"\0", b"\0\0\0\0")


def simple_query(query: str) -> bytes:
    return message(b"Q", c_text(query))


SYNC: Final = message(b"S")
TERMINATE: Final = message(b"X")


def c_text(text: str) -> bytes:
    """Return the text as the protocol has it. Raises: ValueError if it has a NUL, which would begin the next field."""
    if "\0" in text:
        raise ValueError("must have no NUL")
    try:
        return text.encode() + b"\0"
    except UnicodeEncodeError:
        raise ValueError("must be Unicode text") from None


def readable(data: bytes) -> str:
    """Return text of the server. Databases cannot store a NUL in text."""
    return data.decode("utf-8", "replace").replace("\x00", "\ufffd")


def refusal_of(body: bytes) -> PostgresError:
    """Return the error of an ErrorResponse."""
    return PostgresError({readable(field[:1]): readable(field[1:]) for field in body.split(b"\0", 32)[:32] if field})


class Fields:
    """The parts of a message, in order. Every method raises InvalidAnswer if there is no such part."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def number(self, size: int) -> int:
        """Return an unsigned number of so many bytes."""
        return int.from_bytes(self.data(size))

    def data(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._body):
            raise InvalidAnswer
        found, self._at = self._body[self._at : end], end
        return found

    def text(self) -> str:
        end = self._body.find(b"\0", self._at)
        if end < 0:
            raise InvalidAnswer
        found, self._at = self._body[self._at : end], end + 1
        return readable(found)

    def rest(self) -> bytes:
        return self._body[self._at :]
