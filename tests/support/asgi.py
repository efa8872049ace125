"""The program in the test's own process, called without a network: for what has to be broken inside."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

from flowrunner.bootstrap.lifecycle import open_program
from flowrunner.bootstrap.program import Program
from flowrunner.fair_slots import FairSlots
from flowrunner.settings import Settings
from support.client import Reply


@asynccontextmanager
async def program_at(data_dir: Path, **settings: Any) -> AsyncIterator[Program]:
    # Attackers who are slowed down would get nowhere: whether they do is a question of its own.
    settings.setdefault("anonymous_requests", None)
    settings.setdefault("anonymous_logins", None)
    with slots_given_back():
        async with open_program(Settings(data_dir=data_dir, **settings)) as program:
            yield program


_SLOTS: Final = WeakSet[FairSlots]()


@contextmanager
def slots_given_back() -> Iterator[None]:
    """Check that whatever took slots of limits that begin in here has given them back in the end."""
    before = set(_SLOTS)
    yield
    assert [slots for slots in _SLOTS if slots._all_held and slots not in before] == []


def _note(self: FairSlots, **options: int) -> None:
    _begin(self, **options)
    _SLOTS.add(self)


_begin, FairSlots.__init__ = FairSlots.__init__, _note  # type: ignore[method-assign]


async def call(
    app: Any,
    method: str,
    path: str,
    *,
    token: str | None = None,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    address: str = "127.0.0.1",
    before_body: Callable[[], Awaitable[object]] | None = None,
    after_piece: Callable[[], Awaitable[object]] | None = None,
    leaves: asyncio.Event | None = None,
) -> Reply:
    """One request to an ASGI application.

    Args:
        address: Where it comes from.
        before_body: Happens between the head of the request and its body.
        after_piece: Happens after each piece of the answer's body.
        leaves: Set when the client disconnects; without it, it stays until the answer has been read.

    Raises: EOFError if the application does not end the answer of a client that stays.
    """
    path, _, query = path.partition("?")
    sent = {"host": "localhost", **({"authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
    if body:
        sent.setdefault("content-type", "application/json")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in sent.items()],
        "client": (address, 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    answers: list[Any] = []

    is_sent = False

    async def receive() -> Any:
        nonlocal is_sent
        if is_sent:
            await (leaves or asyncio.Event()).wait()
            return {"type": "http.disconnect"}
        if before_body is not None:
            await before_body()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        answers.append(message)
        if after_piece is not None and message.get("body"):
            await after_piece()

    await app(scope, receive, send)
    if leaves is None and answers[-1].get("more_body", answers[-1]["type"] == "http.response.start"):
        raise EOFError("The application has not ended the answer")
    start = answers[0]
    found: dict[str, str] = {}
    for name, value in start["headers"]:
        # A header that is there several times, such as `Set-Cookie`, has a line for each.
        key, text = name.decode().lower(), value.decode("latin-1")
        found[key] = f"{found[key]}\n{text}" if key in found else text
    return Reply(start["status"], found, b"".join(answer.get("body", b"") for answer in answers[1:]))


async def connect(
    app: Any,
    path: str,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = (),
) -> Reply:
    """Open a WebSocket of an ASGI application, and leave at once; 101 if it was accepted."""
    scope = _socket_scope(path, token, headers, subprotocols)
    answers: list[Any] = []
    comes = iter([{"type": "websocket.connect"}])

    async def receive() -> Any:
        return next(comes, {"type": "websocket.disconnect", "code": 1000})

    async def send(message: Any) -> None:
        answers.append(message)

    await app(scope, receive, send)
    if answers[0]["type"] == "websocket.accept":
        return Reply(101, {}, b"")
    start = answers[0]
    found = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
    return Reply(start["status"], found, b"".join(answer.get("body", b"") for answer in answers[1:]))


@asynccontextmanager
async def open_socket(
    app: Any, path: str, *, token: str | None = None, headers: Mapping[str, str] | None = None
) -> AsyncIterator["asyncio.Future[int]"]:
    """Hold a WebSocket of an ASGI application open; give the code with which the application closes it."""
    opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    left = asyncio.Event()
    comes = iter([{"type": "websocket.connect"}])

    async def receive() -> Any:
        if (first := next(comes, None)) is None:
            await left.wait()
        return first or {"type": "websocket.disconnect", "code": 1000}

    async def send(message: Any) -> None:
        if not opened.done():
            opened.set_result(message.get("status", 101))
        if message["type"] == "websocket.close":
            closed.set_result(message["code"])

    serving = asyncio.create_task(app(_socket_scope(path, token, headers), receive, send))
    try:
        assert await opened == 101
        yield closed
    finally:
        left.set()
        await serving


def _socket_scope(
    path: str, token: str | None, headers: Mapping[str, str] | None, subprotocols: Sequence[str] = ()
) -> dict[str, Any]:
    sent = {"host": "localhost", **({"authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
    path, _, query = path.partition("?")
    return {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in sent.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "subprotocols": list(subprotocols),
        "state": {},
        "extensions": {"websocket.http.response": {}},
    }
