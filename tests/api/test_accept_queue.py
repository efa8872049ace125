"""Connections that wait to be accepted, in the event loop that the server has."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing
from itertools import pairwise
from typing import Any, Final

import pytest
import uvloop

from flowrunner.api.http import accept_queue
from flowrunner.api.http.accept_queue import AcceptQueue

CROWD: Final = 300


class Echo(asyncio.Protocol):
    """Sends back what it gets. Args: accepted: Where it notes itself."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.server.accepted.append(self)
        self.server.accept_queue.look()

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Server:
    def __init__(self, listener: socket.socket) -> None:
        self.accepted: list[Echo] = []
        self.failed: list[dict[str, Any]] = []
        self.address = listener.getsockname()
        self.accept_queue = AcceptQueue(listener, lambda: Echo(self))

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address)


def serve(use: Callable[[Server], Awaitable[None]]) -> None:
    """Use a server that listens, in uvloop."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with closing(socket.create_server(("127.0.0.1", 0), backlog=1024)) as listener:
            server = Server(listener)
            loop.set_exception_handler(lambda _, context: server.failed.append(context))
            listening = await loop.create_server(lambda: Echo(server), sock=listener, backlog=1024)
            await use(server)
            assert server.failed == []
            for one in server.accepted:
                one.transport.abort()
            listening.close()
            await asyncio.sleep(0)

    uvloop.run(main())


def test_a_crowd_that_waits_is_accepted_in_a_few_iterations_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept_queue, "_MOST_AT_ONCE", 50)
    after: list[int] = []

    async def use(server: Server) -> None:
        crowd = [server.connect() for _ in range(CROWD)]
        for _ in range(30):
            await asyncio.sleep(0)
            after.append(len(server.accepted))
        for one in crowd:
            one.close()

    serve(use)

    assert after[-1] == CROWD
    # A bounded number in each: the requests of those that are accepted have a part of every iteration.
    assert max(later - earlier for earlier, later in pairwise(after)) <= 51


def test_every_connection_of_a_crowd_is_served_alike() -> None:
    async def use(server: Server) -> None:
        loop = asyncio.get_running_loop()
        crowd = [server.connect() for _ in range(CROWD)]
        for number, one in enumerate(crowd):
            one.setblocking(False)
            await loop.sock_sendall(one, b"%d" % number)
        answers = [await loop.sock_recv(one, 10) for one in crowd]
        assert answers == [b"%d" % number for number in range(CROWD)]
        sockets = [one.transport.get_extra_info("socket") for one in server.accepted]
        assert {one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in sockets} == {1}
        assert {one.transport.get_extra_info("peername")[0] for one in server.accepted} == {"127.0.0.1"}
        for one in crowd:
            one.close()

    serve(use)


def test_clients_that_are_gone_and_a_server_that_has_ended_leave_no_error() -> None:
    async def use(server: Server) -> None:
        gone = [server.connect() for _ in range(CROWD)]
        for one in gone:
            # Ends with a reset.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            one.close()
        for _ in range(30):
            await asyncio.sleep(0)
        with closing(server.connect()) as last:
            last.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(last, b"x")
            assert await asyncio.get_running_loop().sock_recv(last, 1) == b"x"

    serve(use)

    async def use_ended(server: Server) -> None:
        server.accept_queue._listener.close()
        server.accept_queue.look()
        await asyncio.sleep(0.01)

    serve(use_ended)
