"""A TCP proxy that does to connections what networks do.

Its faults are those of toxiproxy, by the same names: latency, down, bandwidth, slow_close, timeout, reset_peer,
slicer and limit_data, each in one direction or in both. One difference: what a `Timeout` holds back goes on when it
is taken away, as TCP sends again what a network has lost.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, Self, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

# From the client to the server, and back.
Direction = Literal["upstream", "downstream"]
BOTH: Final[Sequence[Direction]] = ("upstream", "downstream")

_HOST: Final = "127.0.0.1"
_CHUNK_BYTES: Final = 64 * 1024
# What may be under way in one direction of a connection; then the sender has to wait.
_CHUNKS: Final = 64
_ANSWER_SECONDS: Final = 10.0
_RESET: Final = struct.pack("ii", 1, 0)


class Toxic:
    """What happens to data on its way; by itself, nothing."""

    # How long the end of a direction is kept from the other side.
    closing_seconds: float = 0.0
    # After how long a connection ends, and whether without a goodbye; None: never.
    cut_seconds: float | None = None
    resets: ClassVar[bool] = False

    async def treat(self, piece: "Piece", passage: "Passage") -> "AsyncIterator[Piece]":
        yield piece


@dataclass(frozen=True, slots=True)
class Piece:
    """Data, and when it came, by the loop's clock."""

    data: bytes
    came_at: float


@dataclass(frozen=True, eq=False)
class Latency(Toxic):
    """Each piece comes later, by `seconds` and up to `jitter` more or less."""

    seconds: float
    jitter: float = 0.0

    async def treat(self, piece: Piece, passage: "Passage") -> AsyncIterator[Piece]:
        delay = self.seconds + random.uniform(-self.jitter, self.jitter)
        await asyncio.sleep(max(piece.came_at + delay - asyncio.get_running_loop().time(), 0.0))
        yield piece


class Down(Toxic):
    """Connections are closed, and new ones are refused."""


@dataclass(frozen=True, eq=False)
class Bandwidth(Toxic):
    bytes_per_second: float

    async def treat(self, piece: Piece, passage: "Passage") -> AsyncIterator[Piece]:
        # In steps of a tenth of a second, so that little does not wait for much.
        step = max(int(self.bytes_per_second / 10), 1)
        for start in range(0, len(piece.data), step):
            part = piece.data[start : start + step]
            await asyncio.sleep(len(part) / self.bytes_per_second)
            yield Piece(part, piece.came_at)


@dataclass(frozen=True, eq=False)
class SlowClose(Toxic):
    closing_seconds: float


@dataclass(frozen=True, eq=False)
class Timeout(Toxic):
    """A black hole: nothing arrives, and nobody is told. The connection ends after `cut_seconds`, if it is given."""

    cut_seconds: float | None = None

    async def treat(self, piece: Piece, passage: "Passage") -> AsyncIterator[Piece]:
        await passage.until_rid_of(self)
        yield piece


@dataclass(frozen=True, eq=False)
class ResetPeer(Toxic):
    """Connections are reset after `cut_seconds`."""

    cut_seconds: float | None = 0.0
    resets: ClassVar[bool] = True


@dataclass(frozen=True, eq=False)
class Slicer(Toxic):
    """Data comes in small parts of about `size` bytes, `seconds` apart."""

    size: int
    seconds: float = 0.0

    async def treat(self, piece: Piece, passage: "Passage") -> AsyncIterator[Piece]:
        start = 0
        while start < len(piece.data):
            end = start + random.randint(1, 2 * self.size - 1)
            yield Piece(piece.data[start:end], piece.came_at)
            await asyncio.sleep(self.seconds)
            start = end


@dataclass(frozen=True, eq=False)
class LimitData(Toxic):
    """A connection ends once so many bytes have come through in the direction."""

    limit: int

    async def treat(self, piece: Piece, passage: "Passage") -> AsyncIterator[Piece]:
        room = self.limit - passage.passed
        if room > 0:
            yield Piece(piece.data[:room], piece.came_at)
        if room <= len(piece.data):
            raise _Cut


