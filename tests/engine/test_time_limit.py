"""The time limit of a task: it cancels what is within it, and nothing else."""

import asyncio

import pytest

from flowrunner.tasks import TimeLimit


async def test_what_goes_on_past_the_limit_is_cancelled_with_a_timeout_error() -> None:
    limit = TimeLimit(0.0, 0.0, None)

    with pytest.raises(TimeoutError), limit:
        await asyncio.Event().wait()

    assert limit.has_passed
    await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0, "the task goes on"  # type: ignore[union-attr]


async def test_a_cancellation_from_elsewhere_stays_one_even_if_the_limit_passes_too() -> None:
    entered = asyncio.Event()

    async def work() -> None:
        with TimeLimit(0.0, 0.0, None):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_its_own_is_not_replaced() -> None:
    async def work() -> None:
        with TimeLimit(0.0, 0.0, None):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ValueError("own") from None

    with pytest.raises(ValueError, match="own"):
        await work()


async def test_what_ignores_its_cancellation_is_given_up_after_the_grace() -> None:
    given_up = asyncio.Event()

    with TimeLimit(0.0, 0.0, given_up.set):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await given_up.wait()


async def test_after_it_was_closed_nothing_is_cancelled_or_given_up() -> None:
    given_up = asyncio.Event()
    limit = TimeLimit(0.0, 0.0, given_up.set)

    with limit:
        limit.close()
        await asyncio.sleep(0.01)

    assert not limit.has_passed
    assert not given_up.is_set()


async def test_what_follows_the_statement_is_not_cancelled_but_given_up() -> None:
    given_up = asyncio.Event()

    with TimeLimit(0.0, 0.0, given_up.set):
        pass

    await given_up.wait()
