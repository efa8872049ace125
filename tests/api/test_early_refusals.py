"""Refusals of starts by their heads alone, over real connections."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from flowrunner.api.http import delays, early_refusals
from flowrunner.api.http.connections import Connections
from flowrunner.api.http.delays import Delays
from flowrunner.api.http.early_refusals import EarlyRefusals
from flowrunner.api.http.edge import SECURITY_HEADERS, TLS_ONLY
from flowrunner.api.http.errors import answer_to
from flowrunner.api.http.protocol import JoinedHttpProtocol
from flowrunner.domain.account import Caller
from flowrunner.domain.errors import QueueFull
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.services import start_slots
from flowrunner.services.start_slots import StartSlots
from support.waiting import PATIENCE_SECONDS

PATH: Final = "/api/v1/flows/flow-1/run"
CALLER: Final = cast("Caller", SimpleNamespace(workspace_id=WorkspaceId("ws-1"), account_id=AccountId("acc-1")))


class Starts:
    """An application whose starts all wait for a slot that no one gives back, with a server in front of it."""

    def __init__(self, *, is_behind_tls: bool = False) -> None:
        self.slots = StartSlots()
        self.bodies: list[bytes] = []
        self.refused: list[str] = []
        self.counted: list[Any] = []
        self.early = EarlyRefusals(
            self.slots.full,
            on_request=lambda *counted: self.counted.append(counted),
            refused=self.refused.append,
            is_behind_tls=is_behind_tls,
        )
        self.port = 0
        self.connections = Connections(0, on_drop=lambda: None)
        # How long a request takes.
        self.seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the whole body, as the usual way does, and refuse what cannot wait."""
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        await asyncio.sleep(self.seconds)
        status, text = 201, b"{}"
        scope["route"] = SimpleNamespace(path_format="/api/v1/flows/{id}/run")
        if scope["method"] == "POST" and (full := self.slots.full(CALLER.workspace_id, CALLER.account_id)) is not None:
            self.early.note(scope, CALLER)
            status, text = 503, bytes(answer_to("usual", full).body)
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(text))]}
        )
        await send({"type": "http.response.body", "body": text})

    async def send(self, data: bytes, answers: int = 1) -> list[tuple[int, dict[str, str], Any]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        found = []
        for _ in range(answers):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
            found.append(
                (int(head[0].split()[1]), headers, json.loads(await reader.readexactly(int(headers["content-length"]))))
            )
        writer.close()
        return found


@asynccontextmanager
async def starts(app: Starts | None = None, *, keep_alive: float = 5) -> AsyncIterator[Starts]:
    app = app or Starts()
    connections = Connections(100, on_drop=lambda: None)
    app.connections = connections
    protocol = partial(JoinedHttpProtocol, open_connections=connections, refuse_early=app.early.answer_to)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=0,
            loop="none",
            http=cast("Any", protocol),
            lifespan="off",
            log_config=None,
            timeout_keep_alive=cast("int", keep_alive),
        )
    )
    serving = asyncio.create_task(server._serve())  # `serve` takes over the signals
    while not server.started:  # noqa: ASYNC110 # it has no event
        await asyncio.sleep(0)
    app.port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield app
    finally:
        server.should_exit = True
        await serving


def start(*headers: str, path: str = PATH, token: str = "Bearer abc", method: str = "POST", body: str = "{}") -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: {token}", *headers)
    return "\r\n".join((*lines, f"Content-Length: {len(body)}", "", body)).encode()


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delays, "_SECONDS", 0.01)


@pytest.fixture
def nobody_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_slots, "MOST_WAITING", 0)


@pytest.fixture
def endless_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delays, "_SECONDS", 1000.0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 # the server has no events
            await asyncio.sleep(0.001)


@pytest.mark.usefixtures("nobody_may_wait")
async def test_a_start_that_is_repeated_at_once_is_refused_before_its_body_is_read() -> None:
    async with starts() as app:
        ((_, _, usual),) = await app.send(start())
        early = await app.send(start("X-Request-ID: mine", body="x" * 5000) + start() + start(), 3)

    assert app.bodies == [b"{}"]
    for status, headers, answer in early:
        assert (status, headers["retry-after"]) == (503, "1")
        assert headers["x-request-id"] == answer["error"]["request_id"]
        assert headers["cache-control"] == "no-store"
        assert answer["error"] | {"request_id": "usual"} == usual["error"]
        assert answer["error"]["details"] == {"limit": "workspace_starts", "most": 0}
    assert early[0][1]["x-request-id"] == "mine"
    assert app.refused == ["workspace_starts"] * 3
    assert [counted[:3] for counted in app.counted] == [("/api/v1/flows/{id}/run", "POST", 503)] * 3


