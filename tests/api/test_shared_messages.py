"""A message is encoded once, whatever number of subscribers it goes to."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.websockets import WebSocketDisconnect

from api.test_unnotified_events import ID, Heard, Written, recorded
from flowrunner.api.event_feed import EventFeed
from flowrunner.api.live import send_feed
from flowrunner.api.open_streams import NORMAL_CLOSE, TRY_AGAIN
from flowrunner.broadcast import LocalBroadcast
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import Logged
from flowrunner.ports.journal import Recorded
from support.databases import MARA, NOON
from support.waiting import PATIENCE_SECONDS


@dataclass
class Slow(Heard):
    """A socket that others overtake while it sends."""

    async def send_text(self, text: str) -> None:
        await super().send_text(text)
        await asyncio.sleep(0)


@pytest.mark.parametrize(("kind", "length"), [(Heard, 10), (Slow, 100_000)])
async def test_subscribers_are_sent_the_same_text(kind: type[Heard], length: int) -> None:
    """Send subscribers the events recorded before they connected and those recorded while they listen."""
    broadcast, sockets = LocalBroadcast(), [kind() for _ in range(3)]
    lines = [Recorded(seq, NOON, Logged(level="info", message="x" * length), b"{}") for seq in (1, 2)]
    journal = cast("Any", Written(lines[:1]))
    feed = EventFeed(journal, broadcast)
    sending = [
        asyncio.create_task(send_feed(cast("Any", socket), feed.follow(MARA, ID, 0, has_ended=False)))
        for socket in sockets
    ]
    for socket in sockets:
        await socket.came.wait()

    broadcast.publish(ID, [*lines[1:], recorded(3, is_last=True)])
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*sending)

    first, *others = sockets
    assert len(first.texts) == 3
    for socket in others:
        assert [id(text) for text in socket.texts] == [id(text) for text in first.texts]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        # The client connects again, because it has not seen the end.
        (Unavailable("the database is away"), TRY_AGAIN),
        # It reads nothing.
        (TimeoutError(), TRY_AGAIN),
        (WebSocketDisconnect(1006), NORMAL_CLOSE),
        (RuntimeError("Cannot send after the close"), NORMAL_CLOSE),
        (None, NORMAL_CLOSE),
    ],
)
@pytest.mark.parametrize("is_sending", [False, True], ids=["while it is read", "while it is sent"])
async def test_the_close_code_says_whether_the_feed_has_ended(
    error: Exception | None, code: int, is_sending: bool
) -> None:
    class Failing(Heard):
        async def send_text(self, text: str) -> None:
            if is_sending and error is not None:
                raise error
            await super().send_text(text)

    async def feed() -> AsyncGenerator[Iterable[Any], None]:
        yield [SimpleNamespace(text="{}")]
        if error is not None:
            raise error

    socket = Failing()

    assert await send_feed(cast("Any", socket), feed()) == code
    assert socket.texts == ([] if is_sending and error is not None else ["{}"])
