"""Input of many connections: how much of it is read in one iteration of the event loop, and what it takes meanwhile."""

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, cast

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from flowrunner.api.http import protocol
from flowrunner.api.http.connections import Connections
from flowrunner.api.http.paced_starts import PacedStarts
from flowrunner.api.http.protocol import JoinedHttpProtocol
from flowrunner.api.http.turns import PIECE, REQUEST, Turns
from support.waiting import PATIENCE_SECONDS

GET: Final = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LONG: Final = GET.replace(b"\r\n\r\n", b"\r\n" + b"X: y\r\n" * 400 + b"\r\n")
OTHER: Final = "127.0.0.77"


@given(
    st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 16)), max_size=80), max_size=4),
)
def test_all_input_is_read_once_and_in_order_and_little_of_it_in_an_iteration(
    iterations: list[list[tuple[str, int]]],
) -> None:
    inputs = [each for come in iterations for each in come]
    read: list[tuple[str, int]] = []
    begun_in: Counter[int] = Counter()
    iteration = 0

    async def main() -> None:
        nonlocal iteration
        turns = Turns()

        def come(address: str, number: int, requests: int) -> None:
            read.append((address, number))
            begun_in[iteration] += requests
            turns.count(PIECE)
            for _ in range(requests):
                turns.count(REQUEST)

        number = 0
        for inputs_now in (*iterations, *[[]] * 400):
            for address, requests in inputs_now:
                if turns.are_over:
                    turns.wait(address, partial(come, address, number, requests))
                else:
                    come(address, number, requests)
                number += 1
            # What waits is read first in the next one.
            iteration += 1
            await asyncio.sleep(0)

    asyncio.run(main())

    assert sorted(number for _, number in read) == list(range(len(inputs)))
    for address in "abc":
        assert [number for of, number in read if of == address] == [
            number for number, (of, _) in enumerate(inputs) if of == address
        ]
    assert max(begun_in.values(), default=0) <= 32 + 16


async def test_addresses_take_turns() -> None:
    turns, read = Turns(), list[str]()
    for address in "aaaabbc":
        turns.wait(address, partial(read.append, address))

    await asyncio.sleep(0)

    assert "".join(read) == "abcabaa"


async def test_input_that_cannot_be_read_keeps_no_other_from_being_read() -> None:
    turns, read, failed = Turns(), list[str](), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context["exception"]))

    def fail() -> None:
        raise ValueError

    turns.wait("a", fail)
    turns.wait("b", partial(read.append, "b"))
    await asyncio.sleep(0)
    # What comes now would overtake the one that waits.
    after_failure = list(read), turns.are_over
    for _ in range(2):
        await asyncio.sleep(0)

    assert after_failure == ([], True)
    assert (read, turns.are_over) == (["b"], False)
    assert [type(error) for error in failed] == [ValueError]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110 # it takes a few iterations of the loop
            await asyncio.sleep(0)