@pytest.mark.usefixtures("nobody_may_wait")
@pytest.mark.parametrize("is_behind_tls", [True, False])
async def test_an_early_refusal_has_the_headers_of_every_answer(is_behind_tls: bool) -> None:
    async with starts(Starts(is_behind_tls=is_behind_tls)) as app:
        (*_, (_, headers, _)) = await app.send(start() + start(), 2)

    expected = {name.decode(): value.decode() for name, value in (*SECURITY_HEADERS, TLS_ONLY)}
    if not is_behind_tls:
        del expected["strict-transport-security"]
    assert headers.items() >= expected.items()
    assert ("strict-transport-security" in headers) == is_behind_tls


@pytest.mark.usefixtures("nobody_may_wait")
@pytest.mark.parametrize(
    "other",
    [
        start(token="Bearer abd"),
        start(path="/api/v1/flows/flow-2/run"),
        start(path=PATH + "?a=1"),
        start("Flowrunner-Workspace: other"),
        start("Authorization: Bearer other"),
        start("Expect: 100-continue"),
        start("Connection: close"),
        start(method="PUT"),
        start().replace(b"Authorization: Bearer abc", b"Cookie: flowrunner_session=abc"),
        start().replace(b"Host: localhost", b"Host: elsewhere"),
    ],
)
async def test_no_other_request_is_refused_by_its_head(other: bytes) -> None:
    async with starts() as app:
        await app.send(start())
        if b"100-continue" not in other:
            await app.send(other)
        else:
            assert app.early.answer_to({"method": "GET", "headers": []}) is None
            reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
            writer.write(other)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await reader.readuntil(b"\r\n\r\n")
            writer.close()

    assert len(app.bodies) == 2


@pytest.mark.usefixtures("nobody_may_wait")
async def test_the_token_of_a_refused_client_is_checked_again_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    async with starts() as app:
        await app.send(start())
        monkeypatch.setattr(early_refusals, "_KNOWN_SECONDS", -1.0)
        app.early.note({"raw_path": PATH.encode(), "query_string": b"", "route": SimpleNamespace(path_format=""),
                        "headers": [(b"host", b"localhost"), (b"authorization", b"Bearer abc")]}, CALLER)  # fmt: skip
        await app.send(start())

    assert len(app.bodies) == 2


async def test_as_many_are_let_through_as_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_slots, "MOST_WAITING", 0)
    async with starts() as app:
        await app.send(start())
        monkeypatch.setattr(start_slots, "MOST_WAITING", 3)
        scope = {"method": "POST", "raw_path": PATH.encode(), "query_string": b"",
                 "headers": [(b"host", b"localhost"), (b"authorization", b"Bearer abc")]}  # fmt: skip
        answers = [app.early.answer_to(scope) for _ in range(5)]
        await asyncio.sleep(0)
        later = app.early.answer_to(scope)

    assert [answer is None for answer in answers] == [True] * 3 + [False] * 2
    assert later is None


