"""A crowd of connections from one address, each of which keeps the server waiting in the same way.

It is a process of its own, `python -m security.crowd ADDRESS PORT KIND COUNT TOKEN EXECUTION`, so that it takes
nothing from the clients that are to be served meanwhile. Whoever is let go comes back, until it is killed. It imports
nothing of the tests or the program, which would take longer than its work.
"""

import os
import resource
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from support.server import Server

SOURCE: Final = "127.0.0.1"
# So many are opened in a burst; between two of them the others send what they have to.
_BURST: Final = 200
# So many come back in a burst: it is not shown here how many requests a second the server can refuse.
_COMING_BACK: Final = 20
_AGAIN_SECONDS: Final = 0.05

_UPGRADE: Final = (
    b"GET /ws/executions/%s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
_LOGIN: Final = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
# A client's ping without content, masked with zeros.
PING: Final = b"\x89\x80\x00\x00\x00\x00"


def upgrade(execution: str, *headers: bytes) -> bytes:
    return _UPGRADE % execution.encode() + b"".join(header + b"\r\n" for header in headers) + b"\r\n"


@dataclass(frozen=True, slots=True)
class Kind:
    """What each connection of a crowd does.

    Args:
        begin: Is sent at once.
        more: Is sent again and again, in small pieces or as much as goes.
        reads: It takes what it is sent.
    """

    begin: Callable[[str, str], bytes]
    more: bytes = b""
    reads: bool = True


KINDS: Final = {
    "silent": Kind(lambda token, execution: b""),
    "upgrade with many headers": Kind(lambda token, execution: upgrade("x", *[b"X: y"] * 150)),
    "upgrade with a long line": Kind(lambda token, execution: upgrade("x", b"X: " + b"y" * 9000)),
    "upgrade with a body": Kind(lambda token, execution: upgrade("x", b"Content-Length: 100000"), more=b"x"),
    "upgrade by nobody": Kind(lambda token, execution: upgrade("x")),
    "long head without an end": Kind(lambda token, execution: b"GET / HTTP/1.1\r\nX: " + b"y" * 60_000),
    "dripping body": Kind(lambda token, execution: _LOGIN + b"Content-Length: 30000\r\n\r\n{", more=b" "),
    "long body without an end": Kind(
        lambda token, execution: _LOGIN + b"Content-Length: 32000\r\n\r\n" + b" " * 31_999
    ),
    "unread answers": Kind(
        lambda token, execution: b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 16, reads=False
    ),
    "unread answers to long heads": Kind(
        lambda token, execution: (
            b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 450 + b"\r\n"
        ) * 16, reads=False,
    ),
    "refused with many headers": Kind(
        lambda token, execution: b"GET /api/v1/flows HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 600 + b"\r\n"
    ),
    "unread pings": Kind(
        lambda token, execution: upgrade(execution, b"Authorization: Bearer " + token.encode()), more=PING * 500,
        reads=False,
    ),
    "read pings": Kind(
        lambda token, execution: upgrade(execution, b"Authorization: Bearer " + token.encode()), more=PING * 500
    ),
}  # fmt: skip


@contextmanager
def crowd(server: "Server", kind: str, count: int, *, token: str = "", execution: str = "") -> Iterator[None]:
    """While it is open, the connections come, and have all come at its beginning."""
    host, port = server.client().address
    with subprocess.Popen(
        [sys.executable, "-m", "security.crowd", host, str(port), kind, str(count), token, execution],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "all have come\n"
            yield
        finally:
            process.kill()


class _Crowd:
    def __init__(self, address: tuple[str, int], kind: Kind, count: int, begin: bytes) -> None:
        self._address = address
        self._kind = kind
        self._count = count
        self._begin = begin
        self._selector = selectors.DefaultSelector()
        self._unsent: dict[socket.socket, bytes] = {}
        self._events = selectors.EVENT_READ if kind.reads else 0
        self.opened = 0

    def run(self) -> None:
        has_told = False
        while True:
            burst = _BURST if self.opened < self._count else _COMING_BACK
            for _ in range(min(burst, self._count - len(self._unsent))):
                self._open()
            if not has_told and self.opened >= self._count:
                has_told = True
                print("all have come", flush=True)
            self._exchange()

    def _open(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not self._kind.reads:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.bind((SOURCE, 0))
        with suppress(BlockingIOError):
            connection.connect(self._address)
        self._unsent[connection] = self._begin
        self._selector.register(connection, selectors.EVENT_WRITE | self._events)
        self.opened += 1

    def _exchange(self) -> None:
        begun = time.monotonic()
        for key, events in self._selector.select(_AGAIN_SECONDS):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            try:
                if events & selectors.EVENT_WRITE:
                    self._send(connection)
                if events & selectors.EVENT_READ and not connection.recv(65536):
                    raise ConnectionResetError
            except BlockingIOError:
                continue
            except OSError:
                self._leave(connection)
        time.sleep(max(0.0, _AGAIN_SECONDS - (time.monotonic() - begun)) if self.opened >= self._count else 0)

    def _send(self, connection: socket.socket) -> None:
        data = self._unsent[connection] or self._kind.more
        if not data:
            # It only waits from now on, and who does not read learns nothing any more.
            self._selector.modify(connection, self._events or selectors.EVENT_READ)
            return
        self._unsent[connection] = data[connection.send(data) :]

    def _leave(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._unsent[connection]
        connection.close()


def main() -> None:
    host, port, kind, count, token, execution = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    chosen = KINDS[kind]
    _Crowd((host, int(port)), chosen, int(count), chosen.begin(token, execution)).run()


if __name__ == "__main__":
    main()
