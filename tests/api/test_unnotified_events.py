"""Events that were recorded by a process which died before it could tell of them."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from flowrunner.api.event_feed import EventFeed
from flowrunner.api.live import send_feed
from flowrunner.api.open_streams import TRY_AGAIN
from flowrunner.broadcast import LocalBroadcast
from flowrunner.domain.errors import NotFound
from flowrunner.domain.events import Completed, Logged
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.journal import Recorded
from support.databases import MARA, NOON
from support.waiting import PATIENCE_SECONDS

ID = ExecutionId("exec-1")


def recorded(seq: int, *, is_last: bool = False) -> Recorded:
    event = Completed(result=None) if is_last else Logged(level="info", message=f"line {seq}")
    return Recorded(seq=seq, at=NOON, event=event, data=b"{}")


@dataclass
class Written:
    """A journal with these events."""

    records: list[Recorded] = field(default_factory=list)

    async def events(self, id: ExecutionId, *, after: int, limit: int) -> Sequence[Recorded]:
        return [record for record in self.records if record.seq > after][:limit]

    async def is_whole(self, id: ExecutionId) -> bool:
        return any(record.seq == 1 for record in self.records)


@dataclass
class Heard:
    """A socket that keeps what it is sent."""

    texts: list[str] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def websocket(self) -> "Heard":
        return self

    async def send_text(self, text: str) -> None:
        self.texts.append(text)
        self.came.set()


async def test_a_subscriber_misses_nothing_when_another_process_goes_on() -> None:
    journal, broadcast, socket = Written([recorded(1)]), LocalBroadcast(), Heard()
    feed = EventFeed(cast("Any", journal), broadcast)
    sending = asyncio.create_task(send_feed(cast("Any", socket), feed.follow(MARA, ID, 0, has_ended=False)))
    await socket.came.wait()

    # The process that has recorded the second and third is dead; this one goes on.
    journal.records += [recorded(2), recorded(3), recorded(4, is_last=True)]
    broadcast.publish(ID, journal.records[3:])
    async with asyncio.timeout(PATIENCE_SECONDS):
        await sending

    assert [json.loads(text)["seq"] for text in socket.texts] == [1, 2, 3, 4]


async def test_a_hole_between_two_batches_is_filled_before_what_follows_it() -> None:
    """They are taken together, and only the first follows what was sent."""
    journal, broadcast, socket = Written([recorded(1)]), LocalBroadcast(), Heard()
    feed = EventFeed(cast("Any", journal), broadcast)
    sending = asyncio.create_task(send_feed(cast("Any", socket), feed.follow(MARA, ID, 0, has_ended=False)))
    await socket.came.wait()

    journal.records += [recorded(2), recorded(3), recorded(4), recorded(5, is_last=True)]
    broadcast.publish(ID, journal.records[1:2])
    broadcast.publish(ID, journal.records[3:4])
    socket.came.clear()
    await socket.came.wait()
    broadcast.publish(ID, journal.records[4:])
    async with asyncio.timeout(PATIENCE_SECONDS):
        await sending

    assert [json.loads(text)["seq"] for text in socket.texts] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("left", [[], [101, 102]], ids=["all", "the first ones"])
async def test_a_subscriber_is_not_told_that_a_deleted_execution_has_ended(left: list[int]) -> None:
    journal, socket = Written([recorded(seq) for seq in range(1, 103)]), Heard()
    feed = EventFeed(cast("Any", journal), LocalBroadcast())
    follow = feed.follow(MARA, ID, 0, has_ended=True)
    await send_page(socket, await anext(follow))

    # While the client reads the first page, retention deletes what follows.
    journal.records = [recorded(seq) for seq in left]
    code = await send_feed(cast("Any", socket), follow)

    assert [json.loads(text)["seq"] for text in socket.texts] == list(range(1, 21))
    assert code == TRY_AGAIN


async def send_page(socket: Heard, page: Any) -> None:
    for message in page:
        await socket.send_text(message.text)


async def test_a_page_of_a_deleted_execution_is_none_of_its_events() -> None:
    feed = EventFeed(cast("Any", Written([recorded(101), recorded(102, is_last=True)])), LocalBroadcast())

    with pytest.raises(NotFound):
        await feed.page(MARA, ID, 20, limit=50)
