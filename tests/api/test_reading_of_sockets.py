"""What clients send over WebSockets is read to its end, in turn, however it arrives and however slowly they read."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from flowrunner.api.http import websockets
from flowrunner.api.http.websockets import FrameReading, SocketProtocol

SOCKETS: Final = 3


class StoppedTime:
    """Parsing takes no time here, so that the reading goes on in the next turn."""

    @staticmethod
    def thread_time() -> float:
        return 0.0


class Transport:
    """It notes whether the socket is read from."""

    def __init__(self) -> None:
        self.is_reading = True

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def pause_writing(self) -> None:
        pass

    resume_writing = pause_writing

    def is_closing(self) -> bool:
        return False


class Socket(SocketProtocol):
    """A socket whose handshake is over."""

    def __init__(self, reading: FrameReading) -> None:
        self._reading = reading
        self.loop = asyncio.get_running_loop()
        self.writable = asyncio.Event()
        self.transport: Any = Transport()
        self._unread = bytearray()
        self._is_queued = self._is_write_paused = False
        self.parsed = bytearray()
        self.conn: Any = self

    handshake_initiated = True


# What happens to a socket: it gets so many bytes, its client stops reading or reads again, or the loop has a turn.
Act = tuple[str, int, int]
ACTS: Final = st.lists(
    st.tuples(st.sampled_from(("data", "pause", "resume", "turn")), st.integers(0, SOCKETS - 1), st.integers(1, 5000)),
    max_size=40,
)


async def play(acts: Sequence[Act]) -> None:
    reading = FrameReading()
    sockets = [Socket(reading) for _ in range(SOCKETS)]
    sent = [bytearray() for _ in sockets]
    for act, number, size in acts:
        socket = sockets[number]
        if act == "data" and socket.transport.is_reading:
            data = bytes(index % 251 for index in range(len(sent[number]), len(sent[number]) + size))
            sent[number] += data
            socket.data_received(data)
        elif act == "pause" and not socket._is_write_paused:
            socket.pause_writing()
        elif act == "resume" and socket._is_write_paused:
            socket.resume_writing()
        elif act == "turn":
            await asyncio.sleep(0)
        for one in sockets:
            assert not (one.transport.is_reading and (one._unread or one._is_write_paused))
    for socket in sockets:
        if socket._is_write_paused:
            socket.resume_writing()
    # Twice as many turns as there are slices, each of which may begin a timer.
    for _ in range(2 * (1 + sum(map(len, sent)) // 512 + len(acts) * SOCKETS)):
        await asyncio.sleep(0)

    assert [socket.parsed for socket in sockets] == sent
    assert all(socket.transport.is_reading for socket in sockets)


@pytest.fixture(scope="module", autouse=True)
def parser() -> Any:
    """Frames are noted instead of parsed."""

    def note(self: Any, data: bytes) -> None:
        self.parsed += data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WebSocketsSansIOProtocol, "data_received", note)
        patch.setattr(websockets, "time", StoppedTime)
        yield


@given(ACTS)
def test_everything_is_read_once_the_client_reads_again(acts: list[Act]) -> None:
    asyncio.run(play(acts))
