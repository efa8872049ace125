"""Subscriptions: what is held for a subscriber, and what it is told when it has fallen behind."""

import asyncio

from flowrunner.ports.live import MAX_PENDING, Subscription


async def test_a_subscriber_takes_all_that_came_since_the_last_time() -> None:
    subscription = Subscription[int]()
    taking = asyncio.create_task(subscription.take())
    await asyncio.sleep(0)
    subscription.put([1, 2])
    subscription.put([3])

    assert await taking == [1, 2, 3]
    subscription.put([4])
    assert await subscription.take() == [4]


async def test_as_many_items_as_fit_are_held_and_one_more_drops_all_of_them_once() -> None:
    subscription = Subscription[int]()
    subscription.put(range(MAX_PENDING - 1))
    subscription.put([-1])
    assert await subscription.take() == [*range(MAX_PENDING - 1), -1]

    subscription.put(range(MAX_PENDING))
    subscription.put([-1])
    subscription.put([-2])

    assert await subscription.take() is None
    subscription.put([5])
    assert await subscription.take() == [5]