async def test_one_account_leaves_room_for_the_others_of_its_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_slots, "MOST_WAITING_OF_ACCOUNT", 2)
    slots, workspace, mara, omar = StartSlots(), WorkspaceId("ws-1"), AccountId("acc-1"), AccountId("acc-2")
    for _ in range(64):
        await slots.take(workspace, mara)
    waiting = [asyncio.create_task(slots.take(workspace, mara)) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(QueueFull, match="2 starts of this account wait already"):
        await slots.take(workspace, mara)
    waiting.append(asyncio.create_task(slots.take(workspace, omar)))
    await asyncio.sleep(0)
    for _ in waiting:
        slots.give_back(workspace)

    await asyncio.gather(*waiting)
    assert slots.full(workspace, mara) is None


@pytest.mark.usefixtures("nobody_may_wait")
async def test_a_silent_connection_that_was_answered_before_its_body_is_closed() -> None:
    async with starts(keep_alive=0.01) as app:
        await app.send(start())
        request = start(body="x" * 2000)
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(request[:-1000])
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.write(request[-1000:])
        rest = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert json.loads(rest)["error"]["code"] == "unavailable"
    assert app.bodies == [b"{}"]


async def test_an_idle_connection_is_closed_and_one_whose_request_takes_longer_is_not() -> None:
    async with starts(keep_alive=0.01) as app:
        app.seconds = 0.2
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(start(method="GET"))
        answer = await reader.readuntil(b"{}")
        async with asyncio.timeout(PATIENCE_SECONDS):
            rest = await reader.read()
        writer.close()

    assert (answer[:13], rest) == (b"HTTP/1.1 201 ", b"")


def test_a_client_with_a_long_head_is_not_kept() -> None:
    full = StartSlots().full
    early = EarlyRefusals(full, on_request=lambda *counted: None, refused=lambda limit: None)
    route = SimpleNamespace(path_format=PATH)
    heads = [(b"host", b"127.0.0.1"), (b"authorization", b"Bearer t")]
    scope = {"method": "POST", "raw_path": PATH.encode(), "headers": heads, "route": route}

    for length in range(3):
        early.note({**scope, "query_string": b"&" * (60_000 + length)}, CALLER)
    assert len(early._known) == 0

    early.note({**scope, "query_string": b""}, CALLER)
    assert len(early._known) == 1


@pytest.mark.usefixtures("nobody_may_wait")
async def test_a_client_that_does_not_read_its_refusals_gets_no_further_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another connection would be refused in the usual way each second.
    monkeypatch.setattr(early_refusals, "_KNOWN_SECONDS", 1000.0)
    monkeypatch.setattr(delays, "_MOST", 0)
    async with starts() as app:
        await app.send(start())
        stream = socket.socket()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.setblocking(False)
        await asyncio.get_running_loop().sock_connect(stream, ("127.0.0.1", app.port))
        requests, sent = start() * 200, 0
        with stream, suppress(OSError, TimeoutError):
            while sent < 2**23:
                await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(stream, requests), 2)
                sent += len(requests)
        unread = [connection.get_write_buffer_size() for connection in app.connections._waiting]

    assert max(unread) < 2**21


@pytest.mark.usefixtures("nobody_may_wait")
@pytest.mark.parametrize("most_delayed", [0, 1])
async def test_a_request_that_came_with_the_end_of_a_refused_one_may_take_longer_than_an_idle_connection(
    monkeypatch: pytest.MonkeyPatch, most_delayed: int
) -> None:
    monkeypatch.setattr(delays, "_MOST", most_delayed)
    async with starts(keep_alive=0.01) as app:
        await app.send(start())
        app.seconds = 0.2
        answers = await app.send(start() + start(method="GET"), 2)

    assert [status for status, *_ in answers] == [503, 201]


@pytest.mark.usefixtures("nobody_may_wait", "endless_delays")
async def test_the_answer_to_a_repeated_start_is_delayed_and_no_other_request_is() -> None:
    async with starts() as app:
        await app.send(start())
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(start() + start(method="GET"))
        await until(lambda: len(app.refused) == 1)
        ((status, _, _),) = await app.send(start(method="GET"))
        (delayed,) = app.connections.delays._waiting
        assert len(app.bodies) == 2

        delayed[1]()
        answers = await reader.readuntil(b"HTTP/1.1 201") + await reader.readuntil(b"{}")
        writer.close()

    assert status == 201
    assert answers.startswith(b"HTTP/1.1 503 ")
    assert answers.count(b"HTTP/1.1") == 2


@pytest.mark.usefixtures("nobody_may_wait")
async def test_pipelined_starts_whose_answers_are_delayed_share_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise a client could add a timer with each of them.
    rounds: list[int] = []
    send = delays.Delays._send

    def counted(self: delays.Delays) -> None:
        rounds.append(len(self._waiting))
        send(self)

    monkeypatch.setattr(delays.Delays, "_send", counted)
    async with starts() as app:
        await app.send(start())
        answers = await app.send(start() * 10, 10)

    assert {status for status, *_ in answers} == {503}
    # A timer may be early by the resolution of the clock, and is set again.
    assert len(rounds) <= 2 * 10