@dataclass(eq=False)
class AtMessage(Toxic):
    """Something is done, once, when the `count`-th piece of data comes, before it goes on. A piece is usually what one
    side has sent at a time: of a protocol of questions and answers, one of them."""

    count: int
    act: Callable[[], object]
    _acted: "Future[object]" = field(default_factory=Future)
    # Several proxies may count, each in a thread of its own.
    _counting: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_done(self) -> bool:
        """Raises: whatever was raised by what was to be done."""
        if not self._acted.done():
            return False
        self._acted.result()
        return True

    async def treat(self, piece: Piece, passage: "Passage") -> AsyncIterator[Piece]:
        with self._counting:
            self.count -= 1
            is_now = self.count == 0
        if is_now:
            # The connection may end meanwhile, even before the thread has begun.
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self._act))
        yield piece

    def _act(self) -> None:
        try:
            self._acted.set_result(self.act())
        except BaseException as error:
            self._acted.set_exception(error)


class _Cut(Exception):
    """The connection ends here."""


class Passage:
    """One direction of a connection.

    Attributes:
        passed: Bytes that have come through.
    """

    def __init__(self, proxy: "Proxy", direction: Direction, source: socket.socket, target: socket.socket) -> None:
        self._proxy = proxy
        self._direction = direction
        self._source, self._target = source, target
        self._waiting: asyncio.Queue[Piece | None] = asyncio.Queue(_CHUNKS)
        self.passed = 0

    async def until_rid_of(self, toxic: Toxic) -> None:
        await self._proxy.until_rid_of(toxic, self._direction)

    async def run(self) -> None:
        """Done when the source has sent all. Raises: _Cut, OSError."""
        async with contextlib.AsyncExitStack() as stack:
            reading = asyncio.create_task(self._read())
            stack.push_async_callback(_end, reading)
            while (piece := await self._waiting.get()) is not None:
                await self._send(piece, self._proxy.toxics(self._direction))
            await reading
        await asyncio.sleep(sum(toxic.closing_seconds for toxic in self._proxy.toxics(self._direction)))
        self._target.shutdown(socket.SHUT_WR)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(self._source, _CHUNK_BYTES):
                await self._waiting.put(Piece(data, loop.time()))
        finally:
            await self._waiting.put(None)

    async def _send(self, piece: Piece, toxics: Sequence[Toxic]) -> None:
        if not toxics:
            await asyncio.get_running_loop().sock_sendall(self._target, piece.data)
            self.passed += len(piece.data)
            return
        async for part in toxics[0].treat(piece, self):
            await self._send(part, toxics[1:])


