"""A message is encoded once, whatever number of subscribers it goes to."""

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import pytest

from api.test_unnotified_events import ID, Heard, Written, recorded
from flowrunner.api.event_feed import EventFeed
from flowrunner.api.live import send_feed
from flowrunner.broadcast import LocalBroadcast
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
