"""The proxy that faults of the network are made with does what it says."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from support.proxy import (
    AtMessage,
    Bandwidth,
    Down,
    Latency,
    LimitData,
    Proxy,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
)
from support.waiting import PATIENCE_SECONDS

MESSAGE = bytes(range(256)) * 4


def echo(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            return


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """In front of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=echo, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        with Proxy(listener.getsockname()[1]) as proxy:
            yield proxy
        # Closing it alone does not wake the one who accepts.
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def connection(proxy: Proxy) -> Iterator[socket.socket]:
    with dial(proxy) as connection:
        yield connection


def dial(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_SECONDS)


def ask(connection: socket.socket, message: bytes = MESSAGE) -> bytes:
    connection.sendall(message)
    return read(connection, len(message))


def read(connection: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer if the other side closes before."""
    got = b""
    while len(got) < size and (data := connection.recv(size - len(got))):
        got += data
    return got


def seconds_to_ask(connection: socket.socket, message: bytes = MESSAGE) -> float:
    start = time.monotonic()
    assert ask(connection, message) == message
    return time.monotonic() - start


def test_without_toxics_everything_comes_through(connection: socket.socket) -> None:
    large = MESSAGE * 2000
    threading.Thread(target=connection.sendall, args=(large,)).start()

    assert read(connection, len(large)) == large


def test_the_end_of_what_one_side_says_comes_through(connection: socket.socket) -> None:
    connection.sendall(MESSAGE)
    connection.shutdown(socket.SHUT_WR)

    assert read(connection, len(MESSAGE) + 1) == MESSAGE


def test_latency_is_added_in_one_direction_or_in_both(proxy: Proxy, connection: socket.socket) -> None:
    with proxy.toxic(Latency(0.1, jitter=0.02), "downstream"):
        assert seconds_to_ask(connection) >= 0.08
    with proxy.toxic(Latency(0.1)):
        assert seconds_to_ask(connection) >= 0.2


def test_one_that_is_down_closes_connections_and_refuses_new_ones(proxy: Proxy, connection: socket.socket) -> None:
    ask(connection)
    with proxy.toxic(Down()):
        assert connection.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            dial(proxy)
    with dial(proxy) as another:
        assert ask(another) == MESSAGE


def test_a_narrow_line_takes_its_time(proxy: Proxy, connection: socket.socket) -> None:
    with proxy.toxic(Bandwidth(bytes_per_second=5 * len(MESSAGE)), "upstream"):
        assert seconds_to_ask(connection) >= 0.2


def test_a_close_is_heard_of_late(proxy: Proxy, connection: socket.socket) -> None:
    ask(connection)
    with proxy.toxic(SlowClose(0.2), "downstream"):
        start = time.monotonic()
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
        assert time.monotonic() - start >= 0.2


def test_a_black_hole_keeps_what_is_sent_until_it_is_gone(proxy: Proxy, connection: socket.socket) -> None:
    connection.settimeout(0.2)
    with proxy.toxic(Timeout(), "upstream"):
        connection.sendall(MESSAGE)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    connection.settimeout(PATIENCE_SECONDS)
    assert read(connection, len(MESSAGE)) == MESSAGE


def test_a_black_hole_may_end_connections(proxy: Proxy, connection: socket.socket) -> None:
    ask(connection)
    with proxy.toxic(Timeout(cut_seconds=0.2)):
        with dial(proxy) as another:
            assert (connection.recv(1), another.recv(1)) == (b"", b"")


def test_connections_are_reset(proxy: Proxy, connection: socket.socket) -> None:
    ask(connection)
    with proxy.toxic(ResetPeer()):
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with dial(proxy) as another:
        assert ask(another) == MESSAGE


def test_data_is_sliced_and_nothing_is_lost(proxy: Proxy, connection: socket.socket) -> None:
    with proxy.toxic(Slicer(size=64, seconds=0.005), "downstream"):
        connection.sendall(MESSAGE)
        first = connection.recv(len(MESSAGE))
        rest = read(connection, len(MESSAGE) - len(first))

    assert len(first) < len(MESSAGE)
    assert first + rest == MESSAGE


def test_a_connection_ends_at_its_limit(proxy: Proxy, connection: socket.socket) -> None:
    ask(connection)
    with proxy.toxic(LimitData(len(MESSAGE) + 100), "downstream"):
        connection.sendall(MESSAGE)
        assert read(connection, len(MESSAGE)) == MESSAGE[:100]


def test_something_is_done_at_a_message(proxy: Proxy, connection: socket.socket) -> None:
    seen: list[str] = []
    with proxy.toxic(AtMessage(2, lambda: seen.append("the second")), "upstream"):
        ask(connection)
        assert seen == []
        ask(connection)
        ask(connection)

    assert seen == ["the second"]


def test_what_is_done_at_a_message_and_fails_tells_who_waits_for_it(proxy: Proxy, connection: socket.socket) -> None:
    def fail() -> None:
        raise RuntimeError("it cannot be done")

    with proxy.toxic(at_message := AtMessage(1, fail), "upstream"):
        ask(connection)
        with pytest.raises(RuntimeError, match="it cannot be done"):
            assert at_message.is_done


async def test_a_connection_that_is_cut_before_it_begins_is_closed(proxy: Proxy) -> None:
    async def accept_and_cut() -> tuple[socket.socket, ...]:
        count = proxy.accepted
        while proxy.accepted == count:  # noqa: ASYNC110 # nothing tells
            await asyncio.sleep(0)
        sides = next(reversed(proxy._connections.values()))
        await proxy._cut_all(resets=False)
        return sides

    cutting = asyncio.run_coroutine_threadsafe(accept_and_cut(), proxy._loop)
    with dial(proxy):
        sides = await asyncio.wrap_future(cutting)

    assert [side.fileno() for side in sides] == [-1, -1]


def test_what_is_not_there_behind_it_ends_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with Proxy(port) as proxy, dial(proxy) as connection:
        assert connection.recv(1) == b""
