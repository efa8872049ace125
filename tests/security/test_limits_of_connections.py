"""Connections that say nothing, too much, or are too many keep no others out."""

import asyncio
import json
import re
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api.test_early_refusals import start, starts
from flowrunner.api.http.connections import SEND_BYTES, Connection, Connections
from security.two_accounts import RETURN, assert_limited
from support.client import PASSWORD, Client, Reply
from support.postgres import PostgresServer
from support.scoreboard import Scoreboard
from support.server import Server
from support.waiting import PATIENCE_SECONDS, wait_for

SOCKETS: Final = 10_000


# WebSockets


LIMITED: Final = {"ACCOUNT_SOCKETS": "10", "MAX_SOCKETS": "15"}
WAITS: Final = "nodes: {a: {type: wait, params: {key: s}}}"


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("limited"), LIMITED)
    try:
        yield running.start()
    finally:
        running.stop()


@contextmanager
def watching(account: Client, execution: str, count: int) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(account.watch(execution))
        yield stack


def refusal(account: Client, execution: str) -> Reply:
    with pytest.raises(InvalidStatus) as refused, account.watch(execution):
        pass
    response = refused.value.response
    headers = {name.lower(): value for name, value in response.headers.raw_items()}
    return Reply(response.status_code, headers, bytes(response.body or b""))


def test_s53_s56_sockets_of_an_account_and_of_all_are_counted_while_they_are_open(limited: Server) -> None:
    admin = limited.admin()
    mara, omar = admin.new_account(), admin.new_account()
    hers, his = (client.run(client.new_flow(WAITS)) for client in (mara, omar))

    with watching(mara, hers, 10):
        assert_limited(refusal(mara, hers), "account_sockets", 10)
        with watching(omar, his, 5):
            assert_limited(refusal(omar, his), "max_sockets", 15)
    wait_for(lambda: "flowrunner_sockets_open 0.0" in admin.get("/metrics").body.decode())
    with watching(mara, hers, 10):
        pass


def test_s53_sockets_that_open_together_are_counted_like_others(tmp_path: Path) -> None:
    # Here the reads before a socket opens take time, so that many are under way together.
    database = PostgresServer().start()
    server = Server(tmp_path, LIMITED | {"DATABASE_URL": database.new_database()})
    try:
        mara = server.start().admin().new_account()
        execution = mara.run(mara.new_flow(WAITS))

        with ExitStack() as stack, ThreadPoolExecutor(30) as pool:

            def opens(_: int) -> bool:
                try:
                    stack.enter_context(mara.watch(execution))
                except InvalidStatus:
                    return False
                return True

            opened = sum(pool.map(opens, range(30)))
    finally:
        server.stop()
        database.stop()

    assert opened == 10


def test_s53_a_message_of_more_than_64_kib_ends_its_socket(account: Client) -> None:
    execution = account.run(account.new_flow(WAITS))
    with account.watch(execution) as socket:
        socket.recv()
        socket.send("x" * 65_536)
        socket.send("x" * 65_537)
        with suppress(ConnectionClosed):
            while True:
                socket.recv(timeout=PATIENCE_SECONDS)
    assert socket.close_code == 1009


def upgrade(url: str, execution: str, *headers: str) -> bytes:
    lines = [f"GET /ws/executions/{execution} HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket"]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def test_s53_a_socket_whose_other_side_is_not_there_any_more_is_closed(hasty_server: Server) -> None:
    account = hasty_server.admin().new_account()
    execution = account.run(account.new_flow(WAITS))
    with (
        account.watch(execution, ping_interval=None) as alive,
        closing(socket.create_connection(account.address, timeout=PATIENCE_SECONDS)) as dead,
    ):
        dead.sendall(upgrade(account.url, execution, f"Authorization: Bearer {account.token}"))
        received = b""
        with suppress(ConnectionResetError):
            # It reads, and never answers a ping.
            while chunk := dead.recv(65536):
                received += chunk
        assert received.startswith(b"HTTP/1.1 101")
        account.post(f"/api/v1/executions/{execution}/signals/s")
        messages = [json.loads(text) for text in alive]
    assert messages[-1]["type"] == "execution_completed"


def test_s53_who_does_not_say_who_they_are_in_time_is_let_go(hasty_server: Server) -> None:
    begun = time.monotonic()
    with closing(socket.create_connection(hasty_server.client().address, timeout=PATIENCE_SECONDS)) as connection:
        connection.sendall(upgrade(hasty_server.url, "x").removesuffix(b"\r\n"))
        with suppress(ConnectionResetError):
            assert connection.recv(65536) == b""
    assert 0.8 < time.monotonic() - begun < 10


