"""Connections of the synchronous client, with `http.client` of the standard library."""

import http.client
import io
import math
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from selectors import EVENT_READ, DefaultSelector
from typing import Any, Final

from flowrunner.client.answers import Answer
from flowrunner.client.errors import ServerUnreachable, UnreadableAnswer, reason_of
from flowrunner.client.requests import Origin, Request

_MOST_IDLE: Final = 10
_CHUNK_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The bounds of one attempt.

    Attributes:
        connecting: Seconds until there is a connection.
        silence: Seconds without a byte.
        deadline: The moment on the monotonic clock at which it ends.
    """

    connecting: float
    silence: float
    deadline: float

    @property
    def seconds(self) -> float:
        """The seconds that the next operation of the socket may take. Raises: TimeoutError."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for the request is up")
        return min(self.silence, left)


class SyncTransport:
    """Connections to one origin, which are kept open. Threads may share it, and a forked process gets its own.

    Args:
        connect_seconds: How long it may take to connect for a stream.
    """

    def __init__(self, origin: Origin, *, connect_seconds: float, ca_file: str | None) -> None:
        self._origin = origin
        self._connect_seconds = connect_seconds
        self._context = ssl.create_default_context(cafile=ca_file) if origin.is_secure else None
        self._idle: list[http.client.HTTPConnection] = []
        self._process = os.getpid()

    def send(self, request: Request, *, seconds: float, size: int) -> Answer:
        """Send a request once, and return its answer.

        Args:
            seconds: How long it may take.
            size: Bytes that the body may have.

        Raises:
            ServerUnreachable, UnreadableAnswer
        """
        bounds = Bounds(connecting=seconds, silence=seconds, deadline=time.monotonic() + seconds)
        with self._exchange(request, bounds) as response:
            found, read = [], 0
            for chunk in self._chunks(response):
                read += len(chunk)
                if read > size:
                    raise UnreadableAnswer(f"The answer has more than {size} bytes")
                found.append(chunk)
            return Answer(status=response.status, headers=_headers(response), body=b"".join(found))

    @contextmanager
    def stream(self, request: Request, *, silent_seconds: float) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        """Send a request once; give its answer without the body, and the chunks of that as they arrive.

        Args:
            silent_seconds: How long nothing may arrive.

        Raises: ServerUnreachable. So do the chunks.
        """
        bounds = Bounds(connecting=self._connect_seconds, silence=silent_seconds, deadline=math.inf)
        with self._exchange(request, bounds) as response:
            answer = Answer(status=response.status, headers=_headers(response), body=b"")
            yield answer, self._chunks(response)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _exchange(self, request: Request, bounds: Bounds) -> Iterator[http.client.HTTPResponse]:
        """Give the response to a request. The connection is kept if it was read to its end."""
        connection, is_done = self._connected(bounds), False
        try:
            response = self._response(connection, request, bounds)
            yield response
            is_done = response.isclosed() and not response.will_close
        finally:
            if is_done and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
            else:
                connection.close()

    def _response(
        self, connection: http.client.HTTPConnection, request: Request, bounds: Bounds
    ) -> http.client.HTTPResponse:
        connection.response_class = partial(_BoundedResponse, bounds)  # type: ignore[assignment] # it makes responses
        target, headers = self._origin.prefix + request.target, dict(request.headers)
        with self._unreachable_after_errors():
            connection.sock.settimeout(bounds.seconds)
            connection.request(request.method, target, request.body, headers)
            return connection.getresponse()

    def _chunks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """Yield the body as it arrives. Raises: ServerUnreachable: It is cut off."""
        while True:
            # Only around the read: an error of the caller is none of the connection.
            with self._unreachable_after_errors():
                chunk = response.read1(_CHUNK_BYTES)
                if not chunk and response.length:
                    raise http.client.IncompleteRead(b"", response.length)
            if not chunk:
                return
            yield chunk

    @contextmanager
    def _unreachable_after_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            raise ServerUnreachable(f"{self._origin} gave no answer: {reason_of(error)}", was_sent=True) from None

    def _connected(self, bounds: Bounds) -> http.client.HTTPConnection:
        if self._process != os.getpid():
            # After a fork both processes have them, and each would read answers to requests of the other.
            self._process = os.getpid()
            self.close()
        while self._idle:
            with suppress(IndexError):
                connection = self._idle.pop()
                if not _is_closed(connection):
                    return connection
                connection.close()
        connection = self._new_connection(bounds)
        try:
            connection.connect()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ServerUnreachable(f"Cannot connect to {self._origin}: {reason_of(error)}", was_sent=False) from None
        return connection

    def _new_connection(self, bounds: Bounds) -> http.client.HTTPConnection:
        origin, seconds = self._origin, min(bounds.connecting, bounds.seconds)
        if self._context is None:
            return http.client.HTTPConnection(origin.host, origin.port, timeout=seconds)
        return http.client.HTTPSConnection(origin.host, origin.port, timeout=seconds, context=self._context)


class _BoundedResponse(http.client.HTTPResponse):
    """A response whose every read ends at the deadline."""

    def __init__(self, bounds: Bounds, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_BoundedReader(sock, bounds))


class _BoundedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, bounds: Bounds) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._bounds = bounds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        self._sock.settimeout(self._bounds.seconds)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _is_closed(connection: http.client.HTTPConnection) -> bool:
    """Return True if the server has closed an idle connection, or has sent something that nobody asked for."""
    with DefaultSelector() as selector:
        selector.register(connection.sock, EVENT_READ)
        return bool(selector.select(0))


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}
