"""How many events are kept for a subscriber that does not take them."""

import asyncio

from flowrunner.broadcast import LocalBroadcast
from flowrunner.domain.events import Logged
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.journal import Recorded
from flowrunner.ports.live import MAX_PENDING
from support.databases import NOON

ID = ExecutionId("exec-1")


def lines(first: int, count: int) -> list[Recorded]:
    return [
        Recorded(seq=seq, at=NOON, event=Logged(level="info", message="x"), data=b"{}")
        for seq in range(first, first + count)
    ]


async def test_a_subscriber_is_given_as_many_as_are_kept_in_one_piece() -> None:
    broadcast = LocalBroadcast()
    subscription = broadcast.subscribe(ID)

    broadcast.publish(ID, lines(1, MAX_PENDING - 1))
    broadcast.publish(ID, lines(MAX_PENDING, 1))

    assert await subscription.take() == lines(1, MAX_PENDING)


async def test_a_subscriber_that_takes_nothing_is_held_a_bounded_number() -> None:
    broadcast = LocalBroadcast()
    subscription = broadcast.subscribe(ID)
    for seq in range(1, 10_000):
        broadcast.publish(ID, lines(seq, 1))
        assert len(subscription._pending) <= MAX_PENDING

    assert await subscription.take() is None
    broadcast.publish(ID, lines(10_000, 1))
    assert await subscription.take() == lines(10_000, 1)


async def test_a_subscriber_with_more_is_sent_to_the_journal_and_nothing_is_kept_for_it() -> None:
    broadcast = LocalBroadcast()
    one, other = broadcast.subscribe(ID), broadcast.subscribe(ID)

    # However many come together: it is counted before they are kept.
    broadcast.publish(ID, lines(1, MAX_PENDING + 1))
    assert await one.take() is None
    broadcast.publish(ID, lines(MAX_PENDING + 2, 1))

    assert await one.take() == lines(MAX_PENDING + 2, 1)
    assert await other.take() is None
    for subscription in (one, other):
        taking = asyncio.ensure_future(subscription.take())
        await asyncio.sleep(0)
        assert not taking.done()
        taking.cancel()