class Proxy:
    """In front of a port of this machine, on a port and in a thread of its own, for the time of a `with`."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._toxics: dict[Direction, list[Toxic]] = {"upstream": [], "downstream": []}
        self._connections: dict[asyncio.Task[None], tuple[socket.socket, ...]] = {}
        self._resetting: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Task[None] | None = None
        # Keeps the port while nobody listens there.
        self._place = _bound(0)
        self.port: int = self._place.getsockname()[1]
        self.accepted = 0

    @classmethod
    def before(cls, url: str) -> Self:
        """In front of what the URL names."""
        port = urlsplit(url).port
        assert port is not None, "where to go on to"
        return cls(port)

    def through(self, url: str) -> str:
        """The URL, by way of the proxy."""
        parts = urlsplit(url)
        user = f"{parts.username}@" if parts.username else ""
        return parts._replace(netloc=f"{user}{_HOST}:{self.port}").geturl()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Condition()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {self.port}", daemon=True)
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *about: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ANSWER_SECONDS)
        self._loop.close()
        self._place.close()

    def add(self, toxic: Toxic, direction: Direction | None = None) -> None:
        """Have the toxic do its work from now on, also to connections that are there; without a direction, in both."""
        self._call(self._add(toxic, BOTH if direction is None else (direction,)))

    def heal(self) -> None:
        """Take all toxics away. Connections that live go on."""
        self._call(self._heal())

    @contextlib.contextmanager
    def toxic(self, toxic: Toxic, direction: Direction | None = None) -> Iterator[None]:
        self.add(toxic, direction)
        try:
            yield
        finally:
            self.heal()

    def toxics(self, direction: Direction) -> Sequence[Toxic]:
        return tuple(self._toxics[direction])

    async def until_rid_of(self, toxic: Toxic, direction: Direction) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: toxic not in self._toxics[direction])

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER_SECONDS)

    async def _add(self, toxic: Toxic, directions: Sequence[Direction]) -> None:
        for direction in directions:
            self._toxics[direction].append(toxic)
        if isinstance(toxic, Down):
            await _end(self._listening)
            await self._cut_all(resets=False)
        elif toxic.cut_seconds is not None:
            self._loop.call_later(toxic.cut_seconds, self._cut_if_there, toxic, tuple(self._connections))
        await self._tell()

    async def _heal(self) -> None:
        for toxics in self._toxics.values():
            toxics.clear()
        await self._tell()
        if self._listening is None or self._listening.done():
            await self._listen()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _close(self) -> None:
        await self._heal()
        await _end(self._listening)
        await self._cut_all(resets=False)

    async def _listen(self) -> None:
        listener = _bound(self.port)
        listener.listen(128)
        listener.setblocking(False)
        self._listening = asyncio.create_task(self._accept(listener))

    async def _accept(self, listener: socket.socket) -> None:
        # Not `sock_accept`: cancelled at the wrong moment, it loses the connection that it has accepted, and never
        # closes it.
        is_readable = asyncio.Event()
        with listener, contextlib.ExitStack() as stack:
            self._loop.add_reader(listener, is_readable.set)
            stack.callback(self._loop.remove_reader, listener)
            while True:
                try:
                    client, _ = listener.accept()
                except BlockingIOError:
                    is_readable.clear()
                    await is_readable.wait()
                    continue
                self.accepted += 1
                server = socket.socket()
                for side in (client, server):
                    side.setblocking(False)
                    side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                task = asyncio.create_task(self._connect(client, server))
                self._connections[task] = (client, server)
                task.add_done_callback(self._forget)
                for toxic in {*self._toxics["upstream"], *self._toxics["downstream"]}:
                    if toxic.cut_seconds is not None:
                        self._loop.call_later(toxic.cut_seconds, self._cut_if_there, toxic, (task,))

    def _forget(self, task: "asyncio.Task[None]") -> None:
        # One that was cut before it began has not closed them.
        for side in self._connections.pop(task):
            side.close()

    async def _connect(self, client: socket.socket, server: socket.socket) -> None:
        with client, server:
            try:
                await self._loop.sock_connect(server, (_HOST, self._behind))
                async with asyncio.TaskGroup() as passages:
                    passages.create_task(Passage(self, "upstream", client, server).run())
                    passages.create_task(Passage(self, "downstream", server, client).run())
            except* (_Cut, OSError):
                # One side has gone, or has to.
                pass
            finally:
                if asyncio.current_task() in self._resetting:
                    for side in (client, server):
                        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def _cut_if_there(self, toxic: Toxic, connections: Sequence["asyncio.Task[None]"]) -> None:
        if any(toxic in toxics for toxics in self._toxics.values()):
            self._cut(connections, resets=toxic.resets)

    def _cut(self, connections: Sequence["asyncio.Task[None]"], *, resets: bool) -> None:
        for task in connections:
            if resets and not task.done():
                self._resetting.add(task)
                task.add_done_callback(self._resetting.discard)
            task.cancel()

    async def _cut_all(self, *, resets: bool) -> None:
        tasks = tuple(self._connections)
        self._cut(tasks, resets=resets)
        await asyncio.gather(*tasks, return_exceptions=True)


def _bound(port: int) -> socket.socket:
    """Several may be bound to the same port; only one that listens gets connections."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((_HOST, port))
    return bound


async def _end(task: "asyncio.Task[Any] | None") -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
