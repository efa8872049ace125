"""Waiting for the end of an execution that another process runs."""

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from flowrunner.api import event_feed
from flowrunner.api.event_feed import EventFeed
from flowrunner.broadcast import LocalBroadcast
from flowrunner.domain.errors import NotFound, Unavailable
from flowrunner.domain.events import Completed
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.journal import Recorded
from support.databases import MARA, OMAR
from support.waiting import PATIENCE_SECONDS

ID = ExecutionId("exec-1")


END: Final = Recorded(3, datetime(2027, 1, 1, tzinfo=UTC), Completed(result=None), b'{"r":null}')


@dataclass
class Elsewhere:
    """A journal to which another process adds."""

    status: Status = Status.RUNNING
    looks: int = 0
    is_deleted: bool = False

    async def stored(self, id: ExecutionId) -> Any:
        self.looks += 1
        return SimpleNamespace(status=self.status, last_seq=3)

    async def events(self, id: ExecutionId, *, after: int, limit: int) -> list[Recorded]:
        assert (after, limit) == (2, 1)
        return [] if self.is_deleted else [END]


async def test_an_end_whose_notification_was_lost_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_feed, "_FIRST_LOOK_SECONDS", 0.01)
    journal = Elsewhere(Status.COMPLETED)
    feed = EventFeed(cast("Any", journal), LocalBroadcast())

    with feed.subscribed(ID) as subscription:
        async with asyncio.timeout(PATIENCE_SECONDS):
            last = await feed.until_end(ID, subscription, look=False)

    assert (last, journal.looks) == (END, 1)


async def test_the_end_of_an_execution_that_is_being_deleted_is_not_found() -> None:
    feed = EventFeed(cast("Any", Elsewhere(Status.COMPLETED, is_deleted=True)), LocalBroadcast())

    with feed.subscribed(ID) as subscription, pytest.raises(NotFound):
        await feed.until_end(ID, subscription, look=True)


async def test_a_notification_of_another_process_makes_it_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_feed, "_FIRST_LOOK_SECONDS", 600.0)
    journal, broadcast = Elsewhere(), LocalBroadcast()
    feed = EventFeed(cast("Any", journal), broadcast)

    with feed.subscribed(ID) as subscription:
        waiting = asyncio.create_task(feed.until_end(ID, subscription, look=True))
        while journal.looks == 0:  # noqa: ASYNC110 # nothing tells
            await asyncio.sleep(0)
        journal.status = Status.FAILED
        broadcast.mark_stale(ID)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await waiting

    assert journal.looks == 2


async def test_many_readers_of_a_long_history_do_not_block_other_workspaces() -> None:
    reads: list[ExecutionId] = []

    class Long:
        """A journal that answers in the order of the requests."""

        async def events(self, id: ExecutionId, *, after: int, limit: int) -> list[Recorded]:
            reads.append(id)
            await asyncio.sleep(0)
            return []

    feed = EventFeed(cast("Any", Long()), LocalBroadcast())

    await asyncio.gather(
        *(feed.page(OMAR, ExecutionId("long"), 0, limit=9) for _ in range(100)), feed.page(MARA, ID, 0, limit=9)
    )

    assert reads.index(ID) < 10


@pytest.mark.parametrize("is_whole", [True, False])
async def test_a_subscriber_who_knows_all_of_an_ended_execution_reads_no_event_again(is_whole: bool) -> None:
    class Ended:
        """A journal of an execution that ended with event 7."""

        async def events(self, id: ExecutionId, *, after: int, limit: int) -> list[Recorded]:
            assert after == 7
            return []

        async def is_whole(self, id: ExecutionId) -> bool:
            return is_whole

    feed = EventFeed(cast("Any", Ended()), LocalBroadcast())

    with nullcontext() if is_whole else pytest.raises(Unavailable, match="being deleted"):
        assert [sent async for sent in feed.follow(MARA, ID, 7, has_ended=True)] == []