class Server:
    """A server whose requests are answered when they may be. Keeps the address of each that has begun."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self.may_answer = asyncio.Event()
        self.begun: list[str] = []
        self.dropped = 0
        # The last of its connections that a request came on, which it keeps no longer than others do.
        self.latest: Callable[[], JoinedHttpProtocol | None] = lambda: None
        self.cycles = weakref.WeakSet[RequestResponseCycle]()
        self.connections = Connections(most, on_drop=self._drop, most_bytes=most_bytes)
        self.port = 0

    def _drop(self) -> None:
        self.dropped += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.append(scope["client"][0])
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def open(self, address: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))


@asynccontextmanager
async def serving(*, most: int = 10_000, most_bytes: int = 2**30) -> AsyncIterator[Server]:
    app = Server(most, most_bytes)

    class Watched(JoinedHttpProtocol):
        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            app.cycles.add(self.cycle)
            app.latest = weakref.ref(self)

    http = cast("Any", partial(Watched, open_connections=app.connections))
    server = uvicorn.Server(uvicorn.Config(app, port=0, loop="none", http=http, lifespan="off", log_config=None))
    running = asyncio.create_task(server._serve())  # `serve` takes over the signals
    async with asyncio.timeout(PATIENCE_SECONDS):
        await until(lambda: server.started)
        app.port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield app
        finally:
            app.may_answer.set()
            server.should_exit = True
            await running


@pytest.mark.parametrize("request_", [GET, GET.replace(b"GET", b"POST")[:-2] + b"Content-Length: 2\r\n\r\nab"])
async def test_the_deadlines_of_a_request_do_not_count_while_it_is_answered(
    monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    async with serving() as app:
        reader, writer = await app.open()
        for number in (1, 2):
            app.may_answer.clear()
            writer.write(request_)
            await until(lambda n=number: len(app.begun) == n)  # type: ignore[misc]
            connection = app.latest()
            assert connection is not None
            connection._cancel_deadline()
            later = connection.loop.time() + 2 * (protocol.HEAD_SECONDS + protocol.BODY_SECONDS)
            with monkeypatch.context() as while_it_is_later:
                while_it_is_later.setattr(connection.loop, "time", lambda now=later: now)
                connection._check_deadline()
            app.may_answer.set()
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_the_deadline_of_a_head_does_not_count_while_it_waits_to_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    deferred: list[JoinedHttpProtocol] = []
    defer = JoinedHttpProtocol._defer

    def defer_for_long(self: JoinedHttpProtocol, data: bytes) -> None:
        defer(self, data)
        self._turns.leave(self._address, self._read_deferred)
        deferred.append(self)

    monkeypatch.setattr(JoinedHttpProtocol, "_defer", defer_for_long)
    async with serving() as app:
        app.may_answer.set()
        reader, writer = await app.open()
        app.connections.turns.are_over = True
        writer.write(GET)
        await until(lambda: len(deferred) == 1)
        (waiting,) = deferred
        waiting._cancel_deadline()
        assert waiting._head_since is not None
        waiting._head_since -= protocol.HEAD_SECONDS
        waiting._check_deadline()
        app.connections.turns.are_over = False
        waiting._read_deferred()

        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.close()


@pytest.mark.parametrize(("head", "most"), [(GET, 200), (LONG, 100)], ids=["short heads", "long heads"])
async def test_a_crowd_of_requests_begins_over_several_iterations_and_others_come_between(
    head: bytes, most: int
) -> None:
    async with serving() as app:
        crowd = [await app.open() for _ in range(300)]
        other = await app.open(OTHER)
        # The loop sees all of it at once.
        for _, writer in (*crowd, other):
            writer.write(head)
        await until(lambda: len(app.begun) == 301)
        app.may_answer.set()
        for reader, writer in (*crowd, other):
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            writer.close()

    assert app.begun.index(OTHER) < most


async def test_a_request_with_a_long_head_whose_client_is_gone_does_not_begin() -> None:
    async with serving() as app:
        crowd = [await app.open() for _ in range(100)]
        for _, writer in crowd:
            writer.write(LONG)
        await until(lambda: len(app.cycles) == 100)
        for cycle in list(app.cycles):
            cycle.transport.abort()
        del cycle
        await until(lambda: len(app.cycles) == len(app.begun))
        for _ in range(100):
            await asyncio.sleep(0)
        for _, writer in crowd:
            writer.close()

    assert len(app.begun) < 50


async def test_a_connection_whose_long_head_waits_gives_way_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PacedStarts, "_begin", lambda self: None)
    async with serving(most=100) as app:
        crowd = [await app.open() for _ in range(100)]
        for _, writer in crowd:
            writer.write(LONG)
        await until(lambda: len(app.cycles) == 100)
        others = [await app.open(OTHER) for _ in range(10)]
        for _, writer in others:
            writer.write(GET)
        app.may_answer.set()
        for reader, writer in others:
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            writer.close()
        for _, writer in crowd:
            writer.close()

    assert app.dropped == 10


async def test_every_one_of_many_pipelined_requests_is_answered() -> None:
    async with serving() as app:
        app.may_answer.set()
        crowd = [await app.open() for _ in range(50)]
        for _, writer in crowd:
            writer.write(GET * 16)
        answers = []
        for reader, writer in crowd:
            answers.append(b"".join([await reader.readuntil(b"ok") for _ in range(16)]).count(b"HTTP/1.1 200"))
            writer.close()

    assert answers == [16] * 50


async def test_the_requests_of_a_connection_that_ends_are_freed_without_the_garbage_collector() -> None:
    async with serving() as app:
        _, writer = await app.open()
        writer.write(GET * 16)
        await until(lambda: len(app.cycles) == 16)
        gc.disable()
        try:
            next(iter(app.cycles)).transport.abort()
            # The first one is being answered.
            await until(lambda: len(app.cycles) == 1)
            app.may_answer.set()
            await until(lambda: not app.cycles)
        finally:
            gc.enable()
        writer.close()


@pytest.mark.parametrize(
    ("head", "size"),
    [(GET, 16 * 1024), (LONG, 90 * 1024)],
    ids=["short heads", "many headers"],
)
async def test_pipelined_requests_count_in_the_memory_of_all_connections(head: bytes, size: int) -> None:
    most_bytes = 16 * 2**20
    async with serving(most_bytes=most_bytes) as app:
        crowd = [await app.open() for _ in range(200)]
        for _, writer in crowd:
            writer.write(head * 16)
        await until(lambda: len(app.begun) + app.dropped == 200)
        waiting = len(app.cycles) - len(app.begun)
        # What has begun is answered, and the connections that were given up end.
        app.may_answer.set()
        answers = []
        for reader, writer in crowd:
            with suppress(ConnectionError):
                answers.append((await reader.read()).count(b"HTTP/1.1 200"))
            writer.close()

    assert 0 < waiting <= most_bytes // size + 16
    assert sum(answered > 0 for answered in answers) >= 200 - app.dropped


async def test_a_head_that_begins_before_an_answer_counts_in_the_memory_of_all_connections_until_it_ends() -> None:
    head = LONG.replace(b"y", b"y" * 100)
    async with serving() as app:
        reader, writer = await app.open()
        writer.write(GET + head[:30_000])
        await until(lambda: len(app.begun) == 1)
        app.may_answer.set()
        await reader.readuntil(b"ok")
        await until(lambda: app.connections._held_bytes >= 30_000)
        writer.write(head[30_000:])

        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        await until(lambda: app.connections._held_bytes == 0)
        writer.close()


async def test_an_idle_connection_keeps_no_head() -> None:
    async with serving() as app:
        app.may_answer.set()
        reader, writer = await app.open()
        writer.write(GET)
        await reader.readuntil(b"ok")
        (cycle,) = app.cycles

        assert dict(cycle.scope) == {}
        writer.write(GET)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.close()
