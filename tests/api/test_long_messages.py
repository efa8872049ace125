"""Long messages to sockets: one at a time, and none of them waits for a client that does not read."""

import asyncio
from typing import Any

import pytest
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from flowrunner.api.http.websockets import SocketProtocol
from support.waiting import PATIENCE_SECONDS


class Client(SocketProtocol):
    """A connection without a network."""

    def __init__(self, long_sends: asyncio.Lock) -> None:
        self._long_sends = long_sends
        self.writable = asyncio.Event()
        self.writable.set()


async def test_a_client_that_stops_to_read_before_its_turn_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[WebSocketsSansIOProtocol] = []

    async def send(client: WebSocketsSansIOProtocol, message: Any) -> None:
        await client.writable.wait()
        sent.append(client)

    monkeypatch.setattr(WebSocketsSansIOProtocol, "send", send)
    long = "x" * 10_000_000
    turn = asyncio.Lock()
    slow, quick = Client(turn), Client(turn)
    await turn.acquire()
    sending = [asyncio.create_task(each.send({"type": "websocket.send", "text": long})) for each in (slow, quick)]
    await asyncio.sleep(0)
    # The answers to its pings, for example, have filled its buffer.
    slow.writable.clear()
    turn.release()
    await asyncio.wait([sending[1]], timeout=PATIENCE_SECONDS)
    before = [*sent]
    slow.writable.set()
    await asyncio.gather(*sending)

    assert before == [quick]
    assert sent == [quick, slow]
