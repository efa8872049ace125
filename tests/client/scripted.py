"""A server that answers each request with the next bytes of a script."""

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Step = bytes | Callable[[socket.socket], None]


def answer(status: int, body: Any = None, **headers: str) -> bytes:
    """Return an answer in JSON. Underscores in the names of headers stand for dashes."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(content)}"]
    headers.setdefault("X_Request_Id", "req-1")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def error(status: int, code: str, **headers: str) -> bytes:
    return answer(status, {"error": {"code": code, "message": "No", "details": {}}}, **headers)


def hang_up(connection: socket.socket) -> None:
    """End the connection without an answer."""
    connection.shutdown(socket.SHUT_RDWR)


def drip(connection: socket.socket) -> None:
    """Send an answer of which a byte comes now and then, and which never ends."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b" ")
            time.sleep(0.02)


class ScriptedServer:
    """Attributes: requests: The head and body of each request, in their order."""

    def __init__(self, steps: list[Step], context: ssl.SSLContext | None) -> None:
        self._steps = iter(steps)
        self._lock = threading.Lock()
        self.requests: list[str] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._context = context
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def heads(self) -> list[str]:
        return [text.partition("\r\n")[0] for text in self.requests]

    def header(self, number: int, name: str) -> str | None:
        for line in self.requests[number].partition("\r\n\r\n")[0].split("\r\n")[1:]:
            if line.lower().startswith(f"{name.lower()}:"):
                return line.partition(":")[2].strip()
        return None

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._answer_all, args=(connection,), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _answer_all(self, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError, StopIteration), self._secured(accepted) as connection:
            while request := _read(connection):
                with self._lock:
                    self.requests.append(request)
                    step = next(self._steps)
                if callable(step):
                    step(connection)
                    return
                connection.sendall(step)

    def _secured(self, connection: socket.socket) -> socket.socket:
        return connection if self._context is None else self._context.wrap_socket(connection, server_side=True)


def _read(connection: socket.socket) -> str:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return ""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return (head + b"\r\n\r\n" + body).decode()


@contextmanager
def scripted(*steps: Step, context: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    server = ScriptedServer(list(steps), context)
    threading.Thread(target=server.serve, daemon=True).start()
    try:
        yield server
    finally:
        server.close()