# Connections


@contextmanager
def crowd(server: Server, count: int) -> Iterator[list[socket.socket]]:
    """Connections that say nothing, or not all they should: a third each has begun a request, or a body."""
    said = (
        b"",
        b"GET /ws/executions/x HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n",
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
    )
    opened: list[socket.socket] = []
    try:
        for n in range(count):
            connection = socket.create_connection(server.client().address, timeout=PATIENCE_SECONDS)
            opened.append(connection)
            with suppress(ConnectionError):
                connection.sendall(said[n % len(said)])
        yield opened
    finally:
        for connection in opened:
            connection.close()


def assert_served(account: Client, execution: str) -> None:
    """Somebody new, somebody known, and a subscriber."""
    assert Client(account.url).get("/healthz").status == 200
    assert Client(account.url).login(account.email, PASSWORD).token
    with account.watch(execution) as watched:
        assert json.loads(watched.recv(timeout=PATIENCE_SECONDS))["type"] == "execution_update"
        assert account.run_to_end(RETURN)["status"] == "completed"


def test_s53_ten_thousand_sockets_that_nobody_proves_keep_no_others_out(tmp_path: Path, scoreboard: Scoreboard) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SOCKETS + 1000
    files = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), hard))
    count = min(SOCKETS, max(soft, files) - 500)
    server = Server(tmp_path)
    try:
        account = server.start().admin().new_account()
        execution = account.run(account.new_flow(WAITS))
        with account.watch(execution) as early, crowd(server, count):
            assert_served(account, execution)
            account.post(f"/api/v1/executions/{execution}/signals/s")
            assert [json.loads(text) for text in early][-1]["type"] == "execution_completed"
        scoreboard.count("silent connections: others that were not served", cases=count, failures=0)
    finally:
        server.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


FEW_FILES: Final = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
from flowrunner.cli.main import main
main()
"""


def test_s53_with_more_connections_than_files_the_slowest_make_room(tmp_path: Path) -> None:
    server = Server(tmp_path, program=("-c", FEW_FILES))
    try:
        account = server.start().admin().new_account()
        execution = account.run(account.new_flow(WAITS))
        with account.watch(execution) as early, crowd(server, 1000):
            assert len(list(Path(f"/proc/{server.pid}/fd").iterdir())) < 300
            assert_served(account, execution)
            account.post(f"/api/v1/executions/{execution}/signals/s")
            assert [json.loads(text) for text in early][-1]["type"] == "execution_completed"
        metrics = account.get("/metrics").body.decode()
        (dropped,) = re.findall(r'flowrunner_requests_refused_total\{limit="connections"\} ([\d.]+)', metrics)
        assert 100 < float(dropped) < 1000
        assert "out of system resource" not in server.log
        assert "Traceback" not in server.log
    finally:
        server.stop()


@asynccontextmanager
async def connected(connections: Connections) -> AsyncIterator[Connection]:
    """Yield one of the server's connections, whose client says nothing."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    with theirs:
        transport, _protocol = await loop.create_connection(asyncio.Protocol, sock=ours)
        connection = Connection(transport, loop, connections)
        yield connection
        connection.abort()
        connection.lost()


async def test_s62_a_client_that_has_read_its_answer_counts_for_nothing() -> None:
    """Otherwise those that were slow once would leave no room for others."""
    dropped: list[None] = []
    connections = Connections(10, on_drop=lambda: dropped.append(None), most_bytes=2 * SEND_BYTES)

    async with AsyncExitStack() as stack:
        for _ in range(5):
            connection = await stack.enter_async_context(connected(connections))
            connection.pause_writing()
            connection.resume_writing()
        last = await stack.enter_async_context(connected(connections))
        assert last.holds_request(2 * SEND_BYTES)

    assert dropped == []


async def test_s62_the_memory_of_a_request_is_free_when_it_is_answered() -> None:
    async with starts() as app:
        app.connections._most_bytes = 100_000
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        for _ in range(5):
            writer.write(start(body="x" * 60_000))
            assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 201 ")
        writer.close()

    assert [len(body) for body in app.bodies] == [60_000] * 5


async def test_s62_the_memory_of_a_connection_is_free_when_it_is_lost() -> None:
    dropped: list[None] = []
    connections = Connections(10, on_drop=lambda: dropped.append(None), most_bytes=100_000)

    for _ in range(5):
        async with connected(connections) as connection:
            assert connection.holds_request(60_000)

    assert dropped == []