@pytest.mark.usefixtures("nobody_may_wait", "endless_delays")
async def test_no_more_answers_are_delayed_than_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delays, "_MOST", 1)
    async with starts() as app:
        await app.send(start())
        _, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(start())
        await until(lambda: len(app.refused) == 1)
        ((status, _, _),) = await app.send(start())
        writer.close()

    assert (status, len(app.bodies)) == (503, 1)


@pytest.mark.usefixtures("nobody_may_wait", "endless_delays")
async def test_the_answer_to_a_start_with_a_long_head_is_not_delayed() -> None:
    async with starts() as app:
        await app.send(start())
        ((status, _, _),) = await app.send(start("X-Other: " + "x" * 5000))

    assert (status, len(app.bodies)) == (503, 1)


@pytest.mark.usefixtures("nobody_may_wait", "endless_delays")
async def test_a_start_with_a_delayed_answer_keeps_no_body_and_may_be_dropped_like_an_idle_connection() -> None:
    async with starts() as app:
        await app.send(start())
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(start(body="x" * 200_000))
        await until(lambda: len(app.refused) == 1)
        await writer.drain()
        await until(lambda: len(app.connections._waiting) == 1)
        app.connections._most = 1
        ((status, _, _),) = await app.send(start(method="GET"))
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        held, (_, late) = app.connections._held_bytes, app.connections.delays._waiting[0]
        late()
        writer.close()

    assert (status, held) == (201, 0)


@pytest.mark.usefixtures("nobody_may_wait")
async def test_a_server_that_stops_sends_delayed_answers_and_closes_their_connections() -> None:
    async with starts(keep_alive=1000) as app:
        await app.send(start())
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(start())
        await until(lambda: len(app.refused) == 1)

    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 503 ")


async def test_an_answer_that_cannot_be_sent_delays_no_other() -> None:
    loop, sent, failures = asyncio.get_running_loop(), asyncio.Event(), list[Any]()
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    queue, error = Delays(), ValueError("no client")

    def fail() -> None:
        raise error

    assert queue.delay(fail)
    assert queue.delay(sent.set)

    async with asyncio.timeout(PATIENCE_SECONDS):
        await sent.wait()
    assert failures == [error]


async def test_a_request_learns_that_its_client_has_gone_although_others_wait_behind_it() -> None:
    class Waits(Starts):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            self.bodies.append((await receive())["body"])
            self.counted.append(await receive())

    async with starts(Waits()) as app:
        _, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(start(body="first") + start(body="second"))
        await until(lambda: bool(app.bodies))
        writer.close()
        await until(lambda: bool(app.counted))

    assert app.bodies == [b"first"]
    assert app.counted == [{"type": "http.disconnect"}]


class Timers:
    """The time and the timers of an event loop; time passes from one timer to the next."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        self.waiting.append((when, call))

    def pass_until(self, end: float) -> None:
        while self.waiting and min(self.waiting)[0] <= end:
            # One timer, however many answers wait.
            (due,) = self.waiting
            self.waiting.clear()
            self.now = due[0]
            due[1]()
        self.now = end


def test_each_answer_is_delayed_by_its_own_second_and_those_that_are_due_together_share_a_timer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delays, "_SECONDS", 1.0)
    monkeypatch.setattr(delays, "_PAUSE_SECONDS", 0.02)
    timers, queue, sent = Timers(), Delays(), list[tuple[float, float]]()
    pauses = (0.0, 0.0, 0.3, 0.001, 0.001, 0.015, 0.4, 0.9, 0.1, 0.0, 1.0, 3.0, 0.5)
    with monkeypatch.context() as faked:
        faked.setattr(asyncio, "get_running_loop", lambda: timers)
        for pause in pauses:
            timers.pass_until(timers.now + pause)
            came_at = timers.now
            assert queue.delay(lambda came_at=came_at: sent.append((came_at, timers.now)))  # type: ignore[misc]
        timers.pass_until(timers.now + 2.0)

    assert [came for came, _ in sent] == sorted(came for came, _ in sent)
    assert len(sent) == len(pauses)
    assert [delay for came, at in sent if not 1.0 <= (delay := round(at - came, 6)) <= 1.02] == []
